"""All custom resources in the terms of the core, and who has to do with whom."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gilder.api import GoldenImage, GoldenImageSpec, ImageShare
from gilder.api.imageshare import ImageShareSpec, ImageShareStatus
from gilder.core import needs, pool
from gilder.core.building import UNDER_WAY
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Problem
from gilder.core.published import UNKNOWN, Maps
from gilder.core.shares import (
    Claims,
    Gilded,
    KeyPlace,
    Place,
    Share,
    last_listed,
    recorded,
    selects,
)
from gilder.core.statements import reaches
from gilder.core.wanted import Wanted, wanted
from gilder.core.work import SeenJob

K = TypeVar("K")
NONE: Mapping[Any, str] = {}
Operations = frozenset[str]


@dataclass(frozen=True, slots=True)
class ImageScope:
    """What the reconcile of one GoldenImage looks at in Kubernetes."""

    want: Wanted
    sharers: tuple[str, ...] = ()  # shares that name it, or still claim one of its AMIs
    jobs: tuple[SeenJob, ...] = ()  # Kubernetes Jobs that build it
    barred: Problem | None = None  # why nothing may be done for it
    maps: Maps = UNKNOWN  # ConfigMaps that it publishes to


@dataclass(frozen=True, slots=True)
class ShareScope:
    """What the reconcile of one ImageShare looks at in Kubernetes."""

    mine: Share
    others: tuple[Share, ...] = ()  # that select or claim the same AMIs
    goldens: tuple[Gilded, ...] = ()
    regions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    claims: Claims = field(default_factory=dict)  # of shares of other AMIs under the same keys
    # What these shares need by account: a key may serve AMIs of several.
    apart: Mapping[str, Claims] = field(default_factory=dict)

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of its AMIs, one part of the plan each; "" is the operator's own."""
        mine = self.mine
        found = {mine.plain_account} if mine.spec.image_ref.images else set()
        found |= {g.account for g in self.goldens if selects(mine, g)}
        found |= {mine.homes.get(p, "") for p in mine.recorded}
        found |= {mine.key_homes.get(k, "") for k in mine.recorded_keys | mine.recorded_policies}
        return tuple(sorted(found)) or ("",)

    def part(self, account: str) -> "ShareScope":
        """What concerns one account."""
        others = tuple(_part(o, account) for o in self.others)
        elsewhere = [claims for a, claims in self.apart.items() if a != account]
        claims = _Sum((self.claims, *elsewhere)) if elsewhere else self.claims
        return replace(self, mine=_part(self.mine, account), others=others, claims=claims)

    def regions_in(self, account: str) -> set[str]:
        """Regions that the AMIs of one account may be in."""
        there = (g.key for g in self.goldens if g.account == account)
        return {r for key in there for r in self.regions.get(key, frozenset())}


class _Claims(Mapping[KeyPlace, Mapping[str, Operations]]):
    """What is claimed but by some shares, worked out for the keys that a plan asks for."""

    def __init__(
        self,
        claimed: Mapping[KeyPlace, Mapping[str, Counter[Operations]]],
        less: Mapping[KeyPlace, Mapping[str, Counter[Operations]]],
    ) -> None:
        self._claimed = claimed
        self._less = less

    def __getitem__(self, at: KeyPlace) -> Mapping[str, Operations]:
        less = self._less.get(at, {})
        found: dict[str, Operations] = {}
        for name, counts in self._claimed[at].items():
            left = counts - less[name] if name in less else counts
            if left:
                found[name] = frozenset[str]().union(*left)
        if not found:
            raise KeyError(at)
        return found

    def __iter__(self) -> Iterator[KeyPlace]:
        return (at for at in self._claimed if self.get(at))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Sum(Mapping[KeyPlace, Mapping[str, Operations]]):
    """Several claims as one."""

    def __init__(self, parts: Sequence[Claims]) -> None:
        self._parts = parts

    def __getitem__(self, at: KeyPlace) -> Mapping[str, Operations]:
        found: dict[str, Operations] = {}
        for part in self._parts:
            for name, operations in part.get(at, {}).items():
                found[name] = found.get(name, frozenset()) | operations
        if not found:
            raise KeyError(at)
        return found

    def __iter__(self) -> Iterator[KeyPlace]:
        return iter({at for part in self._parts for at in part})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _part(share: Share, account: str) -> Share:
    if not account and not share.homes and not share.key_homes:
        return share
    keys = {k for k in share.recorded_keys if share.key_homes.get(k, "") == account}
    policies = {k for k in share.recorded_policies if share.key_homes.get(k, "") == account}
    there = {p: w for p, w in share.recorded.items() if share.homes.get(p, "") == account}
    return replace(
        share,
        part=account,
        recorded=there,
        recorded_keys=frozenset(keys),
        recorded_policies=frozenset(policies),
    )


