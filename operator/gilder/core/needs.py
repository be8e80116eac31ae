"""What must be read from AWS before a plan can be made, by Region."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gilder.api.goldenimage import GoldenImageSpec
from gilder.core.sharing import Place, Share
from gilder.core.versions import Wanted


@dataclass(frozen=True, slots=True)
class RegionNeeds:
    """Of one Region: AMIs beyond those that carry our tag, keys as written, parameter names."""

    images: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()

    def __or__(self, other: "RegionNeeds") -> "RegionNeeds":
        return RegionNeeds(
            self.images | other.images, self.keys | other.keys, self.parameters | other.parameters
        )


NOTHING = RegionNeeds()


@dataclass(frozen=True, slots=True)
class AccessNeeds:
    """Launch permissions, grants and policies that a share's plan looks at."""

    places: frozenset[Place] = frozenset()  # AMIs whose launch permissions are read
    keys: frozenset[tuple[str, str]] = frozenset()  # Region, key ARN whose grants are read
    policies: bool = False  # key policies too: an organization or OU is declared
    public: frozenset[str] = frozenset()  # Regions whose block public access is read


def regions_of(spec: GoldenImageSpec) -> frozenset[str]:
    """Regions that the AMIs of a GoldenImage may be in."""
    return frozenset({spec.region, *(r.region for r in spec.replicas)})


def of_image(want: Wanted) -> dict[str, RegionNeeds]:
    """What the plan of one GoldenImage needs."""
    spec = want.spec
    needs: dict[str, RegionNeeds] = dict.fromkeys(regions_of(spec), NOTHING)
    home = NOTHING
    if spec.source.image is not None:
        if spec.source.image.id:
            home |= RegionNeeds(images=frozenset({spec.source.image.id}))
        if spec.source.image.ssm_parameter:
            home |= RegionNeeds(parameters=frozenset({spec.source.image.ssm_parameter}))
    if spec.encryption is not None:
        home |= RegionNeeds(keys=frozenset({spec.encryption.kms_key_id}))
    needs[spec.region] = home
    for replica in spec.replicas:
        if replica.kms_key_id is not None:
            needs[replica.region] |= RegionNeeds(keys=frozenset({replica.kms_key_id}))
    for (_, region, _), known in want.memory.images.items():
        needs[region] = needs.get(region, NOTHING) | RegionNeeds(images=frozenset({known.image_id}))
    return needs


def of_share(share: Share) -> dict[str, RegionNeeds]:
    """What the plan of one ImageShare needs, beside what its GoldenImages need."""
    needs: dict[str, RegionNeeds] = {}
    plain = [(i.region, i.id) for i in share.spec.image_ref.images]
    for region, image in [*plain, *share.recorded]:
        needs[region] = needs.get(region, NOTHING) | RegionNeeds(images=frozenset({image}))
    for region, _ in share.recorded_keys:
        needs.setdefault(region, NOTHING)
    return needs


def merge(all_needs: Iterable[Mapping[str, RegionNeeds]]) -> dict[str, RegionNeeds]:
    """The union, Region by Region."""
    total: dict[str, tuple[set[str], set[str], set[str]]] = {}
    for needs in all_needs:
        for region, need in needs.items():
            images, keys, parameters = total.setdefault(region, (set(), set(), set()))
            images |= need.images
            keys |= need.keys
            parameters |= need.parameters
    return {r: RegionNeeds(*(frozenset(s) for s in sets)) for r, sets in total.items()}
