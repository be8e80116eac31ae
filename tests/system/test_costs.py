"""What a workload costs in AWS calls: the figures of docs/benchmarks.md are limits."""

import importlib.util
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).parents[2] / "benchmarks" / "run.py"


def benchmark() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("benchmark_run", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_twenty_images_in_three_regions_for_ten_accounts() -> None:
    run = benchmark().measure(images=20, accounts=10, shares=1)
    first, restart, sweep, heal = run.phases
    assert first.calls <= 320
    assert first.aws["CopyImage"] == first.aws["ModifyImageAttribute"] == 60
    assert first.aws["CreateGrant"] == 30
    assert restart.calls <= 78
    assert not {a for a in restart.aws if not a.startswith(("Describe", "Get", "List"))}
    assert sweep.calls < restart.calls
    assert heal.aws["ModifyImageAttribute"] == 1
