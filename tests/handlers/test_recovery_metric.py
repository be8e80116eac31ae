"""`gilder_recovery_point_age_seconds`: by replica Region, as of the moment it is asked for."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from gilder.api.goldenimage import ReplicaStatus
from gilder.core.times import rfc3339
from gilder.handlers import metrics


def age(name: str, region: str) -> float | None:
    labels = {"namespace": "n", "name": name, "region": region}
    return REGISTRY.get_sample_value("gilder_recovery_point_age_seconds", labels)


def replica(region: str, made: datetime | None) -> ReplicaStatus:
    return ReplicaStatus(region=region, recovery_point=rfc3339(made) if made else None)


def test_each_region_tells_the_age_of_what_it_has() -> None:
    made = datetime.now(UTC) - timedelta(hours=2)
    metrics.set_recovery_points("n", "aged", [replica("us-east-1", made), replica("x", None)])
    assert age("aged", "us-east-1") == pytest.approx(7200, abs=120)
    assert age("aged", "x") == math.inf, "nothing to recover from is older than any limit"
    metrics.set_recovery_points("n", "aged", [replica("us-east-1", datetime.now(UTC))])
    assert age("aged", "us-east-1") == pytest.approx(0, abs=120)
    assert age("aged", "x") is None, "a Region that left the spec has no series"
    metrics.forget("GoldenImage", "n", "aged")
    assert age("aged", "us-east-1") is None
