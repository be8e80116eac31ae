"""Who is declared and cannot launch what: which of the two permissions is missing, and why."""

from collections.abc import Sequence
from typing import Literal

from gilder.api.imageshare import ImageShareSpec, LackingAccess
from gilder.core.actions import (
    CreateGrant,
    ModifyLaunchPermission,
    PutKeyPolicy,
)
from gilder.core.observed import Principals
from gilder.core.results import Result
from gilder.core.sharing import TargetState
from gilder.core.statements import reach

KeyAccess = Literal["Given", "Missing", "NotNeeded", "NotOurs"]

MOST = 50
UNDER_WAY = "it is being given"


def lacking(
    spec: ImageShareSpec, states: Sequence[TargetState], results: Sequence[Result]
) -> tuple[LackingAccess, ...]:
    """One entry per principal and AMI, for status; the first of them."""
    found: list[LackingAccess] = []
    for state in states:
        image = state.target.image
        keyed = bool(image and image.kms_keys)
        unopened = state.missing | state.refused
        for name, arn in _everybody(state.declared | state.refused):
            key = reach(arn) if arn else name
            missing = _holds(unopened, name, arn)
            keyless = keyed and (key in state.keyless or (_holds(state.refused, name, arn)))
            if not missing and not keyless:
                continue
            found.append(
                LackingAccess(
                    principal=name,
                    region=state.target.region,
                    image_id=state.target.image_id,
                    launch_permission="Missing" if missing else "Given",
                    key_access=_key_access(spec, keyed=keyed, keyless=keyless),
                    message=_why(state, key, results, refused=_holds(state.refused, name, arn)),
                )
            )
            if len(found) == MOST:
                return tuple(found)
    return tuple(found)


def _everybody(who: Principals) -> list[tuple[str, str]]:
    """Name for people, and the ARN if it has one."""
    arns = sorted((a.rsplit("/", 1)[-1], a) for a in (*who.organizations, *who.units))
    return [*((a, "") for a in sorted(who.accounts)), *arns, *([("all", "")] if who.public else [])]


def _holds(who: Principals, name: str, arn: str) -> bool:
    if name == "all":
        return who.public
    return name in who.accounts or arn in who.organizations or arn in who.units


def _key_access(spec: ImageShareSpec, *, keyed: bool, keyless: bool) -> KeyAccess:
    if not keyed:
        return "NotNeeded"
    if keyless:
        return "Missing"
    return "Given" if spec.kms.grants else "NotOurs"


def _why(state: TargetState, key: str, results: Sequence[Result], *, refused: bool) -> str:
    if refused and state.problem is not None:
        return state.problem.message
    for r in results:
        if r.problem is None:
            continue
        match r.action:
            case CreateGrant(account=account, extra=False) if account == key and _under(
                state, r.action.key
            ):
                return r.problem.message
            case PutKeyPolicy(add=add) if key in add and _under(state, r.action.key):
                return r.problem.message
            case ModifyLaunchPermission(image=image) if image == state.target.image_id:
                return r.problem.message
    return UNDER_WAY


def _under(state: TargetState, key: str) -> bool:
    image = state.target.image
    return image is not None and key in image.kms_keys
