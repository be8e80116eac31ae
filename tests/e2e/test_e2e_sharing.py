"""Shares that meet on one AMI, and shares that hold still."""

import json

from stage import DR, ENCRYPTED, HOME, OTHER, REPLICATED, STRANGER, A, B, C, Stage
from systemworld import Object, golden, share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.breakage import can_launch


def plain(stage: Stage) -> Object:
    return golden(source={"image": {"id": stage.seeded.base_image}})


def test_one_authoritative_share_speaks_for_the_ami_and_an_additive_one_adds(
    stage: Stage,
) -> None:
    ec2 = stage.aws.client("ec2")
    image = stage.seeded.base_image
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": STRANGER}]})
    stage.start()
    stage.apply(plain(stage), share("more", accounts=[B], mode="Additive"))
    stage.wait_ready("ImageShare", "more")
    assert stage.users(image) == {B, STRANGER}
    stage.apply(share("law", accounts=[A]))
    stage.wait_ready("ImageShare", "law")
    stage.wait(lambda: stage.users(image) == {A, B}, "the stranger out, the added one in")
    stage.delete("ImageShare", "more")
    stage.gone("ImageShare", "more")
    assert stage.users(image) == {A}


def test_a_suspended_share_keeps_what_it_gave_against_an_authoritative_one(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED), share("asleep", accounts=[A]), share("awake", accounts=[B]))
    stage.wait_ready("ImageShare", "asleep", "awake")
    image = stage.image("base", HOME)
    stage.edit("ImageShare", "asleep", suspend=True)
    stage.wait_reason("ImageShare", "asleep", "Suspended")
    stage.edit("ImageShare", "awake", accounts=[B, C])
    stage.wait(lambda: stage.users(image) == {A, B, C}, "C added, A kept")
    # It gives nothing while it sleeps either.
    stage.edit("ImageShare", "asleep", accounts=[A, STRANGER])
    stage.look("ImageShare", "awake", "asleep")
    assert stage.users(image) == {A, B, C}
    # Deleted in its sleep it lets go; then nobody declares A, and the authoritative one takes it.
    stage.delete("ImageShare", "asleep")
    stage.gone("ImageShare", "asleep")
    stage.look("ImageShare", "awake", "deleted")
    stage.wait(lambda: stage.users(image) == {B, C}, "A taken")
    stage.wait(lambda: stage.grantees() == [B, C], "A's grant revoked")


def test_a_paused_share_and_an_observed_one_change_nothing_and_show_what_they_would(
    stage: Stage,
) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED))
    stage.wait_ready("GoldenImage", "base")
    stage.aws.requests.reset()
    paused = share("paused", accounts=[A])
    paused["metadata"]["annotations"] = {"goldenimage.dev/paused": "true"}
    stage.apply(paused, share("watched", accounts=[B], managementPolicy="Observe"))
    stage.wait_reason("ImageShare", "paused", "Suspended")
    stage.wait(
        lambda: stage.condition("ImageShare", "watched", "Synced").get("reason") == "WouldChange",
        "the plan shown",
    )
    plan = stage.status("ImageShare", "watched")["plan"]
    assert [line.split()[0] for line in plan] == ["grant", "let"]
    assert not stage.ready("ImageShare", "watched")
    assert stage.changes() == {}
    stage.edit("ImageShare", "watched", managementPolicy="Full")
    stage.annotate("ImageShare", "paused", **{"goldenimage.dev__paused": "false"})
    stage.wait_ready("ImageShare", "paused", "watched")
    assert stage.users(stage.image("base", HOME)) == {A, B}


def test_a_unit_gets_an_encrypted_ami_with_the_statement_that_the_message_holds(
    stage: Stage,
) -> None:
    stage.start(resync=1)
    stage.apply(
        golden(**ENCRYPTED), share(organizationalUnits=[stage.seeded.unit_arn], accounts=[C])
    )
    ready = stage.wait_reason("ImageShare", "team", "KeyPolicyRequired")
    image = stage.image("base", HOME)
    stage.wait(lambda: stage.users(image) == {C}, "the account is not held up by the unit")
    assert not can_launch(stage.aws, image, HOME, A)
    statement = json.loads(ready["message"][ready["message"].index("{") :])
    assert stage.seeded.unit_id in json.dumps(statement["Condition"])
    kms, key = stage.aws.client("kms"), stage.seeded.keys[HOME]
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"].append(statement)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    stage.wait_ready("ImageShare", "team")
    assert can_launch(stage.aws, image, HOME, A)
    assert not can_launch(stage.aws, image, HOME, STRANGER)


def test_other_operations_replace_the_grant_without_a_gap(stage: Stage) -> None:
    half_given = stage.guard()
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    (before,) = stage.grants()
    operations = ["CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext"]
    stage.edit("ImageShare", "team", kms={"operations": operations})
    stage.wait(
        lambda: [sorted(g["Operations"]) for g in stage.grants()] == [operations],
        "the grant replaced",
    )
    assert stage.grants()[0]["GrantId"] != before["GrantId"]
    # A second share with the default operations: one grant with the union of both.
    stage.apply(share("full", accounts=[A]))
    stage.wait_ready("ImageShare", "full")
    stage.wait(
        lambda: [sorted(g["Operations"]) for g in stage.grants()] == [sorted(before["Operations"])],
        "the union of both",
    )
    assert can_launch(stage.aws, stage.image("base", HOME), HOME, A)
    assert half_given == []


