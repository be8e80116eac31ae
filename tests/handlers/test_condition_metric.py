"""`gilder_condition`: every condition of every object, and none of what is gone."""

from prometheus_client import REGISTRY, generate_latest

from gilder.api.conditions import Condition, ConditionType
from gilder.handlers import metrics


def condition(type_: ConditionType, status: str) -> Condition:
    values = {
        "type": type_,
        "status": status,
        "reason": "R",
        "message": "",
        "observedGeneration": 1,
    }
    return Condition.model_validate({**values, "lastTransitionTime": "2025-01-01T00:00:00Z"})


def value(name: str, type_: str) -> float | None:
    labels = {"kind": "GoldenImage", "namespace": "n", "name": name, "type": type_}
    return REGISTRY.get_sample_value("gilder_condition", labels)


def test_series_follow_the_conditions() -> None:
    ready, stalled = ConditionType.READY, ConditionType.STALLED
    metrics.set_conditions(
        "GoldenImage", "n", "metric", [condition(ready, "True"), condition(stalled, "False")]
    )
    assert (value("metric", "Ready"), value("metric", "Stalled")) == (1.0, 0.0)
    metrics.set_conditions("GoldenImage", "n", "metric", [condition(stalled, "True")])
    assert (value("metric", "Ready"), value("metric", "Stalled")) == (0.0, 1.0)
    line = 'gilder_condition{kind="GoldenImage",name="metric",namespace="n",type="Stalled"} 1.0'
    assert line in generate_latest().decode()
    metrics.forget("GoldenImage", "n", "metric")
    assert value("metric", "Ready") is None
    assert 'name="metric"' not in generate_latest().decode()
