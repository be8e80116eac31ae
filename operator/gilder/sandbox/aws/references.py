"""What uses an AMI, and where it came from: DescribeImageReferences and GetImageAncestry."""

from collections.abc import Iterator, Mapping
from typing import Any

from moto.ssm.models import ssm_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import (
    Image,
    check_image_ids,
    find_anywhere,
    need_visible,
    not_found,
    visible,
)
from gilder.sandbox.aws.pagination import ec2_page
from gilder.sandbox.aws.registry import Call, ec2

INSTANCE, TEMPLATE, PARAMETER = "ec2:Instance", "ec2:LaunchTemplate", "ssm:Parameter"
_OTHERS = ("imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe")
# Versions of a launch template that are looked at unless the request says otherwise.
_VERSION_DEPTH = 20


def _types(call: Call) -> dict[str, dict[str, list[str]]]:
    """The resource types to search, with their options."""
    if call.get("IncludeAllResourceTypes"):
        return {INSTANCE: {}, TEMPLATE: {}, PARAMETER: {}}
    out = {}
    for entry in call.get("ResourceTypes", []):
        kind = entry.get("ResourceType")
        if kind not in (INSTANCE, TEMPLATE, PARAMETER, *_OTHERS):
            raise AwsError(
                "InvalidParameterValue", f"Value ({kind}) for parameter resourceType is invalid."
            )
        out[kind] = {
            o["OptionName"]: o.get("OptionValues", []) for o in entry.get("ResourceTypeOptions", [])
        }
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
        for arn in _references(call, image_id, kind, options)
    ]
    chosen, token = ec2_page(
        found,
        lambda r: f"{r['ImageId']} {r['Arn']}",
        call.get("MaxResults"),
        call.get("NextToken"),
    )
    out: dict[str, Any] = {"ImageReferences": chosen}
    if token is not None:
        out["NextToken"] = token
    return out


def _references(
    call: Call, image_id: str, kind: str, options: Mapping[str, list[str]]
) -> Iterator[str]:
    prefix = f"arn:aws:ec2:{call.region}:{call.account}"
    if kind == INSTANCE:
        states = options.get("state-name") or ["pending", "running", "stopping", "stopped"]
        for instance in call.backend.all_instances():
            if instance.image_id == image_id and instance.state in states:
                yield f"{prefix}:instance/{instance.id}"
    elif kind == TEMPLATE:
        depth = int((options.get("version-depth") or [str(_VERSION_DEPTH)])[0])
        for template in call.backend.launch_templates.values():
            versions = template.versions[-depth:]
            if any(v.data.get("ImageId") == image_id for v in versions):
                yield f"{prefix}:launch-template/{template.id}"
    elif kind == PARAMETER:
        backend: Any = ssm_backends[call.account][call.region]
        for name, history in backend._parameters.items():
            latest = history[-1] if history else None
            if latest and latest.data_type == "aws:ec2:image" and latest.value == image_id:
                path = name if name.startswith("/") else f"/{name}"
                yield f"arn:aws:ssm:{call.region}:{call.account}:parameter{path}"


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
