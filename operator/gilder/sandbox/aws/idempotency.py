"""Client tokens of EC2 calls: the same token gives the same answer.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.registry import Call, Handler
from gilder.sandbox.aws.state import region_state


def digest(parameters: Mapping[str, Any], but: Collection[str] = ("ClientToken", "DryRun")) -> str:
    """Of all parameters that must be the same when a token comes again."""
    kept = {k: v for k, v in parameters.items() if k not in but}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def idempotent(handler: Handler) -> Handler:
    """The same client token gives the same answer, and refuses other parameters."""

    @functools.wraps(handler)
    def once(call: Call) -> Mapping[str, Any] | None:
        token = call.get("ClientToken")
        if token is None:
            return handler(call)
        known, written = region_state(call.account, call.region).answers, digest(call.params)
        if (call.action, token) in known:
            before, answer = known[call.action, token]
            if before != written:
                raise AwsError(
                    "IdempotentParameterMismatch",
                    "The request uses the same client token as a previous, but non-identical "
                    "request.",
                )
            call.dry_run()
            return answer
        answer = handler(call)
        known[call.action, token] = (written, answer)
        return answer

    return once
