"""createVolumePermission, read back from the owner and from the other account."""

from typing import Any

import pytest
from trust import HUB, PROD

from gilder.aws import snapshots
from gilder.aws.sessions import Sessions
from gilder.core.observed import NOBODY, Principals
from gilder.sandbox.aws.seed import Seeded, make_snapshot
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"


def seen_by(aws: SandboxAws, account: str) -> list[str]:
    found = aws.client("ec2", HOME, account).describe_snapshots(RestorableByUserIds=["self"])
    return [s["SnapshotId"] for s in found["Snapshots"]]


def accounts(*ids: str, public: bool = False) -> Principals:
    return Principals(frozenset(ids), public=public)


def test_accounts_are_let_in_and_kept_out(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2, snapshot = sessions.ec2(HOME), make_snapshot(aws, key=seeded.keys[HOME])
    assert snapshots.permissions(ec2, snapshot) == NOBODY
    snapshots.modify(ec2, snapshot, add=accounts(PROD), remove=NOBODY)
    assert snapshots.permissions(ec2, snapshot) == accounts(PROD)
    assert snapshot in seen_by(aws, PROD)
    assert snapshot not in seen_by(aws, HUB)
    snapshots.modify(ec2, snapshot, add=accounts(HUB), remove=accounts(PROD))
    assert snapshots.permissions(ec2, snapshot) == accounts(HUB)
    assert snapshot in seen_by(aws, HUB)
    assert snapshot not in seen_by(aws, PROD)


def test_everybody(aws: SandboxAws, sessions: Sessions) -> None:
    ec2, snapshot = sessions.ec2(HOME), make_snapshot(aws)
    snapshots.modify(ec2, snapshot, add=accounts(public=True), remove=NOBODY)
    assert snapshots.permissions(ec2, snapshot) == accounts(public=True)
    assert aws.client("ec2", HOME, PROD).describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    snapshots.modify(ec2, snapshot, add=NOBODY, remove=accounts(public=True))
    assert snapshots.permissions(ec2, snapshot) == NOBODY


def test_one_call_has_500_changes_at_most_and_never_both_kinds(
    aws: SandboxAws, sessions: Sessions
) -> None:
    ec2, snapshot = sessions.ec2(HOME), make_snapshot(aws)
    old = accounts(*(f"2{n:011}" for n in range(600)))
    new = accounts(*(f"3{n:011}" for n in range(500)))
    aws.requests.reset()
    snapshots.modify(ec2, snapshot, add=old, remove=NOBODY)
    assert aws.requests.total("ModifySnapshotAttribute") == 2
    assert snapshots.permissions(ec2, snapshot) == old
    sent: list[set[str]] = []
    event = "provide-client-params.ec2.ModifySnapshotAttribute"

    def watch(params: Any, **_: Any) -> None:
        sent.append(set(params["CreateVolumePermission"]))

    ec2.meta.events.register(event, watch)
    snapshots.modify(ec2, snapshot, add=new, remove=old)
    ec2.meta.events.unregister(event, watch)
    assert sent == [{"Add"}, {"Remove"}, {"Remove"}]
    assert snapshots.permissions(ec2, snapshot) == new


def test_organizations_are_refused_before_any_call(aws: SandboxAws, sessions: Sessions) -> None:
    aws.requests.reset()
    with pytest.raises(ValueError, match="accounts only"):
        snapshots.modify(
            sessions.ec2(HOME),
            "snap-1",
            add=Principals(organizations=frozenset({"o"})),
            remove=NOBODY,
        )
    assert aws.requests.total("ModifySnapshotAttribute") == 0


def test_a_snapshot_that_is_gone(sessions: Sessions) -> None:
    assert snapshots.permissions(sessions.ec2(HOME), "snap-00000000000000001") is None
