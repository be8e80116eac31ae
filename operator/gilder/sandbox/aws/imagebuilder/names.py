"""Names, versions and ARNs of Image Builder's resources, and the errors about them.

https://docs.aws.amazon.com/imagebuilder/latest/userguide/ibhow-semantic-versioning.html
"""

import re
from dataclasses import dataclass

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.registry import Call

Version = tuple[int, int, int]

COMPONENT, RECIPE, IMAGE = "component", "image-recipe", "image"
INFRASTRUCTURE, DISTRIBUTION = "infrastructure-configuration", "distribution-configuration"
PIPELINE, CONTAINER = "image-pipeline", "container-recipe"
# As error messages write them.
_TITLES = {
    COMPONENT: "Component",
    RECIPE: "ImageRecipe",
    IMAGE: "Image",
    INFRASTRUCTURE: "InfrastructureConfiguration",
    DISTRIBUTION: "DistributionConfiguration",
    PIPELINE: "ImagePipeline",
    CONTAINER: "ContainerRecipe",
}
_NAME = re.compile(r"[-_A-Za-z0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z0-9]")
_ARN = re.compile(
    r"arn:aws[^:]*:imagebuilder:(?P<region>[^:]+):(?P<owner>\d{12}|aws):(?P<kind>[a-z-]+)"
    r"/(?P<name>[a-z0-9_-]+)(?:/(?P<version>[0-9x]+\.[0-9x]+\.[0-9x]+)(?:/(?P<build>\d+))?)?"
)
_EXACT = re.compile(r"\d+\.\d+\.\d+")
# After the first wildcard there are only wildcards.
_PATTERN = re.compile(r"\d+\.\d+\.(?:\d+|x)|\d+\.x\.x|x\.x\.x")
_LARGEST = 2**30 - 1


@dataclass(frozen=True)
class Reference:
    """The parts of an ARN; `version` may have wildcards."""

    text: str
    region: str
    owner: str
    kind: str
    name: str
    version: str | None
    build: int | None


def slug(name: str) -> str:
    """The name inside ARNs: "names that differ only in case, spaces, or underscores" are one."""
    return re.sub(r"[ _]", "-", name.lower())


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise invalid("name", f"name must match pattern ^{_NAME.pattern}$")
    return name


def arn(call: Call, kind: str, *parts: object) -> str:
    path = "/".join([kind, *map(str, parts)])
    return f"arn:aws:imagebuilder:{call.region}:{call.account}:{path}"


def parse(text: str, kind: str, parameter: str) -> Reference:
    match = _ARN.fullmatch(text)
    if match is None or match["kind"] != kind:
        raise invalid(parameter, f"'{parameter}' must be the ARN of {kind}: '{text}'")
    version = match["version"]
    if version is not None and not _PATTERN.fullmatch(version):
        raise invalid(parameter, f"a wildcard must not be followed by a number: '{version}'")
    return Reference(
        text,
        match["region"],
        match["owner"],
        kind,
        match["name"],
        version,
        int(match["build"]) if match["build"] else None,
    )


def exact_version(text: str) -> Version:
    if not _EXACT.fullmatch(text):
        raise AwsError(
            "InvalidVersionNumberException",
            f"The version '{text}' does not match ^[0-9]+\\.[0-9]+\\.[0-9]+$",
        )
    major, minor, patch = (int(node) for node in text.split("."))
    if max(major, minor, patch) > _LARGEST:
        raise AwsError("InvalidVersionNumberException", f"A node of '{text}' is out of bounds")
    return major, minor, patch


def next_version(pattern: str, present: list[Version]) -> Version:
    """The version that a recipe with wildcards gets: the first wildcard counts up."""
    if "x" not in pattern:
        return exact_version(pattern)
    if not _PATTERN.fullmatch(pattern):
        raise AwsError("InvalidVersionNumberException", f"The version '{pattern}' is not valid")
    nodes = pattern.split(".")
    place = nodes.index("x")
    found = [v[place] for v in present if version_matches(pattern, v)]
    fixed = [int(n) for n in nodes[:place]]
    wanted = [*fixed, max(found, default=-1) + 1, 0, 0]
    return wanted[0], wanted[1], wanted[2]


def version_matches(pattern: str, version: Version) -> bool:
    return all(p in ("x", str(node)) for p, node in zip(pattern.split("."), version, strict=True))


def dotted(version: Version) -> str:
    return ".".join(map(str, version))


def version_references(base: str, version: Version) -> dict[str, str]:
    """The ARNs with wildcards that come with a versioned resource; `base` ends before them."""
    major, minor, patch = version
    return {
        "latestVersionArn": f"{base}/x.x.x",
        "latestMajorVersionArn": f"{base}/{major}.x.x",
        "latestMinorVersionArn": f"{base}/{major}.{minor}.x",
        "latestPatchVersionArn": f"{base}/{major}.{minor}.{patch}",
    }


def invalid(parameter: str, why: str) -> AwsError:
    return AwsError(
        "InvalidParameterValueException",
        f"The value supplied for parameter '{parameter}' is not valid. {why}",
    )


def not_found(kind: str, resource: str) -> AwsError:
    return AwsError(
        "ResourceNotFoundException",
        f"The following resource '{_TITLES[kind]}' cannot be found: '{resource}'.",
    )


def exists(kind: str, resource: str) -> AwsError:
    return AwsError(
        "ResourceAlreadyExistsException",
        f"The following resource '{_TITLES[kind]}' already exists: '{resource}'.",
    )


def in_use(kind: str, resource: str, users: list[str]) -> AwsError:
    return AwsError(
        "ResourceDependencyException",
        f"The following resource '{_TITLES[kind]}' has dependencies and cannot be deleted: "
        f"'{resource}'. It is used by: {', '.join(users)}",
    )
