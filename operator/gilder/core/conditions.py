"""Conditions as a small library with kstatus rules; pure, the time is given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from gilder.api.base import one_line
from gilder.api.conditions import Condition, ConditionType

Status = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 4096
ORDER = list(ConditionType)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without its times."""

    type: ConditionType
    status: Status
    reason: str
    message: str = ""


def merge(
    old: Sequence[Condition], new: Iterable[Verdict], generation: int, now: str
) -> tuple[Condition, ...]:
    """New conditions with lastTransitionTime kept where the status did not change.

    Types that `new` does not name are dropped: abnormal-true conditions (Reconciling, Stalled)
    are absent when they are not True, as kstatus wants it.
    """
    before: Mapping[str, Condition] = {c.type: c for c in old}
    merged = []
    for verdict in sorted(new, key=lambda v: ORDER.index(v.type)):
        was = before.get(verdict.type)
        same = was is not None and was.status == verdict.status
        message = one_line(verdict.message)
        if len(message) > MESSAGE_LIMIT:
            message = message[: MESSAGE_LIMIT - 3] + "..."
        merged.append(
            Condition(
                type=verdict.type.value,
                status=verdict.status,
                reason=verdict.reason,
                message=message,
                observed_generation=generation,
                last_transition_time=was.last_transition_time if was and same else now,
            )
        )
    return tuple(merged)


def verdicts_of(conditions: Iterable[Condition]) -> list[Verdict]:
    """Conditions as they are, to be merged again; without those that somebody else has set."""
    known = {t.value: t for t in ConditionType}
    return [
        Verdict(known[c.type], c.status, c.reason, c.message) for c in conditions if c.type in known
    ]


def readable(raw: object) -> list[Condition]:
    """The conditions of a status that no model has read; what is none is left out."""
    found = []
    for one in raw if isinstance(raw, list) else ():
        try:
            found.append(Condition.model_validate(one))
        except ValidationError:
            continue
    return found


def get(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    return next((c for c in conditions if c.type == type_.value), None)
