"""The plan of one ImageShare: launch permissions and key access, over the union of all shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gilder.core.actions import (
    CreateGrant,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    PutKeyPolicy,
    RevokeGrant,
)
from gilder.core.digest import digest
from gilder.core.grants import crowded, left, plan_grants, standing
from gilder.core.observed import NOBODY, Grant, Observed, Principals, Problem
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.shares import (
    NO_CLAIMS,
    Claims,
    Gilded,
    KeyPlace,
    Place,
    Resolution,
    Share,
    Target,
    resolve,
)
from gilder.core.statements import plan_policies, reach, reaches, stands
from gilder.core.union import Union, keys_of

POLL = 15.0

Permission = ModifyLaunchPermission | ModifySnapshotPermission


@dataclass(frozen=True, slots=True)
class TargetState:
    """What one AMI of the share comes to, for status."""

    target: Target
    declared: Principals  # by this share, after refusals
    missing: Principals  # declared and not in place when observed
    problem: Problem | None = None
    leaving: bool = False
    # Snapshots that accounts of this share may not create volumes of yet.
    volumes_missing: tuple[str, ...] = ()
    volumes: bool = False  # the snapshots are shared too, or still are
    unresolved: bool = False  # it is kept, since what the share selects is not known
    keyless: frozenset[str] = frozenset()  # accounts and `o-...[/ou-...]` without key access yet
    refused: Principals = NOBODY  # declared, and not let in for `problem`


@dataclass(frozen=True, slots=True)
class SharePlan:
    """A Plan with the state of each AMI, and the key access that the share stands on."""

    plan: Plan
    resolution: Resolution = field(default_factory=Resolution)
    states: tuple[TargetState, ...] = ()
    grants: tuple[Grant, ...] = ()
    keys_lacking: bool = False
    inputs: str = ""  # digest of all that is declared: a plan without a new one is drift
    policies: tuple[KeyPlace, ...] = ()  # keys with our statement
    crowded: tuple[str, ...] = ()  # keys whose grants come near to KMS's limit, in words
    accounts: tuple[str, ...] = ()  # AWS accounts that were looked at
    key_homes: Mapping[KeyPlace, str] = field(default_factory=dict)  # part of keys not in the own


def plan_share(
    share: Share,
    others: Sequence[Share],
    goldens: Sequence[Gilded],
    regions: Mapping[str, frozenset[str]],
    seen: Observed,
    cluster: str,
    claims: Claims = NO_CLAIMS,
) -> SharePlan:
    """What makes launch permissions and key access match the union of all shares.

    Planned are the AMIs that this share selects or has marked as its own, and the keys of these.
    `others` are all shares that select or claim any of these AMIs; shares of other AMIs under the
    same keys may be given as `claims` instead.
    """
    draft = Draft()
    mine = resolve(share, goldens, seen, cluster, regions)
    resolved = {o.key: resolve(o, goldens, seen, cluster, regions) for o in others}
    for problem in (*share.refused, *mine.problems, *mine.refused):
        draft.note(problem)
    for what in (*mine.waiting, *mine.idle):
        draft.wait(what)
    if share.wake is not None:
        draft.wake(share.wake)

    everyone = [(share, mine), *((o, resolved[o.key]) for o in others)]
    wanted = {t.place: t for t in mine.targets}
    unselected = sorted(set(share.recorded) - set(wanted))
    of_images = {(p[0], k) for p in (*wanted, *unselected) for k in keys_of(seen, p)}
    keys = of_images | share.recorded_keys
    union = Union.of(everyone, seen, share.key, cluster)
    union = union.with_claims(claims, keys | share.recorded_policies)
    # An AMI that left the selection keeps its permissions while the selection is not known.
    known = mine.complete or share.leaving

    states: list[TargetState] = []
    for place in sorted(wanted):
        states.append(_target(share, wanted[place], union, seen, cluster, draft))
    for place in unselected:
        if known or place in mine.shut_out:
            states.append(_left(share, place, union, seen, draft))
        elif (state := _kept(share, place, union, seen, draft)) is not None:
            states.append(state)

    grantees = union.mine(share, seen)
    grants, lacking = plan_grants(cluster, keys, grantees, union, seen, draft)
    policies = _policies(share, of_images, union, seen, cluster, draft)
    if share.leaving:
        _bequeath(keys, policies, union, seen, cluster, draft)
    _order(draft, seen, union, cluster)
    inputs = _inputs(share, sorted(wanted), of_images, grantees, union)
    return SharePlan(
        plan=freeze(draft),
        resolution=mine,
        states=tuple(states),
        grants=tuple(grants),
        keys_lacking=lacking,
        inputs=inputs,
        policies=policies,
        crowded=crowded(seen, keys),
        accounts=(seen.account,) if seen.account else (),
        key_homes=dict.fromkeys(keys | set(policies), share.part) if share.part else {},
    )


def _inputs(
    share: Share,
    places: Sequence[Place],
    of_images: set[KeyPlace],
    grantees: Mapping[KeyPlace, frozenset[str]],
    union: Union,
) -> str:
    """Digest of what is declared of these AMIs and keys, as far as this share gives it.

    What other shares declare of them is theirs to give. With it in here, the next drift after a
    change of theirs would pass for a change of this share's.
    """
    edited = set(share.recorded_policies) | (of_images if share.edits_policies else set())
    operations = [
        (k, grantee, sorted(some))
        for k in sorted(of_images | set(share.recorded_keys))
        for grantee, some in sorted(union.grants.get(k, {}).items())
        if grantee in grantees.get(k, ())
    ]
    # A statement in a key policy is written as a whole, for all shares.
    let_in = [
        (k, who, sorted(some))
        for k in sorted(edited)
        for who, some in sorted(union.policies.get(k, {}).items())
    ]
    declared = [(p, union.allowed[p][share.key].principals.names()) for p in places]
    return digest(share.spec.model_dump(mode="json"), declared, operations, let_in)


def together(parts: Sequence[SharePlan]) -> SharePlan:
    """The plans of a share's parts, one per account, as one."""
    if len(parts) == 1:
        return parts[0]
    plans = [p.plan for p in parts]
    pauses = [p.retry_after for p in plans if p.retry_after is not None]
    found = [p.resolution for p in parts]
    return SharePlan(
        plan=Plan(
            tuple(a for p in plans for a in p.actions),
            tuple(dict.fromkeys(x for p in plans for x in p.problems)),
            tuple(dict.fromkeys(w for p in plans for w in p.waiting)),
            min(pauses, default=None),
        ),
        resolution=Resolution(
            tuple(t for r in found for t in r.targets),
            tuple(dict.fromkeys(x for r in found for x in r.problems)),
            tuple(dict.fromkeys(w for r in found for w in r.waiting)),
            tuple(dict.fromkeys(w for r in found for w in r.idle)),
            tuple(dict.fromkeys(x for r in found for x in r.refused)),
        ),
        states=tuple(s for p in parts for s in p.states),
        grants=tuple(g for p in parts for g in p.grants),
        keys_lacking=any(p.keys_lacking for p in parts),
        inputs=digest(*(p.inputs for p in parts)),
        policies=tuple(k for p in parts for k in p.policies),
        crowded=tuple(c for p in parts for c in p.crowded),
        accounts=tuple(dict.fromkeys(a for p in parts for a in p.accounts)),
        key_homes={k: a for p in parts for k, a in p.key_homes.items()},
    )


