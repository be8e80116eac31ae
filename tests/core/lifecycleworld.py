"""A small AWS in memory and the reconciles of one GoldenImage in it, every action judged.

EC2 is written down a second time here, as far as the life of AMIs goes: copies that take their
time, snapshots, Recycle Bin, protection with cooldown, references and usage reports. Status is
what the real reports write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from planworld import CLUSTER, DR, FOREIGN, GOLDEN, HOME, NOW, OWNER, ami, key, key_arn

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.api.goldenimage import GoldenImageSpec
from gilder.api.lifecycle import seconds
from gilder.api.metadata import Metadata
from gilder.api.names import (
    TAG_CLUSTER,
    TAG_GATES,
    TAG_IMAGE,
    TAG_RELEASE,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core import needs
from gilder.core.actions import (
    AnyAction,
    CopyImage,
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    EnableImage,
    ProtectImage,
    ReportUsage,
    RestoreImage,
    TagResources,
    UntagResources,
)
from gilder.core.deletion import asked_on_deletion, plan_deletion
from gilder.core.observed import Image, Observed, Problem, RegionView, Snapshot, Use
from gilder.core.plan import Plan
from gilder.core.report_image import report_image
from gilder.core.results import Result
from gilder.core.retention import asked
from gilder.core.times import moment, passed, rfc3339
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Source, Wanted, remember, wanted

THIRD = "us-east-1"
REGIONS = (HOME, DR, THIRD)
KEYS = {r: (key_arn(r), key_arn(r, 2)) for r in REGIONS}
SLOW = 600.0  # seconds that a use is remembered by those who do not ask as of now
COOLDOWN = timedelta(hours=24)
SETTLING = 200  # rounds until nothing moves any more, at most
DOWN = Problem("AWSUnavailable", "down", permanent=False)
DENIED = Problem("AccessDenied", "denied", permanent=True)

Pick = Callable[[Sequence[AnyAction]], Sequence[AnyAction]]  # which actions come about


class RefusedError(Exception):
    """EC2 says no."""


@dataclass
class Report:
    at: datetime
    others: tuple[str, ...]
    state: str = "pending"


class Cloud:
    """EC2 of one account."""

    def __init__(self) -> None:
        self.now = NOW
        self.images: dict[str, Image] = {}
        self.bin: dict[str, Image] = {}
        self.snapshots: dict[str, tuple[str, dict[str, str]]] = {}  # to Region, tags
        self.parts: dict[str, str] = {}  # AMI that is under way to its snapshot
        self.tokens: dict[str, tuple[str, CopyImage]] = {}
        self.cooling: dict[str, datetime] = {}  # until when
        self.used: set[str] = set()  # here, by an instance
        self.abroad: set[str] = set()  # in another account
        self.reports: dict[str, Report] = {}
        self.binning: set[str] = set()  # Regions with a retention rule
        self.down: set[str] = set()
        self.blind: set[str] = set()  # Regions in which references are denied
        self.broken: set[str] = set()  # Regions in which copies fail
        self.lacking: set[str] = set()  # Regions in which usage reports are denied
        self.number = 0

    # What is there

    def source(self, owner: str) -> Image:
        """A new AMI that somebody else made."""
        return self._add(HOME, owner=owner, name=f"src-{self.number}", state="available")

    def _add(self, region: str, **values: Any) -> Image:
        self.number += 1
        snapshot = f"snap-{self.number:08x}"
        done = values["state"] == "available"
        made = Image(
            id=ami(self.number), region=region, created=rfc3339(self.now),
            snapshots=(snapshot,) if done else (), **values,
        )  # fmt: skip
        self.images[made.id] = made
        self.snapshots[snapshot] = (region, dict(values.get("tags", {})))
        if not done:
            self.parts[made.id] = snapshot
        return made

    def change(self, image: Image, **changes: Any) -> None:
        self.images[image.id] = replace(self.images[image.id], **changes)

    def users(self, snapshot: str) -> list[Image]:
        return [i for i in self.images.values() if snapshot in i.snapshots]

    def owned(self) -> list[Image]:
        return [
            i for i in self.images.values() if i.owner == OWNER and i.belongs_to(CLUSTER, GOLDEN)
        ]

    def owned_snapshots(self) -> dict[str, str]:
        """Snapshots that carry our tags, with their Regions."""
        ours = {TAG_IMAGE: GOLDEN, TAG_CLUSTER: CLUSTER}
        return {s: r for s, (r, tags) in self.snapshots.items() if ours.items() <= tags.items()}

    def settle(self, image: Image, *, fails: bool = False, keeps: bool = False) -> None:
        """A copy is done, or fails, with or without a snapshot that stays."""
        part = self.parts.pop(image.id)
        if not fails:
            self.change(image, state="available", snapshots=(part,))
            return
        self.change(image, state="failed", state_reason="it did not work")
        if not keeps:
            del self.snapshots[part]

    def view(self, region: str, more: Iterable[str]) -> RegionView:
        if region in self.down:
            return RegionView(region, problem=replace(DOWN, region=region))
        here = [i for i in self.images.values() if i.region == region]
        images = {
            i.id: i
            for i in here
            if i.id in more or (i.owner == OWNER and i.tags.get(TAG_CLUSTER) == CLUSTER)
        }
        snapshots = {
            s: Snapshot(s, dict(tags))
            for s, (r, tags) in self.snapshots.items()
            if r == region and tags.get(TAG_CLUSTER) == CLUSTER
        }
        keys = {k: key(k) for k in KEYS[region]}
        return RegionView(region, images, snapshots, keys=keys)

    def use(self, image: str) -> Use:
        region = self.images[image].region if image in self.images else HOME
        if region in self.blind or region in self.down:
            return Use(problem=DENIED)
        by = (f"instance of {image}",) if image in self.used else ()
        if region in self.lacking:
            return Use(by, lack=DENIED)
        report = self.reports.get(image)
        if report is None:
            return Use(by)
        others = report.others if report.state == "available" else ()
        return Use(by, others, report.state, rfc3339(report.at))

    # Calls

    def call(self, action: AnyAction) -> str:
        if action.region in self.down:
            raise RefusedError("down")
        match action:
            case CopyImage():
                return self._copy(action)
            case TagResources() | UntagResources():
                self._retag(action)
            case DeleteSnapshot():
                if self.users(action.snapshot):
                    raise RefusedError("it is in use")
                self.snapshots.pop(action.snapshot, None)
            case RestoreImage():
                found = self.bin.get(action.image)
                if found is None or any(s not in self.snapshots for s in found.snapshots):
                    raise RefusedError("it cannot be restored")
                if any(i.name == found.name for i in self.images.values()):
                    raise RefusedError("its name is taken")
                self.images[found.id] = self.bin.pop(found.id)
            case DeregisterImage():
                if action.image in self.images:
                    self.deregister(self.images[action.image], snapshots=bool(action.snapshots))
            case _:
                self._change(action)
        return ""

    def _change(self, action: AnyAction) -> None:
        found = self.images.get(getattr(action, "image", ""))
        if found is None:
            raise RefusedError("there is no such AMI")
        match action:
            case EnableImage():
                self.change(found, state="available")
            case DisableImage():
                self.change(found, state="disabled")
            case DeprecateImage():
                assert not action.at or moment(action.at) > self.now, "AWS takes times to come"
                self.change(found, deprecated_at=action.at)
            case ProtectImage():
                self.protect(found, action.mode)
            case ReportUsage():
                others = ("1 ec2:Instance of account 222222222222",)
                told = others if found.id in self.abroad else ()
                self.reports[found.id] = Report(self.now, told)
            case _:
                raise AssertionError(f"unexpected: {action}")

    def _copy(self, action: CopyImage) -> str:
        if action.token in self.tokens:
            made, before = self.tokens[action.token]
            if before != action:
                raise RefusedError("the token was used for something else")
            return made
        source = self.images.get(action.source_image)
        if source is None or source.region != action.source_region or not source.available:
            raise RefusedError("the source cannot be copied")
        if any(i.name == action.name and i.region == action.region for i in self.images.values()):
            raise RefusedError("the name is taken")
        made = self._add(
            action.region,
            owner=OWNER,
            name=action.name,
            state="pending",
            tags=dict(action.tags),
            encrypted=action.key is not None,
            kms_keys=frozenset({action.key} if action.key else ()),
        )
        self.tokens[action.token] = (made.id, action)
        return made.id

    def _retag(self, action: TagResources | UntagResources) -> None:
        for resource in action.resources:
            if image := self.images.get(resource):
                self.change(image, tags=_tagged(image.tags, action))
            elif resource in self.snapshots:
                region, tags = self.snapshots[resource]
                self.snapshots[resource] = (region, _tagged(tags, action))
            else:
                raise RefusedError("there is no such resource")

    def protect(self, image: Image, mode: str) -> None:
        if mode == "disabled" and image.protection == "enabled-with-cooldown":
            self.cooling[image.id] = self.now + COOLDOWN
        self.change(image, protection=mode)

    def deregister(self, image: Image, *, snapshots: bool) -> None:
        """A snapshot that backs another AMI, or one in the bin, is skipped."""
        cooling = self.cooling.get(image.id, self.now) > self.now
        if image.protection.startswith("enabled") or cooling:
            raise RefusedError("it is protected")
        del self.images[image.id]
        self.parts.pop(image.id, None)
        if image.region in self.binning and image.snapshots:
            self.bin[image.id] = image
            return
        for part in image.snapshots if snapshots else ():
            if not self.users(part):
                self.snapshots.pop(part, None)


def _tagged(tags: Any, action: TagResources | UntagResources) -> dict[str, str]:
    if isinstance(action, TagResources):
        return {**tags, **action.tags}
    return {k: v for k, v in tags.items() if k not in action.keys}


def shut(image: Image) -> bool:
    """Whether its gates were not passed."""
    gates = image.tags.get(TAG_GATES, "")
    return gates == "pending" or gates.startswith("failed")


def good(image: Image) -> bool:
    """Whether an AMI was released and can be launched, or enabled again."""
    there = image.available or image.state == "disabled"
    return (
        there
        and not shut(image)
        and image.tags.get(TAG_RELEASE) != "candidate"
        and image.version > 0
    )


@dataclass
class Written:
    """What is in Kubernetes: a status, and since when it announces what goes."""

    status: GoldenImageStatus = field(default_factory=GoldenImageStatus)
    told: dict[tuple[str, str], datetime] = field(default_factory=dict)  # id, action


class Life:
    """The reconciles of one GoldenImage; every action is judged before it is carried out."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.cloud = Cloud()
        self.sources = [self.cloud.source(FOREIGN)]
        self.spec = dict(spec)
        self.source = self.sources[0]
        self.notes: dict[str, str] = {}  # annotations
        self.written = Written()
        self.before: list[Written] = [self.written]
        self.cache: dict[str, tuple[datetime, Use]] = {}
        self.refused: dict[str, datetime] = {}  # AMIs that AWS did not restore
        self.disturbed: set[int] = set()  # versions with which more happened than time
        self.forgot = False  # status is not what was written last, or was not written
        self.lost: set[str] = set()  # Regions that neither spec nor such a status leads to
        self.results: tuple[Result, ...] = ()
        self.judged = 0  # actions so far
        self.plan = ImagePlan(Plan())
        self.served = 0  # version at home, as planned last
        self.numbers: dict[str, str] = {}  # version to fingerprint
        self.strangers = [
            self.cloud._add(HOME, owner=OWNER, name="stranger", state="available"),
            self.cloud._add(DR, owner=OWNER, name="stranger", state="available",
                            tags={TAG_CLUSTER: CLUSTER, TAG_IMAGE: "team/other",
                                  TAG_VERSION: "1"}),
        ]  # fmt: skip

    # The operator

    @property
    def object(self) -> GoldenImage:
        spec = {"region": HOME, "source": {"image": {"id": self.source.id}}, **self.spec}
        if spec.get("encryption"):  # then each Region must have a key
            replicas = spec.get("replicas", [])
            spec["replicas"] = [{"kmsKeyId": KEYS[r["region"]][0], **r} for r in replicas]
        return GoldenImage(
            metadata=Metadata(name="base", namespace="team", annotations=self.notes, generation=1),
            spec=GoldenImageSpec.model_validate(spec),
            status=self.written.status,
        )

    def reconcile(self, pick: Pick = lambda a: a, *, write: bool = True) -> ImagePlan:
        """One round; of its actions those of `pick` come about, the rest fails or never was."""
        image = self.object
        want = wanted(CLUSTER, image)
        self._judge_sight(want)
        seen = self._see(needs.of_image(want))
        source = self._resolve(seen)
        if missing := needs.missing(want, seen):
            bins = {r: self._bin(r) for r in missing}
            want = replace(want, restorable={r: b for r, b in bins.items() if b})
        now = self.cloud.now
        uses = self._uses(asked(want, now))
        busy = set(self.cloud.used)
        plan = plan_image(want, source, seen, now, uses=uses)
        plan = replace(plan, restorable=want.restorable)
        self._judge_plan(want, plan)
        results = self._apply(plan.plan, pick, lambda a: self._judge(a, want, plan, busy))
        self.results = results
        if write:
            status, _ = report_image(image, want, plan, seen, results, rfc3339(now))
            self._write(status)
        else:
            self.forgot = True
        return plan

    def _apply(
        self, plan: Plan, pick: Pick, judge: Callable[[AnyAction], None]
    ) -> tuple[Result, ...]:
        chosen = pick(plan.actions)
        results = []
        for action in plan.actions:
            if not any(c is action for c in chosen):
                lost = Problem("Throttled", "throttled", permanent=False, region=action.region)
                results.append(Result(action, lost))
                continue
            judge(action)
            self.judged += 1
            try:
                results.append(Result(action, made=self.cloud.call(action)))
            except RefusedError as error:
                lasts = str(error) != "down"
                told = Problem("AWSError", str(error), permanent=lasts, region=action.region)
                results.append(Result(action, told))
                if isinstance(action, RestoreImage) and lasts:
                    self.refused[action.image] = self.cloud.now
            if isinstance(action, ReportUsage | DeregisterImage | RestoreImage):
                self.cache.pop(action.image, None)
            self.judge_cloud()
        return tuple(results)

    def _write(self, status: GoldenImageStatus) -> None:
        told = {
            (r.id, r.action): self.written.told.get((r.id, r.action), self.cloud.now)
            for r in status.retiring
        }
        self.written = Written(status, told)
        self.before.append(self.written)
        self.forgot = False

    def _see(self, needed: Any) -> Observed:
        views = {r: self.cloud.view(r, n.images) for r, n in needed.items()}
        return Observed(OWNER, views)

    def _resolve(self, seen: Observed) -> Source | Problem:
        found = seen.region(HOME).images.get(self.source.id)
        if found is not None:
            return Source(image=found)
        return Problem("SourceNotFound", "no such AMI", permanent=True)

    def _bin(self, region: str) -> dict[str, str]:
        if region in self.cloud.down:
            return {}
        hour = timedelta(hours=1)
        refused = {i for i, at in self.refused.items() if self.cloud.now - at < hour}
        found = (i for i in self.cloud.bin.values() if i.region == region)
        return {i.id: i.name for i in found if i.id not in refused}

    def _uses(self, ids: dict[str, dict[str, bool]]) -> dict[str, Use]:
        """As the shared view reads them: what need not be fresh may be minutes old."""
        found = {}
        for some in ids.values():
            for image, fresh in some.items():
                at, use = self.cache.get(image, (None, Use()))
                old = at is None or (self.cloud.now - at).total_seconds() > SLOW
                if fresh or old:
                    use = self.cloud.use(image)
                    self.cache[image] = (self.cloud.now, use)
                found[image] = use if fresh or old else replace(use, old=True)
        return found

    # Judging

    def _retention(self, region: str) -> Any:
        return self.object.spec.retention_in(region)

    def _judge_sight(self, want: Wanted) -> None:
        """Whether all Regions are looked at in which something of ours is."""
        there = {i.region for i in self.cloud.owned()} | {*self.cloud.owned_snapshots().values()}
        unseen = there - needs.of_image(want).keys()
        if self.forgot:
            self.lost |= unseen
        self.lost &= unseen
        assert unseen <= self.lost, f"{unseen} are lost sight of"

    def _judge_plan(self, want: Wanted, plan: ImagePlan) -> None:
        """What is published: only what was released, all Regions together."""
        for image in plan.served.values():
            assert image.tags.get(TAG_RELEASE) != "candidate", "what is served was released"
            # Gates that left spec are waived, which the tag tells a moment later.
            assert good(image) or want.spec.gates is None, "and has passed its gates"
            assert image.available
            if want.spec.gates is not None:
                homes = [i for i in plan.owned if i.role == "home" and not i.failed]
                closed = {i.version for i in homes if shut(i)}
                assert image.version not in closed, "nor does a copy of what has not passed serve"
        home = plan.served.get(HOME)
        if home is None:
            return
        before, self.served = self.served, home.version
        spec = want.spec
        waits = spec.promoting.replicas == "Wait" and want.promoted != home.version
        if not waits or not before or home.version <= before or home.version in self.disturbed:
            return
        for replica in spec.replicas:
            there = plan.served.get(replica.region)
            if replica.schedule is None and spec.pinned_version is None:
                assert there is not None, f"nothing in {replica.region}"
                assert there.version == home.version, "Regions move together"

    def judge_cloud(self) -> None:
        for stranger in self.strangers:
            assert self.cloud.images[stranger.id] == stranger, "nothing of others is touched"
        for source in self.sources:
            found = self.cloud.images.get(source.id)
            if source.owner == FOREIGN:
                assert found == source, "nor what versions are made of"

    def _judge(self, action: AnyAction, want: Wanted, plan: ImagePlan, busy: set[str]) -> None:
        owned = {i.id: i for i in self.cloud.owned()}
        known = {k.image_id for k in want.memory.images.values()}
        match action:
            case CopyImage():
                # Tags that somebody has altered are put back beside it.
                mended = {
                    i.id: replace(owned[i.id], tags=i.tags) for i in plan.owned if i.id in owned
                }
                self._judge_copy(action, [*(owned | mended).values()])
            case TagResources() | UntagResources():
                amis = {r for r in action.resources if r.startswith("ami-")}
                adopted = {self.source.id} if getattr(action, "adopts", False) else set()
                assert amis <= owned.keys() | known | adopted
                if adopted and isinstance(action, TagResources):
                    self._judge_number(action.tags, list(owned.values()))
            case DeregisterImage() | DisableImage():
                # It may have gone by hand since it was seen; AWS says so then.
                if action.image in owned:
                    self._judge_end(action, owned[action.image], plan, busy)
            case DeleteSnapshot():
                self._judge_snapshot(action)
            case _:
                assert getattr(action, "image", "") in owned.keys() | known | self.cloud.bin.keys()

    def _judge_copy(self, action: CopyImage, owned: Sequence[Image]) -> None:
        if action.token in self.cloud.tokens:
            return
        version = action.tags[TAG_VERSION]
        self._judge_number(action.tags, owned)
        keys = frozenset({action.key} if action.key else ())
        alive = [
            i.id
            for i in owned
            if i.region == action.region
            and i.tags.get(TAG_VERSION) == version
            # One that says it is of something else counts for that, where status knows no better.
            and (i.fingerprint, i.role) == (action.tags[TAG_SOURCE], action.tags[TAG_ROLE])
            and (i.pending or i.available)
            and i.kms_keys == keys
        ]
        assert not alive, f"version {version} is in {action.region} already: {alive}"
        source = self.cloud.images.get(action.source_image)
        if action.region != HOME and source is not None and self.object.spec.gates is not None:
            gates = source.tags.get(TAG_GATES, "")
            assert gates != "pending", "what was not checked is not copied"
            assert not gates.startswith("failed")

    def _judge_number(self, tags: Mapping[str, str], owned: Sequence[Image]) -> None:
        version = tags[TAG_VERSION]
        owned = [i for i in owned if i.region not in self.cloud.down]
        if int(version) in self.disturbed and not self._recalled(int(version), owned):
            self.numbers.pop(version, None)  # neither tags nor status tell of it any more
        if any((i.version, i.fingerprint) == (int(version), tags[TAG_SOURCE]) for i in owned):
            self.numbers[version] = tags[TAG_SOURCE]  # as the tags have it that there are
        source_of = self.numbers.setdefault(version, tags[TAG_SOURCE])
        assert source_of == tags[TAG_SOURCE], f"number {version} is given twice"

    def _recalled(self, version: int, owned: Sequence[Image]) -> bool:
        memory = remember(self.written.status)
        return version <= max([i.version for i in owned] + [memory.highest], default=0)

    def _announced(self, id_: str, action: str, region: str) -> None:
        since = self.written.told.get((id_, action))
        assert since is not None, f"{id_} goes ({action}) without a word in status"
        retention = self._retention(region)
        image = self.cloud.images.get(id_)
        if retention is not None and not (image is not None and image.failed):
            passed_ = (self.cloud.now - since).total_seconds()
            assert passed_ >= seconds(retention.grace_period), f"{id_} goes before its time"

    def _judge_end(
        self, action: DeregisterImage | DisableImage, image: Image, plan: ImagePlan, busy: set[str]
    ) -> None:
        if image.failed:
            assert isinstance(action, DeregisterImage)
            if action.leftover:
                self._announced(image.id, "Deregister", image.region)
            return
        ends = "Disable" if isinstance(action, DisableImage) else "Deregister"
        self._announced(image.id, ends, image.region)
        assert image.id not in busy, f"{image.id} is in use"
        self._judge_others(image)
        assert image.id not in {i.id for i in plan.served.values()}, "it is served"
        latest = self.written.status.latest
        assert latest is None or image.id != latest.image_id or plan.home is not None
        rest = [i for i in self.cloud.owned() if i.region == image.region and i.id != image.id]
        homes = [i for i in self.cloud.owned() if i.region == HOME and not i.failed]
        said = {i.version for i in homes if TAG_GATES in i.tags}  # by the tag, or else by status
        versions = self.written.status.versions
        closed = {v.version for v in versions if v.gate in ("Pending", "Failed")} - said
        closed |= {i.version for i in homes if shut(i)}
        there = [i for i in rest if good(i) and i.version not in closed]
        same = [i for i in rest if good(i) and i.version == image.version]
        if image.region != HOME:  # it was made of what had passed, so it may be all there is
            closed = {v.version for v in versions if v.gate == "Failed"} - said
            closed |= {i.version for i in homes if i.tags.get(TAG_GATES, "").startswith("failed")}
        if good(image) and image.version not in closed:
            newest = max([image, *there], key=lambda i: i.version).version
            kept = {newest, self.object.spec.pinned_version}
            if image.version in kept:
                assert same, "the last good one goes"
            if image.available:
                assert any(i.available for i in (*there, *same)), "nothing can be launched any more"

    def _judge_others(self, image: Image) -> None:
        retention = self._retention(image.region)
        if retention is not None and not retention.check_other_accounts:
            return
        report = self.cloud.reports.get(image.id)
        assert report is not None, "other accounts were not asked about"
        assert report.state == "available"
        assert not report.others, f"{image.id} is in use in another account"
        assert self.cloud.now - report.at <= timedelta(hours=24)

    def _judge_snapshot(self, action: DeleteSnapshot) -> None:
        ours = self.cloud.owned_snapshots()
        if action.snapshot not in self.cloud.snapshots:
            return
        assert action.snapshot in ours, "it is not ours"
        self._announced(action.snapshot, "DeleteSnapshot", action.region)
        text = self.cloud.snapshots[action.snapshot][1].get(TAG_VERSION, "0")
        latest = self.written.status.latest
        kept = {self.object.spec.pinned_version, latest.version if latest else None}
        there = [i for i in self.cloud.owned() if i.region == action.region and i.available]
        assert any(good(i) for i in there), "it may be all that is left of the last good version"
        if int(text) in kept:
            assert any(i.version == int(text) for i in there), "it may be had back from it"

    # Until nothing moves

    def heal(self) -> None:
        self.cloud.down.clear()
        self.cloud.blind.clear()
        self.cloud.broken.clear()
        self.cloud.lacking.clear()

    def step(self) -> bool:
        """One round, with what is under way done after it, and time until the next. Whether
        nothing changed, and nothing will but by what waits for somebody."""
        plan = self.plan = self.reconcile()
        pending = [i for i in self.cloud.owned() if i.id in self.cloud.parts]
        for image in pending:
            self.cloud.settle(image, fails=image.region in self.cloud.broken)
        reports = [r for r in self.cloud.reports.values() if r.state == "pending"]
        for report in reports:
            report.state = "available"
        coming = [r for r in self.written.status.retiring if not r.held_by]
        again = plan.plan.retry_after
        # What AWS refuses, such as a name that is taken, waits for somebody too.
        busy = bool(any(r.done for r in self.results) or pending or reports)
        if not busy and not coming and (again is None or again > 60.0):
            return True
        pause = 1.0
        if not busy:
            dues = [-passed(r.at, self.cloud.now) for r in coming]
            pause = min([*dues, again if again is not None else 3600.0])
        self.cloud.now += timedelta(seconds=max(pause, 1.0))
        return False

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            if self.step():
                return

    def settle(self) -> None:
        """Reconcile until nothing changes but what waits for somebody, however long that takes."""
        for _ in range(SETTLING):
            if self.step():
                return
        told = self.written.status
        raise AssertionError(f"the plans do not come to an end: {self.plan.plan} {told.retiring}")

    def judge_settled(self) -> None:
        """Every snapshot of ours has an AMI, or is told of."""
        status = self.written.status
        told = {s.id for s in status.leftovers} | {r.id for r in status.retiring}
        for snapshot, region in self.cloud.owned_snapshots().items():
            if self.cloud.users(snapshot) or region in self.lost:
                continue
            assert snapshot in told, f"nobody tells of {snapshot} in {region}"

    def delete(self) -> None:
        """The GoldenImage is deleted: what may go is gone, and what stays is told."""
        for round_ in range(3 * SETTLING):
            want = wanted(CLUSTER, self.object)
            self._judge_sight(want)
            seen = self._see(needs.of_image(want))
            uses = self._uses(asked_on_deletion(want, seen))
            busy = set(self.cloud.used)
            plan = plan_deletion(want, seen, uses, self.cloud.now)
            judge = partial(self._judge_deletion, busy=busy)
            results = self._apply(plan, lambda a: a, judge)
            if not plan.problems and not plan.waiting and not results:
                self._judge_deleted(want.spec.deletion_policy)
                return
            for image in [i for i in self.cloud.owned() if i.pending]:
                self.cloud.settle(image, fails=bool(round_ % 2), keeps=True)
            for report in self.cloud.reports.values():
                report.state = "available"
            for result in results:
                if isinstance(result.action, DeleteSnapshot) and not result.done:
                    for user in self.cloud.users(result.action.snapshot):
                        assert user not in self.cloud.owned()
                        del self.cloud.images[user.id]
            stuck = plan.problems and not plan.actions and not plan.waiting
            if stuck or round_ == SETTLING:
                reasons = {p.reason for p in plan.problems}
                assert reasons <= {"ImageInUse", "DeregistrationProtected"}, reasons
                self.cloud.used.clear()
                self.cloud.abroad.clear()
                for image in self.cloud.owned():
                    if "DeregistrationProtected" in reasons:
                        self.cloud.protect(image, "disabled")
            self.cloud.now += timedelta(minutes=30)
        raise AssertionError(f"the deletion does not end: {plan.problems} {plan.lines()}")

    def _judge_deletion(self, action: AnyAction, busy: set[str]) -> None:
        owned = {i.id: i for i in self.cloud.owned()}
        ours = owned.keys() | self.cloud.owned_snapshots().keys()
        policy = self.object.spec.deletion_policy
        match action:
            case DeregisterImage():
                assert policy == "Delete"
                image = owned[action.image]
                if not image.failed:
                    assert image.id not in busy
                    self._judge_others(image)
            case DeleteSnapshot():
                assert policy == "Delete"
                assert action.snapshot in ours
            case UntagResources():
                assert policy == "Orphan"
                assert set(action.resources) & ours
            case ProtectImage() | ReportUsage():
                assert action.image in owned
            case _:
                raise AssertionError(f"unexpected: {action}")

    def _judge_deleted(self, policy: str) -> None:
        if policy == "Retain":
            return
        where = {i.region for i in self.cloud.owned()} | {*self.cloud.owned_snapshots().values()}
        where -= self.lost
        assert not where, f"something of ours is left in {where}"
