"""What uses AMIs: in their own account now, and in others by usage reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gilder.aws.permissions import needs
from gilder.core.observed import Use
from gilder.core.times import rfc3339

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

REFERENCED = 10  # ids per DescribeImageReferences, 10 at most
REPORTED = 100  # ids per DescribeImageUsageReports
SHOWN = 5  # users of one AMI that are named

# Every state but those of instances that are gone, and all versions of launch templates, since
# one that is neither the default nor the latest may be in use:
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ResourceTypeOption.html
_STATES = ["pending", "running", "shutting-down", "stopping", "stopped"]
_DEPTH = ["10000"]
_TEMPLATES: dict[str, Any] = {
    "ResourceType": "ec2:LaunchTemplate",
    "ResourceTypeOptions": [{"OptionName": "version-depth", "OptionValues": _DEPTH}],
}
_TYPES: list[dict[str, Any]] = [
    {
        "ResourceType": "ec2:Instance",
        "ResourceTypeOptions": [{"OptionName": "state-name", "OptionValues": _STATES}],
    },
    _TEMPLATES,
    {"ResourceType": "ssm:Parameter"},
    {"ResourceType": "imagebuilder:ImageRecipe"},
    {"ResourceType": "imagebuilder:ContainerRecipe"},
]


@needs("ec2:DescribeImageReferences")
def references(ec2: "EC2Client", ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """AMI id to what uses it in this account: instances, launch templates, parameters, recipes.

    The API looks through the account with the caller's permissions, which are needed for each type:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-ami-references.html
    """
    used: dict[str, list[str]] = {i: [] for i in ids}
    for start in range(0, len(ids), REFERENCED):
        pages: Any = ec2.get_paginator("describe_image_references")
        request = {"ImageIds": list(ids[start : start + REFERENCED]), "ResourceTypes": _TYPES}
        for page in pages.paginate(**request):
            for entry in page["ImageReferences"]:
                used.setdefault(entry["ImageId"], []).append(
                    f"{entry['ResourceType']} {entry['Arn']}"
                )
    return {i: tuple(sorted(some)) for i, some in used.items()}


@needs("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeLaunchConfigurations")
def scaling(client: Any) -> dict[str, tuple[str, ...]]:
    """AMI id to the Auto Scaling groups that name it without a launch template: by a launch
    configuration, or by an override of their mixed instances policy.

    What their launch templates name is among the references.
    """
    used: dict[str, set[str]] = {}
    configured: dict[str, str] = {}
    for page in client.get_paginator("describe_launch_configurations").paginate():
        for raw in page["LaunchConfigurations"]:
            configured[raw["LaunchConfigurationName"]] = raw.get("ImageId", "")
            told = f"launch configuration {raw['LaunchConfigurationName']}"
            used.setdefault(raw.get("ImageId", ""), set()).add(told)
    for page in client.get_paginator("describe_auto_scaling_groups").paginate():
        for group in page["AutoScalingGroups"]:
            told = f"Auto Scaling group {group['AutoScalingGroupName']}"
            named = {configured.get(group.get("LaunchConfigurationName", ""), "")}
            mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
            named |= {o.get("ImageId", "") for o in mixed.get("Overrides", [])}
            for image in named:
                used.setdefault(image, set()).add(told)
    return {i: tuple(sorted(some)) for i, some in used.items() if i}


@needs("ec2:DescribeImageUsageReports", "ec2:DescribeImageUsageReportEntries")
def reported(ec2: "EC2Client", ids: Sequence[str], account: str) -> dict[str, Use]:
    """AMI id to the newest usage report, of what other accounts use.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/your-ec2-ami-usage.html
    """
    newest: dict[str, tuple[str, str, str]] = {}  # id to time, state, report
    for start in range(0, len(ids), REPORTED):
        pages: Any = ec2.get_paginator("describe_image_usage_reports")
        for page in pages.paginate(ImageIds=list(ids[start : start + REPORTED])):
            for raw in page["ImageUsageReports"]:
                told = (rfc3339(raw["CreationTime"]), raw["State"], raw["ReportId"])
                newest[raw["ImageId"]] = max(told, newest.get(raw["ImageId"], ("", "", "")))
    found = {i: Use(report=state, reported_at=made) for i, (made, state, _) in newest.items()}
    done = [report for _, state, report in newest.values() if state == "available"]
    for image, others in _entries(ec2, done, account).items():
        found[image] = replace(found[image], others=others)
    return found


def _entries(
    ec2: "EC2Client", reports: Sequence[str], account: str
) -> Mapping[str, tuple[str, ...]]:
    used: dict[str, list[str]] = {}
    for start in range(0, len(reports), REPORTED):
        pages: Any = ec2.get_paginator("describe_image_usage_report_entries")
        for page in pages.paginate(ReportIds=list(reports[start : start + REPORTED])):
            for raw in page["ImageUsageReportEntries"]:
                if raw["AccountId"] != account and raw.get("UsageCount", 0) > 0:
                    used.setdefault(raw["ImageId"], []).append(
                        f"{raw['UsageCount']} {raw['ResourceType']} of account {raw['AccountId']}"
                    )
    return {i: tuple(sorted(some)) for i, some in used.items()}


@needs("ec2:CreateImageUsageReport")
def ask(ec2: "EC2Client", image: str, token: str) -> str:
    """Begin a usage report of an AMI; the same token gives the same one. Its id.

    Unasked, AWS looks at the newest 20 versions of each launch template alone.
    """
    made = ec2.create_image_usage_report(
        ImageId=image,
        ClientToken=token,
        ResourceTypes=[{"ResourceType": "ec2:Instance"}, _TEMPLATES],  # type: ignore[list-item]
    )
    return made["ReportId"]


def joined(ids: Iterable[str], *parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What several sources say of each AMI, a few of each named."""
    found = {}
    for image in ids:
        every = [one for part in parts for one in part.get(image, ())]
        more = [f"{len(every) - SHOWN} more"] if len(every) > SHOWN else []
        found[image] = (*every[:SHOWN], *more)
    return found
