"""Counts what it costs to share a fleet of AMIs with one account more, and with one less.

    python benchmarks/sharing.py                            # 20 images in 3 Regions, 100 accounts
    python benchmarks/sharing.py --images 5 --accounts 20   # half a minute
    python benchmarks/sharing.py --images 5 --accounts 20 --images 5 --accounts 40

All images are shared by one ImageShare with a label selector. Accounts come and go by its spec, by
a ConfigMap and by an OU; organizations and OUs by an ImageShare with kms.mode KeyPolicy. The real
operator runs as a process with a queue of events and never sweeps. Counts are the portable
figures: the wall times are those of the emulators on this machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from moto.kms.models import kms_backends
from run import ENVIRONMENT, NAMESPACE, REGIONS, Bench, Reads, Run, compare, obj

from gilder.sandbox.aws.seed import make_key
from gilder.sandbox.world import World

SHARE, POLICY = "everywhere", "organization"
LISTED = "workload-accounts"
BY_SPEC, BY_LIST = "100000000001", "100000000002"  # who comes and goes


class Sharing(Bench):
    """A world with one share of all images."""

    def __init__(self, world: World, images: int, accounts: int) -> None:
        super().__init__(world, images, accounts, 1)
        self.keys = {r: make_key(world.aws, r, "alias/bench") for r in REGIONS}
        self.unit: list[str] = list(world.seeded.members[:2])  # in the OU
        # Two in the spec, two in the OU, and the others in the ConfigMap.
        given = [f"{200000000000 + n}" for n in range(accounts - len(self.unit))]
        self.written, self.listed = given[:2], given[2:]
        self.organizations: list[str] = []
        self._places: list[tuple[str, str]] = []

    def documents(self) -> list[dict[str, Any]]:
        return [*super().documents()[: 1 + self.run.images], self.map(), self.share()]

    def share(self) -> dict[str, Any]:
        spec = {
            "imageRef": {"selector": {"matchLabels": {"all": "yes"}}},
            "accounts": self.written,
            "accountsFrom": [
                {"configMap": {"name": LISTED}},
                {"organizationalUnit": self.world.seeded.unit_arn},
            ],
        }
        return obj("ImageShare", SHARE, spec)

    def policy_share(self) -> dict[str, Any]:
        unit = [o for o in self.organizations if ":ou/" in o]
        spec = {
            "imageRef": {"selector": {"matchLabels": {"all": "yes"}}},
            "organizations": [o for o in self.organizations if o not in unit],
            "organizationalUnits": unit,
            "kms": {"mode": "KeyPolicy"},
        }
        return obj("ImageShare", POLICY, spec)

    def map(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": LISTED,
                "namespace": NAMESPACE,
                "labels": {"goldenimage.dev/accounts": "true"},
            },
            "data": {"accounts": "\n".join(self.listed)},
        }

    def as_declared(self) -> bool:
        """Whether AWS has what is declared on every AMI and key; read without a call."""
        who = {*self.written, *self.listed, *self.unit}
        return all(
            {p.get("UserId") for p in permissions if "UserId" in p} == who
            and len(permissions) == len(who) + len(self.organizations)
            for permissions in self._permissions()
        ) and all(self._grantees(r) == who for r in REGIONS)

    def _permissions(self) -> list[list[dict[str, str]]]:
        if not self._places:
            self._places = [
                (i["region"], i["imageId"])
                for g in self.items("goldenimages")
                for v in g["status"]["versions"]
                for i in v["images"]
            ]
        return [list(self.world.aws.image(i, r).launch_permissions) for r, i in self._places]

    def _grantees(self, region: str) -> set[str]:
        backend = kms_backends[self.world.seeded.account][region]
        key = backend.keys[self.keys[region].rsplit("/", 1)[1]]
        return {g.grantee_principal.split(":")[4] for g in list(key.grants.values())}

    def change(self, name: str, do: Callable[[], None], quiet: float) -> None:
        """Do something, and count from then on until AWS is as declared and nothing is asked."""

        def start() -> None:
            do()
            self.world.aws.requests.reset()

        self.phase(name, start, Reads(self, self.as_declared, quiet))

    def settled(self) -> bool:
        return super().settled() and self.as_declared()


def measure(images: int, accounts: int, *, quiet: float = 4.0, poll: float = 5.0) -> Run:
    settings = {"RESYNC_SECONDS": "3600", "POLL_SECONDS": str(poll)}
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), settings=settings, emulate=True) as world,
    ):
        bench = Sharing(world, images, accounts)
        world.operator.env |= ENVIRONMENT
        world.apply(*bench.documents())
        world.operator.env["GILDER_EVENT_QUEUE_URL"] = world.aws.events()
        bench.phase("first convergence", world.operator.start, bench.settled)
        _accounts(bench, quiet)
        _organizations(bench, quiet)
        world.operator.stop()
        bench.change("restart, nothing to do", world.operator.start, quiet)
        return bench.run


def _accounts(bench: Sharing, quiet: float) -> None:
    """One account comes and goes by each of the ways."""
    world = bench.world
    organizations = world.aws.client("organizations", "us-east-1")
    unit, root = world.seeded.unit_id, world.seeded.root_id
    moved = world.seeded.members[2]

    def edit(accounts: list[str], change: Callable[[list[str]], None]) -> None:
        change(accounts)
        world.apply(bench.map(), bench.share())

    def move(source: str, target: str, change: Callable[[str], None]) -> None:
        change(moved)
        organizations.move_account(
            AccountId=moved, SourceParentId=source, DestinationParentId=target
        )

    bench.change("an account into the ConfigMap", lambda: edit(
        bench.listed, lambda a: a.append(BY_LIST)), quiet)  # fmt: skip
    bench.change("out of it", lambda: edit(bench.listed, lambda a: a.remove(BY_LIST)), quiet)
    bench.change("an account into the spec", lambda: edit(
        bench.written, lambda a: a.append(BY_SPEC)), quiet)  # fmt: skip
    bench.change("out of it again", lambda: edit(
        bench.written, lambda a: a.remove(BY_SPEC)), quiet)  # fmt: skip
    bench.change("an account moves into the OU", lambda: move(
        root, unit, bench.unit.append), quiet)  # fmt: skip
    bench.change("and out of it", lambda: move(unit, root, bench.unit.remove), quiet)


def _organizations(bench: Sharing, quiet: float) -> None:
    """An organization, then an OU, come and go with kms.mode KeyPolicy."""
    world = bench.world
    organization, unit = world.seeded.organization_arn, world.seeded.unit_arn

    def declare(*organizations: str) -> None:
        bench.organizations = list(organizations)
        world.apply(bench.policy_share())

    bench.change("KeyPolicy: a share with the organization", lambda: declare(organization), quiet)
    bench.change("KeyPolicy: an OU too", lambda: declare(organization, unit), quiet)
    bench.change("KeyPolicy: without the OU", lambda: declare(organization), quiet)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, action="append", help="may be given several times")
    parser.add_argument("--accounts", type=int, action="append", help="as often as --images")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    sizes = zip(given.images or [20], given.accounts or [100], strict=True)
    return compare([partial(measure, *size) for size in sizes], given.json)


if __name__ == "__main__":
    sys.exit(main())
