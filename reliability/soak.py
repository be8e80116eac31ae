"""Lets the operator run for long, with work, drift and trouble all the time, and measures it.

    python reliability/soak.py                     # 30 minutes
    python reliability/soak.py --minutes 480 --images 50

The first fifth is for warming up. After it memory, threads and open files must not grow: the mean
of the last fifth is compared with that of the second. In the end all must be Ready, and a SIGTERM
must end the process within the grace period of a pod.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

from botocore.exceptions import ClientError
from scenarios import GOES, REPLICATED, A, B
from stage import DR, HOME, Stage
from systemworld import golden, share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.process import wait_for
from gilder.sandbox.world import World

GRACE = 30.0  # seconds between SIGTERM and SIGKILL
GROWTH = 1.05  # at most
PAUSE = 2.0  # seconds between two things that happen
STRANGER = "999999999999"


@dataclass
class Sample:
    """The process at one moment."""

    seconds: float
    mib: float
    threads: int
    files: int


@dataclass
class Report:
    """What came of it."""

    minutes: float
    images: int
    happened: dict[str, int] = field(default_factory=dict)
    aws_calls: int = 0
    kubernetes_requests: int = 0
    samples: list[Sample] = field(default_factory=list)
    stop_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def parts(self) -> tuple[list[Sample], list[Sample]]:
        """The second and the last fifth."""
        fifth = max(len(self.samples) // 5, 1)
        return self.samples[fifth : 2 * fifth], self.samples[-fifth:]


class Soak:
    """A world, what happens in it, and the process that deals with it."""

    def __init__(self, stage: Stage, images: int, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.names = [f"base-{n}" for n in range(images)]
        self.versions = 0
        stage.apply(
            *(golden(n, source=self._source(n), retention=GOES, **REPLICATED) for n in self.names),
            *(share(f"team-{n}", n, accounts=[A]) for n in self.names),
        )

    def _source(self, name: str) -> dict[str, object]:
        self._publish(name)
        return {"image": {"ssmParameter": f"/golden/{name}"}}

    def _publish(self, name: str) -> None:
        self.versions += 1
        made = register(self.stage.aws, f"{name}-{self.versions}", make_snapshot(self.stage.aws))
        self.stage.aws.client("ssm").put_parameter(
            Name=f"/golden/{name}", Value=made, Type="String", Overwrite=True
        )

    # What happens

    def version(self) -> None:
        self._publish(self.random.choice(self.names))

    def unshare_by_hand(self) -> None:
        self._permission("Remove", A)

    def give_to_a_stranger(self) -> None:
        self._permission("Add", STRANGER)

    def _permission(self, verb: str, account: str) -> None:
        region = self.random.choice((HOME, DR))
        image = self.stage.image(self.random.choice(self.names), region)
        if image:
            ec2 = self.stage.aws.client("ec2", region)
            ec2.modify_image_attribute(
                ImageId=image, LaunchPermission={verb: [{"UserId": account}]}
            )

    def revoke_a_grant(self) -> None:
        if grants := self.stage.grants(HOME):
            grant = self.random.choice(grants)
            self.stage.aws.client("kms", HOME).revoke_grant(
                KeyId=self.stage.seeded.keys[HOME], GrantId=grant["GrantId"]
            )

    def edit_a_share(self) -> None:
        accounts = self.random.choice(([A], [A, B]))
        self.stage.edit("ImageShare", f"team-{self.random.choice(self.names)}", accounts=accounts)

    def tag_an_image(self) -> None:
        name = self.random.choice(self.names)
        self.stage.edit("GoldenImage", name, tags={"round": str(self.random.randrange(1000))})

    def drop_watches(self) -> None:
        if (server := self.stage.world.cluster.server) is not None:
            server.faults.drop_watches()

    def throttle(self) -> None:
        self.stage.aws.faults.throttle(times=20, rate=0.3)

    @property
    def all(self) -> list[tuple[int, Callable[[], None]]]:
        return [
            (3, self.version), (4, self.unshare_by_hand), (3, self.give_to_a_stranger),
            (2, self.revoke_a_grant), (3, self.edit_a_share), (3, self.tag_an_image),
            (1, self.drop_watches), (1, self.throttle),
        ]  # fmt: skip

    def ready(self) -> bool:
        return all(
            self.stage.ready("GoldenImage", n) and self.stage.ready("ImageShare", f"team-{n}")
            for n in self.names
        )


def sample(pid: int, seconds: float) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Sample(
        round(seconds),
        round(int(status["VmRSS"].split()[0]) / 1024, 1),
        int(status["Threads"]),
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


def soak(minutes: float, images: int, seed: int, told: Callable[[str], None]) -> Report:
    report = Report(minutes, images)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        stage = Stage(world)
        stage.aws.hands = True
        world.operator.env |= {"MALLOC_ARENA_MAX": "2"}  # as the image has it
        run = Soak(stage, images, seed)
        stage.start(resync=10)
        if not wait_for(run.ready, 120):
            report.violations.append(f"never Ready at the start\n{world.operator.tail()}")
            return report
        began, next_sample = time.monotonic(), 0.0
        things = run.all
        while (passed := time.monotonic() - began) < minutes * 60:
            (thing,) = run.random.choices([t for _, t in things], [w for w, _ in things])
            try:
                thing()
            except ClientError:
                continue  # throttled, or the AMI has just gone
            report.happened[thing.__name__] = report.happened.get(thing.__name__, 0) + 1
            pid = world.operator.pid
            if not world.operator.running or pid is None:
                report.violations.append(f"the operator ended\n{world.operator.tail()}")
                return report
            if passed >= next_sample:
                report.samples.append(sample(pid, passed))
                told(str(report.samples[-1]))
                next_sample = passed + max(minutes * 60 / 120, 5.0)
            time.sleep(PAUSE)
        stage.aws.faults.clear()
        for name in run.names:
            stage.annotate("GoldenImage", name, **{"goldenimage.dev__reconcile-now": "end"})
            stage.annotate(
                "ImageShare", f"team-{name}", **{"goldenimage.dev__reconcile-now": "end"}
            )
        if not wait_for(run.ready, 120):
            report.violations.append(f"not all Ready in the end\n{world.operator.tail()}")
        report.aws_calls = sum(stage.aws.requests.snapshot().values())
        if (server := world.cluster.server) is not None:
            report.kubernetes_requests = sum(server.requests.snapshot().values())
        before = time.monotonic()
        code = world.operator.stop(GRACE)
        report.stop_seconds = round(time.monotonic() - before, 1)
        if code != 0:
            report.violations.append(f"SIGTERM ended it with {code}")
        if "Traceback" in (text := world.operator.log.read_text()):
            report.violations.append(
                f"a traceback in the log: {text[text.index('Traceback') :][:2000]}"
            )
    second, last = report.parts()
    for what in ("mib", "threads", "files"):
        early, late = (mean(getattr(s, what) for s in part) for part in (second, last))
        told(f"{what}: {early:.1f} then {late:.1f}")
        if late > early * GROWTH + 2:
            report.violations.append(f"{what} grew from {early:.1f} to {late:.1f}")
    return report


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--minutes", type=float, default=30.0)
    arguments.add_argument("--images", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", type=Path, help="where the figures go")
    asked = arguments.parse_args()
    report = soak(asked.minutes, asked.images, asked.seed, lambda text: print(text, flush=True))
    for text in report.violations:
        print(text)
    print(f"{sum(report.happened.values())} things happened, {len(report.violations)} violations")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
