"""Image Builder's resources: what is written is read back, and what AWS refuses is refused."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key
from gilder.sandbox.aws.server import SandboxAws

ARN = "arn:aws:imagebuilder:eu-west-1:123456789012"
COMPONENT = """
name: hello
schemaVersion: 1.0
phases:
  - name: build
    steps: [{name: Hello, action: ExecuteBash, inputs: {commands: ["echo hello"]}}]
"""
TEST_COMPONENT = COMPONENT.replace("name: build", "name: test")
MANAGED = "arn:aws:imagebuilder:eu-west-1:aws:component/update-linux"


@pytest.fixture
def builder(aws: SandboxAws) -> Any:
    aws.settings.update(check_instance_profile=False)
    return aws.client("imagebuilder")


def component(builder: Any, name: str = "Hello_World", **more: Any) -> str:
    request = {"semanticVersion": "1.0.0", "platform": "Linux", "data": COMPONENT, **more}
    arn: str = builder.create_component(name=name, **request)["componentBuildVersionArn"]
    return arn


def recipe(builder: Any, parent: str = "ami-00000000000000001", **more: Any) -> str:
    request = {"name": "web", "semanticVersion": "1.0.0", "parentImage": parent, **more}
    arn: str = builder.create_image_recipe(**request)["imageRecipeArn"]
    return arn


def infrastructure(builder: Any, **more: Any) -> str:
    request = {"name": "small", "instanceProfileName": "builder", **more}
    answer = builder.create_infrastructure_configuration(**request)
    arn: str = answer["infrastructureConfigurationArn"]
    return arn


def pipeline(builder: Any, **more: Any) -> str:
    request = {
        "name": "nightly",
        "imageRecipeArn": f"{ARN}:image-recipe/web/1.0.0",
        "infrastructureConfigurationArn": f"{ARN}:infrastructure-configuration/small",
        **more,
    }
    arn: str = builder.create_image_pipeline(**request)["imagePipelineArn"]
    return arn


def test_a_component_is_read_back(builder: Any) -> None:
    answer = builder.create_component(
        name="Hello World",
        semanticVersion="1.2.3",
        description="greets",
        changeDescription="first",
        platform="Linux",
        supportedOsVersions=["Amazon Linux 2023"],
        data=TEST_COMPONENT,
        tags={"team": "core"},
    )
    arn = f"{ARN}:component/hello-world/1.2.3/1"
    assert answer["componentBuildVersionArn"] == arn
    assert answer["clientToken"]
    assert answer["latestVersionReferences"] == {
        "latestVersionArn": f"{ARN}:component/hello-world/x.x.x",
        "latestMajorVersionArn": f"{ARN}:component/hello-world/1.x.x",
        "latestMinorVersionArn": f"{ARN}:component/hello-world/1.2.x",
        "latestPatchVersionArn": f"{ARN}:component/hello-world/1.2.3",
    }
    shown = builder.get_component(componentBuildVersionArn=arn)["component"]
    assert shown["dateCreated"].endswith("Z")
    del shown["dateCreated"]
    assert shown == {
        "arn": arn,
        "name": "Hello World",
        "version": "1.2.3",
        "description": "greets",
        "changeDescription": "first",
        "type": "TEST",
        "platform": "Linux",
        "supportedOsVersions": ["Amazon Linux 2023"],
        "state": {"status": "ACTIVE"},
        "owner": "123456789012",
        "data": TEST_COMPONENT,
        "encrypted": True,
        "tags": {"team": "core"},
    }


def test_the_same_component_is_refused_and_a_changed_one_is_a_new_build(
    builder: Any, refused: Any
) -> None:
    first = component(builder)
    with refused("ResourceAlreadyExistsException", "hello-world/1.0.0/1"):
        component(builder, "hello world")
    second = component(builder, data=COMPONENT.replace("echo", "printf"))
    assert (first[-2:], second[-2:]) == ("/1", "/2")
    versions = builder.list_component_build_versions(componentVersionArn=first[:-2])
    assert [v["arn"] for v in versions["componentSummaryList"]] == [first, second]
    found = builder.get_component(componentBuildVersionArn=first[:-2])["component"]
    assert found["arn"] == second


def test_wildcards_mean_the_newest_version(builder: Any, refused: Any) -> None:
    for version in ("1.6.8", "1.7.8", "2.2.4"):
        component(builder, semanticVersion=version)
    base = f"{ARN}:component/hello-world"

    def got(version: str) -> str:
        answer = builder.get_component(componentBuildVersionArn=f"{base}/{version}")
        found: str = answer["component"]["version"]
        return found

    assert [got(v) for v in ("x.x.x", "1.x.x", "1.6.x", "1.6.8/1")] == [
        "2.2.4", "1.7.8", "1.6.8", "1.6.8",
    ]  # fmt: skip
    with refused("InvalidParameterValueException"):
        got("1.x.8")
    with refused("ResourceNotFoundException", "'Component' cannot be found"):
        got("3.x.x")
    with refused("ResourceNotFoundException"):
        got("1.6.8/2")
    recipe(builder, components=[{"componentArn": f"{base}/2.x.x"}])
    with refused("ResourceNotFoundException"):
        recipe(builder, name="other", components=[{"componentArn": f"{base}/3.x.x"}])
    by_name = builder.list_components(byName=True)["componentVersionList"]
    assert [(c["arn"], c["version"]) for c in by_name] == [(f"{base}/x.x.x", "2.2.4")]


def test_bad_components_are_refused(builder: Any, refused: Any) -> None:
    with refused("InvalidVersionNumberException"):
        component(builder, semanticVersion="1.0.x")
    with refused("InvalidParameterValueException", "phases"):
        component(builder, data="name: x")
    with refused("InvalidParameterValueException", "YAML"):
        component(builder, data="{")
    with refused("InvalidParameterCombinationException"):
        component(builder, uri="s3://bucket/key")
    with refused("InvalidParameterValueException", "name"):
        component(builder, "?!?")
    with refused("InvalidParameterValueException", "ARN"):
        builder.get_component(componentBuildVersionArn="arn:aws:ec2:eu-west-1::x")
    with refused("DryRunOperationException"):
        component(builder, dryRun=True)
    assert builder.list_components()["componentVersionList"] == []


def test_components_of_aws(builder: Any) -> None:
    found = builder.get_component(componentBuildVersionArn=f"{MANAGED}/x.x.x")["component"]
    assert (found["owner"], found["type"]) == ("Amazon", "BUILD")
    listed = builder.list_components(
        owner="Amazon", filters=[{"name": "name", "values": ["update-linux"]}]
    )["componentVersionList"]
    assert [c["arn"] for c in listed] == [found["arn"][:-2]]


def test_a_recipe_is_read_back(builder: Any, base: str) -> None:
    used = component(builder)
    mapping = {
        "deviceName": "/dev/xvda",
        "ebs": {"encrypted": True, "volumeSize": 30, "volumeType": "gp3", "iops": 4000,
                "throughput": 250, "kmsKeyId": "alias/golden", "deleteOnTermination": True},
    }  # fmt: skip
    settings = {
        "description": "web servers",
        "components": [
            {"componentArn": used, "parameters": [{"name": "who", "value": ["you"]}]},
            {"componentArn": f"{MANAGED}/x.x.x"},
        ],
        "parentImage": base,
        "blockDeviceMappings": [mapping],
        "workingDirectory": "/var/tmp",
        "additionalInstanceConfiguration": {"systemsManagerAgent": {"uninstallAfterBuild": True}},
        "amiTags": {"os": "al2023"},
    }
    answer = builder.create_image_recipe(
        name="Web_Server", semanticVersion="1.0.0", tags={"a": "b"}, **settings
    )
    arn = f"{ARN}:image-recipe/web-server/1.0.0"
    assert answer["imageRecipeArn"] == arn
    shown = builder.get_image_recipe(imageRecipeArn=arn)["imageRecipe"]
    del shown["dateCreated"]
    assert shown == {
        "arn": arn, "type": "AMI", "name": "Web_Server", "platform": "Linux",
        "owner": "123456789012", "version": "1.0.0", "tags": {"a": "b"}, **settings,
    }  # fmt: skip
    wild = builder.get_image_recipe(imageRecipeArn=f"{ARN}:image-recipe/web-server/x.x.x")
    assert wild["imageRecipe"]["arn"] == arn
    assert [r["arn"] for r in builder.list_image_recipes()["imageRecipeSummaryList"]] == [arn]


def test_recipes_are_immutable(builder: Any, refused: Any) -> None:
    recipe(builder)
    with refused("ResourceAlreadyExistsException", "'ImageRecipe' already exists"):
        recipe(builder, name="WEB", description="another")
    assert recipe(builder, semanticVersion="1.0.x").endswith("/1.0.1")
    assert recipe(builder, semanticVersion="1.x.x").endswith("/1.1.0")
    with refused("InvalidParameterValueException", "parentImage"):
        recipe(builder, "i-1", semanticVersion="2.0.0")
    twice = [{"componentArn": f"{MANAGED}/{v}"} for v in ("x.x.x", "1.0.2")]
    with refused("InvalidParameterValueException", "only once"):
        recipe(builder, semanticVersion="2.0.0", components=twice)


def test_an_infrastructure_configuration_is_replaced_by_an_update(
    builder: Any, refused: Any
) -> None:
    settings = {
        "description": "for builds",
        "instanceTypes": ["m7i.large", "m6i.large"],
        "instanceProfileName": "builder",
        "securityGroupIds": ["sg-1"],
        "subnetId": "subnet-1",
        "logging": {"s3Logs": {"s3BucketName": "logs", "s3KeyPrefix": "ib"}},
        "keyPair": "debug",
        "terminateInstanceOnFailure": False,
        "snsTopicArn": "arn:aws:sns:eu-west-1:123456789012:builds",
        "resourceTags": {"cost": "core"},
        "instanceMetadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 2},
        "placement": {"tenancy": "dedicated"},
    }
    arn = infrastructure(builder, name="Big One", tags={"t": "1"}, **settings)
    assert arn == f"{ARN}:infrastructure-configuration/big-one"

    def got() -> dict[str, Any]:
        answer = builder.get_infrastructure_configuration(infrastructureConfigurationArn=arn)
        shown: dict[str, Any] = answer["infrastructureConfiguration"]
        return {k: v for k, v in shown.items() if not k.startswith("date")}

    fixed = {"arn": arn, "name": "Big One", "tags": {"t": "1"}}
    assert got() == {**fixed, **settings, "terminateInstanceOnCompletion": True}
    builder.update_infrastructure_configuration(
        infrastructureConfigurationArn=arn, instanceProfileName="other"
    )
    assert got() == {
        **fixed,
        "instanceProfileName": "other",
        "terminateInstanceOnFailure": True,
        "terminateInstanceOnCompletion": True,
    }
    listed = builder.list_infrastructure_configurations()
    assert [c["name"] for c in listed["infrastructureConfigurationSummaryList"]] == ["Big One"]
    with refused("ResourceAlreadyExistsException"):
        infrastructure(builder, name="big one")
    with refused("InvalidParameterValueException", "security groups"):
        infrastructure(builder, name="net", subnetId="subnet-1")
    with refused("InvalidParameterValueException", "reserved"):
        infrastructure(builder, name="net", resourceTags={"Name": "x"})
    builder.delete_infrastructure_configuration(infrastructureConfigurationArn=arn)
    with refused("ResourceNotFoundException"):
        got()


def test_the_instance_profile_must_exist(aws: SandboxAws, refused: Any) -> None:
    builder = aws.client("imagebuilder")
    with refused("InvalidParameterValueException", "instance profile does not exist"):
        infrastructure(builder)
    aws.client("iam").create_instance_profile(InstanceProfileName="builder")
    assert infrastructure(builder)


def test_a_distribution_configuration_is_read_back(builder: Any, refused: Any) -> None:
    distributions = [
        {
            "region": "eu-west-1",
            "amiDistributionConfiguration": {
                "name": "web-{{ imagebuilder:buildDate }}",
                "description": "d",
                "amiTags": {"a": "b"},
                "kmsKeyId": "alias/golden",
                "launchPermission": {"userIds": ["222222222222"]},
            },
        }
    ]
    arn = builder.create_distribution_configuration(name="home", distributions=distributions)[
        "distributionConfigurationArn"
    ]
    got = builder.get_distribution_configuration(distributionConfigurationArn=arn)
    assert got["distributionConfiguration"]["distributions"] == distributions
    listed = builder.list_distribution_configurations()["distributionConfigurationSummaryList"]
    assert [d["regions"] for d in listed] == [["eu-west-1"]]
    with refused("InvalidParameterValueException", "One or more outputs"):
        builder.update_distribution_configuration(
            distributionConfigurationArn=arn, distributions=[{"region": "eu-west-1"}]
        )
    with refused("InvalidParameterValueException", "buildDate"):
        builder.create_distribution_configuration(
            name="fixed",
            distributions=[{"region": "eu-west-1", "amiDistributionConfiguration": {"name": "x"}}],
        )
    builder.delete_distribution_configuration(distributionConfigurationArn=arn)
    assert builder.list_distribution_configurations()["distributionConfigurationSummaryList"] == []


def test_a_pipeline_is_read_back(builder: Any, refused: Any) -> None:
    with refused("ResourceNotFoundException", "'ImageRecipe'"):
        pipeline(builder)
    first = recipe(builder)
    with refused("ResourceNotFoundException", "'InfrastructureConfiguration'"):
        pipeline(builder)
    built_on = infrastructure(builder)
    schedule = {
        "scheduleExpression": "cron(0 3 * * ? *)",
        "timezone": "Europe/Berlin",
        "pipelineExecutionStartCondition": "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE",
        "autoDisablePolicy": {"failureCount": 3},
    }
    arn = pipeline(
        builder,
        description="every night",
        schedule=schedule,
        status="DISABLED",
        imageTestsConfiguration={"imageTestsEnabled": False},
        enhancedImageMetadataEnabled=False,
        imageTags={"i": "1"},
        tags={"t": "2"},
    )
    shown = builder.get_image_pipeline(imagePipelineArn=arn)["imagePipeline"]
    del shown["dateCreated"]
    assert shown == {
        "arn": f"{ARN}:image-pipeline/nightly", "name": "nightly", "platform": "Linux",
        "description": "every night", "schedule": schedule, "status": "DISABLED",
        "imageRecipeArn": first, "infrastructureConfigurationArn": built_on,
        "imageTestsConfiguration": {"imageTestsEnabled": False, "timeoutMinutes": 720},
        "enhancedImageMetadataEnabled": False, "imageTags": {"i": "1"}, "tags": {"t": "2"},
        "consecutiveFailures": 0,
    }  # fmt: skip
    second = recipe(builder, semanticVersion="1.1.0")
    builder.update_image_pipeline(
        imagePipelineArn=arn, imageRecipeArn=second, infrastructureConfigurationArn=built_on
    )
    shown = builder.get_image_pipeline(imagePipelineArn=arn)["imagePipeline"]
    assert (shown["imageRecipeArn"], shown["status"]) == (second, "ENABLED")
    assert "schedule" not in shown
    listed = builder.list_image_pipelines(filters=[{"name": "imageRecipeArn", "values": [second]}])
    assert [p["arn"] for p in listed["imagePipelineList"]] == [arn]
    with refused("ResourceAlreadyExistsException"):
        pipeline(builder)


def test_what_is_in_use_stays(builder: Any, refused: Any) -> None:
    used = component(builder)
    made = recipe(builder, components=[{"componentArn": used[:-2]}])
    built_on = infrastructure(builder)
    arn = pipeline(builder)
    with refused("ResourceDependencyException", "image-recipe/web"):
        builder.delete_component(componentBuildVersionArn=used)
    with refused("ResourceDependencyException", "image-pipeline/nightly"):
        builder.delete_image_recipe(imageRecipeArn=made)
    with refused("ResourceDependencyException"):
        builder.delete_infrastructure_configuration(infrastructureConfigurationArn=built_on)
    builder.delete_image_pipeline(imagePipelineArn=arn)
    builder.delete_infrastructure_configuration(infrastructureConfigurationArn=built_on)
    builder.delete_image_recipe(imageRecipeArn=made)
    builder.delete_component(componentBuildVersionArn=used)
    with refused("ResourceNotFoundException"):
        builder.delete_component(componentBuildVersionArn=used)


def test_a_client_token_makes_one_thing(builder: Any, refused: Any) -> None:
    first = component(builder, clientToken="t1")
    assert component(builder, clientToken="t1") == first
    with refused("IdempotentParameterMismatchException"):
        component(builder, clientToken="t1", description="other")
    assert len(builder.list_components()["componentVersionList"]) == 1
    # Another operation has its own tokens.
    recipe(builder, clientToken="t1")


def test_pages(builder: Any, refused: Any) -> None:
    for n in range(5):
        recipe(builder, semanticVersion=f"1.0.{n}")
    seen, token = [], {}
    while True:
        answer = builder.list_image_recipes(maxResults=2, **token)
        seen += [r["arn"][-1] for r in answer["imageRecipeSummaryList"]]
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert seen == ["0", "1", "2", "3", "4"]
    with refused("InvalidPaginationTokenException"):
        builder.list_image_recipes(nextToken="nonsense")
    with refused("InvalidParameterValueException", "filters"):
        builder.list_image_recipes(filters=[{"name": "colour", "values": ["red"]}])


def test_tags(builder: Any, refused: Any) -> None:
    arn = recipe(builder, tags={"a": "1"})
    builder.tag_resource(resourceArn=arn, tags={"b": "2", "c": "3"})
    builder.untag_resource(resourceArn=arn, tagKeys=["a", "c"])
    assert builder.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    with refused("ResourceNotFoundException"):
        builder.tag_resource(resourceArn=f"{arn}1", tags={"b": "2"})


def test_accounts_regions_and_resets_are_apart(aws: SandboxAws, builder: Any) -> None:
    recipe(builder)
    for client in (
        aws.client("imagebuilder", account="222222222222"),
        aws.client("imagebuilder", "eu-central-1"),
    ):
        assert client.list_image_recipes()["imageRecipeSummaryList"] == []
    aws.reset()
    assert builder.list_image_recipes()["imageRecipeSummaryList"] == []


def test_calls_are_counted_and_fail_by_their_names(
    aws: SandboxAws, builder: Any, refused: Any
) -> None:
    make_key(aws, "eu-west-1")
    arn = recipe(builder)
    builder.list_tags_for_resource(resourceArn=arn)
    assert aws.requests.total("CreateImageRecipe", service="imagebuilder") == 1
    assert aws.requests.total("ListTagsForResource", service="imagebuilder") == 1
    aws.faults.fail("imagebuilder:GetImageRecipe", "ServiceUnavailableException", status=503)
    with refused("ServiceUnavailableException"):
        builder.get_image_recipe(imageRecipeArn=arn)
    aws.faults.deny("imagebuilder:TagResource")
    with refused("AccessDeniedException", "imagebuilder:TagResource"):
        builder.tag_resource(resourceArn=arn, tags={"a": "b"})
    with refused("UnsupportedOperation", "does not implement"):
        builder.list_workflows()
