"""Prometheus metrics of the operator."""

from prometheus_client import Counter, Gauge, Histogram

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
READY = Gauge(
    "gilder_condition", "1 while the condition is True.", ["kind", "namespace", "name", "type"]
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


def count_throttle(service: str, action: str, region: str) -> None:
    AWS_THROTTLES.labels(service, action, region).inc()


def count_call(service: str, action: str, region: str) -> None:
    AWS_REQUESTS.labels(service, action, region).inc()


def forget(kind: str, namespace: str, name: str) -> None:
    """Drop the series of an object that is gone."""
    for metric in (READY, DRIFT):
        metric.remove_by_labels({"kind": kind, "namespace": namespace, "name": name})
