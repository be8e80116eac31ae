"""What a GoldenImage leaves behind, by its deletion policy; pure."""

from collections.abc import Mapping
from datetime import datetime

from gilder.api.lifecycle import Retention
from gilder.api.names import TAG_PREFIX
from gilder.core.actions import (
    DeleteSnapshot,
    DeregisterImage,
    ProtectImage,
    ReportUsage,
    UntagResources,
)
from gilder.core.digest import digest
from gilder.core.observed import Image, Observed, Use
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.retention import BLOCKED_POLL, REPORT_AGE, REPORT_POLL, asks_others
from gilder.core.slots import POLL
from gilder.core.times import passed
from gilder.core.wanted import Wanted


def asked_on_deletion(want: Wanted, seen: Observed) -> dict[str, dict[str, bool]]:
    """As gilder.core.retention.asked: every AMI that is to go, as of now."""
    found: dict[str, dict[str, bool]] = {}
    if want.spec.deletion_policy == "Delete":
        for image in seen.owned(want.cluster, want.key):
            found.setdefault(image.region, {})[image.id] = True
    return found


def plan_deletion(want: Wanted, seen: Observed, uses: Mapping[str, Use], now: datetime) -> Plan:
    """What spec.deletionPolicy asks of AWS once no ImageShare needs the image.

    `uses` tells what uses an AMI; one that is used, or of which it is not known, is never
    deregistered. Copies go before what they were made from.
    """
    draft = Draft()
    policy = want.spec.deletion_policy
    if policy == "Retain":
        return freeze(draft)
    for view in seen.regions.values():
        if view.problem:
            draft.note(view.problem)
    owned = seen.owned(want.cluster, want.key)
    for image in sorted(owned, key=lambda i: (i.region == want.spec.region, i.version)):
        if policy == "Orphan":
            _let_go(image.region, (image.id, *image.snapshots), image.tags, draft)
        elif image.region == want.spec.region and _goes_elsewhere(want, draft):
            continue  # Regions are worked on side by side, so home comes in a later look
        elif _may_go(want, image, uses.get(image.id), now, draft):
            draft.do(
                DeregisterImage(region=image.region, image=image.id, snapshots=image.snapshots)
            )
    for region, view in sorted(seen.regions.items()):
        for snapshot in view.spare(want.cluster, want.key, owned):
            if policy == "Delete":
                draft.do(DeleteSnapshot(region=region, snapshot=snapshot.id))
            else:
                _let_go(region, (snapshot.id,), snapshot.tags, draft)
    return freeze(draft)


def _goes_elsewhere(want: Wanted, draft: Draft) -> bool:
    """Whether a copy goes in this look."""
    going = (a for a in draft.actions if isinstance(a, DeregisterImage))
    return any(a.region != want.spec.region for a in going)


def _let_go(region: str, ids: tuple[str, ...], tags: Mapping[str, str], draft: Draft) -> None:
    keys = tuple(sorted(k for k in tags if k.startswith(TAG_PREFIX)))
    draft.do(UntagResources(region=region, resources=ids, keys=keys))


def _may_go(want: Wanted, image: Image, use: Use | None, now: datetime, draft: Draft) -> bool:
    retention = want.spec.retention_in(image.region)
    if not image.failed:
        if use is None or use.problem is not None:
            why = use.problem.message if use is not None and use.problem is not None else "unread"
            by = f"possibly something ({why})"
        else:
            # An old report is asked anew below.
            told = passed(use.reported_at, now) < BLOCKED_POLL
            by = ", ".join((*use.by, *(use.others if told and asks_others(retention) else ())))
        if by:
            _stays(image, by, draft)
            return False
        if asks_others(retention) and not _reported(want, image, use or Use(), now, draft):
            return False
    return _unprotected(image, retention, draft)


def _stays(image: Image, by: str, draft: Draft) -> None:
    draft.stop(
        "ImageInUse",
        f"{image.id} in {image.region} is used by {by} and stays. Stop using it, or set "
        "spec.deletionPolicy to Retain or Orphan",
        region=image.region,
    )


def _reported(want: Wanted, image: Image, use: Use, now: datetime, draft: Draft) -> bool:
    """Whether a usage report says that no other account uses an AMI; asks for one if not."""
    age = passed(use.reported_at, now)
    if use.lack is not None:
        draft.stop(
            "UsageUnknown",
            f"{image.id} in {image.region} stays: {use.lack.message}. It is not known which other "
            "accounts use it; set checkOtherAccounts to false in spec.retention to do without",
            region=image.region,
        )
        return False
    if use.report == "available" and age < REPORT_AGE and not use.others:
        return True
    if use.report == "pending" and age < REPORT_AGE:
        draft.wait(f"the report of other accounts that use {image.id}", REPORT_POLL)
    elif use.report and use.report != "available" and age < REPORT_AGE:
        draft.stop(
            "UsageUnknown",
            f"{image.id} in {image.region} stays: the usage report of other accounts failed. See "
            "it in EC2 and delete it there, or set checkOtherAccounts to false in spec.retention",
            region=image.region,
        )
    else:
        token = digest(want.cluster, image.id, want.uid, use.reported_at, length=48)
        draft.do(ReportUsage(region=image.region, image=image.id, token=token))
        draft.wait(f"the report of other accounts that use {image.id}", POLL)
    return False


def _unprotected(image: Image, retention: Retention | None, draft: Draft) -> bool:
    """Whether AWS lets an AMI be deregistered, as far as its protection tells."""
    if not image.protection.startswith("enabled"):
        return True
    if retention is None or retention.deregistration_protection is None:
        draft.stop(
            "DeregistrationProtected",
            f"{image.id} in {image.region} is protected from being deregistered, and stays. Turn "
            "the protection off, or set spec.deletionPolicy to Retain or Orphan",
            region=image.region,
        )
        return False
    draft.do(ProtectImage(region=image.region, image=image.id, mode="disabled"))
    draft.wait(f"the protection of {image.id} to end", POLL)
    return False
