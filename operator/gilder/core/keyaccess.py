"""Whether an account may use the KMS key of an AMI for launching, by grant or key policy."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gilder.core import rules
from gilder.core.keypolicy import Asker, Ruling, ruling
from gilder.core.observed import Grant, Image, Key, Principals, Problem
from gilder.core.question import Finding, Question


def explain(
    arn: str,
    image: Image,
    key: Key | Problem | None,
    grants: Iterable[Grant],
    asked: Question,
    who: Principals,
) -> Finding:
    """What of the key the account has and lacks. `who` are the AMI's launch permissions."""
    if not isinstance(key, Key):
        return Finding.unknown(key.message if key else f"KMS key {arn} was not read", key=arn)
    if key.aws_managed:
        if asked.account == arn.split(":")[4]:
            return Finding.given(("aws/ebs, a key of the account itself",), key=arn)
        refused = rules.default_key(image, {arn: key})
        return Finding.missing(refused.message if refused else "", key=arn)
    if key.state != "Enabled":
        return Finding.missing(
            f"the key is {key.state}, so that nobody can use it",
            "enable it, or name another key in the GoldenImage",
            arn,
        )
    return _weigh(_Access.of(key, image.region, tuple(grants), asked), key, asked, who)


@dataclass(frozen=True, slots=True)
class _Access:
    """Per action that launching needs: what the key policy says, and grants that have it."""

    policy: dict[str, Ruling]
    whole: dict[str, tuple[Grant, ...]]  # to the account as such
    partly: dict[str, tuple[Grant, ...]]  # to somebody in it, or with constraints

    @staticmethod
    def of(key: Key, region: str, grants: tuple[Grant, ...], asked: Question) -> "_Access":
        asker = Asker(asked.account, region, asked.membership)
        mine = [g for g in grants if f":{asked.account}:" in g.principal]
        root = re.compile(rf"arn:[\w-]+:iam::{asked.account}:root")
        whole = [g for g in mine if root.fullmatch(g.principal) and not g.constrained]
        partly = [g for g in mine if g not in whole]

        def having(some: list[Grant], action: str) -> tuple[Grant, ...]:
            return tuple(g for g in some if action.removeprefix("kms:") in g.operations)

        actions = rules.POLICY_ACTIONS
        return _Access(
            {a: ruling(key.policy, asker, a, key.arn) for a in actions},
            {a: having(whole, a) for a in actions},
            {a: having(partly, a) for a in actions},
        )

    def allow(self, action: str) -> bool | None:
        if self.whole[action]:
            return True
        said = self.policy[action].allow
        return None if said is False and self.partly[action] else said


def _weigh(access: _Access, key: Key, asked: Question, who: Principals) -> Finding:
    account, actions = asked.account, rules.POLICY_ACTIONS
    denied = [a for a in actions if access.policy[a].deny]
    if denied:
        names = _names(n for a in denied for n in access.policy[a].denies)
        return Finding.missing(
            f"{names} of the key policy denies {account} {_list(denied)}",
            "change that statement: no grant and no other statement helps against a Deny",
            key.arn,
        )
    lacking = [a for a in actions if access.allow(a) is False]
    if lacking:
        why = f"neither a grant nor the key policy gives {account} {_list(lacking)}"
        if len(lacking) < len(actions):
            why += f"; the rest is given by {_joined(_given(access))}"
        return Finding.missing(why, _fix(asked, who), key.arn)
    if key.policy is None:
        return Finding.unknown("the key policy cannot be read", key=key.arn)
    if doubts := [*_doubts(access, asked)]:
        return Finding.unknown("; ".join(doubts), key=key.arn)
    return Finding.given(_given(access), key=key.arn)


def _given(access: _Access) -> tuple[str, ...]:
    """The grants and statements that together give what there is."""
    grants: dict[str, None] = {}
    statements: dict[str, None] = {}
    for action in rules.POLICY_ACTIONS:
        if whole := access.whole[action]:
            grants |= dict.fromkeys(_grant(g) for g in whole)
        elif access.policy[action].allow:
            statements |= dict.fromkeys(access.policy[action].allows)
    return (*grants, *(f"key policy statement {n}" for n in statements))


def _grant(grant: Grant) -> str:
    return f"grant {grant.id}" + (f" ({grant.name})" if grant.name else "")


def _doubts(access: _Access, asked: Question) -> Iterable[str]:
    """Why nothing certain can be said."""
    open_denies = [
        n for a in rules.POLICY_ACTIONS if access.policy[a].deny is None
        for n in access.policy[a].denies
    ]  # fmt: skip
    if open_denies:
        yield (
            f"{_names(open_denies)} of the key policy may deny {asked.account}: it hangs on "
            "conditions that are not understood here, or on who launches"
        )
    open_actions = [a for a in rules.POLICY_ACTIONS if access.allow(a) is None]
    statements = [n for a in open_actions for n in access.policy[a].allows]
    if statements:
        yield (
            f"{_names(statements)} of the key policy may let {asked.account} in: it hangs on who "
            "launches, on its organization, or on conditions that are not understood here"
        )
    some = dict.fromkeys(g for a in open_actions for g in access.partly[a])
    for grant in some:
        what = "has constraints" if grant.constrained else f"is for {grant.principal} alone"
        yield f"{_grant(grant)} {what}"


def _fix(asked: Question, who: Principals) -> str:
    """What would give access: by the ImageShares that name the account, else by what else may."""
    account, declared = asked.account, asked.shares
    naming = [d for d in declared if account in d.principals.accounts]
    # One that gives key access and acts comes first: it is what should have done it.
    naming.sort(key=lambda d: (d.kms == "None", bool(d.passive), d.share))
    if naming:
        first = naming[0]
        has = f"ImageShare {first.share} has kms.mode {first.kms}"
        if first.kms == "None":
            return (
                f"{has}, which leaves key access to others: set kms.mode: Grant there, or let the "
                "account in by the key policy"
            )
        if first.passive:
            return f"{has}, but is {first.passive}: let it act again"
        return f"{has}: key access is given at the operator's next look; see its conditions"
    total = who
    for share in declared:
        total |= share.principals
    if account not in who.accounts and (arns := asked.through(total)):
        organization, *unit = arns[0].split(":", 5)[5].split("/")[1:]
        statement = rules.policy_statement(organization, unit[0] if unit else None)
        return (
            "a grant cannot name an organization or OU; add this statement to the key policy: "
            f"{json.dumps(statement)}"
        )
    if asked.declared is None:
        return f"give {account} a grant: declare it in an ImageShare with kms.mode Grant"
    return (
        f"no ImageShare with kms.mode Grant declares {account} for this image: add it to "
        "spec.accounts of one"
    )


def _names(names: Iterable[str]) -> str:
    return f"statement {_joined(list(dict.fromkeys(names)))}"


def _list(actions: list[str]) -> str:
    return "use of the key" if len(actions) == len(rules.POLICY_ACTIONS) else _joined(actions)


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words)
