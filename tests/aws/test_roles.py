"""Assumed roles: what STS is told, who acts then, renewal, and what is said when it fails."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError
from dateutil.tz import tzlocal
from trust import HUB, PROD, make_role

from gilder.api.access import AssumedRole
from gilder.aws import errors, roles
from gilder.aws.errors import RoleError, WrongAccountError
from gilder.aws.limits import Limits
from gilder.aws.sessions import Sessions
from gilder.core.observed import Problem
from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import DEFAULT_ACCOUNT, SandboxAws

HOME = "eu-west-1"


def assumed(arn: str, **more: Any) -> AssumedRole:
    return AssumedRole(arn=arn, **more)


def told(call: Callable[[], object]) -> Problem:
    with pytest.raises(errors.AWS_ERRORS) as caught:
        call()
    return errors.problem(caught.value, "reading AMIs", HOME)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "pause", lambda _: 0.0)


def test_calls_are_made_in_the_account_of_the_role(aws: SandboxAws) -> None:
    arn = make_role(aws, PROD, external_id="abc")
    calls: list[str] = []
    limits = Limits(clock=lambda: 0.0, sleep=lambda _: None)
    sessions = Sessions(
        HOME,
        lambda *call: calls.append(":".join(call)),
        limits=limits,
        cluster="blue",
        roles=[assumed(arn, external_id="abc")],
        expected=PROD,
    )
    ec2 = sessions.ec2(HOME)
    assert calls == []  # nothing is asked before it is needed
    ec2.create_tags(
        Resources=[register(aws, "theirs", make_snapshot(aws, account=PROD), account=PROD)],
        Tags=[{"Key": "by", "Value": "us"}],
    )
    (image,) = aws.client("ec2", HOME, PROD).describe_images(Owners=["self"])["Images"]
    assert image["Tags"] == [{"Key": "by", "Value": "us"}]
    assert sessions.account() == PROD
    who = sessions._client("sts", HOME).get_caller_identity()["Arn"]
    assert who == f"arn:aws:sts::{PROD}:assumed-role/gilder/gilder-blue"
    assert calls.count(f"sts:AssumeRole:{HOME}") == 1
    assert calls[0] == f"sts:AssumeRole:{HOME}"


def test_a_chain_goes_from_role_to_role(aws: SandboxAws) -> None:
    hub = make_role(aws, HUB, "hub")
    last = make_role(aws, PROD, trusts=hub)
    by: list[str] = []
    aws.faults.before("sts:AssumeRole", lambda key: by.append(key.account))
    sessions = Sessions(HOME, roles=[assumed(hub), assumed(last)], expected=PROD)
    assert sessions.account() == PROD
    assert by == [DEFAULT_ACCOUNT, HUB]


def test_what_sts_is_told() -> None:
    role = assumed(
        f"arn:aws:iam::{PROD}:role/x",
        external_id="abc",
        session_tags={"team": "a", "cost": "1"},
        transitive_tag_keys=("team",),
        duration_seconds=900,
    )
    sent: list[dict[str, Any]] = []

    class Sts:
        def assume_role(self, **request: Any) -> dict[str, Any]:
            sent.append(request)
            return answer(900)

    chained = roles.chain(Credentials("a", "b"), [role], "gilder-x", lambda *_, **__: Sts())
    assert chained.get_frozen_credentials().access_key == "key-900"
    assert sent == [
        {
            "RoleArn": role.arn,
            "RoleSessionName": "gilder-x",
            "ExternalId": "abc",
            "Tags": [{"Key": "cost", "Value": "1"}, {"Key": "team", "Value": "a"}],
            "TransitiveTagKeys": ["team"],
            "DurationSeconds": 900,
        }
    ]


def answer(seconds: float, after: float = 0.0) -> dict[str, Any]:
    ends = datetime.now(tzlocal()) + timedelta(seconds=seconds + after)
    return {
        "Credentials": {
            "AccessKeyId": f"key-{seconds + after:.0f}",
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": ends,
        },
        "AssumedRoleUser": {"Arn": f"arn:aws:sts::{PROD}:assumed-role/x/y"},
    }


@pytest.mark.parametrize("lifetime", [900, 3600, 43200])
def test_credentials_are_renewed_before_they_end_and_not_at_every_use(lifetime: int) -> None:
    asked: list[float] = []
    past = 0.0

    class Sts:
        def assume_role(self, **_: Any) -> dict[str, Any]:
            asked.append(past)
            return answer(lifetime, past)

    role = assumed(f"arn:aws:iam::{PROD}:role/x", duration_seconds=lifetime)
    source: Any = roles.chain(Credentials("a", "b"), [role], "s", lambda *_, **__: Sts())
    source._time_fetcher = lambda: datetime.now(tzlocal()) + timedelta(seconds=past)
    for _ in range(5):
        source.get_frozen_credentials()
    assert asked == [0.0]
    past = lifetime * 0.7
    source.get_frozen_credentials()
    assert asked == [0.0]
    past = lifetime * 0.99
    keys = source.get_frozen_credentials()
    assert asked == [0.0, past]
    assert keys.access_key == f"key-{lifetime + past:.0f}"


def test_a_denied_role_is_told_by_name_with_what_to_check(aws: SandboxAws) -> None:
    arn = make_role(aws, PROD)
    aws.faults.deny("sts:AssumeRole")
    sessions = Sessions(HOME, roles=[assumed(arn)], expected=PROD)
    problem = told(lambda: sessions.ec2(HOME).describe_regions())
    assert (problem.reason, problem.permanent) == ("RoleNotAssumable", False)
    assert problem.message.startswith(f"reading AMIs: assuming {arn}: ")
    for word in ("trust policy", "external id", "sts:AssumeRole", "not authorized"):
        assert word in problem.message
    aws.faults.clear()
    assert sessions.account() == PROD  # and mends itself


def test_the_role_of_a_chain_that_failed_is_named(aws: SandboxAws) -> None:
    hub, last = make_role(aws, HUB, "hub"), make_role(aws, PROD)
    chain = [assumed(hub), assumed(last)]
    aws.faults.deny("sts:AssumeRole", account=HUB)
    assert f"assuming {last}" in told(Sessions(HOME, roles=chain).account).message
    aws.faults.clear()
    aws.faults.deny("sts:AssumeRole", account=DEFAULT_ACCOUNT)
    assert f"assuming {hub}" in told(Sessions(HOME, roles=chain).account).message


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("Throttling", 400, "Throttled"),
        ("ServiceUnavailable", 503, "AWSUnavailable"),
        ("ExpiredTokenException", 400, "RoleNotAssumable"),
        ("InvalidClientTokenId", 403, "RoleNotAssumable"),
        ("ValidationError", 400, "RoleNotAssumable"),
        ("RegionDisabledException", 403, "RoleNotAssumable"),
    ],
)
def test_trouble_of_sts_is_told_as_what_it_is(
    aws: SandboxAws, code: str, status: int, reason: str
) -> None:
    arn = make_role(aws, PROD)
    aws.faults.fail("sts:AssumeRole", code, times=None, status=status)
    problem = told(Sessions(HOME, roles=[assumed(arn)]).account)
    assert (problem.reason, problem.permanent) == (reason, False)
    assert arn in problem.message


def test_no_credentials_to_begin_with(aws: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = make_role(aws, PROD)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    problem = told(Sessions(HOME, roles=[assumed(arn)]).account)
    assert problem.reason == "RoleNotAssumable"
    assert "Unable to locate credentials" in problem.message


def test_a_failure_is_remembered_for_a_while_and_stays_with_its_account(
    aws: SandboxAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "pause", lambda _: 60.0)
    bad = Sessions(HOME, roles=[assumed(make_role(aws, PROD))])
    good = Sessions(HOME, roles=[assumed(make_role(aws, HUB))])
    fault = aws.faults.fail("sts:AssumeRole", "AccessDenied", times=1)
    ec2 = bad.ec2(HOME)

    def ask(_: int) -> str:
        try:
            ec2.describe_regions()
        except RoleError as error:
            return errors.code(error.cause)
        return ""

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(16))) == {"AccessDenied"}
    assert fault.hits == 1
    assert aws.requests.total("AssumeRole") == 1
    assert good.account() == HUB


def test_one_caller_at_most_waits_for_a_role_that_fails() -> None:
    """The second time, that is: at first nobody knows."""
    asked, go = threading.Event(), threading.Event()
    good = [False]

    class Sts:
        def assume_role(self, **_: Any) -> dict[str, Any]:
            if not good[0]:
                if asked.is_set():
                    go.wait(30)
                raise EndpointConnectionError(endpoint_url="https://sts")
            return answer(3600)

    role = assumed(f"arn:aws:iam::{PROD}:role/x")
    source = roles.chain(Credentials("a", "b"), [role], "s", lambda *_, **__: Sts())
    with pytest.raises(RoleError):
        source.get_frozen_credentials()
    asked.set()
    waiting = threading.Thread(target=lambda: told(source.get_frozen_credentials))
    waiting.start()
    while not source._fetcher._asking:  # type: ignore[attr-defined]
        pass
    assert told(source.get_frozen_credentials).reason == "AWSUnavailable"
    go.set()
    waiting.join()
    good[0] = True
    assert source.get_frozen_credentials().access_key == "key-3600"


def test_credentials_last_while_sts_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    past = 0.0
    asked: list[float] = []

    class Sts:
        def assume_role(self, **_: Any) -> dict[str, Any]:
            asked.append(past)
            if past:
                raise EndpointConnectionError(endpoint_url="https://sts")
            return answer(3600)

    role = assumed(f"arn:aws:iam::{PROD}:role/x")
    source: Any = roles.chain(Credentials("a", "b"), [role], "s", lambda *_, **__: Sts())
    source._time_fetcher = lambda: datetime.now(tzlocal()) + timedelta(seconds=past)
    source.get_frozen_credentials()
    source._fetcher._remember = _remember_for_ever(source._fetcher)
    past = 2800.0
    for _ in range(5):
        assert source.get_frozen_credentials().access_key == "key-3600"
    assert asked == [0.0, 2800.0]
    assert len(caplog.records) == 1
    past = 3500.0
    assert told(source.get_frozen_credentials).reason == "AWSUnavailable"


def _remember_for_ever(fetcher: Any) -> Callable[[RoleError, float], None]:
    def remember(failure: RoleError, _: float) -> None:
        fetcher._failure, fetcher._until = failure, float("inf")

    return remember


def test_a_slow_failure_has_a_long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert roles.pause(0.1) == roles.PAUSE
    assert roles.pause(40.0) == 80.0


def test_many_threads_assume_a_role_once(aws: SandboxAws) -> None:
    sessions = Sessions(HOME, roles=[assumed(make_role(aws, PROD))], expected=PROD)
    start = threading.Barrier(8)

    def ask(n: int) -> int:
        start.wait()
        return len(sessions.ec2(f"eu-west-{n % 3 + 1}").describe_regions()["Regions"])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))
    assert aws.requests.total("AssumeRole") == 1


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    file.write_text(
        f"[profile prod]\naws_access_key_id = {PROD}\naws_secret_access_key = x\n"
        f"[profile hub]\naws_access_key_id = {HUB}\naws_secret_access_key = x\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))


@pytest.mark.usefixtures("profiles")
def test_a_profile_is_used_and_must_lead_to_its_account(aws: SandboxAws) -> None:
    right = Sessions(HOME, profile="prod", expected=PROD)
    assert right.account() == PROD
    right.ec2(HOME).create_volume(Size=1, AvailabilityZone=f"{HOME}a")
    assert len(aws.client("ec2", HOME, PROD).describe_volumes()["Volumes"]) == 1
    wrong = Sessions(HOME, profile="hub", expected=PROD)
    with pytest.raises(WrongAccountError):
        wrong.account()
    problem = told(lambda: wrong.ec2(HOME).create_volume(Size=1, AvailabilityZone=f"{HOME}a"))
    assert (problem.reason, problem.permanent) == ("WrongAccount", True)
    assert HUB in problem.message
    assert PROD in problem.message
    assert aws.client("ec2", HOME, HUB).describe_volumes()["Volumes"] == []


@pytest.mark.usefixtures("profiles")
def test_roles_may_begin_with_a_profile(aws: SandboxAws) -> None:
    by: list[str] = []
    aws.faults.before("sts:AssumeRole", lambda key: by.append(key.account))
    arn = make_role(aws, PROD, trusts=f"arn:aws:iam::{HUB}:root")
    assert Sessions(HOME, profile="hub", roles=[assumed(arn)]).account() == PROD
    assert by == [HUB]


def test_a_profile_that_is_not_there_is_told(aws: SandboxAws) -> None:  # noqa: ARG001
    sessions = Sessions(HOME, profile="nope", expected=PROD)
    problem = told(sessions.account)
    assert (problem.reason, problem.permanent) == ("CredentialsUnusable", False)
    assert "nope" in problem.message


def test_sts_is_asked_in_the_region_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = Sessions("us-east-1")._sts("sts", aws_access_key_id="x", aws_secret_access_key="x")
    assert client.meta.endpoint_url == "https://sts.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("eu-west-1", "https://organizations.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://organizations.cn-northwest-1.amazonaws.com.cn"),
        ("us-gov-east-1", "https://organizations.us-gov-west-1.amazonaws.com"),
    ],
)
def test_organizations_has_one_endpoint_per_partition(region: str, endpoint: str) -> None:
    assert Sessions(region).organizations().meta.endpoint_url == endpoint


def test_an_error_of_the_call_itself_stays_what_it_is(aws: SandboxAws) -> None:
    sessions = Sessions(HOME, roles=[assumed(make_role(aws, PROD))])
    aws.faults.deny("DescribeRegions")
    with pytest.raises(ClientError):
        sessions.ec2(HOME).describe_regions()
    assert told(lambda: sessions.ec2(HOME).describe_regions()).reason == "AccessDenied"
