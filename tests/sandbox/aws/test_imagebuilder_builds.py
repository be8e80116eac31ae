"""Image Builder's builds: states by the clock, what they leave in EC2, and how they fail."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key
from gilder.sandbox.aws.server import SandboxAws

ARN = "arn:aws:imagebuilder:eu-west-1:123456789012"
IMAGE = f"{ARN}:image/web/1.0.0"
STATES = ["PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]


class Bench:
    """A recipe, an infrastructure configuration and a pipeline to build with."""

    def __init__(self, aws: SandboxAws, parent: str) -> None:
        self.aws, self.ec2 = aws, aws.client("ec2")
        self.api = aws.client("imagebuilder")
        aws.client("iam").create_instance_profile(InstanceProfileName="builder")
        self.recipe = self.make_recipe(parentImage=parent)
        self.infrastructure = self.api.create_infrastructure_configuration(
            name="small",
            instanceProfileName="builder",
            instanceTypes=["t3.small"],
            resourceTags={"cost": "core"},
            instanceMetadataOptions={"httpTokens": "required"},
        )["infrastructureConfigurationArn"]

    def make_recipe(self, name: str = "web", version: str = "1.0.0", **more: Any) -> str:
        arn: str = self.api.create_image_recipe(name=name, semanticVersion=version, **more)[
            "imageRecipeArn"
        ]
        return arn

    def build(self, recipe: str | None = None, **more: Any) -> str:
        arn: str = self.api.create_image(
            imageRecipeArn=recipe or self.recipe,
            infrastructureConfigurationArn=self.infrastructure,
            **more,
        )["imageBuildVersionArn"]
        return arn

    def get(self, arn: str) -> dict[str, Any]:
        image: dict[str, Any] = self.api.get_image(imageBuildVersionArn=arn)["image"]
        return image

    def state(self, arn: str) -> str:
        found: str = self.get(arn)["state"]["status"]
        return found

    def instances(self, *states: str) -> list[dict[str, Any]]:
        answer = self.ec2.describe_instances(
            Filters=[
                {"Name": "tag:CreatedBy", "Values": ["EC2 Image Builder"]},
                {"Name": "instance-state-name", "Values": list(states) or ["running"]},
            ]
        )
        return [i for r in answer["Reservations"] for i in r["Instances"]]

    def amis(self) -> list[dict[str, Any]]:
        answer = self.ec2.describe_images(
            Owners=["self"], Filters=[{"Name": "tag:CreatedBy", "Values": ["EC2 Image Builder"]}]
        )
        images: list[dict[str, Any]] = answer["Images"]
        return images

    def failed_step(self, arn: str) -> dict[str, Any]:
        """The only step that failed, as an operator finds it."""
        executions = self.api.list_workflow_executions(imageBuildVersionArn=arn)
        found = []
        for execution in executions["workflowExecutions"]:
            steps = self.api.list_workflow_step_executions(
                workflowExecutionId=execution["workflowExecutionId"]
            )["steps"]
            found += [s for s in steps if s["status"] == "FAILED"]
        assert len(found) == 1, found
        step: dict[str, Any] = found[0]
        return step


def tags_of(described: dict[str, Any]) -> dict[str, str]:
    return {t["Key"]: t["Value"] for t in described.get("Tags", [])}


@pytest.fixture
def bench(aws: SandboxAws, base: str) -> Bench:
    return Bench(aws, base)


def test_without_delay_a_build_is_done_at_the_first_read(bench: Bench, base: str) -> None:
    arn = bench.build(tags={"reason": "test"})
    assert arn == f"{IMAGE}/1"
    image = bench.get(arn)
    ami = image["outputResources"]["amis"][0]
    assert image["state"] == {"status": "AVAILABLE"}
    assert (image["name"], image["version"], image["type"]) == ("web", "1.0.0/1", "AMI")
    assert image["tags"] == {"reason": "test"}
    assert image["imageRecipe"]["parentImage"] == base
    assert image["infrastructureConfiguration"]["instanceTypes"] == ["t3.small"]
    assert image["loggingConfiguration"] == {"logGroupName": "/aws/imagebuilder/web"}
    assert "sourcePipelineArn" not in image
    assert (ami["region"], ami["accountId"]) == ("eu-west-1", "123456789012")
    found = bench.ec2.describe_images(ImageIds=[ami["image"]])["Images"][0]
    assert (found["Name"], found["State"]) == (ami["name"], "available")
    assert found["Name"].startswith("web 20")
    assert found["SourceImageId"] == base
    assert tags_of(found) == {"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": arn}
    assert bench.instances() == []


def test_the_states_follow_the_clock(aws: SandboxAws, bench: Bench) -> None:
    aws.settings.update(build_seconds=50.0)
    arn = bench.build()
    seen, running = [], []
    for _ in STATES:
        # EC2 is asked first: it, too, must know how far the build is.
        running.append([tags_of(i)["Name"] for i in bench.instances()])
        seen.append(bench.state(arn))
        aws.clock.advance(10.001)
    assert seen == STATES
    assert running == [
        [], [], ["Build instance for web"], ["Test instance for web"], [], [],
    ]  # fmt: skip
    assert len(bench.amis()) == 1
    assert len(bench.instances("terminated")) == 2
    assert bench.ec2.describe_volumes()["Volumes"] == []
    executions = bench.api.list_workflow_executions(imageBuildVersionArn=arn)
    assert [(w["type"], w["status"]) for w in executions["workflowExecutions"]] == [
        ("DISTRIBUTION", "COMPLETED"), ("TEST", "COMPLETED"), ("BUILD", "COMPLETED"),
    ]  # fmt: skip
    built = executions["workflowExecutions"][-1]
    assert (built["totalStepCount"], built["totalStepsSucceeded"]) == (7, 6)
    steps = bench.api.list_workflow_step_executions(
        workflowExecutionId=built["workflowExecutionId"]
    )["steps"]
    assert [s["name"] for s in steps if s["status"] != "COMPLETED"] == ["RunSysPrepScript"]
    one = bench.api.get_workflow_step_execution(stepExecutionId=steps[5]["stepExecutionId"])
    assert (one["name"], one["action"], one["onFailure"]) == (
        "CreateOutputAMI", "CreateImage", "Abort",
    )  # fmt: skip
    assert bench.amis()[0]["ImageId"] in one["outputs"]
    whole = bench.api.get_workflow_execution(workflowExecutionId=built["workflowExecutionId"])
    assert whole["imageBuildVersionArn"] == arn


def test_a_build_instance_is_as_configured(aws: SandboxAws, bench: Bench, base: str) -> None:
    aws.settings.update(build_seconds=50.0)
    arn = bench.build()
    aws.clock.advance(25)
    instance = bench.instances()[0]
    assert (instance["ImageId"], instance["InstanceType"]) == (base, "t3.small")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["IamInstanceProfile"]["Arn"].endswith("/builder")
    assert tags_of(instance) == {
        "Name": "Build instance for web",
        "cost": "core",
        "CreatedBy": "EC2 Image Builder",
        "Ec2ImageBuilderArn": arn,
    }


def test_tests_may_be_left_out(aws: SandboxAws, bench: Bench) -> None:
    aws.settings.update(build_seconds=40.0)
    arn = bench.build(imageTestsConfiguration={"imageTestsEnabled": False})
    aws.clock.advance(30.5)
    assert bench.state(arn) == "DISTRIBUTING"


def test_the_ami_has_the_devices_and_key_of_the_recipe(bench: Bench, base: str, key: str) -> None:
    recipe = bench.make_recipe(
        "big",
        parentImage=base,
        description="the big one",
        amiTags={"os": "al2023"},
        blockDeviceMappings=[
            {"deviceName": "/dev/xvda", "ebs": {"volumeSize": 33, "volumeType": "gp3",
             "encrypted": True, "kmsKeyId": "alias/golden", "iops": 4000, "throughput": 250,
             "deleteOnTermination": False}},
            {"deviceName": "/dev/sdf", "ebs": {"volumeSize": 5, "encrypted": True}},
        ],
    )  # fmt: skip
    arn = bench.build(recipe)
    ami = bench.get(arn)["outputResources"]["amis"][0]
    found = bench.ec2.describe_images(ImageIds=[ami["image"]])["Images"][0]
    assert found["Description"] == "the big one"
    assert tags_of(found)["os"] == "al2023"
    devices = {d["DeviceName"]: d["Ebs"] for d in found["BlockDeviceMappings"]}
    assert set(devices) == {"/dev/xvda", "/dev/sdf"}
    root = devices["/dev/xvda"]
    assert (root["VolumeSize"], root["VolumeType"], root["Encrypted"]) == (33, "gp3", True)
    assert (root["Iops"], root["Throughput"]) == (4000, 250)
    assert root["DeleteOnTermination"] is False
    assert devices["/dev/sdf"]["Encrypted"] is True
    snapshot = bench.ec2.describe_snapshots(SnapshotIds=[root["SnapshotId"]])["Snapshots"][0]
    assert (snapshot["KmsKeyId"], snapshot["State"]) == (key, "completed")
    assert tags_of(snapshot)["Ec2ImageBuilderArn"] == arn


def test_the_distribution_names_tags_shares_and_encrypts(bench: Bench, key: str) -> None:
    distribution = bench.api.create_distribution_configuration(
        name="home",
        distributions=[
            {
                "region": "eu-west-1",
                "amiDistributionConfiguration": {
                    "name": "golden-{{ imagebuilder:buildDate }}-{{imagebuilder:buildVersion}}",
                    "description": "from the distribution",
                    "amiTags": {"stage": "prod"},
                    "kmsKeyId": key,
                    "launchPermission": {"userIds": ["222222222222"]},
                },
            }
        ],
    )["distributionConfigurationArn"]
    image = bench.get(bench.build(distributionConfigurationArn=distribution))
    assert image["distributionConfiguration"]["arn"] == distribution
    found = bench.ec2.describe_images(ImageIds=[image["outputResources"]["amis"][0]["image"]])
    ami = found["Images"][0]
    assert ami["Name"].startswith("golden-20")
    assert ami["Name"].endswith("Z-1")
    assert ami["Description"] == "from the distribution"
    assert tags_of(ami)["stage"] == "prod"
    assert ami["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    permissions = bench.ec2.describe_image_attribute(
        ImageId=ami["ImageId"], Attribute="launchPermission"
    )["LaunchPermissions"]
    assert permissions == [{"UserId": "222222222222"}]


def test_a_pipeline_builds(bench: Bench) -> None:
    pipeline = bench.api.create_image_pipeline(
        name="nightly",
        imageRecipeArn=bench.recipe,
        infrastructureConfigurationArn=bench.infrastructure,
        status="DISABLED",
        imageTags={"from": "pipeline"},
        loggingConfiguration={"imageLogGroupName": "/aws/imagebuilder/mine"},
    )["imagePipelineArn"]
    bench.aws.builds.fail_next(count=2)
    runs = [
        bench.api.start_image_pipeline_execution(
            imagePipelineArn=pipeline, tags={"run": str(n)}, clientToken=f"run-{n}"
        )["imageBuildVersionArn"]
        for n in (1, 2, 3, 3)
    ]
    assert runs == [f"{IMAGE}/1", f"{IMAGE}/2", f"{IMAGE}/3", f"{IMAGE}/3"]
    image = bench.get(runs[2])
    assert image["sourcePipelineArn"] == pipeline
    assert image["tags"] == {"from": "pipeline", "run": "3"}
    assert image["loggingConfiguration"]["logGroupName"] == "/aws/imagebuilder/mine"
    listed = bench.api.list_image_pipeline_images(imagePipelineArn=pipeline)["imageSummaryList"]
    assert [(i["arn"], i["state"]["status"]) for i in listed] == [
        (f"{IMAGE}/3", "AVAILABLE"), (f"{IMAGE}/2", "FAILED"), (f"{IMAGE}/1", "FAILED"),
    ]  # fmt: skip
    assert listed[0]["outputResources"] == image["outputResources"]
    shown = bench.api.get_image_pipeline(imagePipelineArn=pipeline)["imagePipeline"]
    assert (shown["lastRunStatus"], shown["consecutiveFailures"]) == ("AVAILABLE", 0)
    bench.api.delete_image_pipeline(imagePipelineArn=pipeline)
    assert bench.state(runs[2]) == "AVAILABLE"


def test_a_missing_pipeline(bench: Bench, refused: Any) -> None:
    missing = f"{ARN}:image-pipeline/none"
    with refused("ResourceNotFoundException"):
        bench.api.start_image_pipeline_execution(imagePipelineArn=missing)
    answer = bench.api.list_image_pipeline_images(imagePipelineArn=missing)
    assert answer["imageSummaryList"] == []


def test_a_client_token_starts_one_build(bench: Bench, refused: Any) -> None:
    assert bench.build(clientToken="t") == bench.build(clientToken="t") == f"{IMAGE}/1"
    with refused("IdempotentParameterMismatchException"):
        bench.build(clientToken="t", tags={"a": "b"})
    assert bench.build() == f"{IMAGE}/2"


def test_versions_resolve_to_what_is_available(bench: Bench, base: str, refused: Any) -> None:
    bench.build()
    with refused("ResourceNotFoundException"):
        bench.get(f"{ARN}:image/web/2.x.x")
    bench.aws.builds.fail_next()
    failed = bench.build()
    assert bench.state(failed) == "FAILED"
    assert bench.get(IMAGE)["arn"] == f"{IMAGE}/1"
    second = bench.build(bench.make_recipe(version="1.1.0", parentImage=base))
    assert bench.get(f"{ARN}:image/web/x.x.x")["arn"] == second
    assert bench.get(f"{ARN}:image/web/1.0.x")["arn"] == f"{IMAGE}/1"
    versions = bench.api.list_images()["imageVersionList"]
    assert [v["version"] for v in versions] == ["1.0.0", "1.1.0"]
    by_name = bench.api.list_images(byName=True)["imageVersionList"]
    assert [v["arn"] for v in by_name] == [f"{ARN}:image/web/x.x.x"]
    builds = bench.api.list_image_build_versions(imageVersionArn=IMAGE, maxResults=1)
    assert [b["arn"] for b in builds["imageSummaryList"]] == [failed]
    rest = bench.api.list_image_build_versions(
        imageVersionArn=IMAGE, maxResults=1, nextToken=builds["nextToken"]
    )
    assert [b["arn"] for b in rest["imageSummaryList"]] == [f"{IMAGE}/1"]
    assert "nextToken" not in rest
    with refused("InvalidParameterValueException"):
        bench.api.list_image_build_versions(imageVersionArn=f"{ARN}:image/web/x.x.x")


@pytest.mark.parametrize(
    ("step", "state", "amis"),
    [
        ("LaunchBuildInstance", "BUILDING", 0),
        ("ApplyBuildComponents", "BUILDING", 0),
        ("CreateOutputAMI", "BUILDING", 0),
        ("LaunchTestInstance", "TESTING", 1),
        ("ApplyTestComponents", "TESTING", 1),
        ("DistributeImage", "DISTRIBUTING", 1),
    ],
)
def test_a_failure_tells_its_step_and_leaves_no_instance(
    bench: Bench, step: str, state: str, amis: int
) -> None:
    bench.aws.builds.fail_next(step, "it broke")
    arn = bench.build()
    image = bench.get(arn)
    failed = bench.failed_step(arn)
    assert (failed["name"], failed["message"]) == (step, "it broke")
    context = image["state"].pop("failureContext")
    assert image["state"] == {"status": "FAILED", "reason": "it broke"}
    assert (context["imageStatus"], context["failedStep"]) == (state, step)
    assert context["stepExecutionId"] == failed["stepExecutionId"]
    execution = bench.api.get_workflow_execution(workflowExecutionId=context["workflowExecutionId"])
    assert (execution["status"], execution["totalStepsFailed"]) == ("FAILED", 1)
    assert image["outputResources"]["amis"] == []
    assert bench.instances() == []
    assert bench.ec2.describe_volumes()["Volumes"] == []
    # As on AWS, the AMI of the build stage outlives a failure after it.
    assert len(bench.amis()) == amis
    assert bench.state(bench.build()) == "AVAILABLE"


def test_the_words_and_the_log_of_a_failure(bench: Bench, base: str) -> None:
    component = bench.api.create_component(
        name="hello",
        semanticVersion="1.0.0",
        platform="Linux",
        data="{phases: [{name: build, steps: [{name: a, action: ExecuteBash}]}]}",
    )["componentBuildVersionArn"]
    recipe = bench.make_recipe("noisy", parentImage=base, components=[{"componentArn": component}])
    bench.aws.builds.fail_next(recipe="noisy")
    other, arn = bench.build(), bench.build(recipe)
    assert bench.state(other) == "AVAILABLE"
    state = bench.get(arn)["state"]
    assert state["status"] == "FAILED"
    assert f"failed for image arn: '{arn}' with status = 'Failed'" in state["reason"]
    assert f"failure message = 'Document {component} failed!'" in state["reason"]
    assert state["failureContext"]["componentFailure"]["componentArn"] == component
    events = bench.aws.client("logs").get_log_events(
        logGroupName="/aws/imagebuilder/noisy", logStreamName="1.0.0/1"
    )["events"]
    messages = [e["message"] for e in events]
    assert messages[0] == f"Image transitioned to CREATING state for Image ARN: {arn}"
    assert "Action failed for step ApplyBuildComponents. Failing step" in messages


def test_outcomes_last_until_cleared(aws: SandboxAws, bench: Bench) -> None:
    with pytest.raises(ValueError, match="no such step: Compile"):
        aws.builds.fail_next("Compile")
    aws.builds.outcome("we.*", step="ApplyTestComponents", reason="red")
    aws.builds.outcome("other", step="ApplyBuildComponents")
    assert [bench.state(bench.build()) for _ in range(2)] == ["FAILED", "FAILED"]
    aws.builds.clear()
    aws.builds.outcome(seconds=100.0)
    arn = bench.build()
    assert bench.state(arn) == "PENDING"
    aws.clock.advance(100)
    assert bench.state(arn) == "AVAILABLE"


def test_a_finished_instance_may_be_kept(bench: Bench) -> None:
    bench.api.update_infrastructure_configuration(
        infrastructureConfigurationArn=bench.infrastructure,
        instanceProfileName="builder",
        terminateInstanceOnCompletion=False,
    )
    assert bench.state(bench.build()) == "AVAILABLE"
    assert len(bench.instances()) == 2


def test_a_failed_instance_may_be_kept(bench: Bench) -> None:
    bench.api.update_infrastructure_configuration(
        infrastructureConfigurationArn=bench.infrastructure,
        instanceProfileName="builder",
        terminateInstanceOnFailure=False,
    )
    bench.aws.builds.fail_next()
    assert bench.state(bench.build()) == "FAILED"
    assert len(bench.instances()) == 1


def test_what_ec2_refuses_fails_the_build(aws: SandboxAws, bench: Bench, base: str) -> None:
    aws.client("ec2").create_security_group(GroupName="g", Description="g")
    foreign = make_key(aws, "eu-west-1", None, account="222222222222")
    recipe = bench.make_recipe(
        "locked",
        parentImage=base,
        blockDeviceMappings=[
            {"deviceName": "/dev/xvda", "ebs": {"encrypted": True, "kmsKeyId": foreign}}
        ],
    )
    arn = bench.build(recipe)
    state = bench.get(arn)["state"]
    assert state["status"] == "FAILED"
    assert "not accessible" in state["reason"]
    assert bench.failed_step(arn)["name"] == "LaunchBuildInstance"
    bench.api.update_infrastructure_configuration(
        infrastructureConfigurationArn=bench.infrastructure,
        instanceProfileName="builder",
        subnetId="subnet-00000000000000000",
        securityGroupIds=["sg-00000000000000000"],
    )
    arn = bench.build()
    assert bench.state(arn) == "FAILED"
    assert bench.failed_step(arn)["name"] == "LaunchBuildInstance"
    assert bench.instances() == []


def test_the_parent_must_be_there(aws: SandboxAws, bench: Bench, base: str) -> None:
    aws.client("ssm").put_parameter(
        Name="/golden/base", Value=base, Type="String", DataType="aws:ec2:image"
    )
    built = bench.build()
    parents = {
        "ami-00000000000000001": "FAILED",
        "ssm:/golden/base": "AVAILABLE",
        "ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/golden/base": "AVAILABLE",
        "ssm:/golden/none": "FAILED",
        f"{ARN}:image/web/x.x.x": "AVAILABLE",
        f"{ARN}:image/none/x.x.x": "FAILED",
    }
    assert bench.state(built) == "AVAILABLE"
    for n, (parent, expected) in enumerate(parents.items()):
        image = bench.get(bench.build(bench.make_recipe(f"child-{n}", parentImage=parent)))
        assert image["state"]["status"] == expected, (parent, image["state"])
        if expected == "FAILED":
            assert image["state"]["failureContext"] == {"imageStatus": "BUILDING"}
    assert bench.instances() == []


def test_cancelling(aws: SandboxAws, bench: Bench, refused: Any) -> None:
    aws.settings.update(build_seconds=50.0)
    early, late = bench.build(), bench.build()
    aws.clock.advance(25)
    assert len(bench.instances()) == 2
    answer = bench.api.cancel_image_creation(imageBuildVersionArn=early, clientToken="c")
    assert answer["imageBuildVersionArn"] == early
    assert bench.state(early) == "CANCELLED"
    assert len(bench.instances()) == 1
    executions = bench.api.list_workflow_executions(imageBuildVersionArn=early)
    assert [w["status"] for w in executions["workflowExecutions"]] == ["CANCELLED"]
    aws.clock.advance(10)
    bench.api.cancel_image_creation(imageBuildVersionArn=late)
    aws.clock.advance(60)
    assert bench.state(late) == "CANCELLED"
    assert bench.instances() == []
    # The AMI of the build stage is not removed.
    assert [tags_of(a)["Ec2ImageBuilderArn"] for a in bench.amis()] == [late]
    # The same token still has its answer; a new request is refused.
    bench.api.cancel_image_creation(imageBuildVersionArn=early, clientToken="c")
    with refused("InvalidRequestException", "CANCELLED"):
        bench.api.cancel_image_creation(imageBuildVersionArn=early)
    with refused("ResourceNotFoundException"):
        bench.api.cancel_image_creation(imageBuildVersionArn=f"{IMAGE}/9")


def test_deleting(aws: SandboxAws, bench: Bench, refused: Any) -> None:
    aws.settings.update(build_seconds=50.0)
    arn = bench.build()
    with refused("ResourceDependencyException", "still running"):
        bench.api.delete_image(imageBuildVersionArn=arn)
    aws.clock.advance(60)
    child = bench.make_recipe("child", parentImage=IMAGE)
    with refused("ResourceDependencyException", "image-recipe/child"):
        bench.api.delete_image(imageBuildVersionArn=arn)
    bench.api.delete_image_recipe(imageRecipeArn=child)
    bench.api.delete_image(imageBuildVersionArn=arn)
    with refused("ResourceNotFoundException"):
        bench.get(arn)
    assert len(bench.amis()) == 1
    # Its number is not given out again.
    assert bench.build() == f"{IMAGE}/2"


def test_a_build_keeps_what_it_was_made_from(aws: SandboxAws, bench: Bench) -> None:
    aws.settings.update(build_seconds=50.0)
    arn = bench.build()
    bench.api.delete_image_recipe(imageRecipeArn=bench.recipe)
    bench.api.delete_infrastructure_configuration(
        infrastructureConfigurationArn=bench.infrastructure
    )
    aws.clock.advance(60)
    assert bench.get(arn)["imageRecipe"]["arn"] == bench.recipe


def test_workflows_need_an_execution_role(bench: Bench, refused: Any) -> None:
    workflows = [{"workflowArn": "arn:aws:imagebuilder:eu-west-1:aws:workflow/build/b/1.0.0/1"}]
    with refused("InvalidParameterCombinationException", "execution role"):
        bench.build(workflows=workflows)
    with refused("ResourceNotFoundException"):
        bench.build(f"{ARN}:image-recipe/none/1.0.0")


def test_the_waiter_works(bench: Bench) -> None:
    arn = bench.build()
    bench.api.get_waiter("image_available").wait(imageBuildVersionArn=arn)
