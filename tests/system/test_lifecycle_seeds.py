"""Versions that come and go through real calls, with faults at any of them: what must stay stays,
and in the end every snapshot of ours has an AMI or is told of."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.aws.sessions import Sessions
from gilder.core.times import passed
from gilder.reconcile.engine import Engine
from gilder.reconcile.inventory import Inventory
from gilder.reconcile.outcome import Outcome
from gilder.sandbox.aws.seed import make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws, start_aws

HOME, DR = "eu-west-1", "us-east-1"
REGIONS = (HOME, DR)
OURS = [{"Name": "tag:goldenimage.dev/image", "Values": ["team/base"]}]
CHANGES = (
    "(CopyImage|CreateTags|DeregisterImage|DisableImage|DeleteSnapshot|CreateImageUsageReport)"
)
ANY = "(Copy|Create|Deregister|Disable|Delete|Describe).*"
ROUNDS, SETTLING = 12, 80
RETENTIONS = (
    {"keep": 1, "gracePeriod": "10m"},
    {"keep": 1, "gracePeriod": "10m", "deregistrationProtection": "EnabledWithCooldown"},
    {"keep": 2, "disableAfter": "1h", "gracePeriod": "5m", "checkOtherAccounts": False},
    {"keep": 1, "gracePeriod": "5m", "deleteSnapshots": False},
)


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
    yield server
    server.reset()


class Story:
    """One GoldenImage, its AWS, and an operator that may die at any call."""

    def __init__(self, aws: SandboxAws, number: int) -> None:
        self.aws = aws
        self.random = random.Random(number)
        self.sources = 0
        self.status = GoldenImageStatus()
        self.deleting = False
        self.trouble: list[Callable[[], object]] = []
        self.spec: dict[str, Any] = {
            "region": HOME,
            "encryption": {"kmsKeyId": "alias/golden"},
            "replicas": [{"region": DR, "kmsKeyId": "alias/golden"}],
            "retention": RETENTIONS[number % len(RETENTIONS)],
            "deletionPolicy": "Delete",
        }
        self.engine = self._engine()
        self.new_source()

    def _engine(self) -> Engine:
        def clock() -> datetime:
            return datetime.fromtimestamp(self.aws.clock.time(), UTC)

        return Engine(Sessions(HOME, cluster="default"), "default", clock=clock)

    # AWS

    def images(self) -> dict[str, dict[str, Any]]:
        """AMIs of ours by id, of both Regions."""
        found = {}
        for region in REGIONS:
            ec2 = self.aws.client("ec2", region)
            shown = ec2.describe_images(
                Owners=["self"], Filters=OURS, IncludeDisabled=True, IncludeDeprecated=True
            )["Images"]
            found |= {i["ImageId"]: {**i, "Region": region} for i in shown}
        return found

    def snapshots(self) -> set[str]:
        """Snapshots of ours, of both Regions."""
        every = (
            self.aws.client("ec2", r).describe_snapshots(OwnerIds=["self"], Filters=OURS)
            for r in REGIONS
        )
        return {s["SnapshotId"] for page in every for s in page["Snapshots"]}

    def running(self) -> dict[str, tuple[str, str]]:
        """Instances by id, with Region and AMI."""
        found = {}
        for region in REGIONS:
            pages = self.aws.client("ec2", region).describe_instances(
                Filters=[{"Name": "instance-state-name", "Values": ["running"]}]
            )
            for reservation in pages["Reservations"]:
                for i in reservation["Instances"]:
                    found[i["InstanceId"]] = (region, i["ImageId"])
        return found

    # What happens

    def new_source(self) -> None:
        self.sources += 1
        source = register(self.aws, f"source-{self.sources}", make_snapshot(self.aws))
        self.spec["source"] = {"image": {"id": source}}

    def launch(self) -> None:
        there = [i for i in self.images().values() if i["State"] == "available"]
        if there:
            chosen = self.random.choice(sorted(there, key=lambda i: str(i["ImageId"])))
            self.aws.client("ec2", chosen["Region"]).run_instances(
                ImageId=chosen["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1
            )

    def terminate(self) -> None:
        for instance, (region, _) in self.running().items():
            self.aws.client("ec2", region).terminate_instances(InstanceIds=[instance])

    def deregister_by_hand(self) -> None:
        latest = self.status.latest
        served = {latest.image_id if latest else ""} | {r.image_id for r in self.status.replicas}
        there = [i for i in self.images().values() if i["ImageId"] not in served]
        if there:
            chosen = self.random.choice(sorted(there, key=lambda i: str(i["ImageId"])))
            if chosen.get("DeregistrationProtection", "disabled") == "disabled":
                fault = self.aws.client("ec2", chosen["Region"])
                try:
                    fault.deregister_image(ImageId=chosen["ImageId"])
                except fault.exceptions.ClientError:
                    return  # its protection is in the cooldown

    def restart(self) -> None:
        self.engine.close()
        self.engine = self._engine()

    def wait(self) -> None:
        self.aws.clock.advance(self.random.choice((30, 301, 601, 3700, 25 * 3600)))

    def fault(self) -> None:
        """Calls that fail, are throttled, or take effect with their answer lost."""
        faults, draw = self.aws.faults, self.random
        region = draw.choice(REGIONS)
        times = draw.randint(1, 4)
        unread = draw.choice(("DescribeImageReferences", "DescribeSnapshots", "DescribeImages"))
        self.trouble.append(
            draw.choice(
                (
                    lambda: faults.fail(ANY, "UnauthorizedOperation", times=times, region=region),
                    lambda: faults.throttle(times, ANY, rate=0.5),
                    lambda: faults.timeout_after_effect(CHANGES, drop=False),
                    lambda: faults.deny(unread, region=region),
                    # As if it were down, in a way that is not retried for long.
                    lambda: faults.fail(".*", "OptInRequired", times=None, region=region),
                )
            )
        )

    def calm(self) -> None:
        self.trouble.clear()

    # The operator

    @property
    def object(self) -> GoldenImage:
        meta = {"name": "base", "namespace": "team", "uid": "u", "generation": 1}
        if self.deleting:
            meta["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        found = GoldenImage.model_validate({"metadata": meta, "spec": self.spec})
        return found.model_copy(update={"status": self.status})

    def reconcile(self, *, write: bool = True) -> Outcome[GoldenImageStatus]:
        inventory = Inventory("default")
        image = self.object
        inventory.put_image(image)
        before, busy = self.images(), {i for _, i in self.running().values()}
        scope = inventory.image_scope(image.metadata.key)
        for begin in self.trouble:
            begin()
        found = self.engine.reconcile_image(image, scope, self.engine.views.now())
        self.aws.faults.clear()
        self.judge(before, busy)
        if write:
            self.status = found.status
        return found

    def die(self) -> None:
        """The operator is killed before or after one of its changes; no status is written."""
        faults, left = self.aws.faults, self.random.randint(1, 3)

        def strike(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                faults.fail(CHANGES, "UnauthorizedOperation", times=None)

        hook = self.random.choice((faults.before, faults.after))
        self.trouble.append(lambda: hook(CHANGES, strike))
        self.reconcile(write=False)
        self.trouble.pop()
        self.restart()

    # Judging

    def judge(self, before: dict[str, dict[str, Any]], busy: set[str]) -> None:
        """Of what went in this round: that it might go."""
        now = datetime.fromtimestamp(self.aws.clock.time(), UTC)
        after = self.images()
        told = {r.id: r for r in self.status.retiring}
        for id_, image in before.items():
            left = after.get(id_)
            ended = left is None or (left["State"] == "disabled" != image["State"])
            if not ended or image["State"] in ("failed", "pending"):
                continue
            assert id_ not in busy, f"{id_} is in use"
            if self.deleting:
                continue
            assert id_ in told, f"{id_} went unannounced"
            assert passed(told[id_].at, now) >= 0, f"{id_} went before its time"
            assert self.status.latest is not None
            assert id_ != self.status.latest.image_id, "the released version goes"
            rest = [i for i in after.values() if i["Region"] == image["Region"]]
            assert any(i["State"] == "available" for i in rest), "nothing can be launched"

    def settle(self) -> None:
        """Without faults, until all is done but what is in use."""
        self.calm()
        self.restart()
        for _ in range(SETTLING):
            found = self.reconcile()
            coming = [r for r in self.status.retiring if not r.held_by]
            now = datetime.fromtimestamp(self.aws.clock.time(), UTC)
            if not found.results and not coming:
                return
            due = min((-passed(r.at, now) for r in coming), default=60.0)
            self.aws.clock.advance(max(due, 1.0) if not found.results else 1.0)
            if not found.results:
                self.restart()  # what it remembers goes by the real time
        pytest.fail(f"it does not come to rest: {self.status.plan} {self.status.retiring}")

    def judge_settled(self) -> None:
        images = self.images().values()
        devices = [d.get("Ebs", {}) for i in images for d in i["BlockDeviceMappings"]]
        used = {d.get("SnapshotId") for d in devices}
        told = {s.id for s in self.status.leftovers} | {r.id for r in self.status.retiring}
        assert self.snapshots() <= used | told, "every snapshot has an AMI, or is told of"
        served = [self.status.latest, *self.status.replicas]
        assert {s.version for s in served if s} == {max(v.version for v in self.status.versions)}
        by_slot: dict[tuple[str, str], list[str]] = {}
        for image in images:
            tags = {t["Key"].rsplit("/")[-1]: t["Value"] for t in image["Tags"]}
            if image["State"] in ("available", "disabled"):
                by_slot.setdefault((image["Region"], tags["version"]), []).append(image["ImageId"])
        assert all(len(there) == 1 for there in by_slot.values()), by_slot


@pytest.mark.parametrize("number", [0, 2])
def test_whatever_fails_nothing_is_lost(aws: SandboxAws, number: int) -> None:
    story = Story(aws, number)
    story.settle()
    weighted: list[tuple[int, Callable[[], object]]] = [
        (3, story.new_source), (2, story.launch), (1, story.terminate), (1, story.restart),
        (2, story.deregister_by_hand), (4, story.wait), (4, story.fault), (3, story.die),
        (2, story.calm),
    ]  # fmt: skip
    for _ in range(ROUNDS):
        happen = story.random.choices([a for _, a in weighted], [w for w, _ in weighted])[0]
        happen()
        story.reconcile(write=story.random.random() < 0.8)
    story.settle()
    story.judge_settled()
    story.terminate()
    aws.clock.advance(25 * 3600)
    story.settle()
    story.judge_settled()
    story.deleting = True
    for _ in range(SETTLING):
        if story.reconcile().release:
            break
        aws.clock.advance(3600)
        story.restart()
    assert story.images() == {}
    assert story.snapshots() == set()
