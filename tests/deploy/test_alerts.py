"""Alerts as Prometheus evaluates them, by its promtool (Debian's package prometheus has it)."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/components/monitoring/rules.yaml"
SPEC = yaml.safe_load(FILE.read_text())["spec"]
ALERTS = {r["alert"]: r for g in SPEC["groups"] for r in g["rules"]}

OBJECT = 'kind="ImageShare",namespace="images",name="web"'
RECONCILES = 'gilder_reconciles_total{kind="ImageShare",result="%s"}'
CALLS = '{service="ec2",action="DescribeImages",region="eu-west-1"}'
Series = list[tuple[str, str]]
LEADS = ("gilder_leading", "1x300")


def condition(type_: str, values: str) -> tuple[str, str]:
    return f'gilder_condition{{{OBJECT},type="{type_}"}}', values


def lag(in_time: str) -> Series:
    """Two events a minute, none of them later than ten minutes."""
    buckets = {"300": in_time, "600": "0+2x90", "+Inf": "0+2x90"}
    return [(f'gilder_event_lag_seconds_bucket{{le="{at}"}}', n) for at, n in buckets.items()]


# By alert: what is seen minute by minute, and whether it fires after so many minutes.
CASES: list[tuple[str, Series, int, bool]] = [
    ("GilderNotReady", [condition("Ready", "0x300")], 61, True),
    ("GilderNotReady", [condition("Ready", "0x300")], 50, False),
    ("GilderNotReady", [condition("Ready", "0x30 1x10 0x300")], 70, False),
    ("GilderNotReady", [condition("Stalled", "0x300")], 70, False),
    # A pod that takes over begins a series of its own, and the hour goes on.
    (
        "GilderNotReady",
        [
            (f'gilder_condition{{{OBJECT},type="Ready",pod="a"}}', "0x40 _x100"),
            (f'gilder_condition{{{OBJECT},type="Ready",pod="b"}}', "_x39 0x100"),
        ],
        65,
        True,
    ),
    ("GilderStalled", [condition("Stalled", "1x60")], 16, True),
    ("GilderStalled", [condition("Stalled", "0x60")], 40, False),
    ("GilderDRStale", [condition("DRStale", "1x60")], 16, True),
    ("GilderDRStale", [condition("DRStale", "0x60")], 40, False),
    (
        "GilderRecoveryPointOld",
        [
            (
                f'gilder_recovery_point_age_seconds{{{OBJECT},region="eu-central-1"}}',
                " ".join(["Inf"] * 100),
            )
        ],
        61,
        True,
    ),
    (
        "GilderRecoveryPointOld",
        [(f'gilder_recovery_point_age_seconds{{{OBJECT},region="eu-central-1"}}', "2600000x100")],
        61,
        True,
    ),
    (
        "GilderRecoveryPointOld",
        [(f'gilder_recovery_point_age_seconds{{{OBJECT},region="eu-central-1"}}', "2500000x100")],
        61,
        False,
    ),
    ("GilderDriftSpike", [(f"gilder_drift_corrected_total{{{OBJECT}}}", "0+1x60")], 60, True),
    ("GilderDriftSpike", [(f"gilder_drift_corrected_total{{{OBJECT}}}", "0x30 3x60")], 60, False),
    ("GilderAccessExpiring", [condition("AccessExpiring", "1x5")], 2, True),
    ("GilderAccessExpiring", [condition("AccessExpiring", "0x5")], 2, False),
    ("GilderNobodyLeads", [("gilder_leading", "0x60")], 11, True),
    ("GilderNobodyLeads", [], 11, True),
    ("GilderNobodyLeads", [LEADS, ('gilder_leading{pod="b"}', "0x60")], 11, False),
    ("GilderSweepsStopped", [("gilder_sweeps_total", "7x60")], 45, True),
    # One stands by and makes none.
    (
        "GilderSweepsStopped",
        [("gilder_sweeps_total", "0+0.2x60"), ('gilder_sweeps_total{pod="b"}', "0x60")],
        45,
        False,
    ),
    ("GilderReconcileErrors", [(RECONCILES % "error", "0 0 1x20")], 5, True),
    ("GilderReconcileErrors", [(RECONCILES % "ok", "0+5x20")], 5, False),
    (
        "GilderReconcilesFail",
        [(RECONCILES % "failed", "0+6x60"), (RECONCILES % "ok", "0+4x60")],
        50,
        True,
    ),
    (
        "GilderReconcilesFail",
        [(RECONCILES % "failed", "0+4x60"), (RECONCILES % "ok", "0+6x60")],
        50,
        False,
    ),
    (
        "GilderActionsFail",
        [('gilder_actions_total{kind="GoldenImage",action="Copy",result="failed"}', "0+1x90")],
        60,
        True,
    ),
    (
        "GilderActionsFail",
        [('gilder_actions_total{kind="GoldenImage",action="Copy",result="ok"}', "0+1x90")],
        60,
        False,
    ),
    (
        "GilderThrottled",
        [
            (f"gilder_aws_throttles_total{CALLS}", "0+2x60"),
            (f"gilder_aws_requests_total{CALLS}", "0+10x60"),
        ],
        50,
        True,
    ),
    (
        "GilderThrottled",
        [
            (f"gilder_aws_throttles_total{CALLS}", "0+1x60"),
            (f"gilder_aws_requests_total{CALLS}", "0+20x60"),
        ],
        50,
        False,
    ),
    ("GilderQueueLong", [('gilder_queue_length{pod="a"}', "150x60")], 40, True),
    ("GilderQueueLong", [('gilder_queue_length{pod="a"}', "150x20 10 150x20")], 40, False),
    ("GilderEventsUnreadable", [("gilder_events_received", "1x10 0x60")], 30, True),
    # Never read: there is no queue.
    ("GilderEventsUnreadable", [("gilder_events_received", "0x60")], 30, False),
    ("GilderEventsUnreadable", [("gilder_events_received", "1x60")], 30, False),
    ("GilderEventsLate", lag("0+1x90"), 70, True),
    ("GilderEventsLate", lag("0+2x90"), 70, False),
]


def test_every_alert_is_seen_to_fire_and_not_to() -> None:
    for fires in (True, False):
        assert {name for name, _, _, f in CASES if f is fires} == set(ALERTS)


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed, and it is what evaluates the alerts")
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.yaml").write_text(yaml.safe_dump(SPEC))
    return path, folder


def test_promtool_finds_nothing(promtool: tuple[str, Path]) -> None:
    path, folder = promtool
    done = subprocess.run(
        [path, "check", "rules", "--lint=all", "--lint-fatal", str(folder / "rules.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_it_fires_when_it_should(promtool: tuple[str, Path], number: int) -> None:
    path, folder = promtool
    name, series, minutes, fires = CASES[number]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in series],
        # An ALERTS sample is there while the alert fires, whatever its labels.
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > 0',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"value": 1, "labels": "{}"}] if fires else [],
            }
        ],
    }
    file = folder / f"test-{number}.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    done = subprocess.run([path, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
