"""SSM parameters that are published to, as AWS has them, and the view of them."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.api.names import TAG_CLUSTER, TAG_IMAGE, TAG_VERSION
from gilder.aws import parameters
from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.actions import DeleteParameter, PutParameter
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Problem
from gilder.core.published import Parameter
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

HOME, NAME, OF, CLUSTER = "eu-west-1", "/out/base", "team/base", "test"


@pytest.fixture
def ssm(aws: SandboxAws, seeded: Seeded) -> Any:  # noqa: ARG001 - it has the AMI
    return aws.client("ssm", HOME)


@pytest.fixture
def views(sessions: Sessions) -> Iterator[Views]:
    found = Views(sessions, CLUSTER)
    yield found
    found.close()


def put(ssm: Any, image: str, version: int = 1, of: str = OF, **changes: Any) -> None:
    request = {"name": NAME, "exists": False, **changes}
    parameters.put(ssm, image=image, version=version, of=of, cluster=CLUSTER, **request)


def shown(ssm: Any, name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = ssm.get_parameter(Name=name)["Parameter"]
    return found


def tags(ssm: Any, name: str = NAME) -> dict[str, str]:
    found = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    return {t["Key"]: t["Value"] for t in found}


def by_hand(ssm: Any, **changes: Any) -> None:
    ssm.put_parameter(**{"Name": NAME, "Value": "by hand", "Type": "String", **changes})


def test_a_new_one_names_an_ami_and_whose_it_is(ssm: Any, seeded: Seeded) -> None:
    put(ssm, seeded.base_image, 3)
    found = shown(ssm)
    assert (found["Value"], found["Type"], found["DataType"]) == (
        seeded.base_image, "String", "aws:ec2:image",
    )  # fmt: skip
    assert tags(ssm) == {TAG_IMAGE: OF, TAG_CLUSTER: CLUSTER, TAG_VERSION: "3"}


def test_one_of_ours_moves_and_goes(ssm: Any, seeded: Seeded, aws: SandboxAws) -> None:
    put(ssm, seeded.base_image)
    other = register(aws, "other", make_snapshot(aws))
    put(ssm, other, 2, exists=True)
    assert shown(ssm)["Value"] == other
    assert tags(ssm)[TAG_VERSION] == "2"
    parameters.delete(ssm, NAME, OF, CLUSTER)
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        shown(ssm)
    parameters.delete(ssm, NAME, OF, CLUSTER)
    parameters.release(ssm, NAME, OF, CLUSTER)


def test_a_write_that_stops_half_way_is_seen_as_not_done(
    ssm: Any, seeded: Seeded, aws: SandboxAws
) -> None:
    put(ssm, seeded.base_image)
    other = register(aws, "other", make_snapshot(aws))
    for call in ("AddTagsToResource", "PutParameter"):
        aws.faults.throttle(9, call)
        with pytest.raises(ClientError):
            put(ssm, other, 2, exists=True)
        assert shown(ssm)["Value"] == seeded.base_image
        aws.faults.clear()
    put(ssm, other, 2, exists=True)
    assert (shown(ssm)["Value"], tags(ssm)[TAG_VERSION]) == (other, "2")


@pytest.mark.parametrize("owner", ["", "team/other"])
def test_one_of_somebody_else_is_never_touched(ssm: Any, seeded: Seeded, owner: str) -> None:
    if owner:
        put(ssm, seeded.base_image, of=owner)
    else:
        by_hand(ssm)
    before, labels = shown(ssm), tags(ssm)
    with pytest.raises(parameters.NotOursError) as found:
        put(ssm, seeded.base_image, exists=True)
    assert found.value.owner == owner
    for change in (parameters.delete, parameters.release):
        with pytest.raises(parameters.NotOursError):
            change(ssm, NAME, OF, CLUSTER)
    with pytest.raises(ssm.exceptions.ParameterAlreadyExists):
        put(ssm, seeded.base_image)
    assert (shown(ssm), tags(ssm)) == (before, labels)


def test_another_clusters_tag_is_not_ours(ssm: Any) -> None:
    by_hand(ssm, Tags=[{"Key": TAG_CLUSTER, "Value": "other"}, {"Key": TAG_IMAGE, "Value": OF}])
    assert parameters.owner(ssm, NAME, CLUSTER) == ""
    assert parameters.tagged(ssm, CLUSTER) == {}


def test_released_it_stays_with_the_tags_of_others(ssm: Any, seeded: Seeded) -> None:
    put(ssm, seeded.base_image)
    team = [{"Key": "team", "Value": "a"}]
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=NAME, Tags=team)
    parameters.release(ssm, NAME, OF, CLUSTER)
    assert tags(ssm) == {"team": "a"}
    assert shown(ssm)["Value"] == seeded.base_image


def test_a_listing_tells_owner_and_change(ssm: Any, seeded: Seeded, aws: SandboxAws) -> None:
    ours = [{"Key": TAG_CLUSTER, "Value": CLUSTER}, {"Key": TAG_IMAGE, "Value": OF}]
    put(ssm, seeded.base_image)
    for number in range(60):
        by_hand(ssm, Name=f"/out/{number}", Tags=ours)
    heads = parameters.tagged(ssm, CLUSTER)
    assert len(heads) == 61
    assert (heads[NAME].owner, heads["/out/7"].owner) == (OF, "")
    put(ssm, register(aws, "other", make_snapshot(aws)), 2, exists=True)
    again = parameters.tagged(ssm, CLUSTER)
    changed = {n for n, h in again.items() if h.stamp != heads[n].stamp}
    assert changed == {NAME}
    assert parameters.by_owner(again.values()) == {OF: (NAME,)}


# The view


NEEDS = {HOME: RegionNeeds(published=frozenset({NAME}))}


def look(views: Views, since: float | None = None, *, whole: bool = False) -> Any:
    seen = views.images(NEEDS, views.now() if since is None else since, whole=whole)
    return seen.regions[HOME]


def test_the_view_tells_values_and_owners(ssm: Any, views: Views, seeded: Seeded) -> None:
    assert dict(look(views).published) == {}
    put(ssm, seeded.base_image)
    assert look(views).published == {NAME: Parameter(NAME, seeded.base_image, OF)}
    whole = look(views, whole=True)
    assert whole.tagged == {OF: (NAME,)}
    assert whole.published == {NAME: Parameter(NAME, seeded.base_image, OF)}


def test_the_view_tells_a_type_that_cannot_hold_an_ami(
    ssm: Any, views: Views, seeded: Seeded
) -> None:
    ours = [{"Key": TAG_CLUSTER, "Value": CLUSTER}, {"Key": TAG_IMAGE, "Value": OF}]
    by_hand(ssm, Value=seeded.base_image, Tags=ours)
    for whole in (False, True):
        (found,) = look(views, whole=whole).published.values()
        assert found == Parameter(NAME, seeded.base_image, OF, "String of data type text")


def test_a_sweep_lists_once_and_reads_only_what_changed(
    ssm: Any, views: Views, seeded: Seeded, aws: SandboxAws
) -> None:
    put(ssm, seeded.base_image)
    look(views, whole=True)
    aws.requests.reset()
    look(views, whole=True)
    assert aws.requests.total("DescribeParameters") == 1
    assert aws.requests.total("GetParameters") == 0
    assert aws.requests.total("ListTagsForResource") == 0
    ssm.put_parameter(Name=NAME, Value=seeded.base_image, Overwrite=True)  # by hand
    (found,) = look(views, whole=True).published.values()
    assert found.owner == OF
    assert aws.requests.total("GetParameters") == 1


def test_an_action_makes_what_it_wrote_stale(ssm: Any, views: Views, seeded: Seeded) -> None:
    since = views.now()
    assert not look(views, since).published
    put(ssm, seeded.base_image)
    assert not look(views, since).published  # nobody told
    wrote = PutParameter(
        region=HOME, name=NAME, image=seeded.base_image, version=1, owner=OF, cluster=CLUSTER
    )
    views.touched(wrote, done=True)
    assert look(views, since).published == {NAME: Parameter(NAME, seeded.base_image, OF)}
    parameters.delete(ssm, NAME, OF, CLUSTER)
    views.touched(DeleteParameter(region=HOME, name=NAME, owner=OF, cluster=CLUSTER), done=True)
    after = look(views, since)
    assert (dict(after.published), dict(after.tagged)) == ({}, {})


@pytest.mark.parametrize("call", ["DescribeParameters", "GetParameters", "ListTagsForResource"])
def test_a_denied_read_is_a_problem_of_its_region_and_passes(
    ssm: Any, views: Views, seeded: Seeded, aws: SandboxAws, call: str
) -> None:
    put(ssm, seeded.base_image)
    ssm.put_parameter(Name=NAME, Value=seeded.base_image, Overwrite=True, Description="by hand")
    aws.faults.deny(call)
    view = look(views, whole=True)
    (found,) = view.published.values()
    assert isinstance(found, Problem)
    assert (found.reason, found.region, view.problem) == ("AccessDenied", HOME, None)
    aws.faults.clear()
    (found,) = look(views).published.values()
    assert isinstance(found, Parameter)
