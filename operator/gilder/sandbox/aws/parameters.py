"""SSM parameters: those of data type aws:ec2:image name an AMI; overwriting, pages, tags."""

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import find_anywhere, visible
from gilder.sandbox.aws.pagination import answer, page
from gilder.sandbox.aws.registry import LOCK
from gilder.sandbox.aws.settings import CLOCK

_PREFIX = "resolve:ssm:"
_PAGE, _LARGEST_PAGE, _TAGS = 10, 50, 50
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


def _latest(response: Any, name: str) -> Any | None:
    """The newest version of a parameter that is to be written."""
    present = response.ssm_backend._parameters
    history = present.get(present.normalize_name(name))
    return history[-1] if history else None


def _check_image(response: Any) -> None:
    value = response._get_param("Value") or ""
    image = find_anywhere(value, response.region) if _IMAGE.fullmatch(value) else None
    if image is None or not visible(image, response.current_account):
        raise AwsError(
            "ValidationException",
            f"Parameter value {value!r} is not an Amazon Machine Image that is available "
            "in this account and Region",
        )


def _check_overwrite(response: Any, known: Any) -> None:
    """Neither type nor data type of a parameter can be changed; both may be left out.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    kind, data_type = response._get_param("Type"), response._get_param("DataType")
    if kind not in (None, known.parameter_type):
        raise AwsError(
            "HierarchyTypeMismatchException",
            f"Parameter Store doesn't support changing {known.parameter_type} to {kind}.",
        )
    if data_type not in (None, known.data_type):
        raise AwsError(
            "ValidationException", "The data type of an existing parameter can't be changed."
        )


def _tagged(response: Any, parameter: Any, key: str) -> bool:
    return key in response.ssm_backend.list_tags_for_resource("Parameter", parameter.name)


def _describe(response: Any) -> dict[str, Any]:
    """In pages of MaxResults; a filter `tag:key` without values asks for the key alone.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html
    """
    limit = response._get_param("MaxResults") or _PAGE
    if not 1 <= limit <= _LARGEST_PAGE:
        raise AwsError("ValidationException", f"maxResults is between 1 and {_LARGEST_PAGE}.")
    wanted = response._get_param("ParameterFilters") or []
    keys = [f["Key"][4:] for f in wanted if f["Key"].startswith("tag:") and not f.get("Values")]
    rest = [f for f in wanted if not f["Key"].startswith("tag:") or f.get("Values")]
    backend = response.ssm_backend
    for name in [n for n, history in backend._parameters.items() if not history]:
        del backend._parameters[name]
    found = [
        p
        for p in backend.describe_parameters(response._get_param("Filters"), rest)
        if all(_tagged(response, p, key) for key in keys)
    ]
    problem = AwsError("InvalidNextToken", "The specified token isn't valid.")
    token = response._get_param("NextToken")
    chosen, token = page(found, lambda p: str(p.name), limit, token, problem)
    return answer("Parameters", [p.describe_response_object(False) for p in chosen], token)


def install() -> None:
    response: Any = SimpleSystemManagerResponse
    put, tag = response.put_parameter, response.add_tags_to_resource

    def put_parameter(self: Any) -> Any:
        with LOCK:
            name = self._get_param("Name") or ""
            known = _latest(self, name)
            data_type = self._get_param("DataType")
            if known is not None and self._get_param("Overwrite"):
                _check_overwrite(self, known)
                data_type = known.data_type
            if data_type == "aws:ec2:image":
                _check_image(self)
            result = put(self)
            written: Any = _latest(self, name)
            # When it is left out moto makes it text.
            written.data_type = data_type or written.data_type
            written.last_modified_date = CLOCK.now()
            return result

    def add_tags_to_resource(self: Any) -> Any:
        kind, resource = self._get_param("ResourceType"), self._get_param("ResourceId")
        added = {t["Key"] for t in self._get_param("Tags") or []}
        if len(added | set(self.ssm_backend.list_tags_for_resource(kind, resource))) > _TAGS:
            raise AwsError("TooManyTagsError", f"A resource has at most {_TAGS} tags.")
        return tag(self)

    response.put_parameter = put_parameter
    response.add_tags_to_resource = add_tags_to_resource
    response.describe_parameters = lambda self: ActionResult(_describe(self))
