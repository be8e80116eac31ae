"""Token buckets per account, Region and API family, so that the account's limits are kept.

AWS's own buckets are shared by everybody in the account, hence the shares of them taken here:
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Family = Literal["read", "write"]

READS = ("Describe", "Get", "List")
FLOOR = 0.05  # part of the rate that throttling never takes away
CUT = 0.5  # what is left of the rate after a throttled call
RECOVERY = 60.0  # seconds without throttling until the whole rate is back


@dataclass(frozen=True)
class Rate:
    """Requests per second, and how many may come at once."""

    per_second: float
    burst: float


# About half of what EC2 and KMS grant an account by default.
RATES: dict[tuple[str, Family], Rate] = {
    ("ec2", "read"): Rate(10, 60),
    ("ec2", "write"): Rate(5, 25),
    ("kms", "read"): Rate(50, 100),
    ("kms", "write"): Rate(25, 50),
    ("ssm", "read"): Rate(20, 40),
}
OTHER = Rate(10, 20)


def family(action: str) -> Family:
    return "read" if action.startswith(READS) else "write"


class Bucket:
    """A token bucket that slows down when AWS throttles and recovers with time."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = rate.burst
        self._at = clock()
        self._factor = 1.0
        self._cut_at = float("-inf")

    def take(self) -> float:
        """Take a token; the seconds to wait before the call may be sent."""
        with self._lock:
            self._refill()
            self._tokens -= 1.0
            return max(0.0, -self._tokens / self._now_rate())

    def throttled(self) -> None:
        """AWS refused a call: halve the rate and empty the bucket."""
        with self._lock:
            self._refill()
            self._factor = max(FLOOR, self._factor_now() * CUT)
            self._cut_at = self._clock()
            self._tokens = min(self._tokens, 0.0)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens += (now - self._at) * self._now_rate()
        self._tokens = min(self._tokens, self._rate.burst)
        self._at = now

    def _factor_now(self) -> float:
        past = (self._clock() - self._cut_at) / RECOVERY
        return min(1.0, self._factor + (1.0 - self._factor) * min(1.0, past))

    def _now_rate(self) -> float:
        return self._rate.per_second * self._factor_now()


class Limits:
    """All buckets. Reads and writes have buckets of their own, so neither starves the other;
    while AWS throttles writes of a service, its reads slow down too and leave it the room."""

    def __init__(
        self,
        scale: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scale = scale
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, Family], Bucket] = {}

    def before(self, service: str, action: str, region: str) -> float:
        """Wait for a token; the seconds waited."""
        if self._scale <= 0:
            return 0.0
        pause = self._bucket(service, region, family(action)).take()
        if pause > 0:
            self._sleep(pause)
        return pause

    def throttled(self, service: str, action: str, region: str) -> None:
        """A call was refused for its rate."""
        if self._scale <= 0:
            return
        kind = family(action)
        self._bucket(service, region, kind).throttled()
        if kind == "write":
            self._bucket(service, region, "read").throttled()

    def _bucket(self, service: str, region: str, kind: Family) -> Bucket:
        with self._lock:
            found = self._buckets.get((service, region, kind))
            if found is None:
                rate = RATES.get((service, kind), OTHER)
                scaled = Rate(rate.per_second * self._scale, max(1.0, rate.burst * self._scale))
                found = self._buckets[(service, region, kind)] = Bucket(scaled, self._clock)
            return found
