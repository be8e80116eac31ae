"""Prometheus metrics of the operator."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gilder.api.conditions import Condition, ConditionType
from gilder.api.goldenimage import GoldenImageStatus, ReplicaStatus
from gilder.api.imageshare import ImageShareStatus
from gilder.core import pool
from gilder.core.times import moment

RECONCILES = Counter(
    "gilder_reconciles_total", "Reconciles by kind and result.", ["kind", "result"]
)
DURATION = Histogram(
    "gilder_reconcile_duration_seconds",
    "Time of one reconcile.",
    ["kind"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ACTIONS = Counter(
    "gilder_actions_total",
    "Changing actions by kind of resource, action and result.",
    ["kind", "action", "result"],
)
DRIFT = Counter(
    "gilder_drift_corrected_total",
    "Corrections of AWS while the declaration had not changed.",
    ["kind", "namespace", "name", "action"],
)
AWS_REQUESTS = Counter(
    "gilder_aws_requests_total", "HTTP requests to AWS.", ["service", "action", "region"]
)
AWS_THROTTLES = Counter(
    "gilder_aws_throttles_total", "Requests that AWS throttled.", ["service", "action", "region"]
)
LEADING = Gauge("gilder_leading", "1 while this replica acts.")
QUEUE = Gauge("gilder_queue_length", "Resources that wait for a reconcile or are in one.")
SWEEPS = Counter("gilder_sweeps_total", "Sweeps that looked for drift.")
EVENTS = Counter(
    "gilder_events_total",
    "Events from AWS by what happened and what became of it: matched, foreign, own or malformed.",
    ["kind", "result"],
)
EVENT_LAG = Histogram(
    "gilder_event_lag_seconds",
    "Time from what happened in AWS to the reconcile being due, of events that matched.",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900),
)
EVENTS_RECEIVED = Gauge(
    "gilder_events_received", "1 while the queue of events can be read; 0 too if there is none."
)


BUILDS = Counter(
    "gilder_builds_total",
    "Builds that ended, by imageBuilder or job, and how: Succeeded, Failed or Cancelled.",
    ["kind", "result"],
)
BUILD_DURATION = Histogram(
    "gilder_build_duration_seconds",
    "Time from the begin of a build to its end.",
    ["kind", "result"],
    buckets=(60, 300, 600, 1200, 1800, 2700, 3600, 5400, 7200, 14400, 28800),
)
BUILDING = Gauge("gilder_builds_running", "GoldenImages with a build under way.")
GATES = Counter(
    "gilder_gate_results_total",
    "Verdicts on new versions by kind of gate (ssm, inspector, manual) and result.",
    ["gate", "result"],
)


class Conditions(Collector):
    """`gilder_condition` of every object, made when it is asked for.

    A Gauge keeps an object of a kilobyte per series, and here are several for every resource.
    """

    def __init__(self) -> None:
        self._true: dict[tuple[str, str, str], frozenset[str]] = {}

    def set(self, kind: str, namespace: str, name: str, true: frozenset[str]) -> None:
        self._true[kind, namespace, name] = pool.one(true)

    def forget(self, kind: str, namespace: str, name: str) -> None:
        self._true.pop((kind, namespace, name), None)

    def describe(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("gilder_condition", "1 while the condition is True.")

    def collect(self) -> Iterable[Metric]:
        for family in self.describe():
            family.samples = _Samples(self._true.copy())
            yield family


class _Samples(list[Sample]):
    """Looks like a list, and makes its samples one by one."""

    def __init__(self, true: dict[tuple[str, str, str], frozenset[str]]) -> None:
        super().__init__()
        self._true = true

    def __iter__(self) -> Iterator[Sample]:
        for (kind, namespace, name), types in self._true.items():
            for type_ in ConditionType:
                labels = {"kind": kind, "namespace": namespace, "name": name, "type": type_.value}
                yield Sample("gilder_condition", labels, float(type_.value in types))


class RecoveryPoints(Collector):
    """`gilder_recovery_point_age_seconds` of every replica Region, as of when it is asked for.

    The age of the version that can be launched there: infinite while there is none, so that an
    alert on a limit covers it.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Mapping[str, float]] = {}

    def set(self, namespace: str, name: str, made: Mapping[str, float]) -> None:
        """`made`: by Region, when what is there was made, in seconds since 1970."""
        self._made[namespace, name] = dict(made)

    def forget(self, namespace: str, name: str) -> None:
        self._made.pop((namespace, name), None)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "gilder_recovery_point_age_seconds",
            "Age of the newest version that can be launched in a replica Region.",
            labels=["namespace", "name", "region"],
        )

    def collect(self) -> Iterable[Metric]:
        now = time.time()
        for family in self.describe():
            for (namespace, name), made in self._made.copy().items():
                for region, at in made.items():
                    family.add_metric([namespace, name, region], max(0.0, now - at))
            yield family


