"""Several AWS accounts by the access file, what namespaces may do, and the consumers' side."""

import itertools
from pathlib import Path
from typing import Any

import yaml
from stage import DR, ENCRYPTED, HOME, REPLICATED, A, B, C, Stage
from systemworld import Object, golden, share

from gilder.sandbox.aws.seed import make_key, make_role, make_snapshot, register
from gilder.sandbox.breakage import can_launch

PROD = "111111111111"
OWN = "123456789012"
EXTERNAL = "gilder-test"

RULE: Object = {
    "names": ["images"],
    "accounts": ["own", PROD],
    "consumers": ["*"],
    "keyPolicies": True,
    "plainImages": True,
    "organizationLists": True,
    "parameterLists": ["*"],
}


def access(**changes: Any) -> Object:
    """An access file: the account PROD, and a role in every consumer's account."""
    return {
        "accounts": [
            {
                "id": PROD,
                "roles": [{"arn": f"arn:aws:iam::{PROD}:role/gilder", "externalId": EXTERNAL}],
            }
        ],
        "consumers": [
            {
                "accounts": ["*"],
                "roles": [{"arn": "arn:aws:iam::{account}:role/gilder-consumer"}],
            }
        ],
        "namespaces": [{**RULE, **changes}],
    }


def write(stage: Stage, document: Object) -> Path:
    file = stage.world.directory / "access.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def roles(stage: Stage, *consumers: str) -> None:
    make_role(stage.aws, PROD, "gilder", trust=[OWN], external_id=EXTERNAL)
    for account in consumers:
        make_role(stage.aws, account, "gilder-consumer", trust=[OWN])


def prod_image(stage: Stage) -> str:
    """An encrypted AMI of PROD."""
    key = make_key(stage.aws, HOME, account=PROD)
    snapshot = make_snapshot(stage.aws, account=PROD, key=key)
    return register(stage.aws, "payments", snapshot, account=PROD)


def in_prod(stage: Stage, name: str = "payments", **spec: Any) -> Object:
    return golden(name, account=PROD, source={"image": {"id": prod_image(stage)}}, **spec)


def users(stage: Stage, image: str, account: str = PROD) -> set[str]:
    ec2 = stage.aws.client("ec2", HOME, account)
    found = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    return {p.get("UserId", "") for p in found["LaunchPermissions"]} - {""}


def test_one_share_over_images_of_two_accounts(stage: Stage) -> None:
    roles(stage)
    stage.start(ACCESS_FILE=str(write(stage, access())))
    both = share("both", accounts=[A])
    both["spec"]["imageRef"] = {"selector": {"matchLabels": {"tier": "web"}}}
    ours, theirs = golden(**ENCRYPTED), in_prod(stage)
    for image in (ours, theirs):
        image["metadata"]["labels"] = {"tier": "web"}
    stage.apply(ours, theirs, both)
    stage.wait_ready("ImageShare", "both")
    here, there = stage.image("base", HOME), stage.image("payments", HOME)
    assert can_launch(stage.aws, here, HOME, A)
    assert can_launch(stage.aws, there, HOME, A)
    found = {i["imageId"]: i.get("account") for i in stage.status("ImageShare", "both")["images"]}
    assert found == {here: None, there: PROD}
    stage.restart()
    stage.look("ImageShare", "both", "restarted")
    stage.delete("ImageShare", "both")
    stage.gone("ImageShare", "both")
    assert users(stage, there) == set()
    assert stage.users(here) == set()
    assert not can_launch(stage.aws, there, HOME, A)
    key = stage.aws.client("ec2", HOME, PROD).describe_images(ImageIds=[there])["Images"][0]
    assert key["Tags"], "the ownership tags were written in the account of the image"


