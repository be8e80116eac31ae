"""Counts what builds cost in AWS calls: to begin, while they are waited for, and to end.

    python benchmarks/builds.py                # 100 GoldenImages, all under way at once
    python benchmarks/builds.py --images 20 --gates

Each is built by Image Builder from a recipe of its own, encrypted, in the real operator as a
process. A poll is how often the operator looks at what is under way: every 30 seconds by default
(twice GILDER_POLL_SECONDS), here every `--poll`. Counts per poll do not depend on that.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from gilder.sandbox.world import World

NAMESPACE = "bench"
DEFAULT_POLL = 30.0  # seconds between looks at builds, unless told otherwise
LONG = 3600.0  # seconds that a build takes; the clock of AWS is moved on


class Bench:
    """A world with GoldenImages to build."""

    def __init__(self, world: World, images: int, gates: bool) -> None:
        self.world, self.images, self.gates = world, images, gates
        self._session = requests.Session()
        root = f"{world.cluster.url}/apis/goldenimage.dev/v1alpha1/namespaces/{NAMESPACE}"
        self._url = f"{root}/goldenimages"

    def documents(self) -> list[dict[str, Any]]:
        component = {"arn": "arn:aws:imagebuilder:eu-west-1:aws:component/update-linux/x.x.x"}
        spec: dict[str, Any] = {
            "region": "eu-west-1",
            "source": {
                "imageBuilder": {
                    "recipe": {
                        "parentImage": {"ssmParameter": "/golden/base"},
                        "components": [component],
                    },
                    "infrastructure": {"instanceProfile": "golden-builder"},
                }
            },
            "encryption": {"kmsKeyId": "alias/golden"},
        }
        if self.gates:
            spec["gates"] = {"ssm": {"instance": {"profile": "golden-test"}}}
        found: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        ]
        for n in range(self.images):
            meta = {"name": f"image-{n:05d}", "namespace": NAMESPACE}
            found.append(
                {
                    "apiVersion": "goldenimage.dev/v1alpha1",
                    "kind": "GoldenImage",
                    "metadata": meta,
                    "spec": spec,
                }
            )
        return found

    def count(self, test: Callable[[dict[str, Any]], bool]) -> int:
        """How many GoldenImages' status passes."""
        items = self._session.get(self._url, timeout=60).json()["items"]
        return sum(1 for i in items if test(i.get("status", {})))

    def wait(self, what: str, done: Callable[[], bool], seconds: float = 1200) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline or not self.world.operator.running:
                raise RuntimeError(f"{what}: not in time\n{self.world.operator.tail()}")
            time.sleep(1)

    def calls(self) -> Counter[str]:
        """AWS calls of the operator since the last reset."""
        found: Counter[str] = Counter()
        for key, count in self.world.aws.requests.snapshot().items():
            found[key.action] += count
        return found


def building(status: dict[str, Any]) -> bool:
    return bool((status.get("build") or {}).get("ref"))


def released(status: dict[str, Any]) -> bool:
    return bool((status.get("latest") or {}).get("version"))


def measure(images: int, poll: float, polls: int, gates: bool) -> dict[str, Any]:
    settings = {
        "RESYNC_SECONDS": "36000",
        "POLL_SECONDS": str(poll / 2),
        "MAX_BUILDS": str(images),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), settings=settings, emulate=True, aws={"build_seconds": LONG}) as world,
    ):
        bench = Bench(world, images, gates)
        world.apply(*bench.documents())
        world.aws.requests.reset()
        world.operator.start()
        bench.wait("all builds begin", lambda: bench.count(building) == images)
        time.sleep(2 * poll)  # the first looks after the start are its own
        begun = bench.calls()
        world.aws.requests.reset()
        time.sleep(poll * polls)
        waiting = bench.calls()
        world.aws.requests.reset()
        world.aws.clock.advance(LONG)
        bench.wait("all builds end", lambda: bench.count(released) == images)
        time.sleep(2)
        ended = bench.calls()
        states = world.aws.client("imagebuilder").list_image_build_versions()["imageSummaryList"]
        assert len({s["arn"] for s in states}) == min(images, len(states)), "built twice"
        return {
            "images": images,
            "gates": gates,
            "begin": dict(begun),
            "wait": {k: v / polls for k, v in waiting.items()},
            "end": dict(ended),
            "per_build": (sum(begun.values()) + sum(ended.values())) / images,
            "per_poll": sum(waiting.values()) / polls,
            "per_minute": sum(waiting.values()) / polls * 60 / DEFAULT_POLL,
        }


def show(found: dict[str, Any]) -> None:
    console = Console()
    images = found["images"]
    title = f"{images} builds at once" + (", each with checks on a test instance" * found["gates"])
    table = Table(title=title, title_justify="left")
    for column in ("AWS call", "to begin", "per poll", "to end"):
        table.add_column(column, justify="left" if column == "AWS call" else "right")
    for action in sorted({*found["begin"], *found["wait"], *found["end"]}):
        table.add_row(
            action,
            str(found["begin"].get(action, "")),
            f"{found['wait'][action]:.1f}" if action in found["wait"] else "",
            str(found["end"].get(action, "")),
        )
    console.print(table)
    console.print(
        f"{found['per_build']:.1f} calls per build, begin and end together; waiting for all of "
        f"them costs {found['per_poll']:.1f} calls per poll, {found['per_minute']:.0f} a minute "
        f"at the default interval (a look at each by itself: {images} per poll, "
        f"{images * 60 / DEFAULT_POLL:.0f} a minute)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--poll", type=float, default=4.0, help="seconds between polls")
    parser.add_argument("--polls", type=int, default=5, help="how many are counted")
    parser.add_argument("--gates", action="store_true", help="with checks on a test instance")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    result = measure(given.images, given.poll, given.polls, given.gates)
    show(result)
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0)
