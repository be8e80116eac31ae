"""What /metrics says of a running operator: who may launch, what was held back, how old it is."""

from buildstage import SSM_GATE, Works, built
from stage import ENCRYPTED, HOME, A, B, Stage, metric
from systemworld import free_port, golden, share


def test_shares_and_views_are_measured(stage: Stage) -> None:
    port = free_port()
    stage.start(METRICS_PORT=str(port))
    stage.apply(
        golden(**ENCRYPTED),
        share(accounts=[A, B]),
        share("watched", accounts=[A], managementPolicy="Observe", mode="Additive"),
        golden("planned", managementPolicy="Observe", **ENCRYPTED),
    )
    stage.wait_ready("ImageShare", "team")
    stage.wait(
        lambda: metric(port, "gilder_planned_actions", namespace="images", name="planned") > 0,
        "what Observe holds back",
    )
    team = {"namespace": "images", "name": "team"}
    assert metric(port, "gilder_share_principals", **team) == 2
    assert metric(port, "gilder_share_principals_lacking", **team) == 0
    assert metric(port, "gilder_share_planned_actions", **team) == 0
    assert 0 < metric(port, "gilder_view_age_seconds", account="", region=HOME) < float("inf")
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    stage.wait(lambda: metric(port, "gilder_share_principals", **team) == 0, "forgotten")


def test_builds_and_verdicts_are_counted(stage: Stage) -> None:
    works = Works(stage)
    port = free_port()
    stage.start(METRICS_PORT=str(port))
    stage.apply(built(**ENCRYPTED, gates=SSM_GATE))
    stage.wait_ready("GoldenImage", "web")
    stage.wait(lambda: works.gates("web", 1), "verdicts")
    ended = {"kind": "imageBuilder", "result": "Succeeded"}
    stage.wait(lambda: metric(port, "gilder_builds_total", **ended) == 1, "the build counted")
    assert metric(port, "gilder_builds_total") == 1
    assert metric(port, "gilder_build_duration_seconds_count", **ended) == 1
    assert metric(port, "gilder_gate_results_total", gate="ssm", result="Passed") == 5
    assert metric(port, "gilder_gate_results_total") == 5
    stage.look("GoldenImage", "web", "again")
    assert metric(port, "gilder_builds_total") == 1
    assert metric(port, "gilder_gate_results_total") == 5
