"""The released version is told in parameters, launch templates and ConfigMaps.

What is told is read back from AWS and Kubernetes.
"""

from typing import Any

from publishstage import EVERYWHERE, MAP, NAME, PARAMETER, REPLICA, Published, poll, publishing
from stage import DR, HOME, Stage


def test_a_version_is_told_everywhere_and_followed(stage: Stage, published: Published) -> None:
    published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, **REPLICA))
    poll(stage)
    images = published.wait_told(1)
    assert published.both() == images
    assert published.templated() == images[HOME]
    assert published.default()["LaunchTemplateData"]["InstanceType"] == "t3.small"
    assert published.mapped() == {**images, "version": "1"}
    shown = published.ssm().get_parameter(Name=NAME)["Parameter"]
    assert (shown["DataType"], shown["Type"]) == ("aws:ec2:image", "String")
    assert published.tags(DR)["goldenimage.dev/image"] == "images/base"
    launched = stage.aws.client("ec2", HOME).run_instances(
        ImageId=f"resolve:ssm:{NAME}", InstanceType="t3.small", MinCount=1, MaxCount=1
    )
    assert launched["Instances"][0]["ImageId"] == images[HOME]

    published.next_version(2)
    after = published.wait_told(2)
    assert after != images
    assert published.both() == after
    assert published.templated() == after[HOME]
    assert published.mapped() == {**after, "version": "2"}
    told = published.entries()
    assert {(t["kind"], t.get("region", ""), t["imageId"], t["version"]) for t in told} == {
        ("ConfigMap", "", after[HOME], 2),
        ("LaunchTemplate", HOME, after[HOME], 2),
        ("Parameter", HOME, after[HOME], 2),
        ("Parameter", DR, after[DR], 2),
    }
    status = stage.status("GoldenImage", "base")
    assert status.get("driftCorrected", 0) == 0, status["lastDrift"]


def test_nothing_is_told_before_every_region_has_its_copy(
    stage: Stage, published: Published
) -> None:
    """Copies take a while: parameters, template and ConfigMap move when all of them are there."""
    published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, promotion={}, **REPLICA))
    poll(stage)
    first = published.wait_told(1)
    seen: list[str] = []

    def look(call: Any) -> None:
        pending = {i["ImageId"] for i in stage.owned(DR) if i["State"] == "pending"}
        if pending:
            seen.append(f"{call.action} while {pending} is pending")

    stage.aws.settings.update(image_delay=2.0)
    stage.aws.faults.after("PutParameter|ModifyLaunchTemplate", look)
    stage.aws.requests.reset()
    stage.publish("slow")
    stage.look("GoldenImage", "base", "slow")
    stage.wait(lambda: any(i["State"] == "pending" for i in stage.owned(DR)), "a copy under way")
    after = published.wait_told(2)
    assert after != first
    seen = [s for s in seen if "/golden/base" not in s]
    assert published.both() == after
    writes = [
        n for n, k in enumerate(stage.aws.requests.history())
        if k.action == "ModifyLaunchTemplate" or (k.action == "PutParameter" and k.region == DR)
    ]  # fmt: skip
    copies = [
        n for n, k in enumerate(stage.aws.requests.history())
        if k.action == "CopyImage" and k.region == DR
    ]  # fmt: skip
    assert max(copies) < min(writes)
    assert seen == []


def test_pinning_a_version_moves_everything_back_and_forth(
    stage: Stage, published: Published
) -> None:
    published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, **REPLICA))
    poll(stage)
    first = published.wait_told(1)
    published.next_version(2)
    second = published.wait_told(2)
    stage.edit("GoldenImage", "base", pinnedVersion=1)
    assert published.wait_told(1) == first
    assert published.both() == first
    assert published.templated() == first[HOME]
    assert published.mapped() == {**first, "version": "1"}
    assert published.tags()["goldenimage.dev/version"] == "1"
    stage.edit("GoldenImage", "base", pinnedVersion=None)
    assert published.wait_told(2) == second
    assert published.both() == second
    assert published.templated() == second[HOME]
    assert published.mapped() == {**second, "version": "2"}


def test_a_candidate_that_waits_for_a_word_is_told_nowhere(
    stage: Stage, published: Published
) -> None:
    published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, promotion={"mode": "Manual"}, **REPLICA))
    poll(stage)
    assert published.wait_published_reason("NothingReleased")
    stage.wait(lambda: len(published.images(1)) == 2, "both AMIs of the candidate")
    stage.look("GoldenImage", "base", "quiet")
    assert published.both() == {HOME: "", DR: ""}
    assert published.mapped() == {}
    assert published.templated() == stage.seeded.base_image
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__promote": "1"})
    first = published.wait_told(1)
    assert published.both() == first

    stage.publish("second")
    stage.look("GoldenImage", "base", "second")
    stage.wait(lambda: len(published.images(2)) == 2, "both AMIs of the next candidate")
    stage.look("GoldenImage", "base", "still quiet")
    assert published.both() == first
    assert published.templated() == first[HOME]
    assert published.mapped() == {**first, "version": "1"}
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__promote": "2"})
    second = published.wait_told(2)
    assert published.both() == second
    assert published.mapped() == {**second, "version": "2"}


