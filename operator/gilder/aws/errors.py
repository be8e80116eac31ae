"""AWS errors, classified once: a reason, a message for people, and whether it may pass by itself.

Error codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

import json
import re
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from gilder.core.observed import Problem

# What boto3 raises for a failed call; the emulators' HTML answers come as ResponseParserError.
AWS_ERRORS = (ClientError, BotoCoreError, ResponseParserError)

JSON = ("json", "rest-json")


def recognized(http_response: Any, model: Any, **_: Any) -> None:
    """Raises ResponseParserError for an answer in JSON that says nothing of what the call answers.

    botocore takes it for an empty one. In XML it tells by itself.
    """
    shape = model.output_shape
    if model.service_model.metadata.get("protocol") not in JSON or shape is None:
        return
    if not shape.members or "payload" in shape.serialization or http_response.status_code >= 300:
        return
    text = http_response.content
    names = {m.serialization.get("name", name) for name, m in shape.members.items()}
    # {} is what it is called when there is nothing to tell, such as no messages.
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or (said and names.isdisjoint(said)):
        raise ResponseParserError(f"{model.name} was answered with {text[:80]!r}")


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


class WrongAccountError(BotoCoreError):
    """Credentials that lead to another account than the access file says."""

    fmt = "the credentials are of account {found}, but the access file says {expected}"

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected=expected, found=found)


class UnknownAccountError(BotoCoreError):
    """An account that no credentials lead to."""

    fmt = "no credentials lead to account {account}"

    def __init__(self, account: str) -> None:
        super().__init__(account=account)


class OrganizationError(BotoCoreError):
    """An organization that is not the one of the credentials."""

    fmt = "the credentials are of organization {found}, not of {wanted}"

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(wanted=wanted, found=found)


class RoleError(BotoCoreError):
    """A role that could not be assumed; `cause` is what STS, or the credentials before it, said."""

    fmt = "{role} could not be assumed: {said}"

    def __init__(self, role: str, cause: BaseException) -> None:
        super().__init__(role=role, said=message(cause))
        self.role = role
        self.cause = cause


def code(error: BaseException) -> str:
    """The AWS error code, or the exception's name where AWS gave none."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def message(error: BaseException) -> str:
    """What AWS said, with its request id where there is one."""
    if isinstance(error, ClientError):
        said = str(error.response.get("Error", {}).get("Message", "")) or str(error)
        # It repeats the headers of the call, with the session token among them.
        said = said.partition("The Canonical String")[0].strip()
        request = error.response.get("ResponseMetadata", {}).get("RequestId")
        return f"{said} (request {request})" if request else said
    return str(error)


# New with every call, so that what is kept in status would change with each look.
_PASSING = re.compile(r" \(request [^)]*\)|\s*Encoded authorization failure message: \S+")


_REQUEST = re.compile(r"\(request ([^)]+)\)")


def request_ids(message: str) -> tuple[str, ...]:
    """The AWS request ids in a message, for a search in CloudTrail or a question to AWS."""
    return tuple(dict.fromkeys(_REQUEST.findall(message)))


def lasting(message: str) -> str:
    """A message without what AWS makes anew for each call."""
    return _PASSING.sub("", message)


def problem(error: BaseException, doing: str, region: str | None = None) -> Problem:
    """The Problem that an AWS error stands for; `doing` is the call, for people.

    Not permanent are throttling, outages and unusable credentials: none of them is cured by
    editing the resource.
    """
    if isinstance(error, RoleError):
        return _not_assumable(error, doing, region)
    if isinstance(error, WrongAccountError | UnknownAccountError | OrganizationError):
        return _access_file(error, doing, region)
    what, text = code(error), f"{doing}: {message(error)}"
    if what in THROTTLED:
        return Problem("Throttled", text, False, region)
    if what in LIMITED or what.endswith(("LimitExceeded", "QuotaExceeded")):
        return Problem("LimitExceeded", f"{text}. It is tried again", False, region)
    if what in DENIED:
        return Problem(
            "AccessDenied", f"{text}. Allow the call in the operator's IAM policy", True, region
        )
    if what in CREDENTIALS or isinstance(
        error, NoCredentialsError | PartialCredentialsError | ProfileNotFound
    ):
        return Problem("CredentialsUnusable", text, False, region)
    if what == "InvalidAMIName.Duplicate":
        fix = "Set another spec.naming.template, or deregister the AMI that has the name"
        return Problem("NameTaken", f"{text}. {fix}", True, region)
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


def _not_assumable(error: RoleError, doing: str, region: str | None) -> Problem:
    """Not permanent: what keeps a role from being assumed is mended in IAM, not in the resource."""
    found = problem(error.cause, f"{doing}: assuming {error.role}", region)
    if not found.permanent and found.reason != "CredentialsUnusable":
        return found
    return Problem(
        "RoleNotAssumable",
        f"{doing}: assuming {error.role}: {message(error.cause)}. Check that the role exists, that "
        "its trust policy names who assumes it, with the external id and session tags of the "
        "access file, and that who assumes it may call sts:AssumeRole (sts:TagSession for tags)",
        False,
        region,
    )


def _access_file(error: BotoCoreError, doing: str, region: str | None) -> Problem:
    text = f"{doing}: {error}"
    if isinstance(error, WrongAccountError):
        return Problem("WrongAccount", f"{text}. Correct profile or roles there", True, region)
    if isinstance(error, UnknownAccountError):
        return Problem(
            "AccountNotAllowed",
            f"{text}. Ask the operator's administrator to add it to accounts in the access file",
            True,
            region,
        )
    return Problem(
        "OrganizationNotReadable",
        f"{text}. Name the organization of organizations.account in the access file, or list the "
        "accounts themselves",
        True,
        region,
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


_IDS = re.compile(r"\b(?:ami|snap)-[0-9a-f]+\b")


def named_ids(error: BaseException) -> frozenset[str]:
    """AMI and snapshot ids that an error's message names."""
    return frozenset(_IDS.findall(message(error)))
