"""Metrics of builds, gates, shares and views: counted once, bounded, and gone with their object."""

from typing import Any

from prometheus_client import REGISTRY, generate_latest

from gilder.api.goldenimage import GoldenImageStatus
from gilder.api.imageshare import ImageShareStatus
from gilder.handlers import metrics


def value(name: str, /, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def status(**fields: Any) -> GoldenImageStatus:
    return GoldenImageStatus.model_validate(fields)


def dumped(found: GoldenImageStatus) -> dict[str, Any]:
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)


def build(id_: str, state: str) -> dict[str, Any]:
    times = {"startedAt": "2026-05-01T10:00:00Z", "finishedAt": "2026-05-01T10:15:00Z"}
    return {"id": id_, "kind": "imageBuilder", "state": state, **times}


def test_a_build_that_ended_is_counted_once() -> None:
    labels = {"kind": "imageBuilder", "result": "Failed"}
    count, seconds = "gilder_builds_total", "gilder_build_duration_seconds_sum"
    before, took = value(count, **labels), value(seconds, **labels)
    ended = status(lastBuild=build("b-1", "Failed"))
    metrics.count_work({"observedGeneration": 1}, ended)
    metrics.count_work(dumped(ended), ended)
    assert value(count, **labels) == before + 1
    assert value(seconds, **labels) == took + 900
    metrics.count_work(dumped(ended), status(lastBuild=build("b-2", "Succeeded")))
    assert value(count, **labels) == before + 1
    assert value(count, kind="imageBuilder", result="Succeeded") >= 1


def version(*gates: tuple[str, str]) -> dict[str, Any]:
    return {"version": 1, "gates": [{"name": n, "state": s} for n, s in gates]}


def test_verdicts_are_counted_by_kind_of_gate_as_they_come() -> None:
    def counts() -> tuple[float, float]:
        name = "gilder_gate_results_total"
        return value(name, gate="ssm", result="Passed"), value(name, gate="ssm", result="Failed")

    passed, failed = counts()
    waiting = status(versions=[version(("ssm/NoSecrets", "Running"), ("ssm/Mine", "Pending"))])
    metrics.count_work({"observedGeneration": 1}, waiting)
    assert counts() == (passed, failed)
    half = status(versions=[version(("ssm/NoSecrets", "Passed"), ("ssm/Mine", "Running"))])
    metrics.count_work(dumped(waiting), half)
    whole = status(versions=[version(("ssm/NoSecrets", "Passed"), ("ssm/Mine", "Failed"))])
    metrics.count_work(dumped(half), whole)
    metrics.count_work(dumped(whole), whole)
    assert counts() == (passed + 1, failed + 1)
    # A status that was lost is made anew from tags: nobody judged anything.
    metrics.count_work({}, whole)
    assert counts() == (passed + 1, failed + 1)
    assert "ssm/Mine" not in generate_latest().decode(), "names that users give are no labels"


def test_numbers_of_a_share_go_with_it() -> None:
    where = {"namespace": "n", "name": "counted"}
    lack = {
        "region": "eu-west-1",
        "imageId": "ami-1",
        "launchPermission": "Missing",
        "keyAccess": "Given",
        "message": "",
    }
    found = ImageShareStatus.model_validate(
        {
            "principals": 7,
            "lacking": [{**lack, "principal": "1" * 12}, {**lack, "principal": "1" * 12}],
            "plan": ["let 111111111111 launch ami-1 in eu-west-1"],
        }
    )
    metrics.set_share("n", "counted", found)
    assert value("gilder_share_principals", **where) == 7
    assert value("gilder_share_principals_lacking", **where) == 1
    assert value("gilder_share_planned_actions", **where) == 1
    metrics.set_share("n", "counted", ImageShareStatus())
    assert REGISTRY.get_sample_value("gilder_share_planned_actions", where) is None
    metrics.forget("ImageShare", "n", "counted")
    assert 'name="counted"' not in generate_latest().decode()


def test_what_an_image_would_change_is_counted_while_it_observes() -> None:
    where = {"namespace": "n", "name": "observed"}
    metrics.set_image("n", "observed", status(plan=["copy", "tag"]))
    assert value("gilder_planned_actions", **where) == 2
    metrics.forget("GoldenImage", "n", "observed")
    assert 'name="observed"' not in generate_latest().decode()


def test_ages_are_asked_for_when_they_are_scraped() -> None:
    ages = {("", "eu-west-1"): 4.0, ("222222222222", "eu-west-1"): float("inf")}
    before = metrics.VIEW_AGES.source
    metrics.VIEW_AGES.source = lambda: ages
    try:
        assert value("gilder_view_age_seconds", account="", region="eu-west-1") == 4
        ages["", "eu-west-1"] = 5.0
        assert value("gilder_view_age_seconds", account="", region="eu-west-1") == 5
    finally:
        metrics.VIEW_AGES.source = before
