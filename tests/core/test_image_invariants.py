"""Invariants of plan_image while things happen to the AMIs, with `predict` in the place of AWS."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    FOREIGN,
    GOLDEN,
    HOME,
    HOME_KEY,
    NOW,
    OTHER_KEY,
    OWNER,
    ami,
    image,
    key,
    key_arn,
    ours,
    view,
    wanted,
    world,
)

from gilder.api.names import TAG_IMAGE, TAG_PREFIX
from gilder.core.actions import (
    AFTER_APPLY,
    AnyAction,
    CopyImage,
    CreateImage,
    DeregisterImage,
    EnableImage,
    TagResources,
    UntagResources,
)
from gilder.core.observed import Image, Instance, Observed, Use
from gilder.core.predict import predict
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Known, Memory, Source, Wanted

ROUNDS = 8
DR_OTHER = key_arn(DR, 2)
INSTANCE = Instance("i-00000001", "running", "ebs")
# AMIs that a source may name: ours and foreign, encrypted and not.
OURS, OURS_KEYED = image(1), image(2, key=HOME_KEY)
THEIRS, THEIRS_KEYED = image(3, owner=FOREIGN), image(4, owner=FOREIGN, key=OTHER_KEY)
SOURCES = (OURS, OURS_KEYED, THEIRS, THEIRS_KEYED)
STRANGERS = (
    image(7),
    ours(8, golden="team/other"),
    ours(9, cluster="test"),
    ours(10, owner=FOREIGN),
)

Event = Callable[["World"], None]


@dataclass(frozen=True)
class Named:
    """Something that happens, with a name to be read in a failure."""

    name: str
    happen: Event

    def __repr__(self) -> str:
        return self.name


class World:
    """One GoldenImage and its AMIs as they go on; every action is judged before it is applied."""

    def __init__(self, spec: dict[str, Any], by_instance: bool) -> None:
        self.spec = dict(spec)
        self.source = Source(instance=INSTANCE) if by_instance else Source(image=OURS)
        if by_instance:
            self.spec["source"] = {"instance": {"id": INSTANCE.id}}
        keys = [key(k) for k in (HOME_KEY, OTHER_KEY)]
        self.seen = world(
            view(HOME, [OURS, OURS_KEYED, *STRANGERS], keys=keys),
            view(DR, keys=[key(k) for k in (DR_KEY, DR_OTHER)]),
        )
        self.memory = Memory()
        self.made = 0
        self.tokens: dict[str, AnyAction] = {}
        self.numbers: dict[int, str] = {}  # version to fingerprint
        self.ever: set[str] = set()  # keys of tags that were in spec

    # Going on

    @property
    def want(self) -> Wanted:
        return wanted(self.memory, **self.spec)

    def plan(self) -> ImagePlan:
        self.ever |= set(self.spec.get("tags", {}))
        source = self.source
        if source.image and source.image.owner == OWNER:
            # As EC2 shows it now, tags and all.
            now = self.seen.region(HOME).images.get(source.image.id)
            source = Source(image=now) if now else source
        uses = dict.fromkeys(self.memory.retiring, Use())  # nothing uses what goes
        return plan_image(self.want, source, self.seen, NOW, uses=uses)

    def converge(self) -> ImagePlan:
        for _ in range(ROUNDS):
            found = self.plan()
            assert found.plan == self.plan().plan, "planning changes nothing"
            for action in found.plan.actions:
                self.judge(action)
                self.apply(action)
            announced = self.memory.retiring
            self.remember(found)
            if not found.plan.actions and announced.keys() == self.memory.retiring.keys():
                return found
        raise AssertionError(f"the plans do not come to an end: {found.plan.lines()}")

    def apply(self, action: AnyAction) -> None:
        """What `predict` says, with ids as EC2 gives them: never the same twice."""
        self.seen = predict(self.seen, [action])
        here = self.seen.region(action.region)
        images = {}
        for i in here.images.values():
            made = i
            if AFTER_APPLY in i.id:
                self.made += 1
                made = replace(i, id=ami(100 + self.made), created=NOW.isoformat())
            images[made.id] = made
        self.seen = Observed(
            OWNER, {**self.seen.regions, action.region: replace(here, images=images)}
        )

    def remember(self, found: ImagePlan) -> None:
        """As status does."""
        owned = self.seen.owned(CLUSTER, GOLDEN)
        images = dict(self.memory.images)
        for i in owned:
            if not i.failed:
                images[(i.version, i.region, i.role)] = Known(i.id, True, NOW.isoformat())
        prints = {**self.memory.prints, **{i.version: i.fingerprint for i in owned}}
        latest = found.version if found.home else self.memory.latest
        self.memory = Memory(
            images,
            prints,
            max([*prints, self.memory.highest], default=0),
            latest,
            tuple(sorted(self.spec.get("tags", {}))),
            retiring={r.id: r for r in found.retirement.retiring},
        )

    # Judging

    def judge(self, action: AnyAction) -> None:
        here = self.seen.region(action.region)
        owned = {i.id for i in self.seen.owned(CLUSTER, GOLDEN)}
        known = {k.image_id for k in self.memory.images.values()}
        if isinstance(action, CopyImage | CreateImage):
            names = {i.name for i in here.images.values() if i.name}
            assert action.name not in names, "AMI names are unique"
            assert action.tags[TAG_IMAGE] == GOLDEN
        if isinstance(action, CopyImage):
            assert action.token not in self.tokens, "every copy is asked for once"
            assert len(action.token) <= 64
            self.tokens[action.token] = action
        if isinstance(action, TagResources | UntagResources):
            amis = {r for r in action.resources if r in here.images}
            allowed = owned | known
            if isinstance(action, TagResources) and action.adopts:
                assert self.source.image
                allowed = allowed | {self.source.image.id}
            assert amis <= allowed
            assert all(here.images[a].owner == OWNER for a in amis)
        if isinstance(action, UntagResources):
            assert set(action.keys) <= self.ever
            assert not any(k.startswith(TAG_PREFIX) for k in action.keys)
        if isinstance(action, EnableImage):
            assert action.image in owned
            assert here.images[action.image].version == self.plan().version, "only the current"
        if isinstance(action, DeregisterImage):
            gone = here.images[action.image]
            assert gone.id in owned
            assert gone.failed or gone.role == "intermediate"

    def judge_settled(self, found: ImagePlan) -> None:
        owned = self.seen.owned(CLUSTER, GOLDEN)
        for i in owned:
            source = self.numbers.setdefault(i.version, i.fingerprint)
            assert source == i.fingerprint, "a number stands for one source"
        if self.source.image is not None:
            assert len({*self.numbers.values()}) == len(self.numbers), "and a source has one"
        for stranger in STRANGERS:
            assert self.seen.region(HOME).images[stranger.id] == stranger
        assert not [i for i in owned if i.role == "intermediate"]
        if found.plan.problems:
            return
        assert found.plan.settled
        assert found.home is not None
        assert found.home.version == found.version
        for slot in {(i.version, i.region, i.role, i.kms_keys) for i in owned}:
            there = [i for i in owned if (i.version, i.region, i.role, i.kms_keys) == slot]
            assert len([i for i in there if i.available]) <= 1, "nothing is made twice"
        if "encryption" in self.spec:
            assert found.home.kms_keys == {HOME_KEY}
        for replica in self.spec.get("replicas", []):
            copy = found.replicas[replica["region"]]
            assert copy.version == found.version
            if "kmsKeyId" in replica:
                assert copy.kms_keys == {replica["kmsKeyId"]}
        for i in owned:
            if i.version == found.version and not i.failed:
                assert self.spec.get("tags", {}).items() <= i.tags.items()

    def change(self, region: str, image_id: str, **changes: Any) -> None:
        here = self.seen.region(region)
        images = dict(here.images)
        images[image_id] = replace(images[image_id], **changes)
        self.seen = Observed(OWNER, {**self.seen.regions, region: replace(here, images=images)})


# What may happen

spare = st.integers(0, 5)


def of_ours(number: int, act: Callable[[World, Image], None]) -> Event:
    """Something that happens to one of the AMIs that are ours then."""

    def happen(w: World) -> None:
        if owned := w.seen.owned(CLUSTER, GOLDEN):
            act(w, owned[number % len(owned)])

    return happen


def deregister(w: World, i: Image) -> None:
    if w.source.image and w.source.image.id == i.id:
        return  # an adopted AMI that is gone leaves no source
    w.seen = predict(w.seen, [DeregisterImage(region=i.region, image=i.id)])


def disable(w: World, i: Image) -> None:
    if w.source.image is None or w.source.image.id != i.id:
        w.change(i.region, i.id, state="disabled")


def fail(w: World, i: Image) -> None:
    if w.source.image is None or w.source.image.id != i.id:
        w.change(i.region, i.id, state="failed", created=(NOW - timedelta(hours=2)).isoformat())


def untag(w: World, i: Image) -> None:
    kept = {k: v for n, (k, v) in enumerate(sorted(i.tags.items())) if n % 2}
    w.change(i.region, i.id, tags=kept)


def mangle(w: World, i: Image) -> None:
    w.change(i.region, i.id, tags={**i.tags, "team": "other", "cost": "1"})


def lose_status(w: World) -> None:
    w.memory = Memory()


def change_source(number: int) -> Event:
    def happen(w: World) -> None:
        if w.source.image is not None:
            w.source = Source(image=SOURCES[number % len(SOURCES)])

    return happen


def own_copy_as_source(w: World) -> None:
    """A filter that finds what we made ourselves."""
    homes = [i for i in w.seen.owned(CLUSTER, GOLDEN) if i.role == "home" and i.available]
    if w.source.image is not None and homes:
        w.source = Source(image=homes[-1])


def spec_of(**changes: Any) -> Event:
    return lambda w: w.spec.update(changes)


REPLICAS: tuple[list[dict[str, str]], ...] = (
    [],
    [{"region": DR, "kmsKeyId": DR_KEY}],
    [{"region": DR, "kmsKeyId": DR_OTHER}],
)
TAGS: tuple[dict[str, str], ...] = ({}, {"team": "base"}, {"team": "gold", "os": "al"})
SPECS = st.fixed_dictionaries(
    {"replicas": st.sampled_from(REPLICAS), "tags": st.sampled_from(TAGS)},
    optional={"encryption": st.just({"kmsKeyId": HOME_KEY})},
)


@st.composite
def events(draw: st.DrawFn) -> Named:
    n = draw(spare)
    options = (
        Named(f"deregister {n}", of_ours(n, deregister)),
        Named(f"disable {n}", of_ours(n, disable)),
        Named(f"fail {n}", of_ours(n, fail)),
        Named(f"untag {n}", of_ours(n, untag)),
        Named(f"mangle {n}", of_ours(n, mangle)),
        Named(f"source {n}", change_source(n)),
        Named("source is our own copy", own_copy_as_source),
        Named(f"replicas {n % 3}", spec_of(replicas=REPLICAS[n % 3])),
        Named(f"tags {n % 3}", spec_of(tags=TAGS[n % 3])),
    )
    return draw(st.sampled_from(options))


QUICK = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUICK
@given(SPECS, st.booleans(), st.lists(events(), max_size=6))
def test_whatever_happens_is_put_right(
    spec: dict[str, Any], by_instance: bool, happen: list[Named]
) -> None:
    w = World(spec, by_instance)
    w.judge_settled(w.converge())
    for event in happen:
        event.happen(w)
        w.judge_settled(w.converge())


@QUICK
@given(SPECS, st.booleans(), st.lists(st.integers(0, 3), max_size=4))
def test_a_lost_status_loses_nothing(
    spec: dict[str, Any], by_instance: bool, sources: list[int]
) -> None:
    w = World(spec, by_instance)
    before = w.converge()
    for number in sources:
        change_source(number)(w)
        before = w.converge()
    before = w.plan()
    lose_status(w)
    after = w.plan()
    assert (after.version, after.home, after.replicas) == (
        before.version,
        before.home,
        before.replicas,
    )
    assert after.plan.actions == before.plan.actions == ()


@QUICK
@given(SPECS, st.booleans(), st.lists(st.integers(0, 3), max_size=3))
def test_a_crash_after_any_action_makes_nothing_twice(
    spec: dict[str, Any], by_instance: bool, sources: list[int]
) -> None:
    """Only the first action of each plan comes about, and of status only what is announced."""
    w = World(spec, by_instance)
    for number in [0, *sources]:
        change_source(number)(w)
        for _ in range(4 * ROUNDS):
            found = w.plan()
            actions, told = found.plan.actions, {r.id: r for r in found.retirement.retiring}
            if not actions and told.keys() == w.memory.retiring.keys():
                break
            w.memory = replace(w.memory, retiring=told)
            if not actions:
                continue
            w.judge(actions[0])
            w.apply(actions[0])
        else:
            raise AssertionError("the plans do not come to an end")
        w.judge_settled(w.plan())
