"""What was seen in AWS, as frozen values; nothing here knows how it was read."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gilder.api.names import TAG_ATTEMPT, TAG_CLUSTER, TAG_IMAGE, TAG_ROLE, TAG_SOURCE, TAG_VERSION
from gilder.core.published import Parameter, Template


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is not done. `permanent` ones need a person; others are tried again."""

    reason: str
    message: str
    permanent: bool = True
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Principals:
    """Who may launch: account ids, organization ARNs, OU ARNs, and everybody."""

    accounts: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    public: bool = False

    def __or__(self, other: "Principals") -> "Principals":
        return Principals(
            self.accounts | other.accounts,
            self.organizations | other.organizations,
            self.units | other.units,
            self.public or other.public,
        )

    def __sub__(self, other: "Principals") -> "Principals":
        return Principals(
            self.accounts - other.accounts,
            self.organizations - other.organizations,
            self.units - other.units,
            self.public and not other.public,
        )

    def __and__(self, other: "Principals") -> "Principals":
        return self - (self - other)

    def __bool__(self) -> bool:
        return bool(self.accounts or self.organizations or self.units or self.public)

    def __len__(self) -> int:
        return len(self.accounts) + len(self.organizations) + len(self.units) + self.public

    def names(self) -> tuple[str, ...]:
        """One word per principal, sorted: account id, `o-...`, `ou-...` or `all`."""
        ids = [a.rsplit("/", 1)[-1] for a in (*self.organizations, *self.units)]
        return (*sorted(self.accounts), *sorted(ids), *(["all"] if self.public else []))


NOBODY = Principals()


MOST_DIGITS = 9  # of a version; more than that no status can hold, and nobody has made


def _number(text: str, otherwise: int) -> int:
    """The number in a tag, which anybody may have mangled who may tag AMIs."""
    good = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if good else otherwise


def _version(tags: Mapping[str, str]) -> int:
    """The version tag, or 0 where it is absent or was mangled by hand."""
    return _number(tags.get(TAG_VERSION, ""), 0)


@dataclass(frozen=True, slots=True)
class Image:
    """An AMI. `kms_keys` are the key ARNs of its snapshots; `created` is RFC 3339, UTC."""

    id: str
    region: str
    owner: str
    name: str = ""
    state: str = "available"
    state_reason: str = ""
    created: str = ""
    root_device_type: str = "ebs"
    architecture: str = "x86_64"
    product_codes: tuple[str, ...] = ()
    encrypted: bool = False
    snapshots: tuple[str, ...] = ()
    kms_keys: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    source_image: str | None = None
    platform: str = "linux"  # or windows
    scanned_at: str = ""  # when Inspector looked at it last; RFC 3339, UTC
    worst: str = ""  # the highest severity it found, in lower case
    deprecated_at: str = ""  # RFC 3339, UTC; it may lie ahead
    protection: str = ""  # against deregistering, as AWS says it: enabled-with-cooldown, ...
    launched_at: str = ""  # when anybody launched it last, as AWS tells a day late; RFC 3339, UTC

    @property
    def available(self) -> bool:
        return self.state == "available"

    @property
    def pending(self) -> bool:
        return self.state in ("pending", "transient")

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "error", "invalid")

    @property
    def version(self) -> int:
        return _version(self.tags)

    @property
    def attempt(self) -> int:
        return _number(self.tags.get(TAG_ATTEMPT, ""), 1)

    @property
    def role(self) -> str:
        return self.tags.get(TAG_ROLE, "")

    @property
    def fingerprint(self) -> str:
        return self.tags.get(TAG_SOURCE, "")

    def belongs_to(self, cluster: str, key: str) -> bool:
        """Whether our tags on it name this cluster and this GoldenImage."""
        return self.tags.get(TAG_IMAGE) == key and self.tags.get(TAG_CLUSTER) == cluster

    def of_another(self, cluster: str, key: str, others: Collection[str]) -> str:
        """The owner that our tags on it name, of another cluster or one of `others`; else empty.

        These count more than a status, which anybody may have written who may edit it.
        """
        owner, where = self.tags.get(TAG_IMAGE, key), self.tags.get(TAG_CLUSTER, cluster)
        if where != cluster:
            return f"{owner} of cluster {where}"
        return owner if owner != key and owner in others else ""


