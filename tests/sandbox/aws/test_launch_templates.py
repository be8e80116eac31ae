"""Launch templates and the groups that use them."""

import base64
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_role, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"
TAGS = [{"Key": "team", "Value": "web"}]


def created(ec2: Any, name: str = "web", **data: Any) -> str:
    made = ec2.create_launch_template(
        LaunchTemplateName=name,
        LaunchTemplateData=data or {"InstanceType": "t3.small"},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": TAGS}],
    )
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def added(ec2: Any, template: str, **request: Any) -> dict[str, Any]:
    made: dict[str, Any] = ec2.create_launch_template_version(LaunchTemplateId=template, **request)[
        "LaunchTemplateVersion"
    ]
    return made


def numbers(ec2: Any, template: str, *versions: str, **request: Any) -> list[int]:
    asked = {"Versions": list(versions)} if versions else {}
    found = ec2.describe_launch_template_versions(LaunchTemplateId=template, **asked, **request)
    return [v["VersionNumber"] for v in found["LaunchTemplateVersions"]]


def test_a_template_reads_back_what_was_written(aws: SandboxAws, ec2: Any, base: str) -> None:
    user_data = base64.b64encode(b"#!/bin/sh").decode()
    data = {
        "ImageId": base,
        "InstanceType": "t3.small",
        "UserData": user_data,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}],
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}],
        "MetadataOptions": {"HttpTokens": "required"},
    }
    template = created(ec2, **data)
    (shown,) = ec2.describe_launch_templates(LaunchTemplateNames=["web"])["LaunchTemplates"]
    assert (shown["LaunchTemplateId"], shown["Tags"]) == (template, TAGS)
    assert (shown["DefaultVersionNumber"], shown["LatestVersionNumber"]) == (1, 1)
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="web")[
        "LaunchTemplateVersions"
    ]
    assert version["LaunchTemplateData"] == data
    assert version["DefaultVersion"] is True
    assert "VersionDescription" not in version
    assert aws.client("ec2", account=B).describe_launch_templates()["LaunchTemplates"] == []
    launched = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1
    )["Instances"][0]
    assert (launched["ImageId"], launched["InstanceType"]) == (base, "t3.small")
    assert {"Key": "a", "Value": "b"} in launched["Tags"]


def test_versions_inherit_and_are_chosen(ec2: Any) -> None:
    template = created(ec2, ImageId="ami-00000000000000001", InstanceType="t3.small")
    second = added(
        ec2,
        template,
        SourceVersion="1",
        VersionDescription="newer",
        LaunchTemplateData={"ImageId": "ami-00000000000000002"},
    )
    assert second["LaunchTemplateData"] == {
        "ImageId": "ami-00000000000000002",
        "InstanceType": "t3.small",
    }
    assert (second["VersionNumber"], second["VersionDescription"]) == (2, "newer")
    assert second["DefaultVersion"] is False
    third = added(ec2, template, LaunchTemplateData={"InstanceType": "t3.large"})
    assert third["LaunchTemplateData"] == {"InstanceType": "t3.large"}
    assert numbers(ec2, template, "$Default") == [1]
    assert numbers(ec2, template, "$Latest") == [3]
    assert numbers(ec2, template, "2", "$Latest") == [2, 3]
    assert numbers(ec2, template) == [1, 2, 3]
    assert numbers(ec2, template, MinVersion="2") == [2, 3]
    assert numbers(ec2, template, MaxVersion="2") == [1, 2]
    by_image = [{"Name": "image-id", "Values": ["ami-00000000000000002"]}]
    assert numbers(ec2, template, Filters=by_image) == [2]
    changed = ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
    assert changed["LaunchTemplate"]["DefaultVersionNumber"] == 2
    assert numbers(ec2, template, "$Default") == [2]
    created(ec2, "other")
    found = ec2.describe_launch_template_versions(Versions=["$Default"])["LaunchTemplateVersions"]
    assert [(v["LaunchTemplateName"], v["VersionNumber"]) for v in found] == [
        ("web", 2),
        ("other", 1),
    ]


