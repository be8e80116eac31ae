"""Counts what release, publishing and retention cost, over all images at once.

    python benchmarks/lifecycle.py                # 100 images in 3 Regions, a minute or two
    python benchmarks/lifecycle.py --images 5 --images 10

Every image is published to an SSM parameter in each Region and a ConfigMap, and keeps one version
with its retention. The real operator runs as a process, with a queue of events. Counts are the
portable figures: the wall times are those of the emulators on this machine.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from run import ENVIRONMENT, REGIONS, Bench, Reads, Run, compare, obj

from gilder.sandbox.aws.seed import make_key, make_snapshot, register
from gilder.sandbox.world import World

PARAMETER = "/bench/source"


class Lifecycle(Bench):
    """A world of images that are all made from one parameter."""

    def __init__(self, world: World, images: int) -> None:
        super().__init__(world, images, 0, 0)
        self.version = 0

    def documents(self) -> list[dict[str, Any]]:
        spec = {
            "region": REGIONS[0],
            "source": {"image": {"ssmParameter": PARAMETER}},
            "encryption": {"kmsKeyId": "alias/bench"},
            "replicas": [{"region": r, "kmsKeyId": "alias/bench"} for r in REGIONS[1:]],
            "promotion": {"replicas": "Wait"},
            "retention": {"keep": 1, "gracePeriod": "1d"},
        }
        found = super().documents()[:1]
        for n in range(self.run.images):
            name = f"image-{n:05d}"
            publish = {
                "ssmParameter": {"name": "/bench/{name}"},
                "configMap": {"name": f"{name}-amis"},
            }
            found.append(obj("GoldenImage", name, {**spec, "publish": publish}))
        return found

    def publish(self) -> None:
        """A new AMI behind the parameter of all images."""
        self.version += 1
        made = register(self.world.aws, f"os-{self.version}", make_snapshot(self.world.aws))
        self.world.aws.client("ssm", REGIONS[0]).put_parameter(
            Name=PARAMETER, Value=made, Type="String", Overwrite=True
        )
        self.world.aws.requests.reset()

    def published(self) -> bool:
        """All Regions' parameters name the newest version, which is the released one."""
        for item in self.items("goldenimages"):
            status = item.get("status", {})
            if (status.get("latest") or {}).get("version") != self.version:
                return False
            told = [p for p in status.get("published", []) if p["kind"] == "Parameter"]
            newest = next(v for v in status["versions"] if v["version"] == self.version)
            if {p.get("imageId") for p in told} != {i["imageId"] for i in newest["images"]}:
                return False
        return self.settled()

    def announced(self) -> bool:
        """What was superseded is announced to go, in every Region."""
        items = self.items("goldenimages")
        return all(len(i.get("status", {}).get("retiring", [])) == len(REGIONS) for i in items)


def measure(images: int, *, quiet: float = 4.0, poll: float = 5.0) -> Run:
    settings = {"RESYNC_SECONDS": "3600", "POLL_SECONDS": str(poll)}
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), settings=settings, emulate=True) as world,
    ):
        for region in REGIONS:
            make_key(world.aws, region, "alias/bench")
        bench = Lifecycle(world, images)
        world.operator.env |= ENVIRONMENT
        bench.publish()
        world.apply(*bench.documents())
        world.operator.env["GILDER_EVENT_QUEUE_URL"] = world.aws.events()
        bench.phase("first version", world.operator.start, Reads(bench, bench.published, quiet))
        bench.phase(
            "a new version of every image",
            bench.publish,
            Reads(bench, lambda: bench.published() and bench.announced(), quiet),
        )
        world.operator.stop()
        resync = max(20.0, 0.4 * bench.run.phases[0].seconds)
        world.operator.env["GILDER_RESYNC_SECONDS"] = str(resync)
        bench.phase("restart, nothing to do", world.operator.start, Reads(bench, quiet=quiet))
        bench.phase("sweep, nothing to do", lambda: None, Reads(bench, quiet=quiet))
        return bench.run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, action="append", help="may be given several times")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    return compare([partial(measure, n) for n in given.images or [100]], given.json)


if __name__ == "__main__":
    sys.exit(main())
