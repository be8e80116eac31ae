"""What the sandbox shows of releases: a rollback moves what is published, and back; told by AWS."""

from collections.abc import Callable
from typing import Any

from gilder.api.names import API_VERSION
from gilder.sandbox.breakage import Breakage, Step, amis_of, can_launch
from gilder.sandbox.demonstration import CONSUMER
from gilder.sandbox.world import World

REGIONS = ("eu-west-1", "eu-central-1")


class Releasing:
    """One GoldenImage of the samples that has two good versions and is published."""

    def __init__(self, world: World, name: str, look: Callable[[], dict[str, Any]]) -> None:
        """`look` reads the GoldenImage `name` from Kubernetes."""
        self._world, self._aws, self._name, self._look = world, world.aws, name, look
        self._newest = int(look()["status"]["latest"]["version"])
        self._first = min(v["version"] for v in look()["status"]["versions"])

    def steps(self) -> list[Step]:
        return [
            Step(
                f"spec.pinnedVersion: {self._first} on {self._name}: a rollback",
                lambda: self._pin(self._first),
                lambda: self._published(self._first),
            ),
            Step(
                "no spec.pinnedVersion any more",
                lambda: self._pin(None),
                # What follows breaks it, and a value not seen yet is awaited for a minute.
                lambda: self._published(self._newest) and self._seen(),
            ),
        ]

    def breakage(self) -> Breakage:
        """Somebody writes an older AMI into the parameter."""
        region = REGIONS[0]
        ssm = self._aws.client("ssm", region)
        older = self._ami(self._first, region)

        def value() -> str:
            return str(ssm.get_parameter(Name=self._parameter)["Parameter"]["Value"])

        return Breakage(
            f"write {older} into the parameter {self._parameter} of {region}",
            lambda: ssm.put_parameter(Name=self._parameter, Value=older, Overwrite=True),
            lambda: value() == older,
            lambda: self._published(self._newest),
        )

    def announced(self) -> bool:
        """The first version is to go, and is still there."""
        retiring = self._look().get("status", {}).get("retiring", [])
        homes = [r for r in retiring if r["version"] == self._first]
        return bool(homes) and all(self._ami(self._first, r["region"]) for r in homes)

    def told(self) -> str:
        """What status announces."""
        return "\n".join(
            f"  GoldenImage {self._name}: {r['action']} {r['id']} in {r['region']}, version "
            f"{r['version']}, at {r['at']}: {r['reason']}"
            for r in self._look()["status"]["retiring"]
        )

    @property
    def _parameter(self) -> str:
        return f"/golden/{self._name}"

    def _pin(self, version: int | None) -> None:
        self._world.apply(
            {
                "apiVersion": API_VERSION,
                "kind": "GoldenImage",
                "metadata": {"name": self._name, "namespace": "images"},
                "spec": {"pinnedVersion": version},
            }
        )

    def _published(self, version: int) -> bool:
        """Every Region's parameter, and the share, stand at a version."""
        for region in REGIONS:
            image = self._ami(version, region)
            found = self._aws.client("ssm", region).get_parameter(Name=self._parameter)["Parameter"]
            there = found["Value"] == image and found["DataType"] == "aws:ec2:image"
            if not (image and there and can_launch(self._aws, image, region, CONSUMER)):
                return False
        return True

    def _seen(self) -> bool:
        """Whether the operator has read back what it wrote last into all parameters."""
        told = self._look().get("status", {}).get("published", [])
        written = [t for t in told if t["kind"] == "Parameter"]
        return len(written) == len(REGIONS) and not any(t.get("message") for t in written)

    def _ami(self, version: int, region: str) -> str:
        return next(iter(amis_of(self._aws, self._name, version, region)), "")
