"""All custom resources at one moment, in the terms of the core."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from gilder.api import GoldenImage, ImageShare
from gilder.core import needs
from gilder.core.needs import RegionNeeds
from gilder.core.sharing import Gilded, Share, recorded, selects
from gilder.core.versions import Wanted, remember


class Inventory:
    """An immutable set of GoldenImages and ImageShares, by `<namespace>/<name>`.

    `unreadable` are shares whose spec no model accepts: they keep what their status claims.
    """

    def __init__(
        self,
        cluster: str,
        images: Mapping[str, GoldenImage],
        shares: Mapping[str, ImageShare],
        unreadable: Sequence[Share] = (),
    ) -> None:
        self.cluster = cluster
        self.images = dict(images)
        self.shares = dict(shares)
        self.unreadable = tuple(unreadable)

    def wanted(self, image: GoldenImage) -> Wanted:
        meta = image.metadata
        return Wanted(self.cluster, meta.namespace, meta.name, image.spec, remember(image.status))

    def share(self, share: ImageShare) -> Share:
        meta = share.metadata
        return Share(
            key=meta.key,
            namespace=meta.namespace,
            spec=share.spec,
            recorded=recorded(share.status),
            recorded_keys=frozenset((g.region, g.key_id) for g in share.status.grants),
            leaving=meta.deleting,
            paused=meta.paused,
        )

    def others(self, key: str) -> list[Share]:
        """Every share but one."""
        known = [self.share(s) for k, s in self.shares.items() if k != key]
        return [*known, *(s for s in self.unreadable if s.key != key)]

    @cached_property
    def gilded(self) -> tuple[Gilded, ...]:
        return tuple(
            Gilded(
                key=key,
                namespace=image.metadata.namespace,
                name=image.metadata.name,
                labels=image.metadata.labels,
                latest=image.status.latest.version if image.status.latest else 0,
                deleting=image.metadata.deleting,
            )
            for key, image in sorted(self.images.items())
        )

    @cached_property
    def regions(self) -> dict[str, frozenset[str]]:
        """GoldenImage to the Regions its AMIs may be in."""
        return {k: needs.regions_of(i.spec) for k, i in self.images.items()}

    @cached_property
    def needs(self) -> dict[str, RegionNeeds]:
        """What all resources together need of each Region, so that one read serves them all."""
        of_images = (needs.of_image(self.wanted(i)) for i in self.images.values())
        of_shares = (needs.of_share(self.share(s)) for s in self.shares.values())
        return needs.merge((*of_images, *of_shares))

    def needs_of(self, regions: Sequence[str] | frozenset[str]) -> dict[str, RegionNeeds]:
        return {r: self.needs.get(r, needs.NOTHING) for r in regions}

    def sharers(self, golden: Gilded) -> list[str]:
        """Keys of the shares that name this GoldenImage, or still claim one of its AMIs."""
        image = self.images.get(golden.key)
        mine = {
            (i.region, i.image_id)
            for v in (image.status.versions if image else ())
            for i in v.images
        }
        found = []
        for key, share in self.shares.items():
            claims = not mine.isdisjoint(recorded(share.status))
            by_name = share.spec.image_ref.name is not None
            if claims or (by_name and selects(self.share(share), golden)):
                found.append(key)
        return sorted(found)