def _policies(
    share: Share,
    of_images: set[KeyPlace],
    union: Union,
    seen: Observed,
    cluster: str,
    draft: Draft,
) -> tuple[KeyPlace, ...]:
    keys = set(share.recorded_policies)
    if share.edits_policies:
        keys |= of_images
    held = {k: union.held_policies.get(k, frozenset()) for k in keys}
    for place in keys:
        if waiting := _closed_by_others(place, union, seen, draft) - held[place]:
            draft.wait(f"another ImageShare to let go of {', '.join(sorted(waiting))}", POLL)
            held[place] |= waiting
    recorded = share.recorded_policies
    return plan_policies(cluster, keys, union.policies, held, seen, draft, recorded)


def _bequeath(
    keys: set[KeyPlace],
    policies: Sequence[KeyPlace],
    union: Union,
    seen: Observed,
    cluster: str,
    draft: Draft,
) -> None:
    """Key access that stays for the sake of others is on record of one before this share goes."""
    for place in sorted(keys - union.key_heirs):
        if left(cluster, place, seen, draft):
            draft.wait(f"another ImageShare to look at its grants on {place[1]}", POLL)
    for place in policies:
        if place not in union.policy_heirs:
            draft.wait(f"another ImageShare to look at the key policy of {place[1]}", POLL)


