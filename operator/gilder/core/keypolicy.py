"""What a key policy says to one account that launches an instance through EC2; pure.

An answer is True, False, or None where the policy says something that is not understood here, or
that hangs on what is not known: who in the account launches, or the account's organization.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gilder.core.membership import Membership

Known = bool | None

_STRINGS = frozenset({"StringEquals", "StringLike", "StringEqualsIgnoreCase"})
_OPERATORS = frozenset({"ArnLike", "ArnEquals", "Bool", *_STRINGS})
_QUANTIFIERS = frozenset({"", "ForAnyValue", "ForAllValues"})


@dataclass(frozen=True, slots=True)
class Asker:
    """The account that launches, and the Region it launches in."""

    account: str
    region: str
    membership: Membership | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether statements allow an action, and whether any denies it; a Deny wins.

    `allows` and `denies` name the statements that say so, or else those that leave it open.
    """

    allow: Known
    deny: Known
    allows: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()

    @property
    def allowed(self) -> Known:
        return _all((self.allow, _not(self.deny)))


def ruling(policy: Mapping[str, Any] | None, asker: Asker, action: str, key: str) -> Ruling:
    """What a key policy says about one action, such as `kms:Decrypt`, on the key of this ARN."""
    statements = _as_list(policy.get("Statement")) if policy is not None else []
    if not statements or not all(isinstance(s, Mapping) for s in statements):
        return Ruling(None, None)
    found = [
        (s.get("Effect"), name_of(s, n), _applies(s, asker, action, key))
        for n, s in enumerate(statements, 1)
    ]
    if strange := tuple(n for effect, n, _ in found if effect not in ("Allow", "Deny")):
        return Ruling(None, None, strange, strange)

    def said(effect: str) -> tuple[Known, tuple[str, ...]]:
        answer = _any(applies for e, _, applies in found if e == effect)
        decides = (e == effect and applies is answer for e, _, applies in found)
        names = tuple(n for (_, n, _), yes in zip(found, decides, strict=True) if yes)
        return answer, () if answer is False else names

    (allow, allows), (deny, denies) = said("Allow"), said("Deny")
    return Ruling(allow, deny, allows, denies)


def name_of(statement: Mapping[str, Any], number: int) -> str:
    """The Sid of a statement, or its number from 1."""
    return str(statement.get("Sid") or f"number {number}")


def _applies(statement: Mapping[str, Any], asker: Asker, action: str, key: str) -> Known:
    return _all(
        (
            _principal(statement, asker),
            _action(statement, action),
            _resource(statement, key),
            _conditions(statement.get("Condition") or {}, _context(asker, action)),
        )
    )


def _all(answers: Iterable[Known]) -> Known:
    given = list(answers)
    if False in given:
        return False
    return None if None in given else True


def _any(answers: Iterable[Known]) -> Known:
    given = list(answers)
    if True in given:
        return True
    return None if None in given else False


def _not(answer: Known) -> Known:
    return None if answer is None else not answer


# Principals, actions, resources


def _principal(statement: Mapping[str, Any], asker: Asker) -> Known:
    if "NotPrincipal" in statement:
        named = _names(statement["NotPrincipal"], asker)
        # Who is let off with the account named alone is a matter of its own.
        return True if named is False else False if _everybody(statement["NotPrincipal"]) else None
    return _names(statement.get("Principal"), asker) if "Principal" in statement else None


def _everybody(element: Any) -> bool:
    listed = _as_list(element.get("AWS")) if isinstance(element, Mapping) else [element]
    return "*" in listed


def _names(element: Any, asker: Asker) -> Known:
    """Whether a Principal element means every principal of the account, none, or only some."""
    if _everybody(element):
        return True
    if not isinstance(element, Mapping):
        return None
    return _any(_means(str(p), asker.account) for p in _as_list(element.get("AWS")))


def _means(written: str, account: str) -> Known:
    if written == account or re.fullmatch(rf"arn:[\w-]+:iam::{account}:root", written):
        return True
    # A user, role or session of the account: it hangs on who launches.
    return None if f"::{account}:" in written else False


