"""Follows the access file as it changes: a ConfigMap that is mounted is written in place."""

import structlog

from gilder.api.access import AccessError, AccessFile
from gilder.config import Settings

log = structlog.get_logger("gilder")


class AccessWatch:
    """What cannot be read or understood is told once, and the last good file counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: AccessFile | None = None
        self._told = ""

    def start(self, known: AccessFile | None) -> None:
        """The file that counts."""
        self._known = known

    def changed(self) -> AccessFile | None:
        """The file, if it says something else than before and can be understood."""
        try:
            found = self._settings.access()
        except AccessError as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error("the access file is not understood; the one before counts",
                          error=str(error))  # fmt: skip
            return None
        self._told = ""
        if found is None or found == self._known:
            return None
        self._known = found
        log.info("the access file has changed")
        return found
