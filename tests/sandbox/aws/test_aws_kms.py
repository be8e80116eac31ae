"""KMS grants, key policies and keys of other accounts."""

import json
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key
from gilder.sandbox.aws.server import SandboxAws

A, B = "123456789012", "222222222222"
ROOT_B = f"arn:aws:iam::{B}:root"


def grant(client: Any, key: str, **changes: Any) -> str:
    request = {
        "KeyId": key,
        "GranteePrincipal": ROOT_B,
        "Operations": ["Decrypt", "DescribeKey"],
        "Name": "gilder:one",
        **changes,
    }
    grant_id: str = client.create_grant(**request)["GrantId"]
    return grant_id


def test_a_grant_is_kept_as_given(kms: Any, key: str) -> None:
    grant_id = grant(kms, key, RetiringPrincipal=f"arn:aws:iam::{A}:role/r")
    entry = kms.list_grants(KeyId=key)["Grants"][0]
    assert entry["GrantId"] == grant_id
    assert entry["KeyId"] == key
    assert entry["Name"] == "gilder:one"
    assert entry["GranteePrincipal"] == ROOT_B
    assert entry["RetiringPrincipal"] == f"arn:aws:iam::{A}:role/r"
    assert sorted(entry["Operations"]) == ["Decrypt", "DescribeKey"]
    assert entry["IssuingAccount"] == f"arn:aws:iam::{A}:root"
    assert entry["CreationDate"].year >= 2026


def test_the_same_name_and_parameters_are_the_same_grant(kms: Any, key: str) -> None:
    first = grant(kms, key)
    assert grant(kms, key, Operations=["DescribeKey", "Decrypt"]) == first
    assert grant(kms, key, Operations=["Decrypt"]) != first
    assert grant(kms, key, GranteePrincipal=f"arn:aws:iam::{A}:root") != first
    assert grant(kms, key, Name="gilder:two") != first
    assert len(kms.list_grants(KeyId=key)["Grants"]) == 4
    # Without a name there is no idempotency.
    nameless = {"KeyId": key, "GranteePrincipal": ROOT_B, "Operations": ["Decrypt"]}
    ids = {kms.create_grant(**nameless)["GrantId"] for _ in range(2)}
    assert len(ids) == 2


def test_grants_are_paged_and_filtered(kms: Any, key: str, refused: Any) -> None:
    made = [grant(kms, key, Name=f"n{n}") for n in range(7)]
    other = grant(kms, key, GranteePrincipal="arn:aws:iam::333333333333:root")
    first = kms.list_grants(KeyId=key, Limit=3)
    assert first["Truncated"] is True
    second = kms.list_grants(KeyId=key, Limit=3, Marker=first["NextMarker"])
    third = kms.list_grants(KeyId=key, Limit=3, Marker=second["NextMarker"])
    assert third["Truncated"] is False
    listed = [g["GrantId"] for page in (first, second, third) for g in page["Grants"]]
    assert listed == [*made, other]
    paginated = kms.get_paginator("list_grants").paginate(
        KeyId=key, PaginationConfig={"PageSize": 2}
    )
    assert [g["GrantId"] for p in paginated for g in p["Grants"]] == listed
    by_principal = kms.list_grants(KeyId=key, GranteePrincipal="arn:aws:iam::333333333333:root")
    assert [g["GrantId"] for g in by_principal["Grants"]] == [other]
    by_id = kms.list_grants(KeyId=key, GrantId=made[2])
    assert [g["GrantId"] for g in by_id["Grants"]] == [made[2]]
    with refused("InvalidMarkerException"):
        kms.list_grants(KeyId=key, Marker="nonsense")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Operations": ["Fly"]}, "ValidationException"),
        ({"Operations": []}, "ValidationException"),
        ({"GranteePrincipal": B}, "InvalidArnException"),
        ({"Name": "with space"}, "ValidationException"),
        ({"KeyId": "00000000-0000-0000-0000-000000000000"}, "NotFoundException"),
        ({"KeyId": "alias/aws/ebs"}, "AccessDeniedException"),
        ({"DryRun": True}, "DryRunOperationException"),
    ],
)
def test_grants_that_are_refused(
    kms: Any, key: str, refused: Any, changes: dict[str, Any], code: str
) -> None:
    with refused(code):
        grant(kms, key, **changes)
    assert kms.list_grants(KeyId=key)["Grants"] == []


