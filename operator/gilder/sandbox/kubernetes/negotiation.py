"""Content negotiation: what a request carries and in which shape it wants the answer."""

import json
from dataclasses import dataclass
from typing import Any

import yaml

from gilder.sandbox.kubernetes import protobuf
from gilder.sandbox.kubernetes.errors import ApiError, bad_request, unsupported_media_type
from gilder.sandbox.kubernetes.patches import APPLY_PATCH

_JSON = "application/json"
_YAML = ("application/yaml", APPLY_PATCH)


class _Loader(yaml.SafeLoader):
    """Without timestamps: Kubernetes reads YAML as JSON, where they are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Shape:
    """The shape of an answer: a Table, only metadata, or (empty) the objects themselves."""

    name: str = ""


def shape(accept: str) -> Shape:
    """The first shape of an Accept header that is served."""
    if not accept.strip():
        return Shape()
    for clause in accept.split(","):
        media, *rest = (part.strip() for part in clause.split(";"))
        options = dict(part.split("=", 1) for part in rest if "=" in part)
        if media not in (_JSON, "application/*", "*/*"):
            continue
        wanted = options.get("as", "")
        if not wanted:
            return Shape()
        if options.get("g") == "meta.k8s.io" and options.get("v") == "v1":
            return Shape(wanted.removesuffix("List"))
    raise ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )


def body(content: bytes, content_type: str) -> Any:
    """The decoded body of a request."""
    media = content_type.split(";")[0].strip()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(content)
    try:
        if media in _YAML:
            return yaml.load(content, Loader=_Loader)  # a SafeLoader
        if media.endswith(("json", "+json")) or not media or media == "application/octet-stream":
            return json.loads(content)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    raise unsupported_media_type([_JSON, "application/yaml"])
