"""Which organization an account is in, as far as it is known."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Membership:
    """The organization (`o-...`) of an account, and its path there: the root, then OUs, top down.

    An account that is not in the organization that was asked has that one as `outside`; it may
    still be in another, so that `organization` stays empty.
    """

    organization: str = ""
    path: tuple[str, ...] = ()
    outside: str = ""

    @property
    def org_path(self) -> str:
        """The value of aws:PrincipalOrgPaths.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
        """
        return "/".join((self.organization, *self.path)) + "/"


def within(membership: Membership | None, arn: str) -> bool | None:
    """Whether the ARN of an organization or OU covers the account; None: that is not known.

    An OU covers the OUs below it.
    """
    organization, *unit = arn.split(":", 5)[5].split("/")[1:]  # organization/o-x or ou/o-x/ou-y
    if membership is None:
        return None
    if not membership.organization:
        return False if membership.outside == organization else None
    if membership.organization != organization:
        return False
    return not unit or unit[0] in membership.path


def id_of(arn: str) -> str:
    """`organization o-...` or `OU ou-...`, for people."""
    last = arn.rpartition("/")[2]
    return f"OU {last}" if last.startswith("ou-") else f"organization {last}"
