"""What uses an AMI, and where it came from: DescribeImageReferences and GetImageAncestry."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws import usage
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import (
    Image,
    check_image_ids,
    find_anywhere,
    need_visible,
    not_found,
    visible,
)
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.registry import Call, ec2

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-ami-references.html
_VERSION_DEPTH, _IMAGES = 10, 10


def _types(call: Call) -> dict[str, usage.Options]:
    """The resource types to search, with their options.

    "If you also specify ResourceTypes with ResourceTypeOptions, your specified values override the
    default values."
    """
    out: dict[str, usage.Options] = {}
    if call.get("IncludeAllResourceTypes"):
        out = {kind: {} for kind in usage.TYPES}
    for entry in call.get("ResourceTypes", []):
        kind = entry.get("ResourceType")
        if kind not in usage.TYPES:
            raise AwsError(
                "InvalidParameterValue", f"Value ({kind}) for parameter resourceType is invalid."
            )
        out[kind] = usage.options_of(entry)
    if not out:
        raise AwsError(
            "MissingParameter",
            "The request must contain IncludeAllResourceTypes or ResourceTypes",
        )
    return out


@ec2
def describe_image_references(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImageReferences.html"""
    ids = call.need("ImageIds")
    check_image_ids(ids)
    if len(ids) > _IMAGES:
        raise AwsError("InvalidParameterValue", f"At most {_IMAGES} image ids can be checked.")
    missing = [
        i
        for i in ids
        if (image := find_anywhere(i, call.region)) is None or not visible(image, call.account)
    ]
    if missing:
        raise not_found(missing)
    types = _types(call)
    call.dry_run()
    found = [
        {"ImageId": image_id, "ResourceType": kind, "Arn": arn}
        for image_id in ids
        for kind, options in types.items()
        for arn in usage.references(
            call.account, call.region, image_id, kind, options, depth=_VERSION_DEPTH
        )
    ]
    chosen, token = ec2_page(
        found,
        lambda r: f"{r['ImageId']} {r['Arn']}",
        call.get("MaxResults"),
        call.get("NextToken"),
        minimum=5,
    )
    return answer("ImageReferences", chosen, token)


@ec2
def get_image_ancestry(call: Call) -> Mapping[str, Any]:
    """The AMI and the AMIs it was made from, as far as the caller can see them.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetImageAncestry.html
    """
    current: Image | None = need_visible(call, call.need("ImageId"))
    call.dry_run()
    entries: list[dict[str, Any]] = []
    while current is not None and all(e["ImageId"] != current.id for e in entries):
        entry: dict[str, Any] = {"ImageId": current.id, "CreationDate": current.created}
        if current.source_image:
            entry["SourceImageId"] = current.source_image
            entry["SourceImageRegion"] = current.source_region
        entries.append(entry)
        parent = (
            find_anywhere(current.source_image, current.source_region or call.region)
            if current.source_image
            else None
        )
        current = parent if parent is not None and visible(parent, call.account) else None
    return {"ImageAncestryEntries": entries}