def test_client_tokens(ec2: Any, refused: Any) -> None:
    request = {
        "LaunchTemplateName": "web",
        "LaunchTemplateData": {"InstanceType": "t3.small"},
        "ClientToken": "one",
    }
    template = ec2.create_launch_template(**request)["LaunchTemplate"]["LaunchTemplateId"]
    again = ec2.create_launch_template(**request)["LaunchTemplate"]["LaunchTemplateId"]
    assert again == template
    for _ in range(2):
        more = added(ec2, template, ClientToken="two", LaunchTemplateData={"KeyName": "k"})
        assert more["VersionNumber"] == 2
    with refused("IdempotentParameterMismatch"):
        added(ec2, template, ClientToken="two", LaunchTemplateData={"KeyName": "other"})
    assert numbers(ec2, template) == [1, 2]


def test_versions_are_deleted_but_the_default(ec2: Any, base: str) -> None:
    template = created(ec2, ImageId=base, InstanceType="t3.micro")
    for kind in ("t3.small", "t3.large"):
        added(ec2, template, LaunchTemplateData={"ImageId": base, "InstanceType": kind})
    answer = ec2.delete_launch_template_versions(
        LaunchTemplateId=template, Versions=["1", "2", "9"]
    )
    deleted = answer["SuccessfullyDeletedLaunchTemplateVersions"]
    assert [d["VersionNumber"] for d in deleted] == [2]
    failed = answer["UnsuccessfullyDeletedLaunchTemplateVersions"]
    assert [(f["VersionNumber"], f["ResponseError"]["Code"]) for f in failed] == [
        (1, "unexpectedError"),
        (9, "launchTemplateVersionDoesNotExist"),
    ]
    assert numbers(ec2, template) == [1, 3]
    # Launches find versions by their number, and numbers are not given out again.
    launched = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateId": template, "Version": "3"}, MinCount=1, MaxCount=1
    )["Instances"][0]
    assert launched["InstanceType"] == "t3.large"
    ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["3"])
    assert added(ec2, template, LaunchTemplateData={"KeyName": "k"})["VersionNumber"] == 4
    ec2.delete_launch_template(LaunchTemplateName="web")
    assert ec2.describe_launch_templates()["LaunchTemplates"] == []


def test_templates_are_found_by_tag_name_and_page(ec2: Any) -> None:
    ids = [created(ec2, f"web-{n}") for n in range(3)]
    ec2.create_tags(Resources=[ids[1]], Tags=[{"Key": "late", "Value": "1"}])

    def listed(name: str, value: str) -> list[str]:
        found = ec2.describe_launch_templates(Filters=[{"Name": name, "Values": [value]}])
        return [t["LaunchTemplateId"] for t in found["LaunchTemplates"]]

    assert listed("tag:late", "1") == [ids[1]]
    assert listed("tag:team", "web") == ids
    assert listed("tag-key", "late") == [ids[1]]
    assert listed("launch-template-name", "web-2") == [ids[2]]
    found = ec2.describe_launch_templates(LaunchTemplateIds=[ids[2]])["LaunchTemplates"]
    assert [t["LaunchTemplateName"] for t in found] == ["web-2"]
    pages = ec2.get_paginator("describe_launch_templates").paginate(
        PaginationConfig={"PageSize": 2}
    )
    assert [len(p["LaunchTemplates"]) for p in pages] == [2, 1]
    for n in range(20):
        added(ec2, ids[0], LaunchTemplateData={"KeyName": str(n)})
    assert len(numbers(ec2, ids[0])) == 21
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateId=ids[0], PaginationConfig={"PageSize": 11}
    )
    assert [len(p["LaunchTemplateVersions"]) for p in pages] == [11, 10]


def test_templates_that_are_refused(ec2: Any, refused: Any) -> None:
    template = created(ec2)
    with refused("InvalidLaunchTemplateName.AlreadyExistsException"):
        created(ec2)
    with refused("InvalidLaunchTemplateName.MalformedException"):
        created(ec2, "a b c")
    with refused("InvalidLaunchTemplateId.NotFound"):
        numbers(ec2, "lt-00000000000000001")
    with refused("InvalidLaunchTemplateId.Malformed"):
        numbers(ec2, "nothing")
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        ec2.describe_launch_templates(LaunchTemplateNames=["nothing"])
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        numbers(ec2, template, "2")
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="7")
    with refused("InvalidParameterCombination"):
        ec2.delete_launch_template(LaunchTemplateId=template, LaunchTemplateName="web")
    with refused("MissingParameter"):
        ec2.describe_launch_template_versions()
    with refused("DryRunOperation"):
        ec2.delete_launch_template(LaunchTemplateId=template, DryRun=True)


