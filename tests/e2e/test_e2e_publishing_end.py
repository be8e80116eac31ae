"""What publishing leaves behind: by deletion policy, with retention, through kills and refusals."""

from typing import Any

from publishstage import EVERYWHERE, MAP, NAME, PARAMETER, REPLICA, Published, poll, publishing
from stage import DR, ENCRYPTED, HOME, Stage


def told_everywhere(stage: Stage, published: Published, policy: str) -> dict[str, str]:
    published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, deletionPolicy=policy, **REPLICA))
    poll(stage)
    return published.wait_told(1)


def test_retained_everything_goes_on_to_tell(stage: Stage, published: Published) -> None:
    images = told_everywhere(stage, published, "Retain")
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    assert published.both() == images
    assert published.templated() == images[HOME]
    assert published.mapped() == {**images, "version": "1"}
    assert "ownerReferences" not in published.map()["metadata"]
    # One of the same name finds all of it again.
    stage.apply(publishing(publish=EVERYWHERE, deletionPolicy="Retain", **REPLICA))
    assert published.wait_told(1) == images
    (owner,) = published.map()["metadata"]["ownerReferences"]
    assert owner["uid"] == stage.get("GoldenImage", "base")["metadata"]["uid"]


def test_orphaned_everything_stays_and_is_nobodys(stage: Stage, published: Published) -> None:
    images = told_everywhere(stage, published, "Orphan")
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    assert published.both() == images
    assert published.tags() == {}
    assert published.tags(DR) == {}
    assert published.mapped() == {**images, "version": "1"}
    assert "goldenimage.dev/image" not in published.map()["metadata"].get("labels", {})
    assert stage.owned(HOME) == []


def test_deleted_what_tells_goes_before_the_amis(stage: Stage, published: Published) -> None:
    stage.apply(
        publishing(
            publish={**PARAMETER, "configMap": {"name": MAP}},
            deletionPolicy="Delete",
            retention={"checkOtherAccounts": False},
            **REPLICA,
        )
    )
    poll(stage)
    published.wait_told(1)
    stage.aws.requests.reset()
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    assert published.both() == {HOME: "", DR: ""}
    assert published.map() == {}
    assert stage.owned(HOME) == stage.owned(DR) == []
    order = stage.order()
    last = max(n for n, a in enumerate(order) if a == "DeleteParameter")
    assert last < order.index("DeregisterImage")


def test_a_default_version_keeps_its_ami_and_says_so(stage: Stage, published: Published) -> None:
    published.make_template()
    stage.apply(
        publishing(
            publish=EVERYWHERE,
            deletionPolicy="Delete",
            retention={"checkOtherAccounts": False},
            **ENCRYPTED,
        )
    )
    poll(stage)
    images = published.wait_told(1)
    stage.delete("GoldenImage", "base")
    stage.wait(
        lambda: stage.condition("GoldenImage", "base", "Ready").get("reason") == "ImageInUse",
        "in use by the template",
    )
    assert published.templated() == images[HOME]
    assert published.parameter() == ""
    stage.aws.client("ec2", HOME).modify_launch_template(
        LaunchTemplateName="web", DefaultVersion="1"
    )
    stage.gone("GoldenImage", "base", seconds=90)
    assert stage.owned(HOME) == []


def test_parameters_that_cannot_be_deleted_are_told_and_there_is_a_way_out(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(deletionPolicy="Delete", **REPLICA))
    poll(stage)
    images = published.wait_told(1)
    stage.aws.faults.deny("DeleteParameter", region=DR)
    stage.delete("GoldenImage", "base")
    stage.wait(lambda: published.parameter(HOME) == "", "the other Region goes on")
    told = stage.wait_reason("GoldenImage", "base", "AccessDenied")
    assert NAME in told["message"]
    assert published.parameter(DR) == images[DR]
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__abandon": "true"})
    stage.gone("GoldenImage", "base")
    assert published.parameter(DR) == images[DR]


