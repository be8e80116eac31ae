"""From a plain object to a model, with errors that name the field and the fix."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gilder.api.base import field_errors
from gilder.api.goldenimage import GoldenImage
from gilder.api.imageshare import ImageShare
from gilder.api.names import API_VERSION

KINDS: dict[str, type[GoldenImage] | type[ImageShare]] = {
    "GoldenImage": GoldenImage,
    "ImageShare": ImageShare,
}


class SpecError(ValueError):
    """An object that no model accepts; `str()` is one line per field, for people."""


def parse_object(body: Mapping[str, Any]) -> GoldenImage | ImageShare:
    """Parse one object of ours.

    Raises SpecError with `spec.field: what is wrong` lines. A status that this version cannot
    read is dropped, since AWS is the memory.
    """
    kind = body.get("kind", "")
    model = KINDS.get(str(kind))
    if model is None or body.get("apiVersion") != API_VERSION:
        raise SpecError(
            f"kind: {kind or 'missing'} of {body.get('apiVersion') or 'no apiVersion'} "
            "is not ours; "
            f"use GoldenImage or ImageShare of {API_VERSION}"
        )
    data = {k: body[k] for k in ("apiVersion", "kind", "metadata", "spec") if k in body}
    status = body.get("status") or {}
    try:
        return model.model_validate({**data, "status": status})
    except ValidationError as error:
        if status and any(e["loc"][:1] == ("status",) for e in error.errors()):
            return parse_object({**data, "status": {}})
        raise SpecError("; ".join(field_errors(error))) from None