def test_one_accounts_outage_does_not_stop_the_others(stage: Stage) -> None:
    roles(stage)
    stage.start(ACCESS_FILE=str(write(stage, access())))
    both = share("both", accounts=[A])
    both["spec"]["imageRef"] = {"selector": {"matchLabels": {"tier": "web"}}}
    ours, theirs = golden(**ENCRYPTED), in_prod(stage)
    for image in (ours, theirs):
        image["metadata"]["labels"] = {"tier": "web"}
    stage.apply(ours, theirs, both)
    stage.wait_ready("ImageShare", "both")
    here, there = stage.image("base", HOME), stage.image("payments", HOME)
    broken = stage.aws.faults.fail("AssumeRole", "AccessDenied", times=1000)
    more = stage.aws.faults.fail(".*", "AuthFailure", account=PROD, times=100000)
    stage.edit("ImageShare", "both", accounts=[A, B])
    stage.wait(lambda: stage.users(here) == {A, B}, "the own account goes on")
    broken.remove()
    more.remove()
    assert users(stage, there) == {A}
    stage.wait(lambda: users(stage, there) == {A, B}, "the other one follows", 60)
    stage.wait_ready("ImageShare", "both")


def test_a_namespace_uses_only_what_the_access_file_says(stage: Stage) -> None:
    roles(stage)
    file = write(
        stage,
        access(accounts=["own"], keyPolicies=False, deny={"accounts": [C]}, maxPrincipals=3),
    )
    stage.start(ACCESS_FILE=str(file))
    stage.apply(
        in_prod(stage),
        golden(**ENCRYPTED),
        share("denied", accounts=[A, C]),
        share(
            "units",
            organizationalUnits=[stage.seeded.unit_arn],
            kms={"mode": "KeyPolicy"},
        ),
        share("many", accounts=["555555555555", "666666666666", "777777777777", "888888888888"]),
        share("open", public=True, confirmPublic=True),
    )
    stage.wait_reason("GoldenImage", "payments", "AccountNotAllowed")
    stage.wait_reason("ImageShare", "denied", "PrincipalNotAllowed")
    stage.wait_reason("ImageShare", "units", "KeyPolicyRequired")
    stage.wait_reason("ImageShare", "many", "TooManyPrincipals")
    stage.wait_reason("ImageShare", "open", "PublicNotAllowed")
    stage.wait(lambda: stage.users(stage.image("base", HOME)) == {A}, "only A is in")
    assert "PutKeyPolicy" not in stage.order()
    # The file is followed as it changes: C is allowed, and A is not any more.
    write(stage, access(deny={"accounts": [A]}))
    stage.wait(
        lambda: (
            stage.users(stage.image("base", HOME))
            == {C, "555555555555", "666666666666", "777777777777", "888888888888"}
        ),
        "C for A",
    )
    stage.wait_ready("GoldenImage", "payments")
    stage.wait_ready("ImageShare", "units", "many")
    # A file that cannot be understood changes nothing.
    (stage.world.directory / "access.yaml").write_text("namespaces: 7")
    stage.wait(lambda: "access file is not understood" in stage.world.operator.tail(200), "told")
    stage.look("ImageShare", "many", "after")
    assert stage.ready("ImageShare", "many")


