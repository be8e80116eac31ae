"""What was seen of the places that the released version is told in, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parameter:
    """An SSM parameter. `owner` is the GoldenImage that its tags name; empty: it is not ours.

    `other` is its type and data type where they are not those that an AMI is published with.
    """

    name: str
    value: str
    owner: str = ""  # <namespace>/<name>
    other: str = ""


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """A version of a launch template."""

    number: int
    image: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A launch template with its default version. An empty id: there is no such template.

    `versions` are those that this operator made, read only when there may be too many; `named` are
    numbers that Auto Scaling groups name, None where they were not read.
    """

    id: str
    name: str = ""
    default: TemplateVersion = TemplateVersion(0)
    versions: tuple[TemplateVersion, ...] = ()
    named: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class SeenMap:
    """A ConfigMap with our label, as last listed. `owner` is the uid of its GoldenImage."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    data: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""  # of what was written, as its annotation says
    owner: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Maps:
    """The ConfigMaps of one GoldenImage. Not `known`: there is no cluster that could be asked."""

    known: bool = False
    mine: tuple[SeenMap, ...] = ()
    failure: str = ""  # why they could not be listed
    awaited: bool = False  # they are listed in a moment

    def named(self, name: str) -> SeenMap | None:
        return next((m for m in self.mine if m.name == name), None)


UNKNOWN = Maps()
