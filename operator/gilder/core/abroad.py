"""Parameters in consumer accounts: what should be there, and when it is looked at; pure.

In status.published `imageId` is what is known to be there, nothing where nothing was written;
version 0 marks what is to go and could not be deleted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gilder.api.goldenimage import Published
from gilder.core.needs import regions_of
from gilder.core.observed import Image, Problem, Use
from gilder.core.times import passed
from gilder.core.wanted import Wanted

AGE = 3600.0  # seconds after which a parameter is looked at again, though nothing changed
RETRY = 20.0  # and after which one that could not be written is
SOON = 5.0  # and after which one that was just written, until it shows
LATE = 300.0  # the same once it has not worked for YOUNG seconds, which may be for good
YOUNG = 900.0
LEAVING = 600.0  # and one that could not be deleted
MOST = 800  # parameters in consumer accounts that status has room for
NAMED = 5  # accounts in a message

# What passes by itself; all else needs a person.
PASSING = frozenset(
    {
        "AWSUnavailable",
        "CredentialsUnusable",
        "LimitExceeded",
        "NotSharedWithConsumer",
        "ParameterNotTaken",
        "RoleNotAssumable",
        "Throttled",
    }
)
# After these nothing was written.
UNTOUCHED = frozenset(
    {"NoConsumerRole", "NotSharedWithConsumer", "ParameterNotOurs", "ParameterOfAnotherType"}
)
UNSEEN = "Publishing: written, and not seen yet"  # the next look tells
FIELD = "spec.publish.ssmParameter.accounts"


@dataclass(frozen=True, slots=True)
class Todo:
    """What is due in one account: AMIs to publish by Region, and parameters that go."""

    account: str
    name: str
    put: Mapping[str, Image]
    drop: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is due now, and in how many seconds something is next. `told` is what status goes on to
    say of all that is not due."""

    due: tuple[Todo, ...] = ()
    told: tuple[Published, ...] = ()
    again: float | None = None
    problems: tuple[Problem, ...] = ()


