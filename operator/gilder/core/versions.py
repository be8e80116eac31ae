"""The plan of one GoldenImage: which version is wanted, and what it lacks in each Region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gilder.api.base import RESERVED_PREFIXES
from gilder.api.names import (
    TAG_CLUSTER,
    TAG_GATES,
    TAG_IMAGE,
    TAG_ORIGIN,
    TAG_PREFIX,
    TAG_RELEASE,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core import building, origin
from gilder.core.actions import (
    TagResources,
    UntagResources,
)
from gilder.core.building import NO_BUILD, BuildPlan, Ground, kept
from gilder.core.choice import choose, closed_of
from gilder.core.gating import NO_GATES, PENDING, Verdict, end_tests, plan_gates
from gilder.core.home import (
    Aim,
    fingerprint_of,
    home_key,
    make_home,
    newest,
    next_version,
    version_of,
)
from gilder.core.observed import Image, Observed, Problem, RegionView, Use
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.promotion import (
    CANDIDATE,
    COPIES,
    Hold,
    born_held,
)
from gilder.core.replicas import copies_to, scheduled_due, served_in, wake_for_lag
from gilder.core.retention import (
    NO_RETIREMENT,
    NO_USES,
    Retirement,
    Standing,
    plan_retention,
)
from gilder.core.schedule import next_run
from gilder.core.slots import (
    Slot,
    ami_name,
    keep,
    restored,
)
from gilder.core.times import rfc3339
from gilder.core.wanted import Source, Wanted
from gilder.core.work import NO_WORK, Work


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A Plan with the version that is released, or is on its way to be.

    `version` is 0 while none can be chosen. `candidate` is the version that spec.source asks for;
    it differs from `version` while it is made or checked, or when it failed its gates.
    """

    plan: Plan
    version: int = 0
    home: Image | None = None
    replicas: Mapping[str, Image] = field(default_factory=dict)  # by Region, available ones
    source: Source | None = None
    fingerprint: str = ""  # of the candidate
    candidate: int = 0
    candidate_home: Image | None = None
    verdict: Verdict = NO_GATES
    build: BuildPlan = NO_BUILD
    origin: str = ""  # of the candidate
    next_build: str | None = None  # RFC 3339, UTC
    served: Mapping[str, Image] = field(default_factory=dict)  # by Region: what is published
    hold: Hold | None = None  # why the candidate is not released
    coming: Mapping[str, Image] = field(default_factory=dict)  # by Region: copies of the candidate
    retirement: Retirement = NO_RETIREMENT
    restorable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # as in Wanted
    queued: frozenset[str] = frozenset()  # Regions whose copy waits for a place
    due: frozenset[str] = frozenset()  # Regions whose schedule asks for this version by now
    # AMIs of ours, with the ownership tags that are put back; none where nothing was planned.
    owned: Sequence[Image] = ()


