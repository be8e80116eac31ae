"""The EventBridge rules let through what the operator understands, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.events.models import EventPattern

from gilder.core import events
from gilder.sandbox.aws.event_shapes import parameter_event

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
    assert set(found) == {"calls", "states", "organizations", "parameters"}
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


@pytest.mark.parametrize("name", [*TEMPLATES, "terraform"])
def test_organizations_and_parameters_come_through(name: str) -> None:
    found = patterns(name)
    names = {*events._ORGANIZATIONS, *events._ORGANIZATIONS_RESULTS}
    assert set(found["organizations"]["detail"]["eventName"]) == names
    organizations = EventPattern.load(json.dumps(found["organizations"]))
    for known in events._ORGANIZATIONS:
        event = call(known, "organizations", requestParameters={"accountId": "222222222222"})
        assert organizations.matches_event(event)
        assert isinstance(events.parse(json.dumps(event), "default"), events.Touched)
    for known in events._ORGANIZATIONS_RESULTS:
        event = call(known, "organizations") | {"detail-type": events.SERVICE_EVENT}
        assert organizations.matches_event(event)
        assert isinstance(events.parse(json.dumps(event), "default"), events.Touched)
    failed = call("MoveAccount", "organizations", errorCode="DuplicateAccountException")
    assert not organizations.matches_event(failed)
    assert not organizations.matches_event(call("ListAccounts", "organizations"))
    parameters = EventPattern.load(json.dumps(found["parameters"]))
    for operation in ("Create", "Update", "Delete"):
        event = parameter_event(
            "111122223333",
            "eu-west-1",
            operation,
            name="/org/accounts",
            kind="StringList",
            description="",
            data_type=None,
        )
        assert parameters.matches_event(event)
        touched = events.parse(json.dumps(event), "default")
        assert isinstance(touched, events.Touched)
        assert touched.parameters == {"/org/accounts"}
    assert not parameters.matches_event({**event, "detail-type": "Parameter Store Policy Action"})


def test_other_accounts_may_put_events_on_the_bus_when_they_are_named() -> None:
    document = yaml.safe_load((FOLDER / "cloudformation/home.template").read_text())
    policy = document["Resources"]["MayForward"]
    assert policy["Condition"] in document["Conditions"]
    statement = policy["Properties"]["Statement"]
    assert statement["Action"] == "events:PutEvents"
    assert statement["Principal"] == {"AWS": {"Ref": "OtherAccounts"}}
    assert document["Parameters"]["OtherAccounts"]["Default"] == ""
    terraform = (FOLDER / "terraform/home/main.tf").read_text()
    assert "for_each       = var.other_accounts" in terraform


def test_terraform_and_cloudformation_say_the_same() -> None:
    assert patterns("home.template") == patterns("forward.template") == patterns("terraform")


def test_the_queue_takes_events_of_its_own_rules_alone() -> None:
    text = (FOLDER / "cloudformation/home.template").read_text()
    policy = yaml.safe_load(text)["Resources"]["MayFill"]["Properties"]["PolicyDocument"]
    allow, deny = policy["Statement"]
    assert allow["Principal"] == {"Service": "events.amazonaws.com"}
    assert allow["Condition"]["ArnEquals"]["aws:SourceArn"] == [
        {"Fn::GetAtt": [rule, "Arn"]} for rule in ("Calls", "States", "Organizations", "Parameters")
    ]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
