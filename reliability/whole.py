"""Random specs, edits, drift, faults and restarts, with the operator as a process.

    python reliability/whole.py                    # 50 examples: a quarter of an hour on two cores
    python reliability/whole.py --examples 500 --steps 40 --seed 7

After every step: the operator has made nothing twice, touched nothing that is not its own, and let
nobody launch without the key. After quiet: what AWS has is what was declared. In the end everything
is deleted, and nothing of ours is left.
"""

import argparse
import json
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from scenarios import GOES, POLL, fork_operators
from stage import DR, HOME, KEY, A, B, Stage
from systemworld import Object, golden, share
from watch import Watch

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.kubernetes.client import AGENT
from gilder.sandbox.process import wait_for
from gilder.sandbox.world import World

SECONDS = 60.0  # until all is as declared, once it is quiet
IMAGES = ("base", "tools")
SHARES = ("team", "other")
STRANGER = "999999999999"
REGIONS = (HOME, DR)
CHANGES = "(Create|Copy|Modify|Revoke|Deregister|Put).*"

SPECS = st.fixed_dictionaries(
    {},
    optional={
        "encryption": st.just(KEY),
        "replicas": st.just([{"region": DR, **KEY}]),
        "retention": st.just(GOES),
        "tags": st.sampled_from([{"team": "a"}, {"team": "b", "cost": "1"}]),
    },
)
ACCOUNTS = st.sets(st.sampled_from([A, B]), min_size=1).map(sorted)
image_names = st.sampled_from(IMAGES)
anyone = st.integers(0, 3)  # which of those that are declared
share_names = st.sampled_from(SHARES)
regions = st.sampled_from(REGIONS)

FOUND: list[str] = []  # violations, also those that do not happen again when tried again
COUNTS = {"examples": 0, "steps": 0, "faults": 0, "restarts": 0, "drift": 0, "settled": 0}


