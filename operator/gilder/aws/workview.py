"""The shared read of what is under way: builds, test instances, checks and scans, by Region.

Readers say since when it must be true, as in `view`; what was read later is reused, and what
others asked for in the last minutes is read along. So GoldenImages that poll together cost one
listing. Nothing is raised: what cannot be read is told.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from gilder.aws import builds, checks, errors, findings
from gilder.aws.remembered import NEVER, Clock
from gilder.aws.sessions import Sessions
from gilder.core.actions import (
    AnyAction,
    CancelBuild,
    EndTest,
    LaunchTest,
    RunCheck,
    StartBuild,
)
from gilder.core.observed import Problem
from gilder.core.work import Scan, SeenBuild, SeenCheck, SeenTest, Work, WorkNeeds

K = TypeVar("K")
V = TypeVar("V")

RECENT = 300.0  # seconds that a name is read along after somebody asked for it
KEPT = 1000  # failed builds and scans that are remembered in a Region


class Reading(Generic[V]):
    """What was read, or why it could not be, and when its reading began."""

    def __init__(self) -> None:
        self._value: V | Problem | None = None
        self._began = NEVER
        self._mark = self._read_at_mark = object()

    def touch(self) -> None:
        """Make stale what was read, and what is being read just now."""
        self._mark = object()

    def get(self, since: float) -> V | Problem | None:
        """What was read at or after `since`."""
        fresh = self._began >= since and self._read_at_mark is self._mark
        return self._value if fresh else None

    def read(self, since: float, clock: Clock, call: Callable[[], V | Problem]) -> V | Problem:
        known = self.get(since)
        if known is not None:
            return known
        mark, began = self._mark, clock()
        self._value = value = call()
        self._began, self._read_at_mark = began, mark
        return value

    def add(self, value: V | Problem) -> None:
        """More of the same, read later; what was read stays as old as it was."""
        self._value = value


@dataclass(frozen=True, slots=True)
class _Listing:
    """Builds of recipes by their names."""

    names: frozenset[str]
    builds: tuple[SeenBuild, ...]


@dataclass(frozen=True, slots=True)
class _One:
    build: SeenBuild | None


@dataclass(frozen=True, slots=True)
class _Checks:
    """What Systems Manager knows of these instances."""

    instances: frozenset[str]
    online: frozenset[str]
    sent: tuple[SeenCheck, ...] | Problem


@dataclass
class _Region:
    """What is known of one Region."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: dict[str, float] = field(default_factory=dict)  # recipe name or ARN: when, last
    listing: Reading[_Listing] = field(default_factory=Reading)
    ones: dict[str, Reading[_One]] = field(default_factory=dict)
    tests: Reading[tuple[SeenTest, ...]] = field(default_factory=Reading)
    checks: Reading[_Checks] = field(default_factory=Reading)
    failed: dict[str, SeenBuild] = field(default_factory=dict)  # does not change any more
    scans: dict[tuple[str, str], Scan] = field(default_factory=dict)


