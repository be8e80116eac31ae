"""`gilder plan`: the plan of manifests against AWS as it is, as text or JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilder.api import GoldenImage, ImageShare, SpecError
from gilder.api.access import AccessError
from gilder.cli.fleet import fleet_of
from gilder.cli.manifests import ManifestError, ManifestMaps, parse, read
from gilder.core.actions import AnyAction
from gilder.core.observed import Problem
from gilder.core.plan import Plan
from gilder.reconcile.preview import preview

SAME, ERROR, DIFFERENT = 0, 1, 2

# Kinds of actions after which there is more, or less.
MAKES = {"CreateImage", "CopyImage", "CreateGrant", "StartBuild", "CreateJob", "LaunchTest"}
ENDS = {
    "CancelBuild",
    "DeleteConfigMap",
    "DeleteJob",
    "DeleteParameter",
    "DeleteRecipes",
    "DeregisterImage",
    "EndTest",
    "PruneTemplateVersions",
    "RevokeGrant",
    "UntagResources",
}


@dataclass(frozen=True)
class Entry:
    """The plan of one resource."""

    kind: str
    key: str
    plan: Plan


def print_plan(
    paths: Sequence[Path], output: str, cluster: str, region: str, access: Path | None = None
) -> int:
    if output not in ("text", "json"):
        print(f"gilder: --output {output}: use text or json", file=sys.stderr)
        return ERROR
    try:
        documents = read(paths)
        objects = parse(documents)
        fleet = fleet_of(region, cluster, access, ManifestMaps(documents))
    except (AccessError, ManifestError, SpecError) as error:
        print(f"gilder: {error}", file=sys.stderr)
        return ERROR
    images = [o for o in objects if isinstance(o, GoldenImage)]
    shares = [o for o in objects if isinstance(o, ImageShare)]
    plans = preview(fleet, images, shares)
    entries = [Entry(kind, key, plan) for (kind, key), plan in plans.items()]
    if output == "json":
        print(json.dumps(_as_json(entries), indent=2))
    else:
        _print_text(entries)
    if any(e.plan.problems for e in entries):
        return ERROR
    return DIFFERENT if any(e.plan.actions for e in entries) else SAME


def _as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "changes": sum(len(e.plan.actions) for e in entries),
        "resources": [
            {
                "kind": e.kind,
                "name": e.key,
                "actions": [a.as_dict() for a in e.plan.actions],
                "problems": [_problem(p) for p in e.plan.problems],
                "waiting": list(e.plan.waiting),
            }
            for e in entries
        ],
    }


def _problem(problem: Problem) -> dict[str, Any]:
    out: dict[str, Any] = {"reason": problem.reason, "message": problem.message}
    if problem.region:
        out["region"] = problem.region
    return out


def _print_text(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.plan.settled:
            print(f"  {entry.kind} {entry.key}: nothing to do")
            continue
        print(f"  {entry.kind} {entry.key}:")
        for action in entry.plan.actions:
            print(f"    {_sign(action)} {action.describe()}")
        for what in entry.plan.waiting:
            print(f"    . waits for {what}")
        for problem in entry.plan.problems:
            print(f"    ! {problem.reason}: {problem.message}")
    changes = sum(len(e.plan.actions) for e in entries)
    problems = sum(len(e.plan.problems) for e in entries)
    print(f"\nPlan: {changes} changes, {problems} problems, {len(entries)} resources.")


def _sign(action: AnyAction) -> str:
    kind = action.kind
    if kind in MAKES:
        return "+"
    return "-" if kind in ENDS else "~"
