"""Base model and constrained strings shared by both kinds."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Frozen, camelCase on the wire, unknown fields refused (the API server prunes them)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """`json_schema_extra` for CEL rules: (rule, message) pairs."""
    return {"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in pairs]}


def configured(*pairs: tuple[str, str]) -> ConfigDict:
    """The configuration of ApiModel with CEL rules for the whole object."""
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra=rules(*pairs),
    )


AccountId = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]
# Shape only; whether the Region exists and is enabled is asked of AWS (DescribeRegions).
RegionName = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", max_length=32)]
ImageId = Annotated[str, StringConstraints(pattern=r"^ami-[0-9a-f]{8,17}$")]
InstanceId = Annotated[str, StringConstraints(pattern=r"^i-[0-9a-f]{8,17}$")]
# Key id, multi-Region key id, alias, or the ARN of either.
KmsKeyId = Annotated[
    str,
    StringConstraints(
        pattern=r"^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key/[0-9a-zA-Z-]+|alias/[0-9a-zA-Z/_-]+)"
        r"|alias/[0-9a-zA-Z/_-]+|mrk-[0-9a-f]{32}"
        r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$",
        max_length=512,
    ),
]
OrganizationArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}$",
        max_length=128,
    ),
]
OrganizationalUnitArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}"
        r"/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$",
        max_length=160,
    ),
]
# Tag limits: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
TAG_LIMIT = 256  # characters of a value
TagKey = Annotated[str, StringConstraints(min_length=1, max_length=128)]
TagValue = Annotated[str, StringConstraints(max_length=TAG_LIMIT)]


RESERVED_PREFIXES = ("aws:", "goldenimage.dev/")
RESERVED = "keys that start with aws: or goldenimage.dev/ are reserved"
# The CEL rule beside check_tag_keys.
FREE_TAG_KEYS = (
    "self.all(k, !k.startsWith('aws:') && !k.startsWith('goldenimage.dev/'))",
    RESERVED,
)


def check_tag_keys(tags: Iterable[str]) -> None:
    """Raises ValueError for tag keys that are AWS's or the operator's own."""
    if any(k.startswith(RESERVED_PREFIXES) for k in tags):
        raise ValueError(f"tags: {RESERVED}")


MOST_ERRORS = 20  # lines; a list of a thousand wrong entries is one mistake
MOST_SHOWN = 100  # characters of what was given, of which there may be a megabyte
MOST_NAMED = 400  # of a path, with names of fields that may be anything


def one_line(text: str, most: int | None = None) -> str:
    """A text that was written by anybody, for a log, an Event or a condition.

    What would break the line, or tell a terminal to do something, is escaped.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def field_errors(error: ValidationError) -> list[str]:
    """One `field.path: what is wrong` per error; a message that brings its own paths is kept."""
    lines = []
    found = error.errors()
    for e in found[:MOST_ERRORS]:
        path = ""
        for part in e["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        path = one_line(path, MOST_NAMED)
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            message = "unknown field; remove it or correct its name"
        elif e["type"] == "missing":
            message = "required"
        shown = "" if e["type"] == "missing" else _shown(e.get("input"))
        lines.append(f"{path}: {message}{shown}" if path else f"{message}{shown}")
    if len(found) > MOST_ERRORS:
        lines.append(f"and {len(found) - MOST_ERRORS} more")
    return lines


def _shown(value: object) -> str:
    """What was given, where that is short enough to be told."""
    if isinstance(value, str):
        more = "..." if len(value) > MOST_SHOWN else ""
        return f" (got {value[:MOST_SHOWN]!r}{more})"
    # Python writes no integer of thousands of digits, and nobody reads one.
    if isinstance(value, int) and value.bit_length() < 128:
        return f" (got {value!r})"
    return ""
