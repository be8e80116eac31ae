"""What an event from AWS says was touched, so that only that is looked at again.

An event is a hint and never the truth: what it touched is read from AWS before anything is done.
So one that comes twice, late, out of order or not at all does no harm.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

LIMIT = 1_048_576  # characters; the most that SQS takes
DEPTH = 8  # of nested request parameters that are looked through

NAME = "gilder"

Json = Mapping[str, Any]


class Ignored(StrEnum):
    """Why an event touches nothing."""

    FOREIGN = "foreign"  # of another kind, or a call that failed
    OWN = "own"  # this operator did it and knows
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Touched:
    """What may differ now. `keys` and `builds` are ARNs."""

    account: str
    region: str
    cause: str  # name of the call, or of the kind of event
    at: float | None = None  # when it happened, seconds since 1970
    images: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    builds: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()  # names
    organization: bool = False  # which accounts there are, or where
    state: bool = False  # the AMI, snapshot or key itself, with its tags
    access: bool = False  # who may launch the AMI or use the key

    @property
    def names(self) -> frozenset[str]:
        return self.images | self.snapshots | self.keys | self.builds


@dataclass(frozen=True, slots=True)
class _Effect:
    state: bool = False
    access: bool = False


_STATE = _Effect(state=True)
_ACCESS = _Effect(access=True)
_BOTH = _Effect(state=True, access=True)

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Operations.html
_EC2 = {
    "ModifyImageAttribute": _ACCESS,
    "ResetImageAttribute": _ACCESS,
    "CancelImageLaunchPermission": _ACCESS,
    "DeregisterImage": _BOTH,
    "DisableImage": _BOTH,  # it takes all launch permissions
    "EnableImage": _BOTH,
    "EnableImageDeprecation": _STATE,
    "DisableImageDeprecation": _STATE,
    "EnableImageDeregistrationProtection": _STATE,
    "DisableImageDeregistrationProtection": _STATE,
    "ModifySnapshotAttribute": _BOTH,
    "ResetSnapshotAttribute": _BOTH,
    "DeleteSnapshot": _STATE,
    "CreateTags": _STATE,
    "DeleteTags": _STATE,
}
# https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html
_KMS = {
    "CreateGrant": _ACCESS,
    "RevokeGrant": _ACCESS,
    "RetireGrant": _ACCESS,
    "PutKeyPolicy": _ACCESS,
    "DisableKey": _BOTH,
    "EnableKey": _BOTH,
    "ScheduleKeyDeletion": _BOTH,
    "CancelKeyDeletion": _BOTH,
}

# https://docs.aws.amazon.com/organizations/latest/APIReference/API_Operations.html
_ORGANIZATIONS = frozenset(
    {
        "AcceptHandshake",
        "CloseAccount",
        "CreateAccount",
        "DeleteOrganizationalUnit",
        "LeaveOrganization",
        "MoveAccount",
        "RemoveAccountFromOrganization",
    }
)
# What was only begun by a call comes about later; Organizations tells of that by itself.
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_cloudtrail-integration.html
_ORGANIZATIONS_RESULTS = frozenset({"CloseAccountResult", "CreateAccountResult"})

API_CALL = "AWS API Call via CloudTrail"
SERVICE_EVENT = "AWS Service Event via CloudTrail"
AMI_STATE = "EC2 AMI State Change"
PARAMETER = "Parameter Store Change"
BUILD_STATE = "EC2 Image Builder Image State Change"

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")
_SNAPSHOT = re.compile(r"snap-[0-9a-f]{8,17}")
_KEY = re.compile(r"arn:aws[a-z-]{0,20}:kms:[a-z0-9-]{1,30}:[0-9]{12}:key/[0-9A-Za-z-]{1,64}")
_BUILD = re.compile(
    r"arn:aws[a-z-]{0,20}:imagebuilder:[a-z0-9-]{1,30}:[0-9]{12}:image/[0-9A-Za-z_./-]{1,200}"
)
_ID_FIELDS = frozenset({"imageid", "snapshotid", "resourceid"})


def user_agent(version: str, cluster: str) -> str:
    """What the operator adds to the User-Agent of its calls; CloudTrail hands it on."""
    return f"{NAME}/{version} cluster/{cluster}"


def own(agent: object, cluster: str) -> bool:
    """Whether the operator of this cluster sent the call."""
    if not isinstance(agent, str):
        return False
    words = agent.strip("[]").split()  # CloudTrail puts some agents in brackets
    return any(a.startswith(f"{NAME}/") and b == f"cluster/{cluster}" for a, b in pairwise(words))


def parse(body: str, cluster: str) -> Touched | Ignored:
    """What the body of one message says: an EventBridge event, or one that SNS has wrapped.

    Never raises. https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
    """
    event = _object(body)
    if event is None:
        return Ignored.MALFORMED
    if event.get("Type") == "Notification" and "detail-type" not in event:
        # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
        event = _object(event.get("Message"))
        if event is None:
            return Ignored.MALFORMED
    kind, detail = event.get("detail-type"), event.get("detail")
    account, region = event.get("account"), event.get("region")
    if not isinstance(kind, str) or not isinstance(detail, Mapping):
        return Ignored.MALFORMED
    if not _matches(_ACCOUNT, account) or not _matches(_REGION, region):
        return Ignored.MALFORMED
    at, source = _seconds(event.get("time")), event.get("source")
    if source == "aws.organizations":
        names = {API_CALL: _ORGANIZATIONS, SERVICE_EVENT: _ORGANIZATIONS_RESULTS}.get(kind)
        if names is None:
            return Ignored.FOREIGN
        return _organization_call(detail, names, Touched(str(account), str(region), kind, at))
    if kind == PARAMETER and source == "aws.ssm":
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html
        name = detail.get("name")
        if not isinstance(name, str) or len(name) > 2048:
            return Ignored.MALFORMED
        return Touched(str(account), str(region), kind, at, parameters=frozenset({name}))
    if kind == API_CALL and source in ("aws.ec2", "aws.kms"):
        return _call(detail, str(account), str(region), at, cluster)
    if kind == AMI_STATE and source == "aws.ec2":
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-ami-events.html
        images = _found(_IMAGE, [detail.get("ImageId")])
        if not images:
            return Ignored.MALFORMED
        return Touched(str(account), str(region), kind, at, images=images, state=True, access=True)
    if kind == BUILD_STATE and source == "aws.imagebuilder":
        # https://docs.aws.amazon.com/imagebuilder/latest/userguide/integ-eventbridge.html
        builds = _found(_BUILD, _items(event.get("resources")))
        if not builds:
            return Ignored.MALFORMED
        return Touched(str(account), str(region), kind, at, builds=builds, state=True)
    return Ignored.FOREIGN


def _call(
    detail: Json, account: str, region: str, at: float | None, cluster: str
) -> Touched | Ignored:
    """An API call as CloudTrail records it.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    name, service = detail.get("eventName"), detail.get("eventSource")
    if not isinstance(name, str):
        return Ignored.MALFORMED
    known = {"ec2.amazonaws.com": _EC2, "kms.amazonaws.com": _KMS}.get(str(service), {})
    effect = known.get(name)
    if effect is None or detail.get("errorCode"):
        return Ignored.FOREIGN
    if own(detail.get("userAgent"), cluster):
        return Ignored.OWN
    if known is _KMS:
        return _key_call(detail, name, effect, Touched(account, region, name, at))
    asked = detail.get("requestParameters")
    attribute = asked.get("attributeType") if isinstance(asked, Mapping) else None
    if name == "ModifyImageAttribute" and attribute not in (None, "launchPermission"):
        effect = _STATE  # the description and the like
    ids = list(_ids(asked))
    images, snapshots = _found(_IMAGE, ids), _found(_SNAPSHOT, ids)
    if not images and not snapshots:
        # CreateTags is called for all kinds of resources.
        return Ignored.FOREIGN if ids else Ignored.MALFORMED
    return Touched(
        account,
        region,
        name,
        at,
        images=images,
        snapshots=snapshots,
        state=effect.state,
        access=effect.access,
    )


