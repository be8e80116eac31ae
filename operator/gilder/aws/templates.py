"""Launch templates: their default versions, new versions from them, and what names versions.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/manage-launch-template-versions.html
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core.published import Template, TemplateVersion
from gilder.core.templates import mark_of, reusable

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

PAGE = 200  # versions per DescribeLaunchTemplateVersions, 200 at most
DELETED = 200  # versions per DeleteLaunchTemplateVersions, 200 at most
DEFAULT = "$Default"
NOT_THERE = frozenset(
    {
        "InvalidLaunchTemplateId.Malformed",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.NotFoundException",
        "InvalidLaunchTemplateName.MalformedException",
        "InvalidLaunchTemplateName.NotFoundException",
    }
)
GONE = "launchTemplateVersionDoesNotExist"
NO_TEMPLATE = Template("")
_ID = re.compile(r"lt-[0-9a-f]{8,17}")


class KeptError(Exception):
    """A version that AWS does not delete, such as one that is the default by now."""


@needs("ec2:DescribeLaunchTemplateVersions")
def defaults(ec2: "EC2Client") -> dict[str, Template]:
    """Every launch template of the Region with its default version, by id and by name.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html
    """
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        Versions=[DEFAULT], PaginationConfig={"PageSize": PAGE}
    )
    found: dict[str, Template] = {}
    for page in pages:
        for raw in page["LaunchTemplateVersions"]:
            template = _template(raw)
            found[template.id] = found[template.name] = template
    return found


@needs("ec2:DescribeLaunchTemplateVersions")
def default(ec2: "EC2Client", written: str) -> Template:
    """One launch template by id or name; NO_TEMPLATE when there is none."""
    try:
        answer = ec2.describe_launch_template_versions(**_of(written), Versions=[DEFAULT])
    except ClientError as error:
        if errors.code(error) in NOT_THERE:
            return NO_TEMPLATE
        raise
    found = answer["LaunchTemplateVersions"]
    return _template(found[0]) if found else NO_TEMPLATE


@needs("ec2:DescribeLaunchTemplateVersions")
def versions(ec2: "EC2Client", template: str) -> tuple[TemplateVersion, ...]:
    """Versions of a launch template that some operator of ours made."""
    _, found = _all(ec2, template)
    return found


def _all(ec2: "EC2Client", template: str) -> tuple[int, tuple[TemplateVersion, ...]]:
    """The number of the default version, and versions that some operator of ours made."""
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateId=template, PaginationConfig={"PageSize": PAGE}
    )
    raws = [raw for page in pages for raw in page["LaunchTemplateVersions"]]
    default = next((raw["VersionNumber"] for raw in raws if raw.get("DefaultVersion")), 0)
    found = (_version(raw) for raw in raws)
    return default, tuple(v for v in found if mark_of(v.description))


@needs("ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate")
def set_image(
    ec2: "EC2Client",
    template: str,
    image: str,
    *,
    source: int,
    description: str,
    mark: str,
    token: str,
) -> str:
    """Make a version from the default one that has another AMI, and make it the default.

    A version that was made for this step already is used again. The number of the version; empty
    when the default is not `source` any more: somebody changed it, and it is looked at anew.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
    """
    default, made = _all(ec2, template)
    if default != source:
        return ""
    number = reusable(made, mark, image, source)
    if not number:
        answer = ec2.create_launch_template_version(
            LaunchTemplateId=template,
            SourceVersion=str(source),
            VersionDescription=description,
            LaunchTemplateData={"ImageId": image},
            ClientToken=token,
        )
        number = answer["LaunchTemplateVersion"]["VersionNumber"]
    ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion=str(number))
    return str(number)


@needs("ec2:DeleteLaunchTemplateVersions")
def delete_versions(ec2: "EC2Client", template: str, numbers: Sequence[int]) -> None:
    """Delete versions; one that is gone is no error. Raises KeptError.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html
    """
    for start in range(0, len(numbers), DELETED):
        answer = ec2.delete_launch_template_versions(
            LaunchTemplateId=template,
            Versions=[str(n) for n in numbers[start : start + DELETED]],
        )
        for one in answer.get("UnsuccessfullyDeletedLaunchTemplateVersions", []):
            said = one.get("ResponseError", {})
            if said.get("Code") != GONE:
                told = f"version {one.get('VersionNumber')}: {said.get('Message', '')}"
                raise KeptError(told)


@needs("autoscaling:DescribeAutoScalingGroups")
def named_by_groups(autoscaling: Any) -> dict[str, frozenset[int]]:
    """Launch template id to the versions that Auto Scaling groups, or instances in them, name by
    number; those that name $Default or $Latest hold no version.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html
    """
    found: dict[str, set[int]] = {}
    for page in autoscaling.get_paginator("describe_auto_scaling_groups").paginate():
        for group in page["AutoScalingGroups"]:
            for named in _named(group):
                version = str(named.get("Version") or "")
                if version.isdecimal() and named.get("LaunchTemplateId"):
                    found.setdefault(named["LaunchTemplateId"], set()).add(int(version))
    return {k: frozenset(v) for k, v in found.items()}


def _named(group: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield group.get("LaunchTemplate") or {}
    mixed = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    yield mixed.get("LaunchTemplateSpecification") or {}
    for override in mixed.get("Overrides") or []:
        yield override.get("LaunchTemplateSpecification") or {}
    for instance in group.get("Instances") or []:
        yield instance.get("LaunchTemplate") or {}


def _of(written: str) -> dict[str, Any]:
    by_id = _ID.fullmatch(written)
    return {"LaunchTemplateId" if by_id else "LaunchTemplateName": written}


def _template(raw: Any) -> Template:
    return Template(raw["LaunchTemplateId"], raw["LaunchTemplateName"], _version(raw))


def _version(raw: Any) -> TemplateVersion:
    return TemplateVersion(
        raw["VersionNumber"],
        raw.get("LaunchTemplateData", {}).get("ImageId", ""),
        raw.get("VersionDescription", ""),
    )
