"""The plan of one ImageShare: launch permissions and grants, over the union of all shares."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gilder.api.imageshare import ImageShareSpec, ImageShareStatus
from gilder.core import pool, rules
from gilder.core.actions import CreateGrant, ModifyLaunchPermission, RevokeGrant
from gilder.core.digest import digest
from gilder.core.gating import shut
from gilder.core.observed import (
    NOBODY,
    Grant,
    Image,
    Key,
    Observed,
    Principals,
    Problem,
    RegionView,
)
from gilder.core.plan import Draft, Plan, freeze

POLL = 15.0
_GRANT = re.compile(r"([0-9]{12}):[0-9a-f]{12}")  # what follows the prefix in a grant's name

Place = tuple[str, str]  # Region, AMI id
# Region and key ARN -> account -> operations that shares of other AMIs need
Claims = Mapping[tuple[str, str], Mapping[str, frozenset[str]]]
NO_CLAIMS: Claims = {}


@dataclass(frozen=True, slots=True)
class Gilded:
    """What a share needs to know of a GoldenImage. `latest` is 0 before the first version."""

    key: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    latest: int = 0
    deleting: bool = False
    held: frozenset[int] = frozenset()  # versions that have not passed their gates


@dataclass(frozen=True, slots=True)
class Share:
    """One ImageShare. `recorded` is what its status says is ours, by AMI."""

    key: str
    namespace: str
    spec: ImageShareSpec
    recorded: Mapping[Place, Principals] = field(default_factory=dict)
    recorded_keys: frozenset[tuple[str, str]] = frozenset()  # Region, key ARN
    leaving: bool = False  # being deleted: it declares nothing any more
    paused: bool = False  # by annotation
    unreadable: str = ""  # why its spec cannot be read: it declares what it has recorded

    @property
    def passive(self) -> bool:
        """Nothing is changed in AWS for its sake, though what it declares may stay."""
        return self.paused or self.spec.suspend or self.spec.management_policy == "Observe"

    @property
    def principals(self) -> Principals:
        if self.unreadable:
            total = NOBODY
            for ours in self.recorded.values():
                total |= ours
            return total
        s = self.spec
        return Principals(
            frozenset(s.accounts),
            frozenset(s.organizations),
            frozenset(s.organizational_units),
            s.public and s.confirm_public,
        )


def recorded(status: ImageShareStatus) -> dict[Place, Principals]:
    """Principals that a share's status claims, by AMI."""
    return {
        pool.one((i.region, i.image_id)): pool.one(
            Principals(
                pool.names(i.accounts),
                pool.names(i.organizations),
                pool.names(i.organizational_units),
                i.public,
            )
        )
        for i in status.images
    }


@dataclass(frozen=True, slots=True)
class Target:
    """An AMI that a share selects; `image` is None while it is not there to be shared."""

    region: str
    image_id: str
    image: Image | None
    golden: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The AMIs of one share, or why they are not known (yet)."""

    targets: tuple[Target, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()  # nothing is selected, and that is certain

    @property
    def complete(self) -> bool:
        return not self.problems and not self.waiting


@dataclass(frozen=True, slots=True)
class TargetState:
    """What one AMI of the share comes to, for status."""

    target: Target
    declared: Principals  # by this share, after refusals
    missing: Principals  # declared and not in place when observed
    problem: Problem | None = None
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class SharePlan:
    """A Plan with the state of each AMI, and the grants that the share stands on."""

    plan: Plan
    resolution: Resolution = Resolution()
    states: tuple[TargetState, ...] = ()
    grants: tuple[Grant, ...] = ()
    keys_lacking: bool = False
    inputs: str = ""  # digest of all that is declared: a plan without a new one is drift


def selects(share: Share, golden: Gilded) -> bool:
    """Whether the share's imageRef names or selects this GoldenImage."""
    ref = share.spec.image_ref
    if golden.namespace != share.namespace:
        return False
    if ref.name is not None:
        return ref.name == golden.name
    # A selector lets go of an image that is being deleted; a name holds it until the share goes.
    chosen = ref.selector is not None and ref.selector.matches(dict(golden.labels))
    return chosen and not golden.deleting


def regions_of(share: Share, goldens: Iterable[tuple[Gilded, frozenset[str]]]) -> frozenset[str]:
    """Regions that must be observed to plan this share."""
    found = {p[0] for p in share.recorded} | {k[0] for k in share.recorded_keys}
    found |= {i.region for i in share.spec.image_ref.images}
    for golden, regions in goldens:
        if selects(share, golden):
            found |= regions
    return frozenset(found)