def plan_image(
    want: Wanted,
    source: Source | Problem,
    seen: Observed,
    now: datetime,
    work: Work = NO_WORK,
    uses: Mapping[str, Use] = NO_USES,
    *,
    may_build: bool = True,
) -> ImagePlan:
    """What makes AWS match `want`.

    `source` is what spec.source resolved to, or the parent image where that is built. A source that
    cannot be resolved, or a home key that cannot be used, stops new versions only: the latest one
    is still looked after. `uses` is what is known of who uses AMIs that go. `may_build`: there is a
    place free among the builds.
    """
    draft = Draft()
    spec = want.spec
    home_view = seen.region(spec.region)
    if home_view.problem:
        draft.note(home_view.problem)
        return ImagePlan(freeze(draft), build=kept(want))
    key = home_key(want, home_view, draft)
    owned = _owned(want, seen, draft)
    for problem in work.problems:
        draft.note(problem)

    build = NO_BUILD
    told = ""
    if spec.source.built:
        following = next_version(want, owned)
        ground = Ground(
            source, key, following, ami_name(want, following), may_build, home_view.keys
        )
        build = building.plan_build(want, ground, owned, seen, work, now, draft)
        made = building.built(want, build, seen, owned)
        if made.problem is not None:
            draft.note(made.problem)
        told = made.origin
        resolved = made.source
    elif isinstance(source, Problem):
        draft.note(source)
        resolved = None
    else:
        resolved, told, build = _triggered(want, source, owned, now)
    if not spec.source.built and want.memory.build is not None:
        # It was begun before spec.source was changed.
        ended = building.plan_stop(want, seen, work, now, draft, discard=True)
        build = replace(ended, request=build.request)

    home: Image | None
    if resolved is None or isinstance(key, Problem):
        last = newest(owned, spec.region, built=spec.source.built)
        version = last if spec.source.built else want.memory.latest or last
        fingerprint = next((i.fingerprint for i in owned if i.version == version), "")
        slot = Slot(want, version, fingerprint, spec.region, "home")
        home = keep(slot, owned, draft) if version else None
        if version and home is None:
            restored(slot, draft)
    else:
        fingerprint = fingerprint_of(resolved, key, owned)
        version = version_of(want, resolved, fingerprint, owned)
        aim = Aim(want, resolved, key, version, fingerprint, told, born_held(want, version, owned))
        home = make_home(aim, owned, seen, now, draft)

    # While the source is not known, what is being checked may be what it stands for.
    unknown = resolved is None and not spec.source.built
    spare = _under_test(want) if unknown else frozenset()
    verdict = _verdict(want, home, version, work, now, draft, spare)
    good = home if home is not None and home.available and verdict.open else None
    coming = copies_to(want, version, good, owned, seen, now, draft)
    choice = choose(want, version, home, good, coming, owned, now, draft)
    released, released_home = choice.version, choice.home

    copies: Mapping[str, Image] = {}
    scheduled: set[str] = set()
    if released and released_home is not None and not choice.shut:
        scheduled = scheduled_due(want, released_home, owned, now, draft)
        done = coming if released == version and good is not None else {}
        planned = {r.region for r in spec.replicas if r.schedule is None and good is not None}
        but = planned if released == version else set()
        more = copies_to(want, released, released_home, owned, seen, now, draft, scheduled, but)
        copies = {**done, **more}
    for image in owned:
        looked_after = image.version in (version, released)
        if looked_after and not image.failed and image.role != "intermediate":
            _tags(want, image, seen.region(image.region), draft)
    available = (
        released_home if released_home and released_home.available and not choice.shut else None
    )
    closed = closed_of(want, owned)
    serving = released if available is not None else want.memory.latest
    served = served_in(want, serving, available, owned, closed, copies)
    if available is not None:
        wake_for_lag(want, available.version, served, now, draft)
    # While the source is not known, it may be the newest version that it stands for.
    asked = max((i.version for i in owned), default=0) if unknown else 0
    stand = (*served.values(), *copies.values(), *coming.values(), home, released_home)
    standing = Standing(
        serving,
        version,
        spec.pinned_version or 0,
        asked,
        # Of a home AMI that is lost, and made anew, nobody knows yet whether it passes.
        closed if verdict.open else {version: verdict.state, **closed},
        frozenset(i.id for i in stand if i is not None),
    )
    retirement = plan_retention(want, owned, seen, standing, uses, now, draft)
    return ImagePlan(
        freeze(draft),
        version=released,
        home=available,
        replicas={r: i for r, i in copies.items() if i.available},
        source=resolved,
        fingerprint=fingerprint,
        candidate=version,
        candidate_home=home if home and home.available else None,
        verdict=verdict,
        build=build,
        origin=told,
        next_build=_next_run(want, now, draft),
        served=served,
        hold=choice.hold,
        coming=coming,
        retirement=retirement,
        due=frozenset(scheduled),
        owned=tuple(owned),
    )


def plan_work_end(
    want: Wanted, seen: Observed, work: Work, now: datetime, *, discard: bool
) -> ImagePlan:
    """What ends the work on a new version, when the GoldenImage is suspended or deleted."""
    draft = Draft()
    view = seen.region(want.spec.region)
    if view.problem:
        draft.note(view.problem)
        return ImagePlan(freeze(draft), build=kept(want))
    for problem in work.problems:
        draft.note(problem)
    end_tests(want, work, draft)
    build = building.plan_stop(want, seen, work, now, draft, discard=discard)
    return ImagePlan(freeze(draft), build=build)


def _next_run(want: Wanted, now: datetime, draft: Draft) -> str | None:
    """When the schedule comes next; the plan is made again then."""
    schedule = want.spec.schedule
    run = next_run(schedule, want.key, now) if schedule is not None else None
    if run is None:
        return None
    draft.wake(max(1.0, (run - now).total_seconds() + 1.0))
    return rfc3339(run)


def _triggered(
    want: Wanted, source: Source, owned: Sequence[Image], now: datetime
) -> tuple[Source, str, BuildPlan]:
    """A capture of an instance is made anew when the schedule or a request asks for it."""
    if source.instance is None:
        return source, "", NO_BUILD
    past = building.history(want, owned, want.memory.last_build)
    trigger = origin.due(want.spec.schedule, want.key, want.request, "", "", past, now)
    last = past.origin.trigger if past.origin is not None else ""
    asked = trigger if trigger not in ("", last) else last
    if not past.any:
        asked = trigger or origin.INITIAL
    # Heeded is what an AMI tells of: a capture that AWS refuses is tried again.
    request = want.memory.request
    if want.request and last == origin.of_request(want.request):
        request = want.request
    shown = "" if asked == origin.INITIAL else asked
    said = str(origin.Origin(asked)) if asked else ""
    return replace(source, trigger=shown), said, BuildPlan(request=request)


