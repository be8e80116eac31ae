"""Mistakes of people: told by field, at once, and AWS untouched."""

from typing import Any

import pytest
from stage import DR, ENCRYPTED, HOME, KEY, OTHER, REPLICATED, A, Stage
from systemworld import Object, golden, share

from gilder.sandbox.aws.seed import make_key


def refused(stage: Stage, document: Object) -> str:
    kind = "goldenimages" if document["kind"] == "GoldenImage" else "imageshares"
    url = f"{stage.root}/{kind}?fieldValidation=Strict"
    answer = stage.session.post(url, json=document, timeout=10)
    assert answer.status_code in (400, 422), answer.text
    return str(answer.json()["message"])


def test_unknown_fields_are_refused_by_name(stage: Stage) -> None:
    source: dict[str, Any] = {"image": {"ssmParameter": "/golden/base", "region": HOME}}
    assert 'unknown field "spec.source.image.region"' in refused(stage, golden(source=source))
    assert 'unknown field "spec.account"' in refused(stage, share(accounts=[A], account=A))
    kms = {"mode": "Grants"}
    assert "spec.kms.mode" in refused(stage, share(accounts=[A], kms=kms))
    versions = {"select": "Newest"}
    assert "spec.versions" in refused(stage, share(accounts=[A], versions=versions))
    selector: dict[str, Any] = {"selector": {}}
    assert "an empty selector selects nothing" in refused(stage, share(imageRef=selector))
    assert "spec.accounts" in refused(stage, share(accounts=[A, A]))


def test_the_home_region_cannot_be_changed(stage: Stage) -> None:
    stage.apply(golden())
    answer = stage.patch("GoldenImage", "base", {"spec": {"region": DR}})
    assert answer.status_code == 422
    assert "spec.region" in answer.json()["message"]
    assert "immutable" in answer.json()["message"]
    # A replica that an update leaves without a key is refused as well.
    stage.edit("GoldenImage", "base", **REPLICATED)
    answer = stage.patch("GoldenImage", "base", {"spec": {"replicas": [{"region": OTHER}]}})
    assert answer.status_code == 422
    assert "kmsKeyId" in answer.json()["message"]


def test_keys_and_sources_that_cannot_be_used(stage: Stage) -> None:
    ec2, kms = stage.aws.client("ec2"), stage.aws.client("kms")
    disabled = make_key(stage.aws, HOME, "alias/disabled")
    kms.disable_key(KeyId=disabled)
    elsewhere = stage.seeded.keys[DR]
    twins = {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "twin"}]}
    ec2.run_instances(
        ImageId=stage.seeded.base_image,
        InstanceType="t3.micro",
        MinCount=2,
        MaxCount=2,
        TagSpecifications=[twins],
    )
    wrong: dict[str, tuple[Object, str, tuple[str, ...]]] = {
        "disabled": (
            {"encryption": {"kmsKeyId": "alias/disabled"}},
            "KeyNotUsable",
            ("spec.encryption.kmsKeyId", disabled, "Enable it"),
        ),
        "elsewhere": (
            {"encryption": {"kmsKeyId": elsewhere}},
            "KeyNotUsable",
            ("spec.encryption.kmsKeyId", elsewhere),
        ),
        "twins": (
            {"source": {"instance": {"tags": {"Name": "twin"}}}},
            "SourceAmbiguous",
            ("spec.source.instance.tags", "2 instances"),
        ),
        "foreign": (
            {"source": {"image": {"newest": {"owners": [A], "name": "*"}}}},
            "SourceNotFound",
            ("spec.source.image.newest", A),
        ),
    }
    stage.aws.requests.reset()
    stage.start()
    stage.apply(*(golden(name, **spec) for name, (spec, _, _) in wrong.items()))
    for name, (_, reason, said) in wrong.items():
        ready = stage.wait_reason("GoldenImage", name, reason)
        for text in said:
            assert text in ready["message"]
        assert stage.condition("GoldenImage", name, "Stalled")["reason"] == reason
        assert stage.wait_event(name, reason)["type"] == "Warning"
    assert stage.changes() == {}
    # Mended, it goes on by itself once somebody has it looked at.
    kms.enable_key(KeyId=disabled)
    stage.look("GoldenImage", "disabled", "mended")
    stage.wait_ready("GoldenImage", "disabled")
    assert stage.condition("GoldenImage", "disabled", "Stalled") == {}


def test_a_replica_in_a_region_that_does_not_exist_holds_up_only_itself(stage: Stage) -> None:
    stage.start()
    replicas = [{"region": "eu-nowhere-1", **KEY}, {"region": DR, **KEY}]
    stage.apply(golden(replicas=replicas, **ENCRYPTED), share(accounts=[A]))
    ready = stage.wait_reason("GoldenImage", "base", "RegionUnknown")
    assert "eu-nowhere-1" in ready["message"]
    stage.wait(lambda: len(stage.owned(DR)) == 1, "the other replica")
    stage.wait(lambda: stage.users(stage.image("base", DR), DR) == {A}, "shared there")
    assert stage.users(stage.image("base", HOME)) == {A}
    stage.wait(lambda: stage.status("GoldenImage", "base")["replicasReady"] == "1/2", "one of two")
    assert stage.condition("GoldenImage", "base", "Stalled")["reason"] == "RegionUnknown"
    there = stage.condition("GoldenImage", "base", "ReplicasReady")
    assert (there["status"], there["reason"]) == ("False", "RegionUnknown")
    assert "eu-nowhere-1" in there["message"]
    assert DR not in there["message"]


@pytest.mark.parametrize("field", ["accounts", "public"])
def test_what_a_share_may_not_have_is_told_and_nothing_else_is_lost(
    stage: Stage, field: str
) -> None:
    """A refused part holds up neither the other principals nor the other AMIs."""
    if field == "public":
        change: Object = {"public": True, "confirmPublic": True}
        reason = "PublicRefused"
    else:
        change = {"accounts": [A], "imageRef": {"name": None, "images": [
            {"id": stage.seeded.default_key_image, "region": HOME},
            {"id": stage.seeded.base_image, "region": HOME},
        ]}}  # fmt: skip
        reason = "DefaultKeyNotShareable"
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.edit("ImageShare", "team", **change)
    refusal = stage.wait_reason("ImageShare", "team", reason)
    assert stage.condition("ImageShare", "team", "Stalled")["reason"] == reason
    if field == "public":
        assert stage.users(stage.image("base", HOME)) == {A}
        assert stage.grantees() == [A]
    else:
        assert stage.seeded.default_key_image in refusal["message"]
        stage.wait(lambda: stage.users(stage.seeded.base_image) == {A}, "the good AMI shared")
        assert stage.users(stage.seeded.default_key_image) == set()
        stage.wait(lambda: stage.users(stage.image("base", HOME)) == set(), "the former one closed")
        stage.wait(lambda: stage.grantees() == [], "its grant revoked")
