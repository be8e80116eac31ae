"""What a namespace may do by the access file: accounts, consumers, and whom it shares with.

A resource asks, the access file decides. An account that is denied is still reached through an
organization or OU that is allowed: AWS knows no exceptions from them, so whoever wants one lists
accounts instead, or puts the account elsewhere in the organization.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/share-amis-with-organizations-and-OUs.html
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gilder.api.access import OWN, AccessFile, Allowed, AssumedRole, NamespaceRule, Patterns
from gilder.api.imageshare import AccountList
from gilder.core.observed import NOBODY, Principals, Problem

NOT_ALLOWED = "PrincipalNotAllowed"
TOO_MANY = "TooManyPrincipals"
PUBLIC = "PublicNotAllowed"
ACCOUNT = "AccountNotAllowed"
LIST = "ListNotAllowed"
SHOWN = 5  # ids that a message names

_NONE = Patterns()
_NOBODY = Allowed(accounts=(), organizations=(), organizational_units=())


@dataclass(frozen=True)
class Rule:
    """What one namespace may do. `place` says where that stands, for messages."""

    place: str
    accounts: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    key_policies: bool = False
    public: bool = False
    plain_images: bool = False
    organization_lists: bool = False
    parameter_lists: tuple[str, ...] = ()
    max_principals: int = 1000
    allow: Allowed = _NOBODY
    deny: Patterns = _NONE

    def may_read_parameter(self, name: str) -> bool:
        """Whether a list of accounts may come from this SSM parameter."""
        return _matches(name, self.parameter_lists)


# A single team, whose IAM policy alone says what it may do.
OPEN = Rule(
    place="no access file",
    accounts=(OWN,),
    key_policies=True,
    public=True,
    plain_images=True,
    organization_lists=True,
    parameter_lists=("*",),
    allow=Allowed(),
)
CLOSED = Rule(place="no entry of namespaces")


def rule_of(file: AccessFile | None, namespace: str) -> Rule:
    """The rule of a namespace: the first entry that matches its name.

    Without a file everything is allowed but other accounts, of which none is known. With a file
    that has no entry for the namespace nothing is.
    """
    if file is None:
        return OPEN
    for n, entry in enumerate(file.namespaces):
        if _matches(namespace, entry.names):
            return _rule(entry, f"namespaces[{n}]")
    return CLOSED


def _rule(entry: NamespaceRule, place: str) -> Rule:
    return Rule(
        place=place,
        accounts=entry.accounts,
        consumers=entry.consumers,
        key_policies=entry.key_policies,
        public=entry.public,
        plain_images=entry.plain_images,
        organization_lists=entry.organization_lists,
        parameter_lists=entry.parameter_lists,
        max_principals=entry.max_principals,
        allow=entry.allow,
        deny=entry.deny,
    )


def judge(
    rule: Rule, principals: Principals, namespace: str
) -> tuple[Principals, tuple[Problem, ...]]:
    """The principals that may be declared, and a Problem per kind of those that may not.

    Too many are all refused: nobody can say which of them are meant.
    """
    if len(principals) > rule.max_principals:
        return NOBODY, (
            Problem(
                TOO_MANY,
                "spec.accounts, accountsFrom, organizations, organizationalUnits and temporary "
                f"name {len(principals)} principals, and namespace {namespace} may share with "
                f"{rule.max_principals} per ImageShare. Name fewer, or an organization or OU in "
                "place of its accounts, or ask the operator's administrator to raise "
                f"maxPrincipals in the access file ({rule.place})",
            ),
        )
    fields = (
        ("accounts", principals.accounts, rule.allow.accounts, rule.deny.accounts),
        (
            "organizations",
            principals.organizations,
            rule.allow.organizations,
            rule.deny.organizations,
        ),
        (
            "organizationalUnits",
            principals.units,
            rule.allow.organizational_units,
            rule.deny.organizational_units,
        ),
    )
    left: list[frozenset[str]] = []
    problems: list[Problem] = []
    for field, declared, allow, deny in fields:
        good = frozenset(
            d for d in declared if _matches(_id(d), allow) and not _matches(_id(d), deny)
        )
        left.append(good)
        if refused := declared - good:
            problems.append(_refused(rule, field, sorted(map(_id, refused)), namespace))
    if principals.public and not rule.public:
        problems.append(
            Problem(
                PUBLIC,
                f"spec.public: namespace {namespace} may not make AMIs public. Ask the operator's "
                f"administrator to set public in the access file ({rule.place}), or remove public "
                "and confirmPublic",
            )
        )
    accounts, organizations, units = left
    return (
        Principals(accounts, organizations, units, principals.public and rule.public),
        tuple(problems),
    )


def _refused(rule: Rule, field: str, ids: list[str], namespace: str) -> Problem:
    shown = ", ".join(ids[:SHOWN])
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    them = "it" if len(ids) == 1 else "them"
    # Accounts come from lists too, and are passed over by another field there.
    ignore = " or name them in spec.ignoreAccounts" if field == "accounts" else ""
    return Problem(
        NOT_ALLOWED,
        f"spec.{field}: namespace {namespace} may not share with {shown}{more}. Ask the "
        f"operator's "
        f"administrator to allow {them} in the access file "
        f"(namespaces[].allow and deny; here {rule.place}), or remove {them} there "
        f"and in spec.temporary{ignore}",
    )


def may_use_account(
    rule: Rule, account: str | None, namespace: str, field: str = "spec.account"
) -> Problem | None:
    """Why AMIs of a namespace may not live in an account; None when they may.

    `account` is None for the account of the operator's own credentials.
    """
    if (account or OWN) in rule.accounts:
        return None
    which = f"account {account}" if account else "the account of the operator's own credentials"
    others = [f"{field} {a}" if a != OWN else f"no {field}" for a in rule.accounts]
    instead = f", or use {' or '.join(others[:SHOWN])}" if others else ""
    return Problem(
        ACCOUNT,
        f"{field}: namespace {namespace} may not use {which} ({rule.place}). Ask the "
        "operator's administrator to allow it in the access file (namespaces[].accounts)"
        f"{instead}",
    )


def may_read_list(rule: Rule, one: AccountList, namespace: str) -> Problem | None:
    """Why a namespace may not take accounts from a list; None when it may.

    ConfigMaps are of the namespace itself, so that everybody may.
    """
    if one.config_map is not None:
        return None
    if one.ssm_parameter is not None:
        if rule.may_read_parameter(one.ssm_parameter.name):
            return None
        what = f"a pattern for {one.ssm_parameter.name} in namespaces[].parameterLists"
    elif rule.organization_lists:
        return None
    else:
        what = "namespaces[].organizationLists"
    return Problem(
        LIST,
        f"spec.accountsFrom: namespace {namespace} may not take accounts from {one.source} "
        f"({rule.place}). Ask the operator's administrator to allow it in the access file "
        f"({what}), or remove the list",
    )


def may_use_consumer(rule: Rule, account: str) -> bool:
    """Whether the role in a consumer account may be used for this namespace."""
    return _matches(account, rule.consumers)


def consumer_roles(file: AccessFile | None, account: str) -> tuple[AssumedRole, ...] | None:
    """The chain of roles into a consumer account, by the first entry that matches; else None."""
    for entry in file.consumers if file else ():
        if _matches(account, entry.accounts):
            return tuple(role.of(account) for role in entry.roles)
    return None


def _id(principal: str) -> str:
    """An account id, or the last part of an ARN of an organization or OU."""
    return principal.rsplit("/", 1)[-1]


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
