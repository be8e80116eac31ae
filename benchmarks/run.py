"""Counts what the operator asks of AWS and Kubernetes, over growing workloads.

    python benchmarks/run.py                       # 10, 100 and 1,000 images, a share of each
    python benchmarks/run.py --images 10           # a minute
    python benchmarks/run.py --images 1000 --shares 5000 --accounts 2
    python benchmarks/run.py --images 20 --accounts 10 --shares 1 --no-events

Each workload is a fresh local AWS and Kubernetes API with the real operator as a process, and with
a queue of events unless --no-events is given. Counts are the portable figures: the wall times are
those of the emulators on this machine.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
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
QUEUE = ("ReceiveMessage", "DeleteMessageBatch")  # the queue's calls, counted apart
LIMIT = 1800.0  # seconds of one phase
POLL = "5"  # seconds; the default is 15, and an AMI takes longer than here
# As the image has it.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}


@dataclass
class Phase:
    """What one phase cost."""

    name: str
    seconds: float = 0.0
    peak_mib: float = 0.0
    aws: dict[str, int] = field(default_factory=dict)
    kubernetes: dict[str, int] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """Calls that are not the queue's."""
        return sum(n for a, n in self.aws.items() if a not in QUEUE)

    @property
    def queue(self) -> int:
        return sum(n for a, n in self.aws.items() if a in QUEUE)


@dataclass
class Run:
    """One workload with its phases."""

    images: int
    accounts: int
    shares: int
    phases: list[Phase] = field(default_factory=list)


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
            documents.append(obj("GoldenImage", f"image-{n:05d}", spec, {"all": "yes"}))
        for n in range(self.run.shares):
            ref: dict[str, Any] = {"selector": {"matchLabels": {"all": "yes"}}}
            if self.run.shares > 1:
                ref = {"name": f"image-{n % self.run.images:05d}"}
            spec = {"imageRef": ref, "accounts": accounts}
            documents.append(obj("ImageShare", f"share-{n:05d}", spec))
        return documents

    def phase(self, name: str, start: Callable[[], None], done: Callable[[], bool]) -> None:
        """Run one phase until `done`, counting from `start` on."""
        self.world.aws.requests.reset()
        if self.world.cluster.server is not None:
            self.world.cluster.server.requests.reset()
        began = time.monotonic()
        print(f"{self.run.images} images, {self.run.shares} shares: {name}", file=sys.stderr)
        start()
        while True:
            asked = time.monotonic()
            if done():
                break
            if time.monotonic() - began > LIMIT:
                raise TimeoutError(f"{name}: {self.world.operator.tail()}")
            if not self.world.operator.running:
                raise RuntimeError(self.world.operator.tail())
            # Listing thousands of objects is work for the emulator: leave it time for the operator.
            time.sleep(max(0.5, 4 * (time.monotonic() - asked)))
        phase = Phase(name, time.monotonic() - began, _peak(self.world))
        if isinstance(done, Reads):
            phase.seconds = done.seconds
        for key, count in self.world.aws.requests.snapshot().items():
            if key.account == self.world.seeded.account:
                phase.aws[key.action] = phase.aws.get(key.action, 0) + count
        if self.world.cluster.server is not None:
            for (verb, resource), count in self.world.cluster.server.requests.snapshot().items():
                if verb != "list" or resource not in ("goldenimages", "imageshares"):
                    phase.kubernetes[f"{verb} {resource}"] = count
        self.run.phases.append(phase)

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


def obj(
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
    settings = {"RESYNC_SECONDS": "3600", "POLL_SECONDS": POLL}
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), settings=settings, emulate=True) as world,
    ):
        for region in REGIONS:
            make_key(world.aws, region, "alias/bench")
        bench = Bench(world, images, accounts, shares)
        world.operator.env |= ENVIRONMENT
        world.apply(*bench.documents())
        if events:
            # Only now: nobody would read what is told of the making of the sources.
            world.operator.env["GILDER_EVENT_QUEUE_URL"] = world.aws.events()
        bench.phase("first convergence", world.operator.start, bench.settled)
        world.operator.stop()
        # Long enough for the reads of the start and those of a sweep not to meet.
        resync = max(20.0, 0.4 * bench.run.phases[0].seconds)
        world.operator.env["GILDER_RESYNC_SECONDS"] = str(resync)
        bench.phase("restart, nothing to do", world.operator.start, Reads(bench))
        bench.phase("sweep, nothing to do", lambda: None, Reads(bench))
        ec2 = world.aws.client("ec2", REGIONS[1])
        name = "image-00000"
        image = next(i for i in bench.items("goldenimages") if i["metadata"]["name"] == name)
        copies = image["status"]["versions"][0]["images"]
        copy = next(i["imageId"] for i in copies if i["region"] == REGIONS[1])
        account = f"{200000000000}"

        def users() -> list[str]:
            there = world.aws.image(copy, REGIONS[1]).launch_permissions  # without a call
            return [p["UserId"] for p in there]

        share = bench.items("imageshares")[0]["metadata"]["name"]

        def drift() -> None:
            change = {"Remove": [{"UserId": account}]}
            ec2.modify_image_attribute(ImageId=copy, LaunchPermission=change)
            world.aws.requests.reset()
            if not events:
                bench.ask("imageshares", share, "drift")

        bench.phase("heal one permission", drift, Reads(bench, lambda: account in users()))
        return bench.run


