"""AWS errors, classified once: a reason, a message for people, and whether it may pass by itself.

Error codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from gilder.core.observed import Problem

# What boto3 raises for a failed call; the emulators' HTML answers come as ResponseParserError.
AWS_ERRORS = (ClientError, BotoCoreError, ResponseParserError)

THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "EC2ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "CallRateLimitExceededException",  # Image Builder
    }
)
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "KMSAccessDeniedException",
        "ForbiddenException",  # Image Builder
    }
)
# Too much at once, or for now: it passes when something else has ended.
LIMITED = frozenset(
    {
        "InstanceLimitExceeded",
        "InsufficientInstanceCapacity",
        "ResourceLimitExceeded",
        "ServiceQuotaExceededException",
        "SnapshotCreationPerVolumeRateExceeded",
        "VcpuLimitExceeded",
    }
)
CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "RequestExpired",
        "SignatureDoesNotMatch",
    }
)
UNAVAILABLE = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unavailable",
        "KMSInternalException",
        "DependencyTimeoutException",
        "500",
        "502",
        "503",
        "504",
    }
)


def code(error: BaseException) -> str:
    """The AWS error code, or the exception's name where AWS gave none."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def message(error: BaseException) -> str:
    """What AWS said, with its request id where there is one."""
    if isinstance(error, ClientError):
        said = str(error.response.get("Error", {}).get("Message", "")) or str(error)
        request = error.response.get("ResponseMetadata", {}).get("RequestId")
        return f"{said} (request {request})" if request else said
    return str(error)


def problem(error: BaseException, doing: str, region: str | None = None) -> Problem:
    """The Problem that an AWS error stands for; `doing` is the call, for people.

    Not permanent are throttling, outages and unusable credentials: none of them is cured by
    editing the resource.
    """
    what, text = code(error), f"{doing}: {message(error)}"
    if what in THROTTLED:
        return Problem("Throttled", text, False, region)
    if what in LIMITED:
        return Problem("LimitExceeded", f"{text}. It is tried again", False, region)
    if what in DENIED:
        return Problem(
            "AccessDenied", f"{text}. Allow the call in the operator's IAM policy", True, region
        )
    if what in CREDENTIALS or isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Problem("CredentialsUnusable", text, False, region)
    if what == "OptInRequired":
        return Problem(
            "RegionNotEnabled", f"{text}. Enable the Region for the account", True, region
        )
    if what in UNAVAILABLE or isinstance(
        error, ConnectionClosedError | EndpointConnectionError | HTTPClientError
    ):
        return Problem("AWSUnavailable", text, False, region)
    if isinstance(error, ResponseParserError):
        return Problem("AWSUnavailable", f"{doing}: an answer that is not AWS's", False, region)
    if isinstance(error, ClientError) and _status(error) >= 500:
        return Problem("AWSUnavailable", text, False, region)
    return Problem("AWSError", f"{doing}: {what}: {message(error)}", True, region)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


_IDS = re.compile(r"\b(?:ami|snap)-[0-9a-f]+\b")


def named_ids(error: BaseException) -> frozenset[str]:
    """AMI and snapshot ids that an error's message names."""
    return frozenset(_IDS.findall(message(error)))