def _target(
    share: Share, target: Target, union: Union, seen: Observed, cluster: str, draft: Draft
) -> TargetState:
    place = target.place
    image = target.image
    assert image is not None  # resolve() makes no other targets
    may = union.allowed[place][share.key]
    if may.problem:
        draft.note(may.problem)
    view = seen.region(target.region)
    current = view.permissions.get(target.image_id)
    volumes = share.spec.snapshots or place in share.recorded_volumes
    ours = share.recorded.get(place, NOBODY)
    if not image.available:
        draft.wait(f"{image.id} in {target.region} to be available (it is {image.state})", POLL)
        return TargetState(target, may.principals, may.principals, may.problem, volumes=volumes)
    if current is None:
        if unread := view.unread.get(target.image_id):
            draft.note(unread)
        draft.wait(f"launch permissions of {image.id} in {target.region} to be read", POLL)
        declared = may.principals | ours  # what cannot be taken now is ours to take still
        return TargetState(target, declared, may.principals, may.problem, volumes=volumes)
    total = union.principals(place)
    # What another share declares is that share's to give, so that each tells of its own drift.
    orphans = _permission(place, may.principals, total, ours, current, union, draft)
    # What is there though it is refused is ours to take once it is not declared any more.
    still = orphans | (current & may.asked)
    lacking: tuple[str, ...] = ()
    if volumes:
        some = Principals(may.principals.accounts) if share.spec.snapshots else NOBODY
        lacking, kept = _volumes(share, place, some, union, seen, draft)
        still |= kept
    return TargetState(
        target,
        may.principals | still,
        may.principals - current,
        may.problem,
        volumes_missing=lacking,
        volumes=volumes,
        keyless=_keyless(place, may.principals, union, seen, cluster),
        refused=may.asked - may.principals,
    )


def _keyless(
    place: Place, who: Principals, union: Union, seen: Observed, cluster: str
) -> frozenset[str]:
    """Who does not have the key access yet that a share of this AMI gives."""
    keyed = union.keyed.get(place, frozenset())
    accounts, names = who.accounts & keyed, reaches(who) & keyed
    view = seen.region(place[0])
    found: set[str] = set()
    for key in keys_of(seen, place):
        at = (place[0], key)
        there, wanted = view.grants.get(key, ()), union.grants.get(at, {})
        found |= {
            a for a in accounts if a in wanted and not standing(there, cluster, a, wanted[a], key)
        }
        known, let_in = view.key(key), union.policies.get(at, {})
        found |= {
            n
            for n in names
            if n in let_in and (known is None or not stands(known.policy, cluster, n, let_in[n]))
        }
    return frozenset(found)


def _permission(
    place: Place,
    mine: Principals,
    total: Principals,
    ours: Principals,
    current: Principals,
    union: Union,
    draft: Draft,
    *,
    strictly: bool = True,
) -> Principals:
    """Returns who stays and was ours, and that no other share has on record yet."""
    extra = current - total - union.held.get(place, NOBODY)
    remove = extra
    if place not in union.authoritative or not strictly:
        remove = extra & (ours | union.evicted.get(place, NOBODY))
    add = mine - current
    orphans = (ours & current) - remove - mine - union.heirs.get(place, NOBODY)
    if orphans:
        names = ", ".join(orphans.names())
        draft.wait(f"another ImageShare, on whose account {names} stays, to look at it", POLL)
    if not add and not remove:
        return orphans
    draft.do(
        ModifyLaunchPermission(
            region=place[0],
            image=place[1],
            add=add,
            remove=remove,
            strangers=remove - ours - union.recorded.get(place, NOBODY),
        )
    )
    return orphans


