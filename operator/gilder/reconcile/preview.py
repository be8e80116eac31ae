"""Plans of many resources as if each had been applied in turn: shares of AMIs not made yet."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gilder.api import GoldenImage, ImageShare
from gilder.api.goldenimage import LatestVersion
from gilder.core.observed import Grant, Observed, Principals, RegionView
from gilder.core.plan import Plan
from gilder.core.predict import predict
from gilder.core.report_share import claims
from gilder.core.sharing import Place
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Wanted
from gilder.reconcile.engine import Engine, plan_scope
from gilder.reconcile.inventory import Inventory

ROUNDS = 6  # plans that follow from one another; capture, encrypt, copy, tag is the longest chain


def preview(
    engine: Engine, images: Iterable[GoldenImage], shares: Iterable[ImageShare]
) -> dict[tuple[str, str], Plan]:
    """(kind, namespace/name) to the whole plan, images first. Nothing is changed.

    Steps that follow from earlier ones are in it, with placeholders for ids AWS will give.
    """
    inventory = Inventory(engine.cluster)
    for image in images:
        inventory.put_image(image)
    for share in shares:
        inventory.put_share(share)
    since = engine.views.now()
    engine.prefetch(inventory.needs(), since)
    plans: dict[tuple[str, str], Plan] = {}
    world: dict[str, RegionView] = {}  # Regions as the plans so far would leave them
    for image in sorted(images, key=lambda i: i.metadata.key):
        key = image.metadata.key
        scope = inventory.image_scope(key)
        want = scope.want
        seen, now = engine.plan_image(image, scope, since)
        for region, view in seen.regions.items():
            known = world.get(region, view)
            world[region] = replace(
                known,
                keys={**view.keys, **known.keys},
                parameters={**view.parameters, **known.parameters},
            )
        whole, version, after = _chain(engine, want, now, Observed(seen.account, dict(world)))
        world.update(after.regions)
        plans[("GoldenImage", key)] = whole
        if version:
            latest = LatestVersion(version=version, image_id="")
            status = image.status.model_copy(update={"latest": latest})
            inventory.put_image(image.model_copy(update={"status": status}))
    in_order = sorted(shares, key=lambda s: s.metadata.key)
    for share in in_order:
        # What each would claim, since shares of other AMIs may need grants on the same keys.
        whole_scope = inventory.share_scope(share.metadata.key)
        _, found = engine.plan_share(whole_scope, since, lambda s: _overlay(s, world))
        claimed = claims(share, whole_scope.mine, found)
        if claimed is not None:
            inventory.put_share(share.model_copy(update={"status": claimed}))
    given = _Given()
    for share in in_order:
        whole_scope = inventory.share_scope(share.metadata.key)
        seen, found = engine.plan_share(whole_scope, since, lambda s: _overlay(s, world))
        if seen.account:
            seen = given.onto(seen)
            found = plan_scope(whole_scope, seen, engine.cluster)
            given.learn(seen, predict(seen, found.plan.actions))
        plans[("ImageShare", share.metadata.key)] = found.plan
    return plans


def _chain(
    engine: Engine, want: Wanted, first: ImagePlan, seen: Observed
) -> tuple[Plan, int, Observed]:
    """The plan of an image with all that follows from it: whole plan, version, world after."""
    if first.source is None or want.spec.source.built:
        # What will have been built is not known, and nothing of it can be planned.
        return first.plan, first.version, predict(seen, first.plan.actions)
    whole, version = Plan(), 0
    for _ in range(ROUNDS):
        found = plan_image(want, first.source, seen, engine.now())
        version = found.version if found.home is not None else version
        fresh = tuple(a for a in found.plan.actions if a not in whole.actions)
        whole = Plan(
            (*whole.actions, *fresh),
            tuple(dict.fromkeys([*whole.problems, *found.plan.problems])),
            found.plan.waiting,
            found.plan.retry_after,
        )
        if not fresh:
            break
        seen = predict(seen, found.plan.actions)
    return whole, version, seen


def _overlay(seen: Observed, world: Mapping[str, RegionView]) -> Observed:
    """`seen` with the AMIs that the images' plans will have made."""
    regions = dict(seen.regions)
    for name, view in regions.items():
        planned = world.get(name)
        if planned is not None and not view.problem:
            regions[name] = replace(
                view,
                images={**view.images, **planned.images},
                permissions=dict(planned.permissions),
                grants=dict(planned.grants),
                keys={**view.keys, **planned.keys},
            )
    return Observed(seen.account, regions)


class _Given:
    """Permissions and grants that the plans of earlier shares would have changed."""

    def __init__(self) -> None:
        self._permissions: dict[Place, Principals] = {}
        self._grants: dict[tuple[str, str], tuple[Grant, ...]] = {}

    def learn(self, before: Observed, after: Observed) -> None:
        for name, view in after.regions.items():
            was = before.region(name)
            for image, who in view.permissions.items():
                if was.permissions.get(image) != who:
                    self._permissions[(name, image)] = who
            for key, grants in view.grants.items():
                if was.grants.get(key) != grants:
                    self._grants[(name, key)] = grants

    def onto(self, seen: Observed) -> Observed:
        regions = dict(seen.regions)
        for name, view in regions.items():
            permissions = {i: w for (r, i), w in self._permissions.items() if r == name}
            grants = {k: g for (r, k), g in self._grants.items() if r == name}
            regions[name] = replace(
                view,
                permissions={**view.permissions, **permissions},
                grants={**view.grants, **grants},
            )
        return Observed(seen.account, regions)
