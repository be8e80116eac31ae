"""Several AWS accounts under one fleet: accounts that go, files that change, namespaces."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gilder.api import GoldenImage, ImageShare
from gilder.api.access import AccessFile
from gilder.api.conditions import ConditionType
from gilder.aws.accounts import Accounts
from gilder.aws.errors import UnknownAccountError
from gilder.aws.sessions import Sessions
from gilder.aws.view import PARALLEL
from gilder.core.conditions import get
from gilder.core.needs import RegionNeeds
from gilder.reconcile.engine import Engine
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.inventory import Inventory
from gilder.reconcile.outcome import Outcome
from gilder.sandbox.aws.seed import make_role, make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws, start_aws

HOME = "eu-west-1"
OWN, PROD = "123456789012", "111111111111"
A, B = "222222222222", "333333333333"
PROD_ENTRY = {"id": PROD, "roles": [{"arn": f"arn:aws:iam::{PROD}:role/gilder"}]}
RULE = {"names": ["*"], "accounts": ["own", PROD], "plainImages": True, "keyPolicies": True}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxAws]:
    with start_aws() as aws:
        yield aws


@pytest.fixture
def aws(server: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxAws]:
    server.reset()
    for name, value in server.client_env().items():
        monkeypatch.setenv(name, value)
    seed(server)
    make_role(server, PROD, "gilder", trust=[OWN])
    yield server
    server.reset()


def file_of(**rule: Any) -> AccessFile:
    entry = {**RULE, **rule}
    return AccessFile.model_validate({"accounts": [PROD_ENTRY], "namespaces": [entry]})


NO_PROD = AccessFile.model_validate({"namespaces": [{**RULE, "accounts": ["own"]}]})


def fleet_of(file: AccessFile | None) -> Fleet:
    def sessions(**way: Any) -> Sessions:
        return Sessions(HOME, cluster="test", **way)

    return Fleet(Accounts(file, sessions), lambda of: Engine(of, "test"))


def users(aws: SandboxAws, image: str, account: str = OWN) -> set[str]:
    ec2 = aws.client("ec2", HOME, account)
    found = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    return {p["UserId"] for p in found["LaunchPermissions"]}


def share(*amis: str, **spec: Any) -> ImageShare:
    images = [{"id": i, "region": HOME} for i in amis]
    return ImageShare.model_validate(
        {
            "metadata": {"name": "one", "namespace": "team"},
            "spec": {"imageRef": {"images": images}, **spec},
        }
    )


def passed(fleet: Fleet, share: ImageShare, *more: GoldenImage | ImageShare) -> Outcome[Any]:
    """One pass over a share; its new status is in the outcome."""
    inventory = Inventory("test", fleet.others)
    for one in more:
        if isinstance(one, GoldenImage):
            inventory.put_image(one)
        else:
            inventory.put_share(one)
    inventory.put_share(share)
    scope = inventory.share_scope(share.metadata.key)
    return fleet.reconcile_share(share, scope, fleet.own.views.now(), lambda _: None)


def after(share: ImageShare, outcome: Outcome[Any], **spec: Any) -> ImageShare:
    new = type(share.spec).model_validate({**share.spec.model_dump(by_alias=True), **spec})
    return share.model_copy(update={"status": outcome.status, "spec": new})


def ami(aws: SandboxAws, account: str = OWN) -> str:
    return register(aws, f"of-{account}", make_snapshot(aws, account=account), account=account)


def test_an_account_that_left_the_file_is_told_and_holds_up_no_other(aws: SandboxAws) -> None:
    there, here = ami(aws, PROD), ami(aws)
    one = share(there, accounts=[A])
    ref = {"images": [{"id": there, "region": HOME}], "account": PROD}
    fleet = fleet_of(file_of())
    one = after(one, passed(fleet, one), imageRef=ref)
    one = after(one, passed(fleet, one))
    assert users(aws, there, PROD) == {A}
    fleet.replace(NO_PROD)
    one = after(one, passed(fleet, one), imageRef={"images": [{"id": here, "region": HOME}]})
    found = passed(fleet, one)
    ready = get(found.status.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "AccountNotAllowed")
    assert PROD in ready.message
    assert users(aws, here) == {A}, "the own account goes on"
    claimed = {i.image_id: i.account for i in found.status.images}
    assert claimed == {here: None, there: PROD}, "still on record"


def test_a_file_that_changes_cuts_off_no_look_that_is_under_way(aws: SandboxAws) -> None:
    """What was cancelled would end the worker that waits for it, and no share be looked at."""
    there = ami(aws, PROD)
    fleet = fleet_of(file_of())
    views = fleet.engine(PROD).views
    gate = threading.Event()
    for _ in range(PARALLEL):
        views._pool.submit(gate.wait)
    found: list[Any] = []

    def look() -> None:
        try:
            needs = {HOME: RegionNeeds(images=frozenset({there}))}
            found.append(views.images(needs, views.now()).region(HOME).images)
        except BaseException as error:  # noqa: BLE001 - whatever it is
            found.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    while views._pool._work_queue.empty():
        time.sleep(0.01)
    fleet.replace(NO_PROD)
    gate.set()
    looking.join(10)
    assert list(found[0]) == [there]
    with pytest.raises(UnknownAccountError):
        fleet.engine(PROD)


def test_accounts_without_a_role_are_not_asked_for_again_and_again(aws: SandboxAws) -> None:
    here = ami(aws)
    many = [f"{n:012d}" for n in range(200000000000, 200000000020)]
    one = share(here, accounts=many, verifyFromConsumer=True)
    fleet = fleet_of(file_of())
    one = after(one, passed(fleet, one))
    found = passed(fleet, one)
    assert len(found.status.consumers) == len(many)
    assert found.again is None
    assert passed(fleet, after(one, found)).status.consumers == found.status.consumers
    seen = get(found.status.conditions, ConditionType.VERIFIED_FROM_CONSUMER)
    assert seen is not None
    assert seen.reason == "NoConsumerRole"


def test_what_cannot_be_read_reads_the_same_each_time(aws: SandboxAws) -> None:
    """Else each look would make a new status and a new Event."""
    here = ami(aws)
    one = share(
        here,
        accountsFrom=[
            {"organization": "arn:aws:organizations::123456789012:organization/o-abcde12345"},
            {"ssmParameter": {"name": "/lists/a", "region": HOME}},
        ],
    )
    aws.faults.fail("GetParameters", "AccessDeniedException", times=100)
    aws.faults.fail("DescribeOrganization", "AccessDeniedException", times=100)
    lists = []
    for _ in range(2):
        fleet = fleet_of(file_of(organizationLists=True, parameterLists=["*"]))
        found = passed(fleet, one)
        lists.append(found.status.lists)
    assert all("request" not in (n.problem or "") for n in lists[0])
    assert lists[0] == lists[1]


def in_prod(aws: SandboxAws) -> GoldenImage:
    """A GoldenImage of PROD with its one version."""
    image = ami(aws, PROD)
    tags = {"image": "team/base", "cluster": "test", "version": "1", "role": "home"}
    aws.client("ec2", HOME, PROD).create_tags(
        Resources=[image],
        Tags=[{"Key": f"goldenimage.dev/{k}", "Value": v} for k, v in tags.items()],
    )
    return GoldenImage.model_validate(
        {
            "metadata": {"name": "base", "namespace": "team"},
            "spec": {"region": HOME, "account": PROD, "source": {"image": {"id": image}}},
            "status": {"latest": {"version": 1, "imageId": image}},
        }
    )


def test_an_account_that_a_namespace_may_use_no_more_is_not_shared_from(aws: SandboxAws) -> None:
    golden = in_prod(aws)
    image = golden.status.latest.image_id if golden.status.latest else ""
    one = share(image, accounts=[A])
    fleet = fleet_of(file_of())
    one = after(one, passed(fleet, one, golden), imageRef={"name": "base"})
    one = after(one, passed(fleet, one, golden))
    assert users(aws, image, PROD) == {A}
    fleet.replace(file_of(accounts=["own"]))
    one = after(one, passed(fleet, one, golden), accounts=[A, B])
    found = passed(fleet, one, golden)
    ready = get(found.status.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.reason == "AccountNotAllowed"
    assert ready.message.startswith("GoldenImage team/base: spec.account: ")
    assert users(aws, image, PROD) == set()


def test_an_account_that_a_share_may_not_use_is_told_with_its_own_field(aws: SandboxAws) -> None:
    one = share(ami(aws), accounts=[A])
    found = passed(fleet_of(file_of(accounts=[PROD])), one)
    ready = get(found.status.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.message.startswith("spec.imageRef.account: ")


def test_who_is_denied_is_not_kept_by_a_share_that_cannot_be_read(aws: SandboxAws) -> None:
    here = ami(aws)
    broken = share(here, accounts=[A, B])
    fleet = fleet_of(file_of())
    broken = after(broken, passed(fleet, broken))
    inventory = Inventory("test", fleet.others)
    mine = share(here)
    mine = mine.model_copy(update={"metadata": mine.metadata.model_copy(update={"name": "two"})})
    inventory.put_share(mine)
    inventory.put_share(broken)
    scope = inventory.share_scope("team/one")
    inventory.put_unreadable(replace(scope.mine, unreadable="broken"), broken.status)
    fleet.replace(file_of(deny={"accounts": [B]}))
    scope = inventory.share_scope("team/two")
    fleet.reconcile_share(mine, scope, fleet.own.views.now(), lambda _: None)
    assert users(aws, here) == {A}


def test_an_account_that_is_out_of_reach_is_not_ready(aws: SandboxAws) -> None:
    golden, here = in_prod(aws), ami(aws)
    there = golden.status.latest.image_id if golden.status.latest else ""
    fleet = fleet_of(file_of())
    own = GoldenImage.model_validate(
        {
            "metadata": {"name": "own", "namespace": "team", "labels": {"all": "yes"}},
            "spec": {"region": HOME, "source": {"image": {"id": here}}},
            "status": {"latest": {"version": 1, "imageId": here}},
        }
    )
    tags = {"image": "team/own", "cluster": "test", "version": "1", "role": "home"}
    aws.client("ec2", HOME).create_tags(
        Resources=[here],
        Tags=[{"Key": f"goldenimage.dev/{k}", "Value": v} for k, v in tags.items()],
    )
    labels = {"all": "yes"}
    golden = golden.model_copy(
        update={"metadata": golden.metadata.model_copy(update={"labels": labels})}
    )
    one = share(there, accounts=[A])
    selector = {"selector": {"matchLabels": labels}}
    aws.faults.fail("AssumeRole", "ServiceUnavailable", times=1000)
    one = one.model_copy(
        update={"spec": type(one.spec).model_validate({"imageRef": selector, "accounts": [A]})}
    )
    for _ in range(2):
        found = passed(fleet, one, golden, own)
        one = one.model_copy(update={"status": found.status})
    assert users(aws, here) == {A}
    assert users(aws, there, PROD) == set()
    ready = get(found.status.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.status == "False", ready


def test_snapshots_of_a_disabled_ami_are_read(aws: SandboxAws) -> None:
    here = ami(aws)
    one = share(here, accounts=[A], snapshots=True)
    fleet = fleet_of(None)
    one = after(one, passed(fleet, one))
    ec2 = aws.client("ec2", HOME)
    devices = ec2.describe_images(ImageIds=[here])["Images"][0]["BlockDeviceMappings"]
    snapshot = devices[0]["Ebs"]["SnapshotId"]

    def creators() -> list[Any]:
        asked = {"SnapshotId": snapshot, "Attribute": "createVolumePermission"}
        return list(ec2.describe_snapshot_attribute(**asked)["CreateVolumePermissions"])

    assert [c["UserId"] for c in creators()] == [A]
    ec2.disable_image(ImageId=here)
    gone = one.metadata.model_copy(update={"deletion_timestamp": "2030-01-01T00:00:00Z"})
    passed(fleet, one.model_copy(update={"metadata": gone}))
    assert creators() == []


def test_no_call_is_made_for_a_list_in_a_region_that_does_not_exist(aws: SandboxAws) -> None:
    one = share(ami(aws), accountsFrom=[{"ssmParameter": {"name": "/a", "region": "eu-none-1"}}])
    found = passed(fleet_of(None), one)
    (said,) = found.status.lists
    assert "no AWS Region eu-none-1" in said.problem
    assert aws.requests.total("GetParameters") == 0


@pytest.mark.usefixtures("aws")
def test_accounts_that_it_acts_in_are_known_those_of_consumers_too() -> None:
    """What others say in the queue of events touches nothing."""
    roles = [{"arn": "arn:aws:iam::{account}:role/gilder"}]
    consumers = [{"accounts": ["2*"], "roles": roles}]
    file = AccessFile.model_validate({"accounts": [PROD_ENTRY], "consumers": consumers})
    fleet = fleet_of(file)
    assert [fleet.knows(account) for account in (OWN, PROD, A, B)] == [True, True, True, False]
    fleet.close()
