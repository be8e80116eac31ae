"""plan_share as tables: launch permissions and grants over the union of all shares."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from planworld import (
    CLUSTER,
    DR,
    FOREIGN,
    HOME,
    HOME_KEY,
    ORG,
    ORG_ID,
    OTHER_KEY,
    OU,
    OU_ID,
    OWNER,
    A,
    B,
    C,
    accounts,
    ami,
    gilded,
    grant,
    image,
    key,
    kinds,
    ours,
    reasons,
    share,
    view,
    world,
)

from gilder.api.imageshare import ImageShareStatus, SharedImage
from gilder.core import rules
from gilder.core.actions import AnyAction, CreateGrant, ModifyLaunchPermission, RevokeGrant
from gilder.core.grants import grant_name, principal_of
from gilder.core.observed import NOBODY, Grant, Image, Key, Observed, Principals, Problem
from gilder.core.rules import policy_statement
from gilder.core.shares import Gilded, Share, recorded, selects
from gilder.core.sharing import SharePlan, plan_share

GOLD = ours(1)
SECRET = ours(1, key=HOME_KEY)
PLACE = (HOME, ami(1))
ORGS = Principals(organizations=frozenset({ORG}))
UNITS = Principals(units=frozenset({OU}))
PUBLIC = Principals(public=True)
HOLE = Problem("AccessDenied", "no", region=HOME)


def plan(
    mine: Share,
    seen: Observed,
    others: Sequence[Share] = (),
    goldens: Sequence[Gilded] = (gilded(),),
    regions: Iterable[str] = (HOME,),
) -> SharePlan:
    where = {g.key: frozenset(regions) for g in goldens}
    return plan_share(mine, others, goldens, where, seen, CLUSTER)


def short(actions: Iterable[AnyAction]) -> list[str]:
    """Actions in a few words: `+A -B`, `grant A`, `revoke A`."""
    out = []
    for a in actions:
        if isinstance(a, ModifyLaunchPermission):
            given = [f"+{n}" for n in a.add.names()] + [f"-{n}" for n in a.remove.names()]
            out.append(" ".join(given))
        elif isinstance(a, CreateGrant):
            out.append(f"grant {a.account}")
        else:
            assert isinstance(a, RevokeGrant)
            out.append(f"revoke {a.account}")
    return out


@dataclass(frozen=True)
class Case:
    """One row: shares and one AMI as given, and what is planned."""

    name: str
    spec: dict[str, Any]
    image: Image = GOLD
    now: Principals = NOBODY
    grants: Sequence[Grant] = ()
    others: Sequence[Share] = ()
    recorded: Principals = NOBODY
    key: Key | None = None
    blocked: bool = False
    golden: Gilded = field(default_factory=gilded)
    # wanted
    actions: Sequence[str] = ()
    problems: Sequence[str] = ()
    waits: int = 0
    missing: Principals | None = None


def declared(*ids: str) -> dict[str, Any]:
    return {"accounts": list(ids)}


def letting(*statements: dict[str, Any]) -> Key:
    return key(HOME_KEY, policy={"Statement": list(statements)})


CASES = [
    # Who
    Case("accounts", declared(A, B), actions=[f"+{A} +{B}"], missing=accounts(A, B)),
    Case("accounts in place", declared(A), now=accounts(A), missing=NOBODY),
    Case("an organization", {"organizations": [ORG]}, actions=[f"+{ORG_ID}"]),
    Case("an OU", {"organizationalUnits": [OU]}, actions=[f"+{OU_ID}"]),
    Case("everybody", {"public": True, "confirmPublic": True}, actions=["+all"]),
    Case("confirmed and not said", {"confirmPublic": True}),
    Case("nobody closes the AMI", {}, now=accounts(A) | ORGS, actions=[f"-{A} -{ORG_ID}"]),
    Case("the owner needs nothing", declared(OWNER)),
    Case(
        "the owner, encrypted, needs no grant",
        declared(OWNER, A),
        SECRET,
        actions=[f"grant {A}", f"+{A}"],
    ),
    # Strangers
    Case("authoritative: strangers go", declared(A), now=accounts(A, B), actions=[f"-{B}"]),
    Case("authoritative: never public by hand", declared(A), now=PUBLIC, actions=[f"+{A} -all"]),
    Case(
        "additive: strangers stay",
        {**declared(A), "mode": "Additive"},
        now=accounts(B) | PUBLIC,
        actions=[f"+{A}"],
    ),
    Case(
        "additive: what was ours goes",
        {**declared(A), "mode": "Additive"},
        now=accounts(A, B, C),
        recorded=accounts(A, B),
        actions=[f"-{B}"],
    ),
    # Union
    Case(
        "shares add up",
        declared(A),
        now=accounts(A, B),
        others=[share("other", **declared(B))],
    ),
    Case(
        "what another declares is that share's to give",
        declared(A),
        others=[share("other", **declared(B))],
        actions=[f"+{A}"],
    ),
    Case(
        "a share of another namespace adds up by AMI id, if the GoldenImage lets it in",
        declared(A),
        now=accounts(A, B),
        others=[share("other", namespace="else", images=[GOLD], **declared(B))],
        golden=gilded(allowed_namespaces=("el*",)),
    ),
    Case(
        "a share of another namespace has no say by AMI id otherwise",
        declared(A),
        now=accounts(A, B),
        others=[share("other", namespace="else", images=[GOLD], **declared(B))],
        actions=[f"-{B}"],
    ),
    Case(
        "a share of another namespace does not select our GoldenImage",
        declared(A),
        now=accounts(A, B),
        others=[share("other", namespace="else", **declared(B))],
        actions=[f"-{B}"],
    ),
    Case(
        "one authoritative share is enough",
        {**declared(A), "mode": "Additive"},
        now=accounts(A, B),
        others=[share("other")],
        actions=[f"-{B}"],
    ),
    Case(
        "what another declares is not taken with ours, and is its own once on its record",
        declared(),
        now=accounts(A),
        recorded=accounts(A),
        others=[share("other", **declared(A), mode="Additive", recorded={PLACE: accounts(A)})],
    ),
    Case(
        "until then it stays on ours",
        declared(),
        now=accounts(A),
        recorded=accounts(A),
        others=[share("other", **declared(A), mode="Additive")],
        waits=1,
    ),
    Case(
        "a share that leaves declares nothing",
        declared(A),
        now=accounts(A, B),
        others=[share("other", **declared(B), leaving=True)],
        actions=[f"-{B}"],
    ),
    Case(
        "an observing share is not served by others",
        declared(A),
        others=[share("other", **declared(B), managementPolicy="Observe")],
        actions=[f"+{A}"],
    ),
    Case(
        "what a suspended share declares stays",
        declared(A),
        now=accounts(A, B),
        others=[share("other", **declared(B), suspend=True)],
    ),
    Case(
        "a suspended share does not make the AMI authoritative",
        {**declared(A), "mode": "Additive"},
        now=accounts(A, C),
        others=[share("other", **declared(B), suspend=True)],
    ),
    Case(
        "a share that cannot be resolved keeps what it has on record",
        declared(A),
        now=accounts(A, B, C),
        others=[
            share(
                "other",
                imageRef={"name": "gone"},
                **declared(B),
                recorded={PLACE: accounts(B, C)},
            )
        ],
        actions=[f"-{C}"],
    ),
    # Keys
    Case(
        "encrypted: the grant goes before the permission",
        declared(A),
        SECRET,
        actions=[f"grant {A}", f"+{A}"],
    ),
    Case(
        "encrypted, grant in place",
        declared(A),
        SECRET,
        grants=[grant(A)],
        actions=[f"+{A}"],
    ),
    Case(
        "encrypted, permission in place and the grant lost",
        declared(A),
        SECRET,
        now=accounts(A),
        actions=[f"grant {A}"],
    ),
    Case(
        "taking: the permission goes before the grant",
        declared(A),
        SECRET,
        now=accounts(A, B),
        grants=[grant(A), grant(B)],
        actions=[f"-{B}", f"revoke {B}"],
    ),
    Case(
        "kms None asks for no grant",
        {**declared(A), "kms": {"mode": "None"}},
        SECRET,
        actions=[f"+{A}"],
    ),
    Case(
        "kms None takes back grants of ours",
        {**declared(A), "kms": {"mode": "None"}},
        SECRET,
        now=accounts(A),
        grants=[grant(A)],
        actions=[f"revoke {A}"],
    ),
    Case(
        "kms None beside Grant on one account: the grant stays",
        {**declared(A), "kms": {"mode": "None"}},
        SECRET,
        now=accounts(A),
        grants=[grant(A)],
        others=[share("other", **declared(A))],
    ),
    Case(
        "grants of others stay",
        declared(),
        SECRET,
        grants=[
            grant(A, name="theirs", id="g1"),
            grant(A, name="gilder:prod-2:" + A + ":000000000000", id="g2"),
            grant(A, name="gilder:prod:eu:" + A + ":000000000000", id="g3"),
            grant(A, name="gilder:prod:", id="g4"),
            grant(A, name="", id="g5"),
        ],
    ),
    Case(
        "other operations: the grant is made again, then the old one goes",
        {**declared(A), "kms": {"operations": ["Decrypt", "CreateGrant"]}},
        SECRET,
        now=accounts(A),
        grants=[grant(A)],
        actions=[f"grant {A}", f"revoke {A}"],
    ),
    Case(
        "operations of several shares are one grant",
        declared(A),
        SECRET,
        now=accounts(A),
        grants=[grant(A, operations=("Decrypt", "CreateGrant"))],
        others=[share("other", operations=("CreateGrant",), **declared(A))],
    ),
    Case(
        "a dead grantee is replaced",
        declared(A),
        SECRET,
        now=accounts(A),
        grants=[grant(A, principal="AROAEXAMPLE")],
        actions=[f"grant {A}", f"revoke {A}"],
    ),
    Case(
        "the grant of another's account is that share's to make again",
        declared(),
        SECRET,
        now=accounts(B),
        grants=[grant(B)],
        others=[share("other", operations=("CreateGrant",), **declared(B))],
    ),
    Case(
        "and once it did, the old one goes",
        declared(),
        SECRET,
        now=accounts(B),
        grants=[grant(B), grant(B, operations=("CreateGrant",))],
        others=[share("other", operations=("CreateGrant",), **declared(B))],
        actions=[f"revoke {B}"],
    ),
    Case(
        "an account of a share that is not resolved keeps its grant",
        declared(),
        SECRET,
        grants=[grant(B), grant(C)],
        others=[
            share(
                "other",
                imageRef={"name": "gone"},
                recorded_keys={(HOME, HOME_KEY)},
                **declared(B),
            )
        ],
        actions=[f"revoke {C}"],
    ),
    Case(
        "but not on a key that is on no record of such a share",
        declared(),
        SECRET,
        grants=[grant(B)],
        others=[share("other", imageRef={"name": "gone"}, **declared(B))],
        actions=[f"revoke {B}"],
    ),
    Case(
        "a dead grantee is no reason to wait for such a share",
        declared(),
        SECRET,
        grants=[grant(B, principal="AROAEXAMPLE")],
        others=[
            share(
                "other",
                imageRef={"name": "gone"},
                recorded_keys={(HOME, HOME_KEY)},
                **declared(B),
            )
        ],
        actions=[f"revoke {B}"],
    ),
    Case(
        "an account of a suspended share keeps its grant",
        declared(),
        SECRET,
        now=accounts(B),
        grants=[grant(B)],
        others=[share("other", suspend=True, **declared(B))],
    ),
    Case(
        "though not a dead one, even while that account is held in",
        declared(),
        SECRET,
        now=accounts(B),
        grants=[grant(B, principal="AROAEXAMPLE")],
        others=[share("other", suspend=True, **declared(B))],
        actions=[f"revoke {B}"],
    ),
    # Organizations and keys
    Case(
        "an organization that the key policy lets in",
        {"organizations": [ORG]},
        SECRET,
        key=letting(policy_statement(ORG_ID, None)),
        actions=[f"+{ORG_ID}"],
    ),
    Case(
        "an OU that the key policy lets in",
        {"organizationalUnits": [OU]},
        SECRET,
        key=letting(policy_statement(ORG_ID, OU_ID)),
        actions=[f"+{OU_ID}"],
    ),
    Case(
        "an OU of an organization that the key policy lets in",
        {"organizationalUnits": [OU]},
        SECRET,
        key=letting(policy_statement(ORG_ID, None)),
        actions=[f"+{OU_ID}"],
    ),
    Case(
        "an organization of which only an OU is let in",
        {"organizations": [ORG]},
        SECRET,
        key=letting(policy_statement(ORG_ID, OU_ID)),
        problems=[rules.KEY_POLICY],
        missing=NOBODY,
    ),
    Case(
        "a policy that lacks it holds up no account",
        {**declared(A), "organizations": [ORG], "organizationalUnits": [OU]},
        SECRET,
        actions=[f"grant {A}", f"+{A}"],
        problems=[rules.KEY_POLICY],
    ),
    Case(
        "kms None does not look at the policy",
        {"organizations": [ORG], "kms": {"mode": "None"}},
        SECRET,
        actions=[f"+{ORG_ID}"],
    ),
    Case(
        "what is declared is not taken because a policy could not be read",
        {"organizations": [ORG]},
        SECRET,
        now=ORGS | accounts(B),
        actions=[f"-{B}"],
        problems=[rules.KEY_POLICY],
    ),
    # Refusals
    Case(
        "aws/ebs",
        declared(A),
        SECRET,
        key=key(HOME_KEY, aws_managed=True),
        problems=[rules.DEFAULT_KEY],
    ),
    Case("aws/ebs and nobody", {}, SECRET, key=key(HOME_KEY, aws_managed=True)),
    Case(
        "product codes",
        {**declared(A), "public": True, "confirmPublic": True},
        ours(1, product_codes=("pc",)),
        problems=[rules.PRODUCT_CODE],
    ),
    Case(
        "a refusal does not keep strangers in",
        declared(A),
        ours(1, product_codes=("pc",)),
        now=accounts(B),
        actions=[f"-{B}"],
        problems=[rules.PRODUCT_CODE],
    ),
    Case(
        "an encrypted AMI is not public",
        {**declared(A), "public": True, "confirmPublic": True},
        SECRET,
        actions=[f"grant {A}", f"+{A}"],
        problems=[rules.PUBLIC_REFUSED],
    ),
    Case(
        "block public access",
        {**declared(A), "public": True, "confirmPublic": True},
        blocked=True,
        actions=[f"+{A}"],
        problems=[rules.PUBLIC_REFUSED],
    ),
    Case(
        "an encrypted AMI whose keys were not seen",
        declared(A),
        replace(GOLD, encrypted=True),
        problems=["KeyUnknown"],
    ),
    # State
    Case(
        "leaving takes only what is ours",
        declared(A),
        SECRET,
        now=accounts(A, B),
        grants=[grant(A)],
        recorded=accounts(A),
        actions=[f"-{A}", f"revoke {A}"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_plan(case: Case) -> None:
    leaving = case.name.startswith("leaving")
    mine = share(recorded={PLACE: case.recorded} if case.recorded else {}, **case.spec)
    mine = replace(mine, leaving=leaving)
    seen = world(
        view(
            HOME,
            [case.image],
            permissions={ami(1): case.now},
            grants=dict.fromkeys(case.image.kms_keys, case.grants),
            keys=[case.key] if case.key else [],
            public_blocked=case.blocked,
        )
    )
    result = plan(mine, seen, case.others, (case.golden,))
    assert short(result.plan.actions) == list(case.actions)
    assert reasons(result.plan.problems) == list(case.problems)
    assert len(result.plan.waiting) == case.waits, result.plan.waiting
    (state,) = result.states
    if case.missing is not None:
        assert state.missing == case.missing
    assert bool(state.problem) == bool(case.problems)


# Details that short() does not show


def secret_world(
    now: Principals = NOBODY, grants: Iterable[Grant] = (), images: Iterable[Image] = (SECRET,)
) -> Observed:
    images = list(images)
    return world(
        view(HOME, images, permissions={i.id: now for i in images}, grants={HOME_KEY: grants})
    )


def test_a_permission_names_the_grants_of_the_same_plan_that_it_needs() -> None:
    result = plan(share(**declared(A, B)), secret_world(grants=[grant(A)]))
    change = result.plan.actions[-1]
    assert isinstance(change, ModifyLaunchPermission)
    assert change.needs == {(B, HOME_KEY)}
    assert result.keys_lacking
    assert [g.name for g in result.grants] == [grant(A).name]


def test_every_key_of_an_ami_needs_its_grant() -> None:
    two = replace(SECRET, kms_keys=frozenset({HOME_KEY, OTHER_KEY}))
    result = plan(share(**declared(A)), world(view(HOME, [two])))
    assert kinds(result.plan.actions) == ["CreateGrant", "CreateGrant", "ModifyLaunchPermission"]
    change = result.plan.actions[-1]
    assert isinstance(change, ModifyLaunchPermission)
    assert change.needs == {(A, HOME_KEY), (A, OTHER_KEY)}


def test_one_grant_serves_all_amis_of_a_key() -> None:
    pair = [SECRET, ours(2, version=2, key=HOME_KEY)]
    spec = {**declared(A), "versions": {"select": "All"}}
    result = plan(share(**spec), secret_world(images=pair), goldens=[gilded(2)])
    assert short(result.plan.actions) == [f"grant {A}", f"+{A}", f"+{A}"]


def test_a_new_version_opens_before_the_old_one_closes() -> None:
    pair = [ours(1), ours(2, version=2)]
    seen = world(view(HOME, pair, permissions={ami(1): accounts(A)}))
    mine = share(recorded={PLACE: accounts(A)}, **declared(A))
    result = plan(mine, seen, goldens=[gilded(2)])
    assert short(result.plan.actions) == [f"+{A}", f"-{A}"]
    assert [s.leaving for s in result.states] == [False, True]


def test_a_grant_made_again_names_its_successor() -> None:
    operations = ("CreateGrant", "Decrypt")
    mine = share(operations=operations, **declared(A))
    result = plan(mine, secret_world(accounts(A), [grant(A)]))
    create, revoke = result.plan.actions
    assert isinstance(create, CreateGrant)
    assert isinstance(revoke, RevokeGrant)
    assert create.name == revoke.replaced_by == grant_name(CLUSTER, A, operations)
    assert create.operations == operations
    assert revoke.grant == grant(A).id
    assert revoke.images == ()


def test_a_revoked_grant_names_the_amis_that_close_first() -> None:
    pair = [SECRET, ours(2, version=2, key=HOME_KEY)]
    spec = {**declared(), "versions": {"select": "All"}}
    seen = secret_world(accounts(A), [grant(A)], pair)
    result = plan(share(**spec), seen, goldens=[gilded(2)])
    revoke = result.plan.actions[-1]
    assert isinstance(revoke, RevokeGrant)
    assert revoke.images == (ami(1), ami(2))
    assert revoke.replaced_by == ""


def test_a_grant_waits_for_another_share_to_close_its_ami() -> None:
    """The other's permission stands on the same grant; it takes it away in its own plan."""
    second = ours(2, key=HOME_KEY, golden="team/other")
    seen = secret_world(accounts(A), [grant(A)], [SECRET, second])
    other = share("other", images=[second], recorded={(HOME, ami(2)): accounts(A)}, mode="Additive")
    mine = share(recorded={PLACE: accounts(A)})
    result = plan(mine, seen, [other])
    assert short(result.plan.actions) == [f"-{A}"]
    assert result.plan.waiting == (f"another ImageShare to let go of {A}",)


