"""The one statement of ours in a key policy: whom it lets in, and when it must be rewritten.

A KMS grant cannot name an organization or OU, so that these are let in by the key policy:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/allow-org-ou-to-use-key.html
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gilder.core.actions import PutKeyPolicy
from gilder.core.digest import digest
from gilder.core.observed import Key, Observed, Principals, Problem
from gilder.core.plan import Draft
from gilder.core.shares import KeyPlace

# https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html#key-policy-limit
LARGEST = 32768  # characters of a key policy

TOO_LARGE = "KeyPolicyTooLarge"
KEY_GONE = "KeyNotFound"  # and with it all that was given on it


def reach(arn: str) -> str:
    """An organization or OU ARN as key policies know it: `o-...` or `o-.../ou-...`."""
    return arn.split(":", 5)[5].split("/", 1)[1]


def reaches(principals: Principals) -> frozenset[str]:
    return frozenset(reach(a) for a in (*principals.organizations, *principals.units))


def sid(cluster: str) -> str:
    """Sid of our statement: one per cluster and key."""
    word = "".join(part.capitalize() for part in cluster.split("-"))
    return f"GilderShares{word}{digest(cluster, length=6)}"


def statement(cluster: str, who: Iterable[str], operations: Iterable[str]) -> dict[str, Any]:
    """Lets every principal of these organizations and OUs use the key, and nobody else."""
    names = sorted(who)
    condition: dict[str, Any]
    if any("/" in n for n in names):
        # Both condition keys in one statement would have to hold at once.
        paths = [_path(n) for n in names]
        condition = {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": paths}}
    else:
        condition = {"StringEquals": {"aws:PrincipalOrgID": names}}
    return {
        "Sid": sid(cluster),
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": sorted(f"kms:{o}" for o in operations),
        "Resource": "*",
        "Condition": condition,
    }


def _path(name: str) -> str:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalorgpaths
    organization, _, unit = name.partition("/")
    return f"{organization}/*/{unit}/*" if unit else f"{organization}/*"


def statements(policy: Mapping[str, Any] | None) -> list[Any]:
    found = (policy or {}).get("Statement")
    return list(found) if isinstance(found, list | tuple) else [found] if found else []


def own(policy: Mapping[str, Any] | None, cluster: str) -> Mapping[str, Any] | None:
    """Our statement in a policy."""
    mine = sid(cluster)
    for one in statements(policy):
        if isinstance(one, Mapping) and one.get("Sid") == mine:
            return one
    return None


def _is(one: Any, name: str) -> bool:
    return isinstance(one, Mapping) and one.get("Sid") == name


def let_in(one: Mapping[str, Any] | None) -> frozenset[str]:
    """Whom a statement of ours lets in; nobody where it is not as we write it."""
    if one is None:
        return frozenset()
    condition = one.get("Condition")
    keys: Any = next(iter(condition.values()), {}) if isinstance(condition, Mapping) else {}
    values = next(iter(keys.values()), None) if isinstance(keys, Mapping) else None
    return frozenset(str(v).removesuffix("/*").replace("/*/", "/") for v in _listed(values))


def stands(
    policy: Mapping[str, Any] | None, cluster: str, name: str, operations: frozenset[str]
) -> bool:
    """Whether our statement is as we write it, and gives somebody these operations."""
    one = own(policy, cluster)
    return _sound(one, cluster) and name in let_in(one) and operations <= _operations(one)


def _sound(one: Mapping[str, Any] | None, cluster: str) -> bool:
    return one is not None and same(one, statement(cluster, let_in(one), _operations(one)))


def replaced(
    policy: Mapping[str, Any], name: str, mine: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The policy with the statement of this Sid as given or gone; all others as they were."""
    others = [s for s in statements(policy) if not _is(s, name)]
    return {**policy, "Statement": [*others, *([dict(mine)] if mine else [])]}


def plan_policies(
    cluster: str,
    keys: Iterable[KeyPlace],
    wanted: Mapping[KeyPlace, Mapping[str, frozenset[str]]],
    held: Mapping[KeyPlace, frozenset[str]],
    seen: Observed,
    draft: Draft,
    recorded: frozenset[KeyPlace] = frozenset(),
) -> tuple[KeyPlace, ...]:
    """Write down the key policies to change; returns the keys that have our statement.

    `recorded` are keys that had it: these must be read, even to see that nothing is left.
    `wanted` maps whom to let in to the operations. What is let in and `held` stays. While somebody
    is to be let in nobody is shut out: that follows once the launch permissions are gone.
    """
    in_place: list[KeyPlace] = []
    for place in sorted(keys):
        region, arn = place
        key = seen.region(region).key(arn)
        want = wanted.get(place, {})
        if key is None or key.policy is None:
            problem = seen.region(region).problem or seen.region(region).keys.get(arn)
            gone = isinstance(problem, Problem) and problem.reason == KEY_GONE
            if want or (place in recorded and not gone):
                draft.note(problem if isinstance(problem, Problem) else _unread(arn, region))
            continue
        now = own(key.policy, cluster)
        current = let_in(now)
        if now is not None:
            in_place.append(place)
        sound = _sound(now, cluster)
        operations = frozenset[str]().union(*want.values()) or _operations(now)
        enough = sound and operations <= _operations(now)
        add = frozenset(want) - (current if enough else frozenset())
        keep = current if sound and add else current & held.get(place, frozenset())
        target = frozenset(want) | keep
        new = statement(cluster, target, operations) if target else None
        if (new is None and now is None) or (now and new and same(now, new)):
            continue
        size = len(json.dumps(replaced(key.policy, sid(cluster), new)))
        idle = current - frozenset(want) - held.get(place, frozenset())
        if size > LARGEST and add and sound and idle:
            # There is no room for both: who is not wanted any more makes room first.
            add, target = frozenset(), current - idle
            new = statement(cluster, target, _operations(now)) if target else None
        elif new is not None and size > LARGEST:
            draft.note(_too_large(arn, region, size))
            continue
        draft.do(
            PutKeyPolicy(
                region=region,
                key=arn,
                sid=sid(cluster),
                add=tuple(sorted(add)),
                remove=() if add else tuple(sorted(current - target)),
                statement=new,
                before=now,
            )
        )
    return tuple(in_place)


def _operations(one: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(str(a).removeprefix("kms:") for a in _listed((one or {}).get("Action")))


def same(one: Any, other: Any) -> bool:
    """Whether two statements say the same: lists in any order, one value with or without a list."""
    if one is None or other is None:
        return one is other
    return bool(_plain(one) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return sorted(str(v) for v in _listed(value))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value in (None, "") else [value]


def _unread(arn: str, region: str) -> Problem:
    return Problem(
        "KeyPolicyUnread",
        f"the key policy of {arn} was not read, so that nobody can be let in by it. The operator "
        "needs kms:GetKeyPolicy and kms:PutKeyPolicy on the key",
        permanent=False,
        region=region,
    )


def _too_large(arn: str, region: str, size: int) -> Problem:
    return Problem(
        TOO_LARGE,
        f"the key policy of {arn} would have {size} characters with the organizations and OUs of "
        f"all ImageShares, and KMS takes {LARGEST}. Declare the organization instead of many OUs, "
        "or shorten the other statements of the policy",
        region=region,
    )


def editable(key: Key | None, arn: str, account: str) -> bool:
    """Whether a key's policy can be changed from an account: only from the key's own."""
    return arn.split(":")[4] == account and key is not None and not key.aws_managed
