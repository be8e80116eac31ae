"""From the plan of publishing and what came of it to status.published and its condition; pure."""

from collections.abc import Sequence

from gilder.api import GoldenImage
from gilder.api.conditions import ConditionType
from gilder.api.goldenimage import Published
from gilder.core import report
from gilder.core.abroad import NAMED
from gilder.core.abroad import UNSEEN as UNSEEN_ABROAD
from gilder.core.actions import (
    PUBLISHING,
    DeleteConfigMap,
    DeleteParameter,
    PutConfigMap,
    PutParameter,
    ReleaseParameter,
    SetTemplateImage,
)
from gilder.core.conditions import Verdict
from gilder.core.publishing import AGAIN, UNSEEN, Place, PublishPlan
from gilder.core.results import Result
from gilder.core.versions import ImagePlan

MOST = 1000  # entries of status.published


def told_published(
    image: GoldenImage, plan: ImagePlan, results: Sequence[Result], now: str
) -> tuple[Published, ...]:
    """What is told where. A time changes only with what is told."""
    old = image.status.published
    if not isinstance(plan, PublishPlan):
        return old
    part = plan.publishing
    told = {t.place: t for t in old if not t.account and t.place not in part.gone}
    for one in part.seen:
        before = told.get(one.place)
        same = before is not None and (before.image_id, before.version) == (
            one.image_id,
            one.version,
        )
        at = before.at if before is not None and same else now
        told[one.place] = one.model_copy(update={"at": at})
    for result in results:
        if result.done:
            _carry(told, plan, result, now)
    everything = [*told.values(), *part.abroad]
    return tuple(sorted(everything, key=lambda t: (t.account, t.kind, t.region, t.name))[:MOST])


def after_deletion(told: Sequence[Published], results: Sequence[Result]) -> tuple[Published, ...]:
    """What is left of status.published."""
    gone = {
        ("Parameter", r.action.account, r.action.region, r.action.name)
        for r in results
        if r.done and isinstance(r.action, DeleteParameter | ReleaseParameter)
    }
    return tuple(t for t in told if t.place not in gone)


def _carry(told: dict[Place, Published], plan: PublishPlan, result: Result, now: str) -> None:
    action = result.action
    match action:
        case PutParameter() if not action.account:
            one = Published(
                kind="Parameter",
                name=action.name,
                region=action.region,
                image_id=action.image,
                version=action.version,
                at=now,
                message=UNSEEN,
            )
            before = told.get(one.place)
            if before is not None and before.message and before.image_id == one.image_id:
                one = one.model_copy(update={"message": AGAIN})
            told[one.place] = one
        case DeleteParameter() if not action.account:
            told.pop(("Parameter", "", action.region, action.name), None)
        case SetTemplateImage():
            pass  # it shows in the next look, which is at once
        case PutConfigMap():
            home = plan.served.get(action.region)
            one = Published(
                kind="ConfigMap",
                name=action.manifest["metadata"]["name"],
                image_id=home.id if home is not None else "",
                version=home.version or plan.version if home is not None else plan.version,
                at=now,
            )
            told[one.place] = one
        case DeleteConfigMap():
            told.pop(("ConfigMap", "", "", action.name), None)
        case _:
            pass


def tell_published(
    image: GoldenImage, plan: ImagePlan, results: Sequence[Result], told: Sequence[Published]
) -> list[Verdict]:
    """Published: whether the released version is told everywhere. None without spec.publish."""
    if image.spec.publish is None or not isinstance(plan, PublishPlan):
        return []
    kind = ConditionType.PUBLISHED
    part = plan.publishing.plan
    failed = [r.problem for r in results if r.problem and isinstance(r.action, PUBLISHING)]
    problems = tuple(dict.fromkeys((*part.problems, *failed)))
    first = report.worst(problems)
    if first is not None:
        return [Verdict(kind, "False", first.reason, report.told(problems))]
    if not plan.served:
        return [Verdict(kind, "False", "NothingReleased", "no version is released yet")]
    pending = [a.describe() for a in part.actions]
    unseen = sorted({t.account for t in told if t.account and t.message == UNSEEN_ABROAD})
    if unseen:
        pending.append(f"parameters of {', '.join(unseen[:NAMED])} to show what was written")
    behind = [
        r.region
        for r in image.spec.replicas
        if r.schedule is None and _version(plan, r.region) < plan.version
    ]
    if behind and plan.home is not None:
        pending.append(f"version {plan.version} to be available in {', '.join(behind)}")
    if pending or part.waiting:
        return [Verdict(kind, "False", "Publishing", "; ".join((*pending, *part.waiting)))]
    return [Verdict(kind, "True", "Published", summary(plan.version, told))]


def _version(plan: PublishPlan, region: str) -> int:
    served = plan.served.get(region)
    return served.version if served is not None else 0


def summary(version: int, told: Sequence[Published]) -> str:
    """What is where, in a line."""
    if not told:
        return f"version {version}: nothing to publish to"
    named: dict[tuple[str, str], list[str]] = {}
    accounts: dict[str, set[str]] = {}
    for one in told:
        if one.account:
            accounts.setdefault(one.name, set()).add(one.account)
        else:
            where = f"{one.image_id} in {one.region}" if one.region else ""
            named.setdefault((WORDS[one.kind], one.name), []).append(where)
    parts = [
        f"{word} {name}" + (f" ({', '.join(w for w in where if w)})" if any(where) else "")
        for (word, name), where in sorted(named.items())
    ]
    parts += [
        f"parameter {name} of {len(some)} consumer account{'s' if len(some) > 1 else ''}"
        for name, some in sorted(accounts.items())
    ]
    return f"version {version}: {', '.join(parts)}"


WORDS = {"Parameter": "parameter", "LaunchTemplate": "launch template", "ConfigMap": "ConfigMap"}
