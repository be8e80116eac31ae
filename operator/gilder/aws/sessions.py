"""boto3 clients: made once per service and Region, configured alike, counted when they call."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError
from botocore.loaders import create_loader
from botocore.session import Session

from gilder import __version__
from gilder.api.access import AssumedRole
from gilder.aws import roles as chains
from gilder.aws.errors import THROTTLED, WrongAccountError, recognized
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


# AWS's descriptions of its services, of which one copy does for all accounts.
_MODELS = create_loader()


class Sessions:
    """Clients of one AWS account.

    The credentials are those of the environment or of `profile`; with `roles` those of the last
    role, each assumed with the ones before, the first one with those that `base` begins with,
    if it is given. `expected` is the account that they must be of: without roles, every call to
    another one raises WrongAccountError, and nothing is sent. With roles, calls raise RoleError
    while one cannot be assumed. `limits` are those of one account: no two may have the same.
    """

    def __init__(
        self,
        region: str,
        on_call: Counter | None = None,
        on_throttle: Counter | None = None,
        limits: Limits | None = None,
        cluster: str = "default",
        *,
        profile: str | None = None,
        roles: Sequence[AssumedRole] = (),
        expected: str | None = None,
        base: "Sessions | None" = None,
    ) -> None:
        self.region = region
        self.expected = expected
        self._on_call = on_call
        self._on_throttle = on_throttle
        self._limits = limits
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._account: str | None = None
        # The account of a role is in its ARN; any other is asked for before the first call.
        self._ask_first = expected is not None and not roles
        # Adaptive mode would slow down one client; the limits slow down all of a Region's together.
        # https://docs.aws.amazon.com/boto3/latest/guide/retries.html
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=32,
            user_agent_extra=user_agent(__version__, cluster),
        )
        self._start = self._new_session(profile)
        self._session = self._start
        if roles:
            start = self if base is None else base
            self._session = self._new_session(profile)
            # botocore has a method for this, but only for keys that never change.
            self._session._credentials = chains.chain(  # type: ignore[attr-defined]
                start, roles, f"gilder-{cluster}", self._sts
            )

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials that roles are assumed with: those before the roles of this account.

        Raises NoCredentialsError.
        """
        with self._lock:
            found = self._start.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen: ReadOnlyCredentials = found.get_frozen_credentials()
        return frozen

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

    def autoscaling(self, region: str) -> Any:
        return self._client("autoscaling", region)

    def sqs(self, region: str) -> Any:
        return self._client("sqs", region)

    def sts(self) -> Any:
        return self._client("sts", self.region)

    def organizations(self) -> Any:
        """AWS Organizations, which has one endpoint per partition.

        https://docs.aws.amazon.com/general/latest/gr/ao.html
        """
        partitions = {"cn-": "cn-northwest-1", "us-gov-": "us-gov-west-1"}
        regions = (r for prefix, r in partitions.items() if self.region.startswith(prefix))
        return self._client("organizations", next(regions, "us-east-1"))

    @needs("sts:GetCallerIdentity")
    def account(self) -> str:
        """The account id the credentials belong to; asked once.

        Raises WrongAccountError when it is another one than expected.
        """
        with self._asking:
            if self._account is None:
                sts = self._client("sts", self.region)
                found = str(sts.get_caller_identity()["Account"])
                if self.expected not in (None, found):
                    raise WrongAccountError(str(self.expected), found)
                self._account = found
            return self._account

    def _new_session(self, profile: str | None) -> Session:
        session = Session(profile=profile)
        session.register_component("data_loader", _MODELS)
        session.set_config_variable("region", self.region)
        # A global endpoint would be another Region's trouble.
        # https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html
        session.set_config_variable("sts_regional_endpoints", "regional")
        return session

    def _sts(self, service: str, **keys: Any) -> Any:
        """A client of STS with the given keys, of which roles are assumed."""
        with self._lock:
            client = self._session.create_client(
                service, region_name=self.region, config=self._config, **keys
            )
        self._hook(client, service, self.region)
        return client

    def _client(self, service: str, region: str) -> Any:
        # Making a client is not thread-safe, using one is.
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                client = self._session.create_client(
                    service, region_name=region, config=self._config
                )
                self._hook(client, service, region)
                self._clients[(service, region)] = client
        return client

    def _hook(self, client: Any, service: str, region: str) -> None:
        """Count, limit and watch every HTTP request of a client, retries included."""

        def before(event_name: str, **_: Any) -> None:
            action = event_name.rsplit(".", 1)[-1]
            if self._ask_first and service != "sts":
                self.account()
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
        client.meta.events.register(f"after-call.{service}.*", recognized)