def resolve(
    share: Share,
    goldens: Sequence[Gilded],
    seen: Observed,
    cluster: str,
    regions: Mapping[str, frozenset[str]],
) -> Resolution:
    """The AMIs the share selects in the Regions that were observed.

    `regions` maps a GoldenImage's key to the Regions its AMIs may be in. Per Region, `Latest` is
    the newest available version up to the latest one, so that a Region whose copy is still under
    way keeps the version it has.
    """
    if share.leaving:
        return Resolution()
    if share.unreadable:
        return Resolution(problems=(Problem("InvalidSpec", share.unreadable),))
    spec = share.spec
    wanted = frozenset(spec.regions)
    targets: list[Target] = []
    problems: list[Problem] = []
    waiting: list[str] = []
    for plain in spec.image_ref.images:
        if wanted and plain.region not in wanted:
            continue
        view = seen.region(plain.region)
        image = view.images.get(plain.id)
        if view.problem:
            problems.append(view.problem)
        elif image is None or image.owner != seen.account:
            problems.append(
                Problem(
                    "ImageNotFound",
                    f"spec.imageRef.images: {plain.id} is not an AMI of account {seen.account} in "
                    f"{plain.region}. Correct the id or the Region",
                    region=plain.region,
                )
            )
        elif shut(image):
            problems.append(
                Problem(
                    "GateNotPassed",
                    f"spec.imageRef.images: {plain.id} in {plain.region} has not passed its gates. "
                    "Wait until it has, or name another AMI",
                    permanent=False,
                    region=plain.region,
                )
            )
        else:
            targets.append(Target(plain.region, plain.id, image))
    idle: tuple[str, ...] = ()
    selected = [g for g in goldens if selects(share, g)]
    if spec.image_ref.name is not None and not selected:
        waiting.append(f"GoldenImage {share.namespace}/{spec.image_ref.name} to be created")
    if spec.image_ref.selector is not None and not selected:
        # Known for certain, unlike a name that may appear: what was selected before is let go.
        idle = ("a GoldenImage that spec.imageRef.selector selects",)
    for golden in selected:
        if not golden.latest:
            waiting.append(f"GoldenImage {golden.key} to have a version")
            continue
        for region in sorted(regions.get(golden.key, frozenset())):
            if wanted and region not in wanted:
                continue
            view = seen.region(region)
            if view.problem:
                problems.append(view.problem)
                continue
            found = _versions(share, golden, view, seen.account, cluster)
            if not found:
                waiting.append(f"GoldenImage {golden.key} to be available in {region}")
            targets += found
    missing = wanted - {r for g in selected for r in regions.get(g.key, frozenset())}
    if selected and missing and all(g.latest for g in selected):
        problems.append(
            Problem(
                "RegionNotReplicated",
                f"spec.regions: {', '.join(sorted(missing))} is neither the home Region nor a "
                "replica of the image. Add it to spec.replicas of the GoldenImage or remove it",
            )
        )
    return Resolution(tuple(targets), tuple(dict.fromkeys(problems)), tuple(waiting), idle)


def _versions(
    share: Share, golden: Gilded, view: RegionView, account: str, cluster: str
) -> list[Target]:
    there: dict[int, Image] = {}
    # Per version the last attempt (a copy under a changed key is one), and of that the oldest.
    mine = view.belonging(cluster, golden.key, account)
    for image in sorted(mine, key=lambda i: (-i.attempt, i.created, i.id)):
        usable = image.available and 0 < image.version <= golden.latest
        released = not shut(image) and image.version not in golden.held
        if usable and image.role in ("home", "replica") and released:
            there.setdefault(image.version, image)
    newest_first = sorted(there, reverse=True)
    select = share.spec.versions.select
    count = {"Latest": 1, "All": None, "Newest": share.spec.versions.count}[select]
    return [Target(view.region, there[v].id, there[v], golden.key, v) for v in newest_first[:count]]