def test_versions_and_regions_of_a_share(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**REPLICATED))
    stage.wait_version(1)
    for version in (2, 3):
        stage.publish(f"base-{version}")
        stage.look("GoldenImage", "base", f"v{version}")
        stage.wait_version(version)
    ids = {
        r: {i["Name"].removeprefix("images-base-"): i["ImageId"] for i in stage.owned(r)}
        for r in (HOME, DR)
    }

    def open_to(region: str) -> dict[str, set[str]]:
        return {v: stage.users(i, region) for v, i in sorted(ids[region].items())}

    stage.apply(
        share("two", accounts=[A], versions={"select": "Newest", "count": 2}),
        share("all", accounts=[B], versions={"select": "All"}, regions=[DR]),
        share("nowhere", accounts=[C], regions=[OTHER]),
    )
    stage.wait_ready("ImageShare", "two", "all")
    assert open_to(HOME) == {"v1": set(), "v2": {A}, "v3": {A}}
    assert open_to(DR) == {"v1": {B}, "v2": {A, B}, "v3": {A, B}}
    assert stage.grantees(HOME) == [A]
    assert stage.grantees(DR) == [A, B]
    refused = stage.wait_reason("ImageShare", "nowhere", "RegionNotReplicated")
    assert OTHER in refused["message"]
    stage.edit("ImageShare", "two", versions={"select": "Latest", "count": None})
    stage.wait(lambda: open_to(HOME)["v2"] == set(), "only the latest")
    stage.edit("ImageShare", "all", regions=[HOME])
    stage.wait(lambda: open_to(HOME)["v1"] == {B}, "all versions at home")
    stage.wait(lambda: stage.grantees(DR) == [A], "B's grant in the other Region revoked")
    assert open_to(DR) == {"v1": set(), "v2": set(), "v3": {A}}


def test_amis_by_id_are_shared_with_their_keys_and_not_marked(stage: Stage) -> None:
    made = register(stage.aws, "by-hand", make_snapshot(stage.aws, key=stage.seeded.keys[HOME]))
    stage.aws.requests.reset()
    stage.start()
    images = [{"id": made, "region": HOME}]
    stage.apply(share(imageRef={"images": images}, accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    assert can_launch(stage.aws, made, HOME, A)
    assert stage.changes() == {"CreateGrant": 1, "ModifyImageAttribute": 1, "RunInstances": 1,
                               "TerminateInstances": 1}  # fmt: skip
    images.append({"id": "ami-00000000000000001", "region": HOME})
    stage.edit("ImageShare", "team", imageRef={"images": images})
    ready = stage.wait_reason("ImageShare", "team", "ImageNotFound")
    assert "ami-00000000000000001" in ready["message"]
    assert can_launch(stage.aws, made, HOME, A)  # a wrong entry takes nothing from the others


def test_a_share_reaches_no_image_of_another_namespace(stage: Stage) -> None:
    stage.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    stage.start()
    stage.apply(plain(stage))
    stage.wait_ready("GoldenImage", "base")
    by_name, by_label = (
        share("by-name", accounts=[STRANGER]),
        share("by-label", accounts=[STRANGER], imageRef={"selector": {"matchExpressions": [
            {"key": "nothing", "operator": "DoesNotExist"}]}}),
    )  # fmt: skip
    for document in (by_name, by_label):
        document["metadata"]["namespace"] = "other"
        stage.apply(document)
    url = stage.root.replace("/namespaces/images", "/namespaces/other")

    def waiting(name: str) -> bool:
        found = stage.session.get(f"{url}/imageshares/{name}", timeout=10).json()
        conditions = found.get("status", {}).get("conditions", [])
        return any(c["type"] == "ImagesResolved" and c["status"] == "False" for c in conditions)

    for name in ("by-name", "by-label"):
        stage.wait(lambda n=name: waiting(n), f"{name} looked at")
    assert stage.users(stage.seeded.base_image) == set()
    # The same selector in the image's own namespace does select it.
    by_label["metadata"]["namespace"] = "images"
    stage.apply(by_label)
    stage.wait_ready("ImageShare", "by-label")
    assert stage.users(stage.seeded.base_image) == {STRANGER}


def test_namespaces_that_are_not_watched_are_left_alone(stage: Stage) -> None:
    stage.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    foreign = golden("foreign", **ENCRYPTED)
    foreign["metadata"]["namespace"] = "other"
    stage.apply(foreign)
    stage.start(resync=1, NAMESPACES="images")
    stage.apply(golden(**ENCRYPTED))
    stage.wait_ready("GoldenImage", "base")
    stage.look("GoldenImage", "base", "once more")
    url = stage.root.replace("/namespaces/images", "/namespaces/other")
    found = stage.session.get(f"{url}/goldenimages/foreign", timeout=10).json()
    assert "status" not in found
    assert "finalizers" not in found["metadata"]
    assert [i["Name"] for i in stage.owned(HOME)] == ["images-base-v1"]
