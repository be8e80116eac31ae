"""A local AWS with the seed, fresh for each test."""

from collections.abc import Iterator

import pytest

from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.seed import Seeded, seed
from gilder.sandbox.aws.server import SandboxAws, start_aws


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxAws]:
    with start_aws() as aws:
        yield aws


@pytest.fixture
def aws(server: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxAws]:
    server.reset()
    for name, value in server.client_env().items():
        monkeypatch.setenv(name, value)
    yield server
    server.reset()


@pytest.fixture
def seeded(aws: SandboxAws) -> Seeded:
    found = seed(aws)
    aws.requests.reset()
    return found


@pytest.fixture
def sessions(aws: SandboxAws) -> Sessions:  # noqa: ARG001 - the environment must be set
    return Sessions("eu-west-1")