def plan_share(
    share: Share,
    others: Sequence[Share],
    goldens: Sequence[Gilded],
    regions: Mapping[str, frozenset[str]],
    seen: Observed,
    cluster: str,
    claims: Claims = NO_CLAIMS,
) -> SharePlan:
    """What makes launch permissions and grants match the union of all shares.

    Planned are the AMIs that this share selects or has marked as its own, and the keys of these.
    `others` are all shares that select or claim any of these AMIs; shares of other AMIs under the
    same keys may be given as `claims` instead.
    """
    draft = Draft()
    mine = resolve(share, goldens, seen, cluster, regions)
    resolved = {o.key: resolve(o, goldens, seen, cluster, regions) for o in others}
    for problem in mine.problems:
        draft.note(problem)
    for what in (*mine.waiting, *mine.idle):
        draft.wait(what)

    everyone = [(share, mine), *((o, resolved[o.key]) for o in others)]
    union = _Union.of(everyone, seen, share.key).with_claims(claims)
    wanted = {(t.region, t.image_id): t for t in mine.targets}
    # An AMI that left the selection keeps its permissions while the selection is not known.
    left = set(share.recorded) - set(wanted) if (mine.complete or share.leaving) else set()

    states: list[TargetState] = []
    for place in sorted(wanted):
        states.append(_target(share, wanted[place], union, seen, draft))
    for place in sorted(left):
        states.append(_left(share, place, union, seen, draft))

    places = [*wanted, *left]
    keys = {(p[0], k) for p in places for k in _keys_of(seen, p)} | set(share.recorded_keys)
    grants, lacking = _grants(cluster, keys, union.mine(share, seen), union, seen, draft)
    _order(draft, seen, union)
    inputs = digest(
        share.spec.model_dump(mode="json"),
        [[p, union.principals(p).names()] for p in sorted(wanted)],
        [[k, {a: sorted(o) for a, o in union.grants.get(k, {}).items()}] for k in sorted(keys)],
    )
    return SharePlan(freeze(draft), mine, tuple(states), tuple(grants), lacking, inputs)


def access_needs(
    share: Share,
    goldens: Sequence[Gilded],
    regions: Mapping[str, frozenset[str]],
    seen: Observed,
    cluster: str,
) -> "tuple[frozenset[Place], frozenset[tuple[str, str]]]":
    """AMIs whose launch permissions, and keys whose grants, the plan of this share looks at."""
    targets = resolve(share, goldens, seen, cluster, regions).targets
    places = frozenset((t.region, t.image_id) for t in targets) | share.recorded.keys()
    return frozenset(places), share.recorded_keys


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What one share may have of one AMI: principals after AWS's rules, and what was refused.

    `asked` is what it declares: the refused part is not added, but never removed either.
    """

    principals: Principals
    problem: Problem | None = None
    asked: Principals = NOBODY


@dataclass(frozen=True, slots=True)
class _Union:
    """Declarations of all shares by AMI."""

    allowed: Mapping[Place, Mapping[str, _Allowed]]  # AMI -> share key -> allowed
    authoritative: frozenset[Place]
    # Region, key ARN -> account -> operations
    grants: Mapping[tuple[str, str], Mapping[str, frozenset[str]]]
    # Neither added nor removed: declared and refused, or by shares that are not known or change
    # nothing in AWS.
    held: Mapping[Place, Principals]
    held_grants: frozenset[tuple[str, str, str]]  # Region, key ARN, account: likewise
    held_accounts: frozenset[str]  # of shares that are not wholly resolved: on every key
    recorded: Mapping[Place, Principals]  # by other shares, which remove it themselves

    @staticmethod
    def of(everyone: Sequence[tuple[Share, Resolution]], seen: Observed, planned: str) -> "_Union":
        allowed: dict[Place, dict[str, _Allowed]] = {}
        authoritative: set[Place] = set()
        grants: dict[tuple[str, str], dict[str, frozenset[str]]] = {}
        held: dict[Place, Principals] = {}
        held_grants: set[tuple[str, str, str]] = set()
        held_accounts: set[str] = set()
        claimed: dict[Place, Principals] = {}
        for share, resolution in everyone:
            mine = share.key == planned
            passive = not mine and share.passive
            if not mine and not passive:
                for place, ours in share.recorded.items():
                    claimed[place] = claimed.get(place, NOBODY) | ours
            if (passive or not resolution.complete) and not share.leaving:
                if share.spec.kms.mode == "Grant" and not resolution.complete:
                    held_accounts |= share.principals.accounts
                for place, ours in share.recorded.items():
                    held[place] = held.get(place, NOBODY) | (ours & share.principals)
            for target in resolution.targets:
                if target.image is None:
                    continue
                place = (target.region, target.image_id)
                view = seen.region(target.region)
                may = allow(share, target.image, view, seen.account)
                held[place] = held.get(place, NOBODY) | may.asked
                if share.spec.kms.mode == "Grant":
                    stay = may.asked if passive else may.asked - may.principals
                    held_grants |= {
                        (target.region, key, account)
                        for key in target.image.kms_keys
                        for account in stay.accounts
                    }
                if passive:
                    continue
                allowed.setdefault(place, {})[share.key] = may
                if share.spec.mode == "Authoritative":
                    authoritative.add(place)
                if share.spec.kms.mode == "Grant":
                    for key in target.image.kms_keys:
                        per_account = grants.setdefault((target.region, key), {})
                        for account in may.principals.accounts:
                            per_account[account] = per_account.get(account, frozenset()) | set(
                                share.spec.kms.operations
                            )
        return _Union(
            allowed,
            frozenset(authoritative),
            grants,
            held,
            frozenset(held_grants),
            frozenset(held_accounts),
            claimed,
        )

    def with_claims(self, claims: Claims) -> "_Union":
        """Added are grants that shares of other AMIs need."""
        if not claims:
            return self
        grants = {k: dict(v) for k, v in self.grants.items()}
        for key, accounts in claims.items():
            per_account = grants.setdefault(key, {})
            for account, operations in accounts.items():
                per_account[account] = per_account.get(account, frozenset()) | operations
        return replace(self, grants=grants)

    def mine(self, share: Share, seen: Observed) -> dict[tuple[str, str], frozenset[str]]:
        """Region and key ARN to the accounts whose grants this share stands on."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        if share.spec.kms.mode != "Grant":
            return found
        for place, by_share in self.allowed.items():
            may = by_share.get(share.key)
            if may is None:
                continue
            for key in _keys_of(seen, place):
                at = (place[0], key)
                found[at] = found.get(at, frozenset()) | may.principals.accounts
        return found

    def holds(self, region: str, grant: Grant, account: str) -> bool:
        """Whether a grant stays although no resolved share wants it; not if its grantee is dead."""
        held = account in self.held_accounts or (region, grant.key, account) in self.held_grants
        return held and grant.principal == principal_of(account, grant.key)

    def principals(self, place: Place) -> Principals:
        total = NOBODY
        for may in self.allowed.get(place, {}).values():
            total |= may.principals
        return total


