"""The shared view: one read for many, ages, and what a change makes stale."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.actions import CreateGrant, ModifyLaunchPermission, TagResources
from gilder.core.needs import AccessNeeds, RegionNeeds
from gilder.core.observed import Key, Problem
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"


@pytest.fixture
def views(sessions: Sessions) -> Iterator[Views]:
    found = Views(sessions, "test")
    yield found
    found.close()


@pytest.fixture
def owned(aws: SandboxAws, seeded: Seeded) -> list[str]:
    tags = {"goldenimage.dev/cluster": "test"}
    key = seeded.keys[HOME]
    made = [register(aws, f"version-{n}", make_snapshot(aws, key=key), tags=tags) for n in range(4)]
    aws.requests.reset()
    return made


def test_many_readers_at_once_cost_one_read(
    aws: SandboxAws, views: Views, owned: list[str]
) -> None:
    since = views.now()
    needs = {HOME: RegionNeeds()}
    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(lambda _: views.images(needs, since), range(32)))
    assert all(set(s.regions[HOME].images) == set(owned) for s in seen)
    assert aws.requests.total("DescribeImages") == 1
    # One by tag, and one for those that are not tagged as their AMI is.
    assert aws.requests.total("DescribeSnapshots") == 2
    views.images(needs, views.now())
    assert aws.requests.total("DescribeImages") == 2


def test_a_change_makes_stale_only_what_it_touched(
    aws: SandboxAws, views: Views, owned: list[str], seeded: Seeded
) -> None:
    since = views.now()
    access = AccessNeeds(places=frozenset((HOME, i) for i in owned))

    def look() -> dict[str, int]:
        aws.requests.reset()
        views.access(views.images({HOME: RegionNeeds()}, since), access, since)
        names = ("DescribeImages", "DescribeImageAttribute", "ListGrants")
        return {n: aws.requests.total(n) for n in names}

    assert look() == {"DescribeImages": 1, "DescribeImageAttribute": 4, "ListGrants": 1}
    assert look() == {"DescribeImages": 0, "DescribeImageAttribute": 0, "ListGrants": 0}
    views.touched(ModifyLaunchPermission(region=HOME, image=owned[0]))
    assert look() == {"DescribeImages": 0, "DescribeImageAttribute": 1, "ListGrants": 0}
    grant = CreateGrant(
        region=HOME, key=seeded.keys[HOME], account="", principal="", operations=(), name=""
    )
    views.touched(grant)
    assert look() == {"DescribeImages": 0, "DescribeImageAttribute": 0, "ListGrants": 1}
    views.touched(TagResources(region=HOME, resources=(owned[0],), tags={}))
    assert look() == {"DescribeImages": 1, "DescribeImageAttribute": 0, "ListGrants": 0}


def test_named_keys_and_parameters_are_resolved(views: Views, seeded: Seeded) -> None:
    needs = RegionNeeds(
        images=frozenset({seeded.base_image}),
        keys=frozenset({"alias/golden", "alias/none"}),
        parameters=frozenset({seeded.base_parameter, "/none"}),
    )
    view = views.images({HOME: needs}, views.now()).regions[HOME]
    assert view.images[seeded.base_image].owner == seeded.account
    found = view.keys["alias/golden"]
    assert isinstance(found, Key)
    assert found.arn == seeded.keys[HOME]
    missing = view.keys["alias/none"]
    assert isinstance(missing, Problem)
    assert missing.reason == "KeyNotFound"
    assert view.parameters == {seeded.base_parameter: seeded.base_image, "/none": ""}


def test_regions_fail_one_by_one(aws: SandboxAws, views: Views, seeded: Seeded) -> None:  # noqa: ARG001
    aws.faults.deny("DescribeImages", region="us-east-1")
    regions = (HOME, "us-east-1", "eu-nowhere-1")
    seen = views.images(dict.fromkeys(regions, RegionNeeds()), views.now())
    assert seen.region(HOME).problem is None
    reasons = [p.reason for r in regions[1:] if (p := seen.region(r).problem)]
    assert reasons == ["AccessDenied", "RegionUnknown"]


def test_a_permission_that_cannot_be_read_is_told(
    aws: SandboxAws, views: Views, owned: list[str]
) -> None:
    aws.faults.deny("DescribeImageAttribute")
    since = views.now()
    seen = views.images({HOME: RegionNeeds()}, since)
    access = AccessNeeds(places=frozenset({(HOME, owned[0])}))
    view = views.access(seen, access, since).regions[HOME]
    assert owned[0] not in view.permissions
    assert view.unread[owned[0]].reason == "AccessDenied"


def test_block_public_access_that_cannot_be_read_counts_as_on(
    aws: SandboxAws, views: Views, owned: list[str]
) -> None:
    since = views.now()
    seen = views.images({HOME: RegionNeeds()}, since)
    access = AccessNeeds(places=frozenset({(HOME, owned[0])}), public=frozenset({HOME}))
    assert views.access(seen, access, since).regions[HOME].public_blocked is False
    other = Views(views.sessions, "test")
    aws.faults.deny("GetImageBlockPublicAccessState")
    assert other.access(seen, access, since).regions[HOME].public_blocked is True
    other.close()


def test_a_region_is_as_old_as_its_last_good_reading(aws: SandboxAws, sessions: Sessions) -> None:
    clock = [100.0]
    views = Views(sessions, "test", lambda: clock[0])
    try:
        views.watch([HOME, "us-east-1"])
        assert views.ages() == {HOME: float("inf"), "us-east-1": float("inf")}
        views.images({HOME: RegionNeeds()}, views.now())
        clock[0] += 30
        assert views.ages() == {HOME: 30, "us-east-1": float("inf")}
        fault = aws.faults.deny("DescribeImages", region=HOME)
        views.images({HOME: RegionNeeds()}, views.now())
        assert views.ages()[HOME] == 30, "what could not be read is no newer for that"
        fault.remove()
        views.images({HOME: RegionNeeds()}, clock[0] + 1)
        views.watch([HOME])
        assert views.ages() == {HOME: 0}, "a Region that nobody needs has no age"
    finally:
        views.close()
