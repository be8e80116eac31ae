"""The API of Image Builder on the wire: operations by name, client tokens, dry runs, pages."""

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from moto.core.responses import BaseResponse

from gilder.sandbox.aws import rest
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.idempotency import digest
from gilder.sandbox.aws.imagebuilder.names import invalid
from gilder.sandbox.aws.imagebuilder.store import store
from gilder.sandbox.aws.pagination import page
from gilder.sandbox.aws.registry import Call, Handler, plain_method

T = TypeVar("T")
Getter = Callable[[T], Sequence[str]]
_DEFAULT_PAGE, _LARGEST_PAGE = 25, 100


class ImageBuilderResponse(BaseResponse):
    """moto's reading of requests and writing of answers by botocore's model."""

    def __init__(self) -> None:
        super().__init__(service_name="imagebuilder")
        self.automated_parameter_parsing = True


def operation(handler: Handler) -> Handler:
    """Serve an operation by its name: `create_image` serves CreateImage."""

    @functools.wraps(handler)
    def answer(call: Call) -> Mapping[str, Any]:
        return {"requestId": str(uuid.uuid4()), **(handler(call) or {})}

    setattr(ImageBuilderResponse, handler.__name__, plain_method(answer))
    return handler


def idempotent(handler: Handler) -> Handler:
    """The same client token gives the same answer, and refuses other parameters."""

    @functools.wraps(handler)
    def once(call: Call) -> Mapping[str, Any]:
        token = call.need("clientToken")
        written = digest(call.params, but=("clientToken", "dryRun"))
        known = store(call).tokens
        if (call.action, token) in known:
            before, answer = known[call.action, token]
            if before != written:
                raise AwsError(
                    "IdempotentParameterMismatchException",
                    "You have specified a client token for an operation using parameter values "
                    "that differ from a previous request that used the same client token.",
                )
            return answer
        answer = {"clientToken": token, **(handler(call) or {})}
        known[call.action, token] = (written, answer)
        return answer

    return once


def dry_run(call: Call) -> None:
    """Stop here when dryRun is set; handlers call it once everything is validated."""
    if call.params.get("dryRun"):
        raise AwsError("DryRunOperationException", "Dry run operation was successful.")


def paged(
    call: Call, name: str, items: Sequence[T], key: Callable[[T], str]
) -> tuple[list[T], dict[str, Any]]:
    """The items of this page, and the rest of the answer; `name` is for messages."""
    limit = call.get("maxResults", _DEFAULT_PAGE)
    if not 1 <= limit <= _LARGEST_PAGE:
        raise invalid("maxResults", f"{name} gives 1 to {_LARGEST_PAGE} items at a time")
    problem = AwsError("InvalidPaginationTokenException", "The pagination token is not valid.")
    chosen, token = page(items, key, limit, call.get("nextToken"), problem)
    return chosen, {} if token is None else {"nextToken": token}


def filtered(call: Call, items: Sequence[T], known: Mapping[str, Getter[T]]) -> list[T]:
    """The items that match every filter; a filter matches when any of its values does."""
    out = list(items)
    for item in call.get("filters", []):
        name, values = item.get("name"), item.get("values", [])
        if name not in known:
            raise invalid("filters", f"'{name}' is not one of: {', '.join(sorted(known))}")
        get = known[name]
        out = [i for i in out if any(v in get(i) for v in values)]
    return out


def only_own(call: Call) -> bool:
    """Whether a list with an `owner` asks for the caller's own resources."""
    return bool(call.get("owner", "Self") == "Self")


def create_app() -> Any:
    """The WSGI application that moto's server runs for this service."""
    return rest.create_app("imagebuilder", ImageBuilderResponse)
