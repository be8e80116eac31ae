"""Builders of small AWS worlds for the tests of the planning core."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gilder.api.goldenimage import GoldenImageSpec
from gilder.api.imageshare import ImageShareSpec
from gilder.api.names import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_IMAGE,
    TAG_KEY,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core.actions import AnyAction
from gilder.core.digest import digest
from gilder.core.grants import grant_name, principal_of
from gilder.core.observed import Grant, Image, Key, Observed, Principals, Problem, RegionView
from gilder.core.shares import Gilded, Place, Share
from gilder.core.wanted import Memory, Wanted

OWNER = "111111111111"
FOREIGN = "999999999999"
A, B, C, D = ("222222222222", "333333333333", "444444444444", "555555555555")
HOME, DR = "eu-west-1", "eu-central-1"
CLUSTER = "prod"
GOLDEN = "team/base"
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
LONG_AGO = "2029-12-01T00:00:00+00:00"

ORG_ID = "o-abcdefghij"
ORG = f"arn:aws:organizations::{FOREIGN}:organization/{ORG_ID}"
OU_ID = "ou-abcd-12345678"
OU = f"arn:aws:organizations::{FOREIGN}:ou/{ORG_ID}/{OU_ID}"


def key_arn(region: str, number: int = 1) -> str:
    return f"arn:aws:kms:{region}:{OWNER}:key/{number:08d}-0000-0000-0000-000000000000"


HOME_KEY, DR_KEY = key_arn(HOME), key_arn(DR)
OTHER_KEY = key_arn(HOME, 2)


def key(arn: str, **changes: Any) -> Key:
    return Key(**{"arn": arn, "region": arn.split(":")[3], **changes})


def ami(number: int) -> str:
    return f"ami-{number:08x}"


def image(number: int, region: str = HOME, **changes: Any) -> Image:
    """An AMI; `key=` makes it encrypted with that key."""
    arn = changes.pop("key", None)
    if arn:
        changes.update(encrypted=True, kms_keys=frozenset({arn}))
    values: dict[str, Any] = {
        "id": ami(number),
        "region": region,
        "owner": OWNER,
        "created": LONG_AGO,
        "snapshots": (f"snap-{number:08x}",),
    }
    return Image(**{**values, **changes})


def ours(
    number: int,
    region: str = HOME,
    *,
    version: int = 1,
    fingerprint: str = "f1",
    role: str = "home",
    attempt: int = 1,
    asked_key: str | None = None,
    golden: str = GOLDEN,
    cluster: str = CLUSTER,
    tags: Mapping[str, str] | None = None,
    **changes: Any,
) -> Image:
    """An AMI with the ownership tags of a GoldenImage."""
    all_tags = {
        TAG_IMAGE: golden,
        TAG_CLUSTER: cluster,
        TAG_VERSION: str(version),
        TAG_SOURCE: fingerprint,
        TAG_ROLE: role,
        **(tags or {}),
    }
    if attempt > 1:
        all_tags[TAG_ATTEMPT] = str(attempt)
    if asked_key:
        all_tags[TAG_KEY] = asked_key
    return image(number, region, tags=all_tags, **changes)


def print_of(source: str, kind: str = "image", key_arn: str = "") -> str:
    """The fingerprint of a version made from this source."""
    return digest(kind, source, key_arn)


def view(
    region: str,
    images: Iterable[Image] = (),
    *,
    permissions: Mapping[str, Principals] | None = None,
    grants: Mapping[str, Iterable[Grant]] | None = None,
    keys: Iterable[Key] = (),
    written: Mapping[str, Key | Problem] | None = None,
    **changes: Any,
) -> RegionView:
    """A Region; permissions and grants of everything in it are read, unless said otherwise."""
    images = list(images)
    found: dict[str, Key | Problem] = {k.arn: k for k in keys}
    for one in images:
        for arn in one.kms_keys:
            found.setdefault(arn, key(arn))
    read: dict[str, tuple[Grant, ...]] = dict.fromkeys(found, ())
    read.update({k: tuple(v) for k, v in (grants or {}).items()})
    return RegionView(
        region,
        images={i.id: i for i in images},
        permissions={**{i.id: Principals() for i in images}, **(permissions or {})},
        grants=read,
        keys={**found, **(written or {})},
        **changes,
    )


def world(*views: RegionView) -> Observed:
    regions = {v.region: v for v in views}
    for region in (HOME, DR):
        regions.setdefault(region, view(region))
    return Observed(OWNER, regions)


def grant(
    account: str, arn: str = HOME_KEY, operations: Iterable[str] = ("Decrypt",), **changes: Any
) -> Grant:
    operations = frozenset(operations)
    values: dict[str, Any] = {
        "id": f"grant-{account}-{digest(arn, sorted(operations), length=6)}",
        "key": arn,
        "name": grant_name(CLUSTER, account, operations),
        "principal": principal_of(account, arn),
        "operations": operations,
    }
    return Grant(**{**values, **changes})


def accounts(*ids: str) -> Principals:
    return Principals(frozenset(ids))


def wanted(memory: Memory | None = None, **spec: Any) -> Wanted:
    """A GoldenImage `team/base`; its source is an AMI id unless given."""
    source = {"image": {"id": ami(1)}}
    parsed = GoldenImageSpec.model_validate({"region": HOME, "source": source, **spec})
    return Wanted(CLUSTER, "team", "base", parsed, memory or Memory())


def share(
    name: str = "share",
    *,
    namespace: str = "team",
    recorded: Mapping[Place, Principals] | None = None,
    recorded_keys: Iterable[tuple[str, str]] = (),
    recorded_policies: Iterable[tuple[str, str]] = (),
    recorded_volumes: Iterable[Place] = (),
    leaving: bool = False,
    images: Iterable[Image] | None = None,
    operations: Iterable[str] | None = ("Decrypt",),
    **spec: Any,
) -> Share:
    """An ImageShare of `team/base`, or of plain images; its grants are for Decrypt only."""
    if images is not None:
        spec["imageRef"] = {"images": [{"id": i.id, "region": i.region} for i in images]}
    if operations is not None and "kms" not in spec:
        spec["kms"] = {"operations": list(operations)}
    parsed = ImageShareSpec.model_validate({"imageRef": {"name": "base"}, **spec})
    return Share(
        f"{namespace}/{name}",
        namespace,
        parsed,
        recorded or {},
        frozenset(recorded_keys),
        frozenset(recorded_policies),
        frozenset(recorded_volumes),
        leaving=leaving,
    )


def gilded(latest: int = 1, **changes: Any) -> Gilded:
    values: dict[str, Any] = {"key": GOLDEN, "namespace": "team", "name": "base", "latest": latest}
    return Gilded(**{**values, **changes})


def kinds(actions: Iterable[AnyAction]) -> list[str]:
    return [a.kind for a in actions]


def reasons(problems: Iterable[Problem]) -> list[str]:
    return [p.reason for p in problems]