def _organization_call(detail: Json, names: frozenset[str], of: Touched) -> Touched | Ignored:
    """A call, or the outcome of one, after which an OU may have other accounts."""
    name = detail.get("eventName")
    if not isinstance(name, str):
        return Ignored.MALFORMED
    if name not in names or detail.get("errorCode"):
        return Ignored.FOREIGN
    return Touched(of.account, of.region, name, of.at, organization=True)


def _key_call(detail: Json, name: str, effect: _Effect, of: Touched) -> Touched | Ignored:
    """A call to KMS; the key's ARN stands in `resources`, whatever the request named it.

    https://docs.aws.amazon.com/kms/latest/developerguide/ct-creategrant.html
    """
    identity = detail.get("userIdentity")
    invoked = identity.get("invokedBy") if isinstance(identity, Mapping) else None
    if name in ("CreateGrant", "RetireGrant") and invoked:
        # EC2 makes and retires a grant of its own with every volume of every launch.
        return Ignored.FOREIGN
    named = [r.get("ARN") for r in _items(detail.get("resources")) if isinstance(r, Mapping)]
    for part in ("responseElements", "requestParameters"):
        if isinstance(values := detail.get(part), Mapping):
            named.append(values.get("keyId"))
    keys = _found(_KEY, named)
    if not keys:
        return Ignored.MALFORMED
    return Touched(
        of.account,
        of.region,
        name,
        of.at,
        keys=keys,
        state=effect.state,
        access=effect.access,
    )


def _object(text: object) -> Json | None:
    if not isinstance(text, str) or len(text) > LIMIT:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _ids(asked: object, depth: int = 0) -> Iterator[object]:
    """Values of the fields that name AMIs and snapshots.

    Older calls nest lists in `items`, newer ones everything in `<Action>Request`.
    """
    if depth > DEPTH:
        return
    if isinstance(asked, Mapping):
        for field, value in asked.items():
            if str(field).lower() in _ID_FIELDS:
                yield value
            else:
                yield from _ids(value, depth + 1)
    elif isinstance(asked, list):
        for value in asked:
            yield from _ids(value, depth + 1)


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _found(pattern: re.Pattern[str], values: list[Any]) -> frozenset[str]:
    return frozenset(v for v in values if _matches(pattern, v))


def _seconds(time: object) -> float | None:
    if not isinstance(time, str) or len(time) > 40:
        return None
    try:
        moment = datetime.fromisoformat(time)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