def allow(share: Share, image: Image, view: RegionView, account: str) -> _Allowed:
    """The part of a share's principals that AWS's rules let have this AMI."""
    asked = share.principals
    asked = Principals(
        asked.accounts - {account}, asked.organizations, asked.units, asked.public
    )  # the owner always may
    keys = {k: v for k, v in view.keys.items() if isinstance(v, Key)}
    declared = asked
    refusal = rules.product_code_share(image) or rules.default_key(image, keys)
    if not refusal and image.encrypted and not image.kms_keys and share.spec.kms.mode == "Grant":
        refusal = Problem(
            "KeyUnknown",
            f"{image.id} in {image.region} is encrypted, but the KMS keys of its snapshots were "
            "not seen, so that no grant can go before the launch permission",
            permanent=False,
            region=image.region,
        )
    if refusal and asked:
        return _Allowed(NOBODY, refusal, declared)
    problem: Problem | None = None
    if asked.public and (problem := rules.public(image, view.public_blocked)):
        asked = Principals(asked.accounts, asked.organizations, asked.units)
    if image.encrypted and share.spec.kms.mode == "Grant":
        organizations, units = set(asked.organizations), set(asked.units)
        for arn in (*asked.organizations, *asked.units):
            if lack := _policy_lack(arn, image, keys):
                problem = lack
                organizations.discard(arn)
                units.discard(arn)
        asked = Principals(asked.accounts, frozenset(organizations), frozenset(units), asked.public)
    return _Allowed(asked, problem, declared)


def _policy_lack(arn: str, image: Image, keys: Mapping[str, Key]) -> Problem | None:
    """A grant cannot name an organization or OU: the key policy must let it in."""
    parts = arn.split(":", 5)[5].split("/")  # organization/o-x or ou/o-x/ou-y
    organization, unit = parts[1], parts[2] if len(parts) > 2 else None
    for key_arn in sorted(image.kms_keys):
        key = keys.get(key_arn)
        if key is None or not rules.policy_allows(key.policy, organization, unit):
            return Problem(
                rules.KEY_POLICY,
                f"{unit or organization} may not use {key_arn}: a KMS grant cannot name an "
                "organization or OU, and without key access the launch permission is useless, so "
                "neither is given. Add this statement to the key policy: "
                f"{json.dumps(rules.policy_statement(organization, unit))}",
                region=image.region,
            )
    return None