class Whole(RuleBasedStateMachine):
    """A cluster, AWS, and the operator between them."""

    def __init__(self) -> None:
        super().__init__()
        COUNTS["examples"] += 1
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), emulate=True)
        self.stage = Stage(self.world)
        self.stage.session.headers["User-Agent"] = AGENT
        self.stage.aws.hands = True
        self.watch = Watch(self.stage, frozenset({A, B}))
        self.images: dict[str, Object] = {}
        self.shares: dict[str, tuple[str, list[str]]] = {}
        self.versions = 0

    # What is declared

    @initialize(spec=SPECS, accounts=ACCOUNTS)
    def begin(self, spec: Object, accounts: list[str]) -> None:
        self.stage.start(resync=2, POLL_SECONDS=str(POLL))
        self.put_image("base", spec)
        self.put_share("team", "base", accounts)
        self.quiet()

    @rule(name=image_names, spec=SPECS)
    def put_image(self, name: str, spec: Object) -> None:
        COUNTS["steps"] += 1
        if name not in self.images:
            self.new_source(name)
            self.gone("GoldenImage", name)
        else:
            # Encryption of what is there and the rest may change at any time.
            self.stage.edit("GoldenImage", name, **dict.fromkeys(self.images[name]))
        source = {"image": {"ssmParameter": f"/golden/{name}"}}
        self.stage.apply(golden(name, source=source, deletionPolicy="Delete", **spec))
        self.images[name] = spec

    @rule(name=share_names, image=image_names, accounts=ACCOUNTS)
    def put_share(self, name: str, image: str, accounts: list[str]) -> None:
        COUNTS["steps"] += 1
        if image not in self.images:
            return  # a share that waits for its image goes on giving what it gave before
        if name not in self.shares:
            self.gone("ImageShare", name)
        self.stage.apply(share(name, image, accounts=accounts))
        self.shares[name] = (image, accounts)

    @rule(name=share_names)
    def delete_share(self, name: str) -> None:
        COUNTS["steps"] += 1
        if self.shares.pop(name, None):
            self.stage.delete("ImageShare", name)

    @rule(name=image_names)
    def new_source(self, name: str) -> None:
        COUNTS["steps"] += 1
        self.versions += 1
        aws = self.stage.aws
        made = register(aws, f"{name}-{self.versions}", make_snapshot(aws))
        aws.client("ssm").put_parameter(
            Name=f"/golden/{name}", Value=made, Type="String", Overwrite=True
        )

    def gone(self, kind: str, name: str) -> None:
        """One of that name that is being deleted has to go first."""
        if not wait_for(lambda: self.stage.get(kind, name) == {}, SECONDS, 0.05):
            self.fail(f"{kind} {name} does not go")

    # Drift

    def current(self, name: str, region: str) -> str:
        return self.stage.image(name, region)

    def pick(self, number: int) -> str:
        return sorted(self.images)[number % len(self.images)]

    @rule(number=anyone, region=regions, verb=st.sampled_from(("Add", "Remove")))
    def permission_by_hand(self, number: int, region: str, verb: str) -> None:
        if image := self.current(self.pick(number), region):
            account = STRANGER if verb == "Add" else A
            self.drift(
                "ec2", region, "modify_image_attribute",
                ImageId=image, LaunchPermission={verb: [{"UserId": account}]},
            )  # fmt: skip

    @rule(region=regions)
    def grant_revoked_by_hand(self, region: str) -> None:
        if grants := self.stage.grants(region):
            key = self.stage.seeded.keys[region]
            self.drift("kms", region, "revoke_grant", KeyId=key, GrantId=grants[0]["GrantId"])

    @rule(number=anyone, region=regions)
    def deregistered_by_hand(self, number: int, region: str) -> None:
        name = self.pick(number)
        image = self.current(name, region)
        # An adopted AMI is the source itself, of which nothing can be made any more. One that was
        # asked for and is not seen yet is waited for longer than this does: reads of EC2 lag.
        if image and self.images[name].get("encryption") and self.seen(name, image):
            self.drift(
                "ec2", region, "deregister_image",
                ImageId=image, DeleteAssociatedSnapshots=True,
            )  # fmt: skip

    def seen(self, name: str, image: str) -> bool:
        """Whether the operator has seen an AMI, by status."""
        versions = self.stage.status("GoldenImage", name).get("versions", [])
        states = [i["state"] for v in versions for i in v["images"] if i["imageId"] == image]
        return states not in ([], ["requested"])

    def drift(self, service: str, region: str, call: str, **arguments: Any) -> None:
        COUNTS["steps"] += 1
        COUNTS["drift"] += 1
        client: Any = self.stage.aws.client(service, region)
        with self.watch.by_hand():
            try:
                getattr(client, call)(**arguments)
            except client.exceptions.ClientError:
                return  # it went just now, or is refused by a fault

    # Trouble

    @rule(
        what=st.sampled_from(
            ("throttle", "lose", "errors", "down", "stale", "conflict", "watches", "history")
        )
    )
    def trouble(self, what: str) -> None:
        COUNTS["steps"] += 1
        COUNTS["faults"] += 1
        faults, server = self.stage.aws.faults, self.world.cluster.server
        assert server is not None
        match what:
            case "throttle":
                faults.throttle(times=15, rate=0.5)
            case "lose":
                faults.timeout_after_effect(CHANGES, times=3)
            case "errors":
                faults.fail(".*", "InternalError", times=10, status=500, rate=0.5)
            case "down":
                faults.region_down(DR)
            case "stale":
                faults.stale.lag = 1.0
            case "conflict":
                server.faults.conflict(3, path="/status")
            case "watches":
                server.faults.drop_watches()
            case "history":
                server.faults.expire_watches()

    @rule()
    def calm(self) -> None:
        server = self.world.cluster.server
        assert server is not None
        self.stage.aws.faults.clear()
        server.faults.clear()
        self.watch.arm()

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        COUNTS["steps"] += 1
        COUNTS["restarts"] += 1
        if kill:
            self.world.operator.kill()
        # One that has not begun yet ends by the signal itself.
        elif (code := self.world.operator.stop(30)) not in (0, -signal.SIGTERM):
            self.fail(f"it did not end in order: {code}")
        self.world.operator.start()

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.5)))
    def time_passes(self, seconds: float) -> None:
        wait_for(lambda: False, seconds)

    # What must hold

    @invariant()
    def nothing_wrong(self) -> None:
        if self.watch.wrong:
            self.fail("; ".join(self.watch.wrong))
        if not self.world.operator.running and self.world.operator.pid is not None:
            self.fail("the operator has ended")

    @rule()
    def quiet(self) -> None:
        COUNTS["steps"] += 1
        self.calm()
        if not wait_for(lambda: not self.differs(), SECONDS, 0.2):
            self.fail(f"never as declared: {self.differs()}")
        COUNTS["settled"] += 1
        self.nothing_wrong()

    def differs(self) -> str:
        """What is not as declared; empty when all is."""
        for name, spec in self.images.items():
            if not self.stage.ready("GoldenImage", name):
                return f"GoldenImage {name} is not Ready: {self.stage.message('GoldenImage', name)}"
            if lacking := [r for r in wanted_in(spec) if not self.current(name, r)]:
                return f"{name} has no AMI in {lacking}"
        for name, (image, _) in self.shares.items():
            if image in self.images and not self.stage.ready("ImageShare", name):
                return f"ImageShare {name} is not Ready: {self.stage.message('ImageShare', name)}"
        return next((text for r in REGIONS if (text := self.region_differs(r))), "")

    def region_differs(self, region: str) -> str:
        for image in self.stage.owned(region):
            tags = {t["Key"].rpartition("/")[2]: t["Value"] for t in image["Tags"]}
            name = tags["image"].partition("/")[2]
            if name not in self.images:
                return f"{image['ImageId']} of {name} is left in {region}"
            declared = set()
            # A Region that left spec.replicas keeps its AMIs, and shares let go of them.
            if region in wanted_in(self.images[name]) and (
                self.current(name, region) == image["ImageId"]
            ):
                declared = {
                    a for i, accounts in self.shares.values() if i == name for a in accounts
                }
            users = self.stage.users(image["ImageId"], region)
            if not declared:
                users -= {STRANGER}  # where no share is in force nobody looks for strangers
            if users != declared:
                return f"{image['ImageId']} in {region}: {users}, not {declared}"
        return ""

    def fail(self, text: str) -> None:
        FOUND.append(f"{text}\n{self.world.operator.tail(15)}")
        raise AssertionError(text)

    def teardown(self) -> None:
        try:
            if self.images and not FOUND:
                self.quiet()
                self.end()
        finally:
            self.world.stop()
            self.folder.cleanup()

    def end(self) -> None:
        """Everything is deleted."""
        for name in self.images:  # which use the AMIs that were adopted
            self.stage.aws.client("ssm").delete_parameter(Name=f"/golden/{name}")
        for name in self.shares:
            self.stage.delete("ImageShare", name)
        for name in self.images:
            self.stage.delete("GoldenImage", name)
        for kind, names in (("ImageShare", self.shares), ("GoldenImage", self.images)):
            for name in names:
                self.gone(kind, name)
        for region in REGIONS:
            left = [i["ImageId"] for i in self.stage.owned(region)]
            if left or self.stage.snapshots(region) or self.stage.grants(region):
                self.fail(f"left in {region}: {left}, {self.stage.snapshots(region)}")
        self.nothing_wrong()


def wanted_in(spec: Object) -> tuple[str, ...]:
    return (HOME, DR) if spec.get("replicas") else (HOME,)


def run(examples: int, steps: int, number: int) -> list[str]:
    """Violations."""
    FOUND.clear()
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        seed(number)(run_state_machine_as_test)(Whole, settings=wanted)
    except Exception as error:  # noqa: BLE001 - what failed is told, with its steps
        FOUND.append("".join(traceback.format_exception(error)))
    return list(FOUND)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--examples", type=int, default=50)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", type=Path, help="where the figures go")
    asked = arguments.parse_args()
    fork_operators()
    violations = run(asked.examples, asked.steps, asked.seed)
    for text in violations:
        print(text)
    print(f"{COUNTS}, {len(violations)} violations")
    if asked.json:
        found = {**COUNTS, "seed": asked.seed, "violations": violations}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
