"""What containers of Jobs do here: functions instead of programs."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gilder.sandbox.kubernetes.store import Object


@dataclass
class JobRun:
    """One run of the main container (the last one) of a Job's pod."""

    namespace: str
    name: str  # of the Job
    pod: str  # name of the pod
    attempt: int  # from 1
    job: Object
    env: Mapping[str, str]
    files: Mapping[str, str]
    write: Callable[[str], None]
    # Set when the pod is deleted: nobody looks at the outcome any more.
    stopped: threading.Event = field(default_factory=threading.Event)
    # What the container writes to /dev/termination-log.
    message: str = ""

    def log(self, text: str) -> None:
        """Write to the container's log; a line ends if the text does not end it."""
        self.write(text if text.endswith("\n") else f"{text}\n")

    def sleep(self, seconds: float) -> bool:
        """Wait; False when the pod was deleted meanwhile."""
        return not self.stopped.wait(seconds)


# The exit code, or the exit code and the reason of the termination, such as OOMKilled.
Work = Callable[[JobRun], int | tuple[int, str]]


@dataclass
class Behaviour:
    """What Jobs of matching names do, and how long they run before they do it."""

    pattern: re.Pattern[str]
    work: Work
    seconds: float = 0.0
    times: int | None = None


def succeed(_: JobRun) -> int:
    return 0


_DEFAULT = Behaviour(re.compile(".*"), succeed)


class Behaviours:
    """The newest one that matches counts; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[Behaviour] = []

    def add(self, behaviour: Behaviour) -> None:
        with self._lock:
            self._known.append(behaviour)

    def take(self, name: str) -> Behaviour:
        """The behaviour of one run of `<namespace>/<name>`; uses up one of its times."""
        with self._lock:
            for behaviour in reversed(self._known):
                if not behaviour.pattern.fullmatch(name):
                    continue
                if behaviour.times is not None:
                    behaviour.times -= 1
                    if behaviour.times <= 0:
                        self._known.remove(behaviour)
                return behaviour
        return _DEFAULT
