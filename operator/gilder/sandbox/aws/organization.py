"""Which organization and OUs an account belongs to, by moto's Organizations."""

from dataclasses import dataclass
from typing import Any

from moto.organizations.models import organizations_backends


@dataclass(frozen=True)
class Membership:
    """The organization of an account, and its path from the root down."""

    organization: str
    path: tuple[str, ...]  # root id, then OU ids

    @property
    def org_path(self) -> str:
        """The value of aws:PrincipalOrgPaths.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
        """
        return "/".join((self.organization, *self.path)) + "/"

    def within(self, arn: str) -> bool:
        """Whether an organization ARN or OU ARN covers the account; OUs cover nested OUs."""
        kind, _, rest = arn.rpartition(":")[2].partition("/")
        ids = rest.split("/")
        if not ids or ids[0] != self.organization:
            return False
        return kind == "organization" or (kind == "ou" and ids[-1] in self.path)


def _locate(account: str) -> tuple[Any, Any]:
    """moto's backend of an organization and its account, whatever the account's state."""
    for backends in list(organizations_backends.values()):
        for backend in list(backends.values()):
            if backend.org is None:
                continue
            found = next((a for a in backend.accounts if a.id == account), None)
            if found is not None:
                return backend, found
    return None, None


def home_of(account: str) -> Any | None:
    """moto's backend of the organization that an account is in."""
    return _locate(account)[0]


def find_account(account: str) -> Any | None:
    return _locate(account)[1]


def _ids(backend: Any, parent: str | None) -> tuple[str, ...]:
    """The ids from the root down to a root or OU."""
    parents = {unit.id: unit.parent_id for unit in backend.ou}
    path: list[str] = []
    while parent and parent not in path:
        path.insert(0, parent)
        parent = parents.get(parent)
    return tuple(path)


def path_of(backend: Any, parent: str) -> str:
    """The path of a root or OU, with a slash at its end."""
    return Membership(backend.org.id, _ids(backend, parent)).org_path


def membership(account: str) -> Membership | None:
    """The membership of an account that is active, or None outside of any organization."""
    backend, found = _locate(account)
    if found is None or found.status != "ACTIVE":
        return None
    return Membership(backend.org.id, _ids(backend, found.parent_id))
