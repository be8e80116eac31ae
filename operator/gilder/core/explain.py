"""Why an account can, or cannot, launch an AMI: both permissions, and where each comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gilder.core import keyaccess, rules
from gilder.core.gating import shut
from gilder.core.membership import id_of, within
from gilder.core.observed import NOBODY, Grant, Image, Key, Principals, Problem
from gilder.core.question import Finding, Question
from gilder.core.times import passed


@dataclass(frozen=True, slots=True)
class Target:
    """The AMI that is asked about, `golden` and `version` where it belongs to a GoldenImage.

    Without an `image_id` the GoldenImage has no AMI in the Region.
    """

    region: str
    image_id: str
    golden: str = ""
    version: int = 0

    def __str__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        of = f" ({self.golden}{version})" if self.golden else ""
        return f"{self.image_id or 'an AMI'} in {self.region}{of}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of it. `owner` is the account that was read as."""

    owner: str
    image: Image | None = None
    permissions: Principals | Problem | None = None
    keys: Mapping[str, Key | Problem] = field(default_factory=dict)
    grants: Mapping[str, tuple[Grant, ...]] = field(default_factory=dict)
    problem: Problem | None = None  # nothing could be read


@dataclass(frozen=True, slots=True)
class Facts:
    """What AWS answered the account itself; an empty text: it may."""

    visible: str = ""
    launch: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)  # by ARN


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one AMI. `could` is None where it cannot be told."""

    account: str
    target: Target
    could: bool | None
    launch: Finding
    keys: tuple[Finding, ...] = ()
    state: Finding | None = None  # the AMI itself is in the way
    notes: tuple[str, ...] = ()
    failed: tuple[Problem, ...] = ()  # reads without which it cannot be told
    facts: Facts | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*((self.state,) if self.state else ()), self.launch, *self.keys)


def explain(target: Target, seen: Seen, asked: Question, now: datetime) -> Explanation:
    """Compare what was read with what launching takes."""
    image = seen.image
    problem = seen.problem or (None if image else _unseen(target, seen))
    if problem is not None:
        return Explanation(
            asked.account, target, None, Finding.unknown(problem.message), failed=(problem,)
        )
    if image is None:
        return _gone(target, asked)
    launch = _launch(image, seen, asked)
    keys = _keys(image, seen, asked)
    state = _state(image)
    findings = [launch, *keys, *([state] if state else [])]
    states = {f.state for f in findings}
    could = False if "Missing" in states else None if "Unknown" in states else True
    failed = [p for p in (seen.permissions, *seen.keys.values()) if isinstance(p, Problem)]
    return Explanation(
        asked.account, target, could, launch, keys, state, _notes(image, now),
        tuple(failed) if could is None else (),
    )  # fmt: skip


def _unseen(target: Target, seen: Seen) -> Problem | None:
    """An AMI that nobody of ours made and that is not there may be anybody's."""
    if target.golden:
        return None
    return Problem(
        "ImageNotFound",
        f"account {seen.owner} sees no {target.image_id} in {target.region}: it was deregistered, "
        "or is another account's. Correct the id or the Region, or ask with the owner's "
        "credentials",
        region=target.region,
    )


def _gone(target: Target, asked: Question) -> Explanation:
    return nothing(
        target, asked, "it is deregistered", f"see the status of GoldenImage {target.golden}"
    )


def nothing(target: Target, asked: Question, why: str, fix: str) -> Explanation:
    """The answer where there is no AMI."""
    launch = Finding.missing("there is no AMI to launch")
    return Explanation(asked.account, target, False, launch, state=Finding.missing(why, fix))


def _state(image: Image) -> Finding | None:
    if image.available:
        return None
    if image.state == "disabled":
        return Finding.missing(
            "it is disabled, so that nobody can launch it",
            f"enable it: aws ec2 enable-image --region {image.region} --image-id {image.id}; its "
            "launch permissions are given anew after that",
        )
    reason = f": {image.state_reason}" if image.state_reason else ""
    fix = "wait until it is available" if image.pending else "see the status of its GoldenImage"
    return Finding.missing(f"it is {image.state}{reason}", fix)


def _notes(image: Image, now: datetime) -> tuple[str, ...]:
    if not image.deprecated_at or passed(image.deprecated_at, now) < 0:
        return ()
    return (
        f"it is deprecated since {image.deprecated_at}: it can be launched by id, but other "
        "accounts do not find it in listings",
    )


