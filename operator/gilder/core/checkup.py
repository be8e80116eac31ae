"""What a look at the surroundings of the operator found, and what is to be done about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from gilder.core.times import passed

State = Literal["ok", "warn", "fail", "unknown"]

# Seconds that the clock may be off. AWS refuses what was signed more than five minutes away.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
SKEW_TOLD, SKEW_TOO_MUCH = 30.0, 240.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and the way to mend it."""

    area: str
    what: str
    state: State
    said: str = ""
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return {k: v for k, v in asdict(self).items() if v}


def failed(findings: Iterable[Finding]) -> bool:
    """Whether the operator cannot work like this."""
    return any(f.state == "fail" for f in findings)


def skew(theirs: datetime, ours: datetime) -> Finding:
    """The own clock beside AWS's."""
    off = (ours - theirs).total_seconds()
    state: State = "ok"
    if abs(off) > SKEW_TOLD:
        state = "warn" if abs(off) <= SKEW_TOO_MUCH else "fail"
    word = "ahead of" if off > 0 else "behind"
    said = "agrees with AWS's" if state == "ok" else f"{abs(off):.0f} s {word} AWS's"
    fix = "" if state == "ok" else "set the time of the machine, by NTP"
    return Finding("aws", "clock", state, said, fix)


def definition(name: str, there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Finding:
    """A CRD of the cluster beside the one of this version."""
    fix = "gilder crds | kubectl apply --server-side -f -"
    if there is None:
        return Finding("kubernetes", f"CRD {name}", "fail", "is not there", fix)
    other = [v for v in _schemas(wanted) if _schemas(there).get(v) != _schemas(wanted)[v]]
    if other:
        said = f"is not that of this version: {', '.join(other)} differs"
        return Finding("kubernetes", f"CRD {name}", "fail", said, fix)
    conditions = (there.get("status") or {}).get("conditions") or []
    if not any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        said = "is not established (yet)"
        fix = f"kubectl describe crd {name}"
        return Finding("kubernetes", f"CRD {name}", "fail", said, fix)
    return Finding("kubernetes", f"CRD {name}", "ok", "is that of this version")


def lease(name: str, there: Mapping[str, Any] | None, now: datetime) -> Finding:
    """The Lease of the replicas."""
    what = f"lease {name}"
    if there is None:
        fix = "start the operator with GILDER_LEASE; it makes the Lease"
        return Finding("kubernetes", what, "warn", "nobody has taken it yet", fix)
    spec = there.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    lasts = float(spec.get("leaseDurationSeconds") or 0)
    age = passed(spec.get("renewTime"), now)
    if not holder:
        return Finding("kubernetes", what, "warn", "nobody holds it", "start the operator")
    if age > lasts:
        said = f"{holder} has not renewed it for {age:.0f} s"
        fix = "look at the pods: kubectl -n gilder-system get pods,events"
        return Finding("kubernetes", what, "warn", said, fix)
    return Finding("kubernetes", what, "ok", f"held by {holder}")


def _schemas(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Version to its schema, as far as it says something."""
    versions: Sequence[Mapping[str, Any]] = (definition.get("spec") or {}).get("versions") or []
    return {str(v.get("name")): _plain(v.get("schema")) for v in versions}


def _plain(value: Any) -> Any:
    """Without what is empty, which an API server may add or leave out."""
    if isinstance(value, Mapping):
        found = {k: _plain(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v not in (None, {}, [])}
    return [_plain(v) for v in value] if isinstance(value, list) else value
