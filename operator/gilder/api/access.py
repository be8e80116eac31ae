"""The operator's access file: accounts, roles, and what each namespace may do."""

import yaml

from gilder.api.base import ApiModel


class AccessError(ValueError):
    """The access file cannot be used; one line per error."""


class AssumedRole(ApiModel):
    arn: str
    external_id: str | None = None
    session_tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    duration_seconds: int = 3600


class Account(ApiModel):
    id: str
    name: str = ""
    profile: str | None = None
    roles: tuple[AssumedRole, ...] = ()


class ConsumerRoles(ApiModel):
    accounts: tuple[str, ...]
    roles: tuple[AssumedRole, ...]


class OrganizationsAccess(ApiModel):
    account: str | None = None


class Principals(ApiModel):
    accounts: tuple[str, ...] = ("*",)
    organizations: tuple[str, ...] = ("*",)
    organizational_units: tuple[str, ...] = ("*",)


class NamespaceRule(ApiModel):
    names: tuple[str, ...]
    accounts: tuple[str, ...] = ("own",)
    consumers: tuple[str, ...] = ()
    key_policies: bool = False
    public: bool = False
    plain_images: bool = False
    organization_lists: bool = False
    parameter_lists: tuple[str, ...] = ()
    max_principals: int = 1000
    allow: Principals = Principals()
    deny: Principals = Principals(accounts=(), organizations=(), organizational_units=())


class AccessFile(ApiModel):
    accounts: tuple[Account, ...] = ()
    consumers: tuple[ConsumerRoles, ...] = ()
    organizations: OrganizationsAccess = OrganizationsAccess()
    namespaces: tuple[NamespaceRule, ...] = ()


def load(text: str) -> AccessFile:
    return AccessFile.model_validate(yaml.safe_load(text))
