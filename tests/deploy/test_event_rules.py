"""The EventBridge rules let through what the operator understands, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.events.models import EventPattern

from gilder.core import events

FOLDER = Path(__file__).parents[2] / "deploy/events"
TEMPLATES = ("home.template", "forward.template")
AMI, KEY = "ami-011213ff2fc95b6f6", "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"


def patterns(name: str) -> dict[str, Any]:
    if name == "terraform":
        return dict(json.loads((FOLDER / "terraform/patterns.json").read_text()))
    text = (FOLDER / "cloudformation" / name).read_text()
    resources = yaml.safe_load(text)["Resources"]
    rules = {k: v for k, v in resources.items() if v["Type"] == "AWS::Events::Rule"}
    return {k.lower(): v["Properties"]["EventPattern"] for k, v in rules.items()}


def call(name: str, service: str, **detail: Any) -> dict[str, Any]:
    return {
        "detail-type": "AWS API Call via CloudTrail",
        "source": f"aws.{service}",
        "account": "111122223333",
        "region": "eu-west-1",
        "detail": {
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "requestParameters": {"imageId": AMI, "keyId": KEY},
            "userAgent": "aws-cli",
            **detail,
        },
    }


@pytest.mark.parametrize("name", [*TEMPLATES, "terraform"])
def test_rules_match_what_the_parser_knows(name: str) -> None:
    found = patterns(name)
    assert set(found) == {"calls", "states"}
    assert set(found["calls"]["detail"]["eventName"]) == {*events._EC2, *events._KMS}
    assert set(found["states"]["detail-type"]) == {events.AMI_STATE, events.BUILD_STATE}
    rule = EventPattern.load(json.dumps(found["calls"]))
    for service, names in (("ec2", events._EC2), ("kms", events._KMS)):
        for known in names:
            event = call(known, service)
            assert rule.matches_event(event)
            assert isinstance(events.parse(json.dumps(event), "default"), events.Touched)
    assert not rule.matches_event(call("DeregisterImage", "ec2", errorCode="Client.X"))
    assert not rule.matches_event(call("RunInstances", "ec2"))
    assert not rule.matches_event(call("Decrypt", "kms"))


def test_terraform_and_cloudformation_say_the_same() -> None:
    assert patterns("home.template") == patterns("forward.template") == patterns("terraform")


def test_the_queue_takes_events_of_its_own_rules_alone() -> None:
    text = (FOLDER / "cloudformation/home.template").read_text()
    policy = yaml.safe_load(text)["Resources"]["MayFill"]["Properties"]["PolicyDocument"]
    allow, deny = policy["Statement"]
    assert allow["Principal"] == {"Service": "events.amazonaws.com"}
    assert allow["Condition"]["ArnEquals"]["aws:SourceArn"] == [
        {"Fn::GetAtt": [rule, "Arn"]} for rule in ("Calls", "States")
    ]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