def test_a_grant_does_not_wait_for_an_ami_that_somebody_opened_by_hand() -> None:
    unshared = image(2, key=HOME_KEY)
    seen = secret_world(accounts(A), [grant(A)], [SECRET, unshared])
    result = plan(share(recorded={PLACE: accounts(A)}, leaving=True), seen)
    assert short(result.plan.actions) == [f"-{A}", f"revoke {A}"]
    assert not result.plan.waiting


def test_strangers_are_those_whom_nobody_ever_declared() -> None:
    other = share("other", recorded={PLACE: accounts(B)})
    seen = world(view(HOME, [GOLD], permissions={ami(1): accounts(A, B, C)}))
    result = plan(share(recorded={PLACE: accounts(A)}), seen, [other])
    (change,) = result.plan.actions
    assert isinstance(change, ModifyLaunchPermission)
    assert change.remove == accounts(A, B, C)
    assert change.strangers == accounts(C)


@pytest.mark.parametrize(("arn", "unit"), [(ORG, None), (OU, OU_ID)])
def test_a_lacking_policy_is_told_with_the_statement_that_mends_it(
    arn: str, unit: str | None
) -> None:
    field_name = "organizations" if unit is None else "organizationalUnits"
    declares: dict[str, Any] = {field_name: [arn]}
    mine = share(**declares)
    (problem,) = plan(mine, secret_world()).plan.problems
    statement = json.loads(problem.message[problem.message.index("{") :])
    assert statement == policy_statement(ORG_ID, unit)
    mended = key(HOME_KEY, policy={"Statement": [statement]})
    seen = world(view(HOME, [SECRET], keys=[mended]))
    assert short(plan(mine, seen).plan.actions) == [f"+{unit or ORG_ID}"]


