"""What all ImageShares together declare of the AMIs that one plan looks at."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from gilder.core import rules
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
from gilder.core.shares import Claims, KeyPlace, Place, Resolution, Share
from gilder.core.statements import editable, reach, reaches, replaced, sid

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one share may have of one AMI: principals after AWS's rules, and what was refused.

    `asked` is what it declares: the refused part is not added, but never removed either.
    """

    principals: Principals
    problem: Problem | None = None
    asked: Principals = NOBODY


@dataclass(frozen=True, slots=True)
class Union:
    """Declarations of all shares by AMI."""

    allowed: Mapping[Place, Mapping[str, Allowed]]  # AMI -> share key -> allowed
    authoritative: frozenset[Place]
    grants: Mapping[KeyPlace, Mapping[str, frozenset[str]]]  # key -> grantee -> operations
    policies: Mapping[KeyPlace, Mapping[str, frozenset[str]]]  # key -> whom to let in -> operations
    # Neither added nor removed: declared and refused, or by shares that are not known or change
    # nothing in AWS.
    held: Mapping[Place, Principals]
    held_grants: frozenset[tuple[str, str, str]]  # Region, key ARN, account: likewise
    held_policies: Mapping[KeyPlace, frozenset[str]]
    recorded: Mapping[Place, Principals]  # by other shares, which remove it themselves
    ours: Mapping[Place, Principals]  # likewise, by the share that is planned
    keyed: Mapping[Place, frozenset[str]]  # AMI -> who gets key access by a share of it
    volumes: Mapping[tuple[str, str], Principals]  # Region, snapshot -> who may create volumes
    held_volumes: Mapping[tuple[str, str], Principals]
    strict_volumes: frozenset[tuple[str, str]]  # snapshots on which strangers are removed
    # What other shares have on record, or will take care of once they act again.
    heirs: Mapping[Place, Principals]
    volume_heirs: Mapping[Place, Principals]
    key_heirs: frozenset[KeyPlace]  # keys whose grants others look at, as far as they know
    policy_heirs: frozenset[KeyPlace]
    # Given by shares that may not keep it, and that change nothing themselves.
    evicted: Mapping[Place, Principals] = field(default_factory=dict)
    totals: Mapping[Place, Principals] = field(default_factory=dict)  # of `allowed`

    @staticmethod
    def of(
        everyone: Sequence[tuple[Share, Resolution]], seen: Observed, planned: str, cluster: str
    ) -> "Union":
        draft = _Draft(seen, cluster)
        for share, resolution in everyone:
            draft.take(share, resolution, mine=share.key == planned)
        return draft.whole()

    def with_claims(self, claims: Claims, keys: Iterable[KeyPlace]) -> "Union":
        """Added is what shares of other AMIs need of these keys."""
        grants = {k: dict(v) for k, v in self.grants.items()}
        policies = {k: dict(v) for k, v in self.policies.items()}
        needed: set[KeyPlace] = set()
        edited: set[KeyPlace] = set()
        for key in keys:
            for name, operations in claims.get(key, {}).items():
                into = (grants if _is_grantee(name) else policies).setdefault(key, {})
                (needed if _is_grantee(name) else edited).add(key)
                into[name] = into.get(name, frozenset()) | operations
        return replace(
            self,
            grants=grants,
            policies=policies,
            key_heirs=self.key_heirs | needed | edited,
            policy_heirs=self.policy_heirs | edited,
        )

    def mine(self, share: Share, seen: Observed) -> dict[KeyPlace, frozenset[str]]:
        """Region and key ARN to the grantees whose grants this share stands on."""
        found: dict[KeyPlace, frozenset[str]] = {}
        if not share.spec.kms.grants:
            return found
        for place, by_share in self.allowed.items():
            may = by_share.get(share.key)
            if may is None:
                continue
            some = frozenset(g for a in may.principals.accounts for g in share.spec.kms.grantees(a))
            for key in keys_of(seen, place):
                at = (place[0], key)
                found[at] = found.get(at, frozenset()) | some
        return found

    def holds(self, region: str, grant: Grant, account: str) -> bool:
        """Whether a grant stays although no resolved share wants it; not if its grantee is dead."""
        held = (region, grant.key, account) in self.held_grants
        return held and grant.principal.startswith("arn:")

    def to_close(self, image: Image, view: RegionView) -> Principals:
        """Who may launch an AMI, is nobody's any more, and is taken by the share it belongs to."""
        place = (image.region, image.id)
        who = view.permissions.get(image.id)
        recorded = self.recorded.get(place, NOBODY)
        if who is None:  # not read, or gone with an AMI that is disabled
            who = recorded | self.ours.get(place, NOBODY) if image.available else NOBODY
        elif place not in self.authoritative:
            who &= recorded
        return who - self.principals(place) - self.held.get(place, NOBODY)

    def principals(self, place: Place) -> Principals:
        return self.totals.get(place, NOBODY)


