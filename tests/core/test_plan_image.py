"""plan_image as tables: what is given, and what the plan says."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    FOREIGN,
    GOLDEN,
    HOME,
    HOME_KEY,
    LONG_AGO,
    NOW,
    OTHER_KEY,
    ami,
    image,
    key,
    key_arn,
    kinds,
    ours,
    print_of,
    reasons,
    view,
    wanted,
    world,
)

from gilder.api.goldenimage import GoldenImageStatus, ImageVersion, LatestVersion, RegionalImage
from gilder.api.names import (
    TAG_ADOPTED,
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_IMAGE,
    TAG_KEY,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core.actions import CopyImage, CreateImage, TagResources, UntagResources
from gilder.core.observed import Image, Instance, Observed, Problem, Snapshot
from gilder.core.slots import NAME_LIMIT, ami_name
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Known, Memory, Source, Wanted, remember

UNRESOLVED = Problem("SourceNotFound", "no such parameter", permanent=False)
INSTANCE = Instance("i-00000001", "running", "ebs")
BY_INSTANCE = {"instance": {"id": INSTANCE.id}}
ENCRYPTED = {"kmsKeyId": HOME_KEY}
REPLICA = [{"region": DR}]
KEYED_REPLICA = [{"region": DR, "kmsKeyId": DR_KEY}]
HOME_KEYS, DR_KEYS = [key(HOME_KEY)], [key(DR_KEY)]

F1 = print_of(ami(1))
F1_KEYED = print_of(ami(1), key_arn=HOME_KEY)
F_INSTANCE = print_of(INSTANCE.id, "instance")
F_INSTANCE_KEYED = print_of(INSTANCE.id, "instance", HOME_KEY)
DR_HOLE = view(DR, problem=Problem("AccessDenied", "no", region=DR))


def adopted(number: int = 1, fingerprint: str = F1, **changes: Any) -> Image:
    return ours(number, fingerprint=fingerprint, tags={TAG_ADOPTED: "true"}, **changes)


def known(image_id: str, *, seen: bool = True, age: float = 0) -> Known:
    return Known(image_id, seen, (NOW - timedelta(seconds=age)).isoformat())


def memory(
    images: dict[tuple[int, str, str], Known] | None = None, *, latest: int = 1, **fingerprints: int
) -> Memory:
    prints = {v: f for f, v in fingerprints.items()} or {1: F1}
    return Memory(images or {}, prints, max(prints), latest)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def plan(want: Wanted, source: Source | Problem | Image | Instance, seen: Observed) -> ImagePlan:
    if isinstance(source, Image):
        source = Source(image=source)
    if isinstance(source, Instance):
        source = Source(instance=source)
    return plan_image(want, source, seen, NOW)


@dataclass(frozen=True)
class Case:
    """One row: the given world, and the want of the plan."""

    name: str
    source: Image | Instance | Problem
    home: Sequence[Image] = ()
    dr: Sequence[Image] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    # wanted
    lines: Sequence[str] = ()
    problems: Sequence[str] = ()
    waits: int = 0
    version: int = 1
    retiring: Collection[str] = ()


CASES = [
    # Images
    Case("adopt our own AMI", image(1), [image(1)], lines=["adopt ami-00000001, snap-00000001"]),
    Case("an adopted AMI needs nothing", adopted(), [adopted()]),
    Case(
        "a foreign AMI is copied",
        image(1, owner=FOREIGN),
        lines=["copy ami-00000001 from eu-west-1 to eu-west-1 as team-base-v1"],
    ),
    Case(
        "an unencrypted AMI of ours is encrypted by copy",
        image(1),
        [image(1)],
        spec={"encryption": ENCRYPTED},
        lines=[f"as team-base-v1, encrypted with {HOME_KEY}"],
    ),
    Case(
        "an AMI under another key is copied under ours",
        image(1, key=OTHER_KEY),
        [image(1, key=OTHER_KEY)],
        spec={"encryption": ENCRYPTED},
        lines=[f"as team-base-v1, encrypted with {HOME_KEY}"],
    ),
    Case(
        "an AMI under our key is adopted",
        image(1, key=HOME_KEY),
        [image(1, key=HOME_KEY)],
        spec={"encryption": ENCRYPTED},
        lines=["adopt ami-00000001"],
    ),
    Case(
        "a key that an adopted AMI has already makes no new version",
        adopted(key=HOME_KEY),
        [adopted(key=HOME_KEY)],
        spec={"encryption": ENCRYPTED},
    ),
    Case(
        "a source that is our own copy is that version, not the next one",
        ours(5, version=3, fingerprint="of-before"),
        [ours(5, version=3, fingerprint="of-before")],
        version=3,
    ),
    Case(
        "an encrypted foreign AMI needs a key",
        image(1, owner=FOREIGN, key=OTHER_KEY),
        problems=["KeyRequired"],
    ),
    Case(
        "an AMI of another GoldenImage is not adopted",
        ours(1, golden="team/other"),
        [ours(1, golden="team/other")],
        problems=["OwnedByAnother"],
    ),
    Case(
        "an AMI of another cluster is not adopted",
        ours(1, cluster="test"),
        [ours(1, cluster="test")],
        problems=["OwnedByAnother"],
    ),
    Case(
        "an AMI of another GoldenImage may be copied",
        ours(1, golden="team/other"),
        [ours(1, golden="team/other")],
        spec={"encryption": ENCRYPTED},
        lines=["copy ami-00000001"],
    ),
    Case("a pending source is waited for", image(1, state="pending"), waits=1),
    Case("a disabled source stops", image(1, state="disabled"), problems=["SourceNotAvailable"]),
    Case(
        "product codes: no copy of a foreign AMI",
        image(1, owner=FOREIGN, product_codes=("pc",)),
        problems=["ProductCodeRestricted"],
    ),
    Case(
        "product codes: adopting is no copy",
        image(1, product_codes=("pc",)),
        [image(1, product_codes=("pc",))],
        lines=["adopt"],
    ),
    Case(
        "product codes: no replica",
        adopted(product_codes=("pc",)),
        [adopted(product_codes=("pc",))],
        spec={"replicas": REPLICA},
        problems=["ProductCodeRestricted"],
    ),
    Case(
        "instance store AMI",
        image(1, root_device_type="instance-store"),
        problems=["InstanceStoreUnsupported"],
    ),
    # Versions
    Case(
        "another source is the next version",
        image(2, owner=FOREIGN),
        [adopted()],
        lines=["as team-base-v2"],
        version=2,
    ),
    Case(
        "the source of an older version rolls back to it",
        image(1, owner=FOREIGN),
        [ours(7), ours(8, version=2, fingerprint="f2")],
        memory=Memory(prints={1: F1, 2: "f2"}, highest=2, latest=2),
        spec={},
        lines=["as team-base-v1"],  # its AMI is not under this fingerprint any more: made again
        version=1,
    ),
    Case(
        "rolled back, with the AMI there",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1), ours(8, version=2, fingerprint="f2")],
        version=1,
    ),
    Case(
        "after a rollback the next number is a fresh one",
        image(3, owner=FOREIGN),
        [ours(7, fingerprint=F1), ours(8, version=2, fingerprint="f2")],
        memory=memory(latest=1),
        lines=["as team-base-v3"],
        version=3,
    ),
    Case(
        "a number that only status knows is not used again",
        image(3, owner=FOREIGN),
        memory=Memory(highest=4),
        lines=["as team-base-v5"],
        version=5,
    ),
    Case(
        "a version tag mangled by hand does not stop the numbering",
        image(3, owner=FOREIGN),
        [ours(7, tags={TAG_VERSION: "two"})],
        lines=["as team-base-v1"],
    ),
    Case(
        "tags of a foreign account do not count",
        image(1, owner=FOREIGN),
        [ours(7, version=9, fingerprint=F1, owner=FOREIGN)],
        lines=["as team-base-v1"],
    ),
    Case("an unresolved source with nothing there", UNRESOLVED, problems=[""], version=0),
    Case("an unresolved source keeps latest", UNRESOLVED, [adopted()], problems=[""]),
    Case(
        "an unresolved source still looks after the replicas of latest",
        UNRESOLVED,
        [adopted(), ours(9, version=2, fingerprint="f2")],
        memory=memory(latest=1),
        spec={"replicas": REPLICA},
        lines=["copy ami-00000001 from eu-west-1 to eu-central-1 as team-base-v1"],
        problems=[""],
    ),
    Case(
        "an unresolved source enables latest",
        UNRESOLVED,
        [adopted(state="disabled")],
        lines=["enable ami-00000001"],
        problems=[""],
    ),
    Case(
        "an unresolved source and a lost status: the newest version that can be launched",
        UNRESOLVED,
        [adopted(), ours(9, version=2, fingerprint="f2", state="failed")],
        problems=[""],
    ),
    # Home key
    Case(
        "a home key that is not there keeps latest",
        image(1),
        [adopted()],
        memory=memory(latest=1),
        spec={"encryption": {"kmsKeyId": OTHER_KEY}, "replicas": KEYED_REPLICA},
        lines=["copy ami-00000001 from eu-west-1 to eu-central-1"],
        problems=["KeyNotFound"],
    ),
    # Replicas
    Case(
        "a replica is copied once home is available",
        adopted(),
        [adopted()],
        spec={"replicas": REPLICA},
        lines=["copy ami-00000001 from eu-west-1 to eu-central-1 as team-base-v1"],
    ),
    Case(
        "no replica of a pending home",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="pending")],
        spec={"replicas": REPLICA},
        waits=1,
    ),
    Case(
        "a replica of an encrypted AMI needs a key",
        adopted(key=HOME_KEY),
        [adopted(key=HOME_KEY)],
        spec={"replicas": REPLICA},
        problems=["KeyRequired"],
    ),
    Case(
        "a replica under the key of its Region",
        adopted(key=HOME_KEY),
        [adopted(key=HOME_KEY)],
        spec={"replicas": KEYED_REPLICA},
        lines=[f"encrypted with {DR_KEY}"],
    ),
    Case(
        "a replica that is there",
        adopted(),
        [adopted()],
        [ours(2, DR, fingerprint=F1, role="replica", key=DR_KEY)],
        spec={"replicas": KEYED_REPLICA},
    ),
    Case(
        "a pending copy counts by the key it was asked with",
        adopted(),
        [adopted()],
        [ours(2, DR, fingerprint=F1, role="replica", asked_key=DR_KEY, state="pending")],
        spec={"replicas": KEYED_REPLICA},
        waits=1,
    ),
    Case(
        "another replica key makes a copy with a name of its own",
        adopted(),
        [adopted()],
        [ours(2, DR, fingerprint=F1, role="replica", key=key_arn(DR, 9))],
        spec={"replicas": KEYED_REPLICA},
        lines=[f"as team-base-v1-r2, encrypted with {DR_KEY}"],
    ),
    Case(
        "the copy under the new key fills the slot",
        adopted(),
        [adopted()],
        [
            ours(2, DR, fingerprint=F1, role="replica", key=key_arn(DR, 9)),
            ours(3, DR, fingerprint=F1, role="replica", key=DR_KEY, attempt=2),
        ],
        spec={"replicas": KEYED_REPLICA},
    ),
    # Failed copies
    Case(
        "a failed copy is backed off from",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="failed", created=ago(30))],
        problems=["CopyFailed"],
        waits=1,
    ),
    Case(
        "after the backoff comes the next attempt, under its own name",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="failed", created=ago(61))],
        lines=["as team-base-v1-r2"],
        problems=["CopyFailed"],
    ),
    Case(
        "the backoff doubles",
        image(1, owner=FOREIGN),
        [
            ours(7, fingerprint=F1, state="failed", created=ago(9000)),
            ours(8, fingerprint=F1, state="failed", attempt=2, created=ago(119)),
        ],
        problems=["CopyFailed"],
        waits=1,
    ),
    Case(
        "an attempt tag mangled by hand overflows neither the backoff nor the name",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="failed", attempt=10**200, created=ago(3500))],
        lines=["as team-base-v1-r2"],
        problems=["CopyFailed"],
    ),
    Case(
        "an attempt tag that is mangled to a number does not overflow the backoff",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="failed", attempt=10**9 - 1, created=ago(3500))],
        problems=["CopyFailed"],
        waits=1,
    ),
    Case(
        "a name in use is not asked for again, though its attempt tag was taken off",
        image(1, owner=FOREIGN),
        [ours(7, fingerprint=F1, state="failed", name="team-base-v1-r2")],
        lines=["as team-base-v1-r3"],
        problems=["CopyFailed"],
    ),
    Case(
        "failed attempts go once the slot is filled",
        image(1, owner=FOREIGN),
        [
            ours(7, fingerprint=F1, state="failed"),
            ours(8, fingerprint=F1, attempt=2),
        ],
        lines=["deregister ami-00000007"],
    ),
    Case(
        "an adopted AMI is not cleared away as a failed attempt",
        image(1, owner=FOREIGN),
        [adopted(7, state="error"), ours(8, fingerprint=F1, attempt=2)],
    ),
    Case(
        "attempts that failed before the last one are cleared away",
        image(1, owner=FOREIGN),
        [
            ours(7, fingerprint=F1, state="failed", created=ago(900)),
            ours(8, fingerprint=F1, state="failed", created=ago(300), attempt=2),
        ],
        lines=["deregister ami-00000007", "as team-base-v1-r3"],
        problems=["CopyFailed"],
    ),
    Case(
        "a failed replica does not touch home",
        adopted(),
        [adopted()],
        [ours(2, DR, fingerprint=F1, role="replica", state="failed", created=ago(61))],
        spec={"replicas": REPLICA},
        lines=["to eu-central-1 as team-base-v1-r2"],
        problems=["CopyFailed"],
    ),
    # Disabled
    Case(
        "the current version is enabled",
        adopted(),
        [adopted(state="disabled")],
        lines=["enable ami-00000001"],
    ),
    Case(
        "an older version that is disabled stays so",
        image(2, owner=FOREIGN),
        [adopted(state="disabled"), ours(8, version=2, fingerprint=print_of(ami(2)))],
        version=2,
    ),
    Case(
        "a disabled replica is enabled",
        adopted(),
        [adopted()],
        [ours(2, DR, fingerprint=F1, role="replica", state="disabled")],
        spec={"replicas": REPLICA},
        lines=["enable ami-00000002 in eu-central-1"],
    ),
    # Invisible and gone
    Case(
        "an AMI asked for is given time to show",
        image(1, owner=FOREIGN),
        memory=memory({(1, HOME, "home"): known(ami(7), seen=False, age=299)}),
        waits=1,
    ),
    Case(
        "after the grace it is asked for again",
        image(1, owner=FOREIGN),
        memory=memory({(1, HOME, "home"): known(ami(7), seen=False, age=301)}),
        lines=["as team-base-v1"],
    ),
    Case(
        "a deregistered replica is made again",
        adopted(),
        [adopted()],
        memory=memory({(1, DR, "replica"): known(ami(2))}),
        spec={"replicas": REPLICA},
        lines=["to eu-central-1 as team-base-v1"],
    ),
    # Instances
    Case(
        "an instance is captured",
        INSTANCE,
        spec={"source": BY_INSTANCE},
        lines=["create AMI team-base-v1 in eu-west-1 from instance i-00000001, with reboot"],
    ),
    Case(
        "an instance is captured without reboot",
        INSTANCE,
        spec={"source": {"instance": {"id": INSTANCE.id, "noReboot": True}}},
        lines=["without reboot"],
    ),
    Case(
        "with a key, an instance is captured to an intermediate AMI",
        INSTANCE,
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        lines=["create AMI team-base-v1-unencrypted"],
    ),
    Case(
        "a pending intermediate is waited for",
        INSTANCE,
        [ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate", state="pending")],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        waits=1,
    ),
    Case(
        "the intermediate is copied under the key",
        INSTANCE,
        [ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate")],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        lines=[f"copy ami-00000007 .* as team-base-v1, encrypted with {HOME_KEY}"],
    ),
    Case(
        "an intermediate with product codes is not copied",
        INSTANCE,
        [ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate", product_codes=("pc",))],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        problems=["ProductCodeRestricted"],
    ),
    Case(
        "the intermediate stays until the copy is done",
        INSTANCE,
        [
            ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate"),
            ours(8, fingerprint=F_INSTANCE_KEYED, asked_key=HOME_KEY, state="pending"),
        ],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        waits=1,
    ),
    Case(
        "then it goes",
        INSTANCE,
        [
            ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate"),
            ours(8, fingerprint=F_INSTANCE_KEYED, key=HOME_KEY),
        ],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        retiring={ami(7)},  # announced first, and asked about
    ),
    Case(
        "a failed capture is made again",
        INSTANCE,
        [ours(7, fingerprint=F_INSTANCE_KEYED, role="intermediate", state="failed")],
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        lines=["create AMI team-base-v1-unencrypted-r2"],
        problems=["CreateFailed"],
    ),
    Case(
        "a capture that is gone is another version: the instance went on",
        INSTANCE,
        memory=memory({(1, HOME, "home"): known(ami(7))}, **{F_INSTANCE: 1}),
        spec={"source": BY_INSTANCE},
        lines=["create AMI team-base-v2 "],
        version=2,
    ),
    Case(
        "a capture that does not show yet is not another version",
        INSTANCE,
        memory=memory({(1, HOME, "home"): known(ami(7), seen=False)}, **{F_INSTANCE: 1}),
        spec={"source": BY_INSTANCE},
        waits=1,
    ),
    Case(
        "an intermediate that does not show yet is not another version either",
        INSTANCE,
        memory=memory(
            {(1, HOME, "intermediate"): known(ami(7), seen=False)}, **{F_INSTANCE_KEYED: 1}
        ),
        spec={"source": BY_INSTANCE, "encryption": ENCRYPTED},
        waits=1,
    ),
    Case(
        "instance store instance",
        replace(INSTANCE, root_device_type="instance-store"),
        spec={"source": BY_INSTANCE},
        problems=["InstanceStoreUnsupported"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_plan(case: Case) -> None:
    spec = case.spec
    seen = world(view(HOME, case.home, keys=HOME_KEYS), view(DR, case.dr, keys=DR_KEYS))
    result = plan(wanted(case.memory, **spec), case.source, seen)
    lines = result.plan.lines()
    assert len(lines) == len(case.lines), lines
    for line, pattern in zip(lines, case.lines, strict=True):
        head, _, tail = pattern.partition(" .* ")
        assert head in line
        assert tail in line
    got = reasons(result.plan.problems)
    assert got == [r or UNRESOLVED.reason for r in case.problems]
    assert len(result.plan.waiting) == case.waits, result.plan.waiting
    assert result.candidate == case.version
    assert {r.id for r in result.retirement.retiring} == set(case.retiring)
    assert result.plan.settled == (not (case.lines or case.problems or case.waits))


PRINTS = (F1, F_INSTANCE, F_INSTANCE_KEYED, print_of(ami(2)))
THERE = [
    c
    for c in CASES
    if not isinstance(c.source, Problem)
    and c.spec.get("encryption") in (None, ENCRYPTED)
    and any(
        i.version == c.version and i.fingerprint in PRINTS and i.owner != FOREIGN for i in c.home
    )
]


@pytest.mark.parametrize("case", THERE, ids=lambda c: c.name)
def test_a_lost_status_changes_no_number(case: Case) -> None:
    """Where the AMI of a version is there, an empty Memory gives the number of a full one."""
    seen = world(view(HOME, case.home, keys=HOME_KEYS), view(DR, case.dr, keys=DR_KEYS))
    full = Memory(
        {(i.version, i.region, i.role): known(i.id) for i in case.home},
        {i.fingerprint: i.version for i in case.home},
        max(i.version for i in case.home),
        case.version,
    )
    for past in (Memory(), full):
        result = plan(wanted(past, **case.spec), case.source, seen)
        assert result.candidate == case.version


# Details that a line does not show


def copy_of(result: ImagePlan) -> CopyImage:
    (action,) = result.plan.actions
    assert isinstance(action, CopyImage)
    return action


def test_adopting_says_what_the_ami_is() -> None:
    result = plan(wanted(tags={"team": "base"}), image(1), world(view(HOME, [image(1)])))
    (action,) = result.plan.actions
    assert isinstance(action, TagResources)
    assert action.adopts
    assert action.resources == (ami(1), "snap-00000001")
    assert action.tags == {
        "team": "base",
        TAG_IMAGE: GOLDEN,
        TAG_CLUSTER: CLUSTER,
        TAG_VERSION: "1",
        TAG_SOURCE: F1,
        TAG_ROLE: "home",
        TAG_ADOPTED: "true",
    }
    assert result.home is None


def test_a_copy_carries_its_tags_from_the_start() -> None:
    seen = world(view(HOME, keys=HOME_KEYS))
    source = image(1, owner=FOREIGN)
    action = copy_of(plan(wanted(encryption=ENCRYPTED, description="d"), source, seen))
    assert action.key == HOME_KEY
    assert action.description == "d"
    assert action.tags[TAG_KEY] == HOME_KEY
    assert action.tags[TAG_SOURCE] == F1_KEYED
    assert TAG_ADOPTED not in action.tags
    assert TAG_ATTEMPT not in action.tags


def test_an_alias_is_the_key_it_stands_for() -> None:
    alias = "alias/golden"
    home = ours(1, fingerprint=F1_KEYED, key=HOME_KEY)
    seen = world(view(HOME, [home], written={alias: key(HOME_KEY)}))
    result = plan(wanted(encryption={"kmsKeyId": alias}), image(1, owner=FOREIGN), seen)
    assert result.plan.settled
    assert result.home == home


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("missing", {}, "KeyNotFound"),
        ("disabled", {HOME_KEY: key(HOME_KEY, state="Disabled")}, "KeyNotUsable"),
        ("of another Region", {HOME_KEY: key(DR_KEY)}, "KeyNotUsable"),
        ("not readable", {HOME_KEY: Problem("AccessDenied", "no", False)}, "AccessDenied"),
    ],
)
def test_home_key_problems_name_the_field(name: str, given: dict[str, Any], reason: str) -> None:
    seen = world(view(HOME, [image(1)], written=given))
    result = plan(wanted(encryption=ENCRYPTED), image(1), seen)
    (problem,) = result.plan.problems
    assert problem.reason == reason, name
    assert problem.message.startswith("spec.encryption.kmsKeyId: ")
    assert problem.region == HOME
    assert not result.plan.actions
    assert result.source is not None


def test_replica_key_problems_name_the_replica() -> None:
    seen = world(view(HOME, [adopted()]), view(DR))
    result = plan(wanted(replicas=KEYED_REPLICA), adopted(), seen)
    (problem,) = result.plan.problems
    assert problem.message.startswith(f"spec.replicas[{DR}].kmsKeyId: ")
    assert problem.region == DR


class TestTokens:
    """ClientTokens make a copy unique, and new only when the AMI it stood for is gone."""

    def token(self, past: Memory | None = None, home: Image | None = None) -> str:
        home = home or adopted()
        seen = world(view(HOME, [home]))
        return copy_of(plan(wanted(past, replicas=REPLICA), home, seen)).token

    def test_the_same_for_the_same_copy(self) -> None:
        assert self.token() == self.token()

    def test_within_the_limit_of_ec2(self) -> None:
        assert len(self.token()) <= 64
        assert self.token().isascii()

    def test_new_after_deregistering(self) -> None:
        gone = memory({(1, DR, "replica"): known(ami(2))})
        gone_again = memory({(1, DR, "replica"): known(ami(3))})
        assert len({self.token(), self.token(gone), self.token(gone_again)}) == 3

    def test_new_for_another_attempt(self) -> None:
        failed = ours(2, DR, fingerprint=F1, role="replica", state="failed")
        seen = world(view(HOME, [adopted()]), view(DR, [failed]))
        action = copy_of(plan(wanted(replicas=REPLICA), adopted(), seen))
        assert action.token != self.token()
        assert action.tags[TAG_ATTEMPT] == "2"

    def test_new_for_a_golden_image_made_anew(self) -> None:
        """It may have other tags, and AWS refuses another request with the same token."""
        seen, want = world(view(HOME, [adopted()])), wanted(replicas=REPLICA)
        made = [
            copy_of(plan(replace(want, uid=uid), adopted(), seen)).token for uid in ("a", "b", "a")
        ]
        assert made[0] == made[2] != made[1]

    def test_new_for_another_key(self) -> None:
        seen = world(view(HOME, [adopted()]), view(DR, keys=DR_KEYS))
        action = copy_of(plan(wanted(replicas=KEYED_REPLICA), adopted(), seen))
        assert action.token != self.token()


class TestTags:
    """User tags and ownership tags, on AMI and snapshots."""

    def given(self, tags: dict[str, str], snapshot_tags: dict[str, str]) -> Observed:
        home = ours(7, fingerprint=F1, tags=tags)
        snapshots = {s: Snapshot(s, snapshot_tags) for s in home.snapshots}
        return world(view(HOME, [home], snapshots=snapshots))

    def act(self, want: Wanted, seen: Observed) -> list[TagResources | UntagResources]:
        result = plan(want, image(1, owner=FOREIGN), seen)
        actions = [a for a in result.plan.actions if isinstance(a, TagResources | UntagResources)]
        assert len(actions) == len(result.plan.actions)
        return actions

    @property
    def ownership(self) -> dict[str, str]:
        return dict(ours(7, fingerprint=F1).tags)

    def test_missing_and_altered_ones_are_put_right(self) -> None:
        seen = self.given({"a": "x"}, {**self.ownership, "a": "1", "b": "2"})
        (tag,) = self.act(wanted(tags={"a": "1", "b": "2"}), seen)
        assert isinstance(tag, TagResources)
        assert (tag.resources, tag.tags) == ((ami(7),), {"a": "1", "b": "2"})

    def test_snapshots_get_what_their_ami_has(self) -> None:
        (tag,) = self.act(wanted(), self.given({}, {}))
        assert isinstance(tag, TagResources)
        assert (tag.resources, tag.tags) == (("snap-00000007",), self.ownership)

    def test_tags_of_others_stay(self) -> None:
        seen = self.given({"cost": "1"}, {**self.ownership, "cost": "1"})
        assert self.act(wanted(), seen) == []

    def test_a_key_that_left_spec_goes(self) -> None:
        seen = self.given({"old": "1", "cost": "1"}, {**self.ownership, "old": "1"})
        (untag,) = self.act(wanted(Memory(tag_keys=("old",))), seen)
        assert isinstance(untag, UntagResources)
        assert (untag.resources, untag.keys) == ((ami(7), "snap-00000007"), ("old",))

    def test_a_managed_key_still_in_spec_stays(self) -> None:
        seen = self.given({"old": "1"}, {**self.ownership, "old": "1"})
        assert self.act(wanted(Memory(tag_keys=("old",)), tags={"old": "1"}), seen) == []

    @pytest.mark.parametrize("lost", [TAG_IMAGE, TAG_CLUSTER, TAG_VERSION, TAG_SOURCE, TAG_ROLE])
    def test_ownership_tags_taken_off_by_hand_come_back(self, lost: str) -> None:
        whole = ours(7, fingerprint=F1)
        bare = replace(whole, tags={k: v for k, v in whole.tags.items() if k != lost})
        past = memory({(1, HOME, "home"): known(ami(7))})
        (tag,) = self.act(wanted(past), world(view(HOME, [bare])))
        assert isinstance(tag, TagResources)
        assert tag.tags == {lost: whole.tags[lost]}
        assert tag.resources == (ami(7), "snap-00000007")

    def test_only_the_current_version_is_tagged(self) -> None:
        older = ours(8, version=1, fingerprint="f0")
        current = ours(7, version=2, fingerprint=F1)
        (tag,) = self.act(wanted(tags={"a": "1"}), world(view(HOME, [older, current])))
        assert tag.resources == (ami(7),)

    def test_an_ami_of_another_account_is_not_tagged(self) -> None:
        foreign = image(7, owner=FOREIGN)
        past = memory({(1, HOME, "home"): known(ami(7))})
        result = plan(wanted(past), image(1, owner=FOREIGN), world(view(HOME, [foreign])))
        assert kinds(result.plan.actions) == ["CopyImage"]


class TestIsolation:
    """A Region that cannot be read holds up nothing but itself."""

    def test_replica_region(self) -> None:
        third = "us-east-1"
        seen = world(view(HOME, [adopted()]), DR_HOLE, view(third))
        want = wanted(replicas=[{"region": DR}, {"region": third}])
        result = plan(want, adopted(), seen)
        assert [a.region for a in result.plan.actions] == [third]
        assert reasons(result.plan.problems) == ["AccessDenied"]
        assert result.home is not None

    def test_home_region(self) -> None:
        seen = world(view(HOME, problem=Problem("AccessDenied", "no")), view(DR))
        result = plan(wanted(replicas=REPLICA), image(1), seen)
        assert not result.plan.actions
        assert reasons(result.plan.problems) == ["AccessDenied"]
        assert result.version == 0

    def test_a_region_nobody_read(self) -> None:
        seen = Observed(seen_by := "111111111111", {HOME: view(HOME, [adopted()])})
        assert seen.account == seen_by
        result = plan(wanted(replicas=REPLICA), adopted(), seen)
        assert reasons(result.plan.problems) == ["NotObserved"]


def test_the_result_holds_what_is_ready() -> None:
    copy = ours(2, DR, fingerprint=F1, role="replica")
    seen = world(view(HOME, [adopted()]), view(DR, [copy]))
    result = plan(wanted(replicas=REPLICA), adopted(), seen)
    assert (result.home, result.replicas) == (adopted(), {DR: copy})
    assert result.fingerprint == F1


def test_two_amis_for_one_slot_the_oldest_available_is_it() -> None:
    pair = [
        ours(7, fingerprint=F1, state="pending", created=LONG_AGO),
        ours(8, fingerprint=F1, created=ago(100)),
        ours(9, fingerprint=F1, created=ago(50)),
    ]
    result = plan(wanted(), image(1, owner=FOREIGN), world(view(HOME, pair)))
    assert result.home == pair[1]
    assert result.plan.settled


def test_a_capture_carries_its_tags() -> None:
    result = plan(wanted(source=BY_INSTANCE), INSTANCE, world())
    (action,) = result.plan.actions
    assert isinstance(action, CreateImage)
    assert action.tags[TAG_SOURCE] == F_INSTANCE
    assert action.tags[TAG_ROLE] == "home"


def test_a_second_capture_that_does_not_show_yet_is_not_made_a_third_time() -> None:
    """Status lists the newest version first, and both captures have one fingerprint."""

    def of(version: int, state: str) -> ImageVersion:
        asked = NOW.isoformat() if state == "requested" else None
        home = RegionalImage(
            region=HOME, image_id=ami(version), role="home", state=state, requested_at=asked
        )
        return ImageVersion(version=version, fingerprint=F_INSTANCE, images=(home,))

    status = GoldenImageStatus(
        versions=(of(2, "requested"), of(1, "missing")),
        latest=LatestVersion(version=1, image_id=ami(1)),
    )
    result = plan(wanted(remember(status), source=BY_INSTANCE), INSTANCE, world())
    assert result.version == 2
    assert not result.plan.actions
    assert len(result.plan.waiting) == 1


@pytest.mark.parametrize(
    ("template", "name", "suffix", "want"),
    [
        ("{namespace}-{name}-v{version}", "base", "", "team-base-v3"),
        ("{namespace}-{name}-v{version}", "base", "-r2", "team-base-v3-r2"),
        ("{version}x{version}", "base", "", "3x3"),
        ("v{version} of {name}", "base", "", "v3 of base"),
    ],
)
def test_ami_name(template: str, name: str, suffix: str, want: str) -> None:
    spec = wanted(naming={"template": template})
    assert ami_name(replace(spec, name=name), 3, suffix) == want


def test_long_ami_names_stay_within_the_limit_and_unique() -> None:
    want = replace(wanted(), name="n" * 200)
    names = [ami_name(want, v, s) for v in (1, 2) for s in ("", "-r2", "-unencrypted-r12")]
    assert len(set(names)) == len(names)
    assert all(len(n) <= NAME_LIMIT for n in names)
