"""Key policies: their form, who may use a key of another account, dry runs, replicas, old roles."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_role
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
USE = ["kms:DescribeKey", "kms:Decrypt", "kms:GenerateDataKey*", "kms:CreateGrant"]


def statement(account: str = B, **changes: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": USE,
        "Resource": "*",
        **changes,
    }


def put(kms: Any, key: str, *statements: Mapping[str, Any]) -> None:
    own = statement(A, Action="kms:*", Sid="own")
    document = {"Version": "2012-10-17", "Statement": [own, *statements]}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document))


def attempts(client: Any, key: str, ciphertext: bytes) -> dict[str, Any]:
    """Every way to use a key, none of which changes anything when it is a dry run."""
    grant = {"KeyId": key, "GranteePrincipal": f"arn:aws:iam::{B}:root", "Operations": ["Decrypt"]}
    data_key = {"KeyId": key, "KeySpec": "AES_256"}
    return {
        "Decrypt": lambda **m: client.decrypt(KeyId=key, CiphertextBlob=ciphertext, **m),
        "GenerateDataKeyWithoutPlaintext": lambda **m: client.generate_data_key_without_plaintext(
            **data_key, **m
        ),
        "CreateGrant": lambda **m: client.create_grant(**grant, **m),
    }


@pytest.fixture
def ciphertext(kms: Any, key: str) -> bytes:
    blob: bytes = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    return blob


def may(client: Any, key: str, ciphertext: bytes, refused: Any, *, use: bool) -> None:
    """All calls and their dry runs, which say the same."""
    code = "DryRunOperationException" if use else "AccessDeniedException"
    for call in attempts(client, key, ciphertext).values():
        with refused(code):
            call(DryRun=True)
        if use:
            assert call()
        else:
            with refused("AccessDeniedException"):
                call()
    if use:
        assert client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key
    else:
        with refused("AccessDeniedException"):
            client.describe_key(KeyId=key)


def test_the_size_of_a_policy(kms: Any, key: str, refused: Any) -> None:
    def sized(characters: int) -> dict[str, Any]:
        document = {"Version": "2012-10-17", "Statement": [statement(A, Action="kms:*")], "Id": ""}
        document["Id"] = "x" * (characters - len(json.dumps(document)))
        return {"KeyId": key, "Policy": json.dumps(document)}

    kms.put_key_policy(**sized(32_768))
    assert len(kms.get_key_policy(KeyId=key)["Policy"]) == 32_768
    with refused("LimitExceededException"):
        kms.put_key_policy(**sized(32_769))
    assert len(kms.get_key_policy(KeyId=key)["Policy"]) == 32_768


@pytest.mark.parametrize(
    "bad",
    [
        {"Sid": "own"},
        {"Sids": "x"},
        {"Principal": {"AWS": "nobody"}},
        {"Principal": {"AWS": [f"arn:aws:iam::{B}:root", "AROAEXAMPLE"]}},
        {"Principal": {}},
        {"Condition": []},
        {"Effect": "allow"},
        {"Sid": "\u20ac"},
    ],
)
def test_policies_that_are_malformed(
    kms: Any, key: str, refused: Any, bad: Mapping[str, Any]
) -> None:
    before = kms.get_key_policy(KeyId=key)["Policy"]
    own = statement(A, Action="kms:*", Sid="own")
    text = json.dumps({"Statement": [own, statement(**bad)]}, ensure_ascii=False)
    with refused("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=key, Policy=text)
    assert kms.get_key_policy(KeyId=key)["Policy"] == before


def test_an_element_given_twice_is_malformed(kms: Any, key: str, refused: Any) -> None:
    text = json.dumps({"Statement": [statement(A, Action="kms:*")]})
    with refused("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=key, Policy=text.replace('"Effect"', '"Effect": "Deny", "Effect"'))


def test_statements_without_resource_or_action_have_no_effect(
    aws: SandboxAws, kms: Any, key: str, refused: Any
) -> None:
    for element in ("Resource", "Action"):
        given = statement()
        del given[element]
        put(kms, key, given)
        with refused("AccessDeniedException"):
            aws.client("kms", account=B).describe_key(KeyId=key)
    put(kms, key, statement())
    assert aws.client("kms", account=B).describe_key(KeyId=key)


def test_a_policy_may_not_lock_its_writer_out(kms: Any, key: str, refused: Any) -> None:
    with refused("MalformedPolicyDocumentException", "in the future"):
        put(kms, key, statement(A, Effect="Deny", Action="kms:PutKeyPolicy"))


def test_a_grant_lets_another_account_use_a_key(
    aws: SandboxAws, kms: Any, key: str, ciphertext: bytes, refused: Any
) -> None:
    theirs = aws.client("kms", account=B)
    may(theirs, key, ciphertext, refused, use=False)
    operations = ["DescribeKey", "Decrypt", "GenerateDataKeyWithoutPlaintext", "CreateGrant"]
    made = kms.create_grant(
        KeyId=key, GranteePrincipal=f"arn:aws:iam::{B}:root", Operations=operations
    )
    may(theirs, key, ciphertext, refused, use=True)
    with refused("AccessDeniedException", "own grant"):
        theirs.create_grant(
            KeyId=key, GranteePrincipal=f"arn:aws:iam::{C}:root", Operations=["Encrypt"]
        )
    may(aws.client("kms", account=C), key, ciphertext, refused, use=False)
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    with refused("AccessDeniedException"):
        theirs.describe_key(KeyId=key)


def test_an_organization_and_its_paths_let_accounts_use_a_key(
    aws: SandboxAws, kms: Any, key: str, ciphertext: bytes, refused: Any
) -> None:
    org = aws.client("organizations", "us-east-1")
    organization = org.create_organization()["Organization"]["Id"]
    root = org.list_roots()["Roots"][0]["Id"]
    unit = org.create_organizational_unit(ParentId=root, Name="u")["OrganizationalUnit"]
    aws.choose_account_ids(B, C)
    for account in (B, C):
        org.create_account(AccountName=account, Email=f"{account}@example.com")
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=unit["Id"])
    everybody = {"AWS": "*"}
    inside, beside = aws.client("kms", account=B), aws.client("kms", account=C)
    whole = {"StringEquals": {"aws:PrincipalOrgID": organization}}
    put(kms, key, statement(Principal=everybody, Condition=whole))
    for client in (inside, beside):
        may(client, key, ciphertext, refused, use=True)
    may(aws.client("kms", account="999999999999"), key, ciphertext, refused, use=False)
    for grant in kms.list_grants(KeyId=key)["Grants"]:
        kms.revoke_grant(KeyId=key, GrantId=grant["GrantId"])
    paths = {"aws:PrincipalOrgPaths": [f"{organization}/{root}/{unit['Id']}/*"]}
    part = {"ForAnyValue:StringLike": paths}
    put(kms, key, statement(Principal=everybody, Condition=part))
    may(inside, key, ciphertext, refused, use=True)
    may(beside, key, ciphertext, refused, use=False)


def test_a_deny_wins_over_statements_and_grants(
    aws: SandboxAws, kms: Any, key: str, ciphertext: bytes, refused: Any
) -> None:
    kms.create_grant(
        KeyId=key,
        GranteePrincipal=f"arn:aws:iam::{B}:root",
        Operations=["DescribeKey", "Decrypt", "GenerateDataKeyWithoutPlaintext", "CreateGrant"],
    )
    put(kms, key, statement(), statement(Effect="Deny", Principal="*", Sid="no", **_from(B)))
    may(aws.client("kms", account=B), key, ciphertext, refused, use=False)
    may(aws.client("kms"), key, ciphertext, refused, use=True)


def _from(account: str) -> dict[str, Any]:
    return {"Condition": {"StringEquals": {"aws:PrincipalAccount": account}}}


def test_dry_runs_of_decrypt(
    aws: SandboxAws, kms: Any, key: str, ciphertext: bytes, refused: Any
) -> None:
    theirs = aws.client("kms", account=B)
    blind: dict[str, Any] = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    with refused("AccessDeniedException"):
        theirs.decrypt(KeyId=key, **blind)
    put(kms, key, statement())
    with refused("DryRunOperationException"):
        theirs.decrypt(KeyId=key, **blind)
    with refused("InvalidCiphertextException"):
        theirs.decrypt(KeyId=key, CiphertextBlob=b"nonsense", DryRun=True)
    # The ciphertext names the key, of whatever account.
    assert theirs.decrypt(CiphertextBlob=ciphertext)["KeyId"] == key
    kms.disable_key(KeyId=key)
    with refused("DisabledException"):
        theirs.decrypt(KeyId=key, **blind)
    assert theirs.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


def test_a_replica_has_one_id_and_its_own_policy_and_grants(aws: SandboxAws, kms: Any) -> None:
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]
    assert primary["KeyId"].startswith("mrk-")
    assert len(primary["KeyId"]) == 36
    kms.create_grant(
        KeyId=primary["Arn"], GranteePrincipal=f"arn:aws:iam::{B}:root", Operations=["Decrypt"]
    )
    own = {"Statement": [statement(A, Action="kms:*"), statement(C)]}
    answer = kms.replicate_key(
        KeyId=primary["Arn"],
        ReplicaRegion="us-east-1",
        Policy=json.dumps(own),
        Description="a replica",
        Tags=[{"TagKey": "k", "TagValue": "v"}],
    )
    arn = primary["Arn"].replace("eu-west-1", "us-east-1")
    assert answer["ReplicaKeyMetadata"]["Arn"] == arn
    there = aws.client("kms", "us-east-1")
    found = there.describe_key(KeyId=primary["KeyId"])["KeyMetadata"]
    assert (found["KeyId"], found["Description"]) == (primary["KeyId"], "a replica")
    shape = {
        "PrimaryKey": {"Arn": primary["Arn"], "Region": "eu-west-1"},
        "ReplicaKeys": [{"Arn": arn, "Region": "us-east-1"}],
    }
    assert found["MultiRegionConfiguration"] == {"MultiRegionKeyType": "REPLICA", **shape}
    at_home = kms.describe_key(KeyId=primary["Arn"])["KeyMetadata"]["MultiRegionConfiguration"]
    assert at_home == {"MultiRegionKeyType": "PRIMARY", **shape}
    assert json.loads(there.get_key_policy(KeyId=arn)["Policy"]) == own
    assert len(json.loads(kms.get_key_policy(KeyId=primary["Arn"])["Policy"])["Statement"]) == 1
    assert there.list_resource_tags(KeyId=arn)["Tags"] == [{"TagKey": "k", "TagValue": "v"}]
    assert there.list_grants(KeyId=arn)["Grants"] == []
    there.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{C}:root", Operations=["Decrypt"])
    assert len(kms.list_grants(KeyId=primary["Arn"])["Grants"]) == 1
    # What one encrypts the other decrypts.
    secret = kms.encrypt(KeyId=primary["Arn"], Plaintext=b"x")["CiphertextBlob"]
    assert there.decrypt(KeyId=arn, CiphertextBlob=secret)["Plaintext"] == b"x"
    there.disable_key(KeyId=arn)
    assert kms.describe_key(KeyId=primary["Arn"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_replicas_that_are_refused(aws: SandboxAws, kms: Any, key: str, refused: Any) -> None:
    with refused("UnsupportedOperationException"):
        kms.replicate_key(KeyId=key, ReplicaRegion="us-east-1")
    primary = kms.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    with refused("MalformedPolicyDocumentException"):
        kms.replicate_key(KeyId=primary, ReplicaRegion="us-east-1", Policy="{}")
    with refused("AccessDeniedException"):
        aws.client("kms", account=B).replicate_key(KeyId=primary, ReplicaRegion="us-east-1")
    kms.replicate_key(KeyId=primary, ReplicaRegion="us-east-1")
    with refused("AlreadyExistsException"):
        kms.replicate_key(KeyId=primary, ReplicaRegion="us-east-1")
    replica = primary.replace("eu-west-1", "us-east-1")
    with refused("UnsupportedOperationException"):
        aws.client("kms", "us-east-1").replicate_key(KeyId=replica, ReplicaRegion="eu-central-1")


def test_a_grantee_must_exist_where_roles_are_known(
    aws: SandboxAws, kms: Any, key: str, refused: Any
) -> None:
    def grant(name: str) -> Any:
        arn = f"arn:aws:iam::{B}:role/{name}"
        return kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Decrypt"], Name="n")

    assert grant("unknown")
    make_role(aws, B, "app", trust=[A])
    with refused("InvalidArnException"):
        grant("missing")
    assert grant("app")
    assert grant("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")
    with refused("MalformedPolicyDocumentException", "invalid principals"):
        put(kms, key, statement(Principal={"AWS": f"arn:aws:iam::{B}:role/missing"}))


def test_a_role_made_anew_is_not_the_grantee_any_more(
    aws: SandboxAws, kms: Any, key: str, ciphertext: bytes, refused: Any
) -> None:
    arn = make_role(aws, B, "app", trust=[A])
    iam = aws.client("iam", "us-east-1", B)
    old = iam.get_role(RoleName="app")["Role"]["RoleId"]
    request: dict[str, Any] = {
        "KeyId": key,
        "GranteePrincipal": arn,
        "Operations": ["Decrypt"],
        "Name": "n",
    }
    first = kms.create_grant(**request)["GrantId"]
    assert kms.list_grants(KeyId=key)["Grants"][0]["GranteePrincipal"] == arn
    app = aws.client("kms", account=B)
    assert app.decrypt(KeyId=key, CiphertextBlob=ciphertext)
    iam.delete_role(RoleName="app")
    assert kms.list_grants(KeyId=key)["Grants"][0]["GranteePrincipal"] == old
    assert old.startswith("AROA")
    make_role(aws, B, "app", trust=[A])
    assert kms.list_grants(KeyId=key)["Grants"][0]["GranteePrincipal"] == old
    with refused("AccessDeniedException"):
        app.decrypt(KeyId=key, CiphertextBlob=ciphertext)
    second = kms.create_grant(**request)["GrantId"]
    assert second != first
    found = kms.list_grants(KeyId=key, GranteePrincipal=arn)["Grants"]
    assert [g["GrantId"] for g in found] == [second]
    assert app.decrypt(KeyId=key, CiphertextBlob=ciphertext)
