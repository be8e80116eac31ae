"""From a plain object to a model, with errors that name the field and the fix."""

from collections.abc import Iterable, Mapping
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

    Raises SpecError with `spec.field: what is wrong` lines. Fields of a status that this version
    does not know, such as those of a newer one, are passed over; a status that it cannot read is
    dropped, since AWS is the memory.
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
        wrong = [e for e in error.errors() if status and e["loc"][:1] == ("status",)]
        if strange := [e["loc"][1:] for e in wrong if e["type"] == "extra_forbidden"]:
            return parse_object({**data, "status": _without(status, strange)})
        if wrong:
            return parse_object({**data, "status": {}})
        raise SpecError("; ".join(field_errors(error))) from None


def _without(value: Any, places: Iterable[tuple[int | str, ...]]) -> Any:
    """A copy without the fields at these places."""
    inner: dict[int | str, list[tuple[int | str, ...]]] = {}
    for first, *rest in places:
        inner.setdefault(first, []).append(tuple(rest))
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if () not in inner.get(k, [])}
        return {k: _without(v, inner[k]) if k in inner else v for k, v in kept.items()}
    return [_without(v, inner[n]) if n in inner else v for n, v in enumerate(value)]
