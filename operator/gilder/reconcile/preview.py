"""Plans of many resources as if each had been applied in turn: shares of AMIs not made yet."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from gilder.api import GoldenImage, ImageShare
from gilder.api.goldenimage import LatestVersion
from gilder.core.observed import Grant, Key, Observed, Principals, RegionView
from gilder.core.plan import Plan
from gilder.core.predict import predict
from gilder.core.publishing import plan_publish
from gilder.core.report_share import claims
from gilder.core.retention import asked
from gilder.core.shares import KeyPlace, Place
from gilder.core.sharing import SharePlan, together
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Wanted
from gilder.reconcile.engine import Engine, plan_scope
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.inventory import Inventory

V = TypeVar("V")

ROUNDS = 6  # plans that follow from one another; capture, encrypt, copy, tag is the longest chain


def preview(
    fleet: Fleet, images: Iterable[GoldenImage], shares: Iterable[ImageShare]
) -> dict[tuple[str, str], Plan]:
    """(kind, namespace/name) to the whole plan, images first. Nothing is changed.

    Steps that follow from earlier ones are in it, with placeholders for ids AWS will give.
    """
    inventory = Inventory(fleet.own.cluster, fleet.others)
    for image in images:
        inventory.put_image(image)
    for share in shares:
        inventory.put_share(share)
    since = fleet.own.views.now()
    fleet.prefetch(inventory.needs(), since)
    plans: dict[tuple[str, str], Plan] = {}
    # Regions by account as the plans so far would leave them.
    worlds: dict[str, dict[str, RegionView]] = {}
    for image in sorted(images, key=lambda i: i.metadata.key):
        key = image.metadata.key
        scope = fleet.admitted(image, inventory.image_scope(key))
        want = scope.want
        account = inventory.account_of(key)
        engine, world = fleet.engine(account), worlds.setdefault(account, {})
        seen, now = engine.plan_image(image, scope, since)
        for region, view in seen.regions.items():
            known = world.get(region, view)
            world[region] = replace(
                known,
                keys={**view.keys, **known.keys},
                parameters={**view.parameters, **known.parameters},
                published={**view.published, **known.published},
                tagged=view.tagged,
                templates={**view.templates, **known.templates},
            )
        whole, version, after = _chain(
            engine, want, now, Observed(seen.account, dict(world)), since
        )
        world.update(after.regions)
        plans[("GoldenImage", key)] = whole
        if version:
            latest = LatestVersion(version=version, image_id="")
            status = image.status.model_copy(update={"latest": latest})
            inventory.put_image(image.model_copy(update={"status": status}))
    in_order = sorted(shares, key=lambda s: s.metadata.key)

    def overlay(account: str, seen: Observed) -> Observed:
        return _overlay(seen, worlds.get(account, {}))

    for share in in_order:
        # What each would claim, since shares of other AMIs may need grants on the same keys.
        scope_of = fleet.declared(inventory.share_scope(share.metadata.key), since)
        parts = fleet.plan_share(scope_of, since, overlay)
        claimed = claims(share, scope_of.mine, together([p for _, p in parts.values()]))
        if claimed is not None:
            inventory.put_share(share.model_copy(update={"status": claimed}))
    given: dict[str, _Given] = {}
    for share in in_order:
        scope_of = fleet.declared(inventory.share_scope(share.metadata.key), since)
        found: list[SharePlan] = []
        for account, (seen, part) in fleet.plan_share(scope_of, since, overlay).items():
            if seen.account:
                so_far = given.setdefault(account, _Given())
                seen = so_far.onto(seen)
                part = plan_scope(scope_of.part(account), seen, fleet.own.cluster)
                so_far.learn(seen, predict(seen, part.plan.actions))
            found.append(part)
        plans[("ImageShare", share.metadata.key)] = together(found).plan
    return plans


def _chain(
    engine: Engine, want: Wanted, first: ImagePlan, seen: Observed, since: float
) -> tuple[Plan, int, Observed]:
    """The plan of an image with all that follows from it: whole plan, version, world after."""
    if first.source is None or want.spec.source.built:
        # What will have been built is not known, and nothing of it can be planned.
        return first.plan, first.version, predict(seen, first.plan.actions)
    whole, version = Plan(), 0
    want = replace(want, restorable=first.restorable)
    uses = engine.uses.read(asked(want, engine.now()), since)
    for _ in range(ROUNDS):
        image = plan_image(want, first.source, seen, engine.now(), uses=uses)
        found = plan_publish(want, image, seen, engine.now())
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
        self._volumes: dict[Place, Principals] = {}  # by snapshot
        self._grants: dict[KeyPlace, tuple[Grant, ...]] = {}
        self._keys: dict[KeyPlace, Key] = {}  # with the key policy

    def learn(self, before: Observed, after: Observed) -> None:
        for name, view in after.regions.items():
            was = before.region(name)
            for image, who in view.permissions.items():
                if was.permissions.get(image) != who:
                    self._permissions[(name, image)] = who
            for snapshot, who in view.volumes.items():
                if was.volumes.get(snapshot) != who:
                    self._volumes[(name, snapshot)] = who
            for arn, key in view.keys.items():
                if isinstance(key, Key) and was.keys.get(arn) != key:
                    self._keys[(name, arn)] = key
            for arn, grants in view.grants.items():
                if was.grants.get(arn) != grants:
                    self._grants[(name, arn)] = grants

    def onto(self, seen: Observed) -> Observed:
        regions = dict(seen.regions)
        for name, view in regions.items():
            regions[name] = replace(
                view,
                permissions={**view.permissions, **_of(name, self._permissions)},
                volumes={**view.volumes, **_of(name, self._volumes)},
                grants={**view.grants, **_of(name, self._grants)},
                keys={**view.keys, **_of(name, self._keys)},
            )
        return Observed(seen.account, regions)


def _of(region: str, known: Mapping[tuple[str, str], V]) -> dict[str, V]:
    return {name: value for (r, name), value in known.items() if r == region}
