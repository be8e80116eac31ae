"""What the operator's credentials may do, by calls that change nothing.

EC2 is asked with DryRun, where it says what would have become of the call:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
KMS knows that of grants alone, other services of nothing; what cannot be asked so is told as such.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from gilder.api.names import TAG_CLUSTER, TAG_TEST
from gilder.aws import errors
from gilder.aws.events import region_of
from gilder.aws.permissions import needs
from gilder.aws.sessions import Sessions
from gilder.core.checkup import Finding, State, skew

OF_DRY_RUNS = frozenset({"DryRunOperation", "DryRunOperationException"})
NOBODY = "/gilder/doctor/no-such-parameter"
NO_SUBJECT = "there is no harmless call, or no AMI of an operator to ask about in"
FEW = 5  # the fewest that DescribeImages takes as MaxResults

Call = Callable[[], object]
Probe = tuple[str, Call]  # IAM action, and the call that asks for it


@dataclass(frozen=True, slots=True)
class Subjects:
    """What there is in a Region to ask about."""

    image: str = ""  # any of the account
    owned: str = ""  # one with our tag, which is what the policy wants for most changes
    instance: str = ""


@needs("sts:GetCallerIdentity")
def identity(sessions: Sessions) -> tuple[list[Finding], bool]:
    """Who we are, and whether our clock is right; False where no call can be signed."""
    try:
        found = sessions.sts().get_caller_identity()
    except errors.AWS_ERRORS as error:
        fix = (
            "give the pod a role (IRSA or Pod Identity), or set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        return [
            Finding("aws", "credentials", "fail", _said(error, "GetCallerIdentity"), fix)
        ], False
    said = f"account {found['Account']} as {found['Arn']}"
    out = [Finding("aws", "credentials", "ok", said)]
    date = found["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    try:
        out.append(skew(parsedate_to_datetime(str(date)), datetime.now(UTC)))
    except (TypeError, ValueError):
        out.append(Finding("aws", "clock", "unknown", "AWS told no time"))
    return out, True


def permissions(
    sessions: Sessions, region: str, wanted: Mapping[str, Iterable[str]], strict: frozenset[str]
) -> Iterator[Finding]:
    """A Finding per policy (`wanted`: its name to its actions) for a Region.

    What the policies in `strict` lack is a failure, what others lack a warning.
    """
    try:
        there = subjects(sessions, region)
    except errors.AWS_ERRORS as error:
        found = errors.problem(error, "DescribeImages", region)
        fix = "gilder iam-policy --part main" if found.reason == "AccessDenied" else ""
        yield Finding("aws", f"{region}: reading AMIs", "fail", found.message, fix)
        return
    made: dict[str, Callable[[Sessions, str, Subjects], Iterator[Probe]]] = {
        "main": main,
        "builds": builds,
        "sharing": sharing,
        "publishing": publishing,
    }
    for part, needed in wanted.items():
        denied: dict[str, str] = {}
        unclear: dict[str, str] = {}
        given: set[str] = set()
        for action, call in made[part](sessions, region, there):
            state, said = _asked(call, action)
            if state == "ok":
                given.add(action)
            elif state == "fail":
                denied[action] = said
            else:
                unclear[action] = said
        yield _told(part, region, given, denied, unclear, part in strict)
        # Those of one account's own are asked about apart.
        rest = set(needed) - given - set(denied) - set(unclear) - {"sts:GetCallerIdentity"}
        rest = {a for a in rest if not a.startswith(("sqs:", "kms:"))}
        if rest:
            why = "there is no harmless call" if there.owned else f"{NO_SUBJECT} {region}"
            said = f"{len(rest)} not asked for, since {why}: {', '.join(sorted(rest))}"
            yield Finding("aws", f"{region}: policy {part}, the rest", "unknown", said)


def _told(
    part: str,
    region: str,
    given: set[str],
    denied: Mapping[str, str],
    unclear: Mapping[str, str],
    strict: bool,
) -> Finding:
    what = f"{region}: policy {part}"
    if denied:
        first = next(iter(denied.values()))
        said = f"not allowed: {', '.join(sorted(denied))} ({first})"
        fix = f"allow what `gilder iam-policy --part {part}` prints"
        if not strict:
            fix = f"{fix}, if you use that"
        return Finding("aws", what, "fail" if strict else "warn", said, fix)
    if unclear:
        named = "; ".join(f"{a}: {said}" for a, said in sorted(unclear.items()))
        return Finding("aws", what, "unknown", f"{len(given)} allowed, not clear: {named}")
    return Finding("aws", what, "ok", f"{len(given)} actions asked for, all allowed")


@needs("ec2:DescribeImages", "ec2:DescribeInstances")
def subjects(sessions: Sessions, region: str) -> Subjects:
    """What there is to ask about; an instance may not be read without harm."""
    ec2 = sessions.ec2(region)
    ours = [{"Name": "tag-key", "Values": [TAG_CLUSTER]}]
    owned = ec2.describe_images(Owners=["self"], Filters=ours, MaxResults=FEW)["Images"]  # type: ignore[arg-type]
    images = owned or ec2.describe_images(Owners=["self"], MaxResults=FEW)["Images"]
    try:
        found = ec2.describe_instances(MaxResults=FEW)["Reservations"]
        instance = found[0]["Instances"][0]["InstanceId"] if found else ""
    except errors.AWS_ERRORS:
        instance = ""
    return Subjects(
        image=images[0]["ImageId"] if images else "",
        owned=owned[0]["ImageId"] if owned else "",
        instance=instance,
    )


@needs(
    "autoscaling:DescribeAutoScalingGroups",
    "ec2:CopyImage",
    "ec2:CreateImage",
    "ec2:CreateImageUsageReport",
    "ec2:CreateTags",
    "ec2:DeleteTags",
    "ec2:DeregisterImage",
    "ec2:DescribeImageAttribute",
    "ec2:DescribeImageUsageReports",
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ec2:DescribeSnapshots",
    "ec2:DisableImage",
    "ec2:EnableImage",
    "ec2:EnableImageDeprecation",
    "ec2:GetImageBlockPublicAccessState",
    "ec2:ListImagesInRecycleBin",
    "ec2:ModifyImageAttribute",
    "ssm:GetParameters",
)
def main(sessions: Sessions, region: str, there: Subjects) -> Iterator[Probe]:
    """What every operator needs."""
    ec2: Any = sessions.ec2(region)
    ssm, autoscaling = sessions.ssm(region), sessions.autoscaling(region)
    dry: dict[str, Any] = {"DryRun": True}
    yield "ec2:DescribeImages", lambda: ec2.describe_images(Owners=["self"], **dry)
    yield "ec2:DescribeSnapshots", lambda: ec2.describe_snapshots(OwnerIds=["self"], **dry)
    yield "ec2:DescribeInstances", lambda: ec2.describe_instances(**dry)
    yield "ec2:DescribeRegions", lambda: ec2.describe_regions(**dry)
    yield "ec2:ListImagesInRecycleBin", lambda: ec2.list_images_in_recycle_bin(**dry)
    yield "ec2:DescribeImageUsageReports", lambda: ec2.describe_image_usage_reports(**dry)
    yield (
        "ec2:GetImageBlockPublicAccessState",
        lambda: ec2.get_image_block_public_access_state(**dry),
    )
    yield "ssm:GetParameters", lambda: ssm.get_parameters(Names=[NOBODY])
    yield (
        "autoscaling:DescribeAutoScalingGroups",
        lambda: autoscaling.describe_auto_scaling_groups(MaxRecords=1),
    )
    if there.instance:
        name = {"InstanceId": there.instance, "Name": "gilder-doctor", "NoReboot": True}
        yield "ec2:CreateImage", lambda: ec2.create_image(**name, **dry)
    if there.image:
        image = {"ImageId": there.image}
        copy = {"SourceImageId": there.image, "SourceRegion": region, "Name": "gilder-doctor"}
        opened = {"LaunchPermission": {"Remove": [{"UserId": "0" * 12}]}}
        attribute = {"Attribute": "launchPermission"}
        tag = {"Resources": [there.image], "Tags": [{"Key": TAG_TEST, "Value": "doctor"}]}
        yield (
            "ec2:DescribeImageAttribute",
            lambda: ec2.describe_image_attribute(**image, **attribute, **dry),
        )
        yield "ec2:CopyImage", lambda: ec2.copy_image(**copy, **dry)
        yield (
            "ec2:ModifyImageAttribute",
            lambda: ec2.modify_image_attribute(**image, **opened, **dry),
        )
        yield "ec2:CreateTags", lambda: ec2.create_tags(**tag, **dry)
    if there.owned:
        owned = {"ImageId": there.owned}
        until = {"DeprecateAt": "2100-01-01T00:00:00Z"}
        types = {"ResourceTypes": [{"ResourceType": "ec2:Instance"}]}
        untag = {"Resources": [there.owned], "Tags": [{"Key": TAG_TEST}]}
        yield "ec2:DeleteTags", lambda: ec2.delete_tags(**untag, **dry)
        yield "ec2:DeregisterImage", lambda: ec2.deregister_image(**owned, **dry)
        yield "ec2:DisableImage", lambda: ec2.disable_image(**owned, **dry)
        yield "ec2:EnableImage", lambda: ec2.enable_image(**owned, **dry)
        yield (
            "ec2:EnableImageDeprecation",
            lambda: ec2.enable_image_deprecation(**owned, **until, **dry),
        )
        yield (
            "ec2:CreateImageUsageReport",
            lambda: ec2.create_image_usage_report(**owned, **types, **dry),
        )


@needs(
    "ec2:RunInstances",
    "imagebuilder:ListComponents",
    "imagebuilder:ListImageRecipes",
    "ssm:DescribeInstanceInformation",
)
def builds(sessions: Sessions, region: str, there: Subjects) -> Iterator[Probe]:
    """What builds and checks of new versions need."""
    ec2: Any = sessions.ec2(region)
    ssm, client = sessions.ssm(region), sessions.imagebuilder(region)
    yield "imagebuilder:ListImageRecipes", lambda: client.list_image_recipes(maxResults=1)
    yield "imagebuilder:ListComponents", lambda: client.list_components(maxResults=1)
    yield (
        "ssm:DescribeInstanceInformation",
        lambda: ssm.describe_instance_information(MaxResults=FEW),
    )
    if there.image:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": TAG_TEST, "Value": there.image}]}]
        one = {"ImageId": there.image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.nano"}
        yield (
            "ec2:RunInstances",
            lambda: ec2.run_instances(**one, TagSpecifications=tags, DryRun=True),
        )


@needs("organizations:DescribeOrganization")
def sharing(sessions: Sessions, region: str, there: Subjects) -> Iterator[Probe]:  # noqa: ARG001
    """What organizations need; key policies and snapshots cannot be asked about."""
    organizations = sessions.organizations()
    yield "organizations:DescribeOrganization", lambda: organizations.describe_organization()


@needs("ec2:DescribeLaunchTemplateVersions", "ssm:DescribeParameters")
def publishing(sessions: Sessions, region: str, there: Subjects) -> Iterator[Probe]:  # noqa: ARG001
    """What publishing to parameters and launch templates needs."""
    ec2, ssm = sessions.ec2(region), sessions.ssm(region)
    yield "ssm:DescribeParameters", lambda: ssm.describe_parameters(MaxResults=1)
    yield (
        "ec2:DescribeLaunchTemplateVersions",
        lambda: ec2.describe_launch_template_versions(Versions=["$Latest"], DryRun=True),
    )


@needs("kms:DescribeKey", "kms:ListGrants", "kms:GetKeyPolicy", "kms:CreateGrant")
def key(sessions: Sessions, region: str, written: str, account: str) -> Finding:
    """Whether a KMS key can be used for AMIs and shared."""
    what = f"{region}: KMS key {written}"
    kms: Any = sessions.kms(region)
    try:
        found = kms.describe_key(KeyId=written)["KeyMetadata"]
    except errors.AWS_ERRORS as error:
        fix = "name a key of this Region, and allow kms:DescribeKey in its policy or by IAM"
        return Finding("aws", what, "fail", _said(error, "DescribeKey"), fix)
    arn, state = found["Arn"], found.get("KeyState")
    if state != "Enabled":
        return Finding("aws", what, "fail", f"is {state}", "enable it, or name another")
    if found.get("KeyManager") == "AWS":
        fix = "re-encrypt with a customer-managed key: spec.encryption.kmsKeyId"
        return Finding("aws", what, "warn", "is AWS managed: AMIs of it cannot be shared", fix)
    grant = {"GranteePrincipal": f"arn:aws:iam::{account}:root", "Operations": ["DescribeKey"]}
    probes: list[Probe] = [
        ("kms:ListGrants", lambda: kms.list_grants(KeyId=arn, Limit=1)),
        ("kms:GetKeyPolicy", lambda: kms.get_key_policy(KeyId=arn, PolicyName="default")),
        ("kms:CreateGrant", lambda: kms.create_grant(KeyId=arn, **grant, DryRun=True)),
    ]
    wrong = [(a, *_asked(call, a)) for a, call in probes]
    denied = [a for a, state, _ in wrong if state == "fail"]
    if denied:
        fix = (
            "allow them in the key's policy, or let IAM policies count there and allow them by IAM"
        )
        return Finding("aws", what, "fail", f"not allowed: {', '.join(denied)}", fix)
    if unclear := [f"{a}: {said}" for a, state, said in wrong if state != "ok"]:
        return Finding("aws", what, "unknown", "; ".join(unclear))
    return Finding("aws", what, "ok", "enabled; grants can be listed and made")


@needs("sqs:ReceiveMessage")
def queue(sessions: Sessions, url: str) -> Finding:
    """Whether the queue of events can be read; what is in it stays there, and visible."""
    try:
        sessions.sqs(region_of(url, sessions.region)).receive_message(
            QueueUrl=url, MaxNumberOfMessages=1, WaitTimeSeconds=0, VisibilityTimeout=0
        )
    except errors.AWS_ERRORS as error:
        fix = "correct GILDER_EVENT_QUEUE_URL, and allow sqs:ReceiveMessage and sqs:DeleteMessage"
        return Finding("aws", "queue of events", "fail", _said(error, "ReceiveMessage"), fix)
    return Finding("aws", "queue of events", "ok", "can be read")


def _asked(call: Call, action: str) -> tuple[State, str]:
    """Whether a call would be, or was, allowed."""
    try:
        call()
    except errors.AWS_ERRORS as error:
        code = errors.code(error)
        if code in OF_DRY_RUNS:
            return "ok", ""
        found = errors.problem(error, action)
        if found.reason in ("AccessDenied", "CredentialsUnusable", "RoleNotAssumable"):
            return "fail", errors.message(error)
        # Answered for another reason than permission, which AWS looks at first.
        if isinstance(error, ClientError) and found.reason == "AWSError":
            return "unknown", code
        return "unknown", found.message
    return "ok", ""


def _said(error: BaseException, doing: str) -> str:
    return errors.problem(error, doing).message
