"""SSM parameters that the released version is published to, and whose they are by their tags.

https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gilder.api.names import TAG_CLUSTER, TAG_IMAGE, TAG_PREFIX, TAG_VERSION
from gilder.aws.permissions import needs
from gilder.core.actions import DeleteParameter, PutParameter, ReleaseParameter

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient

PAGE = 50  # parameters per DescribeParameters, 50 at most
TYPE: Literal["String"] = "String"
DATA_TYPE = "aws:ec2:image"

# DescribeParameters shows descriptions and no tags. The description is a copy of the tags that
# saves a call per parameter; before anything is changed the tags themselves are asked.
_DESCRIPTION = re.compile(r"AMI of GoldenImage (\S+/\S+), version ([0-9]+)")


class NotOursError(Exception):
    """A parameter whose tags do not name who wants to change it. `owner` is whom they name."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


@dataclass(frozen=True, slots=True)
class Head:
    """A parameter with the tag of our cluster. `stamp` changes with its value; `owner` is empty
    where the description does not tell."""

    name: str
    owner: str
    stamp: str


def describe(image: str, version: int) -> str:
    """The description of a parameter of a GoldenImage."""
    return f"AMI of GoldenImage {image}, version {version}"


@needs("ssm:DescribeParameters")
def tagged(ssm: "SSMClient", cluster: str) -> dict[str, Head]:
    """Parameters with the tag of this cluster, by name."""
    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=[{"Key": f"tag:{TAG_CLUSTER}", "Option": "Equals", "Values": [cluster]}],
        PaginationConfig={"PageSize": PAGE},
    )
    found: dict[str, Head] = {}
    for page in pages:
        for raw in page["Parameters"]:
            said = _DESCRIPTION.fullmatch(raw.get("Description", ""))
            # Made anew it is version 1 again, at another time.
            stamp = f"{raw.get('Version')} {raw.get('LastModifiedDate')}"
            found[raw["Name"]] = Head(raw["Name"], said[1] if said else "", stamp)
    return found


def other(raw: Mapping[str, Any]) -> str:
    """Type and data type of a parameter, where they are not those that an AMI is published with."""
    kind, data = raw.get("Type", TYPE), raw.get("DataType", DATA_TYPE)
    return "" if (kind, data) == (TYPE, DATA_TYPE) else f"{kind} of data type {data}"


@needs("ssm:ListTagsForResource")
def owner(ssm: "SSMClient", name: str, cluster: str) -> str:
    """The GoldenImage that a parameter's tags name, if they name this cluster; else empty.

    Raises ClientError InvalidResourceId when there is no such parameter.
    """
    answer = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
    tags = {t["Key"]: t["Value"] for t in answer.get("TagList", [])}
    return tags.get(TAG_IMAGE, "") if tags.get(TAG_CLUSTER) == cluster else ""


@needs("ssm:PutParameter", "ssm:AddTagsToResource", "ec2:DescribeImages")
def put(
    ssm: "SSMClient", *, name: str, image: str, version: int, of: str, cluster: str, exists: bool
) -> None:
    """Write an AMI into a parameter, with tags when it is new. Nothing of anybody else is written.

    AWS looks at the AMI only after it has answered, as the caller, which must be allowed to see it.
    Raises NotOursError; ClientError ParameterAlreadyExists where `exists` is not so any more.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    text = describe(of, version)
    if not exists:
        ssm.put_parameter(
            Name=name,
            Description=text,
            Value=image,
            Type=TYPE,
            DataType=DATA_TYPE,
            Tags=[{"Key": k, "Value": v} for k, v in sorted(_tags(of, cluster, version).items())],
        )
        return
    _check(ssm, name, of, cluster)
    # Tags and Overwrite exclude one another. The value comes last, since it is what is looked at to
    # tell whether all was done.
    ssm.add_tags_to_resource(
        ResourceType="Parameter",
        ResourceId=name,
        Tags=[{"Key": TAG_VERSION, "Value": str(version)}],
    )
    ssm.put_parameter(
        Name=name, Description=text, Value=image, Type=TYPE, DataType=DATA_TYPE, Overwrite=True
    )


@needs("ssm:DeleteParameter")
def delete(ssm: "SSMClient", name: str, of: str, cluster: str) -> None:
    """Delete a parameter of ours; one that is gone is no error. Raises NotOursError."""
    try:
        _check(ssm, name, of, cluster)
        ssm.delete_parameter(Name=name)
    except (ssm.exceptions.InvalidResourceId, ssm.exceptions.ParameterNotFound):
        return


@needs("ssm:RemoveTagsFromResource")
def release(ssm: "SSMClient", name: str, of: str, cluster: str) -> None:
    """Take our tags off a parameter; one that is gone is no error. Raises NotOursError."""
    try:
        _check(ssm, name, of, cluster)
        answer = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
        ours = [t["Key"] for t in answer.get("TagList", []) if t["Key"].startswith(TAG_PREFIX)]
        ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=name, TagKeys=ours)
    except ssm.exceptions.InvalidResourceId:
        return


Change = PutParameter | DeleteParameter | ReleaseParameter


def change(ssm: "SSMClient", action: Change) -> None:
    """Carry out an action; raises what `put`, `delete` and `release` do."""
    match action:
        case PutParameter():
            put(
                ssm,
                name=action.name,
                image=action.image,
                version=action.version,
                of=action.owner,
                cluster=action.cluster,
                exists=action.exists,
            )
        case DeleteParameter():
            delete(ssm, action.name, action.owner, action.cluster)
        case ReleaseParameter():
            release(ssm, action.name, action.owner, action.cluster)


def _check(ssm: "SSMClient", name: str, of: str, cluster: str) -> None:
    found = owner(ssm, name, cluster)
    if found != of:
        raise NotOursError(found)


def _tags(of: str, cluster: str, version: int) -> Mapping[str, str]:
    return {TAG_IMAGE: of, TAG_CLUSTER: cluster, TAG_VERSION: str(version)}


def by_owner(heads: Iterable[Head]) -> dict[str, tuple[str, ...]]:
    """GoldenImage to the names of its parameters, as far as descriptions tell."""
    found: dict[str, list[str]] = {}
    for head in heads:
        if head.owner:
            found.setdefault(head.owner, []).append(head.name)
    return {k: tuple(sorted(v)) for k, v in found.items()}
