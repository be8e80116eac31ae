"""SSM: parameters of data type aws:ec2:image name an AMI that exists."""

import re
from typing import Any

from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import find_anywhere, visible

_PREFIX = "resolve:ssm:"
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}")


def resolve(written: str, account: str, region: str) -> str:
    """The AMI id behind `resolve:ssm:name[:version-or-label]`.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-systems-manager-parameter-to-find-AMI.html
    """
    if not written.startswith(_PREFIX):
        return written
    name = written[len(_PREFIX) :]
    backend: Any = ssm_backends[account][region]
    found = backend.get_parameters([name])
    if not found:
        raise AwsError("ParameterNotFound", f"Systems Manager parameter {name} was not found")
    return str(next(iter(found.values())).value)


def install() -> None:
    response: Any = SimpleSystemManagerResponse
    put = response.put_parameter

    def put_parameter(self: Any) -> Any:
        if self._get_param("DataType") == "aws:ec2:image":
            value = self._get_param("Value") or ""
            image = find_anywhere(value, self.region) if _IMAGE.fullmatch(value) else None
            if image is None or not visible(image, self.current_account):
                raise AwsError(
                    "ValidationException",
                    f"Parameter value {value!r} is not an Amazon Machine Image that is available "
                    "in this account and Region",
                )
        return put(self)

    response.put_parameter = put_parameter
