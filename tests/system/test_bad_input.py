"""Bad input: refused by the schema where it can tell, else Stalled, and AWS untouched."""

from typing import Any

import pytest
from systemworld import System, golden, share


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (share(accounts=["12345"]), "spec.accounts[0]"),
        (share(organizations=["arn:aws:organizations::123456789012:account/o-x"]), "organizations"),
        (share(public=True), "confirmPublic"),
        (share(imageRef={}), "give exactly one of name, selector and images"),
        (
            golden(source={"image": {"id": "ami-0123456789abcdef0"},
                           "instance": {"id": "i-0123456789abcdef0"}}),
            "give exactly one of image, instance, imageBuilder and job",
        ),
        (golden(source={"image": {"id": "ami-xyz"}}), "spec.source.image.id"),
        (golden(region="mars"), "spec.region"),
        (
            golden(encryption={"kmsKeyId": "alias/golden"}, replicas=[{"region": "us-east-1"}]),
            "each needs a kmsKeyId",
        ),
        (golden(replicas=[{"region": "eu-west-1"}]), "the home Region cannot be a replica"),
        (golden(naming={"template": "always-the-same"}), "version"),
        (golden(tags={"goldenimage.dev/image": "x"}), "reserved"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_the_schema_refuses(system: System, document: dict[str, Any], field: str) -> None:
    kind = "goldenimages" if document["kind"] == "GoldenImage" else "imageshares"
    answer = system.session.post(
        f"{system.root}/{kind}?fieldValidation=Strict", json=document, timeout=10
    )
    assert answer.status_code == 422
    assert field in answer.json()["message"]


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"region": "eu-nowhere-1"}, "RegionUnknown", "eu-nowhere-1"),
        (
            {"encryption": {"kmsKeyId": "alias/none"}},
            "KeyNotFound",
            "spec.encryption.kmsKeyId",
        ),
        (
            {"source": {"image": {"ssmParameter": "/none"}}},
            "SourceNotFound",
            "spec.source.image.ssmParameter",
        ),
        (
            {"source": {"image": {"id": "ami-00000000000000001"}}},
            "SourceNotFound",
            "spec.source.image.id",
        ),
        (
            {"source": {"instance": {"tags": {"Name": "nobody"}}}},
            "SourceNotFound",
            "spec.source.instance.tags",
        ),
        ({"account": "999999999999"}, "WrongAccount", "spec.account"),
    ],
)
def test_what_only_aws_can_tell_is_stalled(
    system: System, spec: dict[str, Any], reason: str, said: str
) -> None:
    system.start()
    system.apply(golden(**spec))
    ready = system.wait_reason("GoldenImage", "base", reason)
    assert said in ready["message"]
    stalled = system.condition("GoldenImage", "base", "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason)
    assert system.changes() == {}


def test_a_missing_replica_key_holds_up_only_that_region(system: System) -> None:
    system.start()
    replicas = [
        {"region": "us-east-1", "kmsKeyId": "alias/golden"},
        {"region": "eu-central-1", "kmsKeyId": "alias/none"},
    ]
    system.apply(golden(encryption={"kmsKeyId": "alias/golden"}, replicas=replicas))
    ready = system.wait_reason("GoldenImage", "base", "KeyNotFound")
    assert "spec.replicas[eu-central-1].kmsKeyId" in ready["message"]
    system.wait(lambda: len(system.owned("us-east-1")) == 1, "the other replica")
    assert system.owned("eu-central-1") == []
    there = system.condition("GoldenImage", "base", "ReplicasReady")
    assert there["status"] == "False"
    assert "eu-central-1" in there["message"]