def test_what_was_given_before_it_was_refused_is_still_ours() -> None:
    """Otherwise an Additive share would leave it behind when it declares it no more."""
    seen = secret_world(ORGS)
    mine = share(organizations=[ORG], mode="Additive", recorded={PLACE: ORGS})
    (state,) = plan(mine, seen).states
    assert state.declared == ORGS
    later = share(mode="Additive", recorded={PLACE: state.declared})
    assert short(plan(later, seen).plan.actions) == [f"-{ORG_ID}"]


@dataclass(frozen=True)
class Unread:
    """One row: a world that is not wholly known."""

    name: str
    spec: dict[str, Any]
    seen: Observed
    goldens: Sequence[Gilded] = (gilded(),)
    recorded: Mapping[tuple[str, str], Principals] = field(default_factory=dict)
    leaving: bool = False
    actions: Sequence[str] = ()
    problems: Sequence[str] = ()
    waits: int = 1
    kept: Principals = NOBODY  # declared by the leaving place, if there is one


UNREAD = [
    Unread("no GoldenImage yet", declared(A), world(), goldens=()),
    Unread("no version yet", declared(A), world(), goldens=[gilded(0)]),
    Unread("no AMI in the Region yet", declared(A), world()),
    Unread(
        "a selector that selects nothing",
        {**declared(A), "imageRef": {"selector": {"matchLabels": {"os": "al"}}}},
        world(),
    ),
    Unread(
        "a selector that selects nothing any more lets go",
        {**declared(A), "imageRef": {"selector": {"matchLabels": {"os": "al"}}}},
        world(view(HOME, [GOLD], permissions={ami(1): accounts(A)})),
        recorded={PLACE: accounts(A)},
        actions=[f"-{A}"],
    ),
    Unread(
        "a Region that could not be read",
        declared(A),
        world(view(HOME, problem=HOLE)),
        problems=["AccessDenied"],
        waits=0,
    ),
    Unread(
        "an incomplete selection keeps what left it",
        declared(A),
        world(view(HOME, [GOLD], permissions={ami(1): accounts(A)})),
        goldens=[gilded(0)],
        recorded={PLACE: accounts(A)},
    ),
    Unread(
        "permissions that were not read",
        declared(A),
        world(replace(view(HOME, [GOLD]), permissions={})),
    ),
    Unread(
        "permissions that were not read and are to be taken",
        declared(A),
        world(replace(view(HOME, [GOLD]), permissions={})),
        recorded={PLACE: accounts(A)},
        leaving=True,
        kept=accounts(A),
    ),
    Unread(
        "a Region that could not be read and is to be left",
        declared(A),
        world(view(HOME, problem=HOLE)),
        recorded={PLACE: accounts(A)},
        leaving=True,
        problems=["AccessDenied"],
        waits=0,
        kept=accounts(A),
    ),
    Unread(
        "a deregistered AMI has nothing left to take",
        declared(A),
        world(),
        recorded={PLACE: accounts(A)},
        leaving=True,
        waits=0,
    ),
    Unread(
        "nor has a disabled one",
        declared(A),
        world(replace(view(HOME, [replace(GOLD, state="disabled")]), permissions={})),
        recorded={PLACE: accounts(A)},
        leaving=True,
        waits=0,
    ),
    Unread(
        "grants that were not read",
        declared(A),
        world(replace(view(HOME, [SECRET]), grants={})),
        waits=1,
    ),
    Unread(
        "a Region that is no replica",
        {**declared(A), "regions": [DR]},
        world(view(HOME, [GOLD])),
        problems=["RegionNotReplicated"],
        waits=0,
    ),
]


