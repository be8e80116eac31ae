"""Usage reports of AMIs, and when an AMI was last launched."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

B, C = "222222222222", "333333333333"
DAY = 24 * 3600
BOTH = [{"ResourceType": "ec2:Instance"}, {"ResourceType": "ec2:LaunchTemplate"}]


@pytest.fixture
def shared(ec2: Any, base: str) -> str:
    """The base AMI, shared with B and C."""
    ec2.modify_image_attribute(
        ImageId=base, LaunchPermission={"Add": [{"UserId": B}, {"UserId": C}]}
    )
    return base


def run(client: Any, image: str, count: int = 1) -> list[str]:
    made = client.run_instances(ImageId=image, MinCount=count, MaxCount=count)
    return [i["InstanceId"] for i in made["Instances"]]


def template(client: Any, name: str, *images: str) -> str:
    first, *rest = images
    made = client.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"ImageId": first}
    )["LaunchTemplate"]
    for image in rest:
        client.create_launch_template_version(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": image}
        )
    return str(made["LaunchTemplateId"])


def entries(ec2: Any, report: str) -> set[tuple[str, str, int]]:
    found = ec2.describe_image_usage_report_entries(ReportIds=[report])["ImageUsageReportEntries"]
    return {(e["AccountId"], e["ResourceType"], e["UsageCount"]) for e in found}


def test_a_report_counts_the_use_by_others(aws: SandboxAws, ec2: Any, shared: str) -> None:
    run(ec2, shared)
    template(ec2, "own", shared)
    b, c = aws.client("ec2", account=B), aws.client("ec2", account=C)
    gone, *_ = run(b, shared, 3)
    b.terminate_instances(InstanceIds=[gone])
    template(b, "twice", shared, shared)
    template(c, "old", shared, *["ami-00000000000000001"] * 2)
    asked = ec2.create_image_usage_report(
        ImageId=shared,
        ResourceTypes=BOTH,
        TagSpecifications=[
            {"ResourceType": "image-usage-report", "Tags": [{"Key": "for", "Value": "me"}]}
        ],
    )["ReportId"]
    assert entries(ec2, asked) == {
        (B, "ec2:Instance", 2),
        (B, "ec2:LaunchTemplate", 1),
        (C, "ec2:LaunchTemplate", 1),
    }
    (report,) = ec2.describe_image_usage_reports(ReportIds=[asked])["ImageUsageReports"]
    assert (report["ImageId"], report["State"]) == (shared, "available")
    assert report["Tags"] == [{"Key": "for", "Value": "me"}]
    assert (report["ExpirationTime"] - report["CreationTime"]).days == 30
    depth = [{"OptionName": "version-depth", "OptionValues": ["2"]}]
    shallow = ec2.create_image_usage_report(
        ImageId=shared,
        ResourceTypes=[{"ResourceType": "ec2:LaunchTemplate", "ResourceTypeOptions": depth}],
        AccountIds=[C],
    )["ReportId"]
    assert entries(ec2, shallow) == set()
    (report,) = ec2.describe_image_usage_reports(ReportIds=[shallow])["ImageUsageReports"]
    assert report["AccountIds"] == [C]
    assert report["ResourceTypes"][0]["ResourceTypeOptions"] == depth
    filtered = ec2.describe_image_usage_report_entries(
        ImageIds=[shared], Filters=[{"Name": "account-id", "Values": [C]}]
    )["ImageUsageReportEntries"]
    assert [e["ReportId"] for e in filtered] == [asked]


def test_a_report_is_pending_available_and_gone(
    aws: SandboxAws, ec2: Any, shared: str, refused: Any
) -> None:
    run(aws.client("ec2", account=B), shared)
    other = register(aws, "other", make_snapshot(aws))
    with aws.settings.changed(usage_report_delay=60.0):
        request = {"ImageId": shared, "ResourceTypes": BOTH[:1], "ClientToken": "one"}
        asked = ec2.create_image_usage_report(**request)["ReportId"]
        assert ec2.create_image_usage_report(**request)["ReportId"] == asked
        with refused("IdempotentParameterMismatch"):
            ec2.create_image_usage_report(**request | {"ResourceTypes": BOTH})
        with refused("ResourceLimitExceeded"):
            ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)
        ec2.create_image_usage_report(ImageId=other, ResourceTypes=BOTH)
    (report,) = ec2.describe_image_usage_reports(ReportIds=[asked])["ImageUsageReports"]
    assert report["State"] == "pending"
    assert entries(ec2, asked) == set()
    aws.clock.advance(61)
    pages = ec2.get_paginator("describe_image_usage_reports").paginate(
        Filters=[{"Name": "state", "Values": ["available"]}], PaginationConfig={"PageSize": 1}
    )
    assert [len(p["ImageUsageReports"]) for p in pages] == [1, 1]
    assert entries(ec2, asked) == {(B, "ec2:Instance", 1)}
    ec2.create_tags(Resources=[asked], Tags=[{"Key": "late", "Value": "1"}])
    found = ec2.describe_image_usage_reports(Filters=[{"Name": "tag:late", "Values": ["1"]}])
    assert [r["ReportId"] for r in found["ImageUsageReports"]] == [asked]
    aws.clock.advance(30 * DAY)
    assert ec2.describe_image_usage_reports()["ImageUsageReports"] == []
    with refused("InvalidImageUsageReportId.NotFound"):
        ec2.describe_image_usage_report_entries(ReportIds=[asked])


def test_a_report_may_fail_and_is_deleted(aws: SandboxAws, ec2: Any, shared: str) -> None:
    aws.usage_reports.fail("no luck")
    asked = ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)["ReportId"]
    (report,) = ec2.describe_image_usage_reports(ImageIds=[shared])["ImageUsageReports"]
    assert (report["State"], report["StateReason"]) == ("error", "no luck")
    again = ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)["ReportId"]
    assert ec2.delete_image_usage_report(ReportId=asked)["Return"] is True
    (report,) = ec2.describe_image_usage_reports()["ImageUsageReports"]
    assert (report["ReportId"], report["State"]) == (again, "available")


def test_reports_that_are_refused(aws: SandboxAws, ec2: Any, shared: str, refused: Any) -> None:
    b = aws.client("ec2", account=B)
    with refused("AuthFailure"):
        b.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)
    depth = [{"OptionName": "version-depth", "OptionValues": ["10001"]}]
    for types in (
        [{"ResourceType": "ssm:Parameter"}],
        [{"ResourceType": "ec2:LaunchTemplate", "ResourceTypeOptions": depth}],
    ):
        with refused("InvalidParameterValue"):
            ec2.create_image_usage_report(ImageId=shared, ResourceTypes=types)
    with refused("DryRunOperation"):
        ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH, DryRun=True)
    asked = ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)["ReportId"]
    with refused("InvalidImageUsageReportId.NotFound"):
        b.describe_image_usage_reports(ReportIds=[asked])
    with refused("InvalidImageUsageReportId.NotFound"):
        b.delete_image_usage_report(ReportId=asked)


def test_a_report_may_miss_what_is_new(aws: SandboxAws, ec2: Any, shared: str) -> None:
    b = aws.client("ec2", account=B)
    run(b, shared)
    aws.clock.advance(DAY)
    run(b, shared)
    with aws.settings.changed(usage_report_lag=DAY / 2):
        asked = ec2.create_image_usage_report(ImageId=shared, ResourceTypes=BOTH)["ReportId"]
    assert entries(ec2, asked) == {(B, "ec2:Instance", 1)}


def test_launches_by_anybody_are_seen_after_a_while(aws: SandboxAws, ec2: Any, shared: str) -> None:
    def seen() -> tuple[str | None, str | None]:
        (image,) = ec2.describe_images(ImageIds=[shared])["Images"]
        found = ec2.describe_image_attribute(ImageId=shared, Attribute="lastLaunchedTime")
        return image.get("LastLaunchedTime"), found["LastLaunchedTime"].get("Value")

    assert seen() == (None, None)
    run(ec2, shared)
    first = seen()
    assert None not in first
    with aws.settings.changed(last_launched_delay=DAY):
        aws.clock.advance(3600)
        run(aws.client("ec2", account=B), shared)
        assert seen() == first
        aws.clock.advance(DAY)
        late = seen()
    assert None not in late
    assert str(late[0]) > str(first[0])
    assert str(late[0])[:19] == str(late[1])[:19]


def test_recipes_of_others_are_counted(aws: SandboxAws, ec2: Any, shared: str) -> None:
    aws.client("imagebuilder", account=B).create_image_recipe(
        name="theirs", semanticVersion="1.0.0", parentImage=shared, clientToken="token"
    )
    asked = ec2.create_image_usage_report(
        ImageId=shared, ResourceTypes=[{"ResourceType": "imagebuilder:ImageRecipe"}]
    )["ReportId"]
    assert entries(ec2, asked) == {(B, "imagebuilder:ImageRecipe", 1)}


def test_references_take_options_beside_all_types(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    (instance,) = run(ec2, base)
    deep = template(ec2, "deep", base, *["ami-00000000000000001"] * 10)

    def kinds(**request: Any) -> set[str]:
        found = ec2.describe_image_references(ImageIds=[base], **request)["ImageReferences"]
        return {r["ResourceType"] for r in found}

    def only(kind: str, option: str, *values: str) -> list[dict[str, Any]]:
        options = [{"OptionName": option, "OptionValues": list(values)}]
        return [{"ResourceType": kind, "ResourceTypeOptions": options}]

    # The default is the ten newest versions.
    assert kinds(IncludeAllResourceTypes=True) == {"ec2:Instance"}
    eleven = only("ec2:LaunchTemplate", "version-depth", "11")
    assert kinds(ResourceTypes=eleven) == {"ec2:LaunchTemplate"}
    stopped = only("ec2:Instance", "state-name", "stopped")
    assert kinds(IncludeAllResourceTypes=True, ResourceTypes=[*eleven, *stopped]) == {
        "ec2:LaunchTemplate"
    }
    with aws.settings.changed(terminated_seconds=3600.0):
        ec2.terminate_instances(InstanceIds=[instance])
        assert kinds(IncludeAllResourceTypes=True) == {"ec2:Instance"}
        aws.clock.advance(3601)
        assert kinds(IncludeAllResourceTypes=True) == set()
    ec2.create_launch_template(
        LaunchTemplateName="alias", LaunchTemplateData={"ImageId": "resolve:ssm:/golden/x"}
    )
    aws.client("ssm").put_parameter(
        Name="/golden/x", Value=base, Type="String", DataType="aws:ec2:image"
    )
    assert kinds(IncludeAllResourceTypes=True) == {"ssm:Parameter"}
    for types in (
        only("ec2:LaunchTemplate", "version-depth", "0"),
        only("ec2:LaunchTemplate", "state-name", "running"),
        only("ec2:Instance", "state-name", "idle"),
    ):
        with refused("InvalidParameterValue"):
            kinds(ResourceTypes=types)
    with refused("InvalidParameterValue"):
        ec2.describe_image_references(
            ImageIds=[f"ami-0000000000000{n:04}" for n in range(11)], IncludeAllResourceTypes=True
        )
    assert deep


def test_recipes_refer_to_the_ami_that_they_name(aws: SandboxAws, ec2: Any, base: str) -> None:
    builder = aws.client("imagebuilder")
    aws.client("ssm").put_parameter(Name="/golden/y", Value=base, Type="String")
    arns = [
        builder.create_image_recipe(
            name=f"recipe-{n}",
            semanticVersion="1.0.0",
            parentImage=parent,
            clientToken=f"token-{n}",
        )["imageRecipeArn"]
        for n, parent in enumerate((base, "ssm:/golden/y"))
    ]
    container = builder.create_container_recipe(
        name="container",
        semanticVersion="1.0.0",
        containerType="DOCKER",
        parentImage="amazonlinux:latest",
        dockerfileTemplateData="FROM {{{ imagebuilder:parentImage }}}",
        targetRepository={"service": "ECR", "repositoryName": "golden"},
        instanceConfiguration={"image": base},
        clientToken="token-c",
    )["containerRecipeArn"]
    found = ec2.describe_image_references(ImageIds=[base], IncludeAllResourceTypes=True)
    assert found["ImageReferences"] == [
        {"ImageId": base, "ResourceType": "imagebuilder:ImageRecipe", "Arn": arns[0]},
        {"ImageId": base, "ResourceType": "imagebuilder:ContainerRecipe", "Arn": container},
    ]
    (listed,) = builder.list_container_recipes()["containerRecipeSummaryList"]
    assert (listed["arn"], listed["instanceImage"]) == (container, base)
    shown = builder.get_container_recipe(containerRecipeArn=container)["containerRecipe"]
    assert shown["instanceConfiguration"] == {"image": base}
    builder.delete_container_recipe(containerRecipeArn=container)
    assert builder.list_container_recipes()["containerRecipeSummaryList"] == []
