"""What the sandbox shows of gates: a version that fails, and one that passes; told by AWS."""

from collections.abc import Callable
from typing import Any

from gilder.api.names import API_VERSION, REBUILD
from gilder.sandbox.breakage import amis_of, can_launch
from gilder.sandbox.world import World

HOME, REPLICA = "eu-west-1", "eu-central-1"
CONSUMER = "222222222222"
FOUND = "/root/.ssh/id_ed25519 is a private key\n1 finding"


class Gates:
    """One GoldenImage of the samples that is built and checked."""

    def __init__(self, world: World, name: str, look: Callable[[], dict[str, Any]]) -> None:
        """`look` reads the GoldenImage `name` from Kubernetes."""
        self._world, self._aws, self._name, self._look = world, world.aws, name, look
        self._before = self._latest()

    def rebuild(self, request: str, *, leaving_a_key: bool = False) -> None:
        """Ask for a build, as `kubectl annotate` would."""
        if leaving_a_key:
            # CloudInitHealthy is sent first and passes; NoSecrets is the next.
            self._aws.commands.outcome("AWS-RunShellScript", stdout=FOUND, exit_code=1, count=1)
            self._aws.commands.outcome("AWS-RunShellScript", count=1)
        where = {"name": self._name, "namespace": "images"}
        self._world.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "GoldenImage",
                "metadata": {**where, "annotations": {REBUILD: request}},
            }
        )

    def kept_aside(self) -> bool:
        """The candidate failed, nobody has it, and what was released still is."""
        status = self._status()
        candidate = status.get("candidate") or {}
        if self._condition("GatesPassed").get("reason") != "GateFailed" or not candidate:
            return False
        image = candidate["imageId"]
        return (
            self._latest() == self._before
            and not can_launch(self._aws, image, HOME, CONSUMER)
            and can_launch(self._aws, self._before.get("imageId", ""), HOME, CONSUMER)
            and not self._copies(candidate["version"])
        )

    def released(self) -> bool:
        """A newer version passed: it is the latest, is copied, and the consumer can launch it."""
        latest = self._latest()
        if latest.get("version", 0) <= self._before.get("version", 0):
            return False
        copies = self._copies(latest["version"])
        return bool(copies) and all(
            can_launch(self._aws, image, region, CONSUMER)
            for image, region in ((latest["imageId"], HOME), (copies[0], REPLICA))
        )

    def nothing_left(self) -> bool:
        """No test instance outlives its checks."""
        filters = [
            {"Name": "tag-key", "Values": ["goldenimage.dev/test"]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
        found = self._aws.client("ec2", HOME).describe_instances(Filters=filters)["Reservations"]
        return not found

    def told(self) -> str:
        condition = self._condition("GatesPassed")
        return f"GoldenImage {self._name}: {condition.get('message', '')}"

    def _copies(self, version: int) -> list[str]:
        return amis_of(self._aws, self._name, version, REPLICA)

    def _status(self) -> dict[str, Any]:
        return dict(self._look().get("status", {}))

    def _latest(self) -> dict[str, Any]:
        return self._status().get("latest") or {}

    def _condition(self, kind: str) -> dict[str, Any]:
        conditions = self._status().get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})
