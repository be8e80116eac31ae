"""One AWS per test process, empty before each test."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.sandbox.aws.seed import make_key, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws, start_aws

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="module")
def running_aws() -> Iterator[SandboxAws]:
    with start_aws() as aws:
        yield aws


@pytest.fixture
def aws(running_aws: SandboxAws) -> SandboxAws:
    running_aws.reset()
    return running_aws


@pytest.fixture
def ec2(aws: SandboxAws) -> Any:
    return aws.client("ec2")


@pytest.fixture
def kms(aws: SandboxAws) -> Any:
    return aws.client("kms")


@pytest.fixture
def base(aws: SandboxAws) -> str:
    """An unencrypted AMI of the default account in eu-west-1."""
    return register(aws, "base-image", make_snapshot(aws), tags={"Name": "base"})


@pytest.fixture
def key(aws: SandboxAws) -> str:
    """A customer-managed key in eu-west-1."""
    return make_key(aws, "eu-west-1")


@pytest.fixture
def encrypted(aws: SandboxAws, key: str) -> str:
    """An AMI whose snapshot has the customer-managed key."""
    return register(aws, "encrypted-image", make_snapshot(aws, key=key))


@pytest.fixture
def refused() -> Refused:
    """`with refused("Code", "part of the message"): call()`."""

    @contextmanager
    def check(code: str, message: str = "") -> Iterator[None]:
        with pytest.raises(ClientError) as caught:
            yield
        error = caught.value.response["Error"]
        assert error["Code"] == code, error
        assert re.search(message, error["Message"]), error

    return check
