"""No sequence of versions, drift, throttling and crashes removes what must stay, or loses sight of
a snapshot."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from lifecycleworld import DR, FOREIGN, HOME, KEYS, OWNER, REGIONS, THIRD, Life, RefusedError

from gilder.api.names import (
    APPROVE,
    PROMOTE,
    REJECT,
    TAG_ATTEMPT,
    TAG_KEY,
    TAG_PREFIX,
    TAG_RELEASE,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core.actions import AnyAction
from gilder.core.observed import Image

REPLICAS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"region": DR}],
    [{"region": DR, "kmsKeyId": KEYS[DR][0]}],
    [{"region": DR, "kmsKeyId": KEYS[DR][1]}],
    [{"region": DR}, {"region": THIRD}],
    [{"region": DR, "retention": {"keep": 1, "gracePeriod": "1h"}}, {"region": THIRD}],
    [{"region": DR, "schedule": {"cron": "0 3 * * 1"}}],
    [{"region": DR, "schedule": {"cron": "0 3 1 * *"}}],
)
RETENTION: tuple[dict[str, Any] | None, ...] = (
    None,
    {"keep": 1},
    {"keep": 1, "gracePeriod": "0m", "keepUnreleased": 0, "unusedFor": "0m"},
    {"keep": 1, "gracePeriod": "1h", "checkOtherAccounts": False},
    {"keep": 2, "gracePeriod": "30m", "deregistrationProtection": "EnabledWithCooldown"},
    {"keep": 1, "gracePeriod": "30m", "deregistrationProtection": "Enabled"},
    {"keep": 1, "gracePeriod": "1h", "deregistrationProtection": "Disabled"},
    {"maxAge": "2d", "gracePeriod": "1h", "deprecateAfter": "12h", "disableAfter": "1d"},
    {"keep": 2, "maxAge": "1d", "disableAfter": "1h", "gracePeriod": "10m",
     "checkOtherAccounts": False},
    {"maxAge": "1h", "gracePeriod": "10m", "checkOtherAccounts": False},
    {"maxAge": "1h", "gracePeriod": "10m", "disableAfter": "30m", "unusedFor": "0m"},
    {"keep": 1, "gracePeriod": "10m", "deleteSnapshots": False},
    {"disableAfter": "1h", "gracePeriod": "10m", "checkOtherAccounts": False},
)  # fmt: skip
PROMOTION: tuple[dict[str, Any] | None, ...] = (
    None,
    {"mode": "Manual"},
    {"mode": "Soak", "soakTime": "2h"},
    {"replicas": "Follow"},
)
# Fails after five minutes, since nothing is ever scanned.
UNSCANNED = {
    "manual": True,
    "inspector": {"maxFindings": {"critical": 0}, "timeoutMinutes": 5},
}
SPEC: dict[str, st.SearchStrategy[Any]] = {
    "replicas": st.sampled_from(REPLICAS),
    "retention": st.sampled_from(RETENTION),
    "promotion": st.sampled_from(PROMOTION),
    "gates": st.sampled_from((None, {"manual": True}, UNSCANNED)),
    "encryption": st.sampled_from((None, None, {"kmsKeyId": KEYS[HOME][0]})),
    "deletionPolicy": st.sampled_from(("Retain", "Orphan", "Delete")),
}
ALTERED = {
    TAG_VERSION: ("1", "2", "7", "soon"),
    TAG_SOURCE: ("0123456789abcdef", ""),
    TAG_ROLE: ("home", "replica", "intermediate", "mine"),
    TAG_ATTEMPT: ("1", "3", "many"),
    TAG_KEY: (KEYS[DR][0], KEYS[DR][1], ""),
}
TROUBLE = ("down", "blind", "lacking", "broken", "broken")
PAUSES = (60, 601, 3601, 13 * 3600, 25 * 3600, 5 * 86400, 60 * 86400)
number = st.integers(0, 30)


class Lifecycle(RuleBasedStateMachine):
    """One GoldenImage through versions and trouble."""

    life: Life

    @property
    def judged(self) -> int:
        """Actions so far."""
        return self.life.judged if hasattr(self, "life") else 0

    @initialize(spec=st.fixed_dictionaries(SPEC), versions=st.integers(0, 3))
    def begin(self, spec: dict[str, Any], versions: int) -> None:
        self.life = Life({k: v for k, v in spec.items() if v is not None})
        self.life.run(10)
        for _ in range(versions):
            self.new_version(rounds=12)

    # The source, and decisions

    @rule(owner=st.sampled_from((FOREIGN, FOREIGN, OWNER)))
    def new_source(self, owner: str) -> None:
        made = self.life.cloud.source(owner)
        self.life.sources.append(made)
        self.life.source = made

    @rule(rounds=st.integers(1, 12))
    def new_version(self, rounds: int) -> None:
        """All goes as it is meant to."""
        self.new_source(owner=FOREIGN)
        self.life.run(3)
        self.approve()
        self.promote()
        self.life.run(rounds)

    @rule(n=number)
    def former_source(self, n: int) -> None:
        self.life.source = self.life.sources[n % len(self.life.sources)]

    @rule(region=st.sampled_from((HOME, DR)), rounds=st.integers(1, 12))
    def broken_version(self, region: str, rounds: int) -> None:
        """A new version, whose AMI in one Region fails at first."""
        self.life.cloud.broken.add(region)
        self.new_version(rounds)
        self.life.cloud.broken.discard(region)

    @rule(reject=st.booleans(), rounds=st.integers(0, 12))
    def lost_home(self, reject: bool, rounds: int) -> None:
        """The newest home AMI goes by hand, and what is made anew may not pass."""
        homes = [i for i in self.life.cloud.owned() if i.region == HOME and i.role == "home"]
        self.disturb()
        if not homes:
            return
        gone = max(homes, key=lambda i: i.version)
        self.life.cloud.protect(gone, "")
        self.life.cloud.cooling.pop(gone.id, None)
        self.life.notes = {REJECT: str(gone.version)} if reject else {}
        self.life.cloud.deregister(self.life.cloud.images[gone.id], snapshots=True)
        self.life.run(rounds)

    @rule()
    def lost_source(self) -> None:
        """What the source names cannot be found for a while."""
        self.life.source = Image("ami-ffffffff", HOME, FOREIGN)

    @rule()
    def approve(self) -> None:
        self.life.notes = {**self.life.notes, APPROVE: str(self.newest())}

    @rule()
    def reject(self) -> None:
        self.life.notes = {**self.life.notes, REJECT: str(self.newest())}

    @rule()
    def promote(self) -> None:
        self.life.notes = {**self.life.notes, PROMOTE: str(self.newest())}

    def newest(self) -> int:
        return max((i.version for i in self.life.cloud.owned()), default=0)

    @rule(n=number)
    def pin(self, n: int) -> None:
        versions = sorted({i.version for i in self.life.cloud.owned()} - {0})
        self.disturb()
        if versions:
            self.life.spec["pinnedVersion"] = versions[n % len(versions)]

    @rule()
    def unpin(self) -> None:
        self.disturb()
        self.life.spec.pop("pinnedVersion", None)

    @rule(data=st.data(), field=st.sampled_from(sorted(SPEC)))
    def change_spec(self, data: st.DataObject, field: str) -> None:
        value = data.draw(SPEC[field])
        self.disturb()
        self.life.spec.pop(field, None)
        if value is not None:
            self.life.spec[field] = value

    def disturb(self) -> None:
        """Versions up to the next one need not move in all Regions together any more."""
        self.life.disturbed |= set(range(self.newest() + 2))

    # Time, copies, users

    @rule(pause=st.sampled_from(PAUSES))
    def wait(self, pause: int) -> None:
        self.life.cloud.now += timedelta(seconds=pause)

    @rule(n=number, fails=st.booleans(), keeps=st.booleans())
    def copy_ends(self, n: int, fails: bool, keeps: bool) -> None:
        pending = [i for i in self.life.cloud.owned() if i.id in self.life.cloud.parts]
        if pending:
            self.life.cloud.settle(pending[n % len(pending)], fails=fails, keeps=keeps)

    @rule(fails=st.booleans())
    def reports_end(self, fails: bool) -> None:
        for report in self.life.cloud.reports.values():
            if report.state == "pending":
                report.state = "error" if fails else "available"

    @rule(n=number, abroad=st.booleans())
    def launch(self, n: int, abroad: bool) -> None:
        found = [i for i in self.life.cloud.owned() if i.available]
        if found:
            chosen = found[n % len(found)].id
            (self.life.cloud.abroad if abroad else self.life.cloud.used).add(chosen)

    @rule(abroad=st.booleans())
    def terminate(self, abroad: bool) -> None:
        (self.life.cloud.abroad if abroad else self.life.cloud.used).clear()

    # Hands and trouble

    def some(self, n: int) -> Image | None:
        found = sorted(self.life.cloud.owned(), key=lambda i: i.id)
        self.disturb()
        return found[n % len(found)] if found else None

    @rule(n=number, snapshots=st.booleans())
    def deregister_by_hand(self, n: int, snapshots: bool) -> None:
        if image := self.some(n):
            try:
                self.life.cloud.deregister(image, snapshots=snapshots)
            except RefusedError:
                return

    @rule(n=number)
    def disable_by_hand(self, n: int) -> None:
        if (image := self.some(n)) and image.available:
            self.life.cloud.change(image, state="disabled")

    @rule(n=number, mode=st.sampled_from(
        ("enabled-with-cooldown", "enabled-without-cooldown", "disabled")
    ))  # fmt: skip
    def protect_by_hand(self, n: int, mode: str) -> None:
        if image := self.some(n):
            self.life.cloud.protect(image, mode)

    @rule(n=number, whole=st.booleans(), parts=st.booleans())
    def untag_by_hand(self, n: int, whole: bool, parts: bool) -> None:
        image = self.some(n)
        if image is None:
            return
        cloud = self.life.cloud
        gone = [k for k in image.tags if whole and k.startswith(TAG_PREFIX)] or [TAG_RELEASE]
        cloud.change(image, tags={k: v for k, v in image.tags.items() if k not in gone})
        for part in image.snapshots if parts else ():
            region, tags = cloud.snapshots[part]
            cloud.snapshots[part] = (region, {k: v for k, v in tags.items() if k not in gone})

    @rule(n=number, tag=st.sampled_from(sorted(ALTERED)), data=st.data())
    def retag_by_hand(self, n: int, tag: str, data: st.DataObject) -> None:
        """A tag that says what the AMI is says something else."""
        if image := self.some(n):
            value = data.draw(st.sampled_from(ALTERED[tag]))
            self.life.cloud.change(image, tags={**image.tags, tag: value})

    @rule(n=number)
    def register_by_hand(self, n: int) -> None:
        """An AMI of somebody who has no tags, from a snapshot of ours."""
        if (image := self.some(n)) and image.snapshots:
            made = self.life.cloud._add(
                image.region, owner=OWNER, name=f"other-{image.id}-{n}", state="available"
            )
            self.life.cloud.change(made, snapshots=image.snapshots)

    @rule(region=st.sampled_from(REGIONS))
    def recycle(self, region: str) -> None:
        self.life.cloud.binning ^= {region}

    @rule(region=st.sampled_from(REGIONS), what=st.sampled_from(TROUBLE))
    def trouble(self, region: str, what: str) -> None:
        self.disturb()
        there: set[str] = getattr(self.life.cloud, what)
        there ^= {region}

    # The operator

    @rule(times=st.integers(1, 3))
    def reconcile(self, times: int) -> None:
        for _ in range(times):
            self.life.reconcile()

    @rule(rounds=st.integers(1, 20))
    def run(self, rounds: int) -> None:
        self.life.run(rounds)

    @rule(seed=st.randoms(use_true_random=False), write=st.booleans(), first=st.booleans())
    def reconcile_in_part(self, seed: Any, write: bool, first: bool) -> None:
        """Some calls are throttled, or the operator dies, before it has written status."""

        def pick(actions: Sequence[AnyAction]) -> Sequence[AnyAction]:
            if first or not write:
                return actions[: seed.randrange(len(actions) + 1)]
            return [a for a in actions if seed.random() < 0.5]

        self.life.reconcile(pick, write=write)

    @rule(back=st.integers(1, 3))
    def old_status(self, back: int) -> None:
        """A backup is restored, or what was written last is lost."""
        before = self.life.before
        self.disturb()
        self.life.written = before[max(0, len(before) - 1 - back)]
        self.life.forgot = True

    @rule()
    def settle(self) -> None:
        self.life.heal()
        self.life.settle()
        self.life.judge_settled()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.settle()
            self.life.delete()


def sequences() -> Any:
    """Not at the level of the module, where pytest would find it."""
    found = Lifecycle.TestCase
    found.settings = settings(
        max_examples=200,
        stateful_step_count=30,
        deadline=None,
        # Not shrunk, which takes minutes: a failure shows the steps that led to it.
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return found


def test_no_sequence_does_harm() -> None:
    """In an interpreter of its own: what is drawn depends on the modules that are loaded."""
    run = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as t; t.sequences()('runTest').debug()"],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
