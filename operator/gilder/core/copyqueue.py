"""Copies that wait for a place among those under way into their destination Region; pure."""

from collections.abc import Collection
from dataclasses import replace

from gilder.core.actions import AnyAction, CopyImage
from gilder.core.observed import RegionView
from gilder.core.plan import sooner
from gilder.core.slots import POLL
from gilder.core.versions import ImagePlan


def under_way(view: RegionView) -> frozenset[str]:
    """AMIs of one Region that take a place: what is pending, of all GoldenImages.

    Captures of instances are counted too, since AWS does not tell them from copies.
    """
    return frozenset(i.id for i in view.images.values() if i.pending)


def hold_back(plan: ImagePlan, waiting: Collection[CopyImage]) -> ImagePlan:
    """The plan without copies that have no place yet; it says where they wait."""
    if not waiting:
        return plan
    regions = frozenset(c.region for c in waiting)
    rest: tuple[AnyAction, ...] = tuple(a for a in plan.plan.actions if a not in waiting)
    told = tuple(
        f"a free place among the copies into {r} (GILDER_MAX_COPIES)" for r in sorted(regions)
    )
    narrowed = replace(
        plan.plan,
        actions=rest,
        waiting=(*plan.plan.waiting, *told),
        retry_after=sooner(plan.plan.retry_after, POLL),
    )
    return replace(plan, plan=narrowed, queued=plan.queued | regions)
