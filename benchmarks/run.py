"""Counts what the operator asks of AWS and Kubernetes, over growing workloads.

    python benchmarks/run.py                       # 10 and 100 images
    python benchmarks/run.py --images 20 --accounts 10
    python benchmarks/run.py --images 200 --accounts 50

Each workload is a fresh local AWS and Kubernetes API with the real operator as a process. Counts
are the portable figures: the wall times are those of the emulators on this machine.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from gilder.sandbox.aws.seed import make_key, make_snapshot, register
from gilder.sandbox.world import World

REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")
NAMESPACE = "bench"
SWEEP = "goldenimage.dev/reconcile-now"


@dataclass
class Phase:
    """What one phase cost."""

    name: str
    seconds: float = 0.0
    aws: dict[str, int] = field(default_factory=dict)
    kubernetes: dict[str, int] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return sum(self.aws.values())


@dataclass
class Run:
    """One workload with its phases."""

    images: int
    accounts: int
    shares: int
    phases: list[Phase] = field(default_factory=list)
    peak_mib: float = 0.0


class Bench:
    """A world with one workload in it."""

    def __init__(self, world: World, images: int, accounts: int, shares: int) -> None:
        self.world = world
        self.run = Run(images, accounts, shares)
        self._session = requests.Session()
        self._root = f"{world.cluster.url}/apis/goldenimage.dev/v1alpha1/namespaces/{NAMESPACE}"

    def documents(self) -> list[dict[str, Any]]:
        accounts = [f"{200000000000 + n}" for n in range(self.run.accounts)]
        documents: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        ]
        for n in range(self.run.images):
            source = register(self.world.aws, f"source-{n:05d}", make_snapshot(self.world.aws))
            spec = {
                "region": REGIONS[0],
                "source": {"image": {"id": source}},
                "encryption": {"kmsKeyId": "alias/bench"},
                "replicas": [{"region": r, "kmsKeyId": "alias/bench"} for r in REGIONS[1:]],
            }
            documents.append(_object("GoldenImage", f"image-{n:05d}", spec, {"all": "yes"}))
        for n in range(self.run.shares):
            ref: dict[str, Any] = {"selector": {"matchLabels": {"all": "yes"}}}
            if self.run.shares > 1:
                ref = {"name": f"image-{n % self.run.images:05d}"}
            spec = {"imageRef": ref, "accounts": accounts}
            documents.append(_object("ImageShare", f"share-{n:05d}", spec))
        return documents

    def phase(self, name: str, start: Callable[[], None], done: Callable[[], bool]) -> None:
        """Run one phase until `done`, counting from `start` on."""
        self.world.aws.requests.reset()
        if self.world.cluster.server is not None:
            self.world.cluster.server.requests.reset()
        began = time.monotonic()
        start()
        while True:
            asked = time.monotonic()
            if done():
                break
            if time.monotonic() - began > 1800:
                raise TimeoutError(f"{name}: {self.world.operator.tail()}")
            if not self.world.operator.running:
                raise RuntimeError(self.world.operator.tail())
            # Listing thousands of objects is work for the emulator: leave it time for the operator.
            time.sleep(max(0.5, 4 * (time.monotonic() - asked)))
        phase = Phase(name, time.monotonic() - began)
        for key, count in self.world.aws.requests.snapshot().items():
            if key.account == self.world.seeded.account:
                phase.aws[key.action] = phase.aws.get(key.action, 0) + count
        if self.world.cluster.server is not None:
            for (verb, resource), count in self.world.cluster.server.requests.snapshot().items():
                if verb != "list" or resource not in ("goldenimages", "imageshares"):
                    phase.kubernetes[f"{verb} {resource}"] = count
        self.run.phases.append(phase)
        self.run.peak_mib = max(self.run.peak_mib, _peak(self.world))

    def items(self, plural: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._session.get(f"{self._root}/{plural}").json()["items"]
        return found

    def settled(self) -> bool:
        items = [*self.items("imageshares"), *self.items("goldenimages")]
        return all(_ready(i) for i in items) and len(items) == self.run.images + self.run.shares

    def ask(self, plural: str, name: str, token: str) -> None:
        self._session.patch(
            f"{self._root}/{plural}/{name}",
            data=json.dumps({"metadata": {"annotations": {SWEEP: token}}}),
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()


def _object(
    kind: str, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or {}},
        "spec": spec,
    }


def _ready(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    return any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in status.get("conditions", [])
        if c.get("observedGeneration") == item["metadata"]["generation"]
    )


def measure(images: int, accounts: int, shares: int, events: bool = False) -> Run:
    settings = {"RESYNC_SECONDS": "3600", "POLL_SECONDS": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), settings=settings, emulate=True) as world,
    ):
        for region in REGIONS:
            make_key(world.aws, region, "alias/bench")
        bench = Bench(world, images, accounts, shares)
        world.operator.env["MALLOC_ARENA_MAX"] = "2"  # as the image has it
        world.apply(*bench.documents())
        if events:
            # Only now: nobody would read what is told of the making of the sources.
            world.operator.env["GILDER_EVENT_QUEUE_URL"] = world.aws.events()
        bench.phase("first convergence", world.operator.start, bench.settled)
        world.operator.stop()
        sweep = _Sweep(bench)
        bench.phase("restart, nothing to do", world.operator.start, sweep.quiet)
        ec2 = world.aws.client("ec2", REGIONS[1])
        name = "image-00000"
        image = next(i for i in bench.items("goldenimages") if i["metadata"]["name"] == name)
        copies = image["status"]["versions"][0]["images"]
        copy = next(i["imageId"] for i in copies if i["region"] == REGIONS[1])
        account = f"{200000000000}"

        def users() -> list[str]:
            found = ec2.describe_image_attribute(ImageId=copy, Attribute="launchPermission")
            return [p["UserId"] for p in found["LaunchPermissions"]]

        share = bench.items("imageshares")[0]["metadata"]["name"]

        def drift() -> None:
            change = {"Remove": [{"UserId": account}]}
            ec2.modify_image_attribute(ImageId=copy, LaunchPermission=change)
            world.aws.requests.reset()
            bench.ask("imageshares", share, "drift")

        healed = _Sweep(bench)
        bench.phase("heal one permission", drift, lambda: healed.quiet() and account in users())
        return bench.run


class _Sweep:
    """Done once AWS has been asked something and then nothing for a while."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._last = (-1, time.monotonic())

    def quiet(self, seconds: float = 4.0) -> bool:
        total = sum(
            n
            for k, n in self._bench.world.aws.requests.snapshot().items()
            if k.action not in ("GetCallerIdentity",)
        )
        if total != self._last[0]:
            self._last = (total, time.monotonic())
        return total > 0 and time.monotonic() - self._last[1] > seconds


