"""Parameters in consumer accounts, written with the roles of the access file."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from publishstage import NAME, REPLICA, Published, publishing
from stage import DR, HOME, A, B, C, Stage
from systemworld import Object, share

from gilder.sandbox.aws.seed import make_role

OWN = "123456789012"
FILE: Object = {
    "consumers": [
        {
            "accounts": [A, B],
            "roles": [{"arn": "arn:aws:iam::{account}:role/gilder-consumer"}],
        }
    ],
    "namespaces": [{"names": ["images"], "accounts": ["own"], "consumers": ["*"]}],
}


def to(*accounts: str, name: str = "/out/{name}") -> Object:
    return {"ssmParameter": {"name": name, "accounts": list(accounts)}}


def begin(stage: Stage, *roles: str) -> None:
    for account in roles:
        make_role(stage.aws, account, "gilder-consumer", trust=[OWN])
    file: Path = stage.world.directory / "access.yaml"
    file.write_text(yaml.safe_dump(FILE))
    stage.start(ACCESS_FILE=str(file), POLL_SECONDS="1")


def there(published: Published, account: str, name: str = NAME) -> dict[str, str]:
    return {r: published.parameter(r, name, account) for r in (HOME, DR)}


def wait(stage: Stage, published: Published, account: str, images: Any, what: str) -> None:
    stage.wait(lambda: there(published, account) == images, what, 60)


def owner(published: Published, account: str, region: str = HOME) -> str:
    answer = published.ssm(region, account).list_tags_for_resource(
        ResourceType="Parameter", ResourceId=NAME
    )
    return {t["Key"]: t["Value"] for t in answer["TagList"]}.get("goldenimage.dev/image", "")


def test_consumers_get_the_parameter_once_they_may_launch(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(publish=to(A, B), **REPLICA))
    begin(stage, A, B)
    message = published.wait_published_reason("NotSharedWithConsumer")
    assert "ImageShare" in message
    # The image itself is no worse for it.
    stage.wait_ready("GoldenImage", "base")
    images = published.images(1)
    assert published.both() == images
    assert there(published, A) == {HOME: "", DR: ""}
    stage.apply(share(accounts=[A, B]))
    for account in (A, B):
        wait(stage, published, account, images, f"{account} told")
    published.wait_told(1, seconds=60)
    assert owner(published, A, DR) == "images/base"
    shown = published.ssm(HOME, A).get_parameter(Name=NAME)["Parameter"]
    assert shown["DataType"] == "aws:ec2:image"
    launched = stage.aws.client("ec2", HOME, A).run_instances(
        ImageId=f"resolve:ssm:{NAME}", InstanceType="t3.small", MinCount=1, MaxCount=1
    )
    assert launched["Instances"][0]["ImageId"] == images[HOME]

    published.next_version(2)
    second = published.wait_told(2, seconds=60)
    assert there(published, A) == there(published, B) == second
    stage.edit("GoldenImage", "base", pinnedVersion=1)
    published.wait_told(1, seconds=60)
    assert there(published, A) == there(published, B) == images


def test_a_refused_role_holds_up_neither_the_image_nor_another_account(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(publish=to(A, B, C), **REPLICA), share(accounts=[A, B, C]))
    begin(stage, A)
    wait(stage, published, A, _images(stage, published), "A told")
    stage.wait(
        lambda: {p["account"] for p in published.entries() if p.get("message")} == {B, C},
        "both are told in status",
    )
    stage.wait_ready("GoldenImage", "base")
    message = stage.message("GoldenImage", "base", "Published")
    assert B in message
    assert "access file has no role for account " + C in message
    assert there(published, B) == there(published, C) == {HOME: "", DR: ""}
    make_role(stage.aws, B, "gilder-consumer", trust=[OWN])
    wait(stage, published, B, _images(stage, published), "B told once its role is there")


def _images(stage: Stage, published: Published) -> dict[str, str]:
    stage.wait(lambda: len(published.images(1)) == 2, "both AMIs")
    return published.images(1)


def test_a_consumers_own_parameter_stays_and_drift_is_mended(
    stage: Stage, published: Published
) -> None:
    published.ssm(HOME, A).put_parameter(Name=NAME, Value="theirs", Type="String")
    stage.apply(publishing(publish=to(A, B), **REPLICA), share(accounts=[A, B]))
    begin(stage, A, B)
    message = published.wait_published_reason("ParameterNotOurs")
    assert f"{HOME} of account {A}" in message
    images = _images(stage, published)
    wait(stage, published, A, {HOME: "theirs", DR: images[DR]}, "the other Region of A")
    wait(stage, published, B, images, "B told")
    published.ssm(HOME, A).delete_parameter(Name=NAME)
    published.ssm(HOME, B).delete_parameter(Name=NAME)
    stage.look("GoldenImage", "base", "now")
    for account in (A, B):
        wait(stage, published, account, images, f"{account} mended")
    published.wait_told(1, seconds=60)


@pytest.mark.parametrize("policy", ["Delete", "Orphan"])
def test_what_is_abroad_goes_with_the_image(
    stage: Stage, published: Published, policy: str
) -> None:
    stage.apply(
        publishing(
            publish=to(A, B),
            deletionPolicy=policy,
            retention={"checkOtherAccounts": False},
            **REPLICA,
        ),
        share(accounts=[A, B]),
    )
    begin(stage, A, B)
    images = published.wait_told(1, seconds=60)
    stage.edit("GoldenImage", "base", publish=to(A))
    wait(stage, published, B, {HOME: "", DR: ""}, "B left the list")
    assert there(published, A) == images
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base", seconds=60)
    if policy == "Delete":
        assert there(published, A) == {HOME: "", DR: ""}
    else:
        assert there(published, A) == images
        assert owner(published, A) == ""


def test_an_account_that_is_closed_is_told_and_there_is_a_way_out(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(publish=to(A), deletionPolicy="Orphan"), share(accounts=[A]))
    begin(stage, A)
    published.wait_told(1, seconds=60)
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    stage.aws.faults.deny("DeleteParameter|RemoveTagsFromResource", account=A)
    stage.delete("GoldenImage", "base")
    told = stage.wait_reason("GoldenImage", "base", "AccessDenied")
    assert A in told["message"]
    assert "goldenimage.dev/abandon" in told["message"]
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__abandon": "true"})
    stage.gone("GoldenImage", "base")


def test_an_ami_that_a_consumers_parameter_still_names_stays(
    stage: Stage, published: Published
) -> None:
    retention: Object = {"keep": 1, "gracePeriod": "0m", "checkOtherAccounts": False}
    spec: dict[str, Any] = {"publish": to(A), "retention": retention}
    stage.apply(publishing(encryption=REPLICA["encryption"], **spec), share(accounts=[A]))
    begin(stage, A)
    first = published.wait_told(1, seconds=60)[HOME]
    stage.aws.faults.deny("PutParameter", account=A)
    published.next_version(2)

    def held() -> str:
        retiring = stage.status("GoldenImage", "base").get("retiring", [])
        return " ".join(r.get("heldBy", "") for r in retiring)

    stage.wait(lambda: f"of account {A}" in held(), "held by A's parameter", 60)
    assert published.parameter(HOME, NAME, A) == first
    assert first in {i["ImageId"] for i in stage.owned(HOME)}
    stage.aws.faults.clear()
    stage.wait(lambda: published.parameter(HOME, NAME, A) == published.images(2)[HOME], "moved", 60)
