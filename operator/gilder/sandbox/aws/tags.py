"""Tags: TagSpecifications, CreateTags and DeleteTags with AWS's limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from moto.ec2.models import EC2Backend, validate_resource_ids

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import (
    find_anywhere,
    find_snapshot,
    need_snapshot,
    need_visible,
    readable,
    visible,
)
from gilder.sandbox.aws.recycle_bin import in_bin
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.state import region_state

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
LIMIT = 50
_KEY_LENGTH, _VALUE_LENGTH = 128, 256


def check_tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The tags of a request as a mapping, within AWS's restrictions."""
    out: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if not key or len(key) > _KEY_LENGTH:
            raise AwsError(
                "InvalidParameterValue",
                f"Tag key exceeds the maximum length of {_KEY_LENGTH} characters or is empty",
            )
        if len(value) > _VALUE_LENGTH:
            raise AwsError(
                "InvalidParameterValue",
                f"Tag value exceeds the maximum length of {_VALUE_LENGTH} characters",
            )
        if key.lower().startswith("aws:"):
            raise AwsError(
                "InvalidParameterValue",
                "Tag keys starting with 'aws:' are reserved for internal use",
            )
        if key in out:
            raise AwsError("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        out[key] = value
    if len(out) > LIMIT:
        raise _too_many()
    return out


def tags_for(call: Call, *types: str) -> dict[str, dict[str, str]]:
    """The TagSpecifications of a call by resource type, which must be one of `types`."""
    out: dict[str, dict[str, str]] = {t: {} for t in types}
    for specification in call.get("TagSpecifications", []):
        kind = specification.get("ResourceType")
        if kind not in out:
            raise AwsError(
                "InvalidParameterValue",
                f"'{kind}' is not a valid taggable resource type for this operation.",
            )
        tags = specification.get("Tags", [])
        if not tags:
            raise AwsError("InvalidParameterValue", "Tag specification must have at least one tag")
        out[kind].update(check_tags(tags))
    return out


def set_tags(backend: Any, resource: str, tags: Mapping[str, str]) -> None:
    if tags:
        backend.tags[resource].update(tags)


def drop_tags(backend: Any, resource: str) -> None:
    backend.tags.pop(resource, None)


def tag_list(backend: Any, resource: str) -> list[dict[str, str]]:
    return [{"Key": k, "Value": v} for k, v in backend.tags.get(resource, {}).items()]


def _too_many() -> AwsError:
    return AwsError(
        "TagLimitExceeded", "The maximum number of Tags for a resource has been reached."
    )


def _check_resources(call: Call) -> list[str]:
    resources = list(call.get("Resources", []))
    others = []
    for resource in resources:
        if in_bin(call.account, call.region, resource):
            continue
        if resource in region_state(call.account, call.region).reports:
            continue
        if resource.startswith("ami-"):
            need_visible(call, resource)
        elif resource.startswith("snap-"):
            need_snapshot(call, resource)
        else:
            others.append(resource)
    if not resources or others:
        validate_resource_ids(others)
        call.backend.do_resources_exist(others)
    return resources


@ec2
def create_tags(call: Call) -> None:
    """A shared AMI may be tagged too, and only the account that tags it sees these tags.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
    """
    resources = _check_resources(call)
    tags = check_tags(call.get("Tags", []))
    if not tags:
        raise AwsError("MissingParameter", "The request must contain the parameter Tags")
    present = call.backend.tags
    for resource in resources:
        if len({k for k in present.get(resource, {}) if not k.startswith("aws:")} | tags.keys()) > (
            LIMIT
        ):
            raise _too_many()
    call.dry_run()
    for resource in resources:
        set_tags(call.backend, resource, tags)


@ec2
def delete_tags(call: Call) -> None:
    """Without Tags all are deleted; with a value, only a tag that has this value.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html
    """
    resources = _check_resources(call)
    call.dry_run()
    for resource in resources:
        present = call.backend.tags.get(resource)
        if present is None:
            continue
        wanted = call.get("Tags")
        if wanted is None:
            for key in [k for k in present if not k.startswith("aws:")]:
                del present[key]
            continue
        for tag in wanted:
            value = tag.get("Value")
            if tag["Key"].lower().startswith("aws:"):
                raise AwsError(
                    "InvalidParameterValue",
                    "Tag keys starting with 'aws:' are reserved for internal use",
                )
            if tag["Key"] in present and value in (None, present[tag["Key"]]):
                del present[tag["Key"]]


def _within_sight(resource: str, account: str, region: str) -> bool:
    """Whether an account still sees the AMI or snapshot that it tagged."""
    if in_bin(account, region, resource):
        return True
    if resource.startswith("ami-"):
        image = find_anywhere(resource, region)
        return image is not None and visible(image, account)
    if resource.startswith("snap-"):
        snapshot = find_snapshot(resource, region)
        return snapshot is not None and readable(snapshot, account)
    return True


def install() -> None:
    """DescribeTags is moto's, less the tags on what is no longer shared or not there any more."""
    backend: Any = EC2Backend
    describe = backend.describe_tags

    def describe_tags(self: Any, filters: Any = None) -> Any:
        return [
            tag
            for tag in describe(self, filters)
            if _within_sight(tag["resource_id"], self.account_id, self.region_name)
        ]

    backend.describe_tags = describe_tags
