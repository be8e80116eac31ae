"""Copies in DR Regions: what lacks, when a schedule asks for it, what serves there; pure."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from datetime import datetime

from gilder.api.goldenimage import Replica
from gilder.api.lifecycle import seconds
from gilder.core import rules
from gilder.core.observed import Image, Key, Observed, Problem
from gilder.core.plan import Draft
from gilder.core.promotion import (
    held,
    kept_back,
)
from gilder.core.schedule import next_run
from gilder.core.slots import (
    Slot,
    keep,
    turn,
)
from gilder.core.times import moment, passed, rfc3339
from gilder.core.wanted import Wanted


def copies_to(
    want: Wanted,
    version: int,
    home: Image | None,
    owned: Sequence[Image],
    seen: Observed,
    now: datetime,
    draft: Draft,
    also: Collection[str] = (),
    but: Collection[str] = (),
) -> dict[str, Image]:
    """Region to copy of a version; what lacks is made, by schedule only in Regions of `also`."""
    found: dict[str, Image] = {}
    if home is None or not version:
        return found
    for replica in want.spec.replicas:
        if replica.region in but:
            continue
        makes = replica.schedule is None or replica.region in also
        copy = _replica(want, replica, version, home, owned, seen, now, draft if makes else Draft())
        if copy is not None:
            found[replica.region] = copy
    return found


def _replica(
    want: Wanted,
    replica: Replica,
    version: int,
    home: Image,
    owned: Sequence[Image],
    seen: Observed,
    now: datetime,
    draft: Draft,
) -> Image | None:
    """The copy in one DR Region if there is one; otherwise the action that makes it."""
    view = seen.region(replica.region)
    if view.problem:
        draft.note(view.problem)
        return None
    field_name = f"spec.replicas[{replica.region}].kmsKeyId"
    key: Key | None = None
    if (written := want.spec.key_of(replica)) is not None:
        usable = rules.key_usable(written, view.keys.get(written), field_name, replica.region)
        if isinstance(usable, Problem):
            draft.note(usable)
            return None
        key = usable
    elif home.encrypted:
        draft.stop(
            rules.KEY_REQUIRED,
            f"{field_name}: required, since {home.id} is encrypted and KMS keys are Regional. Name "
            f"a customer-managed key of {replica.region}",
            region=replica.region,
        )
        return None
    slot = Slot(want, version, home.fingerprint, replica.region, "replica", key, held=held(home))
    found = keep(slot, owned, draft)
    if found is not None:
        return found
    if problem := rules.product_code_copy(home):
        draft.note(problem)
        return None
    there, others = slot.filled_by(owned), slot.under_other_keys(owned)
    if home.available and (now_is := turn(slot, there, now, draft, others)):
        draft.do(slot.copy(home, now_is.attempt, now_is.predecessor))
    return None


def scheduled_due(
    want: Wanted, home: Image, owned: Sequence[Image], now: datetime, draft: Draft
) -> set[str]:
    """Regions with a schedule that are to have this version by now; the first copy is made at once,
    and one that is there is kept."""
    due = set()
    for replica in want.spec.replicas:
        if replica.schedule is None:
            continue
        copies = [i for i in owned if i.region == replica.region and i.role == "replica"]
        there = [i for i in copies if i.version == home.version and not i.failed]
        begun = next_run(replica.schedule, want.key, moment(_released(want, home, now)))
        if (
            there
            or not any(i.available or i.pending for i in copies)
            or (begun is not None and begun <= now)
        ):
            due.add(replica.region)
        elif (run := next_run(replica.schedule, want.key, now)) is not None:
            draft.wake(max(1.0, (run - now).total_seconds() + 1.0))
    return due


def _released(want: Wanted, home: Image, now: datetime) -> str:
    """When a version was released first: by status, or now; when it was made, if that is lost."""
    memory = want.memory
    now_it_is = memory.latest not in (0, home.version)
    return memory.released_at.get(home.version) or (rfc3339(now) if now_it_is else home.created)


def wake_for_lag(
    want: Wanted, released: int, served: Mapping[str, Image], now: datetime, draft: Draft
) -> None:
    """Look again when a Region that is behind becomes stale."""
    for replica in want.spec.replicas:
        there = served.get(replica.region)
        if there is None or there.version < released:
            left = seconds(replica.max_lag) - passed(want.memory.behind.get(replica.region), now)
            if left > 0:
                draft.wake(left + 1.0)


def served_in(
    want: Wanted,
    released: int,
    home: Image | None,
    owned: Iterable[Image],
    closed: Container[int],
    copies: Mapping[str, Image],
) -> dict[str, Image]:
    """What may be launched in each Region: the released version, or the last before it there.

    `copies` are those of the released version that spec asks for: under a former key, there may be
    others.
    """
    regions = {r.region for r in want.spec.replicas}
    found: dict[str, Image] = {} if home is None else {home.region: home}
    for image in owned:
        usable = image.available and 0 < image.version <= released and not kept_back(image)
        if image.region not in regions or image.role != "replica" or not usable:
            continue
        there = found.get(image.region)
        newer = there is None or (there.version, there.attempt) < (image.version, image.attempt)
        if newer and image.version not in closed:
            found[image.region] = image
    for region, image in copies.items():
        there = found.get(region)
        same = there is not None and image.version == there.version
        if same and image.available and not kept_back(image):
            found[region] = image
    return found
