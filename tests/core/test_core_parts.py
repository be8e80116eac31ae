"""The small parts of the core: principals, images, actions, drafts, conditions, prediction."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest
from planworld import (
    DR,
    HOME,
    HOME_KEY,
    ORG,
    ORG_ID,
    OU,
    OU_ID,
    OWNER,
    A,
    B,
    accounts,
    ami,
    grant,
    image,
    ours,
    view,
    world,
)

from gilder.api.conditions import Condition, ConditionType
from gilder.api.goldenimage import GoldenImageStatus, ImageVersion, LatestVersion, RegionalImage
from gilder.api.names import TAG_ATTEMPT, TAG_VERSION
from gilder.core import conditions
from gilder.core.actions import (
    AFTER_APPLY,
    AnyAction,
    CopyImage,
    CreateGrant,
    CreateImage,
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    EnableImage,
    ModifyLaunchPermission,
    ProtectImage,
    RevokeGrant,
    TagResources,
    UntagResources,
)
from gilder.core.conditions import MESSAGE_LIMIT, Verdict
from gilder.core.digest import digest
from gilder.core.observed import NOBODY, ImageIndex, Principals, Problem, Snapshot
from gilder.core.plan import Draft, Plan, freeze, stalled
from gilder.core.predict import placeholder, predict
from gilder.core.wanted import Known, Memory, remember

ALL = Principals(frozenset({A}), frozenset({ORG}), frozenset({OU}), True)


class TestPrincipals:
    def test_set_operations(self) -> None:
        assert ALL - ALL == NOBODY
        assert ALL | NOBODY == ALL
        assert ALL & accounts(A, B) == accounts(A)
        assert (ALL - accounts(A)) | accounts(A) == ALL
        assert Principals(public=True) & NOBODY == NOBODY
        assert accounts(A, B) - accounts(B) == accounts(A)

    def test_size(self) -> None:
        assert len(ALL) == 4
        assert not NOBODY
        assert Principals(public=True)

    def test_names(self) -> None:
        assert (ALL | accounts(B)).names() == (A, B, ORG_ID, OU_ID, "all")


@pytest.mark.parametrize(
    ("tags", "version", "attempt"),
    [
        ({}, 0, 1),
        ({TAG_VERSION: "12", TAG_ATTEMPT: "3"}, 12, 3),
        ({TAG_VERSION: "-1", TAG_ATTEMPT: "two"}, 0, 1),
        ({TAG_VERSION: "1.5", TAG_ATTEMPT: ""}, 0, 1),
    ],
)
def test_numbers_in_tags(tags: Mapping[str, str], version: int, attempt: int) -> None:
    found = image(1, tags=tags)
    assert (found.version, found.attempt) == (version, attempt)


def test_owned_is_sorted_and_of_this_account() -> None:
    seen = world(
        view(HOME, [ours(3, version=10), ours(2, version=2), ours(4, owner=B), image(5)]),
        view(DR, [ours(1, DR, version=2)]),
    )
    assert [i.id for i in seen.owned("prod", "team/base")] == [ami(1), ami(2), ami(3)]


def test_an_index_finds_what_looking_through_finds() -> None:
    there = [ours(1), ours(2, cluster="test"), ours(3, golden="team/other"), image(4)]
    plain = view(HOME, [*there, ours(5, owner=B)])
    indexed = replace(plain, images=ImageIndex(plain.images))
    for golden in ("team/base", "team/other", "team/none"):
        found = list(indexed.belonging("prod", golden, OWNER))
        assert found == list(plain.belonging("prod", golden, OWNER))
        assert all(i.owner == OWNER for i in found)


# Draft and Plan


@pytest.mark.parametrize(
    ("waits", "want"),
    [
        ([None], None),
        ([15.0, None], 15.0),
        ([15.0, 3.0, 60.0], 3.0),
        ([0.0, 15.0], 0.0),
        ([15.0, 0.0], 0.0),
    ],
)
def test_the_shortest_wait_counts(waits: list[float | None], want: float | None) -> None:
    draft = Draft()
    for seconds in waits:
        draft.wait("x", seconds)
    assert draft.retry_after == want
    assert len(draft.waiting) == len(waits)


def test_problems_are_noted_once() -> None:
    draft = Draft()
    draft.note(Problem("A", "a", permanent=False))
    draft.note(Problem("A", "a", permanent=False))
    assert not stalled(draft.problems)
    draft.stop("B", "b", region=HOME)
    plan = freeze(draft)
    assert [p.reason for p in plan.problems] == ["A", "B"]
    assert stalled(plan.problems)
    assert not plan.settled
    assert Plan().settled


# Actions

ACTIONS: list[tuple[AnyAction, str, dict[str, object]]] = [
    (
        TagResources(region=HOME, resources=("ami-1", "snap-1"), tags={"b": "2", "a": "1"}),
        "tag ami-1, snap-1 in eu-west-1: a=1, b=2",
        {"resources": ["ami-1", "snap-1"], "tags": {"a": "1", "b": "2"}},
    ),
    (
        TagResources(region=HOME, resources=("ami-1",), tags={"a": "1"}, adopts=True),
        "adopt ami-1 in eu-west-1: a=1",
        {"adopts": True},
    ),
    (
        UntagResources(region=HOME, resources=("ami-1",), keys=("a", "b")),
        "untag ami-1 in eu-west-1: a, b",
        {"keys": ["a", "b"]},
    ),
    (
        CreateImage(region=HOME, instance="i-1", name="n", description="", no_reboot=True, tags={}),
        "create AMI n in eu-west-1 from instance i-1, without reboot",
        {"instance": "i-1", "no_reboot": True},
    ),
    (
        CopyImage(
            region=DR,
            source_region=HOME,
            source_image="ami-1",
            name="n",
            description="",
            key="arn:k",
            tags={},
            token="t",
        ),
        "copy ami-1 from eu-west-1 to eu-central-1 as n, encrypted with arn:k",
        {"key": "arn:k", "token": "t", "source_region": HOME},
    ),
    (EnableImage(region=HOME, image="ami-1"), "enable ami-1 in eu-west-1", {"image": "ami-1"}),
    (
        DeregisterImage(region=HOME, image="ami-1", snapshots=("s",)),
        "deregister ami-1 in eu-west-1 and delete its snapshots",
        {"snapshots": ["s"]},
    ),
    (
        CreateGrant(
            region=HOME, key="arn:k", account=A, principal="p", operations=("D", "C"), name="n"
        ),
        "grant p use of arn:k",
        {"operations": ["C", "D"]},
    ),
    (
        RevokeGrant(region=HOME, key="arn:k", grant="0123456789abcdef", principal="p"),
        "revoke grant 0123456789ab... of p on arn:k",
        {"grant": "0123456789abcdef"},
    ),
    (
        ModifyLaunchPermission(region=HOME, image="ami-1", add=accounts(A), remove=accounts(B)),
        f"let {A} launch and stop {B} from launching ami-1 in eu-west-1",
        {"add": [A], "remove": [B]},
    ),
    (
        ModifyLaunchPermission(region=HOME, image="ami-1", remove=Principals(public=True)),
        "stop all from launching ami-1 in eu-west-1",
        {"remove": ["all"]},
    ),
]


@pytest.mark.parametrize(
    ("action", "line", "fields"), ACTIONS, ids=lambda x: getattr(x, "kind", "")
)
def test_actions_tell_what_they_do(action: AnyAction, line: str, fields: dict[str, object]) -> None:
    assert action.describe() == line
    told = action.as_dict()
    assert told["action"] == action.kind
    assert told["region"] == action.region
    assert {k: told[k] for k in fields} == fields
    assert json.loads(json.dumps(told))
    assert None not in told.values()
    assert "" not in told.values()


# Digest


def test_digest_does_not_hang_on_order_or_process() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("ab")
    assert digest(["a", "b"]) != digest(["b", "a"])
    assert len(digest("x", length=48)) == 48
    code = "from gilder.core.digest import digest; print(digest('x', {'a': [1, None]}))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == digest("x", {"a": [1, None]})


# Conditions

READY, STALLED, SYNCED = ConditionType.READY, ConditionType.STALLED, ConditionType.SYNCED
THEN, NOW = "2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"


def condition(kind: ConditionType, status: str) -> Condition:
    return Condition.model_validate(
        {
            "type": kind.value,
            "status": status,
            "reason": "Old",
            "message": "old",
            "observedGeneration": 1,
            "lastTransitionTime": THEN,
        }
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "want"),
    [
        ("first", [], [Verdict(READY, "True", "R")], [("Ready", "True", "R", NOW)]),
        (
            "status stays, reason changes: same time",
            [condition(READY, "False")],
            [Verdict(READY, "False", "Other")],
            [("Ready", "False", "Other", THEN)],
        ),
        (
            "status changes: new time",
            [condition(READY, "False")],
            [Verdict(READY, "True", "R")],
            [("Ready", "True", "R", NOW)],
        ),
        (
            "unknown is a status of its own",
            [condition(READY, "False")],
            [Verdict(READY, "Unknown", "R")],
            [("Ready", "Unknown", "R", NOW)],
        ),
        (
            "what is not named goes",
            [condition(STALLED, "True"), condition(READY, "False")],
            [Verdict(READY, "True", "R")],
            [("Ready", "True", "R", NOW)],
        ),
        (
            "always in one order",
            [],
            [
                Verdict(SYNCED, "True", "S"),
                Verdict(STALLED, "True", "X"),
                Verdict(READY, "True", "R"),
            ],
            [
                ("Ready", "True", "R", NOW),
                ("Stalled", "True", "X", NOW),
                ("Synced", "True", "S", NOW),
            ],
        ),
    ],
)
def test_merge(
    name: str,
    old: list[Condition],
    new: list[Verdict],
    want: list[tuple[str, str, str, str]],
) -> None:
    merged = conditions.merge(old, new, 7, NOW)
    got = [(c.type, c.status, c.reason, c.last_transition_time) for c in merged]
    assert got == want, name
    assert {c.observed_generation for c in merged} == {7}


def test_long_messages_are_cut() -> None:
    (merged,) = conditions.merge([], [Verdict(READY, "False", "R", "x" * 5000)], 1, NOW)
    assert len(merged.message) == MESSAGE_LIMIT
    assert merged.message.endswith("...")


def test_get() -> None:
    there = [condition(READY, "True")]
    assert conditions.get(there, READY) == there[0]
    assert conditions.get(there, STALLED) is None


# Memory


def test_an_empty_status_is_an_empty_memory() -> None:
    assert remember(GoldenImageStatus()) == Memory()


def test_memory_of_a_status() -> None:
    asked = RegionalImage(
        region=DR, image_id=ami(2), role="replica", state="requested", requested_at=NOW
    )
    home = RegionalImage(region=HOME, image_id=ami(1), role="home", state="available")
    version = ImageVersion(version=2, fingerprint="f", created_at=THEN, images=(home, asked))
    status = GoldenImageStatus(
        versions=(version, ImageVersion(version=1)),
        latest=LatestVersion(version=3, image_id=ami(9)),
        managed_tag_keys=("team",),
    )
    assert remember(status) == Memory(
        {
            (2, HOME, "home"): Known(ami(1), True, THEN),
            (2, DR, "replica"): Known(ami(2), False, NOW),
        },
        {2: "f"},
        3,
        3,
        ("team",),
        released=frozenset({1, 2}),
    )


def test_a_fingerprint_of_several_captures_stands_for_the_newest() -> None:
    versions = tuple(ImageVersion(version=n, fingerprint="f") for n in (3, 2, 1))
    assert remember(GoldenImageStatus(versions=versions)).version_by_print == {"f": 3}


# Prediction


def test_predicted_tags() -> None:
    home = image(1, tags={"a": "1"})
    seen = world(view(HOME, [home], snapshots={"snap-1": Snapshot("snap-1", {"a": "1"})}))
    after = predict(
        seen,
        [
            TagResources(region=HOME, resources=(ami(1), "snap-1", "gone"), tags={"b": "2"}),
            UntagResources(region=HOME, resources=(ami(1), "snap-1"), keys=("a",)),
        ],
    ).region(HOME)
    assert after.images[ami(1)].tags == {"b": "2"}
    assert after.snapshots["snap-1"].tags == {"b": "2"}
    assert seen.region(HOME).images[ami(1)].tags == {"a": "1"}


def test_predicted_amis_are_available_ours_and_unshared() -> None:
    seen = world(view(HOME, [image(1)]))
    capture = CreateImage(
        region=HOME, instance="i-1", name="n", description="", no_reboot=False, tags={"a": "1"}
    )
    copy = CopyImage(
        region=DR,
        source_region=HOME,
        source_image=ami(1),
        name="n",
        description="",
        key=HOME_KEY,
        tags={"b": "2"},
        token="t",
    )
    after = predict(seen, [capture, copy])
    made = after.region(HOME).images[placeholder("n", HOME)]
    assert (made.owner, made.available, made.tags) == (OWNER, True, {"a": "1"})
    copied = after.region(DR).images[placeholder("n", DR)]
    assert (copied.encrypted, copied.kms_keys) == (True, frozenset({HOME_KEY}))
    assert copied.source_image == ami(1)
    assert after.region(DR).permissions[copied.id] == NOBODY
    assert after.region(DR).grants[HOME_KEY] == ()
    assert AFTER_APPLY in copied.id


def test_a_predicted_copy_of_an_encrypted_ami_is_encrypted() -> None:
    seen = world(view(HOME, [image(1, key=HOME_KEY)]))
    copy = CopyImage(
        region=HOME, source_region=HOME, source_image=ami(1), name="n", description="",
        key=None, tags={}, token="t",
    )  # fmt: skip
    assert predict(seen, [copy]).region(HOME).images[placeholder("n", HOME)].encrypted


def test_predicted_states() -> None:
    seen = world(view(HOME, [image(1, state="disabled"), image(2)]))
    after = predict(
        seen,
        [
            EnableImage(region=HOME, image=ami(1)),
            EnableImage(region=HOME, image="gone"),
            DeregisterImage(region=HOME, image=ami(2)),
        ],
    ).region(HOME)
    assert after.images == {ami(1): image(1)}
    assert ami(2) not in after.permissions


def test_predicted_retirement() -> None:
    seen = world(
        view(HOME, [image(1), image(2)], permissions={ami(1): accounts(A), ami(2): accounts(A)},
             snapshots={"snap-1": Snapshot("snap-1"), "snap-2": Snapshot("snap-2")})
    )  # fmt: skip
    at = "2027-01-01T00:00:00Z"
    after = predict(
        seen,
        [
            DisableImage(region=HOME, image=ami(1)),
            DeprecateImage(region=HOME, image=ami(2), at=at),
            ProtectImage(region=HOME, image=ami(2), mode="enabled-with-cooldown"),
            DeleteSnapshot(region=HOME, snapshot="snap-1"),
        ],
    ).region(HOME)
    assert after.images[ami(1)].state == "disabled"
    assert after.permissions == {ami(1): NOBODY, ami(2): accounts(A)}
    assert after.images[ami(2)].deprecated_at == at
    assert after.images[ami(2)].protection == "enabled-with-cooldown"
    assert set(after.snapshots) == {"snap-2"}
    gone = [
        DisableImage(region=HOME, image="gone"),
        DeprecateImage(region=HOME, image="gone"),
        ProtectImage(region=HOME, image="gone", mode="disabled"),
    ]
    assert predict(seen, gone) == seen


def test_predicted_access() -> None:
    seen = world(
        view(HOME, [image(1)], permissions={ami(1): accounts(A)}, grants={HOME_KEY: [grant(A)]})
    )
    made = [
        CreateGrant(
            region=HOME, key=HOME_KEY, account=a, principal=a, operations=("D",), name=f"n{a}"
        )
        for a in (A, B)
    ]
    change = ModifyLaunchPermission(region=HOME, image=ami(1), add=accounts(B), remove=accounts(A))
    mid = predict(seen, [*made, change])
    assert mid.region(HOME).permissions[ami(1)] == accounts(B)
    names = [g.name for g in mid.region(HOME).grants[HOME_KEY]]
    assert names == [grant(A).name, f"n{A}", f"n{B}"]
    # Grants that are not made yet can be told apart.
    first = mid.region(HOME).grants[HOME_KEY][1]
    revoke = RevokeGrant(region=HOME, key=HOME_KEY, grant=first.id, principal=A)
    left = predict(mid, [revoke]).region(HOME).grants[HOME_KEY]
    assert [g.name for g in left] == [grant(A).name, f"n{B}"]


def test_prediction_keeps_other_regions() -> None:
    seen = world(view(HOME, [image(1)]), view(DR, [image(2, DR)]))
    after = predict(seen, [DeregisterImage(region=HOME, image=ami(1))])
    assert after.region(DR) == seen.region(DR)
    assert replace(after.region(HOME), images={}).problem is None
