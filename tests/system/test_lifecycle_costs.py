"""What release, publishing and retention cost: the figures of docs/benchmarks.md, smaller.

Counts of the real operator over HTTP, never times; the full size is benchmarks/lifecycle.py.
"""

from collections.abc import Callable
from types import ModuleType

import pytest

REGIONS = 3


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("lifecycle")


def test_what_is_made_once_and_what_a_sweep_reads(benchmark: ModuleType) -> None:
    images = 2
    amis = images * REGIONS
    run = benchmark.measure(images, quiet=1.5, poll=1.0)
    first, new, restart, sweep = run.phases
    for phase in (first, new):
        assert phase.aws["CopyImage"] == phase.aws["PutParameter"] == amis, phase.name
    assert new.aws["DescribeImageReferences"] <= 2 * amis
    assert new.aws["DescribeLaunchConfigurations"] <= REGIONS, "one read serves all images"
    assert restart.aws["DescribeImageReferences"] == amis
    assert restart.calls - 2 * amis <= 10 * REGIONS
    # What uses what is announced is known for some minutes, and parameters by their listing.
    assert sweep.calls <= 5 * REGIONS
    for phase in (restart, sweep):
        changes = {a for a in phase.aws if not a.startswith(("Describe", "Get", "List"))}
        assert changes <= {"ReceiveMessage", "DeleteMessageBatch"}, phase.name
