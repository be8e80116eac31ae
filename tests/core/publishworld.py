"""Builders for the tests of what tells a released version."""

from typing import Any

from planworld import CLUSTER, DR, GOLDEN, HOME, NOW, ours

from gilder.api.goldenimage import Published
from gilder.core.digest import digest
from gilder.core.observed import Image, Observed
from gilder.core.plan import Plan
from gilder.core.published import Parameter, SeenMap, Template, TemplateVersion
from gilder.core.publishing import PublishPlan, plan_publish
from gilder.core.templates import description
from gilder.core.times import rfc3339
from gilder.core.versions import ImagePlan
from gilder.core.wanted import Memory, Wanted

NAME = "/golden/base"
PARAMETER: dict[str, Any] = {"publish": {"ssmParameter": {"name": "/golden/{name}"}}}
REPLICATED: dict[str, Any] = {"replicas": [{"region": DR}], **PARAMETER}
AT = rfc3339(NOW)


def served(version: int = 2, *regions: str) -> dict[str, Image]:
    """The AMI of a version in each Region: number = ten times the version, one more abroad."""
    found = {}
    for region in regions or (HOME,):
        number = 10 * version + (region != HOME)
        role = "home" if region == HOME else "replica"
        found[region] = ours(number, region, version=version, role=role)
    return found


def image_plan(at: dict[str, Image], version: int = 2, **changes: Any) -> ImagePlan:
    return ImagePlan(Plan(), version=version, home=at.get(HOME), served=at, **changes)


def parameter(value: str, owner: str = GOLDEN, other: str = "", name: str = NAME) -> Parameter:
    return Parameter(name, value, owner, other)


def told(kind: str = "Parameter", **changes: Any) -> Published:
    values: dict[str, Any] = {"name": NAME, "region": HOME, "at": AT, "version": 2}
    return Published(kind=kind, **{**values, **changes})


def remembering(*published: Published, **changes: Any) -> Memory:
    return Memory(published=published, **changes)


def publish(want: Wanted, image: ImagePlan, seen: Observed, **more: Any) -> PublishPlan:
    return plan_publish(want, image, seen, more.pop("now", NOW), **more)


def made(number: int, image: str, *, version: int = 1, source: int = 1) -> TemplateVersion:
    """A version of a launch template that this operator made."""
    return TemplateVersion(number, image, description(CLUSTER, GOLDEN, version, source))


def template(default: TemplateVersion, **changes: Any) -> Template:
    return Template(**{"id": "lt-0123456789abcdef0", "name": "web", "default": default, **changes})


def config_map(want: Wanted, data: dict[str, str], **changes: Any) -> SeenMap:
    """A ConfigMap as the operator writes it."""
    values: dict[str, Any] = {
        "namespace": "team",
        "name": "base-ami",
        "uid": "m1",
        "resource_version": "7",
        "data": data,
        "labels": {"goldenimage.dev/image": "base"},
        "digest": digest(data),
        "owner": want.uid,
    }
    return SeenMap(**{**values, **changes})