def agenda(
    want: Wanted,
    served: Mapping[str, Image],
    now: datetime,
    *,
    asked: bool = False,
    leaving: bool = False,
    at_once: int = 8,
    pace: float = 1.0,
) -> Agenda:
    """What is to be done in consumer accounts, `at_once` of them. Nothing is planned for accounts
    where all is as it was told, unless somebody asked or it is an hour ago. `pace` scales the
    pauses after which what is amiss is looked at again."""
    spec = want.spec.publish.ssm_parameter if want.spec.publish is not None else None
    before = {(t.account, t.region, t.name): t for t in want.memory.published if t.account}
    if not before and (spec is None or not spec.accounts or leaving):
        return Agenda()
    name = want.parameter if not leaving else ""
    accounts = sorted(spec.accounts) if spec is not None and name else []
    listed = frozenset(accounts)
    regions = regions_of(want.spec)
    problems: tuple[Problem, ...] = ()
    if len(accounts) * len(regions) > MOST:
        problems = (_too_many(len(accounts), len(regions)),)
        accounts = accounts[: MOST // len(regions)]
    pauses: dict[str, float] = {}
    todo: dict[str, Todo] = {}
    many = len(accounts)
    often = max(pause_after(want, now, pace), float(many))
    for account in sorted({*accounts, *(a for a, _, _ in before)}):
        put, drop, pause = {}, [], [AGE]
        for region, image in sorted(served.items()) if account in accounts else ():
            told = before.get((account, region, name))
            wait = 0.0 if asked else _pause(told, image.id, now, often, pace)
            pause.append(wait)
            if wait <= 0:
                put[region] = image
        for (whose, region, old), told in before.items():
            wanted = account in listed and region in regions
            if whose != account or (wanted and old == name):
                continue
            new = before.get((account, region, name))
            if wanted and (new is None or new.message):
                continue  # the former one goes once the new one is there
            tried = told.version == 0 and bool(told.message)
            rest = RETRY * pace if leaving else LEAVING
            wait = rest - passed(told.at, now) if tried and not asked else 0.0
            pause.append(wait)
            if wait <= 0:
                drop.append(told)
        pauses[account] = min(pause)
        if put or drop:
            todo[account] = Todo(account, name, put, tuple(drop))
    due = tuple(todo.values())[:at_once]
    taken = {t.account for t in due}
    left = [0.0 if a in todo else p for a, p in pauses.items() if a not in taken]
    return Agenda(due, tuple(before.values()), max(1.0, min(left)) if left else None, problems)


def pause_after(want: Wanted, now: datetime, pace: float = 1.0) -> float:
    """Seconds between tries of what cannot be written, by how long ago the version was published
    in the image's own account: each try is a look at the whole image."""
    own = [t.at for t in want.memory.published if t.kind == "Parameter" and not t.account]
    age = min((passed(at, now) for at in own if at), default=0.0)
    return RETRY * pace if age < YOUNG else LATE


def _pause(told: Published | None, image: str, now: datetime, often: float, pace: float) -> float:
    """Seconds until a parameter is to be looked at; of many that fail each is less often."""
    if told is None or (told.image_id != image and not told.message):
        return 0.0
    age = min(AGE, often) if told.message else AGE
    age = SOON * pace if told.message == UNSEEN else age
    return max(0.0, age - passed(told.at, now))


def tried_again(
    told: Iterable[Published], often: float = RETRY, *, pace: float = 1.0, leaving: bool = False
) -> float | None:
    """In how many seconds to look at what was tried just now, and is not as it should be."""
    amiss = [t for t in told if t.message and (leaving or t.version)]
    if not amiss:
        return None
    if any(t.message == UNSEEN for t in amiss):
        return SOON * pace
    return max(often, float(len({t.account for t in amiss})))


def _too_many(accounts: int, regions: int) -> Problem:
    return Problem(
        "TooManyParameters",
        f"{FIELD}: {accounts} accounts in {regions} Regions are more than the {MOST} parameters "
        "that one GoldenImage publishes in consumer accounts. Name fewer accounts",
    )


def troubles(want: Wanted, told: Iterable[Published]) -> tuple[Problem, ...]:
    """A Problem per kind of what keeps wanted parameters from being written.

    What only could not be deleted is told in status and holds up nothing.
    """
    spec = want.spec.publish.ssm_parameter if want.spec.publish is not None else None
    if spec is None:
        return ()
    name, regions = want.parameter, regions_of(want.spec)
    found: dict[str, list[Published]] = {}
    for one in told:
        wanted = one.account in spec.accounts and one.region in regions and one.name == name
        if wanted and one.message and one.message != UNSEEN:
            found.setdefault(one.message.split(":", 1)[0], []).append(one)
    return tuple(_trouble(reason, some) for reason, some in sorted(found.items()))


def _trouble(reason: str, some: Sequence[Published]) -> Problem:
    told = list(dict.fromkeys(t.message.split(": ", 1)[-1] for t in some))
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return Problem(reason, "; ".join(told[:NAMED]) + more, reason not in PASSING)


def keeping(want: Wanted, uses: Mapping[str, Use]) -> dict[str, Use]:
    """`uses` with the parameters of consumer accounts that could not be moved on yet. No report of
    AWS tells of these, and they are known for certain."""
    found = dict(uses)
    for one in want.memory.published:
        use = found.get(one.image_id)
        if one.account and one.version and use is not None:
            by = f"parameter {one.name} in {one.region} of account {one.account}"
            found[one.image_id] = replace(use, by=(*use.by, by))
    return found


def not_shared(account: str, image: Image, key: str) -> Problem:
    """AWS refuses a parameter whose AMI the account cannot see."""
    return Problem(
        "NotSharedWithConsumer",
        f"{FIELD}: account {account} cannot see {image.id} in {image.region} yet. An ImageShare of "
        f"GoldenImage {key} must let it launch: name the account in its spec.accounts",
        permanent=False,
        region=image.region,
    )


def no_role(account: str) -> Problem:
    return Problem(
        "NoConsumerRole",
        f"{FIELD}: the operator's access file has no role for account {account}, or not for this "
        "namespace. Ask the operator's administrator for an entry of consumers with a role there "
        "and for namespaces[].consumers, or take the account out of the list",
    )


def left_behind(told: Published, reason: str, why: str) -> Problem:
    """A parameter that cannot be deleted, which the deletion of its GoldenImage waits for."""
    return Problem(
        reason,
        f"parameter {told.name} in {told.region} of account {told.account} is still there: {why}. "
        'Mend it, or let go with the annotation goldenimage.dev/abandon: "true"',
        permanent=False,
        region=told.region,
    )
