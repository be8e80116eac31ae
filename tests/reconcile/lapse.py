"""One GoldenImage reconciled by a real engine against AWS over HTTP, where days can pass."""

from datetime import UTC, datetime
from typing import Any

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.aws.sessions import Sessions
from gilder.core.results import Event
from gilder.reconcile.engine import Engine
from gilder.reconcile.inventory import Inventory
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws

HOME, DR = "eu-west-1", "us-east-1"
OTHER_ACCOUNT = "333333333333"
KEY = {"kmsKeyId": "alias/golden"}
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MOST_LOOKS = 60

Object = dict[str, Any]


class Lapse:
    """A GoldenImage `images/base` from the parameter /golden/base, its status, and the time."""

    def __init__(self, aws: SandboxAws, **spec: Any) -> None:
        self.aws = aws
        self.seeded: Seeded = seed(aws)
        self.spec: Object = {
            "region": HOME,
            "source": {"image": {"ssmParameter": "/golden/base"}},
            **spec,
        }
        self.annotations: dict[str, str] = {}
        self.deleted = False
        self.released = False  # the finalizer
        self.status = GoldenImageStatus()
        self.events: list[Event] = []
        self.again: float | None = None
        self.copies = 300
        self.engine = self._engine()
        self._generation = 1

    def _engine(self) -> Engine:
        def now() -> datetime:
            return datetime.fromtimestamp(self.aws.clock.time(), UTC)

        return Engine(
            Sessions(HOME),
            "default",
            clock=now,
            poll=15.0,
            copies=self.copies,
            ages=self.aws.clock.time,
        )

    # The operator

    def restart(self) -> None:
        """Another process, which knows what status and AWS say."""
        self.engine.close()
        self.engine = self._engine()

    def image(self) -> GoldenImage:
        metadata: Object = {
            "name": "base",
            "namespace": "images",
            "uid": "0a1b2c3d",
            "generation": self._generation,
            "annotations": self.annotations,
            "finalizers": ["goldenimage.dev/finalizer"],
        }
        if self.deleted:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return GoldenImage.model_validate(
            {
                "metadata": metadata,
                "spec": self.spec,
                "status": self.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
        )

    def look(self) -> bool:
        """One reconcile; whether it changed anything."""
        inventory = Inventory("default")
        image = self.image()
        inventory.put_image(image)
        outcome = self.engine.reconcile_image(
            image, inventory.image_scope("images/base"), self.engine.views.now()
        )
        self.status, self.again = outcome.status, outcome.again
        self.events += outcome.events
        self.released = outcome.release
        return any(r.done for r in outcome.results)

    def settle(self) -> None:
        """Reconcile until nothing is left to be done now; polls find time standing still."""
        idle = 0
        for _ in range(MOST_LOOKS):
            changed = self.look()
            soon = self.again is not None and 0 <= self.again <= 2
            idle = 0 if changed or soon else idle + 1
            if self.released or idle == 2:
                return
        raise AssertionError(f"never at rest: {self.status.model_dump_json(indent=1)}")

    def after(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.aws.clock.advance(seconds)
        self.settle()

    def edit(self, **spec: Any) -> None:
        self.spec = {**self.spec, **spec}
        self._generation += 1
        self.settle()

    def delete(self) -> None:
        self.deleted = True
        self.settle()

    # What there is

    def publish(self, name: str) -> str:
        """A new AMI behind /golden/base."""
        made = register(self.aws, name, make_snapshot(self.aws))
        self.aws.client("ssm").put_parameter(
            Name="/golden/base", Value=made, Type="String", Overwrite=True
        )
        return made

    def recycle(self) -> None:
        """Have the Recycle Bin keep AMIs and snapshots for a week."""
        for kind in ("EC2_IMAGE", "EBS_SNAPSHOT"):
            self.aws.client("rbin").create_rule(
                ResourceType=kind,
                RetentionPeriod={"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"},
            )

    def roll(self, count: int, apart: float = HOUR) -> None:
        """That many versions more, one after the other."""
        first = self.status.latest.version if self.status.latest else 0
        for n in range(first + 1, first + 1 + count):
            if n > 1:
                self.publish(f"os-{n}")
                self.after(apart)
            else:
                self.settle()
            assert self.latest == n, self.status.model_dump_json(indent=1)

    @property
    def latest(self) -> int:
        return self.status.latest.version if self.status.latest else 0

    def condition(self, type_: str) -> tuple[str, str]:
        """Status and reason; empty where there is none."""
        found = next((c for c in self.status.conditions if c.type == type_), None)
        return (found.status, found.reason) if found else ("", "")

    def message(self, type_: str) -> str:
        return next((c.message for c in self.status.conditions if c.type == type_), "")

    def ami(self, version: int, region: str = HOME) -> str:
        """The AMI of a version, by its tags; empty when there is none."""
        found = [i for i in self.owned(region) if _tag(i, "version") == str(version)]
        return str(found[0]["ImageId"]) if found else ""

    def owned(self, region: str = HOME) -> list[Object]:
        ec2 = self.aws.client("ec2", region)
        filters = [{"Name": "tag-key", "Values": ["goldenimage.dev/image"]}]
        return list(
            ec2.describe_images(
                Owners=["self"], Filters=filters, IncludeDeprecated=True, IncludeDisabled=True
            )["Images"]
        )

    def versions(self, region: str = HOME) -> list[int]:
        return sorted(int(_tag(i, "version")) for i in self.owned(region))

    def states(self, region: str = HOME) -> dict[int, str]:
        return {int(_tag(i, "version")): i["State"] for i in self.owned(region)}

    def snapshots(self, region: str = HOME) -> set[str]:
        """Snapshots with our ownership tag."""
        ec2 = self.aws.client("ec2", region)
        filters = [{"Name": "tag-key", "Values": ["goldenimage.dev/image"]}]
        found = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        return {s["SnapshotId"] for s in found}

    def retiring(self) -> dict[int, tuple[str, str]]:
        """Version to what is announced for it and what holds it."""
        return {r.version: (r.action, r.held_by) for r in self.status.retiring}

    def run(self, image: str, region: str = HOME, account: str = "123456789012") -> str:
        """An instance of an AMI."""
        ec2 = self.aws.client("ec2", region, account)
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        return str(made["Instances"][0]["InstanceId"])

    def reasons(self) -> list[str]:
        return [e.reason for e in self.events]


def _tag(image: Object, name: str) -> str:
    tags = {t["Key"]: t["Value"] for t in image["Tags"]}
    return str(tags.get(f"goldenimage.dev/{name}", "0"))
