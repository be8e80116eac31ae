"""KMS grants: their names, who gets them, and which to create and to revoke.

A grantee is an account id, which stands for the account's root, or the ARN of a principal.
"""

import re
from collections.abc import Iterable, Mapping

from gilder.core.actions import CreateGrant, RevokeGrant
from gilder.core.digest import digest
from gilder.core.observed import Grant, Observed, Problem, RegionView
from gilder.core.plan import Draft
from gilder.core.shares import KeyPlace
from gilder.core.statements import KEY_GONE
from gilder.core.union import Union

_GRANT = re.compile(r"([0-9]{12}):[0-9a-f]{12}")  # what follows the prefix in a grant's name

# https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
MOST = 50_000  # grants per key
NEAR = 0.9  # of these, from where on it is told


def account_of(grantee: str) -> str:
    return grantee.split(":")[4] if grantee.startswith("arn:") else grantee


def grant_name(cluster: str, grantee: str, operations: Iterable[str]) -> str:
    """Deterministic grant name; KMS answers a repeated CreateGrant of one name with one grant.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html#KMS-CreateGrant-request-Name
    """
    more = (grantee,) if grantee.startswith("arn:") else ()
    mark = digest(sorted(operations), *more, length=12)
    return f"{grant_prefix(cluster)}{account_of(grantee)}:{mark}"


def grant_prefix(cluster: str) -> str:
    return f"gilder:{cluster}:"


def account_of_name(name: str, cluster: str) -> str | None:
    """The account of a grant of ours; None for any other name, whatever it begins with."""
    found = _GRANT.fullmatch(name.removeprefix(grant_prefix(cluster)))
    return found[1] if found and name.startswith(grant_prefix(cluster)) else None


def principal_of(grantee: str, key: str) -> str:
    """The principal of a grantee: for an account its root, in the key's partition."""
    if grantee.startswith("arn:"):
        return grantee
    partition = key.split(":", 2)[1]
    return f"arn:{partition}:iam::{grantee}:root"


def plan_grants(
    cluster: str,
    keys: Iterable[KeyPlace],
    mine: Mapping[KeyPlace, frozenset[str]],
    union: Union,
    seen: Observed,
    draft: Draft,
) -> tuple[list[Grant], bool]:
    """Grants to create and to revoke on these keys. Returns ours in place, and if any lack.

    `mine` are the grantees by key whose grants this share stands on; it creates no others.
    """
    in_place: list[Grant] = []
    lacking = False
    for place in sorted(keys):
        region, key = place
        view = seen.region(region)
        there = view.grants.get(key)
        needed = mine.get(place, frozenset())
        if view.problem or there is None:
            problem = view.problem or view.keys.get(key)
            if isinstance(problem, Problem) and (needed or problem.reason != KEY_GONE):
                draft.note(problem)
            lacking = lacking or bool(needed)
            continue
        wanted = union.grants.get(place, {})
        names: set[str] = set()  # of grants that stand: one that is dead has its name still
        kept: set[str] = set()
        room = MOST - len(there)
        for grantee, operations in sorted(wanted.items()):
            found = standing(there, cluster, grantee, operations, key)
            if found:
                kept.add(found.id)
                names.add(found.name)
                if grantee in needed:
                    in_place.append(found)
                continue
            if grantee not in needed:
                continue
            lacking = True
            if room <= 0:
                draft.note(_full(key, region, len(there)))
                continue
            room -= 1
            name = grant_name(cluster, grantee, operations)
            names.add(name)
            draft.do(
                CreateGrant(
                    region=region,
                    key=key,
                    account=account_of(grantee),
                    principal=principal_of(grantee, key),
                    operations=tuple(sorted(operations)),
                    name=name,
                    extra=grantee.startswith("arn:"),
                )
            )
        _revoke(cluster, place, wanted, kept, names, union, view, draft)
    return in_place, lacking


def standing(
    there: Iterable[Grant], cluster: str, grantee: str, operations: frozenset[str], key: str
) -> Grant | None:
    """The grant of ours that is as wanted."""
    name, principal = grant_name(cluster, grantee, operations), principal_of(grantee, key)
    for grant in there:
        if (grant.name, grant.principal, grant.operations) == (name, principal, operations):
            return grant
    return None


def _revoke(
    cluster: str,
    place: KeyPlace,
    wanted: Mapping[str, frozenset[str]],
    kept: set[str],
    names: set[str],
    union: Union,
    view: RegionView,
    draft: Draft,
) -> None:
    region, key = place
    by_principal = {principal_of(g, key): g for g in wanted}
    by_name = {grant_name(cluster, g, o): g for g, o in wanted.items()}
    for grant in view.grants[key]:
        account = account_of_name(grant.name, cluster)
        if account is None or grant.id in kept or union.holds(region, grant, account):
            continue
        # One that is dead shows an id in place of its principal; its name tells what it was.
        dead = not grant.principal.startswith("arn:")
        heir = by_principal.get(grant.principal) or by_name.get(grant.name)
        if heir is None and dead and account in wanted:
            heir = account
        successor = grant_name(cluster, heir, wanted[heir]) if heir else ""
        if successor and successor not in names:
            continue  # the share that needs the grantee makes it, and then revokes this one
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


def left(cluster: str, place: KeyPlace, seen: Observed, draft: Draft) -> bool:
    """Whether grants of ours on a key outlive the plan."""
    going = {a.grant for a in draft.actions if isinstance(a, RevokeGrant)}
    there = seen.region(place[0]).grants.get(place[1], ())
    return any(account_of_name(g.name, cluster) and g.id not in going for g in there)


def _full(key: str, region: str, count: int) -> Problem:
    return Problem(
        "GrantLimitReached",
        f"{key} has {count} grants, and KMS allows {MOST} per key. Share with organizations and "
        "kms.mode KeyPolicy instead of many accounts, or retire grants that nobody needs",
        region=region,
    )


def crowded(seen: Observed, keys: Iterable[KeyPlace]) -> tuple[str, ...]:
    """Keys whose grants come near to the limit, in words."""
    found = []
    for region, key in sorted(keys):
        count = len(seen.region(region).grants.get(key, ()))
        if count >= MOST * NEAR:
            found.append(f"{key} has {count} of at most {MOST} grants")
    return tuple(found)
