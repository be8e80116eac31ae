"""One GoldenImage as its plan needs it: what is declared, and what status remembers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from gilder.api.goldenimage import (
    Build,
    GateResult,
    GoldenImage,
    GoldenImageSpec,
    GoldenImageStatus,
    Published,
    Retiring,
)
from gilder.core.observed import Image, Instance


@dataclass(frozen=True, slots=True)
class Source:
    """What spec.source resolved to: an AMI, an instance, or a build with its AMI if that is there.

    `trigger` is what asked for a capture of an instance, when it is not the first.
    """

    image: Image | None = None
    instance: Instance | None = None
    build: str = ""
    trigger: str = ""

    @property
    def id(self) -> str:
        if self.image is not None:
            return self.image.id
        return self.instance.id if self.instance is not None else ""

    @property
    def kind(self) -> str:
        if self.build:
            return "build"
        return "image" if self.image else "instance"


@dataclass(frozen=True, slots=True)
class Judged:
    """What is remembered of the gates of one version."""

    state: str  # Pending, Passed, Failed
    results: tuple[GateResult, ...] = ()
    since: str = ""  # RFC 3339, UTC
    gates: str = ""  # digest of the gates that were asked

    @property
    def done(self) -> dict[str, GateResult]:
        """Results that are final, by name."""
        return {r.name: r for r in self.results if r.state in ("Passed", "Failed")}


@dataclass(frozen=True, slots=True)
class Known:
    """An AMI that status recorded. `seen`: it was observed, not just asked for."""

    image_id: str
    seen: bool
    at: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What status adds to the tags: AMIs that are gone, and tag keys that were ours."""

    images: Mapping[tuple[int, str, str], Known] = field(default_factory=dict)
    prints: Mapping[int, str] = field(default_factory=dict)  # version to fingerprint
    highest: int = 0
    latest: int = 0
    tag_keys: tuple[str, ...] = ()
    build: Build | None = None
    last_build: Build | None = None
    request: str | None = None  # the last rebuild annotation that was heeded
    tested: Mapping[int, Judged] = field(default_factory=dict)
    origins: Mapping[int, str] = field(default_factory=dict)
    held: frozenset[int] = frozenset()  # versions that were not released when last seen
    released: frozenset[int] = frozenset()  # and those that were
    complete: Mapping[int, str] = field(default_factory=dict)  # since when nothing was missing
    released_at: Mapping[int, str] = field(default_factory=dict)
    retiring: Mapping[str, Retiring] = field(default_factory=dict)  # by AMI or snapshot
    behind: Mapping[str, str] = field(default_factory=dict)  # Region to since when
    published: tuple[Published, ...] = ()
    regions: frozenset[str] = frozenset()  # where something goes, or is left over

    @property
    def version_by_print(self) -> dict[str, int]:
        """The other way round; one that captures of an instance share stands for the newest."""
        return {self.prints[version]: version for version in sorted(self.prints)}

    def told(self, at: tuple[str, str, str, str]) -> Published | None:
        """What is remembered of a place that is published to, as Published.place has it."""
        return next((t for t in self.published if t.place == at), None)


def remember(status: GoldenImageStatus) -> Memory:
    """Memory of a status; of an empty one when status was lost."""
    images = {
        (v.version, i.region, i.role): Known(
            i.image_id, i.state != "requested", i.requested_at or v.created_at or ""
        )
        for v in status.versions
        for i in v.images
    }
    numbers = [v.version for v in status.versions]
    latest = status.latest.version if status.latest else 0
    return Memory(
        images,
        {v.version: v.fingerprint for v in status.versions if v.fingerprint},
        max([*numbers, latest], default=0),
        latest,
        status.managed_tag_keys,
        status.build,
        status.last_build,
        status.last_handled_rebuild,
        {
            v.version: Judged(v.gate, v.gates, v.tested_since or "", v.gates_asked)
            for v in status.versions
            if v.gate
        },
        {v.version: v.origin for v in status.versions if v.origin},
        frozenset(v.version for v in status.versions if v.held),
        frozenset(v.version for v in status.versions if not v.held),
        {v.version: v.complete_since for v in status.versions if v.complete_since},
        {v.version: v.released_at for v in status.versions if v.released_at},
        {r.id: r for r in status.retiring},
        {r.region: r.behind_since for r in status.replicas if r.behind_since},
        published=status.published,
        regions=frozenset(
            {r.region for r in status.retiring} | {left.region for left in status.leftovers}
        ),
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One GoldenImage as the plan needs it."""

    cluster: str
    namespace: str
    name: str
    spec: GoldenImageSpec
    memory: Memory = Memory()
    uid: str = ""
    request: str | None = None  # the rebuild annotation
    approved: int = 0  # versions that annotations name
    rejected: int = 0
    promoted: int = 0
    # Region to AMIs in the Recycle Bin, with their names: only where something is missing.
    restorable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    others: Collection[str] = ()  # keys of the GoldenImages there are

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def anew(self) -> "Wanted":
        """What AWS refused is tried again at once, since somebody asks for a look."""
        retiring = {
            k: r.model_copy(update={"tried": None}) for k, r in self.memory.retiring.items()
        }
        return replace(self, memory=replace(self.memory, retiring=retiring))

    @property
    def parameter(self) -> str:
        """Name of the SSM parameter of spec.publish; empty: there is none."""
        publish = self.spec.publish
        if publish is None or publish.ssm_parameter is None:
            return ""
        return publish.ssm_parameter.named(self.namespace, self.name)


def wanted(cluster: str, image: GoldenImage) -> Wanted:
    """What a GoldenImage object asks for."""
    meta = image.metadata
    return Wanted(
        cluster,
        meta.namespace,
        meta.name,
        image.spec,
        remember(image.status),
        meta.uid,
        meta.rebuild_request,
        meta.approved,
        meta.rejected,
        meta.promoted,
    )
