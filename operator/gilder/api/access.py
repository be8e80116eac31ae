"""The access file: which namespace may use which AWS accounts, and whom it may share with.

It belongs to the operator's administrator. What a resource asks for counts only within it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from gilder.api.base import ApiModel, field_errors, one_line

OWN = "own"  # the account of the operator's own credentials
PLACEHOLDER = "{account}"
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
CHAINED_SECONDS = 3600

_ACCOUNT = re.compile(r"[0-9]{12}")
_WILD = re.compile(r"[*?\[]")
# Name and path: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
_ROLE = re.compile(
    r"arn:aws[a-z-]*:iam::(?P<account>[0-9]{12}|\{account\}):role/(?:[!-~]{0,511}/)?[\w+=,.@-]{1,64}",
    re.ASCII,
)
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


class AccessError(ValueError):
    """An access file that cannot be used; `str()` is one `field: what is wrong` per line."""


def _is_account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("must be an AWS account id of 12 digits")
    return text


def _is_own_or_account(text: str) -> str:
    if text != OWN and not _ACCOUNT.fullmatch(text):
        raise ValueError(f'must be "{OWN}" or an AWS account id of 12 digits')
    return text


def _is_role(text: str) -> str:
    found = _ROLE.fullmatch(text)
    if not found or found["account"] == PLACEHOLDER:
        raise ValueError("must be a role ARN, arn:aws:iam::<12 digits>:role/<name>")
    return text


def _is_consumer_role(text: str) -> str:
    if not _ROLE.fullmatch(text):
        raise ValueError(
            f"must be a role ARN, arn:aws:iam::{PLACEHOLDER}:role/<name> or with 12 digits"
        )
    return text


def _is_external_id(text: str) -> str:
    if not _EXTERNAL_ID.fullmatch(text):
        raise ValueError("must have 2 to 1224 letters, digits or any of _+=,.@:/-")
    return text


def _is_account_pattern(text: str) -> str:
    if not re.fullmatch(r"[0-9*?\[\]!-]+", text) or not (
        _WILD.search(text) or _ACCOUNT.fullmatch(text)
    ):
        raise ValueError(
            "must be an account id of 12 digits, or digits with the wildcards * ? [...]"
        )
    return text


def _is_id_pattern(prefix: str, name: str) -> AfterValidator:
    def check(text: str) -> str:
        if not (text.startswith(prefix) or _WILD.match(text)) or "/" in text:
            raise ValueError(
                f"must be the id of an {name} ({prefix}..., the last part of its ARN) or a pattern"
            )
        return text

    return AfterValidator(check)


Account = Annotated[str, AfterValidator(_is_account)]
OwnOrAccount = Annotated[str, AfterValidator(_is_own_or_account)]
AccountPattern = Annotated[str, AfterValidator(_is_account_pattern)]
OrganizationPattern = Annotated[str, _is_id_pattern("o-", "organization")]
UnitPattern = Annotated[str, _is_id_pattern("ou-", "organizational unit")]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class AssumedRole(ApiModel):
    """A role, and what is said to STS when it is assumed."""

    arn: Annotated[str, AfterValidator(_is_role)]
    external_id: Annotated[str | None, AfterValidator(lambda v: v and _is_external_id(v))] = None
    session_tags: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=128)],
            Annotated[str, Field(max_length=256)],
        ],
        Field(max_length=50),
    ] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    duration_seconds: Annotated[int | None, Field(ge=900, le=43200)] = None

    @property
    def account(self) -> str:
        """The account of the role; `{account}` where it is filled in later."""
        return self.arn.split(":")[4]


class ConsumerRole(AssumedRole):
    """A role of which `{account}` in the ARN stands for each consumer account."""

    arn: Annotated[str, AfterValidator(_is_consumer_role)]

    def of(self, account: str) -> AssumedRole:
        """The role in one account."""
        filled = self.arn.replace(PLACEHOLDER, account)
        return AssumedRole(**{**dict(self), "arn": filled})


class Target(ApiModel):
    """An AWS account besides the operator's own, and the credentials that lead there."""

    id: Account
    name: str = ""
    profile: Text | None = None
    roles: tuple[AssumedRole, ...] = ()


class Consumer(ApiModel):
    """The roles of consumer accounts, for tags there and to verify what is shared."""

    accounts: Annotated[tuple[AccountPattern, ...], Field(min_length=1)]
    roles: Annotated[tuple[ConsumerRole, ...], Field(min_length=1)]


class Organizations(ApiModel):
    """Whose credentials may read AWS Organizations."""

    account: Account


class Patterns(ApiModel):
    """Patterns of the ids of principals."""

    accounts: tuple[AccountPattern, ...] = ()
    organizations: tuple[OrganizationPattern, ...] = ()
    organizational_units: tuple[UnitPattern, ...] = ()


class Allowed(ApiModel):
    """Patterns of the ids of principals; whatever is left out allows all of its kind."""

    accounts: tuple[AccountPattern, ...] = ("*",)
    organizations: tuple[OrganizationPattern, ...] = ("*",)
    organizational_units: tuple[UnitPattern, ...] = ("*",)


