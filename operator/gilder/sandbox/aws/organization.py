"""Which organization and OUs an account belongs to, by moto's Organizations."""

from dataclasses import dataclass

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


def membership(account: str) -> Membership | None:
    """The membership of an account, or None outside of any organization."""
    for backends in list(organizations_backends.values()):
        for backend in list(backends.values()):
            if backend.org is None:
                continue
            found = next((a for a in backend.accounts if a.id == account), None)
            if found is None or found.status != "ACTIVE":
                continue
            parents = {unit.id: unit.parent_id for unit in backend.ou}
            path: list[str] = []
            current: str | None = found.parent_id
            while current and current not in path:
                path.insert(0, current)
                current = parents.get(current)
            return Membership(backend.org.id, tuple(path))
    return None
