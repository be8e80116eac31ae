"""Events from AWS: real shapes, what touches nothing, and input that nobody should send."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilder.core import events
from gilder.core.events import Ignored, Touched, own, parse, user_agent

AMI, SNAP = "ami-011213ff2fc95b6f6", "snap-0e3bac79ac432d549"
KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ACCOUNT, REGION = "111122223333", "us-west-2"
CLUSTER = "prod"
AGENT = f"Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1 os/linux {user_agent('0.1.0', CLUSTER)}"

Json = dict[str, Any]


def envelope(kind: str, source: str, detail: Json, **more: Any) -> Json:
    return {
        "version": "0",
        "id": "c6e2fa0b-6d68-4f09-8a6e-2a1b2d7d1b11",
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": "2025-06-11T09:14:18Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
        **more,
    }


def call(name: str, parameters: Any, service: str = "ec2", **detail: Any) -> Json:
    """As CloudTrail records it, with what the event reference calls its contents."""
    return envelope(
        "AWS API Call via CloudTrail",
        f"aws.{service}",
        {
            "eventVersion": "1.10",
            "userIdentity": {"type": "IAMUser", "accountId": ACCOUNT, "userName": "Alice"},
            "eventTime": "2025-06-11T09:14:18Z",
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "awsRegion": REGION,
            "sourceIPAddress": "192.0.2.0",
            "userAgent": "aws-cli/2.15.0",
            "requestParameters": parameters,
            "responseElements": {"_return": True},
            "readOnly": False,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": ACCOUNT,
            "eventCategory": "Management",
            **detail,
        },
    )


def kms(name: str, parameters: Any, **detail: Any) -> Json:
    key = {"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": KEY}
    return call(name, parameters, "kms", **{"resources": [key], **detail})


def read(event: Json | str) -> Touched | Ignored:
    return parse(event if isinstance(event, str) else json.dumps(event), CLUSTER)


def launch(**change: Any) -> Json:
    return {"imageId": AMI, "attributeType": "launchPermission", "launchPermission": change}


TAGS = {"tagSet": {"items": [{"key": "Name", "value": "x"}]}}

EC2_CALLS = [
    ("ModifyImageAttribute", launch(add={"items": [{"userId": "999999999999"}]}), False, True),
    ("ModifyImageAttribute", launch(remove={"items": [{"group": "all"}]}), False, True),
    ("ModifyImageAttribute", {"imageId": AMI, "attributeType": "description"}, True, False),
    ("ResetImageAttribute", {"imageId": AMI, "attributeType": "launchPermission"}, False, True),
    ("CancelImageLaunchPermission", {"ImageId": AMI}, False, True),
    ("DeregisterImage", {"imageId": AMI, "deleteAssociatedSnapshots": False}, True, True),
    ("DisableImage", {"DisableImageRequest": {"ImageId": AMI}}, True, True),
    ("EnableImage", {"EnableImageRequest": {"ImageId": AMI}}, True, True),
    ("EnableImageDeprecation", {"EnableImageDeprecationRequest": {"ImageId": AMI}}, True, False),
    ("DisableImageDeprecation", {"DisableImageDeprecationRequest": {"ImageId": AMI}}, True, False),
    ("CreateTags", {"resourcesSet": {"items": [{"resourceId": AMI}]}, **TAGS}, True, False),
    ("DeleteTags", {"resourcesSet": {"items": [{"resourceId": AMI}]}}, True, False),
]


@pytest.mark.parametrize(("name", "parameters", "state", "access"), EC2_CALLS)
def test_a_call_about_an_ami_touches_it(
    name: str, parameters: Json, state: bool, access: bool
) -> None:
    found = read(call(name, parameters))
    assert found == Touched(
        ACCOUNT, REGION, name, 1749633258.0, images=frozenset({AMI}), state=state, access=access
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (
            "ModifySnapshotAttribute",
            {
                "snapshotId": SNAP,
                "attributeType": "CREATE_VOLUME_PERMISSION",
                "createVolumePermission": {"add": {"items": [{"userId": "999999999999"}]}},
            },
        ),
        ("ResetSnapshotAttribute", {"snapshotId": SNAP}),
        ("DeleteSnapshot", {"snapshotId": SNAP, "force": False}),
    ],
)
def test_a_call_about_a_snapshot_touches_it(name: str, parameters: Json) -> None:
    found = read(call(name, parameters))
    assert isinstance(found, Touched)
    assert (found.snapshots, found.images, found.state) == ({SNAP}, frozenset(), True)


def test_tags_of_many_resources_touch_the_amis_and_snapshots_among_them() -> None:
    items = [{"resourceId": r} for r in ("i-0abc123def4567890", AMI, SNAP, "vol-0123456789")]
    found = read(call("CreateTags", {"resourcesSet": {"items": items}, **TAGS}))
    assert isinstance(found, Touched)
    assert found.names == {AMI, SNAP}
    only = {"resourcesSet": {"items": [{"resourceId": "i-0abc123def4567890"}]}}
    assert read(call("CreateTags", only)) is Ignored.FOREIGN


# RetireGrant has no requestParameters; only `resources` names the key.
KMS_CALLS = [
    ("CreateGrant", {"keyId": "alias/golden", "operations": ["Decrypt"]}, False),
    ("RevokeGrant", {"keyId": KEY, "grantId": "f020fe75"}, False),
    ("RetireGrant", None, False),
    ("PutKeyPolicy", {"keyId": KEY.rsplit("/", 1)[1], "policyName": "default"}, False),
    ("DisableKey", {"keyId": KEY}, True),
    ("EnableKey", {"keyId": KEY}, True),
    ("ScheduleKeyDeletion", {"keyId": KEY, "pendingWindowInDays": 7}, True),
    ("CancelKeyDeletion", {"keyId": KEY}, True),
]


@pytest.mark.parametrize(("name", "parameters", "state"), KMS_CALLS)
def test_a_call_about_a_key_touches_it_by_its_arn(
    name: str, parameters: Json | None, state: bool
) -> None:
    found = read(kms(name, parameters))
    assert isinstance(found, Touched)
    assert (found.cause, found.keys) == (name, {KEY})
    assert (found.state, found.access) == (state, True)


def test_the_arn_is_found_in_the_answer_too() -> None:
    found = read(kms("RetireGrant", None, resources=[], responseElements={"keyId": KEY}))
    assert isinstance(found, Touched)
    assert found.keys == {KEY}


@pytest.mark.parametrize("name", ["CreateGrant", "RetireGrant"])
def test_grants_that_aws_services_make_for_themselves_touch_nothing(name: str) -> None:
    identity = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    assert read(kms(name, {"keyId": KEY}, userIdentity=identity)) is Ignored.FOREIGN


@pytest.mark.parametrize("state", ["available", "failed", "deregistered", "disabled"])
def test_the_state_of_an_ami(state: str) -> None:
    detail = {"RequestId": "9dcc-40a6", "ImageId": AMI, "State": state, "ErrorMessage": ""}
    arn = f"arn:aws:ec2:{REGION}::image/{AMI}"
    found = read(envelope("EC2 AMI State Change", "aws.ec2", detail, resources=[arn]))
    assert isinstance(found, Touched)
    assert (found.cause, found.images) == ("EC2 AMI State Change", {AMI})
    assert found.state
    assert found.access


def test_the_state_of_an_image_builder_image() -> None:
    arn = f"arn:aws:imagebuilder:{REGION}:{ACCOUNT}:image/golden/1.0.0/1"
    detail = {"previous-state": {"status": "TESTING"}, "state": {"status": "AVAILABLE"}}
    kind = "EC2 Image Builder Image State Change"
    found = read(envelope(kind, "aws.imagebuilder", detail, resources=[arn]))
    assert isinstance(found, Touched)
    assert found.builds == {arn}


def test_an_event_that_sns_wrapped() -> None:
    inner = call("DeregisterImage", {"imageId": AMI})
    wrapped = {"Type": "Notification", "MessageId": "x", "Message": json.dumps(inner)}
    assert read(wrapped) == read(inner)
    assert read({"Type": "Notification", "Message": json.dumps(wrapped)}) is Ignored.MALFORMED


@pytest.mark.parametrize(
    "event",
    [
        call("DeregisterImage", {"imageId": AMI}, errorCode="Client.InvalidAMIID.NotFound"),
        call("ModifyImageAttribute", launch(), errorCode="Client.DryRunOperation"),
        kms("RevokeGrant", {"keyId": KEY}, errorCode="NotFoundException"),
        call("RunInstances", {"instancesSet": {"items": [{"imageId": AMI}]}}),
        call("CopyImage", {"sourceImageId": AMI}),
        kms("Decrypt", None),
        envelope("EC2 Instance State-change Notification", "aws.ec2", {"state": "pending"}),
        envelope("Scheduled Event", "aws.events", {}),
        envelope("EC2 AMI State Change", "somebody.else", {"ImageId": AMI}),
        call("DeregisterImage", {"imageId": AMI}, service="s3"),
    ],
)
def test_what_touches_nothing(event: Json) -> None:
    assert read(event) is Ignored.FOREIGN


@pytest.mark.parametrize(
    ("agent", "ours"),
    [
        (AGENT, True),
        (f"[{AGENT}]", True),
        (f"{AGENT} exec-env/x", True),
        ("gilder/0.1.0 cluster/production", False),
        ("gilder/0.1.0 cluster/other", False),
        ("gilder/0.1.0 md/x cluster/prod", False),
        ("gilder/0.1.0", False),
        ("notgilder/1 cluster/prod", False),
        ("", False),
        (None, False),
        (["gilder/0.1.0 cluster/prod"], False),
    ],
)
def test_our_own_calls_are_told_by_program_and_cluster(agent: object, ours: bool) -> None:
    assert own(agent, CLUSTER) is ours
    event = call("ModifyImageAttribute", launch(), userAgent=agent)
    assert (read(event) is Ignored.OWN) is ours


NESTED = '{"detail-type": "x", "detail": ' + '{"a":' * 100_000 + "1" + "}" * 100_001


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "17",
        "garbage",
        '{"detail": {}}',
        "{" * 200_000,
        NESTED,
        '{"a": ' + "9" * 10_000 + "}",
        json.dumps(call("DeregisterImage", {"imageId": AMI})) + " " * events.LIMIT,
        json.dumps({**call("DeregisterImage", {"imageId": AMI}), "region": "../../etc"}),
        json.dumps({**call("DeregisterImage", {"imageId": AMI}), "account": 111122223333}),
        json.dumps(call("DeregisterImage", {"imageId": "ami-xyz"})).replace("imageId", "other"),
        json.dumps(call("DeregisterImage", None)),
        json.dumps(kms("RevokeGrant", {"keyId": "alias/x"}, resources=[{"ARN": 1}, 2, None])),
        json.dumps(envelope("EC2 AMI State Change", "aws.ec2", {"ImageId": ["ami-1"]})),
    ],
    ids=range(16),
)
def test_malformed_bodies(body: str) -> None:
    assert parse(body, CLUSTER) is Ignored.MALFORMED


@pytest.mark.parametrize("time", ["9999-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00", 5, None, ""])
def test_a_bad_time_is_no_reason_to_lose_an_event(time: object) -> None:
    found = read({**call("DeregisterImage", {"imageId": AMI}), "time": time})
    assert isinstance(found, Touched)
    assert found.images == {AMI}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
SAMPLES = [
    *(call(name, parameters) for name, parameters, _, _ in EC2_CALLS),
    *(kms(name, parameters) for name, parameters, _ in KMS_CALLS),
    envelope("EC2 AMI State Change", "aws.ec2", {"ImageId": AMI, "State": "available"}),
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in inner:
        found.append((*path, key))
        if isinstance(child, dict | list):
            found += paths(child, (*path, key))
    return found


@given(st.data())
def test_any_part_of_an_event_may_be_anything(data: st.DataObject) -> None:
    event = copy.deepcopy(data.draw(st.sampled_from(SAMPLES)))
    for path in data.draw(st.lists(st.sampled_from(paths(event)), min_size=1, max_size=3)):
        at: Any = event
        for step in path[:-1]:
            at = at[step] if isinstance(at, dict | list) and _has(at, step) else {}
        if isinstance(at, dict | list) and _has(at, path[-1]):
            at[path[-1]] = data.draw(JSON)
    found = read(event)
    assert isinstance(found, Ignored | Touched)
    if isinstance(found, Touched):
        assert found.names
        assert found.state or found.access


def _has(at: Any, step: Any) -> bool:
    return step in at if isinstance(at, dict) else isinstance(step, int) and step < len(at)


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_taken(body: str) -> None:
    assert parse(body, CLUSTER) in (Ignored.MALFORMED, Ignored.FOREIGN)


def test_what_organizations_tells_by_itself_touches_organizations() -> None:
    detail = {
        "eventType": "AwsServiceEvent",
        "eventSource": "organizations.amazonaws.com",
        "eventName": "CreateAccountResult",
        "serviceEventDetails": {"createAccountStatus": {"state": "SUCCEEDED"}},
    }
    event = envelope(events.SERVICE_EVENT, "aws.organizations", detail)
    found = parse(json.dumps(event), CLUSTER)
    assert isinstance(found, Touched)
    assert found.organization
    assert found.cause == "CreateAccountResult"
    as_call = envelope(events.API_CALL, "aws.organizations", detail)
    assert parse(json.dumps(as_call), CLUSTER) is Ignored.FOREIGN
    other = envelope("AWS Console Sign In via CloudTrail", "aws.organizations", detail)
    assert parse(json.dumps(other), CLUSTER) is Ignored.FOREIGN
