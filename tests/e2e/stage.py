"""A System with more to do and to look at, and a guard that never looks away."""

from collections import Counter
from typing import Any

import requests
from systemworld import Object, System

from gilder.sandbox.aws.seed import make_snapshot, register

A, B, C = "222222222222", "333333333333", "444444444444"  # A and B are in the OU, C is not
STRANGER = "999999999999"
HOME, DR, OTHER = "eu-west-1", "us-east-1", "eu-central-1"
KEY = {"kmsKeyId": "alias/golden"}
ENCRYPTED: Object = {"encryption": KEY}
REPLICATED: Object = {"encryption": KEY, "replicas": [{"region": DR, **KEY}]}


class Stage(System):
    """A world, and what these tests do to it."""

    def start(self, resync: float = 3600, **settings: str) -> None:
        """Start the operator; with the default it looks for drift only when asked."""
        super().start(RESYNC_SECONDS=str(resync), **settings)

    def restart(self) -> None:
        self.world.operator.kill()
        self.world.operator.start()

    def status(self, kind: str, name: str) -> Object:
        return dict(self.get(kind, name).get("status", {}))

    def message(self, kind: str, name: str, type_: str = "Ready") -> str:
        return str(self.condition(kind, name, type_).get("message", ""))

    def gone(self, kind: str, *names: str, seconds: float = 20) -> None:
        for name in names:
            self.wait(lambda n=name: self.get(kind, n) == {}, f"{kind} {name} gone", seconds)

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        self.patch(kind, name, {"spec": spec}).raise_for_status()

    def look(self, kind: str, name: str, token: str) -> None:
        """Have the operator look at AWS now, and wait until it has."""
        self.annotate(kind, name, **{"goldenimage.dev__reconcile-now": token})
        self.wait(
            lambda: self.status(kind, name).get("lastHandledReconcileAt") == token,
            f"{kind} {name} looked at for {token}",
        )

    def publish(self, name: str, image: str = "") -> str:
        """A new AMI behind /golden/base."""
        made = image or register(self.aws, name, make_snapshot(self.aws))
        self.aws.client("ssm").put_parameter(
            Name="/golden/base", Value=made, Type="String", Overwrite=True
        )
        return made

    def wait_version(self, version: int, name: str = "base") -> None:
        self.wait(
            lambda: self.status("GoldenImage", name).get("latest", {}).get("version") == version,
            f"version {version} of {name}",
        )
        self.wait_ready("GoldenImage", name)

    def tags(self, resource: str, region: str) -> dict[str, str]:
        ec2 = self.aws.client("ec2", region)
        found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource]}])["Tags"]
        return {t["Key"]: t["Value"] for t in found}

    def snapshots(self, region: str) -> set[str]:
        """Snapshots with our ownership tag."""
        ec2 = self.aws.client("ec2", region)
        filters = [{"Name": "tag-key", "Values": ["goldenimage.dev/image"]}]
        found = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        return {s["SnapshotId"] for s in found}

    def grantees(self, region: str = HOME) -> list[str]:
        """Accounts of the grants on the seeded key, one entry per grant."""
        return sorted(g["GranteePrincipal"].split(":")[4] for g in self.grants(region))

    def order(self) -> list[str]:
        """Actions in the order in which AWS saw them."""
        return [k.action for k in self.aws.requests.history()]

    def assert_nothing_twice(self, *regions: str) -> None:
        """One AMI per image, version and role, and one grant per name."""
        for region in regions or (HOME, DR):
            slots = Counter(
                tuple(t.get(f"goldenimage.dev/{k}") for k in ("image", "version", "role"))
                for i in self.owned(region)
                for t in [{t["Key"]: t["Value"] for t in i["Tags"]}]
            )
            assert set(slots.values()) <= {1}, slots
            names = Counter(g["Name"] for g in self.grants(region))
            assert set(names.values()) <= {1}, names

    def guard(self) -> list[str]:
        """From now on note each moment at which an account may launch without the key."""
        seen: list[str] = []

        def check(call: Any) -> None:
            granted = set(self.grantees(call.region))
            for image in self.owned(call.region):
                devices = image["BlockDeviceMappings"]
                if not any(d.get("Ebs", {}).get("Encrypted") for d in devices):
                    continue
                lacking = self.users(image["ImageId"], call.region) - granted
                if lacking:
                    seen.append(f"after {call.action}: {image['ImageId']} {sorted(lacking)}")

        self.aws.faults.after("ModifyImageAttribute|RevokeGrant", check)
        return seen


def metric(port: int, series: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    total = 0.0
    for line in text.splitlines():
        if line.startswith(series + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total