def _volumes(
    share: Share, place: Place, mine: Principals, union: Union, seen: Observed, draft: Draft
) -> tuple[tuple[str, ...], Principals]:
    """createVolumePermission of an AMI's snapshots. Returns the ones that are not as they should
    be, and who of ours may still create volumes and is on no other record."""
    view = seen.region(place[0])
    image = view.images.get(place[1])
    ours = NOBODY
    if place in share.recorded_volumes:
        ours = Principals(share.recorded.get(place, NOBODY).accounts)
    lacking = []
    kept = NOBODY
    for snapshot in image.snapshots if image else ():
        at = (place[0], snapshot)
        current = view.volumes.get(snapshot)
        if current is None:
            if unread := view.unread.get(snapshot):
                draft.note(unread)
            draft.wait(f"permissions of {snapshot} in {place[0]} to be read", POLL)
            lacking.append(snapshot)
            kept |= ours - mine
            continue
        total = union.volumes.get(at, NOBODY)
        extra = current - total - union.held_volumes.get(at, NOBODY)
        remove = extra if at in union.strict_volumes else extra & ours
        add = mine - current
        orphans = (ours & current) - remove - mine - union.volume_heirs.get(place, NOBODY)
        kept |= orphans
        if add or orphans:
            lacking.append(snapshot)
        if not add and not remove:
            continue
        draft.do(
            ModifySnapshotPermission(
                region=place[0],
                snapshot=snapshot,
                image=place[1],
                add=add,
                remove=remove,
                strangers=remove - ours - union.recorded.get(place, NOBODY),
            )
        )
    return tuple(lacking), kept


def _left(share: Share, place: Place, union: Union, seen: Observed, draft: Draft) -> TargetState:
    """An AMI that this share no longer selects: what only it declared goes."""
    region, image_id = place
    view = seen.region(region)
    image = view.images.get(image_id)
    ours = share.recorded[place]
    target = Target(region, image_id, image, account=share.part)
    volumes = place in share.recorded_volumes
    if view.problem:
        draft.note(view.problem)
        return TargetState(target, ours, NOBODY, view.problem, leaving=True, volumes=volumes)
    current = view.permissions.get(image_id)
    if image is not None and current is not None:
        orphans = _permission(place, NOBODY, union.principals(place), ours, current, union, draft)
        if volumes and (unread := _volumes(share, place, NOBODY, union, seen, draft)[0]):
            return TargetState(
                target, ours, NOBODY, leaving=True, volumes=True, volumes_missing=unread
            )
        if orphans:
            return TargetState(target, orphans, NOBODY, leaving=True)
    elif image is not None and image.state != "disabled":
        if unread_why := view.unread.get(image_id):
            draft.note(unread_why)
        draft.wait(f"launch permissions of {image_id} in {region} to be read", POLL)
        return TargetState(target, ours, NOBODY, leaving=True, volumes=volumes)
    # Disabling an AMI takes its launch permissions, not those of its snapshots.
    elif volumes and (unread := _volumes(share, place, NOBODY, union, seen, draft)[0]):
        return TargetState(target, ours, NOBODY, leaving=True, volumes=True, volumes_missing=unread)
    # A deregistered or disabled AMI has no launch permissions left to take.
    return TargetState(target, NOBODY, NOBODY, leaving=True, volumes=volumes)


def _kept(
    share: Share, place: Place, union: Union, seen: Observed, draft: Draft
) -> TargetState | None:
    """An AMI of which it is not known whether it is still selected: who is not declared goes."""
    region, image_id = place
    view = seen.region(region)
    image, current = view.images.get(image_id), view.permissions.get(image_id)
    ours = share.recorded[place]
    stays = ours & share.principals
    if image is None or current is None or ours == stays or share.uncertain:
        return None
    total = union.principals(place) | stays
    stays |= _permission(place, NOBODY, total, ours, current, union, draft, strictly=False)
    volumes = place in share.recorded_volumes
    if volumes:
        stays |= _volumes(share, place, NOBODY, union, seen, draft)[1]
    # Another share may be why it cannot go yet.
    target = Target(region, image_id, image, account=share.part)
    return TargetState(target, stays, NOBODY, volumes=volumes, unresolved=True)


def _order(draft: Draft, seen: Observed, union: Union, cluster: str) -> None:
    """Key first, permission after; the opposite when access is taken."""
    grants = [a for a in draft.actions if isinstance(a, CreateGrant)]
    policies = [a for a in draft.actions if isinstance(a, PutKeyPolicy)]
    opening = [a for a in policies if not a.remove]
    given = {(a.region, a.key, a.account) for a in grants if not a.extra}
    given |= {(a.region, a.key, name) for a in opening for name in a.add}
    middle: list[Permission] = []
    for action in draft.actions:
        if isinstance(action, ModifyLaunchPermission | ModifySnapshotPermission):
            ready = _after_keys(action, given, seen, union, cluster, draft)
            if ready is not None:
                middle.append(ready)
    last: list[RevokeGrant | PutKeyPolicy] = []
    for action in draft.actions:
        if isinstance(action, RevokeGrant):
            images = _still_open(action, middle, seen, union)
            if images is None:
                draft.wait(f"another ImageShare to let go of {action.account}", POLL)
            else:
                last.append(replace(action, images=images))
    for change in policies:
        if change.remove:
            last.append(replace(change, images=_still_let_in(change, middle, seen)))
    draft.actions[:] = [*grants, *opening, *middle, *last]