def test_consumers_have_their_tags_and_say_themselves_that_they_can_launch(stage: Stage) -> None:
    roles(stage, A)
    stage.start(ACCESS_FILE=str(write(stage, access())))
    stage.apply(
        golden(**REPLICATED, tags={"team": "platform", "secret": "x"}),
        share(
            "verified",
            accounts=[A, B],
            consumerTags={"copyKeys": ["team"], "tags": {"source": "golden"}},
            verifyFromConsumer=True,
        ),
    )
    stage.wait_ready("ImageShare", "verified")

    def told() -> Object:
        return stage.condition("ImageShare", "verified", "VerifiedFromConsumer")

    def seen(region: str = HOME) -> dict[str, str]:
        image = stage.image("base", region) if region == HOME else copies()[0]
        found = stage.aws.client("ec2", region, A).describe_images(ImageIds=[image])["Images"]
        return {t["Key"]: t["Value"] for t in found[0].get("Tags", [])}

    def copies() -> list[str]:
        return [i["ImageId"] for i in stage.owned(DR, role="replica")]

    # A has the role, B has not.
    stage.wait(lambda: told().get("reason") in ("NotLaunchable", "NoConsumerRole"), "looked at")
    assert B in told()["message"]

    def launchable() -> str:
        found = {c["account"]: c for c in stage.status("ImageShare", "verified")["consumers"]}
        return str(found[A]["launchable"])

    stage.wait(lambda: launchable() == "2/2", "A can launch in both Regions")
    assert seen() == {"team": "platform", "source": "golden"}
    assert seen(DR) == {"team": "platform", "source": "golden"}
    make_role(stage.aws, B, "gilder-consumer", trust=[OWN])
    stage.edit("ImageShare", "verified", consumerTags={"copyKeys": [], "tags": {"source": "new"}})
    stage.wait(lambda: seen() == {"source": "new"}, "the copied tag is gone again")
    tries = itertools.count()

    def verified() -> bool:
        # A role that could not be assumed is not tried again for some seconds.
        stage.look("ImageShare", "verified", f"try {next(tries)}")
        return bool(told().get("reason") == "Verified")

    stage.wait(verified, "both verified", 60)


def test_the_consumers_side_tells_what_the_owner_cannot_see(stage: Stage) -> None:
    """A Deny in the key policy: permission and grant are in place, and the launch fails."""
    roles(stage, A)
    stage.start(ACCESS_FILE=str(write(stage, access())))
    kms = stage.aws.client("kms", HOME)
    key = stage.seeded.keys[HOME]
    text = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    document = yaml.safe_load(text)
    document["Statement"].append(
        {
            "Sid": "NotA",
            "Effect": "Deny",
            "Principal": {"AWS": f"arn:aws:iam::{A}:root"},
            "Action": ["kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"],
            "Resource": "*",
        }
    )
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=yaml_json(document))
    stage.apply(golden(**ENCRYPTED), share("verified", accounts=[A], verifyFromConsumer=True))
    stage.wait_ready("ImageShare", "verified")
    stage.wait(
        lambda: (
            stage.condition("ImageShare", "verified", "VerifiedFromConsumer").get("reason")
            == "NotLaunchable"
        ),
        "told from A's side",
    )
    message = stage.message("ImageShare", "verified", "VerifiedFromConsumer")
    assert A in message
    assert key in message
    assert not can_launch(stage.aws, stage.image("base", HOME), HOME, A)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=text)
    stage.edit("ImageShare", "verified", snapshots=True)
    stage.wait(lambda: can_launch(stage.aws, stage.image("base", HOME), HOME, A), "A launches")


def yaml_json(document: Object) -> str:
    import json

    return json.dumps(document)


def test_an_account_that_leaves_the_file_keeps_its_shares_until_it_is_back(stage: Stage) -> None:
    roles(stage)
    stage.start(ACCESS_FILE=str(write(stage, access())))
    stage.apply(in_prod(stage), share("theirs", "payments", accounts=[A]))
    stage.wait_ready("ImageShare", "theirs")
    there = stage.image("payments", HOME)
    without: Object = {"namespaces": [{**RULE, "accounts": ["own"]}]}
    write(stage, without)
    stage.wait(lambda: stage.message("GoldenImage", "payments").startswith("spec.account"), "told")
    stage.wait_reason("ImageShare", "theirs", "AccountNotAllowed")
    # Deleted meanwhile it does not go, since nothing can be taken back.
    stage.delete("ImageShare", "theirs")
    stage.wait(lambda: stage.get("ImageShare", "theirs")["metadata"].get("deletionTimestamp"), "")
    assert users(stage, there) == {A}
    write(stage, access())
    stage.gone("ImageShare", "theirs", seconds=60)
    assert users(stage, there) == set()
