"""Why and from what a version was built, and what asks for the next build; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gilder.api.schedule import Schedule
from gilder.core.digest import digest
from gilder.core.schedule import last_run

INITIAL = "initial"


@dataclass(frozen=True, slots=True)
class Origin:
    """As the tag goldenimage.dev/origin says it: `trigger=... inputs=... parent=...`."""

    trigger: str = ""
    inputs: str = ""
    parent: str = ""

    def __str__(self) -> str:
        pairs = (("trigger", self.trigger), ("inputs", self.inputs), ("parent", self.parent))
        return " ".join(f"{k}={v}" for k, v in pairs if v)


def parse_origin(text: str) -> Origin | None:
    """The origin a tag tells of; None when it tells of none."""
    pairs = dict(p.split("=", 1) for p in text.split() if "=" in p)
    if not pairs.get("trigger"):
        return None
    return Origin(pairs["trigger"], pairs.get("inputs", ""), pairs.get("parent", ""))


@dataclass(frozen=True, slots=True)
class History:
    """What was built before, as far as triggers go by it.

    `origin` is that of the last build that ended, or else of the newest version. `since` is when
    the last build began or the newest AMI was made, RFC 3339: what the schedule asked for before
    is done.
    """

    origin: Origin | None = None
    since: str = ""
    any: bool = False  # there is some version already
    request: str | None = None  # the last value of the rebuild annotation that was heeded
    lost: str = ""  # AMI of the newest version that is gone, with nothing to make it from


def due(
    schedule: Schedule | None,
    key: str,
    request: str | None,
    inputs: str,
    parent: str,
    history: History,
    now: datetime,
) -> str:
    """The trigger that asks for a build now; empty when none does.

    `inputs` is the digest of what spec.source says, `parent` the AMI it starts from where that is
    followed. Without `inputs` (a capture of an instance) only time and requests count.
    """
    last = history.origin
    asked = of_request(request) if request else ""
    if asked and request != history.request and (last is None or last.trigger != asked):
        return asked
    if inputs and last is None:
        return f"spec/{inputs}" if history.any else INITIAL
    on = schedule.rebuild_on if schedule is not None else ("SpecChanged",)
    if inputs and last is not None:
        if "SpecChanged" in on and last.inputs != inputs:
            return f"spec/{inputs}"
        if "ParentImageChanged" in on and parent and last.parent not in ("", parent):
            return f"parent/{parent}"
    if history.lost:
        return f"lost/{history.lost}"
    if schedule is not None and (history.any or last is not None):
        run = last_run(schedule, key, now)
        if run is not None and _before(history.since, run):
            return f"schedule/{run:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def of_request(request: str) -> str:
    """The trigger that a value of the rebuild annotation is."""
    return f"request/{_short(request)}"


def build_id(*parts: object) -> str:
    """The id of a build: the same parts give the same build, whatever crashed in between."""
    return digest("build", *parts, length=20)


def newest(origins: Iterable[tuple[int, str]]) -> Origin | None:
    """The origin of the highest version that tells of one, from (version, tag) pairs."""
    for _, text in sorted(origins, reverse=True):
        if found := parse_origin(text):
            return found
    return None


def _short(request: str) -> str:
    plain = request.isascii() and request.isprintable() and not set(request) & set(" =/")
    return request if plain and len(request) <= 40 else digest(request, length=12)


def _before(since: str, run: datetime) -> bool:
    """Whether a run came after `since`; without a `since` nothing is known to be missed."""
    try:
        return datetime.fromisoformat(since) < run
    except ValueError:
        return False
