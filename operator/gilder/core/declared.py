"""Who an ImageShare declares now: its own lists, lists kept elsewhere, and time."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from gilder.api.imageshare import AccountList, ImageShareSpec, ListedAccounts, Temporary
from gilder.core.observed import NOBODY, Principals, Problem
from gilder.core.shares import Share, written
from gilder.core.tenancy import TOO_MANY
from gilder.core.times import rfc3339

ANNOUNCED = timedelta(hours=24)  # before its end, an access that ends is told of
_APART = re.compile(r"[\s,;]+")
_ACCOUNT = re.compile(r"[0-9]{12}")

Listing = tuple[str, ...] | Problem  # account ids, or why they could not be read
# Principals to those that the operator's configuration allows, and why not the others.
Judge = Callable[[Principals], tuple[Principals, tuple[Problem, ...]]]


def everybody(principals: Principals) -> tuple[Principals, tuple[Problem, ...]]:
    """A Judge that refuses nobody."""
    return principals, ()


def accounts_in(text: str, source: str) -> Listing:
    """The account ids of a list's text; # begins a comment. A Problem where something else is
    in it, which is not repeated, since it may be a secret."""
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    words = [w.strip("\"'[]") for line in lines for w in _APART.split(line)]
    words = [w for w in words if w]
    wrong = [n for n, w in enumerate(words, 1) if not _ACCOUNT.fullmatch(w)]
    if wrong:
        some = ", ".join(str(n) for n in wrong[:5])
        return Problem(
            "ListMalformed",
            f"spec.accountsFrom: {source}: entry {some} of {len(words)} is not an account id of 12 "
            "digits. Correct the list; until then the accounts last listed stay",
        )
    return tuple(sorted(set(words)))


def declare(
    share: Share, read: Mapping[str, Listing], now: datetime, judge: Judge = everybody
) -> Share:
    """The share with its principals as they are at this moment.

    `read` has what each list (by AccountList.source) says. One that cannot be read keeps what it
    said last; one that never could makes the share uncertain, so that nobody is removed.
    """
    if share.leaving or share.unreadable:
        return share
    spec = share.spec
    lists = _Lists(share, read)
    lasting = written(spec) | Principals(lists.accounts)
    temporary = [t for t in spec.temporary if t.ends > now]
    total = lasting
    for one in temporary:
        total |= _principal(one)
    ignored = Principals(frozenset(spec.ignore_accounts))
    asked = total - ignored
    total, refused = judge(asked)
    if any(p.reason == TOO_MANY for p in refused):
        # Nobody can say which of them are meant. A list that grew takes nothing from those it had.
        total, _ = judge(asked & _on_record(share))
    ending = _ending(temporary, lasting)
    soon = tuple((n, rfc3339(u)) for n, u in sorted(ending.items()) if u - now <= ANNOUNCED)
    turns = [t for u in ending.values() for t in (u, u - ANNOUNCED) if t > now]
    return replace(
        share,
        declared=total,
        refused=(*lists.problems, *refused, *_grantees(spec, total)),
        uncertain=lists.uncertain,
        listed=lists.listed,
        expiring=soon,
        wake=max(0.5, (min(turns) - now).total_seconds()) if turns else None,
    )


def _on_record(share: Share) -> Principals:
    total = NOBODY
    for ours in share.recorded.values():
        total |= ours
    return total


def next_end(spec: ImageShareSpec, now: datetime) -> str | None:
    """When the next temporary principal loses its access; RFC 3339, UTC."""
    ends = [t.ends for t in spec.temporary if t.ends > now]
    return rfc3339(min(ends)) if ends else None


def _ending(temporary: Iterable[Temporary], lasting: Principals) -> dict[str, datetime]:
    """Principals that lose access, and when."""
    ends: dict[str, datetime] = {}
    for one in temporary:
        if _principal(one) - lasting:
            ends[one.name] = max(one.ends, ends.get(one.name, one.ends))
    return ends


def _principal(one: Temporary) -> Principals:
    if one.account is not None:
        return Principals(frozenset({one.account}))
    if one.organization is not None:
        return Principals(organizations=frozenset({one.organization}))
    unit = one.organizational_unit
    return Principals(units=frozenset({unit})) if unit is not None else NOBODY


def _grantees(spec: ImageShareSpec, total: Principals) -> Iterable[Problem]:
    """Principals of accounts that are not shared with: a key alone helps nobody."""
    if not spec.kms.grants:
        return ()
    fixed = [p for p in spec.kms.grantee_principals if "{account}" not in p]
    strange = [p for p in fixed if p.split(":")[4] not in total.accounts]
    if not strange:
        return ()
    return (
        Problem(
            "GranteeNotShared",
            f"spec.kms.granteePrincipals: {', '.join(strange[:5])} is not of an account that this "
            "ImageShare shares with, so it gets no grant. Declare the account, or remove it",
        ),
    )


class _Lists:
    """What all lists of a share come to."""

    def __init__(self, share: Share, read: Mapping[str, Listing]) -> None:
        self.problems: list[Problem] = []
        self.uncertain = False
        last = {one.source: one.accounts for one in share.listed}
        found = [self._one(one, read, last) for one in share.spec.accounts_from]
        self.listed = tuple(found)
        self.accounts = frozenset(a for one in found for a in one.accounts)

    def _one(
        self, wanted: AccountList, read: Mapping[str, Listing], last: Mapping[str, tuple[str, ...]]
    ) -> ListedAccounts:
        source = wanted.source
        got = read.get(source, _unread(source))
        if isinstance(got, tuple) and not got and not wanted.allow_empty:
            got = Problem(
                "ListEmpty",
                f"spec.accountsFrom: {source} lists no account. The accounts last listed stay; set "
                "allowEmpty if the list may be empty",
            )
        if isinstance(got, tuple):
            return ListedAccounts(source=source, accounts=got)
        self.problems.append(got)
        if source not in last and got.reason != "ListNotAllowed":  # which would count for nothing
            self.uncertain = True
        return ListedAccounts(source=source, accounts=last.get(source, ()), problem=got.message)


def _unread(source: str) -> Problem:
    return Problem("ListUnreadable", f"spec.accountsFrom: {source} was not read", permanent=False)
