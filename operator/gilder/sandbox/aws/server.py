"""Starts the sandbox's AWS: moto over HTTP on a loopback port, with this package's extensions."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from gilder.sandbox.aws import extensions, retention_rules
from gilder.sandbox.aws.accounts import choose_account_ids
from gilder.sandbox.aws.commands import COMMANDS, Commands
from gilder.sandbox.aws.counting import Requests
from gilder.sandbox.aws.events import BUS, EventBus
from gilder.sandbox.aws.faults import Faults
from gilder.sandbox.aws.findings import FINDINGS, Findings
from gilder.sandbox.aws.gateway import HANDS, Gateway
from gilder.sandbox.aws.imagebuilder import service as imagebuilder
from gilder.sandbox.aws.imagebuilder.builds import BUILDS, Builds
from gilder.sandbox.aws.images import own_image
from gilder.sandbox.aws.model import Image
from gilder.sandbox.aws.organizations import set_account_state
from gilder.sandbox.aws.settings import (
    CLOCK,
    DEFAULT_ACCOUNT,
    SETTINGS,
    Clock,
    Settings,
    reset_settings,
)
from gilder.sandbox.aws.usage_reports import USAGE_REPORTS, UsageReports

__all__ = ["DEFAULT_ACCOUNT", "SandboxAws", "start_aws"]

_running: "SandboxAws | None" = None
_start_lock = threading.Lock()


class _Handler(MotoRequestHandler):
    """Without an access log, and closing the connections that a fault drops."""

    def log_request(self, *_: Any) -> None:
        return

    def connection_dropped(self, *_: Any) -> None:
        self.close_connection = True


# The services that moto lacks.
_OWN = {"imagebuilder": imagebuilder.create_app, "rbin": retention_rules.create_app}


def _create_app(service: Any) -> Any:
    """The application of a service: moto's, or the one that moto lacks."""
    return _OWN[service]() if service in _OWN else create_backend_app(service)


class _Dispatcher(DomainDispatcherApplication):
    """Remembers which backend serves a host; moto looks through its folders on every call."""

    def __init__(self) -> None:
        super().__init__(_create_app)
        self._backends: dict[str | None, Any] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        extensions.settle()
        return super().__call__(environ, start_response)

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._backends:
            service: Any = (host or "").partition(".")[0]
            own = service in _OWN
            self._backends[host] = service if own else super().get_backend_for_host(host)
        return self._backends[host]