class Reads:
    """True once AWS has been asked something and then nothing for a while, and `then`."""

    def __init__(
        self, bench: Bench, then: Callable[[], bool] = lambda: True, quiet: float = 4.0
    ) -> None:
        self._bench = bench
        self._then = then
        self._quiet = quiet
        self._total = 0
        self._first = self._last = 0.0

    @property
    def seconds(self) -> float:
        """From the first call to the last one."""
        return self._last - self._first

    def __call__(self) -> bool:
        total = sum(
            n
            for k, n in self._bench.world.aws.requests.snapshot().items()
            if k.action not in ("GetCallerIdentity", *QUEUE)
        )
        now = time.monotonic()
        if total != self._total:
            self._first = self._first or now
            self._total, self._last = total, now
        return total > 0 and now - self._last > self._quiet and self._then()


def _peak(world: World) -> float:
    """Peak resident memory of the operator in MiB."""
    pid = world.operator.pid
    text = Path(f"/proc/{pid}/status").read_text() if pid else ""
    found = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def show(runs: list[Run]) -> None:
    """One table: what each phase costs, as the workload grows."""
    table = Table(title="Images in 3 Regions each; listings not counted", title_justify="left")
    table.add_column("Phase")
    table.add_column("What")
    for run in runs:
        head = f"{run.images:,} images\n{run.shares:,} shares\n{run.accounts:,} accounts"
        table.add_column(head, justify="right")
    for n, phase in enumerate(runs[0].phases):
        phases = [run.phases[n] for run in runs]
        rows = [
            ("AWS calls", [p.calls for p in phases]),
            *((f"  {a}", [p.aws.get(a, 0) for p in phases]) for a in _actions(phases)),
            ("calls of the event queue", [p.queue for p in phases]),
            ("Kubernetes requests", [sum(p.kubernetes.values()) for p in phases]),
            ("seconds", [p.seconds for p in phases]),
            ("peak memory, MiB", [p.peak_mib for p in phases]),
        ]
        for row, (what, figures) in enumerate(rows):
            table.add_row("" if row else phase.name, what, *(f"{f:,.0f}" for f in figures))
        table.add_section()
    Console(width=110).print(table)


def _actions(phases: list[Phase]) -> list[str]:
    """Actions other than the queue's, the most frequent first."""
    most: dict[str, int] = {}
    for action, count in ((a, n) for p in phases for a, n in p.aws.items() if a not in QUEUE):
        most[action] = max(count, most.get(action, 0))
    return sorted(most, key=lambda a: (-most[a], a))


def compare(workloads: Iterable[Callable[[], Run]], file: Path | None) -> int:
    """Measure each, show them side by side, and write the figures to a file; the exit code."""
    runs = []
    for measured in workloads:
        # One AWS per process: each workload runs in a child.
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reader)
            os.write(writer, json.dumps(asdict(measured())).encode())
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
    if file:
        file.write_text(json.dumps([asdict(r) for r in runs], indent=2) + "\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, action="append", help="may be given several times")
    parser.add_argument("--accounts", type=int, default=10)
    parser.add_argument("--shares", type=int, help="by default one per image")
    parser.add_argument("--no-events", action="store_true", help="without a queue of events")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()

    def workload(images: int) -> Callable[[], Run]:
        shares = images if given.shares is None else given.shares
        return lambda: measure(images, given.accounts, shares, not given.no_events)

    return compare([workload(n) for n in given.images or [10, 100, 1000]], given.json)


if __name__ == "__main__":
    sys.exit(main())
