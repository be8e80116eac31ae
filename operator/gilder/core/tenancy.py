"""What the operator's access file lets a namespace do."""

from fnmatch import fnmatchcase

from gilder.api.access import AccessFile, AssumedRole, NamespaceRule
from gilder.api.access import Principals as Named
from gilder.api.imageshare import AccountList
from gilder.core.observed import Principals, Problem

FREE = NamespaceRule(
    names=("*",),
    key_policies=True,
    public=True,
    plain_images=True,
    organization_lists=True,
    parameter_lists=("*",),
)
NOTHING = NamespaceRule(
    names=("*",),
    accounts=(),
    max_principals=1,
    allow=Named(accounts=(), organizations=(), organizational_units=()),
)


def rule_of(file: AccessFile | None, namespace: str) -> NamespaceRule:
    if file is None:
        return FREE
    for rule in file.namespaces:
        if any(fnmatchcase(namespace, n) for n in rule.names):
            return rule
    return NOTHING


def _ok(rule: NamespaceRule, field: str, name: str) -> bool:
    hit = lambda ps: any(fnmatchcase(name, p) for p in ps)
    return hit(getattr(rule.allow, field)) and not hit(getattr(rule.deny, field))


def judge(
    rule: NamespaceRule, who: Principals, namespace: str
) -> tuple[Principals, tuple[Problem, ...]]:
    accounts = frozenset(a for a in who.accounts if _ok(rule, "accounts", a))
    orgs = frozenset(
        a for a in who.organizations if _ok(rule, "organizations", a.rsplit("/", 1)[-1])
    )
    units = frozenset(
        a for a in who.units if _ok(rule, "organizational_units", a.rsplit("/", 1)[-1])
    )
    found = Principals(accounts, orgs, units, who.public and rule.public)
    problems = []
    if lost := who - found:
        problems.append(
            Problem("PrincipalNotAllowed", f"{lost.names()} not allowed to {namespace}")
        )
    if len(found) > rule.max_principals:
        return Principals(), (Problem("TooManyPrincipals", "too many"),)
    return found, tuple(problems)


def may_use_account(rule: NamespaceRule, account: str | None, namespace: str) -> Problem | None:
    if (account or "own") in rule.accounts:
        return None
    return Problem(
        "AccountNotAllowed",
        f"spec.account: {account or 'own'} is not open to namespace {namespace}",
    )


def may_use_consumer(rule: NamespaceRule, account: str) -> bool:
    return any(fnmatchcase(account, p) for p in rule.consumers)


def consumer_roles(file: AccessFile | None, account: str) -> tuple[AssumedRole, ...] | None:
    for entry in file.consumers if file else ():
        if any(fnmatchcase(account, p) for p in entry.accounts):
            return tuple(
                r.model_copy(update={"arn": r.arn.replace("{account}", account)})
                for r in entry.roles
            )
    return None


def may_read_list(rule: NamespaceRule, one: AccountList, namespace: str) -> Problem | None:
    """Why a namespace may not take accounts from a list."""
    field = f"spec.accountsFrom: {one.source}"
    if one.ssm_parameter is not None:
        name = one.ssm_parameter.name
        if any(fnmatchcase(name, p) for p in rule.parameter_lists):
            return None
        what = f"namespaces[].parameterLists must have a pattern for {name}"
    elif one.config_map is None and not rule.organization_lists:
        what = "namespaces[].organizationLists must be true"
    else:
        return None
    return Problem(
        "ListNotAllowed",
        f"{field}: not open to namespace {namespace}. Ask the operator's administrator to allow it "
        f"in the access file ({what}), or remove the list",
    )
