"""Client tokens of EC2 calls: the same token gives the same answer.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.state import region_state


def digest(call: Call) -> str:
    """Of all parameters that must be the same when a token comes again."""
    parameters = {k: v for k, v in call.params.items() if k not in ("ClientToken", "DryRun")}
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def once(call: Call, work: Callable[[], Any]) -> Any:
    """The answer of `work`, or the one that this token had before."""
    token = call.get("ClientToken")
    if token is None:
        return work()
    known, written = region_state(call.account, call.region).answers, digest(call)
    if (call.action, token) in known:
        before, answer = known[call.action, token]
        if before != written:
            raise AwsError(
                "IdempotentParameterMismatch",
                "The request uses the same client token as a previous, but non-identical request.",
            )
        call.dry_run()
        return answer
    answer = work()
    known[call.action, token] = (written, answer)
    return answer
