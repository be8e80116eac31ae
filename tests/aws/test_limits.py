"""Token buckets: rates, bursts, slowing down and recovering; and that clients go through them."""

import pytest
from botocore.exceptions import ClientError

from gilder.aws.limits import CUT, RATES, RECOVERY, Bucket, Limits, Rate, family
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.server import SandboxAws


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_burst_is_free_and_then_the_rate_holds() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=2, burst=3), clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(0.5)
    assert bucket.take() == pytest.approx(1.0)
    clock.now += 100
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]  # never more than the burst


def test_over_time_no_more_than_the_rate_is_sent() -> None:
    clock = Clock()
    limits = Limits(clock=clock, sleep=clock.sleep)
    rate = RATES[("ec2", "write")]
    calls = 500
    for _ in range(calls):
        limits.before("ec2", "CopyImage", "eu-west-1")
    assert clock.now == pytest.approx((calls - rate.burst) / rate.per_second, rel=0.01)


def test_throttling_halves_the_rate_and_time_gives_it_back() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_second=10, burst=1), clock)
    bucket.take()
    bucket.throttled()
    assert bucket.take() == pytest.approx(1 / (10 * CUT), rel=0.05)
    clock.now += 10 * RECOVERY
    bucket.take()
    assert bucket.take() == pytest.approx(1 / 10, rel=0.05)


def test_reads_do_not_starve_writes_and_make_room_when_these_are_throttled() -> None:
    clock = Clock()
    limits = Limits(clock=clock, sleep=clock.sleep)
    for _ in range(1000):
        limits.before("ec2", "DescribeImages", "eu-west-1")
    assert limits.before("ec2", "CopyImage", "eu-west-1") == 0
    clock.now += 1000
    limits.throttled("ec2", "CopyImage", "eu-west-1")
    assert limits.before("ec2", "DescribeImages", "eu-west-1") > 0
    assert limits.before("ec2", "DescribeImages", "us-east-1") == 0  # Regions stand apart


@pytest.mark.parametrize(
    ("action", "want"),
    [("DescribeImages", "read"), ("GetKeyPolicy", "read"), ("ListGrants", "read"),
     ("CreateGrant", "write"), ("ModifyImageAttribute", "write")],
)  # fmt: skip
def test_family(action: str, want: str) -> None:
    assert family(action) == want


def test_zero_means_no_limits() -> None:
    limits = Limits(0, sleep=lambda _: pytest.fail("slept"))
    for _ in range(10_000):
        limits.before("ec2", "CopyImage", "eu-west-1")


def test_clients_are_counted_limited_and_watched(aws: SandboxAws) -> None:
    calls: list[str] = []
    throttles: list[str] = []
    slept: list[float] = []
    limits = Limits(clock=lambda: 0.0, sleep=slept.append)
    sessions = Sessions(
        "eu-west-1",
        lambda *call: calls.append(":".join(call)),
        lambda *call: throttles.append(":".join(call)),
        limits,
    )
    aws.faults.throttle(2, "DescribeImages")
    sessions.ec2("eu-west-1").describe_images(Owners=["self"])
    assert calls == ["ec2:DescribeImages:eu-west-1"] * 3
    assert throttles == ["ec2:DescribeImages:eu-west-1"] * 2
    assert len(slept) == 2  # each try after throttling had to wait for a token
    aws.faults.deny("CopyImage")
    with pytest.raises(ClientError):
        sessions.ec2("eu-west-1").copy_image(
            Name="xxx", SourceImageId="ami-0123456789abcdef0", SourceRegion="eu-west-1"
        )
    assert len(throttles) == 2
