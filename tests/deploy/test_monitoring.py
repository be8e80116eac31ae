"""Alerts and the dashboard ask for metrics, labels and values that the operator has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from gilder.api.conditions import ConditionType
from gilder.handlers import metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/components"
RULES = yaml.safe_load((FOLDER / "monitoring/rules.yaml").read_text())
MONITOR = yaml.safe_load((FOLDER / "monitoring/servicemonitor.yaml").read_text())
DASHBOARD = json.loads((FOLDER / "dashboard/gilder.json").read_text())
ALERTS = {r["alert"]: r for g in RULES["spec"]["groups"] for r in g["rules"]}
# What Prometheus puts on every sample of a pod.
TARGET = {"pod", "instance", "job", "container", "endpoint", "service"}
VALUES = {
    ("gilder_condition", "type"): {t.value for t in ConditionType},
    ("gilder_reconciles_total", "result"): {"ok", "failed", "error"},
    ("gilder_actions_total", "result"): {"ok", "failed"},
}


def series() -> dict[str, set[str]]:
    """Names of samples that the operator may show, with their labels."""
    found = {
        # Both collectors of our own make their samples when they are asked.
        "gilder_condition": {"kind", "namespace", "name", "type"},
        "gilder_recovery_point_age_seconds": {"namespace", "name", "region"},
    }
    for metric in vars(metrics).values():
        if isinstance(metric, metrics.Counter | metrics.Gauge | metrics.Histogram):
            labels = set(metric._labelnames)
            (family,) = metric.describe()
            if family.type == "histogram":
                found[f"{family.name}_bucket"] = labels | {"le"}
                found |= {f"{family.name}_{x}": labels for x in ("sum", "count")}
            else:
                found[f"{family.name}_total" if family.type == "counter" else family.name] = labels
    return found


SERIES = series()


def test_the_collectors_have_the_labels_that_are_said_here() -> None:
    conditions, ages = metrics.Conditions(), metrics.RecoveryPoints()
    conditions.set("GoldenImage", "a", "b", frozenset({"Ready"}))
    ages.set("a", "b", {"eu-west-1": 0.0})
    for collector in (conditions, ages):
        (family,) = collector.collect()
        for sample in family.samples:
            assert set(sample.labels) == SERIES[sample.name]


def expressions() -> dict[str, str]:
    found = {name: rule["expr"] for name, rule in ALERTS.items()}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            # As Grafana fills it in.
            expr = target["expr"].replace("$namespace", ".*").replace("$region", ".*")
            found[f"{panel['title']} {target['refId']}"] = expr
    return found


EXPRESSIONS = expressions()


def parts(node: Any) -> Iterator[Any]:
    """An expression with all expressions inside it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        below = getattr(node, name, None)
        if below is not None and type(below).__module__ == type(node).__module__:
            yield from parts(below)
    for argument in getattr(node, "args", ()):
        yield from parts(argument)


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_it_asks_for_what_there_is(where: str) -> None:
    text = EXPRESSIONS[where]
    parsed = promql.parse(text)
    selectors = [p for p in parts(parsed) if isinstance(p, promql.VectorSelector)]
    names = {s.name for s in selectors}
    # Nothing escapes the walk: what looks like a metric of ours is a selector.
    assert names == set(re.findall(r"\bgilder_\w+", text))
    assert names
    labels = TARGET.union(*(SERIES[name] for name in names))
    for selector in selectors:
        for matcher in selector.matchers.matchers:
            assert matcher.name in SERIES[selector.name]
            known = VALUES.get((selector.name, matcher.name))
            if known is not None:
                assert set(matcher.value.split("|")) <= known
    for grouped in re.findall(r"\bby \(([^)]*)\)", text):
        assert {g.strip() for g in grouped.split(",")} <= labels


def test_rates_are_of_counters_alone() -> None:
    for text in EXPRESSIONS.values():
        for name in re.findall(r"(?:rate|increase)\((\w+)", text):
            assert name.endswith(("_total", "_bucket", "_count", "_sum"))
        for name in re.findall(
            r"histogram_quantile\([\d.]+, sum by \(le[^)]*\) \(rate\((\w+)", text
        ):
            assert name.endswith("_bucket")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"Gilder[A-Z]\w+", name)
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    page, _, anchor = notes["runbook_url"].partition("#")
    assert page.endswith("/docs/conditions/")
    assert anchor == name.lower()
    titles = re.findall(r"^### (\w+)$", (ROOT / "docs/conditions.md").read_text(), re.MULTILINE)
    assert titles.count(name) == 1
    kept = set()
    for grouped in re.findall(r"\bby \(([^)]*)\)", alert["expr"]):
        kept |= {g.strip() for g in grouped.split(",")}
    told = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["description"]))
    assert told <= kept


def test_no_entry_is_about_an_alert_that_is_gone() -> None:
    text = (ROOT / "docs/conditions.md").read_text()
    titles = re.findall(r"^### (Gilder\w+)$", text, re.MULTILINE)
    assert sorted(titles) == sorted(ALERTS)


def test_each_condition_that_is_bad_when_true_has_an_alert() -> None:
    bad = {"Stalled", "DRStale", "AccessExpiring"}
    asked = {t for a in ALERTS.values() for t in re.findall(r'type="(\w+)"', a["expr"])}
    assert bad | {"Ready"} == asked


def test_the_panels_have_places_and_numbers_of_their_own() -> None:
    ids = [p["id"] for p in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        taken |= cells
    variables = {v["name"] for v in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__all"} <= variables


def test_the_monitor_finds_the_service_and_keeps_its_namespaces() -> None:
    service = yaml.safe_load((ROOT / "deploy/base/service.yaml").read_text())
    # The name is put on by the base's kustomization.
    labels = service["metadata"]["labels"] | {"app.kubernetes.io/name": "gilder"}
    assert MONITOR["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = MONITOR["spec"]["endpoints"]
    assert endpoint["port"] in {p["name"] for p in service["spec"]["ports"]}
    assert endpoint["honorLabels"] is True
