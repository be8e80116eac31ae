"""Follows the access file as it changes: a ConfigMap that is mounted is written in place."""

from pathlib import Path

import structlog

from gilder.api.access import AccessError, AccessFile, load

log = structlog.get_logger("gilder")


class AccessWatch:
    """One file. What cannot be read or understood is told once, and the last good one counts."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._text = self._read()

    def changed(self) -> AccessFile | None:
        """The file, if it says something else than before and can be understood."""
        text = self._read()
        if text is None or text == self._text:
            return None
        self._text = text
        try:
            found = load(text)
        except AccessError as error:
            log.error("the access file is not understood; the one before counts", error=str(error))
            return None
        log.info("the access file has changed")
        return found

    def _read(self) -> str | None:
        if self._path is None:
            return None
        try:
            return self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            log.error("the access file cannot be read; the one before counts", error=str(error))
            return None
