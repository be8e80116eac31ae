"""The words of an explanation: what is asked, what is declared, and what was found."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from gilder.core.membership import Membership, within
from gilder.core.observed import Principals

State = Literal["Given", "Missing", "NotNeeded", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that launching takes. `key` is the ARN where it is access to a key.

    `by` is what gives it: `account`, `organization o-...`, `OU ou-...`, `all`, a grant, a statement
    of the key policy.
    """

    state: State
    by: tuple[str, ...] = ()
    why: str = ""
    fix: str = ""
    key: str = ""

    @classmethod
    def given(cls, by: tuple[str, ...], why: str = "", key: str = "") -> Self:
        return cls("Given", by, why, key=key)

    @classmethod
    def missing(cls, why: str, fix: str = "", key: str = "") -> Self:
        return cls("Missing", (), why, fix, key)

    @classmethod
    def not_needed(cls, why: str) -> Self:
        return cls("NotNeeded", (), why)

    @classmethod
    def unknown(cls, why: str, fix: str = "", key: str = "") -> Self:
        return cls("Unknown", (), why, fix, key)

    def as_dict(self) -> dict[str, Any]:
        """Without what is empty, for JSON."""
        out: dict[str, Any] = {"state": self.state}
        if self.key:
            out["key"] = self.key
        if self.by:
            out["by"] = list(self.by)
        return out | {k: v for k, v in (("why", self.why), ("fix", self.fix)) if v}


@dataclass(frozen=True, slots=True)
class Declared:
    """What one ImageShare declares of the AMI. `passive` is why it changes nothing in AWS.

    `elsewhere`: it selects the GoldenImage, but not this version of it, or not in this Region.
    """

    share: str  # namespace/name
    principals: Principals
    kms: str = "Grant"
    passive: str = ""
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """The account that is asked about, and what is known of it beside AWS's permissions.

    `membership` is None where nothing is known of it, `declared` where no ImageShares were read.
    """

    account: str
    membership: Membership | None = None
    declared: tuple[Declared, ...] | None = ()

    @property
    def shares(self) -> tuple[Declared, ...]:
        """Those that declare something of this very AMI."""
        return tuple(d for d in self.declared or () if not d.elsewhere)

    def among(self, who: Principals) -> bool | None:
        """Whether the account is one of these; None: that hangs on an unknown organization."""
        if self.account in who.accounts or who.public:
            return True
        answers = [within(self.membership, a) for a in (*who.organizations, *who.units)]
        return True if True in answers else None if None in answers else False

    def through(self, who: Principals) -> tuple[str, ...]:
        """ARNs of the organizations and OUs among these that it is in, then those it may be in."""
        arns = {
            a: within(self.membership, a) for a in (*sorted(who.units), *sorted(who.organizations))
        }
        return (*(a for a in arns if arns[a]), *(a for a in arns if arns[a] is None))