def _action(statement: Mapping[str, Any], action: str) -> Known:
    if "NotAction" in statement:
        return not _covers(statement["NotAction"], action)
    return _covers(statement["Action"], action) if "Action" in statement else None


def _covers(patterns: Any, action: str) -> bool:
    return any(_like(str(p).lower(), action.lower()) for p in _as_list(patterns))


def _resource(statement: Mapping[str, Any], key: str) -> Known:
    """In a key policy `*` is the key itself, and there is nothing else to write."""
    if "NotResource" in statement:
        return None
    listed = _as_list(statement.get("Resource", "*"))
    return True if any(_like(str(r), key) for r in listed) else None


# Conditions


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a condition key: known, or only as far as `test` tells of it.

    `test` says of an operator and a written value whether they match: None where it cannot.
    """

    test: Callable[[str, str], Known]
    present: Known = True


def _known(value: str) -> _Value:
    return _Value(lambda operator, written: _matches(operator, value, written))


def _context(asker: Asker, action: str) -> Mapping[str, _Value]:
    """Condition keys of a call that EC2 makes for somebody of the account.

    https://docs.aws.amazon.com/kms/latest/developerguide/policy-conditions.html
    """
    context = {
        "aws:principalaccount": _known(asker.account),
        "kms:calleraccount": _known(asker.account),
        "aws:principalarn": _Value(lambda how, written: _some_arn(how, written, asker.account)),
        "kms:viaservice": _known(f"ec2.{asker.region}.amazonaws.com"),
    }
    if action.lower() == "kms:creategrant":  # the key exists for calls about grants alone
        context["kms:grantisforawsresource"] = _known("true")
    member = asker.membership
    if member is not None and member.organization:
        context["aws:principalorgid"] = _known(member.organization)
        context["aws:principalorgpaths"] = _known(member.org_path)
    elif member is not None:
        # In another organization or in none: only what names the one it is not in is certain.
        outside = _Value(lambda _, written: _other(written, member.outside), present=None)
        context["aws:principalorgid"] = context["aws:principalorgpaths"] = outside
    return context


def _some_arn(operator: str, written: str, account: str) -> Known:
    """Whether the ARN of somebody in the account matches: not where it names another account."""
    if written == "*" and operator not in ("StringEquals", "StringEqualsIgnoreCase", "Bool"):
        return True
    parts = written.split(":", 5)
    named = parts[4] if len(parts) == 6 else "*"
    return False if named.isdecimal() and named != account else None


def _other(written: str, outside: str) -> Known:
    return False if outside and written.split("/")[0] == outside else None


def _conditions(conditions: Any, context: Mapping[str, _Value]) -> Known:
    if not isinstance(conditions, Mapping):
        return None
    if not all(isinstance(keys, Mapping) for keys in conditions.values()):
        return None
    return _all(
        _holds(str(operator), context.get(str(key).lower()), [str(v) for v in _as_list(want)])
        for operator, keys in conditions.items()
        for key, want in keys.items()
    )


def _holds(operator: str, value: _Value | None, want: list[str]) -> Known:
    quantifier, _, plain = operator.rpartition(":")
    optional = plain.endswith("IfExists")
    plain = plain.removesuffix("IfExists")
    negated = "Not" in plain
    plain = plain.replace("Not", "", 1)
    if value is None or quantifier not in _QUANTIFIERS or any("${" in w for w in want):
        return None
    if plain == "Null" and not negated and not optional and not quantifier:
        asked = {"true": False, "false": True}.get(want[0]) if len(want) == 1 else None
        return None if value.present is None else asked
    if plain not in _OPERATORS or not want:
        return None
    matches = _any(value.test(plain, w) for w in want)
    present = _not(matches) if negated else matches
    if value.present is None:
        # Where the key is absent, only these hold.
        absent = optional or negated or quantifier == "ForAllValues"
        return present if present is absent else None
    return present


def _matches(operator: str, have: str, written: str) -> bool:
    if operator in ("StringLike", "ArnLike", "ArnEquals"):
        return _like(written, have)
    if operator in ("StringEqualsIgnoreCase", "Bool"):
        return written.lower() == have.lower()
    return written == have


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _like(pattern: str, value: str) -> bool:
    return bool(_regex(pattern).fullmatch(value))


@lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