class Inventory:
    """GoldenImages and ImageShares by `<namespace>/<name>`, indexed by what relates them.

    Every question costs what it answers, not what there is. Not safe for use by several threads;
    what it hands out is.
    """

    def __init__(self, cluster: str, accounts: Iterable[str] = ()) -> None:
        self.cluster = cluster
        self.accounts = frozenset(accounts)  # that the operator acts in besides its own
        # Statuses are not kept: with thousands of resources they are most of the memory.
        self._specs: dict[str, GoldenImageSpec] = {}
        self._image_places: dict[str, frozenset[Place]] = {}
        self._wants: dict[str, Wanted] = {}
        self._gilded: dict[str, Gilded] = {}
        self._shares: dict[str, Share] = {}
        self._by_name: dict[str, set[str]] = {}  # GoldenImage -> shares that name it
        self._by_selector: dict[str, set[str]] = {}  # namespace -> shares with a selector
        self._by_place: dict[Place, set[str]] = {}  # AMI -> shares that list or claim it
        # Key -> account -> operations -> how many shares claim them; and what each share claims.
        self._claimed: dict[KeyPlace, dict[str, Counter[Operations]]] = {}
        self._scopes = 0  # that were handed out
        self._copied: dict[KeyPlace, int] = {}  # of _claimed: how many scopes there were then
        self._claims_of: dict[str, tuple[tuple[KeyPlace, str], ...]] = {}
        # The same by account, of shares with AMIs of another one than the own.
        self._claims_in: dict[str, dict[str, set[tuple[KeyPlace, str]]]] = {}
        self._owner: dict[Place, str] = {}  # AMI -> GoldenImage
        self._in_namespace: dict[str, set[str]] = {}  # namespace -> GoldenImages
        self._by_list: dict[tuple[str, str], set[str]] = {}  # namespace, ConfigMap -> shares
        self._by_parameter: dict[str, set[str]] = {}  # SSM parameter -> shares
        self._by_organization: set[str] = set()  # shares with accounts from AWS Organizations
        self._building: dict[str, bool] = {}  # GoldenImages under build -> whether by a Job
        self._mapped: set[str] = set()  # GoldenImages that publish to a ConfigMap, or did
        # SSM parameter -> GoldenImages that are made from it, or published to it
        self._told_by: dict[str, set[str]] = {}
        self._tells: dict[str, frozenset[str]] = {}  # and the other way
        self._test_regions: set[str] = set()  # Regions in which there ever was an SSM gate

    # Changes

    def put_image(self, image: GoldenImage) -> None:
        meta = image.metadata
        self.drop_image(meta.key)
        self._specs[meta.key] = image.spec
        self._image_places[meta.key] = _places(image)
        self._wants[meta.key] = wanted(self.cluster, image)
        self._gilded[meta.key] = Gilded(
            key=meta.key,
            namespace=meta.namespace,
            name=meta.name,
            labels=meta.labels,
            latest=image.status.latest.version if image.status.latest else 0,
            deleting=meta.deleting,
            held=frozenset(
                v.version for v in image.status.versions if v.gate in ("Pending", "Failed")
            ),
            unreleased=frozenset(v.version for v in image.status.versions if v.held),
            candidate=image.status.candidate.version if image.status.candidate else 0,
            test_accounts=frozenset(image.spec.promoting.test_accounts),
            account=self._account(image.spec.account),
            allowed_namespaces=image.spec.allowed_namespaces,
        )
        self._in_namespace.setdefault(meta.namespace, set()).add(meta.key)
        for place in self._image_places[meta.key]:
            self._owner[place] = meta.key
        build = image.status.build
        if build is not None and build.state in UNDER_WAY:
            self._building[meta.key] = image.spec.source.job is not None
        publish = image.spec.publish
        told = any(p.kind == "ConfigMap" for p in image.status.published)
        if told or (publish is not None and publish.config_map is not None):
            self._mapped.add(meta.key)
        if image.spec.gates is not None and image.spec.gates.ssm is not None:
            self._test_regions.add(image.spec.region)
        names = needs.parameters(self._wants[meta.key])
        if names:
            self._tells[meta.key] = names
        for name in names:
            self._told_by.setdefault(name, set()).add(meta.key)

    def put_unreadable_image(self, namespace: str, name: str, labels: Mapping[str, str]) -> None:
        """A GoldenImage whose spec no model accepts: shares of it wait, and keep what they have."""
        key = f"{namespace}/{name}"
        self.drop_image(key)
        self._gilded[key] = Gilded(key, namespace, name, labels, unreadable=True)
        self._in_namespace.setdefault(namespace, set()).add(key)

    def drop_image(self, key: str) -> None:
        golden = self._gilded.pop(key, None)
        self._building.pop(key, None)
        self._mapped.discard(key)
        for name in self._tells.pop(key, ()):
            _discard(self._told_by, name, key)
        if golden is not None:
            _discard(self._in_namespace, golden.namespace, key)
        if self._specs.pop(key, None) is None:
            return
        del self._wants[key]
        for place in self._image_places.pop(key):
            if self._owner.get(place) == key:
                del self._owner[place]

    def building(self, *, jobs: bool = False) -> set[str]:
        """GoldenImages with a build under way; with `jobs` only those that a Job builds."""
        return {k for k, by_job in self._building.items() if by_job or not jobs}

    def mapped(self) -> set[str]:
        """GoldenImages that publish to a ConfigMap, or did."""
        return set(self._mapped)

    def test_regions(self) -> frozenset[str]:
        return frozenset(self._test_regions)

    def _account(self, written: str | None) -> str:
        return written if written in self.accounts else ""

    def put_share(self, share: ImageShare) -> None:
        meta, status = share.metadata, share.status
        homes = {(i.region, i.image_id): i.account for i in status.images if i.account}
        found = Share(
            key=meta.key,
            namespace=meta.namespace,
            spec=_lean(share.spec),
            recorded=recorded(status),
            recorded_keys=_pairs((g.region, g.key_id) for g in status.grants),
            recorded_policies=_pairs((p.region, p.key_id) for p in status.key_policies),
            recorded_volumes=_pairs((i.region, i.image_id) for i in status.images if i.snapshots),
            leaving=meta.deleting,
            paused=meta.paused,
            homes=homes or NONE,
            key_homes=key_homes(status) or NONE,
            plain_account=self._account(share.spec.image_ref.account),
            listed=last_listed(status),
        )
        self._put(found, _keys(status))

    def put_unreadable(self, share: Share, status: ImageShareStatus) -> None:
        """A share whose spec no model accepts: it keeps what its status claims."""
        self._put(share, _keys(status))

    def _put(self, share: Share, keys: Mapping[Place, tuple[str, ...]]) -> None:
        self.drop_share(share.key)
        self._shares[share.key] = share
        ref = share.spec.image_ref
        if ref.name is not None and not share.unreadable:
            self._by_name.setdefault(f"{share.source_namespace}/{ref.name}", set()).add(share.key)
        if ref.selector is not None:
            self._by_selector.setdefault(share.source_namespace, set()).add(share.key)
        for place in _share_places(share):
            self._by_place.setdefault(place, set()).add(share.key)
        for one in share.spec.accounts_from:
            if one.config_map is not None:
                at = (share.namespace, one.config_map.name)
                self._by_list.setdefault(at, set()).add(share.key)
            elif one.ssm_parameter is not None:
                self._by_parameter.setdefault(one.ssm_parameter.name, set()).add(share.key)
            else:
                self._by_organization.add(share.key)
        if not share.spec.kms.grants:
            return
        # One that is going needs a key for as long as it has not closed its AMIs.
        claims = tuple(
            {
                pool.one((pool.one((place[0], key)), name))
                for place, some in keys.items()
                for key in some
                for name in _claimed(share, place)
            }
        )
        self._claims_of[share.key] = claims
        if share.homes:
            found = self._claims_in.setdefault(share.key, {})
            for place, some in keys.items():
                into = found.setdefault(share.homes.get(place, ""), set())
                into |= {((place[0], k), name) for k in some for name in _claimed(share, place)}
        for at, account in claims:
            self._count(at, account, _operations(share), 1)

    def drop_share(self, key: str) -> None:
        share = self._shares.pop(key, None)
        if share is None:
            return
        ref = share.spec.image_ref
        if ref.name is not None:
            _discard(self._by_name, f"{share.source_namespace}/{ref.name}", key)
        _discard(self._by_selector, share.source_namespace, key)
        for one in share.spec.accounts_from:
            if one.config_map is not None:
                _discard(self._by_list, (share.namespace, one.config_map.name), key)
            elif one.ssm_parameter is not None:
                _discard(self._by_parameter, one.ssm_parameter.name, key)
        self._by_organization.discard(key)
        for place in _share_places(share):
            _discard(self._by_place, place, key)
        self._claims_in.pop(key, None)
        for at, account in self._claims_of.pop(key, ()):
            self._count(at, account, _operations(share), -1)

    def _count(self, at: KeyPlace, name: str, operations: Operations, by: int) -> None:
        """One share more or less claims this. What was handed out is copied before it changes."""
        if self._copied.get(at) != self._scopes:
            self._copied[at] = self._scopes
            self._claimed[at] = dict(self._claimed.get(at, {}))
        names = self._claimed[at]
        counts = Counter(names.get(name, ()))
        counts[operations] += by
        if +counts:
            names[name] = +counts
        else:
            names.pop(name, None)
        if not names:
            del self._claimed[at], self._copied[at]

    # Questions

    def account_of(self, key: str) -> str:
        """The account that a GoldenImage is in; "" for the operator's own."""
        return self._gilded[key].account

    def image_scope(self, key: str) -> ImageScope:
        """Raises KeyError for a GoldenImage that is not there."""
        golden = self._gilded[key]
        want = replace(self._wants[key], others=self._gilded.keys())
        return ImageScope(want, tuple(sorted(self._sharers(golden))))

    def share_scope(self, key: str) -> ShareScope:
        """Raises KeyError for a share that is not there."""
        mine = self._shares[key]
        places = set(_share_places(mine))
        goldens = {g.key: g for g in self._selected(mine)}
        for place in places:
            if (owner := self._owner.get(place)) is not None:
                goldens[owner] = self._gilded[owner]
        keys: set[str] = set()
        for golden in goldens.values():
            keys |= self._selecting(golden)
            for place in self._places_of(golden):
                keys |= self._by_place.get(place, set())
        for place in places:
            keys |= self._by_place.get(place, set())
        others = [self._shares[k] for k in sorted(keys - {key})]
        for other in others:
            # What another share names is known to exist, so that it counts as resolved.
            name = other.spec.image_ref.name
            there = f"{other.source_namespace}/{name}"
            found = self._gilded.get(there) if name is not None else None
            if found is not None:
                goldens.setdefault(found.key, found)
        chosen = tuple(goldens[k] for k in sorted(goldens))
        return ShareScope(
            mine,
            tuple(others),
            chosen,
            {g.key: self._regions_of(g) for g in chosen},
            self._claims(keys | {key}),
            self._apart(keys | {key}),
        )

    def shares_of(self, key: str) -> set[str]:
        """Shares that must look again when this GoldenImage has changed."""
        golden = self._gilded.get(key)
        return set() if golden is None else self._selecting(golden) | self._sharers(golden)

    def leaving_images(self) -> list[str]:
        """GoldenImages that are being deleted."""
        return sorted(k for k, g in self._gilded.items() if g.deleting)

    def listing(self, namespace: str, config_map: str) -> set[str]:
        """Shares that take accounts from a ConfigMap."""
        return set(self._by_list.get((namespace, config_map), ()))

    def config_maps(self) -> set[tuple[str, str]]:
        """Namespace and name of the ConfigMaps that shares take accounts from."""
        return set(self._by_list)

    def following(self, parameter: str) -> set[str]:
        """Shares that take accounts from an SSM parameter."""
        return set(self._by_parameter.get(parameter, ()))

    def told_by(self, parameter: str) -> set[str]:
        """GoldenImages that are made from an SSM parameter, or published to it."""
        return set(self._told_by.get(parameter, ()))

    def of_organizations(self) -> set[str]:
        """Shares that take accounts from AWS Organizations."""
        return set(self._by_organization)

    def needs(self) -> dict[str, dict[str, RegionNeeds]]:
        """What all resources together need, by account ("": the operator's own) and Region, so
        that one read serves them all."""
        found: dict[str, list[Mapping[str, RegionNeeds]]] = {"": []}
        for key, want in self._wants.items():
            account = self._gilded[key].account
            found.setdefault(account, []).append(needs.of_image(want))
        for share in self._shares.values():
            accounts = {*share.homes.values(), *share.key_homes.values(), share.plain_account, ""}
            for account in accounts:
                found.setdefault(account, []).append(needs.of_share(_part(share, account)))
        return {a: needs.merge(some) for a, some in found.items()}

    def _places_of(self, golden: Gilded) -> frozenset[Place]:
        return self._image_places.get(golden.key, frozenset())

    def _regions_of(self, golden: Gilded) -> frozenset[str]:
        spec = self._specs.get(golden.key)
        return needs.regions_of(spec) if spec is not None else frozenset()

    def _selected(self, share: Share) -> Iterable[Gilded]:
        ref = share.spec.image_ref
        if ref.name is not None:
            found = self._gilded.get(f"{share.source_namespace}/{ref.name}")
            return [found] if found is not None else []
        if ref.selector is None:
            return []
        there = (self._gilded[k] for k in self._in_namespace.get(share.source_namespace, ()))
        return [g for g in there if selects(share, g)]

    def _selecting(self, golden: Gilded) -> set[str]:
        by_label = (self._shares[k] for k in self._by_selector.get(golden.namespace, ()))
        chosen = {s.key for s in by_label if selects(s, golden)}
        return self._by_name.get(golden.key, set()) | chosen

    def _sharers(self, golden: Gilded) -> set[str]:
        named = self._by_name.get(golden.key, ())
        found = {k for k in named if golden.admits(self._shares[k].namespace)}
        for place in self._places_of(golden):
            for key in self._by_place.get(place, ()):
                share = self._shares[key]
                # One that is shut out takes back what it gave, unless it changes nothing.
                acts = not (share.passive or share.unreadable)
                if place in share.recorded and (acts or golden.admits(share.namespace)):
                    found.add(key)
        return found

    def _apart(self, shares: set[str]) -> dict[str, Claims]:
        """What these shares need on each key, by account; nothing while all is in the own."""
        found: dict[str, dict[KeyPlace, dict[str, Operations]]] = {}
        if not any(k in self._claims_in for k in shares):
            return {}
        for key in shares:
            operations = _operations(self._shares[key])
            by_account = self._claims_in.get(key) or {"": set(self._claims_of.get(key, ()))}
            for account, claims in by_account.items():
                for at, name in claims:
                    into = found.setdefault(account, {}).setdefault(at, {})
                    into[name] = into.get(name, frozenset()) | operations
        return dict(found)

    def _claims(self, but: set[str]) -> Claims:
        """What shares other than these need on each key."""
        less: dict[KeyPlace, dict[str, Counter[Operations]]] = {}
        for key in but:
            operations = _operations(self._shares[key])
            for at, name in self._claims_of.get(key, ()):
                less.setdefault(at, {}).setdefault(name, Counter())[operations] += 1
        self._scopes += 1
        return _Claims(dict(self._claimed), less)