class NamespaceRule(ApiModel):
    """What the resources of some namespaces may do."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    accounts: tuple[OwnOrAccount, ...] = (OWN,)
    consumers: tuple[AccountPattern, ...] = ()
    key_policies: bool = False
    public: bool = False
    plain_images: bool = False
    organization_lists: bool = False
    parameter_lists: tuple[Text, ...] = ()
    max_principals: Annotated[int, Field(ge=1)] = 1000
    allow: Allowed = Allowed()
    deny: Patterns = Patterns()


class AccessFile(ApiModel):
    """The whole file."""

    accounts: tuple[Target, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    organizations: Organizations | None = None
    namespaces: tuple[NamespaceRule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "AccessFile":
        if found := [*_of_accounts(self), *_of_consumers(self), *_of_references(self)]:
            raise ValueError("\n".join(found))
        return self


def _of_accounts(file: AccessFile) -> Iterator[str]:
    seen: dict[str, int] = {}
    for n, target in enumerate(file.accounts):
        at = f"accounts[{n}]"
        if target.id in seen:
            yield f"{at}.id: {target.id} is in accounts[{seen[target.id]}] already; remove one"
        seen.setdefault(target.id, n)
        if not target.roles and target.profile is None:
            yield (
                f"{at}: no credentials lead to {target.id}; set roles or profile. The operator's "
                f'own account needs no entry: namespaces name it "{OWN}"'
            )
        if target.roles and target.roles[-1].account != target.id:
            yield (
                f"{at}.roles[{len(target.roles) - 1}].arn: the last role is of account "
                f"{target.roles[-1].account}, but id is {target.id}; correct one of them"
            )
        yield from _of_chain(target.roles, f"{at}.roles")


def _of_chain(roles: Sequence[AssumedRole], at: str) -> Iterator[str]:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html"""
    inherited: set[str] = set()
    for n, role in enumerate(roles):
        if n and (role.duration_seconds or 0) > CHAINED_SECONDS:
            yield (
                f"{at}[{n}].durationSeconds: a role that is assumed with another role lasts "
                f"{CHAINED_SECONDS} seconds at most; lower it"
            )
        keys = {k.lower() for k in role.session_tags}
        if len(keys) < len(role.session_tags):
            yield f"{at}[{n}].sessionTags: keys that differ only in case are one key; remove one"
        for key in role.session_tags:
            if key.lower().startswith("aws:"):
                yield f"{at}[{n}].sessionTags: {key}: keys that start with aws: are reserved"
            if key.lower() in inherited:
                yield (
                    f"{at}[{n}].sessionTags: {key} comes from a role before already, since it is "
                    "transitive, and cannot be set again; remove it"
                )
        for key in role.transitive_tag_keys:
            if key.lower() not in keys:
                yield f"{at}[{n}].transitiveTagKeys: {key} is no key of sessionTags; add it there"
        inherited |= {k.lower() for k in role.transitive_tag_keys}


def _of_consumers(file: AccessFile) -> Iterator[str]:
    for n, consumer in enumerate(file.consumers):
        last = len(consumer.roles) - 1
        account, at = consumer.roles[last].account, f"consumers[{n}].roles"
        many = len(consumer.accounts) > 1 or _WILD.search(consumer.accounts[0])
        if account != PLACEHOLDER and many:
            yield (
                f"{at}[{last}].arn: accounts match more than {account}; write {PLACEHOLDER} in "
                f"place of {account}"
            )
        elif account not in (PLACEHOLDER, consumer.accounts[0]):
            yield (
                f"{at}[{last}].arn: the last role is of account {account}, but accounts has "
                f"{consumer.accounts[0]}; write {PLACEHOLDER} in place of {account}"
            )
        yield from _of_chain(consumer.roles, at)


def _of_references(file: AccessFile) -> Iterator[str]:
    known = {target.id for target in file.accounts}
    if file.organizations and file.organizations.account not in known:
        yield (
            f"organizations.account: {file.organizations.account} is not in accounts; add it "
            "there, or leave organizations out for the operator's own account"
        )
    for n, rule in enumerate(file.namespaces):
        for m, account in enumerate(rule.accounts):
            if account != OWN and account not in known:
                yield (
                    f"namespaces[{n}].accounts[{m}]: {account} is not in accounts; add it there, "
                    f'or write "{OWN}" for the account of the operator\'s own credentials'
                )


# What PyYAML lets through of Python about a date of no calendar, `!!int x` and the like.
_UNCAUGHT = (ValueError, KeyError, AttributeError, TypeError, OverflowError)

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys, of which the last one would count unseen."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: list[Any] = []
    for written, _ in node.value:
        key = "<<" if written.tag == _MERGE else loader.construct_object(written)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key} is there twice", written.start_mark
            )
        seen.append(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(text: str) -> AccessFile:
    """The access file that YAML text says.

    Raises AccessError with everything that is wrong, one `field: what is wrong` per line. Whether
    parts fit each other is looked at once each of them is right by itself.
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise AccessError(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise AccessError("not YAML: it is nested too deeply") from None
    except _UNCAUGHT as error:
        told = one_line(str(error), 200)
        raise AccessError(f"not YAML: a value that cannot be read: {told}") from None
    if not isinstance(data, dict):
        raise AccessError("must be a mapping with accounts, consumers, organizations, namespaces")
    try:
        return AccessFile.model_validate(data)
    except ValidationError as error:
        lines = (
            line.replace("Input should be a valid string", "must be text; write it in quotes")
            for line in field_errors(error)
        )
        raise AccessError("\n".join(lines)) from None