class SandboxAws:
    """A running AWS. One per process, because moto keeps its state in module globals."""

    def __init__(self, server: BaseWSGIServer, requests: Requests, faults: Faults) -> None:
        self._server = server
        self._initial: dict[str, object] = {}
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._clients: dict[tuple[str, str, str, bool], Any] = {}
        self._client_lock = threading.Lock()
        host, port = server.server_address[:2]
        self.url = f"http://{host!s}:{port}"
        self.requests = requests
        self.faults = faults
        self.clock: Clock = CLOCK
        self.settings: Settings = SETTINGS
        # How builds of Image Builder, commands of Run Command, scans of Inspector and usage
        # reports turn out.
        self.builds: Builds = BUILDS
        self.commands: Commands = COMMANDS
        self.findings: Findings = FINDINGS
        self.usage_reports: UsageReports = USAGE_REPORTS
        self.bus: EventBus = BUS
        # Whether what `client` makes is out of reach of faults, and not counted.
        self.hands = False

    def client_env(
        self, account: str = DEFAULT_ACCOUNT, region: str = "eu-west-1"
    ) -> dict[str, str]:
        """Environment variables that point any AWS SDK at this server as `account`."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_DEFAULT_REGION": region,
            "AWS_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(
        self, service: str, region: str = "eu-west-1", account: str = DEFAULT_ACCOUNT
    ) -> Any:
        """A boto3 client without retries; one per service, Region and account is kept."""
        key = (service, region, account, self.hands)
        with self._client_lock:
            if key not in self._clients:
                self._clients[key] = boto3.client(
                    service,  # type: ignore[call-overload]
                    region_name=region,
                    endpoint_url=self.url,
                    aws_access_key_id=account,
                    aws_secret_access_key="sandbox",
                    config=Config(
                        retries={"total_max_attempts": 1},
                        user_agent_extra=HANDS if self.hands else None,
                        max_pool_connections=32,
                        connect_timeout=5,
                        read_timeout=60,
                    ),
                )
            return self._clients[key]

    def assume(
        self,
        role: str,
        *,
        account: str = DEFAULT_ACCOUNT,
        by: Mapping[str, Any] | None = None,
        name: str = "sandbox",
        **parameters: Any,
    ) -> dict[str, Any]:
        """Credentials of a role, asked for by an account or by the credentials `by`."""
        sts = self.client("sts", account=account) if by is None else self.client_as(by, "sts")
        found = sts.assume_role(RoleArn=role, RoleSessionName=name, **parameters)
        credentials: dict[str, Any] = found["Credentials"]
        return credentials

    def client_as(
        self, credentials: Mapping[str, Any], service: str, region: str = "eu-west-1"
    ) -> Any:
        """A boto3 client without retries that has the credentials of a session."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def events(
        self,
        queue_name: str = "gilder-events",
        region: str = "eu-west-1",
        *,
        accounts: Iterable[str] = (),
    ) -> str:
        """Have an SQS queue told what is done to AMIs and keys of any Region; its URL.

        The events of `accounts` come too, as their rules forward them; `account` says whose.
        """
        made = self.client("sqs", region).create_queue(QueueName=queue_name)
        self.bus.open(region, queue_name, accounts)
        return str(made["QueueUrl"])

    def choose_account_ids(self, *ids: str) -> None:
        """Ids for the accounts that Organizations creates next."""
        choose_account_ids(*ids)

    def set_account_state(self, account: str, state: str) -> None:
        """State of a member account: ACTIVE, SUSPENDED, PENDING_CLOSURE, CLOSED and so on."""
        set_account_state(account, state)

    def image(
        self, image_id: str, region: str = "eu-west-1", account: str = DEFAULT_ACCOUNT
    ) -> Image:
        """The sandbox's own record of an AMI, also of what no API shows, such as `no_reboot`."""
        return own_image(account, region, image_id)

    def edit_image(
        self,
        image_id: str,
        region: str = "eu-west-1",
        account: str = DEFAULT_ACCOUNT,
        **fields: Any,
    ) -> None:
        """Set fields of an AMI that no API can set, such as `product_codes`."""
        extensions.edit_image(account, region, image_id, **fields)

    def edit_instance(
        self,
        instance_id: str,
        region: str = "eu-west-1",
        account: str = DEFAULT_ACCOUNT,
        **fields: Any,
    ) -> None:
        """Set fields of an instance that no API can set, such as `root_device_type`."""
        extensions.edit_instance(account, region, instance_id, **fields)

    def reset(self) -> None:
        """Forget all state, faults, counts and time travel; settings return to their start."""
        self.bus.reset()
        extensions.reset()
        reset_settings(**self._initial)
        self.clock.reset()
        self.faults.clear()
        self.requests.reset()

    def stop(self) -> None:
        """Stop serving. State is dropped, so that another one may be started."""
        global _running
        with _start_lock:
            if _running is not self:
                return
            self._server.shutdown()
            self._thread.join(timeout=10)
            self._server.server_close()
            for client in self._clients.values():
                client.close()
            self.reset()
            _running = None

    def __enter__(self) -> "SandboxAws":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_aws(*, port: int = 0, image_delay: float = 0.0, **settings: Any) -> SandboxAws:
    """Start the server on a loopback port (0: a free one). Raises while another one runs."""
    global _running
    with _start_lock:
        if _running is not None:
            raise RuntimeError(
                f"the sandbox's AWS already runs at {_running.url}; moto's state is global, so "
                "there can be only one per process. Call stop() on it first"
            )
        extensions.install()
        requests, faults = Requests(), Faults()
        app = Gateway(_Dispatcher(), requests, faults, BUS)
        server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Handler)
        server.daemon_threads = True  # type: ignore[attr-defined]
        server.block_on_close = False  # type: ignore[attr-defined]
        aws = SandboxAws(server, requests, faults)
        aws._initial = {"image_delay": image_delay, **settings}
        aws.reset()
        extensions.bind(faults)
        aws._thread.start()
        _running = aws
        return aws