def _places(image: GoldenImage) -> frozenset[Place]:
    versions = image.status.versions
    return frozenset(pool.one((i.region, i.image_id)) for v in versions for i in v.images)


def key_homes(status: ImageShareStatus) -> dict[KeyPlace, str]:
    """Keys of other accounts than the own."""
    found = {(g.region, g.key_id): g.account for g in status.grants if g.account}
    return found | {(p.region, p.key_id): p.account for p in status.key_policies if p.account}


def _keys(status: ImageShareStatus) -> dict[Place, tuple[str, ...]]:
    return {(i.region, i.image_id): i.keys for i in status.images if i.keys}


def _pairs(pairs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return pool.one(frozenset(pool.one(p) for p in pairs))


def _lean(spec: ImageShareSpec) -> ImageShareSpec:
    """The same spec, with the parts that are alike in most shares held in common."""
    alike = {"kms": spec.kms, "versions": spec.versions, "accounts": spec.accounts}
    return spec.model_copy(update={k: pool.one(v) for k, v in alike.items()})


def _share_places(share: Share) -> set[Place]:
    plain = {(i.region, i.id) for i in share.spec.image_ref.images}
    return plain | set(share.recorded)


def _claimed(share: Share, place: Place) -> set[str]:
    """Who needs key access for an AMI, by the names of Claims."""
    ours = share.recorded[place]
    if not share.spec.changes_by_itself and not share.leaving:
        ours = ours & share.principals
    kms = share.spec.kms
    found = {g for a in ours.accounts for g in kms.grantees(a)}
    return found | reaches(ours) if kms.edits_policy else found


def _operations(share: Share) -> Operations:
    return frozenset(share.spec.kms.operations)


def _discard(index: dict[K, set[str]], at: K, key: str) -> None:
    if (keys := index.get(at)) is not None:
        keys.discard(key)
        if not keys:
            del index[at]