def _peak(world: World) -> float:
    """Peak resident memory of the operator in MiB."""
    pid = world.operator.pid
    text = Path(f"/proc/{pid}/status").read_text() if pid else ""
    found = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def show(runs: list[Run]) -> None:
    console = Console(width=110)
    for run in runs:
        title = f"{run.images} images x 3 Regions x {run.accounts} accounts, {run.shares} shares"
        table = Table(title=f"{title}, peak {run.peak_mib:.0f} MiB", title_justify="left")
        for column in ("Phase", "AWS calls", "Kubernetes", "Seconds", "By action"):
            table.add_column(column, justify="right" if column != "By action" else "left")
        for p in run.phases:
            detail = ", ".join(f"{a} {n}" for a, n in sorted(p.aws.items(), key=lambda x: -x[1]))
            kubernetes = str(sum(p.kubernetes.values()))
            table.add_row(p.name, str(p.calls), kubernetes, f"{p.seconds:.0f}", detail)
        console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, action="append", help="may be given several times")
    parser.add_argument("--accounts", type=int, default=10)
    parser.add_argument("--shares", type=int, default=1)
    parser.add_argument("--events", action="store_true", help="with a queue of events")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    runs = []
    for images in given.images or [10, 100]:
        # One AWS per process: each workload runs in a child.
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reader)
            run = measure(images, given.accounts, given.shares, given.events)
            os.write(writer, json.dumps(asdict(run)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        if not text:
            return 1
        found = json.loads(text)
        found["phases"] = [Phase(**p) for p in found["phases"]]
        runs.append(Run(**found))
    show(runs)
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for r in runs], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
