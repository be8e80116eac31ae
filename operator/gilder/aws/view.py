"""The shared bulk read: one view of each Region, with an age, that every reconcile looks at.

Readers say since when the data must be true; whatever was read later is reused, so that many
resources that ask at once cost one read. A change makes stale only what it touched.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from gilder.api.names import TAG_BUILD
from gilder.api.selection import NewestImage
from gilder.aws import errors, images, keys, resources, snapshots
from gilder.aws.images import Raw
from gilder.aws.parameters import other
from gilder.aws.publishview import PublishView, publishes
from gilder.aws.remembered import NEVER, Clock, Remembered
from gilder.aws.sessions import Sessions
from gilder.core.actions import (
    AFTER_APPLY,
    AnyAction,
    CopyImage,
    CreateGrant,
    CreateImage,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    PutKeyPolicy,
    ReportUsage,
    RevokeGrant,
    TagForConsumer,
)
from gilder.core.needs import AccessNeeds, RegionNeeds
from gilder.core.observed import (
    Grant,
    Image,
    ImageIndex,
    Key,
    Observed,
    Principals,
    Problem,
    RegionView,
    Snapshot,
    SnapshotIndex,
)

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

SLOW = 600.0  # seconds that keys, Regions and block public access are remembered
PARALLEL = 16  # reads at once, over all Regions

Permission = ModifyLaunchPermission | ModifySnapshotPermission


def _changed(was: Principals | Problem, action: Permission) -> Principals | Problem:
    if isinstance(was, Problem):
        return was
    return (was | action.add) - action.remove


def _parsed(raws: Iterable[Raw], region: str) -> dict[str, Image]:
    return {r["ImageId"]: images.parse(r, region, {}) for r in raws}


def _by_ids(ec2: "EC2Client", ids: Iterable[str], region: str) -> dict[str, Image]:
    found: dict[str, Image] = {}
    left = sorted(ids)
    for start in range(0, len(left), images.IDS):
        found |= _parsed(images.by_ids(ec2, left[start : start + images.IDS]), region)
    return found


class _Region:
    """What is known of one Region."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.extras: frozenset[str] = frozenset()
        # Replaced, never changed, since views that were handed out look at them too.
        self.images: ImageIndex = ImageIndex()
        self.snapshots: SnapshotIndex = SnapshotIndex()
        self.problem: Problem | None = None
        self.read_at = NEVER
        self.expired_at = NEVER  # what began to be read before this is not remembered
        self.permissions: Remembered[str, Principals | Problem] = Remembered()
        self.volumes: Remembered[str, Principals | Problem] = Remembered()  # by snapshot
        self.grants: Remembered[str, tuple[Grant, ...] | Problem] = Remembered()
        self.keys: Remembered[str, Key | Problem] = Remembered()
        self.policies: Remembered[str, Key | Problem] = Remembered()
        self.parameters: Remembered[str, str | Problem] = Remembered()
        self.public: Remembered[str, bool | Problem] = Remembered()
        self.newest: Remembered[str, str] = Remembered()  # "": none matches
        self.publish = PublishView(name, self.parameters, clock)
        self._marks = threading.Lock()

    def expire(self, now: float) -> None:
        """AMIs and snapshots are read anew, also by who reads them now, when asked for next."""
        with self._marks:
            self.expired_at, self.read_at = now, NEVER

    def was_read(self, began: float) -> None:
        with self._marks:
            self.read_at = began if began >= self.expired_at else NEVER