def test_key_states_refuse_grants(kms: Any, key: str, refused: Any) -> None:
    kms.disable_key(KeyId=key.rpartition("/")[2])
    with refused("DisabledException"):
        grant(kms, key)
    kms.enable_key(KeyId=key.rpartition("/")[2])
    kms.schedule_key_deletion(KeyId=key.rpartition("/")[2], PendingWindowInDays=7)
    with refused("KMSInvalidStateException", "pending deletion"):
        grant(kms, key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_states_change_by_key_arn_too(kms: Any, key: str) -> None:
    kms.disable_key(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(KeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    kms.cancel_key_deletion(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


def test_the_number_of_grants_is_limited(aws: SandboxAws, kms: Any, key: str, refused: Any) -> None:
    aws.settings.update(grants_per_key=2)
    grant(kms, key, Name="a")
    grant(kms, key, Name="b")
    with refused("LimitExceededException"):
        grant(kms, key, Name="c")
    grant(kms, key, Name="b")


def test_revoking_and_retiring(aws: SandboxAws, kms: Any, key: str, refused: Any) -> None:
    first = grant(kms, key, Name="a")
    with refused("DryRunOperationException"):
        kms.revoke_grant(KeyId=key, GrantId=first, DryRun=True)
    kms.revoke_grant(KeyId=key, GrantId=first)
    with refused("NotFoundException", first):
        kms.revoke_grant(KeyId=key, GrantId=first)
    with refused("NotFoundException"):
        kms.retire_grant(KeyId=key, GrantId=first)
    answer = kms.create_grant(
        KeyId=key, GranteePrincipal=ROOT_B, Operations=["Decrypt", "RetireGrant"]
    )
    with refused("AccessDeniedException"):
        aws.client("kms", account="333333333333").retire_grant(KeyId=key, GrantId=answer["GrantId"])
    aws.client("kms", account=B).retire_grant(KeyId=key, GrantId=answer["GrantId"])
    answer = kms.create_grant(KeyId=key, GranteePrincipal=ROOT_B, Operations=["Decrypt"])
    kms.retire_grant(GrantToken=answer["GrantToken"])
    assert kms.list_grants(KeyId=key)["Grants"] == []


def test_retirable_grants(kms: Any, key: str) -> None:
    retiring = f"arn:aws:iam::{A}:role/r"
    wanted = grant(kms, key, RetiringPrincipal=retiring)
    grant(kms, key, Name="other")
    found = kms.list_retirable_grants(RetiringPrincipal=retiring)["Grants"]
    assert [g["GrantId"] for g in found] == [wanted]


def test_a_grantee_may_be_shown_by_its_unique_id(aws: SandboxAws, kms: Any, key: str) -> None:
    grant(kms, key, GranteePrincipal=f"arn:aws:iam::{B}:role/gone")
    with aws.settings.changed(grantee_as_unique_id=True):
        shown = kms.list_grants(KeyId=key)["Grants"][0]["GranteePrincipal"]
    assert shown.startswith("AROA")
    assert len(shown) == 20


def test_keys_of_another_account(aws: SandboxAws, kms: Any, key: str, refused: Any) -> None:
    other = aws.client("kms", account=B)
    with refused("AccessDeniedException", "kms:DescribeKey"):
        other.describe_key(KeyId=key)
    with refused("AccessDeniedException"):
        grant(other, key)
    with refused("AccessDeniedException"):
        other.list_grants(KeyId=key)
    with refused("AccessDeniedException"):
        other.get_key_policy(KeyId=key, PolicyName="default")
    grant(kms, key, Operations=["DescribeKey", "Encrypt", "Decrypt"])
    assert other.describe_key(KeyId=key)["KeyMetadata"]["AWSAccountId"] == A
    secret = other.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert other.decrypt(KeyId=key, CiphertextBlob=secret)["Plaintext"] == b"x"
    with refused("AccessDeniedException"):
        other.generate_data_key(KeyId=key, KeySpec="AES_256")


def test_arns_mean_what_they_say(kms: Any, key: str, refused: Any) -> None:
    with refused("NotFoundException"):
        kms.describe_key(KeyId=key.replace(A, B))
    with refused("NotFoundException"):
        kms.disable_key(KeyId=key.replace(A, B))
    with refused("NotFoundException", "Invalid arn us-east-1"):
        kms.describe_key(KeyId=key.replace("eu-west-1", "us-east-1"))
    with refused("NotFoundException", "Alias"):
        kms.describe_key(KeyId="alias/missing")
    assert kms.describe_key(KeyId="alias/golden")["KeyMetadata"]["Arn"] == key


def test_key_policies(aws: SandboxAws, kms: Any, key: str, refused: Any) -> None:
    document = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    document["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"AWS": ROOT_B},
            "Action": "kms:Describe*",
            "Resource": "*",
        }
    )
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document))
    assert json.loads(kms.get_key_policy(KeyId=key)["Policy"]) == document
    assert aws.client("kms", account=B).describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key
    for bad in ("not json", "[]", '{"Statement": []}', '{"Statement": [{"Effect": "Maybe"}]}'):
        with refused("MalformedPolicyDocumentException"):
            kms.put_key_policy(KeyId=key, PolicyName="default", Policy=bad)
    lockout = json.dumps({"Statement": document["Statement"][1:]})
    with refused("MalformedPolicyDocumentException", "in the future"):
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=lockout)
    with refused("MalformedPolicyDocumentException"):
        kms.create_key(Policy="not json")
    kms.put_key_policy(
        KeyId=key, PolicyName="default", Policy=lockout, BypassPolicyLockoutSafetyCheck=True
    )
    with refused("AccessDeniedException"):
        kms.describe_key(KeyId=key)


def test_the_default_ebs_key_is_one_per_account_and_region(aws: SandboxAws) -> None:
    arns = set()
    for region, account in (("eu-west-1", A), ("us-east-1", A), ("eu-west-1", B)):
        for _ in range(2):
            metadata = aws.client("kms", region, account).describe_key(KeyId="alias/aws/ebs")
            assert metadata["KeyMetadata"]["KeyManager"] == "AWS"
            arns.add(metadata["KeyMetadata"]["Arn"])
    assert len(arns) == 3


def test_a_multi_region_replica_is_a_key_of_its_region(aws: SandboxAws, kms: Any) -> None:
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    kms.replicate_key(KeyId=primary.rpartition("/")[2], ReplicaRegion="us-east-1")
    replica = primary.replace("eu-west-1", "us-east-1")
    found = aws.client("kms", "us-east-1").describe_key(KeyId=replica)["KeyMetadata"]
    assert found["Arn"] == replica
    assert make_key(aws, "us-east-1", None) != replica