@pytest.mark.parametrize("case", UNREAD, ids=lambda c: c.name)
def test_what_is_not_known_is_not_changed(case: Unread) -> None:
    mine = share(recorded=case.recorded, leaving=case.leaving, **case.spec)
    result = plan(mine, case.seen, goldens=case.goldens)
    assert short(result.plan.actions) == list(case.actions)
    assert reasons(result.plan.problems) == list(case.problems)
    assert len(result.plan.waiting) == case.waits, result.plan.waiting
    for state in result.states:
        if state.leaving:
            assert state.declared == case.kept


def test_claims_of_shares_of_other_amis_keep_their_grants() -> None:
    seen = secret_world(grants=[grant(A), grant(B)])
    where = {gilded().key: frozenset({HOME})}
    claims = {(HOME, HOME_KEY): {A: frozenset({"Decrypt"})}}
    result = plan_share(share(), [], [gilded()], where, seen, CLUSTER, claims)
    assert short(result.plan.actions) == [f"revoke {B}"]
    assert result.grants == ()


PLAIN = image(5)


@pytest.mark.parametrize(
    ("name", "there", "actions", "problems", "waits"),
    [
        ("there", PLAIN, [f"+{A}"], [], 0),
        ("not there", image(6), [], ["ImageNotFound"], 0),
        ("of another account", image(5, owner=FOREIGN), [], ["ImageNotFound"], 0),
        ("pending", image(5, state="pending"), [], [], 1),
        ("disabled", image(5, state="disabled"), [], [], 1),
    ],
)
def test_plain_images(
    name: str, there: Image, actions: list[str], problems: list[str], waits: int
) -> None:
    result = plan(share(images=[PLAIN], **declared(A)), world(view(HOME, [there])))
    assert short(result.plan.actions) == actions, name
    assert reasons(result.plan.problems) == problems
    assert len(result.plan.waiting) == waits


