"""An AWS per module, and GoldenImages in it through which days can pass."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lapse import Lapse

from gilder.sandbox.aws.server import SandboxAws, start_aws


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxAws]:
    with start_aws() as aws:
        yield aws


@pytest.fixture
def make(server: SandboxAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lapse]]:
    server.reset()
    for name, value in server.client_env().items():
        monkeypatch.setenv(name, value)
    made: list[Lapse] = []

    def begin(**spec: Any) -> Lapse:
        made.append(Lapse(server, **spec))
        return made[-1]

    yield begin
    for one in made:
        one.engine.close()