class ImageIndex(dict[str, Image]):
    """AMIs by id that are also found by the GoldenImage their tag names. Never changed once made.

    With a thousand GoldenImages in a Region, looking through all AMIs for each is what costs.
    """

    def tagged(self, key: str) -> tuple[Image, ...]:
        """AMIs whose ownership tag names this GoldenImage."""
        if not hasattr(self, "_tagged"):
            found: dict[str, list[Image]] = {}
            for image in self.values():
                if owner := image.tags.get(TAG_IMAGE):
                    found.setdefault(owner, []).append(image)
            self._tagged = {k: tuple(v) for k, v in found.items()}
        return self._tagged.get(key, ())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An EBS snapshot of ours."""

    id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    progress: str = ""  # of a copy under way, such as 45%

    @property
    def version(self) -> int:
        return _version(self.tags)


class SnapshotIndex(dict[str, Snapshot]):
    """Snapshots by id that are also found by the GoldenImage their tag names, like ImageIndex."""

    def tagged(self, key: str) -> tuple[Snapshot, ...]:
        if not hasattr(self, "_tagged"):
            found: dict[str, list[Snapshot]] = {}
            for snapshot in self.values():
                if owner := snapshot.tags.get(TAG_IMAGE):
                    found.setdefault(owner, []).append(snapshot)
            self._tagged = {k: tuple(v) for k, v in found.items()}
        return self._tagged.get(key, ())


@dataclass(frozen=True, slots=True)
class Use:
    """What uses an AMI. `problem`: it could not be told, and counts as used.

    `others` is what other accounts use, by the last usage report: pending, available, or an error.
    """

    by: tuple[str, ...] = ()  # in the AMI's own account
    others: tuple[str, ...] = ()
    report: str = ""  # its state; empty: none was made
    reported_at: str = ""  # RFC 3339, UTC
    problem: Problem | None = None
    lack: Problem | None = None  # why nothing is known of other accounts
    old: bool = False  # read for an earlier look, which is too long ago to remove anything


@dataclass(frozen=True, slots=True)
class Instance:
    """The instance a version is captured from."""

    id: str
    state: str
    root_device_type: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """A KMS grant as ListGrants shows it."""

    id: str
    key: str
    name: str
    principal: str
    operations: frozenset[str]
    constrained: bool = False  # it counts for some encryption contexts alone


@dataclass(frozen=True, slots=True)
class Key:
    """A KMS key with what decisions need of it. `policy` is the parsed policy or None if unread."""

    arn: str
    region: str
    aws_managed: bool = False
    state: str = "Enabled"
    policy: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RegionView:
    """One Region of one account at one moment."""

    region: str
    images: Mapping[str, Image] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    permissions: Mapping[str, Principals] = field(default_factory=dict)
    # Who may create volumes, by snapshot: only of AMIs whose snapshots are shared.
    volumes: Mapping[str, Principals] = field(default_factory=dict)
    grants: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict)  # by key ARN
    keys: Mapping[str, Key | Problem] = field(default_factory=dict)  # by ARN and as written
    parameters: Mapping[str, "str | Problem"] = field(default_factory=dict)  # "": no such one
    # AMIs and snapshots whose permissions could not be read
    unread: Mapping[str, Problem] = field(default_factory=dict)
    public_blocked: bool = False
    # Parameters that are published to, by name; one that does not exist is not in it.
    published: Mapping[str, "Parameter | Problem"] = field(default_factory=dict)
    tagged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by GoldenImage: names
    templates: Mapping[str, "Template | Problem"] = field(default_factory=dict)  # as written
    problem: Problem | None = None  # the Region could not be read; the rest is empty

    def belonging(self, cluster: str, key: str, account: str) -> Iterable[Image]:
        """AMIs of this account that carry the ownership tags of one GoldenImage."""
        images = self.images
        there = images.tagged(key) if isinstance(images, ImageIndex) else images.values()
        # Tags are per account, and those of another one are not our word.
        return (i for i in there if i.owner == account and i.belongs_to(cluster, key))

    def parts(self, cluster: str, key: str) -> Iterable[Snapshot]:
        """Snapshots that carry the ownership tags of one GoldenImage."""
        known = self.snapshots
        there = known.tagged(key) if isinstance(known, SnapshotIndex) else known.values()
        ours = {TAG_IMAGE: key, TAG_CLUSTER: cluster}
        return (s for s in there if ours.items() <= s.tags.items())

    def spare(self, cluster: str, key: str, mine: Iterable[Image]) -> list[Snapshot]:
        """Of `parts` those that no AMI has; `mine` are AMIs of this GoldenImage."""
        known = {s for i in mine for s in i.snapshots}
        left = [s for s in self.parts(cluster, key) if s.id not in known]
        if not left:
            return []  # which spares a look at all AMIs of the Region
        used = {s for i in self.images.values() for s in i.snapshots}
        return [s for s in left if s.id not in used]

    def key(self, written: str) -> Key | None:
        found = self.keys.get(written)
        return found if isinstance(found, Key) else None


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything one plan may look at."""

    account: str
    regions: Mapping[str, RegionView]

    def region(self, name: str) -> RegionView:
        return self.regions.get(name) or RegionView(
            name, problem=Problem("NotObserved", f"Region {name} was not read", permanent=False)
        )

    def images(self) -> Iterable[Image]:
        for view in self.regions.values():
            yield from view.images.values()

    def owned(self, cluster: str, key: str) -> list[Image]:
        """AMIs of one GoldenImage, oldest version first."""
        views = self.regions.values()
        found = [i for v in views for i in v.belonging(cluster, key, self.account)]
        return sorted(found, key=lambda i: (i.version, i.region, i.created, i.id))