def test_plain_images_of_other_regions_than_wanted_are_left_out() -> None:
    mine = share(images=[PLAIN, image(6, DR)], regions=[DR], **declared(A))
    result = plan(mine, world(view(HOME, [PLAIN]), view(DR, [image(6, DR)])), goldens=())
    assert [s.target.region for s in result.states] == [DR]


VERSIONS = [ours(n, version=n) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("select", "latest", "there", "want"),
    [
        ({"select": "Latest"}, 3, VERSIONS, [3]),
        ({"select": "Latest"}, 3, VERSIONS[:2], [2]),
        ({"select": "Latest"}, 1, VERSIONS, [1]),
        ({"select": "Newest", "count": 2}, 3, VERSIONS, [2, 3]),
        ({"select": "Newest", "count": 9}, 4, VERSIONS, [1, 2, 3, 4]),
        ({"select": "All"}, 3, VERSIONS, [1, 2, 3]),
        ({"select": "All"}, 3, [ours(1), ours(2, version=2, state="disabled")], [1]),
        ({"select": "All"}, 3, [ours(1), ours(2, version=2, role="intermediate")], [1]),
        ({"select": "All"}, 3, [ours(1), ours(2, version=2, owner=FOREIGN)], [1]),
        ({"select": "All"}, 3, [ours(1), ours(2, version=2, cluster="test")], [1]),
    ],
)
def test_versions(
    select: dict[str, Any], latest: int, there: Sequence[Image], want: list[int]
) -> None:
    result = plan(share(versions=select), world(view(HOME, there)), goldens=[gilded(latest)])
    assert sorted(t.version or 0 for t in result.resolution.targets) == want


