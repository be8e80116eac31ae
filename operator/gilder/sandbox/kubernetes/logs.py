"""What containers wrote, and the log subresource of pods that serves it."""

import threading
from collections.abc import Mapping
from typing import Any

from gilder.sandbox.kubernetes.errors import Cause, bad_request, invalid, invalid_value
from gilder.sandbox.kubernetes.store import Object

_NOT_SERVED = ("follow", "timestamps", "sinceSeconds", "sinceTime", "stream")


class PodLogs:
    """Logs by the uid of a pod and the name of a container; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, str], list[bytes]] = {}

    def begin(self, uid: str, container: str) -> None:
        """A container starts, perhaps again: one log before it is kept."""
        with self._lock:
            log = self._logs.setdefault((uid, container), [])
            log[:-1] = []
            log.append(b"")

    def write(self, uid: str, container: str, text: str) -> None:
        with self._lock:
            log = self._logs.get((uid, container))
            if log:
                log[-1] += text.encode()

    def read(self, uid: str, container: str, *, previous: bool = False) -> bytes:
        with self._lock:
            log = self._logs.get((uid, container), [])
            if previous:
                return log[-2] if len(log) > 1 else b""
            return log[-1] if log else b""

    def forget(self, uid: str) -> None:
        with self._lock:
            for key in [k for k in self._logs if k[0] == uid]:
                del self._logs[key]


def answer(pod: Object, query: Mapping[str, str], logs: PodLogs) -> bytes:
    """What GET .../pods/NAME/log answers, or the refusal of a kubelet."""
    for name in _NOT_SERVED:
        if query.get(name, "false") not in ("false", "0"):
            raise bad_request(f"{name} is not served by the emulation")
    tail, limit = _limits(query)
    container = _container(pod, query.get("container", ""))
    previous = query.get("previous") in ("true", "1")
    _check_started(pod, container, previous=previous)
    text = logs.read(pod["metadata"]["uid"], container, previous=previous)
    if tail is not None:
        text = b"".join(text.splitlines(keepends=True)[-tail:]) if tail else b""
    return text if limit is None else text[:limit]


def _limits(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    found: list[int | None] = []
    causes: list[Cause] = []
    for name, least in (("tailLines", 0), ("limitBytes", 1)):
        given = query.get(name, "")
        if not given:
            found.append(None)
            continue
        try:
            number = int(given)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{given}": invalid syntax') from None
        found.append(number)
        if number < least:
            detail = f"must be greater than {'or equal to ' if least == 0 else ''}0"
            causes.append(invalid_value(name, number, detail))
    if causes:
        raise invalid("", "PodLogOptions", "", causes)
    tail, limit = found
    return tail, limit


def _container(pod: Object, wanted: str) -> str:
    spec, name = pod.get("spec", {}), pod["metadata"]["name"]
    containers = [str(c["name"]) for c in spec.get("containers", [])]
    init = [str(c["name"]) for c in spec.get("initContainers", [])]
    if wanted:
        if wanted not in containers + init:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(containers) == 1:
        return containers[0]
    message = (
        f"a container name must be specified for pod {name}, choose one of: "
        f"[{' '.join(containers)}]"
    )
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(message)


def _check_started(pod: Object, container: str, *, previous: bool) -> None:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    listed = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
    found: Any = next((s for s in listed if s["name"] == container), {})
    state, last = found.get("state", {}), found.get("lastState", {})
    if previous:
        if not last.get("terminated"):
            raise bad_request(
                f'previous terminated container "{container}" in pod "{name}" not found'
            )
    elif not state.get("running") and not state.get("terminated") and not last.get("terminated"):
        reason = (state.get("waiting") or {}).get("reason", "ContainerCreating")
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