class _Gathered(Generic[K]):
    """Principals by place, put together once: thousands of shares may name one AMI."""

    def __init__(self) -> None:
        self._some: dict[K, list[Principals]] = {}

    def add(self, at: K, who: Principals) -> None:
        if who:
            self._some.setdefault(at, []).append(who)

    def whole(self) -> dict[K, Principals]:
        return {at: _sum(some) for at, some in self._some.items()}


def _sum(some: Sequence[Principals]) -> Principals:
    return Principals(
        frozenset[str]().union(*(p.accounts for p in some)),
        frozenset[str]().union(*(p.organizations for p in some)),
        frozenset[str]().union(*(p.units for p in some)),
        any(p.public for p in some),
    )


class _Draft:
    """The union being gathered."""

    def __init__(self, seen: Observed, cluster: str) -> None:
        self.seen = seen
        self.cluster = cluster
        self.allowed: dict[Place, dict[str, Allowed]] = {}
        self.authoritative: set[Place] = set()
        self.grants: dict[KeyPlace, dict[str, frozenset[str]]] = {}
        self.policies: dict[KeyPlace, dict[str, frozenset[str]]] = {}
        self.held: _Gathered[Place] = _Gathered()
        self.held_grants: set[tuple[str, str, str]] = set()
        self.held_policies: dict[KeyPlace, frozenset[str]] = {}
        self.claimed: _Gathered[Place] = _Gathered()
        self.ours: Mapping[Place, Principals] = {}
        self.keyed: dict[Place, set[str]] = {}
        self.volumes: _Gathered[tuple[str, str]] = _Gathered()
        self.held_volumes: _Gathered[tuple[str, str]] = _Gathered()
        self.strict_volumes: set[tuple[str, str]] = set()
        self.heirs: _Gathered[Place] = _Gathered()
        self.volume_heirs: _Gathered[Place] = _Gathered()
        self.key_heirs: set[KeyPlace] = set()
        self.policy_heirs: set[KeyPlace] = set()
        self.evicted: _Gathered[Place] = _Gathered()

    def take(self, share: Share, resolution: Resolution, *, mine: bool) -> None:
        passive = not mine and share.passive
        if mine:
            self.ours = share.recorded
        else:
            self.key_heirs |= self._keys_on_record(share, frozenset())
            self.policy_heirs |= share.recorded_policies
            for place, ours in share.recorded.items():
                self._inherit(place, ours, volumes=place in share.recorded_volumes)
        if not mine and not passive:
            for place, ours in share.recorded.items():
                self.claimed.add(place, ours)
        if passive or share.unreadable:
            for place in resolution.shut_out:
                self.evicted.add(place, share.recorded[place])
        if (passive or not resolution.complete) and not share.leaving:
            for at in self._keys_on_record(share, resolution.shut_out):
                self._hold_key(share, at, share.principals)
            for place, ours in share.recorded.items():
                if place in resolution.shut_out:
                    continue
                kept = ours & share.principals
                self._hold(place, kept)
                if place in share.recorded_volumes and share.spec.snapshots:
                    self._hold_volumes(place, kept)
        for target in resolution.targets:
            if target.image is not None:
                self._target(share, target.place, target.image, passive=passive)

    def _target(self, share: Share, place: Place, image: Image, *, passive: bool) -> None:
        view, kms = self.seen.region(place[0]), share.spec.kms
        may = allow(share, image, view, self.seen.account, self.cluster)
        self._hold(place, may.asked)
        stay = may.asked if passive else may.asked - may.principals
        if share.uncertain:
            # Who is declared is not known, so that everybody who is there may be.
            current = view.permissions.get(image.id, NOBODY)
            self._hold(place, current)
            self._hold_volumes(place, current)
            stay |= current
        for key in image.kms_keys:
            self._hold_key(share, (place[0], key), stay)
        if share.spec.snapshots:
            self._hold_volumes(place, Principals(stay.accounts))
        if passive:
            self._inherit(place, may.asked, volumes=share.spec.snapshots)
            keys = {(place[0], k) for k in image.kms_keys}
            self.key_heirs |= keys if kms.grants else set()
            self.policy_heirs |= keys if share.edits_policies else set()
            return
        self.allowed.setdefault(place, {})[share.key] = may
        if share.spec.mode == "Authoritative":
            self.authoritative.add(place)
        operations = frozenset[str](kms.operations)
        keyed = self.keyed.setdefault(place, set())
        if kms.grants and image.kms_keys:
            keyed.update(may.principals.accounts)
        for key in image.kms_keys:
            at = (place[0], key)
            if kms.grants:
                into = self.grants.setdefault(at, {})
                for account in may.principals.accounts:
                    for grantee in kms.grantees(account):
                        into[grantee] = into.get(grantee, frozenset()) | operations
            if share.edits_policies and editable(view.key(key), key, self.seen.account):
                let_in = self.policies.setdefault(at, {})
                for name in reaches(may.principals):
                    let_in[name] = let_in.get(name, frozenset()) | operations
                keyed.update(let_in)
        if share.spec.snapshots:
            for snapshot in image.snapshots:
                where = (place[0], snapshot)
                some = Principals(may.principals.accounts)
                self.volumes.add(where, some)
                if share.spec.mode == "Authoritative":
                    self.strict_volumes.add(where)

    def _keys_on_record(self, share: Share, shut_out: frozenset[Place]) -> frozenset[KeyPlace]:
        """A key that is on no record of a share would be on none once all others are gone."""
        under = {(p[0], k) for p in share.recorded.keys() - shut_out for k in keys_of(self.seen, p)}
        lost = {(p[0], k) for p in shut_out for k in keys_of(self.seen, p)}
        return ((share.recorded_keys | share.recorded_policies) - lost) | under

    def _hold_key(self, share: Share, at: KeyPlace, who: Principals) -> None:
        if share.spec.kms.grants:
            self.held_grants |= {(*at, account) for account in who.accounts}
        if share.edits_policies:
            self.held_policies[at] = self.held_policies.get(at, frozenset()) | reaches(who)

    def _inherit(self, place: Place, who: Principals, *, volumes: bool) -> None:
        self.heirs.add(place, who)
        if volumes:
            self.volume_heirs.add(place, Principals(who.accounts))

    def _hold(self, place: Place, who: Principals) -> None:
        self.held.add(place, who)

    def _hold_volumes(self, place: Place, who: Principals) -> None:
        image = self.seen.region(place[0]).images.get(place[1])
        for snapshot in image.snapshots if image else ():
            at = (place[0], snapshot)
            self.held_volumes.add(at, who)

    def whole(self) -> Union:
        return Union(
            self.allowed,
            frozenset(self.authoritative),
            self.grants,
            self.policies,
            self.held.whole(),
            frozenset(self.held_grants),
            self.held_policies,
            self.claimed.whole(),
            self.ours,
            {p: frozenset(who) for p, who in self.keyed.items()},
            self.volumes.whole(),
            self.held_volumes.whole(),
            frozenset(self.strict_volumes),
            self.heirs.whole(),
            self.volume_heirs.whole(),
            frozenset(self.key_heirs),
            frozenset(self.policy_heirs),
            self.evicted.whole(),
            {p: _sum([a.principals for a in some.values()]) for p, some in self.allowed.items()},
        )