def test_a_version_that_failed_its_gates_is_told_nowhere(
    stage: Stage, published: Published
) -> None:
    stage.apply(publishing(gates={"manual": True}))
    poll(stage)
    assert published.wait_published_reason("NothingReleased")
    assert published.parameter() == ""
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__approve": "1"})
    first = published.wait_told(1)
    stage.publish("bad")
    stage.look("GoldenImage", "base", "bad")
    stage.wait(lambda: published.images(2), "version 2")
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__reject": "2"})
    stage.wait(
        lambda: stage.condition("GoldenImage", "base", "GatesPassed").get("reason") == "GateFailed",
        "version 2 failed",
    )
    stage.look("GoldenImage", "base", "after")
    assert published.parameter() == first[HOME]
    assert published.entries(kind="Parameter")[0]["version"] == 1


def test_what_somebody_changes_is_mended_and_counted(stage: Stage, published: Published) -> None:
    template = published.make_template()
    stage.apply(publishing(publish=EVERYWHERE, **REPLICA))
    poll(stage)
    images = published.wait_told(1)
    stranger = published.stranger()
    stage.wait(lambda: stage.status("GoldenImage", "base").get("syncedDigest"), "settled")
    published.ssm().put_parameter(Name=NAME, Value=stranger, Overwrite=True)
    published.ssm(DR).delete_parameter(Name=NAME)
    published.patch_map({"data": {HOME: stranger, "extra": "1"}})
    stage.aws.client("ec2", HOME).create_launch_template_version(
        LaunchTemplateId=template, SourceVersion="1",
        LaunchTemplateData={"ImageId": stranger, "InstanceType": "t3.large"},
    )  # fmt: skip
    stage.aws.client("ec2", HOME).modify_launch_template(
        LaunchTemplateId=template, DefaultVersion="3"
    )
    stage.look("GoldenImage", "base", "drift")
    stage.wait(
        lambda: (
            published.both() == images
            and published.templated() == images[HOME]
            and published.mapped() == {**images, "version": "1"}
        ),
        "everything mended",
    )
    # What the person set beside the AMI stays.
    assert published.default()["LaunchTemplateData"]["InstanceType"] == "t3.large"
    published.wait_told(1)
    assert stage.status("GoldenImage", "base")["driftCorrected"] == 4
    assert published.tags(DR)["goldenimage.dev/image"] == "images/base"
    stage.session.delete(published.map_url(), timeout=10).raise_for_status()
    stage.wait(lambda: published.mapped() == {**images, "version": "1"}, "made anew")


def test_renamed_and_taken_away(stage: Stage, published: Published) -> None:
    stage.apply(publishing(publish={**PARAMETER, "configMap": {"name": MAP}}, **REPLICA))
    poll(stage)
    images = published.wait_told(1)
    renamed = {"ssmParameter": {"name": "/new/base"}, "configMap": {"name": "new-ami"}}
    stage.edit("GoldenImage", "base", publish=renamed)
    stage.wait(lambda: published.both() == {HOME: "", DR: ""}, "the old parameters gone")
    assert published.both("/new/base") == images
    stage.wait(lambda: published.map() == {}, "the old ConfigMap gone")
    assert published.mapped("new-ami") == {**images, "version": "1"}
    stage.edit("GoldenImage", "base", publish=None)
    stage.wait(lambda: published.both("/new/base") == {HOME: "", DR: ""}, "all parameters gone")
    stage.wait(lambda: published.map("new-ami") == {}, "all ConfigMaps gone")
    stage.wait(lambda: published.entries() == [], "forgotten in status")
    assert stage.condition("GoldenImage", "base", "Published") == {}


def test_what_others_have_stays_theirs(stage: Stage, published: Published) -> None:
    """A parameter and a ConfigMap by hand, and another GoldenImage that wants the same."""
    mine = published.stranger()
    published.ssm().put_parameter(Name=NAME, Value=mine, Type="String")
    stage.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": MAP, "namespace": "images"},
            "data": {"mine": "yes"},
        }
    )
    both = {**PARAMETER, "configMap": {"name": MAP}}
    stage.apply(publishing(publish=both, **REPLICA))
    poll(stage)
    told = stage.wait_reason("GoldenImage", "base", "ParameterNotOurs")
    assert "goldenimage.dev/image=images/base" in told["message"]
    assert "ConfigMap" in told["message"]
    assert published.parameter(HOME) == mine
    assert published.mapped() == {"mine": "yes"}
    # Nothing in the way there.
    stage.wait(lambda: published.parameter(DR) == published.images(1)[DR], "the other Region")

    # Handed over by its tags.
    tags = {"goldenimage.dev/cluster": "default", "goldenimage.dev/image": "images/base"}
    published.ssm().add_tags_to_resource(
        ResourceType="Parameter",
        ResourceId=NAME,
        Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
    )
    # Its data type cannot be changed, so that it has to go after all.
    stage.look("GoldenImage", "base", "handed over")
    stage.wait_reason("GoldenImage", "base", "ParameterOfAnotherType")
    assert published.parameter(HOME) == mine
    published.ssm().delete_parameter(Name=NAME)
    stage.session.delete(published.map_url(), timeout=10).raise_for_status()
    stage.look("GoldenImage", "base", "free")
    images = published.wait_told(1)
    assert published.both() == images

    other = {"ssmParameter": {"name": NAME}, "configMap": {"name": MAP}}
    stage.apply(publishing("second", publish=other))
    message = stage.wait_reason("GoldenImage", "second", "ParameterNotOurs")["message"]
    assert "belongs to GoldenImage images/base" in message
    assert published.both() == images
    assert published.mapped()[HOME] == images[HOME]
