"""Launch templates: versions made, used again and deleted; the view of them."""

from collections.abc import Iterator
from typing import Any

import pytest

from gilder.aws import templates
from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.actions import SetTemplateImage
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Problem
from gilder.core.published import Template
from gilder.core.templates import KEEP, description, mark
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME, OF, CLUSTER = "eu-west-1", "team/base", "test"
MARK = mark(CLUSTER, OF)


@pytest.fixture
def ec2(aws: SandboxAws, seeded: Seeded) -> Any:  # noqa: ARG001 - it has the AMI
    return aws.client("ec2", HOME)


@pytest.fixture
def views(sessions: Sessions) -> Iterator[Views]:
    found = Views(sessions, CLUSTER)
    yield found
    found.close()


def create(ec2: Any, name: str = "web", image: str = "ami-00000001") -> str:
    data = {"ImageId": image, "InstanceType": "t3.small"}
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def point(ec2: Any, template: str, image: str, source: int, *, token: str = "") -> str:
    return templates.set_image(
        ec2,
        template,
        image,
        source=source,
        description=description(CLUSTER, OF, 1, source),
        mark=MARK,
        token=token or f"{image}-{source}",
    )


def add(ec2: Any, template: str, **data: Any) -> int:
    made = ec2.create_launch_template_version(
        LaunchTemplateId=template, SourceVersion="$Default", LaunchTemplateData=data
    )
    return int(made["LaunchTemplateVersion"]["VersionNumber"])


def make_default(ec2: Any, template: str, number: int) -> None:
    ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion=str(number))


def shown(ec2: Any, template: str, version: str = "$Default") -> dict[str, Any]:
    (found,) = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=[version])[
        "LaunchTemplateVersions"
    ]
    return dict(found)


def numbers(ec2: Any, template: str) -> list[int]:
    found = ec2.describe_launch_template_versions(LaunchTemplateId=template)
    return [v["VersionNumber"] for v in found["LaunchTemplateVersions"]]


def test_a_version_is_made_from_the_default_and_becomes_it(ec2: Any) -> None:
    template = create(ec2)
    assert point(ec2, template, "ami-00000002", 1) == "2"
    found = shown(ec2, template)
    assert found["VersionNumber"] == 2
    assert found["LaunchTemplateData"] == {"ImageId": "ami-00000002", "InstanceType": "t3.small"}


def test_a_step_that_stopped_half_way_is_finished_with_the_same_version(
    ec2: Any, aws: SandboxAws
) -> None:
    template = create(ec2)
    aws.faults.deny("ModifyLaunchTemplate")
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        point(ec2, template, "ami-00000002", 1)
    aws.faults.clear()
    assert (shown(ec2, template)["VersionNumber"], numbers(ec2, template)) == (1, [1, 2])
    assert point(ec2, template, "ami-00000002", 1, token="of another try") == "2"
    assert (shown(ec2, template)["VersionNumber"], numbers(ec2, template)) == (2, [1, 2])


def test_a_default_that_somebody_changed_meanwhile_is_left(ec2: Any) -> None:
    template = create(ec2)
    make_default(ec2, template, add(ec2, template, InstanceType="t3.large"))
    assert point(ec2, template, "ami-00000003", 1) == ""
    assert numbers(ec2, template) == [1, 2]
    assert point(ec2, template, "ami-00000003", 2) == "3"
    assert shown(ec2, template)["LaunchTemplateData"]["InstanceType"] == "t3.large"


def test_deleting_tells_what_stays(ec2: Any) -> None:
    template = create(ec2)
    for number in (1, 2, 3):
        point(ec2, template, f"ami-0000000{number + 1}", number)
    templates.delete_versions(ec2, template, [2, 99])
    assert numbers(ec2, template) == [1, 3, 4]
    with pytest.raises(templates.KeptError, match="version 4"):
        templates.delete_versions(ec2, template, [3, 4])
    assert numbers(ec2, template) == [1, 4]


@pytest.mark.parametrize("written", ["absent", "lt-0123456789abcdef0", "lt-0"])
def test_what_is_not_there_has_no_id(ec2: Any, written: str) -> None:
    assert templates.default(ec2, written).id == ""


def test_defaults_are_read_one_by_one_or_all_at_once(
    ec2: Any, views: Views, aws: SandboxAws
) -> None:
    made = {f"web-{n}": create(ec2, f"web-{n}", f"ami-0000000{n}") for n in range(3)}
    aws.requests.reset()
    few = frozenset({"web-1", made["web-2"], "absent"})
    needs = {HOME: RegionNeeds(templates=few)}
    seen = views.images(needs, views.now()).regions[HOME].templates
    assert {w: t.default.image for w, t in seen.items() if isinstance(t, Template)} == {
        "web-1": "ami-00000001", made["web-2"]: "ami-00000002", "absent": "",
    }  # fmt: skip
    assert aws.requests.total("DescribeLaunchTemplateVersions") == 3
    many = frozenset({*few, *(f"none-{n}" for n in range(20))})
    aws.requests.reset()
    seen = views.images({HOME: RegionNeeds(templates=many)}, views.now()).regions[HOME].templates
    assert seen["web-1"] == Template(
        made["web-1"], "web-1", templates.default(ec2, "web-1").default
    )
    assert isinstance(seen["none-3"], Template)
    assert seen["none-3"].id == ""


def test_versions_and_groups_are_read_only_where_something_may_go(
    ec2: Any, views: Views, aws: SandboxAws
) -> None:
    template = create(ec2)
    plain = {HOME: RegionNeeds(templates=frozenset({"web"}))}
    must = {HOME: RegionNeeds(versions=frozenset({"web"}))}
    point(ec2, template, "ami-00000002", 1)
    aws.client("autoscaling", HOME).create_auto_scaling_group(
        AutoScalingGroupName="web", MinSize=0, MaxSize=0, AvailabilityZones=[f"{HOME}a"],
        LaunchTemplate={"LaunchTemplateId": template, "Version": "2"},
    )  # fmt: skip
    found = views.images(plain, views.now()).regions[HOME].templates["web"]
    assert isinstance(found, Template)
    assert (found.versions, found.named) == ((), None)
    found = views.images(must, views.now()).regions[HOME].templates["web"]
    assert isinstance(found, Template)
    assert [v.number for v in found.versions] == [2]
    assert found.named == {2}


def test_the_view_follows_what_was_done(ec2: Any, views: Views) -> None:
    template = create(ec2)
    needs, since = {HOME: RegionNeeds(templates=frozenset({"web"}))}, views.now()
    assert views.images(needs, since).regions[HOME].templates["web"] == templates.default(
        ec2, "web"
    )
    for number in range(1, KEEP + 3):
        point(ec2, template, f"ami-{number:08}", number)
    action = SetTemplateImage(
        region=HOME, template=template, name="web", image="ami-00000001", source=1,
        description="", mark=MARK, token="t",
    )  # fmt: skip
    views.touched(action, done=True)
    found = views.images(needs, since).regions[HOME].templates["web"]
    assert isinstance(found, Template)
    assert found.default.number == KEEP + 3
    assert len(found.versions) == KEEP + 2
    assert found.named == frozenset()


def test_a_denied_read_is_a_problem_of_that_region(ec2: Any, views: Views, aws: SandboxAws) -> None:
    create(ec2)
    aws.faults.deny("DescribeLaunchTemplateVersions")
    view = views.images({HOME: RegionNeeds(templates=frozenset({"web"}))}, views.now()).regions[
        HOME
    ]
    found = view.templates["web"]
    assert isinstance(found, Problem)
    assert (found.reason, found.region, view.problem) == ("AccessDenied", HOME, None)
