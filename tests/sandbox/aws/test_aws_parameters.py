"""Parameters of Systems Manager: overwriting, data types, tags and pages."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws


@pytest.fixture
def ssm(aws: SandboxAws) -> Any:
    return aws.client("ssm")


def test_overwriting(ssm: Any, refused: Any) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    ssm.put_parameter(Name="/a/x", Value="1", Type="String", Tags=tags, Description="mine")
    with refused("ParameterAlreadyExists"):
        ssm.put_parameter(Name="/a/x", Value="2", Type="String")
    with refused("ValidationException", "tags and overwrite"):
        ssm.put_parameter(Name="/a/x", Value="2", Type="String", Overwrite=True, Tags=tags)
    with refused("HierarchyTypeMismatchException"):
        ssm.put_parameter(Name="/a/x", Value="2", Type="StringList", Overwrite=True)
    with refused("ValidationException", "type is required"):
        ssm.put_parameter(Name="/a/y", Value="2")
    assert ssm.put_parameter(Name="/a/x", Value="2", Overwrite=True)["Version"] == 2
    answer = ssm.get_parameters(Names=["/a/x", "/a/y"])
    (found,) = answer["Parameters"]
    assert (found["Value"], found["Version"], found["Type"]) == ("2", 2, "String")
    assert found["DataType"] == "text"
    assert answer["InvalidParameters"] == ["/a/y"]
    (described,) = ssm.describe_parameters()["Parameters"]
    assert described["Description"] == "mine"
    listed = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/a/x")
    assert listed["TagList"] == tags


def test_the_data_type_stays(aws: SandboxAws, ssm: Any, base: str, refused: Any) -> None:
    other = register(aws, "other", make_snapshot(aws))
    ssm.put_parameter(Name="/golden/x", Value=base, Type="String", DataType="aws:ec2:image")
    with refused("ValidationException", "data type"):
        ssm.put_parameter(Name="/golden/x", Value=base, Overwrite=True, DataType="text")
    with refused("ValidationException", "not an Amazon Machine Image"):
        ssm.put_parameter(Name="/golden/x", Value="hello", Overwrite=True)
    aws.clock.advance(3600)
    before = ssm.get_parameter(Name="/golden/x")["Parameter"]
    ssm.put_parameter(Name="/golden/x", Value=other, Overwrite=True)
    after = ssm.get_parameter(Name="/golden/x")["Parameter"]
    assert (after["Value"], after["DataType"], after["Version"]) == (other, "aws:ec2:image", 2)
    later = after["LastModifiedDate"] - before["LastModifiedDate"]
    assert later.total_seconds() >= 3600


def test_parameters_are_described_by_tag_and_page(ssm: Any) -> None:
    for n in range(12):
        tags = [{"Key": "team", "Value": "web" if n % 2 else "db"}]
        ssm.put_parameter(Name=f"/p/{n:02}", Value="x", Type="String", Tags=tags)

    def named(*filters: dict[str, Any]) -> list[str]:
        pages = ssm.get_paginator("describe_parameters").paginate(
            ParameterFilters=list(filters), PaginationConfig={"PageSize": 5}
        )
        return [p["Name"] for page in pages for p in page["Parameters"]]

    web = {"Key": "tag:team", "Values": ["web"]}
    assert named(web) == [f"/p/{n:02}" for n in range(1, 12, 2)]
    assert named(web, {"Key": "Name", "Values": ["/p/01"]}) == ["/p/01"]
    # The key alone does not end the look at the other filters.
    assert named({"Key": "tag:team"}, {"Key": "Name", "Values": ["/p/02"]}) == ["/p/02"]
    assert named({"Key": "tag:none"}) == []
    pages = ssm.get_paginator("describe_parameters").paginate(PaginationConfig={"PageSize": 5})
    assert [len(p["Parameters"]) for p in pages] == [5, 5, 2]
    assert len(ssm.describe_parameters(MaxResults=50)["Parameters"]) == 12
    assert len(ssm.describe_parameters()["Parameters"]) == 10


def test_tags_of_parameters(ssm: Any, refused: Any) -> None:
    ssm.put_parameter(Name="/a/x", Value="1", Type="String")
    where = {"ResourceType": "Parameter", "ResourceId": "/a/x"}
    ssm.add_tags_to_resource(**where, Tags=[{"Key": k, "Value": "1"} for k in "abc"])
    ssm.add_tags_to_resource(**where, Tags=[{"Key": "a", "Value": "2"}])
    ssm.remove_tags_from_resource(**where, TagKeys=["b"])

    def tags() -> dict[str, str]:
        found = ssm.list_tags_for_resource(**where)["TagList"]
        return {t["Key"]: t["Value"] for t in found}

    assert tags() == {"a": "2", "c": "1"}
    with refused("TooManyTagsError"):
        many = [{"Key": f"k{n}", "Value": ""} for n in range(49)]
        ssm.add_tags_to_resource(**where, Tags=many)
    with refused("InvalidResourceId"):
        ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/none")
    answer = ssm.delete_parameters(Names=["/a/x", "/none"])
    assert answer["DeletedParameters"] == ["/a/x"]
    assert answer["InvalidParameters"] == ["/none"]
    ssm.put_parameter(Name="/a/x", Value="1", Type="String")
    assert tags() == {}
