"""boto3 clients: made once per service and Region, configured alike, counted when they call."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from gilder import __version__
from gilder.aws.errors import THROTTLED
from gilder.aws.limits import Limits
from gilder.aws.permissions import needs
from gilder.core.events import user_agent

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_imagebuilder.client import ImagebuilderClient
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_ssm.client import SSMClient

# service, action, Region -> nothing; called once for every HTTP request that is sent.
Counter = Callable[[str, str, str], None]

ATTEMPTS = 5
CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds; DescribeImages over many AMIs is the slowest call


class Sessions:
    """Clients of one AWS account, with the credentials of the environment."""

    def __init__(
        self,
        region: str,
        on_call: Counter | None = None,
        on_throttle: Counter | None = None,
        limits: Limits | None = None,
        cluster: str = "default",
        *,
        profile: str | None = None,
        roles: Any = (),
        expected: str | None = None,
    ) -> None:
        self.region = region
        self._on_call = on_call
        self._on_throttle = on_throttle
        self._limits = limits
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._session = boto3.Session(region_name=region, profile_name=profile)
        self._roles = tuple(roles)
        self._expected = expected
        for role in self._roles:
            answer = self._session.client("sts").assume_role(
                RoleArn=role.arn,
                RoleSessionName="x",
                **({"ExternalId": role.external_id} if role.external_id else {}),
            )["Credentials"]
            self._session = boto3.Session(
                answer["AccessKeyId"],
                answer["SecretAccessKey"],
                answer["SessionToken"],
                region_name=region,
            )
        self._clients: dict[tuple[str, str], Any] = {}
        self._account: str | None = None
        # Adaptive mode would slow down one client; the limits slow down all of a Region's together.
        # https://docs.aws.amazon.com/boto3/latest/guide/retries.html
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=32,
            user_agent_extra=user_agent(__version__, cluster),
        )

    def ec2(self, region: str) -> "EC2Client":
        client: EC2Client = self._client("ec2", region)
        return client

    def kms(self, region: str) -> "KMSClient":
        client: KMSClient = self._client("kms", region)
        return client

    def ssm(self, region: str) -> "SSMClient":
        client: SSMClient = self._client("ssm", region)
        return client

    def imagebuilder(self, region: str) -> "ImagebuilderClient":
        client: ImagebuilderClient = self._client("imagebuilder", region)
        return client

    def organizations(self) -> Any:
        return self._client("organizations", "us-east-1")

    def sqs(self, region: str) -> Any:
        return self._client("sqs", region)

    @needs("sts:GetCallerIdentity")
    def account(self) -> str:
        """The account id the credentials belong to; asked once."""
        with self._asking:
            if self._account is None:
                sts = self._client("sts", self.region)
                self._account = str(sts.get_caller_identity()["Account"])
            return self._account

    def _client(self, service: str, region: str) -> Any:
        # Making a client is not thread-safe, using one is.
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                client = self._session.client(service, region_name=region, config=self._config)  # type: ignore[call-overload]
                self._hook(client, service, region)
                self._clients[(service, region)] = client
        return client

    def _hook(self, client: Any, service: str, region: str) -> None:
        """Count, limit and watch every HTTP request of a client, retries included."""

        def before(event_name: str, **_: Any) -> None:
            action = event_name.rsplit(".", 1)[-1]
            if self._limits is not None:
                self._limits.before(service, action, region)
            if self._on_call is not None:
                self._on_call(service, action, region)

        def after(event_name: str, response: Any = None, **_: Any) -> None:
            code = ""
            if response is not None and isinstance(response[1], dict):
                code = str(response[1].get("Error", {}).get("Code", ""))
            if code in THROTTLED:
                action = event_name.rsplit(".", 1)[-1]
                if self._limits is not None:
                    self._limits.throttled(service, action, region)
                if self._on_throttle is not None:
                    self._on_throttle(service, action, region)

        client.meta.events.register(f"before-send.{service}.*", before)
        client.meta.events.register(f"needs-retry.{service}.*", after)
