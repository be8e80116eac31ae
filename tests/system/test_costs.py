"""What a workload costs in AWS calls: the figures of docs/benchmarks.md are limits."""

from collections.abc import Callable
from types import ModuleType


def test_twenty_images_in_three_regions_for_ten_accounts(
    load_benchmark: Callable[[str], ModuleType],
) -> None:
    run = load_benchmark("run").measure(images=20, accounts=10, shares=1)
    first, restart, sweep, heal = run.phases
    assert first.calls <= 320
    assert first.aws["CopyImage"] == first.aws["ModifyImageAttribute"] == 60
    assert first.aws["CreateGrant"] == 30
    assert restart.calls <= 78
    assert not {a for a in restart.aws if not a.startswith(("Describe", "Get", "List"))}
    assert sweep.calls < restart.calls
    assert heal.aws["ModifyImageAttribute"] == 1
