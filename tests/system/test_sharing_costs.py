"""What one account more or less costs, however many there are: the figures of docs/benchmarks.md.

Counts of the real operator over HTTP, never times; the full size is benchmarks/sharing.py.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

REGIONS = 3
QUEUE = ("ReceiveMessage", "DeleteMessageBatch")
Costs = dict[str, int]

COMES = {"CreateGrant": REGIONS}
GOES = {"RevokeGrant": REGIONS}
# The grants of a key are listed once after they were changed, all of them in one call.
GRANTS = {"ListGrants": REGIONS}
# Read for the plan, again right before it is written, and once after that.
POLICIES = {"GetKeyPolicy": 3 * REGIONS}
# The OU is expanded anew, once: it has no OUs below it.
EXPANSION = {
    "DescribeOrganization": 1,
    "ListAccountsForParent": 1,
    "ListOrganizationalUnitsForParent": 1,
}
# Phase, what is changed besides launch permissions, what is read.
PHASES: tuple[tuple[str, Costs, Costs], ...] = (
    ("an account into the ConfigMap", COMES, GRANTS),
    ("out of it", GOES, GRANTS),
    ("an account into the spec", COMES, GRANTS),
    ("out of it again", GOES, GRANTS),
    ("an account moves into the OU", COMES, GRANTS | EXPANSION),
    ("and out of it", GOES, GRANTS | EXPANSION),
    ("KeyPolicy: an OU too", {"PutKeyPolicy": REGIONS}, POLICIES),
    ("KeyPolicy: without the OU", {"PutKeyPolicy": REGIONS}, POLICIES),
)


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("sharing")


def measured(benchmark: ModuleType, images: int, accounts: int) -> dict[str, Costs]:
    """Calls to AWS by phase, without those of the event queue."""
    run: Any = benchmark.measure(images, accounts, quiet=1.5, poll=1.0)
    return {p.name: {a: n for a, n in p.aws.items() if a not in QUEUE} for p in run.phases}


# Twice as many images, and four times as many accounts.
@pytest.mark.parametrize(("images", "accounts"), [(2, 6), (4, 24)])
def test_an_account_costs_a_change_per_ami_and_key_and_no_read_of_its_own(
    benchmark: ModuleType, images: int, accounts: int
) -> None:
    found = measured(benchmark, images, accounts)
    amis = images * REGIONS
    for name, changes, reads in PHASES:
        cost = found[name]
        # AMIs that are not known well enough are listed once per Region, with an extra call for
        # the sources that are named by id, and the same of snapshots; launch permissions and keys
        # are not read at all.
        assert cost.pop("DescribeImages", 0) <= REGIONS + 1, name
        assert cost.pop("DescribeSnapshots", 0) <= REGIONS + 1, name
        # Where the machine is busy a change is looked at in two goes, and read twice.
        for action, count in reads.items():
            # What is known of the organization may be young enough.
            least = 0 if action == "DescribeOrganization" else count
            assert least <= cost.pop(action, 0) <= 2 * count, (name, action)
        assert cost == {"ModifyImageAttribute": amis, **changes}, name
    restart = found["restart, nothing to do"]
    assert restart.pop("DescribeImageAttribute") == amis
    assert sum(restart.values()) <= 8 * REGIONS, restart
    assert all(a.startswith(("Describe", "Get", "List")) for a in restart)
