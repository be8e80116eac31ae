"""Events as EventBridge and CloudTrail write them."""

import contextlib
import itertools
import json
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from gilder.sandbox.aws.assumed import Session
from gilder.sandbox.aws.counting import CallKey

Json = dict[str, Any]
_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_NUMBERED = re.compile(r"[.]\d+(?=[.]|$)")


def envelope(
    account: str, source: str, kind: str, region: str, resources: list[str], detail: Json
) -> Json:
    """https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html"""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": source,
        "account": account,
        "time": _now(),
        "region": region,
        "resources": resources,
        "detail": detail,
    }


def build_event(arn: str, before: str, now: str) -> Json:
    """https://docs.aws.amazon.com/imagebuilder/latest/userguide/integ-eventbridge.html"""
    detail = {"previous-state": {"status": before}, "state": {"status": now}}
    kind = "EC2 Image Builder Image State Change"
    region, account = arn.split(":")[3:5]
    return envelope(account, "aws.imagebuilder", kind, region, [arn], detail)


def state_event(account: str, region: str, image: str, state: str) -> Json:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-ami-events.html"""
    detail = {
        "RequestId": str(uuid.uuid4()),
        "ImageId": image,
        "State": state,
        "ErrorMessage": "" if state != "failed" else "The copy failed.",
    }
    arn = f"arn:aws:ec2:{region}::image/{image}"
    return envelope(account, "aws.ec2", "EC2 AMI State Change", region, [arn], detail)


def parameter_event(
    account: str,
    region: str,
    operation: str,
    *,
    name: str,
    kind: str,
    description: str,
    data_type: str | None,
) -> Json:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html"""
    detail = {
        "operation": operation,
        "name": name,
        "type": kind,
        "description": description,
    }
    if data_type == "aws:ec2:image":
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html
        detail["dataType"] = data_type
    arn = f"arn:aws:ssm:{region}:{account}:parameter/{name.lstrip('/')}"
    return envelope(account, "aws.ssm", "Parameter Store Change", region, [arn], detail)