def test_of_one_version_the_last_attempt_and_the_oldest_of_it() -> None:
    same = [
        ours(1, created="2030-01-01T00:00:00Z"),
        ours(2, created="2030-01-03T00:00:00Z", attempt=2),
        ours(3, created="2030-01-02T00:00:00Z", attempt=2),
    ]
    result = plan(share(), world(view(HOME, same)))
    assert [t.image_id for t in result.resolution.targets] == [ami(3)]


def test_a_region_whose_copy_is_under_way_keeps_the_version_it_has() -> None:
    seen = world(
        view(HOME, [ours(1), ours(2, version=2)]),
        view(DR, [ours(3, DR, role="replica"), ours(4, DR, version=2, state="pending")]),
    )
    result = plan(share(), seen, goldens=[gilded(2)], regions=(HOME, DR))
    assert [(t.region, t.version) for t in result.resolution.targets] == [(DR, 1), (HOME, 2)]


def test_regions_stand_apart() -> None:
    seen = world(view(HOME, [GOLD]), view(DR, problem=replace(HOLE, region=DR)))
    result = plan(share(**declared(A)), seen, regions=(HOME, DR))
    assert short(result.plan.actions) == [f"+{A}"]
    assert reasons(result.plan.problems) == ["AccessDenied"]


@pytest.mark.parametrize(
    ("ref", "golden", "want"),
    [
        ({"name": "base"}, gilded(), True),
        ({"name": "other"}, gilded(), False),
        ({"name": "base"}, gilded(namespace="else"), False),
        ({"selector": {"matchLabels": {"os": "al"}}}, gilded(labels={"os": "al"}), True),
        ({"selector": {"matchLabels": {"os": "al"}}}, gilded(), False),
        (
            {"selector": {"matchLabels": {"os": "al"}}},
            gilded(labels={"os": "al"}, namespace="else"),
            False,
        ),
        ({"images": [{"id": ami(1), "region": HOME}]}, gilded(), False),
    ],
)
def test_selects(ref: dict[str, Any], golden: Gilded, want: bool) -> None:
    assert selects(share(imageRef=ref), golden) is want