# The launch permission


def _launch(image: Image, seen: Seen, asked: Question) -> Finding:
    account, who = asked.account, seen.permissions
    if account == image.owner:
        return Finding.not_needed("the AMI is its own")
    if image.owner != seen.owner:
        return Finding.unknown(
            f"{image.id} belongs to account {image.owner}, and only that account can read its "
            "launch permissions",
            "ask with the credentials of its owner",
        )
    if image.state == "disabled":
        return Finding.missing("AWS takes all launch permissions from an AMI that is disabled")
    if isinstance(who, Problem):
        return Finding.unknown(who.message)
    if who is None:
        return Finding.unknown(f"the launch permissions of {image.id} were not read")
    arns = sorted((*who.organizations, *who.units))
    covered = {arn: within(asked.membership, arn) for arn in arns}
    by = [
        *(["account"] if account in who.accounts else []),
        *(id_of(a) for a in arns if covered[a]),
        *(["all"] if who.public else []),
    ]
    if by:
        return Finding.given(tuple(by), _source(who, asked))
    if perhaps := [id_of(a) for a in arns if covered[a] is None]:
        return Finding.unknown(
            f"only {' and '.join(perhaps)} may launch it, and whether {account} is in there is "
            "not known",
            "ask with credentials that may call organizations:ListParents and "
            "DescribeOrganization (the management account, or a delegated administrator)",
        )
    return _lacking(image, seen, asked)


def _source(who: Principals, asked: Question) -> str:
    """Which ImageShares declare what is in place."""
    if asked.declared is None:
        return ""
    names = [d.share for d in asked.shares if asked.among(d.principals & who)]
    return f"declared by {_shares(names)}" if names else "no ImageShare declares it"


def _lacking(image: Image, seen: Seen, asked: Question) -> Finding:
    account = asked.account
    keys = {k: v for k, v in seen.keys.items() if isinstance(v, Key)}
    why = f"nothing gives {account} the launch permission of {image.id}"
    if product := rules.product_code_share(image):
        return Finding.missing(f"{why}: {product.message}")
    if refused := rules.default_key(image, keys):
        return Finding.missing(f"{why}: {refused.message}")
    if shut(image):
        return Finding.missing(
            f"{why}: its version has not passed its gates, and is not shared until it has",
            "see the condition GatesPassed of its GoldenImage",
        )
    if asked.declared is None:
        return Finding.missing(why, f"declare {account} in spec.accounts of an ImageShare")
    mine = [d for d in asked.shares if asked.among(d.principals)]
    perhaps = [d for d in asked.shares if asked.among(d.principals) is None]
    others = [d for d in asked.declared if d.elsewhere and asked.among(d.principals)]
    if not mine and perhaps:
        return Finding.missing(
            f"{why}, nor does AWS have what {_shares([d.share for d in perhaps])} declares",
            "see the status of that ImageShare",
        )
    if not mine and others:
        return Finding.missing(
            f"{why}: {_shares([d.share for d in others])} declares {account} for other versions "
            "or Regions of the image alone",
            "change spec.versions or spec.regions there, or launch a version that is shared",
        )
    if not mine:
        return Finding.missing(
            why,
            f"no ImageShare declares {account} for this image: add it to spec.accounts of one",
        )
    if active := [d for d in mine if not d.passive]:
        names = _shares([d.share for d in active])
        return Finding.missing(
            f"{why}, although {names} declares it",
            f"see the conditions of {names}; it is given at the operator's next look unless they "
            "say otherwise",
        )
    told = "; ".join(f"ImageShare {d.share} is {d.passive}" for d in mine)
    return Finding.missing(f"{why}: {told}", "let that ImageShare act again")


def _shares(names: list[str]) -> str:
    return f"ImageShare {', '.join(sorted(names))}"


# Key access


def _keys(image: Image, seen: Seen, asked: Question) -> tuple[Finding, ...]:
    if not image.encrypted:
        return (Finding.not_needed("the AMI is not encrypted"),)
    if not image.kms_keys:
        return (Finding.unknown("the KMS keys of its snapshots were not seen"),)
    who = seen.permissions if isinstance(seen.permissions, Principals) else NOBODY
    return tuple(
        keyaccess.explain(arn, image, seen.keys.get(arn), seen.grants.get(arn, ()), asked, who)
        for arn in sorted(image.kms_keys)
    )
