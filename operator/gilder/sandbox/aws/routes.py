"""Which action a request means in services whose actions are paths."""

import functools
import re
from collections.abc import Mapping
from typing import Any

import botocore.session

_SERVICES = frozenset({"imagebuilder", "inspector2", "rbin"})


@functools.cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    model = botocore.session.get_session().get_service_model(service)
    out = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = re.sub(r"\\{.*?\\}", ".+", re.escape(http["requestUri"]))
        out.append((http["method"], re.compile(path), name))
    return out


def action_of_route(service: str, environ: Mapping[str, Any]) -> str | None:
    """The action by method and path, or None for the services that name it otherwise."""
    if service not in _SERVICES:
        return None
    method, path = environ.get("REQUEST_METHOD"), environ.get("PATH_INFO", "")
    for wanted, pattern, name in _routes(service):
        if wanted == method and pattern.fullmatch(path):
            return name
    return None