class ByObject(Collector):
    """One number of every object of a kind that has it."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._values: dict[tuple[str, str], float] = {}

    def set(self, namespace: str, name: str, value: float | None) -> None:
        """None: the object has no such number."""
        if value is None:
            self.forget(namespace, name)
        else:
            self._values[namespace, name] = value

    def forget(self, namespace: str, name: str) -> None:
        self._values.pop((namespace, name), None)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(self._name, self._text, labels=["namespace", "name"])

    def collect(self) -> Iterable[Metric]:
        for family in self.describe():
            for (namespace, name), value in self._values.copy().items():
                family.add_metric([namespace, name], value)
            yield family


class ViewAges(Collector):
    """`gilder_view_age_seconds` of every Region in use, as of when it is asked for."""

    def __init__(self) -> None:
        self.source: Callable[[], Mapping[tuple[str, str], float]] = dict

    def describe(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "gilder_view_age_seconds",
            "Time since the AMIs of a Region were read well last; account is empty for the own.",
            labels=["account", "region"],
        )

    def collect(self) -> Iterable[Metric]:
        for family in self.describe():
            for (account, region), age in self.source().items():
                family.add_metric([account, region], age)
            yield family


VIEW_AGES = ViewAges()
PLANNED = ByObject(
    "gilder_planned_actions",
    "Changes of a GoldenImage that are planned and not made, 50 at most.",
)
SHARE_PLANNED = ByObject(
    "gilder_share_planned_actions",
    "Changes of an ImageShare that are planned and not made, 50 at most.",
)
PRINCIPALS = ByObject("gilder_share_principals", "Principals that an ImageShare shares with.")
MISSING = ByObject(
    "gilder_share_principals_lacking",
    "Principals that an ImageShare declares and that cannot launch an AMI of it.",
)
CONDITIONS = Conditions()
REGISTRY.register(CONDITIONS)
RECOVERY_POINTS = RecoveryPoints()
REGISTRY.register(RECOVERY_POINTS)
for collector in (VIEW_AGES, PLANNED, SHARE_PLANNED, PRINCIPALS, MISSING):
    REGISTRY.register(collector)


def count_throttle(service: str, action: str, region: str) -> None:
    AWS_THROTTLES.labels(service, action, region).inc()


def count_call(service: str, action: str, region: str) -> None:
    AWS_REQUESTS.labels(service, action, region).inc()


def set_conditions(kind: str, namespace: str, name: str, conditions: Iterable[Condition]) -> None:
    """1 for each condition that is True, 0 for every other, those that vanished included."""
    true = frozenset(c.type for c in conditions if c.status == "True")
    CONDITIONS.set(kind, namespace, name, true)


def set_recovery_points(namespace: str, name: str, replicas: Iterable[ReplicaStatus]) -> None:
    """When the version in each replica Region was made."""
    made = {r.region: _seconds(r.recovery_point) for r in replicas}
    RECOVERY_POINTS.set(namespace, name, made)


def set_share(namespace: str, name: str, status: ImageShareStatus) -> None:
    PRINCIPALS.set(namespace, name, status.principals)
    MISSING.set(namespace, name, len({one.principal for one in status.lacking}))
    SHARE_PLANNED.set(namespace, name, len(status.plan) or None)


def set_image(namespace: str, name: str, status: GoldenImageStatus) -> None:
    set_recovery_points(namespace, name, status.replicas)
    PLANNED.set(namespace, name, len(status.plan) or None)


def count_work(before: Mapping[str, Any], after: GoldenImageStatus) -> None:
    """Count what a new status tells for the first time: a build that ended, verdicts of gates.

    `before` is the status as it was in the cluster, so that nothing is counted twice, whoever
    wrote it.
    """
    last = after.last_build
    if last is not None and last.id != (before.get("lastBuild") or {}).get("id"):
        labels = (last.kind or "unknown", last.state or "unknown")
        BUILDS.labels(*labels).inc()
        if last.started_at and last.finished_at:
            took = (moment(last.finished_at) - moment(last.started_at)).total_seconds()
            BUILD_DURATION.labels(*labels).observe(max(0.0, took))
    known = {
        v.get("version"): {g.get("name"): g.get("state") for g in v.get("gates") or []}
        for v in before.get("versions") or []
    }
    # Without a status before, versions were found again by their tags, and judged long ago.
    for version in after.versions if before else ():
        was = known.get(version.version, {})
        for gate in version.gates:
            if gate.state in ("Passed", "Failed") and was.get(gate.name) != gate.state:
                GATES.labels(gate.name.partition("/")[0], gate.state).inc()


def _seconds(at: str | None) -> float:
    return moment(at).timestamp() if at else -math.inf


def forget(kind: str, namespace: str, name: str) -> None:
    """Drop the series of an object that is gone."""
    if kind == "GoldenImage":
        RECOVERY_POINTS.forget(namespace, name)
        PLANNED.forget(namespace, name)
    else:
        for numbers in (PRINCIPALS, MISSING, SHARE_PLANNED):
            numbers.forget(namespace, name)
    CONDITIONS.forget(kind, namespace, name)
    DRIFT.remove_by_labels({"kind": kind, "namespace": namespace, "name": name})