class Views:
    """All Regions of one account."""

    def __init__(self, sessions: Sessions, cluster: str, clock: Clock = time.monotonic) -> None:
        self.sessions = sessions
        self.cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._regions: dict[str, _Region] = {}
        self._known: Remembered[str, dict[str, bool]] = Remembered()
        self._good: dict[str, float] = {}  # Region to when its last good reading began
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="read")

    def now(self) -> float:
        """The clock that `since` is measured with."""
        return self._clock()

    def ages(self) -> dict[str, float]:
        """Seconds since each Region was read well last; endless where it never was."""
        now = self.now()
        return {region: now - at for region, at in self._good.copy().items()}

    def watch(self, regions: Iterable[str]) -> None:
        """These Regions are looked at from now on, and no others: they alone have ages."""
        self._good = {r: self._good.get(r, NEVER) for r in regions}

    def images(
        self, needs: Mapping[str, RegionNeeds], since: float, *, whole: bool = False
    ) -> Observed:
        """AMIs, snapshots, named keys and parameters of these Regions, not older than `since`.

        `whole`: nothing else will be needed, so that what was needed before is not read again.
        A Region that cannot be read has a `problem` and is otherwise empty. Raises what STS
        raises when the account cannot be told.
        """
        account = self.sessions.account()
        regions = sorted(needs)
        views = self._pool.map(lambda r: self._view(r, needs[r], account, since, whole), regions)
        return Observed(account, dict(zip(regions, views, strict=True)))

    def newest(self, region: str, want: NewestImage, since: float) -> str | None:
        """Id of the newest available AMI that matches; raises what AWS says."""
        known, key = self._region(region), want.model_dump_json()
        with known.lock:
            found = known.newest.get(key, since)
            if found is None:
                began = self.now()
                read = images.newest(self.sessions.ec2(region), want) or ""
                found = known.newest.put(key, read, began)
        return found or None

    def parameters(
        self, region: str, names: frozenset[str], since: float
    ) -> dict[str, str | Problem]:
        """SSM parameters by name, not older than `since`; "" for those that do not exist."""
        if lack := self._region_problem(region):
            return dict.fromkeys(names, lack)  # a call there would only be waited for
        known = self._region(region)
        with known.lock:
            return self._parameters(known, names, since)

    def access(self, seen: Observed, needs: AccessNeeds, since: float) -> Observed:
        """`seen` with launch permissions, grants, keys and policies as `needs` asks."""
        regions: dict[str, list[str]] = {}
        for name, image_id in needs.places:
            regions.setdefault(name, []).append(image_id)
        for name in (*(r for r, _ in needs.keys), *needs.public):
            regions.setdefault(name, [])
        done: dict[str, RegionView] = dict(seen.regions)
        # Reads are spread over the pool one call each; this thread only waits.
        pending: dict[str, Callable[[RegionView], RegionView]] = {}
        for name, ids in regions.items():
            view = seen.region(name)
            if view.problem:
                continue
            arns = {k for r, k in needs.keys if r == name}
            mine: list[str] = []
            parts: list[str] = []
            for image_id in ids:
                image = view.images.get(image_id)
                if image is not None and image.owner == seen.account:
                    arns |= image.kms_keys
                    if AFTER_APPLY in image_id:
                        continue
                    if image.available:
                        mine.append(image_id)
                    if (name, image_id) in needs.volumes:
                        parts += image.snapshots  # whose permissions a disabled AMI leaves
            pending[name] = self._start_access(
                self._region(name), sorted(mine), sorted(set(parts)), sorted(arns), needs, since
            )
        for name, finish in pending.items():
            done[name] = finish(seen.region(name))
        return Observed(seen.account, done)

    def touched(self, action: AnyAction, *, done: bool = False) -> None:
        """What this action changed is read anew when somebody asks next.

        Launch permissions that AWS said it changed (`done`) are taken as told until they are read
        again in their turn: with one read per AMI they are the costliest part of the view. What
        somebody began to read before the change, and has not read to its end, is not remembered.
        """
        region, now = self._region(action.region), self.now()
        match action:
            case CreateGrant() | RevokeGrant():
                region.grants.expire(action.key, now)
            case CopyImage() | CreateImage() if done:
                pass  # the caller knows its id, and nobody else waits for it
            case ModifyLaunchPermission() if done:
                region.permissions.amend(action.image, lambda was: _changed(was, action), now)
            case ModifyLaunchPermission():
                region.permissions.expire(action.image, now)
            case ModifySnapshotPermission() if done:
                region.volumes.amend(action.snapshot, lambda was: _changed(was, action), now)
            case ModifySnapshotPermission():
                region.volumes.expire(action.snapshot, now)
            case PutKeyPolicy():
                region.policies.expire(action.key, now)
            case TagForConsumer() | ReportUsage():
                pass  # not on this view
            case _ if publishes(action):
                region.publish.touched(action)
            case _:
                region.expire(now)
                if image := getattr(action, "image", None):
                    region.permissions.expire(image, now)

    def forget(
        self,
        region: str,
        *,
        images: Iterable[str] = (),
        keys: Iterable[str] = (),
        volumes: Iterable[str] = (),
        whole: bool = False,
    ) -> None:
        """Somebody else changed this: launch permissions of AMIs, all about keys (by ARN), who may
        create volumes of snapshots, and with `whole` the AMIs and snapshots of the Region.

        The next to ask reads it anew.
        """
        known, now = self._region(region), self.now()
        for image in images:
            known.permissions.expire(image, now)
        for snapshot in volumes:
            known.volumes.expire(snapshot, now)
        for key in keys:
            known.grants.expire(key, now)
            known.policies.expire(key, now)
            written = known.keys.keys_where(lambda k, key=key: isinstance(k, Key) and k.arn == key)  # type: ignore[misc]
            for name in written:
                known.keys.expire(name, now)
        if whole:
            known.expire(now)

    def images_of(self, region: str, snapshots: Iterable[str]) -> frozenset[str]:
        """Ids of the AMIs that have one of these snapshots, as last read."""
        known, wanted = self._region(region), set(snapshots)
        with known.lock:  # while a Region is read, nothing is known of it
            return frozenset(
                i for i, image in known.images.items() if not wanted.isdisjoint(image.snapshots)
            )

    def forget_parameters(self, region: str, names: Iterable[str]) -> None:
        """Somebody changed these SSM parameters."""
        known, now = self._region(region), self.now()
        for name in names:
            known.parameters.expire(name, now)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _region(self, name: str) -> _Region:
        with self._lock:
            return self._regions.setdefault(name, _Region(name, self._clock))

    def _region_problem(self, name: str) -> Problem | None:
        """Why no call can be made in a Region: it does not exist or is not enabled."""
        with self._asking:
            known = self._known.get("", self.now() - SLOW)
            if known is None:
                try:
                    known = resources.regions(self.sessions.ec2(self.sessions.region))
                except errors.AWS_ERRORS:
                    return None  # the calls in the Region itself will tell
                self._known.put("", known, self.now())
        if name not in known:
            return Problem(
                "RegionUnknown",
                f"spec.region, spec.replicas or spec.imageRef: no AWS Region {name}. "
                "Correct the name",
                region=name,
            )
        if not known[name]:
            return Problem(
                "RegionNotEnabled",
                f"Region {name} is not enabled for the account. Enable it or name another",
                region=name,
            )
        return None

    def _view(
        self, name: str, needs: RegionNeeds, account: str, since: float, whole: bool
    ) -> RegionView:
        region = self._region(name)
        with region.lock:
            if region.read_at < since:
                extras = needs.images if whole else region.extras | needs.images
                self._read_images(region, extras, account)
            elif more := needs.images - region.extras - region.images.keys():
                self._read_more(region, more, account)
            if needs.builds:
                self._read_built(region, needs.builds, account)
            if region.problem:
                return RegionView(name, problem=region.problem)
            found = {k: self._key(region, k) for k in sorted(needs.keys)}
            found |= {k.arn: k for k in found.values() if isinstance(k, Key)}
            parameters = self._parameters(region, needs.parameters, since)
            published, tagged = region.publish.parameters(
                self.sessions,
                self.cluster,
                needs.published,
                since,
                lambda names, at: self._parameters(region, names, at),
                whole=whole,
            )
            templates = region.publish.templates(
                self.sessions, needs.templates | needs.versions, needs.versions, since
            )
            return RegionView(
                name,
                images=region.images,
                snapshots=region.snapshots,
                keys=found,
                parameters=parameters,
                published=published,
                tagged=tagged,
                templates=templates,
            )

    def _read_images(self, region: _Region, extras: frozenset[str], account: str) -> None:
        began = self.now()
        region.problem = self._region_problem(region.name)
        region.images, region.snapshots = ImageIndex(), SnapshotIndex()
        if region.problem is None:
            try:
                self._fetch_images(region, extras, account)
            except errors.AWS_ERRORS as error:
                region.problem = errors.problem(
                    error, f"reading AMIs in {region.name}", region.name
                )
        region.extras = extras
        region.was_read(began)
        if region.problem is None:
            self._good[region.name] = began

    def _fetch_images(self, region: _Region, extras: frozenset[str], account: str) -> None:
        ec2 = self.sessions.ec2(region.name)
        found = _parsed(images.owned(ec2, self.cluster), region.name)
        found |= _by_ids(ec2, extras - found.keys(), region.name)
        self._take(region, found, account, resources.owned_snapshots(ec2, self.cluster))
        region.permissions.keep(found)

    def _read_more(self, region: _Region, ids: frozenset[str], account: str) -> None:
        """Add AMIs to what was read; they are younger than the rest, which does no harm."""
        if region.problem:
            return
        try:
            found = _by_ids(self.sessions.ec2(region.name), ids, region.name)
            self._take(region, found, account)
        except errors.AWS_ERRORS as error:
            region.problem = errors.problem(error, f"reading AMIs in {region.name}", region.name)
            region.read_at = NEVER
            return
        region.extras |= ids

    def _read_built(self, region: _Region, builds: frozenset[str], account: str) -> None:
        """Add AMIs that are found by the id of the build that made them."""
        left = builds - {i.tags.get(TAG_BUILD, "") for i in region.images.values()}
        if region.problem or not left:
            return
        try:
            raws = images.tagged(self.sessions.ec2(region.name), TAG_BUILD, left)
            found = _parsed(raws, region.name)
            self._take(region, found, account)
        except errors.AWS_ERRORS as error:
            region.problem = errors.problem(error, f"reading AMIs in {region.name}", region.name)
            region.read_at = NEVER
            return
        region.extras |= found.keys()

    def _take(
        self,
        region: _Region,
        parsed: Mapping[str, Image],
        account: str,
        owned: Mapping[str, tuple[Snapshot, str | None]] = MappingProxyType({}),
    ) -> None:
        """Take in AMIs with their snapshots; `owned` are snapshots that were read already."""
        ids = {s for i in parsed.values() if i.owner == account for s in i.snapshots}
        left = sorted(ids - owned.keys())
        found = dict(owned)
        if left:
            found |= resources.snapshots(self.sessions.ec2(region.name), left)
        key_of = {s: key for s, (_, key) in found.items()}
        whole = {i: images.with_keys(image, key_of) for i, image in parsed.items()}
        region.images = ImageIndex({**region.images, **whole})
        region.snapshots = SnapshotIndex(
            {**region.snapshots, **{s: snap for s, (snap, _) in found.items()}}
        )

    def _key(self, region: _Region, written: str) -> Key | Problem:
        known = region.keys.get(written, self.now() - SLOW)
        if known is not None:
            return known
        began = self.now()
        try:
            key = keys.describe(self.sessions.kms(region.name), written, region.name)
        except errors.AWS_ERRORS as error:
            # Not remembered: what was denied or throttled now may be allowed in a moment.
            return errors.problem(error, f"reading KMS key {written}", region.name)
        if isinstance(key, Key) and key.state == "Enabled":
            region.keys.put(written, key, began)
            region.keys.put(key.arn, key, began)
        return key

    def _parameters(
        self, region: _Region, names: frozenset[str], since: float
    ) -> dict[str, str | Problem]:
        known = {n: v for n in names if (v := region.parameters.get(n, since)) is not None}
        left = names - known.keys()
        if not left:
            return known
        began = self.now()
        fresh: dict[str, str | Problem]
        try:
            raws = resources.whole_parameters(self.sessions.ssm(region.name), left)
            fresh = {n: raws[n]["Value"] if n in raws else "" for n in left}
            region.publish.types |= {n: other(raw) for n, raw in raws.items()}
        except errors.AWS_ERRORS as error:
            lack = errors.problem(error, "reading SSM parameters", region.name)
            fresh = dict.fromkeys(left, lack)
        for name, value in fresh.items():
            region.parameters.put(name, value, began)
        return known | fresh

    def _start_access(
        self,
        region: _Region,
        ids: list[str],
        parts: list[str],
        arns: list[str],
        needs: AccessNeeds,
        since: float,
    ) -> Callable[[RegionView], RegionView]:
        """Begin the reads of one Region; the returned function waits and puts them together."""
        submit = self._pool.submit
        permissions = {i: submit(self._permission, region, i, since) for i in ids}
        volumes = {s: submit(self._volume, region, s, since) for s in parts}
        key_jobs = {a: submit(self._key_access, region, a, needs.policies, since) for a in arns}
        blocked = submit(self._public, region) if region.name in needs.public else None

        def finish(view: RegionView) -> RegionView:
            who = {i: f.result() for i, f in permissions.items()}
            found = {a: f.result() for a, f in key_jobs.items()}
            grants = {a: g for a, (_, g) in found.items() if isinstance(g, tuple)}
            all_keys = {**view.keys, **{a: k for a, (k, _) in found.items()}}
            may = {s: f.result() for s, f in volumes.items()}
            unread = {i: p for i, p in {**who, **may}.items() if isinstance(p, Problem)}
            state = blocked.result() if blocked else False
            return replace(
                view,
                permissions={
                    **view.permissions,
                    **{i: p for i, p in who.items() if isinstance(p, Principals)},
                },
                volumes={
                    **view.volumes,
                    **{s: p for s, p in may.items() if isinstance(p, Principals)},
                },
                grants={**view.grants, **grants},
                keys=all_keys,
                unread=unread,
                # Unknown counts as blocked: public sharing fails closed.
                public_blocked=state is not False,
            )

        return finish

    def _permission(self, region: _Region, image: str, since: float) -> Principals | Problem | None:
        known = region.permissions.get(image, since)
        if known is not None:
            return known
        began = self.now()
        try:
            who = images.permissions(self.sessions.ec2(region.name), image)
        except errors.AWS_ERRORS as error:
            return errors.problem(error, f"reading launch permissions of {image}", region.name)
        if who is None:
            region.read_at = NEVER  # gone since the AMIs were read
            return None
        return region.permissions.put(image, who, began)

    def _volume(self, region: _Region, snapshot: str, since: float) -> Principals | Problem | None:
        known = region.volumes.get(snapshot, since)
        if known is not None:
            return known
        began = self.now()
        try:
            who = snapshots.permissions(self.sessions.ec2(region.name), snapshot)
        except errors.AWS_ERRORS as error:
            return errors.problem(error, f"reading permissions of {snapshot}", region.name)
        if who is None:
            region.read_at = NEVER  # gone since the AMIs were read
            return None
        return region.volumes.put(snapshot, who, began)

    def _key_access(
        self, region: _Region, arn: str, policies: bool, since: float
    ) -> tuple[Key | Problem, tuple[Grant, ...] | Problem]:
        key = self._key(region, arn)
        if isinstance(key, Problem):
            return key, key
        if key.aws_managed:
            return key, ()
        kms = self.sessions.kms(region.name)
        try:
            if policies:
                known = region.policies.get(arn, since)
                if known is None:
                    began = self.now()
                    known = region.policies.put(
                        arn, replace(key, policy=keys.policy(kms, arn)), began
                    )
                if isinstance(known, Key):
                    key = known
            grants = region.grants.get(arn, since)
            if grants is None:
                began = self.now()
                grants = region.grants.put(arn, keys.grants(kms, arn), began)
        except errors.AWS_ERRORS as error:
            lack = errors.problem(error, f"reading access to KMS key {arn}", region.name)
            return lack, lack
        return key, grants

    def _public(self, region: _Region) -> bool | Problem:
        known = region.public.get("", self.now() - SLOW)
        if known is None:
            began = self.now()
            try:
                known = images.public_blocked(self.sessions.ec2(region.name))
            except errors.AWS_ERRORS as error:
                return errors.problem(error, "reading block public access", region.name)
            if known is False:  # somebody told that it is on may turn it off: ask again
                region.public.put("", known, began)
        return known