def _keys_of(seen: Observed, place: Place) -> frozenset[str]:
    image = seen.region(place[0]).images.get(place[1])
    return image.kms_keys if image else frozenset()


def _target(
    share: Share, target: Target, union: _Union, seen: Observed, draft: Draft
) -> TargetState:
    place = (target.region, target.image_id)
    image = target.image
    assert image is not None  # resolve() makes no other targets
    may = union.allowed[place][share.key]
    if may.problem:
        draft.note(may.problem)
    view = seen.region(target.region)
    current = view.permissions.get(target.image_id)
    if not image.available:
        draft.wait(f"{image.id} in {target.region} to be available (it is {image.state})", POLL)
        return TargetState(target, may.principals, may.principals, may.problem)
    if current is None:
        if unread := view.unread.get(target.image_id):
            draft.note(unread)
        draft.wait(f"launch permissions of {image.id} in {target.region} to be read", POLL)
        return TargetState(target, may.principals, may.principals, may.problem)
    total = union.principals(place)
    ours = share.recorded.get(place, NOBODY)
    # What another share declares is that share's to give, so that each tells of its own drift.
    _permission(place, may.principals, total, ours, current, union, draft)
    # What we gave before it was refused is still ours to take once it is not declared any more.
    still = ours & current & may.asked
    return TargetState(target, may.principals | still, may.principals - current, may.problem)


def _permission(
    place: Place,
    mine: Principals,
    total: Principals,
    ours: Principals,
    current: Principals,
    union: _Union,
    draft: Draft,
) -> None:
    extra = current - total - union.held.get(place, NOBODY)
    remove = extra if place in union.authoritative else extra & ours
    add = mine - current
    if not add and not remove:
        return
    draft.do(
        ModifyLaunchPermission(
            region=place[0],
            image=place[1],
            add=add,
            remove=remove,
            strangers=remove - ours - union.recorded.get(place, NOBODY),
        )
    )


def _left(share: Share, place: Place, union: _Union, seen: Observed, draft: Draft) -> TargetState:
    """An AMI that this share no longer selects: what only it declared goes."""
    region, image_id = place
    view = seen.region(region)
    image = view.images.get(image_id)
    ours = share.recorded[place]
    target = Target(region, image_id, image)
    if view.problem:
        draft.note(view.problem)
        return TargetState(target, ours, NOBODY, view.problem, leaving=True)
    current = view.permissions.get(image_id)
    if image is not None and current is not None:
        _permission(place, NOBODY, union.principals(place), ours, current, union, draft)
    elif image is not None and image.state != "disabled":
        draft.wait(f"launch permissions of {image_id} in {region} to be read", POLL)
        return TargetState(target, ours, NOBODY, leaving=True)
    # A deregistered or disabled AMI has no permissions left to take.
    return TargetState(target, NOBODY, NOBODY, leaving=True)


def grant_name(cluster: str, account: str, operations: Iterable[str]) -> str:
    """Deterministic grant name; KMS answers a repeated CreateGrant of one name with one grant.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html#KMS-CreateGrant-request-Name
    """
    return f"{grant_prefix(cluster)}{account}:{digest(sorted(operations), length=12)}"


def grant_prefix(cluster: str) -> str:
    return f"gilder:{cluster}:"


def _account_of(name: str, cluster: str) -> str | None:
    """The account of a grant of ours; None for any other name, whatever it begins with."""
    found = _GRANT.fullmatch(name.removeprefix(grant_prefix(cluster)))
    return found[1] if found and name.startswith(grant_prefix(cluster)) else None


def principal_of(account: str, key: str) -> str:
    """The grantee for an account: its root, in the key's partition."""
    partition = key.split(":", 2)[1]
    return f"arn:{partition}:iam::{account}:root"