def allow(share: Share, image: Image, view: RegionView, account: str, cluster: str) -> Allowed:
    """The part of a share's principals that AWS's rules let have this AMI."""
    asked = share.principals
    asked = Principals(
        asked.accounts - {account}, asked.organizations, asked.units, asked.public
    )  # the owner always may
    keys = {k: v for k, v in view.keys.items() if isinstance(v, Key)}
    declared = asked
    refusal = rules.product_code_share(image) or rules.default_key(image, keys)
    if not refusal and image.encrypted and not image.kms_keys and share.spec.kms.grants:
        refusal = Problem(
            "KeyUnknown",
            f"{image.id} in {image.region} is encrypted, but the KMS keys of its snapshots were "
            "not seen, so that no grant can go before the launch permission",
            permanent=False,
            region=image.region,
        )
    if refusal and asked:
        return Allowed(NOBODY, refusal, declared)
    problem: Problem | None = None
    if asked.public and (problem := rules.public(image, view.public_blocked)):
        asked = Principals(asked.accounts, asked.organizations, asked.units)
    if image.encrypted and share.spec.kms.grants:
        organizations, units = set(asked.organizations), set(asked.units)
        for arn in (*asked.organizations, *asked.units):
            if lack := _policy_lack(share, arn, image, keys, account, cluster):
                problem = lack
                organizations.discard(arn)
                units.discard(arn)
        asked = Principals(asked.accounts, frozenset(organizations), frozenset(units), asked.public)
    return Allowed(asked, problem, declared)