def _under_test(want: Wanted) -> frozenset[str]:
    """Home AMIs that are being checked, as status remembers."""
    return frozenset(
        known.image_id
        for (version, _, role), known in want.memory.images.items()
        if role == "home"
        and version in want.memory.tested
        and want.memory.tested[version].state == PENDING
    )


def _verdict(
    want: Wanted, home: Image | None, version: int, work: Work, now: datetime, draft: Draft,
    spare: frozenset[str],
) -> Verdict:  # fmt: skip
    gates = want.spec.gates
    if home is not None and home.available:
        return plan_gates(want, home, version, work, now, draft, spare)
    end_tests(want, work, draft, spare)
    return Verdict(PENDING) if gates is not None and gates.any else NO_GATES


def _owned(want: Wanted, seen: Observed, draft: Draft) -> list[Image]:
    """AMIs of ours by tag; ownership tags that were taken off or altered are put back first."""
    owned = {i.id: i for i in seen.owned(want.cluster, want.key)}
    prints = want.memory.prints
    done = set()
    # What was asked for just now is certain; what was seen has been read from tags.
    for (version, region, role), known in sorted(
        want.memory.images.items(), key=lambda one: one[1].seen
    ):
        image = seen.region(region).images.get(known.image_id)
        if image is None or image.owner != seen.account:
            continue
        if version not in prints or image.id in done:
            continue
        done.add(image.id)
        if owner := image.of_another(want.cluster, want.key, want.others):
            draft.note(
                Problem(
                    "OwnedByAnother",
                    f"{image.id} in {region} is version {version} by status, and by its tags it "
                    f"is of {owner}. If it is of this GoldenImage, set its tags "
                    f"{TAG_IMAGE}={want.key} and {TAG_CLUSTER}={want.cluster}",
                    region=region,
                )
            )
            continue
        expected = {
            TAG_IMAGE: want.key,
            TAG_CLUSTER: want.cluster,
            TAG_VERSION: str(version),
            TAG_SOURCE: prints[version],
            TAG_ROLE: role,
        }
        wrong = {k: v for k, v in expected.items() if image.tags.get(k) != v}
        if role == "home" and TAG_GATES not in image.tags:
            wrong |= _gates_tag(want, version)
        if role == "home" and TAG_ORIGIN not in image.tags and version in want.memory.origins:
            wrong[TAG_ORIGIN] = want.memory.origins[version]
        if version in want.memory.held and TAG_RELEASE not in image.tags and role in COPIES:
            wrong[TAG_RELEASE] = CANDIDATE
        if wrong:
            ids = (image.id, *image.snapshots)
            draft.do(TagResources(region=region, resources=ids, tags=wrong))
            owned[image.id] = replace(image, tags={**image.tags, **wrong})
    return sorted(owned.values(), key=lambda i: (i.version, i.region, i.created, i.id))


def _gates_tag(want: Wanted, version: int) -> dict[str, str]:
    """What the gates tag of a version must say when somebody took it off."""
    known = want.memory.tested.get(version)
    # A version that failed is judged anew, since its tag also says by which gates.
    return {} if known is None else {TAG_GATES: "passed" if known.state == "Passed" else "pending"}


def _tags(want: Wanted, image: Image, view: RegionView, draft: Draft) -> None:
    """User tags on the AMI and its snapshots, as in spec; keys that left spec are removed."""
    ours = {
        k: v for k, v in image.tags.items() if k.startswith(TAG_PREFIX)
    }  # snapshots carry what their AMI carries
    gone = [
        k
        for k in want.memory.tag_keys
        if k not in want.spec.tags and not k.startswith(RESERVED_PREFIXES)
    ]
    there: list[tuple[str, Mapping[str, str]]] = [(image.id, image.tags)]
    there += [(s, view.snapshots[s].tags) for s in image.snapshots if s in view.snapshots]
    add: dict[tuple[tuple[str, str], ...], list[str]] = {}
    drop: dict[tuple[str, ...], list[str]] = {}
    for resource, tags in there:
        wrong = {k: v for k, v in {**want.spec.tags, **ours}.items() if tags.get(k) != v}
        if wrong:
            add.setdefault(tuple(sorted(wrong.items())), []).append(resource)
        stale = tuple(sorted(k for k in gone if k in tags))
        if stale:
            drop.setdefault(stale, []).append(resource)
    for pairs, ids in add.items():
        draft.do(TagResources(region=image.region, resources=tuple(ids), tags=dict(pairs)))
    for keys, ids in drop.items():
        draft.do(UntagResources(region=image.region, resources=tuple(ids), keys=keys))
