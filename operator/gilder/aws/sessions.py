"""boto3 clients: made once per service and Region, configured alike, counted when they call."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from gilder import __version__
from gilder.aws.permissions import needs

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_ssm.client import SSMClient

# service, action, Region -> nothing; called once for every HTTP request that is sent.
Counter = Callable[[str, str, str], None]

ATTEMPTS = 5
CONNECT_TIMEOUT = 5  # seconds
READ_TIMEOUT = 30  # seconds; DescribeImages over many AMIs is the slowest call


class Sessions:
    """Clients of one AWS account, with the credentials of the environment."""

    def __init__(self, region: str, on_call: Counter | None = None) -> None:
        self.region = region
        self._on_call = on_call
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._session = boto3.Session(region_name=region)
        self._clients: dict[tuple[str, str], Any] = {}
        self._account: str | None = None
        # Adaptive mode slows this client down when AWS throttles it:
        # https://docs.aws.amazon.com/boto3/latest/guide/retries.html#adaptive-retry-mode
        self._config = Config(
            retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=32,
            user_agent_extra=f"gilder/{__version__}",
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
                if self._on_call is not None:
                    self._count(client, service, region, self._on_call)
                self._clients[(service, region)] = client
        return client

    @staticmethod
    def _count(client: Any, service: str, region: str, on_call: Counter) -> None:
        def sent(event_name: str, **_: Any) -> None:
            on_call(service, event_name.rsplit(".", 1)[-1], region)

        client.meta.events.register(f"before-send.{service}.*", sent)
