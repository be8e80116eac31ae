"""Where the extensions register their handlers, and the call that a handler receives."""

import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import moto.core.responses as moto_responses
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import camelcase_to_underscores, method_names_from_class
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.kms.responses import KmsResponse
from moto.organizations.responses import OrganizationsResponse
from moto.sts.responses import TokenResponse

from gilder.sandbox.aws.errors import AwsError, DryRunError

# Handlers read and then write state; one at a time keeps that atomic, as AWS's names and
# tokens are. moto serves from threads under one GIL, so this costs no throughput.
LOCK = threading.RLock()


@dataclass(frozen=True)
class Call:
    """One API call: who, where, what, with the parameters under botocore's names."""

    action: str
    account: str
    region: str
    access_key: str
    params: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.params.get(name)
        return default if value is None else value

    def need(self, name: str) -> Any:
        value = self.params.get(name)
        if value in (None, ""):
            raise AwsError("MissingParameter", f"The request must contain the parameter {name}")
        return value

    @property
    def backend(self) -> Any:
        return ec2_backends[self.account][self.region]

    def dry_run(self) -> None:
        """Stop here when DryRun is set; handlers call it once everything is validated."""
        if self.params.get("DryRun"):
            raise DryRunError()


Handler = Callable[[Call], Mapping[str, Any] | None]
_EC2: dict[str, Handler] = {}
_KMS: dict[str, Handler] = {}
_ORGANIZATIONS: dict[str, Handler] = {}
_STS: dict[str, Handler] = {}


def ec2(handler: Handler) -> Handler:
    """Register an EC2 handler by its name: `copy_image` serves CopyImage."""
    _EC2[handler.__name__] = handler
    return handler


def kms(handler: Handler) -> Handler:
    """Register a KMS handler by its name."""
    _KMS[handler.__name__] = handler
    return handler


def organizations(handler: Handler) -> Handler:
    """Register an Organizations handler by its name."""
    _ORGANIZATIONS[handler.__name__] = handler
    return handler


def sts(handler: Handler) -> Handler:
    """Register an STS handler by its name."""
    _STS[handler.__name__] = handler
    return handler


def call_of(response: Any, params: Mapping[str, Any]) -> Call:
    """The call that a moto response object is serving."""
    return Call(
        response._get_action(),
        response.current_account,
        response.region,
        access_key_of(response.headers.get("Authorization", "")),
        params,
    )


def access_key_of(authorization: str) -> str:
    """The access key id of a SigV4 header."""
    _, _, rest = authorization.partition("Credential=")
    return rest.partition("/")[0]


class _PlainResult(ActionResult):
    """A result of plain dicts under botocore's names, without moto's search for other names."""

    def execute_result(self, context: Any) -> Any:
        serializer = context.serializer_class(
            operation_model=context.operation_model, value_picker=lambda c: c.obj.get(c.key)
        )
        written = serializer.serialize(self.result)
        return written["status_code"], written["headers"], written["body"]


def plain_method(handler: Handler) -> Callable[[Any], ActionResult]:
    """A method for a moto response class that parses its parameters by botocore's model."""

    def method(self: Any) -> ActionResult:
        with LOCK:
            result = handler(call_of(self, self.params))
            return EmptyResult() if result is None else _PlainResult(result)

    return method


def _json_method(handler: Handler) -> Callable[[Any], str]:
    def method(self: Any) -> str:
        with LOCK, json_errors():
            return json.dumps(handler(call_of(self, json.loads(self.body or b"{}"))))

    return method


@contextmanager
def json_errors() -> Iterator[None]:
    """For services whose moto responses are JSON: write any error code, modelled or not."""
    try:
        yield
    except AwsError as error:
        raise JsonRESTError(error.code, error.message) from error


def install() -> None:
    for name, handler in _EC2.items():
        setattr(EC2Response, name, plain_method(handler))
    for name, handler in _KMS.items():
        setattr(KmsResponse, name, _json_method(handler))
    for name, handler in _ORGANIZATIONS.items():
        setattr(OrganizationsResponse, name, _json_method(handler))
    for name, handler in _STS.items():
        setattr(TokenResponse, name, plain_method(handler))
    # moto inspects all methods of the response class on every call, and EC2's has hundreds.
    module: Any = moto_responses
    module.method_names_from_class = functools.cache(method_names_from_class)
    module.camelcase_to_underscores = functools.cache(camelcase_to_underscores)
