"""The classification of AWS errors as a table."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from gilder.aws import errors


def client_error(code: str, status: int = 400, message: str = "said AWS") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-1"},  # type: ignore[typeddict-item]
        },
        "CopyImage",
    )


@pytest.mark.parametrize(
    ("error", "reason", "permanent"),
    [
        (client_error("RequestLimitExceeded", 503), "Throttled", False),
        (client_error("ThrottlingException"), "Throttled", False),
        (client_error("ResourceLimitExceeded"), "LimitExceeded", False),
        (client_error("UnauthorizedOperation", 403), "AccessDenied", True),
        (client_error("AccessDeniedException"), "AccessDenied", True),
        (client_error("ExpiredToken"), "CredentialsUnusable", False),
        (NoCredentialsError(), "CredentialsUnusable", False),
        (client_error("OptInRequired"), "RegionNotEnabled", True),
        (client_error("InternalError", 500), "AWSUnavailable", False),
        (client_error("SomethingNew", 503), "AWSUnavailable", False),
        (EndpointConnectionError(endpoint_url="https://x"), "AWSUnavailable", False),
        (client_error("InvalidParameterValue"), "AWSError", True),
    ],
    ids=lambda v: errors.code(v) if isinstance(v, Exception) else str(v),
)
def test_problem(error: Exception, reason: str, permanent: bool) -> None:
    found = errors.problem(error, "copying", "eu-west-1")
    assert (found.reason, found.permanent, found.region) == (reason, permanent, "eu-west-1")
    assert found.message.startswith("copying: ")
    if isinstance(error, ClientError):
        assert "said AWS" in found.message
        assert "req-1" in found.message


def test_ids_that_an_error_names() -> None:
    said = "The image ids '[ami-0aaa, ami-0bbb]' do not exist"
    found = errors.named_ids(client_error("InvalidAMIID.NotFound", message=said))
    assert found == {"ami-0aaa", "ami-0bbb"}