def _grants(
    cluster: str,
    keys: Iterable[tuple[str, str]],
    mine: Mapping[tuple[str, str], frozenset[str]],
    union: _Union,
    seen: Observed,
    draft: Draft,
) -> tuple[list[Grant], bool]:
    """Grants to create and to revoke on these keys. Returns ours in place, and if any lack.

    `mine` are the accounts by key whose grants this share stands on; it creates no others.
    """
    in_place: list[Grant] = []
    lacking = False
    for region, key in sorted(keys):
        view = seen.region(region)
        there = view.grants.get(key)
        if view.problem or there is None:
            problem = view.problem or view.keys.get(key)
            if isinstance(problem, Problem):
                draft.note(problem)
            lacking = lacking or bool(mine.get((region, key)))
            continue
        wanted = union.grants.get((region, key), {})
        ours = {g.id: a for g in there if (a := _account_of(g.name, cluster)) is not None}
        kept: set[str] = set()
        names = {g.name for g in there}
        accounts = mine.get((region, key), frozenset())
        for account, operations in sorted(wanted.items()):
            name = grant_name(cluster, account, operations)
            principal = principal_of(account, key)
            found = [
                g
                for g in there
                if g.name == name and g.principal == principal and g.operations == operations
            ]
            if found:
                kept.add(found[0].id)
                if account in accounts:
                    in_place.append(found[0])
                continue
            if account not in accounts:
                continue
            lacking = True
            names.add(name)
            draft.do(
                CreateGrant(
                    region=region,
                    key=key,
                    account=account,
                    principal=principal,
                    operations=tuple(sorted(operations)),
                    name=name,
                )
            )
        for grant in there:
            if grant.id in kept or grant.id not in ours:
                continue
            account = ours[grant.id]
            replacement = wanted.get(account)
            if union.holds(region, grant, account):
                continue
            successor = grant_name(cluster, account, replacement) if replacement else ""
            if successor and successor not in names:
                continue  # the share that needs the account makes it, and then revokes this one
            draft.do(
                RevokeGrant(
                    region=region,
                    key=key,
                    grant=grant.id,
                    principal=grant.principal,
                    account=account,
                    replaced_by=successor,
                )
            )
    return in_place, lacking


def _order(draft: Draft, seen: Observed, union: _Union) -> None:
    """Key first, permission after; the opposite when access is taken."""
    created = {(a.region, a.key, a.account) for a in draft.actions if isinstance(a, CreateGrant)}
    first = [a for a in draft.actions if isinstance(a, CreateGrant)]
    middle: list[ModifyLaunchPermission] = []
    for action in draft.actions:
        if isinstance(action, ModifyLaunchPermission):
            ready = _after_grants(action, created, seen, union, draft)
            if ready is not None:
                middle.append(ready)
    last = []
    for action in draft.actions:
        if isinstance(action, RevokeGrant):
            images = _still_launching(action, middle, seen, union)
            if images is None:
                draft.wait(f"another ImageShare to let go of {action.account}", POLL)
            else:
                last.append(replace(action, images=images))
    draft.actions[:] = [*first, *middle, *last]


def _after_grants(
    action: ModifyLaunchPermission,
    created: set[tuple[str, str, str]],
    seen: Observed,
    union: _Union,
    draft: Draft,
) -> ModifyLaunchPermission | None:
    """The permission with the grants it stands on; accounts whose key is unreadable drop out."""
    needs: set[tuple[str, str]] = set()
    blocked: set[str] = set()
    for key in _keys_of(seen, (action.region, action.image)):
        wanted = union.grants.get((action.region, key), {})
        readable = key in seen.region(action.region).grants
        for account in action.add.accounts & frozenset(wanted):
            if not readable:
                blocked.add(account)
            elif (action.region, key, account) in created:
                needs.add((account, key))
    add = action.add - Principals(frozenset(blocked))
    if blocked:
        draft.wait(f"the grants behind {action.image} to be readable", POLL)
    if not add and not action.remove:
        return None
    return replace(action, add=add, needs=frozenset(needs))


def _still_launching(
    action: RevokeGrant,
    changes: Sequence[ModifyLaunchPermission],
    seen: Observed,
    union: _Union,
) -> tuple[str, ...] | None:
    """AMIs that this plan closes to the account first; None when some other share must do so."""
    if action.replaced_by:
        return ()
    closing = {c.image for c in changes if action.account in c.remove.accounts}
    view = seen.region(action.region)
    first: list[str] = []
    for image in view.images.values():
        open_to = view.permissions.get(image.id, NOBODY).accounts
        if action.key not in image.kms_keys or action.account not in open_to:
            continue
        if image.id in closing:
            first.append(image.id)
        elif action.account not in union.principals(place := (action.region, image.id)).accounts:
            claimed = union.recorded.get(place, NOBODY).accounts
            held = union.held.get(place, NOBODY).accounts
            if (place in union.authoritative or action.account in claimed) and (
                action.account not in held
            ):
                return None
            # Opened by somebody else's hand, or held open: no share is going to close it.
    return tuple(sorted(first))