def _identity(key: CallKey, session: Session | None) -> Json:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html"""
    if session is None:
        return {
            "type": "IAMUser",
            "principalId": "AIDASANDBOX",
            "arn": f"arn:aws:iam::{key.account}:user/sandbox",
            "accountId": key.account,
            "accessKeyId": key.account,
            "userName": "sandbox",
        }
    issuer = {
        "type": "Role",
        "principalId": session.role_id,
        "arn": session.role_arn,
        "accountId": session.account,
        "userName": session.role_arn.rpartition("/")[2],
    }
    return {
        "type": "AssumedRole",
        "principalId": session.user_id,
        "arn": session.arn,
        "accountId": session.account,
        "accessKeyId": session.access_key,
        "sessionContext": {"sessionIssuer": issuer, "attributes": {"mfaAuthenticated": "false"}},
    }


def call_event(
    recipient: str,
    key: CallKey,
    asked: Json,
    arn: str | None,
    agent: str,
    status: int,
    answer: bytes,
    session: Session | None = None,
) -> Json:
    """What CloudTrail tells `recipient`, the account that calls or the one whose key is used.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
    """
    region = arn.split(":")[3] if arn else key.region
    if key.service == "organizations":
        # It is a global service, whose calls are told of in one Region.
        region = "us-east-1"
    detail: Json = {
        "eventVersion": "1.10",
        "userIdentity": _identity(key, session),
        "eventTime": _now(),
        "eventSource": f"{key.service}.amazonaws.com",
        "eventName": key.action,
        "awsRegion": region,
        "sourceIPAddress": "192.0.2.0",
        "userAgent": agent,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": recipient,
        "eventCategory": "Management",
    }
    if key.service == "ec2":
        detail["requestParameters"] = _ec2_parameters(key.action, asked)
        detail["responseElements"] = {"_return": True}
    elif key.service == "organizations":
        detail["requestParameters"] = {_lower(k): v for k, v in asked.items()} or None
        detail["responseElements"] = _organizations_answer(answer)
    else:
        detail |= _kms_parts(key, asked, arn, answer)
    if status >= 400:
        code = _CODE.search(answer)
        said = code[1].decode() if code else str(json_of(answer).get("__type", "Error"))
        detail["errorCode"] = f"Client.{said}" if key.service == "ec2" else said
        detail["responseElements"] = None
    kind = "AWS API Call via CloudTrail"
    return envelope(recipient, f"aws.{key.service}", kind, region, [], detail)


def _organizations_answer(answer: bytes) -> Json | None:
    found = json_of(answer)
    return {_lower(k): v for k, v in found.items()} or None


def _ec2_parameters(action: str, asked: Json) -> Json:
    """The form of a request as CloudTrail shows it."""
    if action in ("CreateTags", "DeleteTags"):
        return {
            "resourcesSet": _list(asked, "ResourceId", "resourceId"),
            "tagSet": {
                "items": [
                    {"key": k, "value": v}
                    for k, v in itertools.zip_longest(
                        _values(asked, "Tag.Key"), _values(asked, "Tag.Value"), fillvalue=""
                    )
                ]
            },
        }
    if action.startswith(("EnableImage", "DisableImage")):
        return {f"{action}Request": {k: v for k, v in asked.items() if "." not in k}}
    out: Json = {_lower(k): v for k, v in asked.items() if "." not in k and k != "Attribute"}
    if action == "ResetImageAttribute":
        out["attributeType"] = asked.get("Attribute")
    if action in ("ModifyImageAttribute", "ModifySnapshotAttribute"):
        image = action == "ModifyImageAttribute"
        name = "launchPermission" if image else "createVolumePermission"
        if "Description.Value" in asked or asked.get("Attribute") == "description":
            out["attributeType"] = "description"
            return out
        out["attributeType"] = name if image else "CREATE_VOLUME_PERMISSION"
        out[name] = _permissions(asked, name[0].upper() + name[1:])
    return out


def _permissions(asked: Json, name: str) -> Json:
    out: Json = {}
    for operation in ("Add", "Remove"):
        items = [
            {_lower(field): value}
            for field in ("UserId", "Group", "OrganizationArn", "OrganizationalUnitArn")
            for value in _values(asked, f"{name}.{operation}.{field}")
        ]
        if items:
            out[operation.lower()] = {"items": items}
    flat = [{"userId": v} for v in _values(asked, "UserId")]
    flat += [{"group": v} for v in _values(asked, "UserGroup")]
    if flat:
        out[str(asked.get("OperationType", "add"))] = {"items": flat}
    return out


def _kms_parts(key: CallKey, asked: Json, arn: str | None, answer: bytes) -> Json:
    """https://docs.aws.amazon.com/kms/latest/developerguide/ct-creategrant.html"""
    parts: Json = {
        "requestParameters": {_lower(k): v for k, v in asked.items() if k != "GrantTokens"},
        "responseElements": None,
        "resources": [],
    }
    if arn:
        owner = arn.split(":")[4]
        parts["resources"] = [{"accountId": owner, "type": "AWS::KMS::Key", "ARN": arn}]
    if key.action == "CreateGrant":
        parts["responseElements"] = {"grantId": json_of(answer).get("GrantId"), "keyId": arn}
    if key.action == "RetireGrant":
        parts["requestParameters"] = None
        parts["additionalEventData"] = {"grantId": asked.get("GrantId")}
    return parts


def form(body: bytes) -> Json:
    found = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return {k: v for k, v in found.items() if k not in ("Action", "Version")}


def json_of(body: bytes) -> Json:
    with contextlib.suppress(ValueError):
        found = json.loads(body or b"{}")
        if isinstance(found, dict):
            return found
    return {}


def _values(asked: Json, name: str) -> list[str]:
    """Values of a list of a form: `Tag.Key` stands for Tag.1.Key, Tag.2.Key and so on."""
    return [v for k, v in asked.items() if "." in k and _NUMBERED.sub("", k) == name]


def _list(asked: Json, name: str, shown: str) -> Json:
    values: Iterable[str] = _values(asked, name)
    return {"items": [{shown: v} for v in values]}


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