def _after_keys(
    action: Permission,
    given: set[tuple[str, str, str]],
    seen: Observed,
    union: Union,
    cluster: str,
    draft: Draft,
) -> Permission | None:
    """The permission with the key access it stands on; who cannot have that drops out."""
    needs: set[tuple[str, str]] = set()
    blocked: set[str] = set()  # accounts and ARNs
    view = seen.region(action.region)
    keyed = union.keyed.get((action.region, action.image), frozenset())
    arns = {reach(a): a for a in (*action.add.organizations, *action.add.units)}
    for key in keys_of(seen, (action.region, action.image)):
        place = (action.region, key)
        there = view.grants.get(key)
        wanted = union.grants.get(place, {})
        for account in action.add.accounts & keyed & frozenset(wanted):
            if (*place, account) in given:
                needs.add((account, key))
            elif there is None or not standing(there, cluster, account, wanted[account], key):
                blocked.add(account)
        found = view.key(key)
        let_in = union.policies.get(place, {})
        for name in frozenset(arns) & keyed & frozenset(let_in):
            if (*place, name) in given:
                needs.add((name, key))
            elif found is None or not stands(found.policy, cluster, name, let_in[name]):
                blocked.add(arns[name])
    add = action.add - _named(blocked)
    if blocked:
        draft.wait(f"key access behind {action.image} to be in place", POLL)
    if not add and not action.remove:
        return None
    return replace(action, add=add, needs=frozenset(needs))


def _named(names: set[str]) -> Principals:
    """Principals of account ids and ARNs."""
    arns = frozenset(n for n in names if n.startswith("arn:"))
    return Principals(
        frozenset(names) - arns,
        frozenset(a for a in arns if ":organization/" in a),
        frozenset(a for a in arns if ":ou/" in a),
    )


def without(principals: Principals, names: frozenset[str]) -> Principals:
    """Principals less the accounts and the `o-...[/ou-...]` of these names."""
    return Principals(
        principals.accounts - names,
        frozenset(a for a in principals.organizations if reach(a) not in names),
        frozenset(a for a in principals.units if reach(a) not in names),
        principals.public,
    )


def _still_open(
    action: RevokeGrant, changes: Sequence[Permission], seen: Observed, union: Union
) -> tuple[str, ...] | None:
    """AMIs that this plan closes to the account first; None when some other share must do so."""
    if action.replaced_by:
        return ()
    closing = {c.image for c in changes if action.account in c.remove.accounts}
    view = seen.region(action.region)
    first: set[str] = closing & {i.id for i in view.images.values() if action.key in i.kms_keys}
    for image in view.images.values():
        if action.key not in image.kms_keys or image.id in closing:
            continue
        if action.account in union.to_close(image, view).accounts:
            return None
        # Declared, opened by somebody else's hand, or held open: no share is going to close it.
    return tuple(sorted(first))


def _closed_by_others(at: KeyPlace, union: Union, seen: Observed, draft: Draft) -> frozenset[str]:
    """Whom the key policy must not shut out yet: another share closes their AMIs first."""
    region, key = at
    view = seen.region(region)
    closing = {a.image: a.remove for a in draft.actions if isinstance(a, ModifyLaunchPermission)}
    found: frozenset[str] = frozenset()
    for image in view.images.values():
        if key in image.kms_keys:
            found |= reaches(union.to_close(image, view) - closing.get(image.id, NOBODY))
    return found - frozenset(union.policies.get(at, {}))


def _still_let_in(
    change: PutKeyPolicy, changes: Sequence[Permission], seen: Observed
) -> tuple[str, ...]:
    """AMIs under the key that this plan closes to somebody whom the key policy lets go."""
    view = seen.region(change.region)
    under = {i.id for i in view.images.values() if change.key in i.kms_keys}
    gone = frozenset(change.remove)
    return tuple(
        sorted({c.image for c in changes if c.image in under and reaches(c.remove) & gone})
    )
