"""Explanations against AWS over HTTP: each answer beside whether the account then can launch."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gilder.api import ImageShare
from gilder.api.imageshare import DEFAULT_OPERATIONS
from gilder.aws.accounts import Accounts
from gilder.aws.membership import membership
from gilder.aws.sessions import Sessions
from gilder.cli.fleet import fleet_of
from gilder.core import rules
from gilder.core.explain import Explanation
from gilder.core.membership import Membership
from gilder.core.observed import Image
from gilder.reconcile.engine import Engine
from gilder.reconcile.explain import Objects, explain_ids
from gilder.reconcile.fleet import Fleet
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws, start_aws
from gilder.sandbox.breakage import can_launch

HOME = "eu-west-1"
A, C, STRANGER = "222222222222", "444444444444", "999999999999"  # A is in the OU, C at the root
PERMISSION = {"UserId": A}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxAws]:
    with start_aws() as aws:
        yield aws


class Scene:
    """An AMI under the seeded key, and what is done to it."""

    def __init__(self, aws: SandboxAws) -> None:
        self.aws = aws
        self.seeded: Seeded = seed(aws)
        self.key = self.seeded.keys[HOME]
        self.ec2, self.kms = aws.client("ec2", HOME), aws.client("kms", HOME)
        self.image = register(aws, "golden", make_snapshot(aws, key=self.key))
        self.shares: list[ImageShare] = []

    def permit(self, *permissions: dict[str, str], image: str = "") -> None:
        self.ec2.modify_image_attribute(
            ImageId=image or self.image, LaunchPermission={"Add": list(permissions)}
        )

    def grant(self, principal: str = f"arn:aws:iam::{A}:root", **more: Any) -> str:
        more.setdefault("Operations", list(DEFAULT_OPERATIONS))
        made = self.kms.create_grant(
            KeyId=self.key, GranteePrincipal=principal, Name="by-hand", **more
        )
        return str(made["GrantId"])

    def policy(self, *statements: dict[str, Any]) -> None:
        own = {
            "Sid": "Own",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{self.seeded.account}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [own, *statements]})
        self.kms.put_key_policy(KeyId=self.key, PolicyName="default", Policy=text)

    def declare(self, **spec: Any) -> None:
        ref = {"images": [{"id": self.image, "region": HOME}]}
        self.shares.append(
            ImageShare.model_validate(
                {"metadata": {"name": "team"}, "spec": {"imageRef": ref, **spec}}
            )
        )

    def explain(self, account: str = A, image: str = "", **more: Any) -> Explanation:
        """The explanation, after it has been held against the fact."""
        image = image or self.image
        fleet = fleet_of(HOME, "default", None, None)
        objects = Objects(shares=tuple(self.shares))
        (found,) = explain_ids(fleet, account, image, [HOME], objects, **more)
        if found.could is not None:
            assert found.could is can_launch(self.aws, image, HOME, account), found
        return found

    def organization(self) -> dict[str, str]:
        return {"OrganizationArn": self.seeded.organization_arn}


@pytest.fixture
def scene(server: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    server.reset()
    for name, value in server.client_env().items():
        monkeypatch.setenv(name, value)
    yield Scene(server)
    server.reset()


def statement(sid: str, effect: str, account: str = A, **more: Any) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": effect,
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": list(rules.POLICY_ACTIONS),
        "Resource": "*",
        **more,
    }


def test_shared_with_a_grant(scene: Scene) -> None:
    scene.permit(PERMISSION)
    made = scene.grant()
    scene.declare(accounts=[A])
    found = scene.explain()
    assert found.could is True
    assert found.launch.by == ("account",)
    assert found.launch.why == "declared by ImageShare default/team"
    (key,) = found.keys
    assert (key.key, key.by) == (scene.key, (f"grant {made} (by-hand)",))


def test_a_permission_without_a_grant(scene: Scene) -> None:
    scene.permit(PERMISSION)
    found = scene.explain()
    assert (found.could, found.launch.state) == (False, "Given")
    assert found.launch.why == "no ImageShare declares it"
    (key,) = found.keys
    assert key.state == "Missing"
    assert key.why == f"neither a grant nor the key policy gives {A} use of the key"
    assert f"no ImageShare with kms.mode Grant declares {A}" in key.fix
    scene.declare(accounts=[A], kms={"mode": "None"})
    assert "ImageShare default/team has kms.mode None" in scene.explain().keys[0].fix
    scene.shares.clear()
    scene.declare(accounts=[A], suspend=True)
    assert "has kms.mode Grant, but is suspended" in scene.explain().keys[0].fix


def test_a_grant_without_a_permission(scene: Scene) -> None:
    scene.grant()
    found = scene.explain()
    assert (found.could, found.launch.state, found.keys[0].state) == (False, "Missing", "Given")
    assert found.launch.fix == (
        f"no ImageShare declares {A} for this image: add it to spec.accounts of one"
    )


def test_a_permission_that_was_removed_by_hand(scene: Scene) -> None:
    scene.grant()
    scene.permit(PERMISSION)
    scene.declare(accounts=[A])
    assert scene.explain().could is True
    scene.ec2.modify_image_attribute(ImageId=scene.image, LaunchPermission={"Remove": [PERMISSION]})
    found = scene.explain()
    assert found.could is False
    assert "although ImageShare default/team declares it" in found.launch.why


def test_a_grant_of_too_little(scene: Scene) -> None:
    scene.permit(PERMISSION)
    some = [o for o in DEFAULT_OPERATIONS if not o.startswith("ReEncrypt")]
    scene.grant(Operations=some)
    (key,) = scene.explain().keys
    assert "kms:ReEncryptFrom, kms:ReEncryptTo; the rest is given by grant" in key.why
    # The rest may come from the key policy.
    scene.policy(statement("Rest", "Allow", Action="kms:ReEncrypt*"))
    (key,) = scene.explain().keys
    assert key.by[1:] == ("key policy statement Rest",)


def test_an_organization_needs_a_statement(scene: Scene) -> None:
    scene.permit(scene.organization())
    scene.declare(organizations=[scene.seeded.organization_arn])
    found = scene.explain()
    assert (found.could, found.launch.by) == (
        False, (f"organization {scene.seeded.organization_id}",)
    )  # fmt: skip
    wanted = rules.policy_statement(scene.seeded.organization_id, None)
    assert json.dumps(wanted) in found.keys[0].fix
    scene.policy(wanted)
    found = scene.explain()
    assert found.could is True
    assert found.keys[0].by == (f"key policy statement {wanted['Sid']}",)
    assert scene.explain(STRANGER).could is False


def test_an_ou_holds_its_own_accounts_alone(scene: Scene) -> None:
    scene.permit({"OrganizationalUnitArn": scene.seeded.unit_arn})
    found = scene.explain()
    assert found.launch.by == (f"OU {scene.seeded.unit_id}",)
    wanted = rules.policy_statement(scene.seeded.organization_id, scene.seeded.unit_id)
    assert json.dumps(wanted) in found.keys[0].fix
    scene.policy(wanted)
    assert scene.explain().could is True
    assert scene.explain(C).could is False


def test_an_organization_that_may_not_be_asked_about(scene: Scene) -> None:
    scene.permit(scene.organization())
    denied = scene.aws.faults.deny("ListParents")
    found = scene.explain()
    assert (found.launch.state, found.keys[0].state) == ("Unknown", "Missing")
    scene.policy(rules.policy_statement(scene.seeded.organization_id, None))
    found = scene.explain()
    assert found.could is None
    assert "organizations:ListParents" in found.launch.fix
    assert found.failed == ()
    denied.remove()
    assert scene.explain().could is True


def test_the_key_of_ebs_cannot_be_shared(scene: Scene) -> None:
    found = scene.explain(image=scene.seeded.default_key_image)
    assert (found.could, found.keys[0].state) == (False, "Missing")
    assert "AWS managed key aws/ebs" in found.keys[0].why
    assert scene.explain(scene.seeded.account, scene.seeded.default_key_image).could is True


def test_public_and_not_encrypted(scene: Scene) -> None:
    image = scene.seeded.base_image
    found = scene.explain(STRANGER, image)
    assert (found.could, found.launch.state, found.keys[0].state) == (False, "Missing", "NotNeeded")
    scene.ec2.disable_image_block_public_access()
    scene.permit({"Group": "all"}, image=image)
    found = scene.explain(STRANGER, image)
    assert (found.could, found.launch.by) == (True, ("all",))


def test_another_account_and_the_owner(scene: Scene) -> None:
    scene.permit(PERMISSION)
    scene.grant()
    found = scene.explain(C)
    assert (found.could, found.launch.state, found.keys[0].state) == (False, "Missing", "Missing")
    owner = scene.explain(scene.seeded.account)
    assert (owner.could, owner.launch.state) == (True, "NotNeeded")


def test_a_deny_wins(scene: Scene) -> None:
    scene.permit(PERMISSION)
    allow, deny = statement("Let", "Allow"), statement("Never", "Deny", Action="kms:ReEncrypt*")
    scene.policy(allow, deny)
    (key,) = scene.explain().keys
    assert key.why == (
        f"statement Never of the key policy denies {A} kms:ReEncryptFrom, kms:ReEncryptTo"
    )
    perhaps = statement("Perhaps", "Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})
    scene.policy(allow, perhaps)
    found = scene.explain()
    assert (found.could, found.keys[0].state) == (None, "Unknown")
    assert "statement Perhaps of the key policy may deny" in found.keys[0].why
    scene.policy(allow, statement("Others", "Deny", account=C))
    assert scene.explain().could is True


def test_a_grant_to_a_role_is_told_as_such(scene: Scene) -> None:
    scene.permit(PERMISSION)
    role = f"arn:aws:iam::{A}:role/karpenter"
    made = scene.grant(role)
    found = scene.explain()
    assert found.could is None
    assert found.keys[0].why == f"grant {made} (by-hand) is for {role} alone"


def test_an_ami_that_is_not_there_to_launch(scene: Scene) -> None:
    scene.permit(PERMISSION)
    scene.grant()
    scene.ec2.disable_image(ImageId=scene.image)
    found = scene.explain()
    assert found.could is False
    assert found.state is not None
    assert "disabled" in found.state.why
    scene.ec2.deregister_image(ImageId=scene.image)
    found = scene.explain()
    assert found.could is None
    assert [p.reason for p in found.failed] == ["ImageNotFound"]


def test_a_disabled_key(scene: Scene) -> None:
    scene.permit(PERMISSION)
    scene.grant()
    scene.kms.disable_key(KeyId=scene.key)
    found = scene.explain()
    assert (found.could, found.keys[0].why) == (
        False, "the key is Disabled, so that nobody can use it"
    )  # fmt: skip


def test_a_deprecated_ami(scene: Scene) -> None:
    scene.permit(PERMISSION)
    scene.grant()
    scene.ec2.enable_image_deprecation(ImageId=scene.image, DeprecateAt="2099-01-01T00:00:00Z")
    assert scene.explain().notes == ()
    later = datetime(2099, 1, 2, tzinfo=UTC)
    accounts = Accounts(None, lambda **way: Sessions(HOME, **way))
    fleet = Fleet(accounts, lambda sessions: Engine(sessions, "default", clock=lambda: later))
    (found,) = explain_ids(fleet, A, scene.image, [HOME], None)
    assert found.could is True
    assert found.notes[0].startswith("it is deprecated since 2099-01-01")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("DescribeImageAttribute", "launch"),
        ("GetKeyPolicy", "key"),
        ("ListGrants", "key"),
        ("kms:DescribeKey", "key"),
        ("DescribeImages", "launch"),
    ],
)
def test_a_read_that_failed_is_named(scene: Scene, action: str, state: str) -> None:
    scene.permit(PERMISSION)
    scene.grant()
    fault = scene.aws.faults.deny(action, account=scene.seeded.account)
    found = scene.explain()
    fault.remove()
    assert found.could is None
    (problem,) = set(found.failed)
    assert problem.reason == "AccessDenied"
    finding = found.launch if state == "launch" else found.keys[0]
    assert finding.state == "Unknown"


def test_membership_as_aws_tells_it(scene: Scene) -> None:
    client, seeded = scene.aws.client("organizations", "us-east-1"), scene.seeded
    path = (seeded.root_id, seeded.unit_id)
    assert membership(client, A) == Membership(seeded.organization_id, path)
    assert membership(client, C) == Membership(seeded.organization_id, path[:1])
    assert membership(client, STRANGER) == Membership(outside=seeded.organization_id)
    elsewhere = scene.aws.client("organizations", "us-east-1", STRANGER)
    assert membership(elsewhere, A) is None


class AsItself:
    """The consumer's side by plain calls."""

    def __init__(self, scene: Scene, account: str) -> None:
        self.aws, self.account = scene.aws, account

    def visible(self, region: str, image: str) -> str:
        return self._tried("ec2", region, "describe_images", ImageIds=[image])

    def launch(self, region: str, image: Image) -> str:
        more = {"ImageId": image.id, "MinCount": 1, "MaxCount": 1, "DryRun": True}
        return self._tried("ec2", region, "run_instances", InstanceType="t3.micro", **more)

    def key(self, region: str, arn: str) -> str:
        return self._tried("kms", region, "describe_key", KeyId=arn)

    def _tried(self, service: str, region: str, method: str, **request: Any) -> str:
        client = self.aws.client(service, region, self.account)
        try:
            getattr(client, method)(**request)
        except client.exceptions.ClientError as error:
            code = str(error.response["Error"]["Code"])
            return "" if code == "DryRunOperation" else code
        return ""


def test_facts_stand_beside_the_answer(scene: Scene) -> None:
    scene.permit(PERMISSION)
    found = scene.explain(consumer=AsItself(scene, A))
    assert found.could is False
    assert found.facts is not None
    assert (found.facts.visible, found.facts.launch) == ("", "")
    assert found.facts.keys == {scene.key: "AccessDeniedException"}
    found = scene.explain(C, consumer=AsItself(scene, C))
    assert found.facts is not None
    assert found.facts.visible == "InvalidAMIID.NotFound"
