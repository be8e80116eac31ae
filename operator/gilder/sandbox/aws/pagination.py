"""Pages with opaque tokens that survive insertions and deletions between the calls."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gilder.sandbox.aws.errors import AwsError

T = TypeVar("T")
# EC2 returns at most 1000 items whatever MaxResults says.
MAXIMUM = 1000


def page(
    items: Sequence[T],
    key: Callable[[T], str],
    limit: int | None,
    token: str | None,
    invalid: AwsError,
) -> tuple[list[T], str | None]:
    """The page after `token`, and the token of the next one.

    A token holds the key of the last item shown and its position: when that item is gone, the
    position is where the next page begins.
    """
    start = _start(items, key, token, invalid) if token else 0
    if limit is None:
        return list(items[start:]), None
    chosen = list(items[start : start + limit])
    end = start + len(chosen)
    if not chosen or end >= len(items):
        return chosen, None
    payload = json.dumps([key(chosen[-1]), end]).encode()
    return chosen, base64.urlsafe_b64encode(payload).decode()


def _start(items: Sequence[T], key: Callable[[T], str], token: str, invalid: AwsError) -> int:
    try:
        last, position = json.loads(base64.urlsafe_b64decode(token.encode()))
        position = int(position)
    except (ValueError, TypeError, binascii.Error) as problem:
        raise invalid from problem
    for index, item in enumerate(items):
        if key(item) == last:
            return index + 1
    return max(0, position - 1)


def ec2_page(
    items: Sequence[T],
    key: Callable[[T], str],
    limit: int | None,
    token: str | None,
    *,
    minimum: int = 1,
) -> tuple[list[T], str | None]:
    """A page with EC2's rules for MaxResults and NextToken."""
    if limit is not None:
        if limit < minimum:
            raise AwsError(
                "InvalidParameterValue",
                f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value "
                f"greater than or equal to {minimum}.",
            )
        limit = min(limit, MAXIMUM)
    return page(
        items,
        key,
        limit,
        token,
        AwsError("InvalidParameterValue", "The pagination token is invalid."),
    )


def answer(name: str, shown: list[Any], token: str | None) -> dict[str, Any]:
    """A page as calls give it: what is shown, and the token of the next one if there is one."""
    return {name: shown} if token is None else {name: shown, "NextToken": token}