def test_a_parameter_in_a_template_is_resolved(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.client("ssm").put_parameter(
        Name="/golden/x", Value=base, Type="String", DataType="aws:ec2:image"
    )
    written = "resolve:ssm:/golden/x"
    template = created(ec2, ImageId=written, InstanceType="t3.micro")

    def shown(**request: Any) -> str:
        (found,) = ec2.describe_launch_template_versions(LaunchTemplateId=template, **request)[
            "LaunchTemplateVersions"
        ]
        return str(found["LaunchTemplateData"]["ImageId"])

    assert (shown(), shown(ResolveAlias=True)) == (written, base)
    aws.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="group",
        MinSize=1,
        MaxSize=1,
        AvailabilityZones=["eu-west-1a"],
        LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"},
    )
    (reservation,) = ec2.describe_instances()["Reservations"]
    assert reservation["Instances"][0]["ImageId"] == base
    assert "LastLaunchedTime" in ec2.describe_images(ImageIds=[base])["Images"][0]


@pytest.mark.parametrize("caller", ["key", "role"])
def test_groups_and_configurations_read_back(aws: SandboxAws, base: str, caller: str) -> None:
    other = register(aws, "other", make_snapshot(aws))
    account = "123456789012"
    if caller == "role":
        account = B
        role = make_role(aws, B, "reader", trust=["123456789012"])
        credentials = aws.assume(role)
        groups, ec2 = (aws.client_as(credentials, s) for s in ("autoscaling", "ec2"))
        shared = {"Add": [{"UserId": B}]}
        for image in (base, other):
            aws.client("ec2").modify_image_attribute(ImageId=image, LaunchPermission=shared)
    else:
        groups, ec2 = aws.client("autoscaling"), aws.client("ec2")
    template = created(ec2, ImageId=base, InstanceType="t3.small")
    common = {"MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["eu-west-1a"]}
    overrides = [
        {"InstanceType": "t3.large", "ImageId": other},
        {
            "InstanceType": "m6g.large",
            "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Default"},
        },
    ]
    groups.create_auto_scaling_group(
        AutoScalingGroupName="plain",
        LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"},
        **common,
    )
    groups.create_auto_scaling_group(
        AutoScalingGroupName="mixed",
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "1"},
                "Overrides": overrides,
            }
        },
        **common,
    )
    groups.create_launch_configuration(
        LaunchConfigurationName="old", ImageId=other, InstanceType="t3.micro"
    )
    groups.create_auto_scaling_group(
        AutoScalingGroupName="configured", LaunchConfigurationName="old", **common
    )
    pages = groups.get_paginator("describe_auto_scaling_groups").paginate(
        PaginationConfig={"PageSize": 2}
    )
    listed = [p["AutoScalingGroups"] for p in pages]
    assert [len(p) for p in listed] == [2, 1]
    found = {g["AutoScalingGroupName"]: g for p in listed for g in p}
    assert found["plain"]["LaunchTemplate"] == {
        "LaunchTemplateId": template,
        "LaunchTemplateName": "web",
        "Version": "$Latest",
    }
    assert f":{account}:" in found["plain"]["AutoScalingGroupARN"]
    policy = found["mixed"]["MixedInstancesPolicy"]["LaunchTemplate"]
    assert policy["LaunchTemplateSpecification"]["LaunchTemplateId"] == template
    assert policy["LaunchTemplateSpecification"]["Version"] == "1"
    assert policy["Overrides"] == overrides
    assert found["configured"]["LaunchConfigurationName"] == "old"
    (configuration,) = groups.describe_launch_configurations()["LaunchConfigurations"]
    assert (configuration["LaunchConfigurationName"], configuration["ImageId"]) == ("old", other)
    assert (
        aws.client("autoscaling", account="333333333333").describe_auto_scaling_groups()[
            "AutoScalingGroups"
        ]
        == []
    )
