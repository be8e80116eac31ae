"""Log lines: one format for all, and no secret in any."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.handlers import logs

TOKEN = "IQoJb3JpZ2luX2VjEHAaCXVzLWVhc3QtMSJ"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the operator writes to standard error, configured as JSON."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    logs.configure("json", "INFO")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield stream
    root.handlers[:], config = before[0], before[2]
    root.setLevel(before[1])
    structlog.configure(**config)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"x-amz-security-token:{TOKEN} host:ec2", TOKEN),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"sent bearer {TOKEN} to it", TOKEN),
        ('{"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG"}', "wJalrXUtnFEMI/K7MDENG"),
        ("SecretAccessKey=wJalrXUtnFEMI", "wJalrXUtnFEMI"),
        ("https://user:hunter2@git.example.com/x", "hunter2"),
        ("https://s3/x?X-Amz-Signature=0a1b2c&y=1", "0a1b2c"),
    ],
)
def test_secrets_are_hidden(text: str, hidden: str) -> None:
    said = logs.redacted(text)
    assert hidden not in said
    assert "***" in said


def test_what_is_no_secret_stays() -> None:
    text = (
        "parameter /golden/base of 123456789012 in eu-west-1, key arn:aws:kms:eu-west-1:1:key/a, "
        "https://sqs.eu-west-1.amazonaws.com/123456789012/gilder (request 0a1b-2c)"
    )
    assert logs.redacted(text) == text


def test_every_kind_of_value_is_looked_at(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    secret = f"session_token={TOKEN}"
    with structlog.contextvars.bound_contextvars(reconcile="abc"):
        log.warning(secret, error=ValueError(secret), many=[secret, {"a": secret}], count=3)
        try:
            raise RuntimeError(secret)
        except RuntimeError:
            log.exception("failed")
    logging.getLogger("library").warning("%s", secret)
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert TOKEN not in lines.getvalue()
    assert len(told) == 3
    assert [t.get("reconcile") for t in told] == ["abc", "abc", None]
    assert told[0]["count"] == 3
    assert "RuntimeError: session_token=***" in told[1]["exception"]


def test_what_aws_repeats_of_a_signed_call_is_left_out() -> None:
    said = "The request signature does not match. The Canonical String for this request should "
    answer = {
        "Error": {"Code": "SignatureDoesNotMatch", "Message": f"{said}be x-amz-date:1\n{TOKEN}"},
        "ResponseMetadata": {"RequestId": "r-1"},
    }
    message = errors.message(ClientError(answer, "DescribeImages"))  # type: ignore[arg-type]
    assert message == "The request signature does not match. (request r-1)"
    assert errors.request_ids(f"{message}; again (request r-2)") == ("r-1", "r-2")
    assert errors.lasting(message) == "The request signature does not match."