def _policy_lack(
    share: Share, arn: str, image: Image, keys: Mapping[str, Key], account: str, cluster: str
) -> Problem | None:
    """A grant cannot name an organization or OU: the key policy must let it in."""
    organization, _, unit = reach(arn).partition("/")
    for key_arn in sorted(image.kms_keys):
        key = keys.get(key_arn)
        if share.edits_policies and editable(key, key_arn, account):
            continue  # we see to it
        if key is not None and key.policy is not None:
            # Our own statement goes with the share that wants it.
            others = replaced(key.policy, sid(cluster), None)
            if rules.policy_allows(others, organization, unit or None):
                continue
        return Problem(
            rules.KEY_POLICY,
            f"{unit or organization} may not use {key_arn}: a KMS grant cannot name an "
            "organization or OU, and without key access the launch permission is useless, so "
            f"neither is given. {_advice(share, key_arn, account)}Add this statement to the key "
            f"policy: {json.dumps(rules.policy_statement(organization, unit or None))}",
            region=image.region,
        )
    return None


def _advice(share: Share, key: str, account: str) -> str:
    owner = key.split(":")[4]
    if owner != account:
        return f"The key is of account {owner}, whose key policies are changed only there. "
    if share.spec.kms.edits_policy:
        return (
            "spec.kms.mode KeyPolicy is not allowed to this namespace by the operator's access "
            "file (keyPolicies). "
        )
    return "Set spec.kms.mode to KeyPolicy, or do it yourself. "


def _is_grantee(name: str) -> bool:
    """Whether a name in Claims gets grants, rather than a place in a key policy."""
    return name.startswith("arn:") or name.isdecimal()


def keys_of(seen: Observed, place: Place) -> frozenset[str]:
    image = seen.region(place[0]).images.get(place[1])
    return image.kms_keys if image else frozenset()
