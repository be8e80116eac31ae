"""What goes of the AMIs and snapshots of one GoldenImage, when, and what keeps it; pure.

Nothing goes that was not announced in status before, and nothing of which it is not known for
certain that nobody uses it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gilder.api.goldenimage import Leftover, Retiring
from gilder.api.lifecycle import Retention, seconds
from gilder.api.names import TAG_ADOPTED, TAG_ROLE, TAG_VERSION
from gilder.core.actions import (
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    ProtectImage,
    ReportUsage,
)
from gilder.core.digest import digest
from gilder.core.gating import PENDING
from gilder.core.observed import Image, Observed, RegionView, Use
from gilder.core.plan import Draft, sooner
from gilder.core.promotion import COPIES, kept_back
from gilder.core.slots import ROLES
from gilder.core.times import moment, passed, rfc3339
from gilder.core.wanted import Wanted

DISABLE, DEREGISTER, DELETE = "Disable", "Deregister", "DeleteSnapshot"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
COOLDOWN = 24 * 3600.0
REPORT_AGE = 24 * 3600.0  # seconds for which a usage report counts
REPORT_POLL = 60.0
BLOCKED_POLL = 3600.0  # seconds between looks at what keeps something
SOON = 1.0
MOST_RETIRING = 100  # that status has room for
OPEN = 20  # of these for what nothing holds yet, so that each has its turn
AHEAD = 120.0  # seconds: a deprecation can only be set to a time to come
# What AWS gives every public AMI; it is not taken off, nor put off, while the AMI is public:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html
PUBLIC = timedelta(days=730)

MODES: Mapping[str, str] = {
    "Enabled": "enabled-without-cooldown",
    "EnabledWithCooldown": "enabled-with-cooldown",
    "Disabled": "disabled",
}

NO_USES: Mapping[str, Use] = {}


@dataclass(frozen=True, slots=True)
class Standing:
    """The versions that are not superseded: released, on its way, pinned; 0 for none."""

    released: int = 0
    candidate: int = 0
    pinned: int = 0
    asked: int = 0  # what the source may stand for, while it cannot be read
    # That have not passed their gates, or are to again: Pending or Failed.
    closed: Mapping[int, str] = field(default_factory=dict)
    images: frozenset[str] = frozenset()  # AMIs that serve, or are to

    @property
    def kept(self) -> frozenset[int]:
        return frozenset({self.released, self.candidate, self.pinned, self.asked}) - {0}


@dataclass(frozen=True, slots=True)
class Retirement:
    """For status: what goes, and snapshots that no AMI uses."""

    retiring: tuple[Retiring, ...] = ()
    leftovers: tuple[Leftover, ...] = ()


NO_RETIREMENT = Retirement()


def asks_others(retention: Retention | None) -> bool:
    """Whether it matters what other accounts use."""
    return retention is None or retention.check_other_accounts


@dataclass(slots=True)
class _Pass:
    """One planning of all Regions."""

    want: Wanted
    standing: Standing
    uses: Mapping[str, Use]
    now: datetime
    draft: Draft
    retiring: list[Retiring] = field(default_factory=list)
    first: float | None = None  # seconds until the first of what is announced now goes

    def announced(self, left: float) -> None:
        self.first = sooner(self.first, left)


def fitted(retiring: Sequence[Retiring], most: int = MOST_RETIRING) -> tuple[Retiring, ...]:
    """What status has room for. Of many, what is held does not crowd out the rest: what is not
    told is not announced, and never goes."""
    if len(retiring) <= most:
        return tuple(retiring)
    held = [r for r in retiring if r.held_by]
    free = sorted((r for r in retiring if not r.held_by), key=lambda r: (r.since, r.region, r.id))
    room = max(most - len(free), most - OPEN)
    chosen = [*held[:room], *free[: most - len(held[:room])]]
    return tuple(sorted(chosen, key=lambda r: (r.at, r.region, r.id)))


def asked(want: Wanted, now: datetime) -> dict[str, dict[str, bool]]:
    """Region to AMIs whose use the plan looks at, and whether it must be known as of now."""
    found: dict[str, dict[str, bool]] = {}
    for one in want.memory.retiring.values():
        if one.action != DELETE:
            fresh = passed(one.at, now) >= 0 and not one.held_by
            found.setdefault(one.region, {})[one.id] = fresh
    return found


def plan_retention(
    want: Wanted,
    owned: Sequence[Image],
    seen: Observed,
    standing: Standing,
    uses: Mapping[str, Use],
    now: datetime,
    draft: Draft,
) -> Retirement:
    """Deprecation, protection, and what is announced or carried out, Region by Region."""
    run = _Pass(want, standing, uses, now, draft)
    leftovers: list[Leftover] = []
    for region, view in sorted(seen.regions.items()):
        if view.problem:
            # Nothing is known of it: what was announced stays so, and waits.
            run.retiring += [r for r in want.memory.retiring.values() if r.region == region]
            continue
        mine = [i for i in owned if i.region == region]
        retention = want.spec.retention_in(region)
        copies = copies_of(mine, standing.images)
        keepers = _keepers(copies, standing)
        going = _going(run, retention, mine, copies, keepers)
        for image, action, reason in going:
            _retire(run, retention, image, action, reason)
        gone = {i.id for i, action, _ in going if action == DEREGISTER}
        if retention is not None:
            stay = [(v, i) for v, i in copies.items() if i.id not in gone]
            for version, image in stay:
                _deprecate(run, retention, image, superseded=version not in keepers)
                _protect(retention, image, draft)
        leftovers += _leftovers(run, retention, view, mine, copies)
    run.retiring.sort(key=lambda r: (r.at, r.region, r.id))
    if run.first is not None:
        # What status has no room for is announced again and again.
        least = SOON if len(run.retiring) <= MOST_RETIRING else BLOCKED_POLL
        draft.wake(max(run.first, least))
    return Retirement(fitted(run.retiring), tuple(leftovers))


def copies_of(images: Iterable[Image], standing: frozenset[str] = frozenset()) -> dict[int, Image]:
    """Version to the AMI that stands for it in one Region, newest first.

    An available one, and of several one that serves, or else the last attempt: a copy under a
    changed key is one.
    """
    found: dict[int, Image] = {}
    rank = {"available": 0, "disabled": 1, "pending": 2, "transient": 2}
    there = [i for i in images if i.version and i.role in COPIES and i.state in rank]
    order = sorted(
        there,
        key=lambda i: (rank[i.state], i.id not in standing, -i.attempt, i.created, i.id),
    )
    for image in order:
        found.setdefault(image.version, image)
    return dict(sorted(found.items(), reverse=True))


def _good(copies: Mapping[int, Image], standing: Standing) -> list[int]:
    """Versions of a Region that were released and can be launched, or enabled again."""
    return [
        v
        for v, i in copies.items()
        if (i.available or i.state == "disabled") and not kept_back(i) and v not in standing.closed
    ]


def _keepers(copies: Mapping[int, Image], standing: Standing) -> frozenset[int]:
    """Versions that never go from a Region: what is not superseded, and the last good ones."""
    good = _good(copies, standing)
    launchable = [v for v in good if copies[v].available]
    behind = [v for v in launchable if v <= standing.released]
    return standing.kept | {*good[:1], *launchable[:1], *behind[:1]}


def _going(
    run: _Pass,
    retention: Retention | None,
    mine: Sequence[Image],
    copies: Mapping[int, Image],
    keepers: frozenset[int],
) -> list[tuple[Image, str, str]]:
    """AMIs that are due to go, whether somebody uses them or not, with how and why."""
    standing = run.standing
    good = _good(copies, standing)
    found: list[tuple[Image, str, str]] = []
    rest = [i for i in mine if copies.get(i.version) is not i and TAG_ADOPTED not in i.tags]
    for image in rest:
        whole = copies.get(image.version)
        if image.failed and image.version not in standing.kept:
            found.append((image, DEREGISTER, f"it failed: {image.state_reason or 'no reason'}"))
        elif whole is None or not whole.available or image.failed or image.pending:
            continue
        elif image.role == "intermediate":
            found.append((image, DEREGISTER, f"{whole.id} was made from it"))
        elif image.role in COPIES and retention is not None:
            found.append((image, DEREGISTER, f"{whole.id} has taken its place"))
    if retention is None:
        return found
    unreleased = [v for v in copies if v not in good and not copies[v].pending]
    for version, image in copies.items():
        if version in keepers or image.pending or _in_doubt(image, standing):
            continue
        age = passed(image.created, run.now)
        if age == float("inf"):
            continue  # nobody knows how old it is
        old = retention.max_age is not None and age > seconds(retention.max_age)
        aged = retention.max_age is None or old
        if version in good:
            rank = good.index(version)
            beyond = retention.keep is None or rank >= retention.keep
            if retention.removes and beyond and aged:
                found.append((image, DEREGISTER, _why(retention, f"{rank} newer are kept")))
                continue
            limit = retention.disable_after
            if limit is not None and image.available and age > seconds(limit):
                found.append((image, DISABLE, f"it is older than disableAfter ({limit})"))
        elif retention.removes and aged and unreleased.index(version) >= retention.keep_unreleased:
            found.append((image, DEREGISTER, _why(retention, "it was never released")))
    return found


def _in_doubt(image: Image, standing: Standing) -> bool:
    """Whether an AMI is a copy of what had passed, while a home AMI made anew is checked.

    It counts for nothing then, and stays, since what it was made from was good.
    """
    checked = standing.closed.get(image.version) == PENDING
    return image.role == "replica" and checked and not kept_back(image)


def _why(retention: Retention, first: str) -> str:
    parts = []
    if retention.keep is not None or not first.endswith("are kept"):
        parts.append(first)
    if retention.max_age is not None:
        parts.append(f"it is older than maxAge ({retention.max_age})")
    return " and ".join(parts)


def _retire(
    run: _Pass, retention: Retention | None, image: Image, action: str, reason: str
) -> None:
    """Announce it; carry it out once it was announced long enough and nobody uses it."""
    known = run.want.memory.retiring.get(image.id)
    if known is not None and known.action != action:
        known = None
    scrap = image.role == "intermediate" or image.failed
    grace = 0.0 if scrap or retention is None else seconds(retention.grace_period)
    since = known.since if known is not None else rfc3339(run.now)
    at = _later(since, grace)
    unprotected = known.unprotected if known is not None else None
    if unprotected is not None:
        at = max(at, _later(unprotected, COOLDOWN))
    told = Retiring(
        id=image.id,
        region=image.region,
        version=image.version,
        action=action,
        reason=reason,
        since=since,
        at=at,
        unprotected=unprotected,
        tried=known.tried if known is not None else None,
    )
    left = -passed(at, run.now)
    if known is None:
        run.retiring.append(told)
        run.announced(left)
        return
    if left > 0:
        by = _used(run, retention, image, certain=False)
        run.retiring.append(told.model_copy(update={"held_by": by}))
        run.draft.wake(max(left, SOON))
        return
    if known.tried and passed(known.tried, run.now) < BLOCKED_POLL:
        run.retiring.append(told.model_copy(update={"held_by": known.held_by}))
        run.draft.wake(BLOCKED_POLL)
        return
    by = _used(run, retention, image, certain=True)
    if not by and not scrap and asks_others(retention):
        by = _elsewhere(run, image, since)
    protected = action == DEREGISTER and image.protection.startswith("enabled")
    if protected and (retention is None or retention.deregistration_protection is None):
        by = by or (
            "deregistration protection that is not the operator's. Turn it off, or set "
            "deregistrationProtection in the retention"
        )
    if not by and (use := run.uses.get(image.id)) is not None and use.old:
        run.retiring.append(told)  # no longer held, so that the next look asks anew
        run.draft.wake(SOON)
        return
    if not by and protected:
        run.draft.do(ProtectImage(region=image.region, image=image.id, mode="disabled"))
        cooldown = image.protection == MODES["EnabledWithCooldown"]
        if cooldown:
            off = rfc3339(run.now)
            told = told.model_copy(update={"unprotected": off, "at": _later(off, COOLDOWN)})
        run.retiring.append(told)
        run.draft.wake(COOLDOWN if cooldown else SOON)
        return
    run.retiring.append(told.model_copy(update={"held_by": by}))
    if by:
        run.draft.wake(BLOCKED_POLL)
    elif action == DISABLE:
        run.draft.do(DisableImage(region=image.region, image=image.id))
    else:
        deletes = scrap or retention is None or retention.delete_snapshots
        parts = image.snapshots if deletes else ()
        run.draft.do(
            DeregisterImage(region=image.region, image=image.id, snapshots=parts, leftover=True)
        )


def _used(run: _Pass, retention: Retention | None, image: Image, *, certain: bool) -> str:
    """What uses an AMI in its account; empty when nothing does, for `certain` if that is known."""
    if image.failed:
        return ""  # it cannot be launched
    limit = seconds(retention.unused_for) if retention is not None else 0.0
    if limit and image.launched_at and passed(image.launched_at, run.now) < limit:
        return f"a launch at {image.launched_at}"
    use = run.uses.get(image.id)
    if use is None:
        return "it is not known what uses it" if certain else ""
    if use.problem is not None:
        return f"it could not be told what uses it: {use.problem.message}"
    # What other accounts use is in doubt when the report is old.
    return ", ".join(use.by if certain else (*use.by, *use.others))


def _elsewhere(run: _Pass, image: Image, since: str) -> str:
    """What other accounts use, by a usage report of after the announcement, or that it lacks."""
    use = run.uses.get(image.id, Use())
    if use.lack is not None:
        return f"it could not be told what other accounts use: {use.lack.message}"
    fresh = use.reported_at >= since and passed(use.reported_at, run.now) < REPORT_AGE
    if fresh and use.report == "available":
        return ", ".join(use.others)
    if not fresh or use.report not in ("pending", "available"):
        failed = fresh and use.report not in ("", "pending", "available")
        if failed and passed(use.reported_at, run.now) < BLOCKED_POLL:
            run.draft.wake(BLOCKED_POLL)
            return "the usage report of other accounts, which failed"
        token = digest(run.want.cluster, image.id, since, use.reported_at, length=48)
        run.draft.do(ReportUsage(region=image.region, image=image.id, token=token))
    run.draft.wake(REPORT_POLL)
    return "the usage report of other accounts, which is under way"


def _deprecate(run: _Pass, retention: Retention, image: Image, *, superseded: bool) -> None:
    """Only AMIs that were superseded are deprecated: those who search still find the newest."""
    if retention.deprecate_after is None or not (image.available or image.state == "disabled"):
        return
    wish = timedelta(seconds=seconds(retention.deprecate_after))
    fixed = _set_by_aws(image, wish)
    if not superseded:
        if image.deprecated_at and not fixed:
            run.draft.do(DeprecateImage(region=image.region, image=image.id))
        return
    if fixed and wish > PUBLIC:
        return  # AWS puts it off no further
    due = moment(image.created) + wish
    there = moment(image.deprecated_at) if image.deprecated_at else None
    if due <= run.now:
        if there is not None and there <= run.now + timedelta(seconds=2 * AHEAD):
            return
        due = run.now + timedelta(seconds=AHEAD)
    elif there is not None and abs(there - due) <= timedelta(minutes=1):
        return  # AWS rounds to the minute
    # "If you specify a value for seconds, Amazon EC2 rounds the seconds to the nearest minute":
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html
    at = rfc3339(due.replace(second=0, microsecond=0))
    run.draft.do(DeprecateImage(region=image.region, image=image.id, at=at))


def _set_by_aws(image: Image, wish: timedelta) -> bool:
    """Whether an AMI has the date of public ones, and not because it was wished for."""
    day = timedelta(days=1)
    if not image.deprecated_at or abs(wish - PUBLIC) <= day:
        return False
    return abs(moment(image.deprecated_at) - moment(image.created) - PUBLIC) <= day


def _protect(retention: Retention, image: Image, draft: Draft) -> None:
    wish = retention.deregistration_protection
    if wish is None or not image.available:
        return
    mode = MODES[wish]
    # While a cooldown runs AWS says disabled, with more or less about since when.
    same = image.protection.startswith("disabled") or not image.protection
    if image.protection != mode and not (wish == "Disabled" and same):
        draft.do(ProtectImage(region=image.region, image=image.id, mode=mode))  # type: ignore[arg-type]


def _leftovers(
    run: _Pass,
    retention: Retention | None,
    view: RegionView,
    mine: Sequence[Image],
    copies: Mapping[int, Image],
) -> list[Leftover]:
    """Snapshots with our tags that no AMI uses; they go like AMIs, where snapshots do.

    What may be all that is left of a version that is to stay is told of, and stays. So does an AMI
    whose tags somebody has altered, if status does not know better.
    """
    want = run.want
    found = [Leftover(id=i.id, region=view.region, version=i.version) for i in mine if _unclear(i)]
    spare = view.spare(want.cluster, want.key, mine)
    if not spare:
        return found
    pending = {i.version for i in mine if i.pending}  # whose snapshots are not all named yet
    there = {v for v, i in copies.items() if i.available}
    spent = bool(there.intersection(_good(copies, run.standing)))
    for snapshot in spare:
        version = snapshot.version
        if version in pending:
            continue
        found.append(Leftover(id=snapshot.id, region=view.region, version=version))
        needed = not spent or version in run.standing.kept - there
        if retention is not None and retention.delete_snapshots and not needed:
            _delete(run, retention, found[-1])
    return found


def _unclear(image: Image) -> bool:
    """Whether the tags of an AMI of ours name no version, or no role."""
    tags = image.tags
    return (TAG_VERSION in tags and not image.version) or (
        TAG_ROLE in tags and image.role not in ROLES
    )


def _delete(run: _Pass, retention: Retention, left: Leftover) -> None:
    known = run.want.memory.retiring.get(left.id)
    since = known.since if known is not None else rfc3339(run.now)
    at = _later(since, seconds(retention.grace_period))
    wait = -passed(at, run.now)
    tried = known.tried if known is not None else None
    refused = tried is not None and passed(tried, run.now) < BLOCKED_POLL
    run.retiring.append(
        Retiring(
            held_by=known.held_by if known is not None and refused else "",
            tried=tried,
            id=left.id,
            region=left.region,
            version=left.version,
            action=DELETE,
            reason="no AMI uses it",
            since=since,
            at=at,
        )
    )
    if refused:
        run.draft.wake(BLOCKED_POLL)
    elif known is None:
        run.announced(wait)
    elif wait > 0:
        run.draft.wake(max(wait, SOON))
    else:
        run.draft.do(DeleteSnapshot(region=left.region, snapshot=left.id))


def _later(since: str, by: float) -> str:
    return rfc3339(moment(since) + timedelta(seconds=by))
