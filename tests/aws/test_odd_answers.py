"""An answer in JSON that is not AWS's is an error, and not taken for an empty one."""

import pytest
from botocore.parsers import ResponseParserError

from gilder.aws import resources
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.server import start_aws


@pytest.mark.parametrize("body", [b"", b'{"unexpected": [1, 2]}', b"{", b"<html></html>"])
def test_an_odd_answer_is_an_error(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_aws() as aws:
        for name, value in aws.client_env().items():
            monkeypatch.setenv(name, value)
        ssm = Sessions("eu-west-1").ssm("eu-west-1")
        assert resources.parameters(ssm, ["/none"]) == {}
        aws.faults.garble(body)
        with pytest.raises(ResponseParserError):
            resources.parameters(ssm, ["/none"])
