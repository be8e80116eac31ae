"""What is looked at, and kept, from the side of the accounts that AMIs are shared with; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gilder.api.conditions import ConditionType
from gilder.api.imageshare import Consumer, ImageShareSpec
from gilder.core.actions import TagForConsumer
from gilder.core.conditions import Verdict
from gilder.core.digest import digest
from gilder.core.observed import Image
from gilder.core.sharing import TargetState
from gilder.core.times import passed

AGE = 3600.0  # seconds after which an account is looked at again, though nothing changed
RETRY = 60.0  # and after which one where something was amiss is
NAMED = 5  # accounts in the condition's message

NO_ROLE = "the operator's access file has no role for this account, or not for this namespace"


@dataclass(frozen=True, slots=True)
class Facts:
    """What one account sees of one AMI. `dry_run` and `keys` are "" where AWS says yes."""

    tags: Mapping[str, str] | None  # None: the AMI is not visible
    dry_run: str = ""
    keys: tuple[tuple[str, str], ...] = ()  # key ARN, what KMS says

    @property
    def wrong(self) -> str:
        """Why the account cannot launch it; empty when it can."""
        if self.tags is None:
            return "the AMI is not visible"
        if self.dry_run:
            return f"a dry run of a launch says: {self.dry_run}"
        return "; ".join(f"{key} is not usable: {said}" for key, said in self.keys if said)


def accounts_of(states: Iterable[TargetState]) -> list[str]:
    """Accounts that may launch some AMI of the share."""
    shown = (s for s in states if not s.leaving and not s.unresolved)
    return sorted({a for s in shown for a in (s.declared - s.missing).accounts})


def images_of(states: Iterable[TargetState], account: str) -> list[Image]:
    """The AMIs that an account may launch."""
    return [
        s.target.image
        for s in states
        if not s.leaving and s.target.image and account in (s.declared - s.missing).accounts
    ]


def wanted_tags(spec: ImageShareSpec, image: Image) -> dict[str, str]:
    """The tags that an AMI should have in each account it is shared with."""
    want = spec.consumer_tags
    if want is None:
        return {}
    free = {k: v for k, v in image.tags.items() if not k.startswith(("aws:", "goldenimage.dev/"))}
    copied = free if "*" in want.copy_keys else {k: free[k] for k in want.copy_keys if k in free}
    return {**copied, **want.tags}


def fingerprint(spec: ImageShareSpec, images: Sequence[Image]) -> str:
    """Changes when there is something new to look at."""
    return digest(
        spec.verify_from_consumer,
        [[i.region, i.id, sorted(i.kms_keys), wanted_tags(spec, i)] for i in images],
        length=12,
    )


def due(before: Consumer | None, mark: str, now: datetime, many: int = 0) -> float:
    """Seconds until an account is to be looked at; 0 for at once.

    Of `many` accounts the ones with something amiss are looked at again less often, so that there
    is an end to looking.
    """
    if before is None or before.digest != mark or before.message == NO_ROLE:
        return 0.0
    age = AGE if before.message is None else min(AGE, max(RETRY, float(many)))
    return max(0.0, age - passed(before.checked, now))


def tag_actions(
    spec: ImageShareSpec,
    account: str,
    images: Iterable[Image],
    seen: Mapping[str, Facts],
    ours: Iterable[str],
) -> list[TagForConsumer]:
    """Tags to set and to remove in an account. `ours` are keys that were set before."""
    found = []
    before = frozenset(ours)
    for image in images:
        facts = seen.get(image.id)
        if facts is None or facts.tags is None:
            continue
        want = wanted_tags(spec, image)
        wrong = {k: v for k, v in want.items() if facts.tags.get(k) != v}
        gone = tuple(sorted(k for k in facts.tags if k in before and k not in want))
        if wrong or gone:
            found.append(
                TagForConsumer(
                    region=image.region, account=account, image=image.id, tags=wrong, gone=gone
                )
            )
    return found


def verdict(spec: ImageShareSpec, consumers: Sequence[Consumer], asked: int) -> Verdict | None:
    """VerifiedFromConsumer: what the accounts see for themselves. None where nobody asks."""
    if not spec.verify_from_consumer and spec.consumer_tags is None:
        return None
    kind = ConditionType.VERIFIED_FROM_CONSUMER
    if not asked:
        return Verdict(kind, "Unknown", "NoAccounts", "no account is shared with by its id yet")
    wrong = [c for c in consumers if c.message and c.message != NO_ROLE]
    roleless = [c for c in consumers if c.message == NO_ROLE]
    if wrong:
        told = "; ".join(f"{c.account}: {c.message}" for c in wrong[:NAMED])
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        return Verdict(kind, "False", "NotLaunchable", f"{told}{more}")
    if len(consumers) < asked:
        told = f"{len(consumers)} of {asked} accounts were looked at"
        return Verdict(kind, "Unknown", "NotChecked", told)
    if roleless:
        some = ", ".join(c.account for c in roleless[:NAMED])
        more = f" and {len(roleless) - NAMED} more" if len(roleless) > NAMED else ""
        return Verdict(kind, "Unknown", "NoConsumerRole", f"{some}{more}: {NO_ROLE}")
    return Verdict(kind, "True", "Verified", f"{asked} accounts see their AMIs as they should")