class WorkViews:
    """All Regions of one account."""

    def __init__(self, sessions: Sessions, cluster: str, clock: Clock = time.monotonic) -> None:
        self.sessions = sessions
        self.cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._regions: dict[str, _Region] = {}

    def now(self) -> float:
        """The clock that `since` is measured with."""
        return self._clock()

    def read(self, region: str, needs: WorkNeeds, since: float) -> Work:
        """What is under way in a Region, not older than `since`.

        Test instances whose agents could not be asked for are shown, and `unread` all the same.
        """
        known = self._region(region)
        with known.lock:
            lacks: dict[str, Problem] = {}
            found = self._builds(known, needs, since, lacks)
            tests: tuple[SeenTest, ...] = ()
            sent: tuple[SeenCheck, ...] = ()
            if needs.tests or needs.checks:
                tests = self._tests(known, since, lacks)
            if needs.checks and any(t.alive for t in tests):
                tests, sent = self._checks(known, tests, since, lacks)
            scans = {image: self._scan(known, image, at) for image, at in sorted(needs.scans)}
        problems = tuple(dict.fromkeys(lacks.values()))
        return Work(found, tests, sent, scans, problems=problems, unread=frozenset(lacks))

    def strays(self, region: str, known: Callable[[str], bool], since: float) -> list[SeenTest]:
        """Test instances that are alive and whose owner is not known; none if none can be seen."""
        seen = self.read(region, WorkNeeds(tests=True), since)
        return [t for t in seen.tests if t.alive and not known(t.owner)]

    def touched(self, action: AnyAction) -> None:
        """What this action may have changed is read anew when somebody asks next."""
        region = self._region(action.region)
        match action:
            case StartBuild():
                region.listing.touch()
            case CancelBuild():
                region.listing.touch()
                if (one := region.ones.get(action.arn)) is not None:
                    one.touch()
            case LaunchTest() | EndTest():
                region.tests.touch()
            case RunCheck():
                region.checks.touch()
            case _:
                pass

    def forget(self, region: str) -> None:
        """Something happened to a build there; the next to ask reads it anew."""
        known = self._region(region)
        known.listing.touch()
        for one in list(known.ones.values()):
            one.touch()

    def _region(self, name: str) -> _Region:
        with self._lock:
            return self._regions.setdefault(name, _Region(name))

    def _builds(
        self, region: _Region, needs: WorkNeeds, since: float, lacks: dict[str, Problem]
    ) -> tuple[SeenBuild, ...]:
        """Builds of the recipes and ARNs that are asked for, failed ones explained."""
        if not needs.names and not needs.builds:
            return ()
        now = self._clock()
        region.asked |= dict.fromkeys((*needs.names, *needs.builds), now)
        region.asked = {k: at for k, at in region.asked.items() if at >= now - RECENT}
        region.ones = {a: r for a, r in region.ones.items() if a in region.asked}
        found: list[SeenBuild] = []
        if needs.names:
            listing = self._listing(region, needs.names, since)
            if isinstance(listing, Problem):
                lacks["builds"] = listing
                return ()
            found += [b for b in listing.builds if _recipe(b) in needs.names]
        for arn in sorted(needs.builds):
            one = self._one(region, arn, since)
            if isinstance(one, Problem):
                lacks["builds"] = one
                return ()
            found += [one.build] if one.build is not None else []
        explained = self._explained(region, found, needs.builds)
        if isinstance(explained, Problem):
            lacks["builds"] = explained
            return ()
        return explained

    def _listing(self, region: _Region, names: frozenset[str], since: float) -> _Listing | Problem:
        def listed(wanted: Iterable[str]) -> _Listing | Problem:
            asked = frozenset(wanted)
            try:
                client = self.sessions.imagebuilder(region.name)
                return _Listing(asked, tuple(builds.listed(client, asked)))
            except errors.AWS_ERRORS as error:
                return errors.problem(error, f"reading builds in {region.name}", region.name)

        known = region.listing.read(
            since, self._clock, lambda: listed(k for k in region.asked if not _is_arn(k))
        )
        if isinstance(known, Problem) or names <= known.names:
            return known
        more = listed(names - known.names)
        if not isinstance(more, Problem):
            more = _Listing(known.names | more.names, known.builds + more.builds)
            region.listing.add(more)
        return more

    def _one(self, region: _Region, arn: str, since: float) -> _One | Problem:
        if arn in region.failed:
            return _One(region.failed[arn])

        def get() -> _One | Problem:
            try:
                return _One(builds.one(self.sessions.imagebuilder(region.name), arn))
            except errors.AWS_ERRORS as error:
                return errors.problem(error, f"reading build {arn}", region.name)

        return region.ones.setdefault(arn, Reading()).read(since, self._clock, get)

    def _explained(
        self, region: _Region, found: list[SeenBuild], asked: frozenset[str]
    ) -> tuple[SeenBuild, ...] | Problem:
        """The builds with what came of the failed ones.

        Of a recipe that is the last build of ours alone: nobody waits for those before it.
        """
        latest: dict[str, str] = {}
        for build in found:  # the newest first
            if build.id:
                latest.setdefault(_recipe(build), build.arn)
        out = []
        for build in found:
            if build.failed and (build.arn in asked or latest.get(_recipe(build)) == build.arn):
                explained = self._explain(region, build)
                if isinstance(explained, Problem):
                    return explained
                build = explained
            out.append(build)
        return tuple(out)

    def _explain(self, region: _Region, build: SeenBuild) -> SeenBuild | Problem:
        if build.arn not in region.failed:
            client = self.sessions.imagebuilder(region.name)
            try:
                told = builds.explain(client, self.sessions.ec2(region.name), build)
            except errors.AWS_ERRORS as error:
                doing = f"reading what build {build.arn} left behind"
                return errors.problem(error, doing, region.name)
            _remember(region.failed, build.arn, told)
        return region.failed[build.arn]

    def _tests(
        self, region: _Region, since: float, lacks: dict[str, Problem]
    ) -> tuple[SeenTest, ...]:
        def listed() -> tuple[SeenTest, ...] | Problem:
            try:
                return tuple(checks.tests(self.sessions.ec2(region.name), self.cluster))
            except errors.AWS_ERRORS as error:
                doing = f"reading test instances in {region.name}"
                return errors.problem(error, doing, region.name)

        found = region.tests.read(since, self._clock, listed)
        if isinstance(found, Problem):
            lacks["tests"] = lacks["checks"] = found
            return ()
        return found

    def _checks(
        self,
        region: _Region,
        tests: tuple[SeenTest, ...],
        since: float,
        lacks: dict[str, Problem],
    ) -> tuple[tuple[SeenTest, ...], tuple[SeenCheck, ...]]:
        """The test instances with whether they are online, and the commands on those alive."""
        alive = [t for t in tests if t.alive]
        wanted = frozenset(t.id for t in alive)
        known = region.checks.get(since)
        if isinstance(known, _Checks) and not wanted <= known.instances:
            region.checks.touch()
        begun = min((t.launched for t in alive if t.launched), default="")
        found = region.checks.read(
            since, self._clock, lambda: self._ask_agents(region, wanted, begun)
        )
        if isinstance(found, Problem):
            # That an agent is not online must not be concluded.
            lacks["tests"] = lacks["checks"] = found
            return tests, ()
        tests = tuple(replace(t, online=t.id in found.online) for t in tests)
        if isinstance(found.sent, Problem):
            lacks["checks"] = found.sent
            return tests, ()
        return tests, found.sent

    def _ask_agents(
        self, region: _Region, instances: frozenset[str], begun: str
    ) -> _Checks | Problem:
        ssm = self.sessions.ssm(region.name)
        try:
            online = checks.online(ssm, instances)
        except errors.AWS_ERRORS as error:
            return errors.problem(error, f"reading SSM agents in {region.name}", region.name)
        sent: tuple[SeenCheck, ...] | Problem
        try:
            sent = tuple(checks.sent(ssm, instances, begun))
        except errors.AWS_ERRORS as error:
            sent = errors.problem(error, f"reading commands in {region.name}", region.name)
        return _Checks(instances, online, sent)

    def _scan(self, region: _Region, image: str, scanned_at: str) -> Scan | Problem:
        """A scan does not change; a later one has another time."""
        key = (image, scanned_at)
        if key not in region.scans:
            try:
                found = findings.scan(self.sessions.ec2(region.name), image, scanned_at)
            except errors.AWS_ERRORS as error:
                return errors.problem(error, f"reading findings in {image}", region.name)
            _remember(region.scans, key, found)
        return region.scans[key]


def _recipe(build: SeenBuild) -> str:
    """Name of the recipe, which ours have in their ARNs as it is."""
    return build.arn.split(":image/")[-1].split("/")[0]


def _is_arn(asked: str) -> bool:
    return asked.startswith("arn:")


def _remember(known: dict[K, V], key: K, value: V) -> None:
    """Keep a value, and drop the oldest where there are too many."""
    known[key] = value
    while len(known) > KEPT:
        del known[next(iter(known))]