def test_recorded_is_what_status_claims() -> None:
    shared = SharedImage(
        region=HOME, image_id=ami(1), accounts=(A,), organizations=(ORG,), public=True
    )
    assert recorded(ImageShareStatus(images=(shared,))) == {PLACE: accounts(A) | ORGS | PUBLIC}


def test_grant_names_are_such_as_kms_takes() -> None:
    name = grant_name(CLUSTER, A, ["Decrypt", "CreateGrant"])
    assert name == grant_name(CLUSTER, A, ["CreateGrant", "Decrypt"])
    assert name != grant_name(CLUSTER, A, ["Decrypt"])
    assert name.replace(":", "").replace("-", "").isalnum()
    assert len(name) <= 256


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_the_grantee_is_of_the_partition_of_the_key(partition: str) -> None:
    arn = HOME_KEY.replace("arn:aws:", f"arn:{partition}:")
    assert principal_of(A, arn) == f"arn:{partition}:iam::{A}:root"


def test_what_another_share_declares_is_no_news_to_this_one() -> None:
    """A drift is told by comparing digests: a change of another's must not hide the next one."""
    mine = share("mine", **declared(A))
    policy = share("mine", organizations=[ORG], kms={"mode": "KeyPolicy"})
    seen = world(view(HOME, [SECRET]))
    for one in (mine, policy):
        alone = plan(one, seen).inputs
        for other in (declared(B), declared(B, C), {"mode": "Additive", **declared(C)}):
            assert plan(one, seen, [share("theirs", **other)]).inputs == alone
    # What it declares itself is, and so are operations that it must give for another.
    assert plan(share("mine", **declared(A, B)), seen).inputs != plan(mine, seen).inputs
    more = share("theirs", **declared(A), kms={"operations": ["Decrypt", "Encrypt"]})
    assert plan(mine, seen, [more]).inputs != plan(mine, seen).inputs
    # A statement is one for all.
    units = share("theirs", organizationalUnits=[OU], kms={"mode": "KeyPolicy"})
    assert plan(policy, seen, [units]).inputs != plan(policy, seen).inputs
