"""Image Builder as the operator uses it, against the sandbox, and read back."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.aws import builds
from gilder.aws.sessions import Sessions
from gilder.core.actions import BuildOrder, ComponentOrder, StartBuild
from gilder.core.work import SeenBuild
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"
ACCOUNT = "123456789012"
NAME = "test-team-web-0a1b2c3d"
ARN = f"arn:aws:imagebuilder:{HOME}:{ACCOUNT}"
TAGS = {"goldenimage.dev/image": "team/web", "goldenimage.dev/cluster": "test"}
DOCUMENT = "{phases: [{name: build, steps: [{name: a, action: ExecuteBash}]}]}"


class Bench:
    """An account with an instance profile, and what is built there."""

    def __init__(self, aws: SandboxAws, sessions: Sessions, parent: str) -> None:
        self.aws = aws
        self.client, self.ec2 = sessions.imagebuilder(HOME), sessions.ec2(HOME)
        aws.client("iam").create_instance_profile(InstanceProfileName="builder")
        self.order = BuildOrder(
            name=NAME,
            version="1.2.3",
            parent=parent,
            platform="Linux",
            components=(
                ComponentOrder(arn=f"arn:aws:imagebuilder:{HOME}:aws:component/update-linux/x.x.x"),
                ComponentOrder(
                    name=f"{NAME}--agent",
                    version="1.0.7",
                    document=DOCUMENT,
                    parameters=(("Level", ("high",)),),
                ),
            ),
            devices=({"deviceName": "/dev/xvda", "ebs": {"volumeSize": 20}},),
            working_directory="/opt/build",
            user_data="#!/bin/sh\necho hello\n",
            infrastructure={"instanceProfileName": "builder", "instanceTypes": ["m5.large"]},
            distributions=(_distribution("web"),),
            tests=False,
            tests_minutes=90,
        )

    def start(self, build: str, order: BuildOrder | None = None) -> str:
        return builds.start(self.client, _start(build, order or self.order), ACCOUNT)

    def get(self, arn: str) -> Mapping[str, Any]:
        return self.client.get_image(imageBuildVersionArn=arn)["image"]

    def calls(self) -> dict[str, int]:
        found = {
            name.split(":")[1]: n
            for name, n in self.aws.requests.by_action().items()
            if name.startswith("imagebuilder:")
        }
        self.aws.requests.reset()
        return found


def _distribution(name: str) -> Any:
    written = {"name": f"{name} {{{{ imagebuilder:buildDate }}}}"}
    return {"region": HOME, "amiDistributionConfiguration": written}


def _start(build: str, order: BuildOrder | None = None, pipeline: str = "") -> StartBuild:
    tags = {**TAGS, "goldenimage.dev/build": build}
    return StartBuild(region=HOME, build=build, tags=tags, order=order, pipeline=pipeline)


@pytest.fixture
def bench(aws: SandboxAws, sessions: Sessions, seeded: Seeded) -> Bench:
    found = Bench(aws, sessions, seeded.base_image)
    aws.requests.reset()
    return found


def test_the_first_build_makes_all_it_needs(bench: Bench, seeded: Seeded) -> None:
    arn = bench.start("build-1")
    assert arn == f"{ARN}:image/{NAME}/1.2.3/1"
    image = bench.get(arn)
    recipe = image["imageRecipe"]
    assert (recipe["name"], recipe["version"]) == (NAME, "1.2.3")
    assert recipe["parentImage"] == seeded.base_image
    assert recipe["components"] == [
        {"componentArn": f"arn:aws:imagebuilder:{HOME}:aws:component/update-linux/x.x.x"},
        {
            "componentArn": f"{ARN}:component/{NAME}--agent/1.0.7",
            "parameters": [{"name": "Level", "value": ["high"]}],
        },
    ]
    assert recipe["blockDeviceMappings"] == list(bench.order.devices)
    assert recipe["workingDirectory"] == "/opt/build"
    data = recipe["additionalInstanceConfiguration"]["userDataOverride"]
    assert base64.b64decode(data).decode() == bench.order.user_data
    assert image["infrastructureConfiguration"]["instanceTypes"] == ["m5.large"]
    assert image["distributionConfiguration"]["distributions"] == list(bench.order.distributions)
    assert image["imageTestsConfiguration"] == {"imageTestsEnabled": False, "timeoutMinutes": 90}
    made = [image, recipe, image["infrastructureConfiguration"]]
    made.append(image["distributionConfiguration"])
    component = bench.client.get_component(
        componentBuildVersionArn=f"{ARN}:component/{NAME}--agent/1.0.7/1"
    )["component"]
    assert (component["data"], component["platform"]) == (DOCUMENT, "Linux")
    for one in [*made, component]:
        assert one["tags"] == {**TAGS, "goldenimage.dev/build": "build-1"}


def test_the_next_build_keeps_what_is_there(bench: Bench) -> None:
    bench.start("build-1")
    bench.calls()
    changed = replace(
        bench.order,
        infrastructure={"instanceProfileName": "builder", "instanceTypes": ["c5.large"]},
        distributions=(_distribution("renamed"),),
    )
    image = bench.get(bench.start("build-2", changed))
    assert bench.calls() == {
        "CreateInfrastructureConfiguration": 1,
        "UpdateInfrastructureConfiguration": 1,
        "CreateDistributionConfiguration": 1,
        "UpdateDistributionConfiguration": 1,
        "CreateImage": 1,
        "GetImage": 1,
    }
    assert image["infrastructureConfiguration"]["instanceTypes"] == ["c5.large"]
    assert image["distributionConfiguration"]["distributions"] == [_distribution("renamed")]
    assert image["version"] == "1.2.3/2"


def test_the_same_build_is_started_once(bench: Bench) -> None:
    first = bench.start("build-1")
    assert bench.start("build-1") == first
    assert bench.start("build-2") != first


def test_an_answer_that_was_lost_does_no_harm(bench: Bench) -> None:
    bench.aws.faults.timeout_after_effect("CreateImageRecipe")
    assert bench.start("build-1") == f"{ARN}:image/{NAME}/1.2.3/1"


def test_other_content_is_another_recipe(bench: Bench) -> None:
    bench.start("build-1")
    component = replace(bench.order.components[1], version="1.0.8", document=DOCUMENT + "\n")
    order = replace(bench.order, version="1.2.4", components=(component,))
    recipe = bench.get(bench.start("build-2", order))["imageRecipe"]
    assert recipe["version"] == "1.2.4"
    assert recipe["components"][0]["componentArn"] == f"{ARN}:component/{NAME}--agent/1.0.8"


def test_recipes_of_which_everything_was_deleted_are_made_again(bench: Bench) -> None:
    bench.start("build-1")
    builds.delete_recipes(bench.client, NAME, ACCOUNT)
    image = bench.get(bench.start("build-2"))
    assert image["version"] == "1.2.3/2"
    assert image["imageRecipe"]["tags"]["goldenimage.dev/build"] == "build-2"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidParameterValueException", "The image recipe 'arn:image-recipe/x' does not exist."),
        ("ResourceNotFoundException", "The resource 'ImageRecipe' cannot be found."),
    ],
)
def test_both_ways_to_say_that_a_recipe_is_missing(bench: Bench, code: str, message: str) -> None:
    bench.aws.faults.fail("CreateImage", code, message, times=1)
    assert bench.start("build-1") == f"{ARN}:image/{NAME}/1.2.3/1"
    assert bench.calls()["CreateImageRecipe"] == 1


def test_what_image_builder_refuses_is_raised(bench: Bench) -> None:
    order = replace(bench.order, infrastructure={"instanceProfileName": "none"})
    with pytest.raises(ClientError, match="instance profile does not exist"):
        bench.start("build-1", order)
    bench.aws.faults.fail("CreateImage", "InvalidParameterValueException", "No.", times=1)
    with pytest.raises(ClientError, match=r"No\."):
        bench.start("build-1")
    assert "CreateImageRecipe" not in bench.calls()


def test_a_pipeline_is_started_with_the_tags(bench: Bench) -> None:
    bench.start("build-1")
    pipeline = bench.client.create_image_pipeline(
        name="nightly",
        imageRecipeArn=f"{ARN}:image-recipe/{NAME}/1.2.3",
        infrastructureConfigurationArn=f"{ARN}:infrastructure-configuration/{NAME}",
        clientToken="p",
    )["imagePipelineArn"]
    action = _start("run-1", pipeline=pipeline)
    arn = builds.start(bench.client, action, ACCOUNT)
    assert builds.start(bench.client, action, ACCOUNT) == arn
    image = bench.get(arn)
    assert image["sourcePipelineArn"] == pipeline
    assert image["tags"] == action.tags
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        builds.start(bench.client, _start("run-2", pipeline=f"{pipeline}-none"), ACCOUNT)


def test_builds_are_listed_by_name(bench: Bench) -> None:
    arn = bench.start("build-1")
    bench.aws.builds.fail_next(reason="it broke")
    failed = bench.start("build-2")
    other = bench.start("build-3", replace(bench.order, name="other"))
    ami = bench.get(arn)["outputResources"]["amis"][0]["image"]
    group = f"/aws/imagebuilder/{NAME}"
    assert builds.listed(bench.client, [NAME]) == [
        SeenBuild(failed, "build-2", "FAILED", "it broke", log_group=group),
        SeenBuild(arn, "build-1", "AVAILABLE", image=ami, log_group=group),
    ]
    bench.calls()
    names = [NAME, "other", *(f"n-{n:02}" for n in range(19))]
    assert {b.arn for b in builds.listed(bench.client, names)} == {arn, failed, other}
    assert bench.calls() == {"ListImageBuildVersions": 3}
    assert builds.listed(bench.client, []) == []


def test_all_pages_are_read(bench: Bench) -> None:
    found = {bench.start(f"build-{n}") for n in range(101)}
    bench.calls()
    assert {b.arn for b in builds.listed(bench.client, [NAME])} == found
    assert bench.calls() == {"ListImageBuildVersions": 2}


def test_one_build(bench: Bench) -> None:
    bench.aws.settings.update(build_seconds=60.0)
    arn = bench.start("build-1")
    seen = builds.one(bench.client, arn)
    assert seen == SeenBuild(arn, "build-1", log_group=f"/aws/imagebuilder/{NAME}")
    bench.aws.clock.advance(61)
    seen = builds.one(bench.client, arn)
    assert seen is not None
    assert seen.done
    assert seen.image.startswith("ami-")
    assert builds.one(bench.client, f"{ARN}:image/{NAME}/1.2.3/9") is None


@pytest.mark.parametrize(("step", "left"), [("ApplyBuildComponents", 0), ("DistributeImage", 1)])
def test_a_failure_is_explained(bench: Bench, step: str, left: int) -> None:
    bench.aws.builds.fail_next(step, "it broke " + "x" * 1000)
    seen = builds.one(bench.client, bench.start("build-1"))
    assert seen is not None
    told = builds.explain(bench.client, bench.ec2, seen)
    assert told.step.startswith(f"{step}: it broke xxx")
    assert len(told.step) == 500
    assert len(told.leftovers) == left
    for image, snapshots in told.leftovers:
        raw = bench.ec2.describe_images(ImageIds=[image])["Images"][0]
        mapped = [d["Ebs"]["SnapshotId"] for d in raw["BlockDeviceMappings"]]
        assert list(snapshots) == mapped


def test_a_failure_before_any_workflow_has_no_step(bench: Bench) -> None:
    order = replace(bench.order, parent="ami-00000000000000001")
    seen = builds.one(bench.client, bench.start("build-1", order))
    assert seen is not None
    assert seen.failed
    assert "does not exist" in seen.reason
    assert builds.explain(bench.client, bench.ec2, seen) == seen


def test_a_step_that_cannot_be_read_hides_nothing(bench: Bench) -> None:
    bench.aws.builds.fail_next("DistributeImage")
    seen = builds.one(bench.client, bench.start("build-1"))
    assert seen is not None
    bench.aws.faults.deny("ListWorkflowExecutions")
    told = builds.explain(bench.client, bench.ec2, seen)
    assert (told.step, len(told.leftovers)) == ("", 1)
    bench.aws.faults.deny("DescribeImages")
    with pytest.raises(ClientError, match="DescribeImages"):
        builds.explain(bench.client, bench.ec2, seen)


def test_a_build_is_cancelled(bench: Bench) -> None:
    bench.aws.settings.update(build_seconds=60.0)
    arn = bench.start("build-1")
    builds.cancel(bench.client, arn)
    seen = builds.one(bench.client, arn)
    assert seen is not None
    assert seen.state == "CANCELLED"
    builds.cancel(bench.client, arn)
    builds.cancel(bench.client, f"{ARN}:image/{NAME}/1.2.3/9")


def test_a_build_that_cannot_be_cancelled_is_told(bench: Bench) -> None:
    bench.aws.settings.update(build_seconds=60.0)
    arn = bench.start("build-1")
    bench.aws.faults.fail("CancelImageCreation", "InvalidRequestException", "Busy.", times=2)
    with pytest.raises(ClientError, match="Busy"):
        builds.cancel(bench.client, arn)
    bench.aws.clock.advance(61)
    builds.cancel(bench.client, arn)
    bench.aws.faults.deny("CancelImageCreation")
    with pytest.raises(ClientError, match="CancelImageCreation"):
        builds.cancel(bench.client, arn)


def test_deleting_leaves_what_is_not_ours(bench: Bench) -> None:
    bench.start("build-1")
    bench.start("build-2", replace(bench.order, version="1.2.4"))
    component = replace(bench.order.components[1], name=f"{NAME}x--agent")
    order = replace(bench.order, name=f"{NAME}x", components=(component,))
    other = bench.start("build-3", order)
    foreign = bench.client.create_image_recipe(
        name=NAME, semanticVersion="9.0.0", parentImage=bench.order.parent, clientToken="r"
    )["imageRecipeArn"]
    theirs = bench.client.create_component(
        name=f"{NAME}--theirs",
        semanticVersion="1.0.0",
        platform="Linux",
        data=DOCUMENT,
        clientToken="c",
    )["componentBuildVersionArn"]
    builds.delete_recipes(bench.client, NAME, ACCOUNT)
    recipes = bench.client.list_image_recipes(owner="Self")["imageRecipeSummaryList"]
    kept = f"{ARN}:image-recipe/{NAME}x/1.2.3"
    assert {r["arn"] for r in recipes} == {foreign, kept}
    components = bench.client.list_components(owner="Self")["componentVersionList"]
    kept = f"{ARN}:component/{NAME}x--agent/1.0.7"
    assert {c["arn"] for c in components} == {theirs.rsplit("/", 1)[0], kept}
    left = bench.client.list_infrastructure_configurations()
    assert [c["name"] for c in left["infrastructureConfigurationSummaryList"]] == [f"{NAME}x"]
    places = bench.client.list_distribution_configurations()
    assert [c["name"] for c in places["distributionConfigurationSummaryList"]] == [f"{NAME}x"]
    assert builds.one(bench.client, other) is not None
    builds.delete_recipes(bench.client, NAME, ACCOUNT)


def test_configurations_of_others_stay(bench: Bench) -> None:
    bench.client.create_infrastructure_configuration(
        name=NAME, instanceProfileName="builder", clientToken="i"
    )
    bench.client.create_distribution_configuration(
        name=NAME,
        distributions=[_distribution("web")],
        clientToken="d",
    )
    builds.delete_recipes(bench.client, NAME, ACCOUNT)
    calls = bench.calls()
    assert "DeleteInfrastructureConfiguration" not in calls
    assert "DeleteDistributionConfiguration" not in calls
