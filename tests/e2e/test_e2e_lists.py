"""Who is shared with follows lists and time."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stage import ENCRYPTED, HOME, A, B, C, Stage
from systemworld import Object, golden, share

NAMESPACE = "images"


def accounts_map(text: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "workload-accounts",
            "namespace": NAMESPACE,
            "labels": labels or {"goldenimage.dev/accounts": "true"},
        },
        "data": {"accounts": text},
    }


def write(stage: Stage, text: str) -> None:
    url = f"{stage.world.cluster.url}/api/v1/namespaces/{NAMESPACE}/configmaps/workload-accounts"
    stage.session.patch(
        url,
        json={"data": {"accounts": text}},
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=10,
    ).raise_for_status()


def listed(*lists: Object, **spec: Any) -> Object:
    return share("listed", accountsFrom=list(lists), **spec)


FROM_MAP = {"configMap": {"name": "workload-accounts"}}


def image(stage: Stage) -> str:
    return stage.image("base", HOME)


def test_a_config_map_is_followed_and_a_slip_in_it_takes_nothing(stage: Stage) -> None:
    stage.start()
    stage.apply(accounts_map(f"{A}  # shop\n"), golden(**ENCRYPTED), listed(FROM_MAP))
    stage.wait_ready("ImageShare", "listed")
    assert stage.users(image(stage)) == {A}
    write(stage, f"{A}, {B}\n{C}")
    stage.wait(lambda: stage.users(image(stage)) == {A, B, C}, "the new accounts are in")
    stage.wait(lambda: stage.grantees() == [A, B, C], "with their grants")
    for slip, reason in (("", "ListEmpty"), ("22222222222", "ListMalformed")):
        write(stage, slip)
        stage.wait_reason("ImageShare", "listed", reason)
        assert stage.users(image(stage)) == {A, B, C}
        assert stage.condition("ImageShare", "listed", "ListsRead")["status"] == "False"
    # What it said last holds over a restart too.
    stage.restart()
    stage.look("ImageShare", "listed", "restarted")
    assert stage.users(image(stage)) == {A, B, C}
    write(stage, f"{A} {B}")
    stage.wait(lambda: stage.users(image(stage)) == {A, B}, "C is out")
    stage.wait(lambda: stage.grantees() == [A, B], "with its grant")
    stage.wait_ready("ImageShare", "listed")
    (found,) = stage.status("ImageShare", "listed")["lists"]
    assert found["accounts"] == [A, B]


def test_a_config_map_without_the_label_is_not_read(stage: Stage) -> None:
    stage.start()
    stage.apply(accounts_map(A, other="true"), golden(**ENCRYPTED), listed(FROM_MAP, accounts=[B]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_reason("ImageShare", "listed", "ListNotFound")
    stage.wait(lambda: stage.users(image(stage)) == {B}, "who is declared otherwise is in")


def test_a_list_that_was_never_read_makes_nobody_a_stranger(stage: Stage) -> None:
    stage.apply(golden(**ENCRYPTED))
    stage.start()
    stage.wait_ready("GoldenImage", "base")
    ec2 = stage.aws.client("ec2")
    ec2.modify_image_attribute(ImageId=image(stage), LaunchPermission={"Add": [{"UserId": C}]})
    stage.apply(listed(FROM_MAP, accounts=[A]))
    stage.wait(lambda: A in stage.users(image(stage)), "A is in")
    assert stage.users(image(stage)) == {A, C}
    stage.apply(accounts_map(B))
    stage.wait(lambda: stage.users(image(stage)) == {A, B}, "now C is a stranger")


def test_a_parameter_and_an_organizational_unit_are_followed(stage: Stage) -> None:
    ssm = stage.aws.client("ssm")
    ssm.put_parameter(Name="/org/accounts", Value=f"{C}", Type="StringList")
    stage.start(resync=1)
    stage.apply(
        golden(**ENCRYPTED),
        listed(
            {"ssmParameter": {"name": "/org/accounts", "region": HOME}},
            {"organizationalUnit": stage.seeded.unit_arn},
            ignoreAccounts=[B],
        ),
    )
    stage.wait_ready("ImageShare", "listed")
    assert stage.users(image(stage)) == {A, C}
    organizations = stage.aws.client("organizations", "us-east-1")
    organizations.move_account(
        AccountId=A,
        SourceParentId=stage.seeded.unit_id,
        DestinationParentId=stage.seeded.root_id,
    )
    ssm.put_parameter(Name="/org/accounts", Value=f"{C},555555555555", Type="StringList",
                      Overwrite=True)  # fmt: skip
    stage.wait(lambda: stage.users(image(stage)) == {C, "555555555555"}, "both followed", 90)
    stage.wait(lambda: stage.grantees() == [C, "555555555555"], "with the grants")


def test_access_ends_at_its_time_and_is_announced(stage: Stage) -> None:
    stage.start()
    until = datetime.now(UTC) + timedelta(seconds=12)
    stage.apply(
        golden(**ENCRYPTED),
        share(
            "visitors",
            accounts=[B],
            temporary=[
                {"account": A, "until": until.strftime("%Y-%m-%dT%H:%M:%SZ")},
                {"account": B, "until": until.strftime("%Y-%m-%dT%H:%M:%SZ")},
            ],
        ),
    )
    stage.wait_ready("ImageShare", "visitors")
    assert stage.users(image(stage)) == {A, B}
    told = stage.condition("ImageShare", "visitors", "AccessExpiring")
    assert told["status"] == "True"
    assert A in told["message"]
    assert B not in told["message"], "B is declared without an end too"
    assert stage.events("visitors", "EndsSoon")
    assert datetime.now(UTC) < until, "too slow to tell"
    stage.wait(lambda: stage.users(image(stage)) == {B}, "A is out", 40)
    assert datetime.now(UTC) >= until.replace(microsecond=0)
    stage.wait(lambda: stage.grantees() == [B], "with its grant")
    stage.wait(
        lambda: stage.condition("ImageShare", "visitors", "AccessExpiring") == {}, "told no more"
    )
    assert not stage.events("visitors", "DriftCorrected")


def test_an_image_is_shared_from_another_namespace_only_if_it_says_so(stage: Stage) -> None:
    stage.start()
    other: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-shop"}}
    foreign = share("theirs", accounts=[A])
    foreign["metadata"]["namespace"] = "team-shop"
    foreign["spec"]["imageRef"] = {"name": "base", "namespace": NAMESPACE}
    url = stage.root.replace(f"/{NAMESPACE}", "/team-shop") + "/imageshares/theirs"

    def ready() -> Object:
        found = stage.session.get(url, timeout=10).json().get("status", {}).get("conditions", [])
        return next((dict(c) for c in found if c["type"] == "Ready"), {})

    stage.apply(other, golden(**ENCRYPTED), foreign)
    stage.wait_ready("GoldenImage", "base")
    stage.wait(lambda: ready().get("reason") == "NamespaceNotAllowed", "refused")
    assert stage.users(image(stage)) == set()
    stage.edit("GoldenImage", "base", allowedNamespaces=["team-*"])
    stage.wait(lambda: ready().get("status") == "True", "let in")
    assert stage.users(image(stage)) == {A}
    stage.edit("GoldenImage", "base", allowedNamespaces=[])
    stage.wait(lambda: stage.users(image(stage)) == set(), "shut out again")
    stage.wait(lambda: stage.grantees() == [], "with the grant")