def test_killed_after_any_write_it_comes_to_the_same(stage: Stage, published: Published) -> None:
    """The operator dies right after each kind of write, before its status knows of it."""
    template = published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, **REPLICA))
    struck: list[str] = []

    def kill(call: Any) -> None:
        if call.action not in struck:
            struck.append(call.action)
            stage.world.operator.kill()

    writes = ("PutParameter", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate")
    stage.aws.faults.after("|".join(writes), kill)
    for write in writes:
        poll(stage)
        stage.wait(lambda: not stage.world.operator.running, f"killed {write}")
    poll(stage)
    images = published.wait_told(1)
    assert set(struck) == set(writes)
    assert published.both() == images
    assert published.templated() == images[HOME]
    assert published.mapped() == {**images, "version": "1"}
    found = stage.aws.client("ec2", HOME).describe_launch_template_versions(
        LaunchTemplateId=template
    )["LaunchTemplateVersions"]
    assert [v["VersionNumber"] for v in found] == [1, 2]
    assert stage.status("GoldenImage", "base").get("driftCorrected", 0) == 0


def test_one_region_that_refuses_holds_up_no_other(stage: Stage, published: Published) -> None:
    stage.aws.faults.deny("PutParameter", region=DR)
    stage.apply(publishing(publish={**PARAMETER, "configMap": {"name": MAP}}, **REPLICA))
    poll(stage)
    told = stage.wait_reason("GoldenImage", "base", "AccessDenied")
    assert DR in told["message"]
    images = published.images(1)
    assert published.both() == {HOME: images[HOME], DR: ""}
    assert published.mapped() == {**images, "version": "1"}
    assert published.reason() == "AccessDenied"
    stage.aws.faults.clear()
    stage.look("GoldenImage", "base", "allowed")
    published.wait_told(1)
    assert published.both() == images


def test_throttled_writes_come_through(stage: Stage, published: Published) -> None:
    published.make_template()
    stage.aws.faults.throttle(None, "PutParameter|AddTagsToResource|.*LaunchTemplate.*", rate=0.4)
    stage.apply(publishing(publish=EVERYWHERE, **REPLICA))
    poll(stage)
    stage.wait(lambda: published.reason() == "Published", "told", 60)
    images = published.images(1)
    assert published.both() == images
    assert published.templated() == images[HOME]


def test_retention_is_not_held_up_by_what_we_published_ourselves(
    stage: Stage, published: Published
) -> None:
    """The parameter, the ConfigMap and the template move on before the AMI goes."""
    template = published.make_template()
    stage.apply(
        publishing(
            publish=EVERYWHERE,
            retention={"keep": 1, "gracePeriod": "0m", "checkOtherAccounts": False},
            **REPLICA,
        )
    )
    poll(stage)
    first = published.wait_told(1)
    named: list[str] = []

    def look(_: Any) -> None:
        if first[HOME] in (published.parameter(), published.templated()):
            named.append("the AMI goes and is still told")

    stage.aws.faults.before("DeregisterImage", look)
    published.next_version(2)
    second = published.wait_told(2)
    stage.wait(
        lambda: {i["ImageId"] for r in (HOME, DR) for i in stage.owned(r)} == set(second.values()),
        "version 1 gone from both Regions",
        60,
    )
    assert named == []
    assert published.both() == second
    found = stage.aws.client("ec2", HOME).describe_launch_template_versions(
        LaunchTemplateId=template
    )["LaunchTemplateVersions"]
    assert [v["LaunchTemplateData"]["ImageId"] for v in found] == [
        stage.seeded.base_image,
        second[HOME],
    ]


def test_a_launch_template_that_is_not_there_is_told_and_found_later(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(publish=EVERYWHERE))
    poll(stage)
    told = stage.wait_reason("GoldenImage", "base", "LaunchTemplateNotFound")
    assert "spec.publish.launchTemplates[0]" in told["message"]
    images = published.images(1)
    assert published.parameter() == images[HOME]
    assert published.mapped() == {HOME: images[HOME], "version": "1"}
    published.make_template()
    stage.look("GoldenImage", "base", "made")
    published.wait_told(1)
    assert published.templated() == images[HOME]
