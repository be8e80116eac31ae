"""`gilder explain`: whether an account could launch an image, and which permission is missing."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilder.api import SpecError
from gilder.api.access import AccessError
from gilder.cli.fleet import fleet_of
from gilder.cli.manifests import ManifestError, ManifestMaps, read
from gilder.cli.objects import of_bodies, of_cluster, of_manifests, warn
from gilder.core.explain import Explanation
from gilder.core.question import Finding
from gilder.reconcile.explain import Objects, consumer_of, explain_ids, explain_image
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.ports import ClusterError

COULD, ERROR, COULD_NOT = 0, 1, 2

AMI = re.compile(r"ami-[0-9a-f]{8,17}")


class UsageError(ValueError):
    """What was asked for cannot be asked."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    image: str
    account: str
    regions: tuple[str, ...] = ()
    namespace: str = ""
    manifests: tuple[Path, ...] = ()

    @property
    def by_id(self) -> bool:
        return bool(AMI.fullmatch(self.image))

    @property
    def key(self) -> str:
        """`<namespace>/<name>` of the GoldenImage."""
        if "/" in self.image:
            return self.image
        return f"{self.namespace or 'default'}/{self.image}"


def print_explanation(
    asked: Asked, output: str, cluster: str, region: str, access: Path | None = None
) -> int:
    try:
        _check(asked, output)
        maps = ClusterMaps() if not asked.manifests else ManifestMaps(read(asked.manifests))
        fleet = fleet_of(region, cluster, access, maps)
        found = _explain(asked, _objects(asked), fleet)
    except (AccessError, UsageError, ManifestError, SpecError, ClusterError) as error:
        print(f"gilder: {error}", file=sys.stderr)
        return ERROR
    if output == "json":
        print(json.dumps(_as_json(asked.account, found), indent=2))
    else:
        print("\n\n".join(_text(e) for e in found))
    if any(e.could is False for e in found):
        return COULD_NOT
    return COULD if all(e.could for e in found) else ERROR


def _check(asked: Asked, output: str) -> None:
    if output not in ("text", "json"):
        raise UsageError(f"--output {output}: use text or json")
    if not re.fullmatch(r"[0-9]{12}", asked.account):
        raise UsageError(f"--account {asked.account}: an account id has 12 digits")
    if asked.by_id and not asked.regions:
        raise UsageError(f"{asked.image}: give --region, since AMI ids are of one Region")
    namespace, slash, _ = asked.image.partition("/")
    if slash and asked.namespace not in ("", namespace):
        raise UsageError(f"{asked.image} is not in --namespace {asked.namespace}")


def _explain(asked: Asked, objects: Objects | None, fleet: Fleet) -> list[Explanation]:
    regions = tuple(dict.fromkeys(asked.regions))
    consumer = consumer_of(fleet, asked.account)
    if asked.by_id:
        return explain_ids(fleet, asked.account, asked.image, regions, objects, consumer)
    image = objects.find(asked.key) if objects is not None else None
    if objects is None or image is None:
        where = "these manifests" if asked.manifests else "the cluster"
        raise UsageError(f"no GoldenImage {asked.key} in {where}: correct the name or --namespace")
    return explain_image(fleet, asked.account, image, regions, objects, consumer)


# What is declared


def _objects(asked: Asked) -> Objects | None:
    """Of the manifests, else of the cluster; None where only an AMI id can be asked about."""
    if asked.manifests:
        return of_manifests(asked.manifests)
    if not asked.by_id:
        return of_cluster(asked.key.partition("/")[0])
    from gilder.handlers.lookup import listed

    try:
        return of_bodies(listed((asked.namespace,) if asked.namespace else ()))
    except ClusterError as error:
        warn(f"ImageShares are not looked at: {error}")
        return None


class ClusterMaps:
    """The ConfigMaps of the cluster, listed when one is asked for."""

    def __init__(self) -> None:
        self._known: Mapping[tuple[str, str], Mapping[str, str]] | None = None

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        from gilder.handlers.lookup import account_lists

        if self._known is None:
            self._known = account_lists()
        return self._known.get((namespace, name))


# Output


def _text(found: Explanation) -> str:
    account, target = found.account, found.target
    head = {
        True: f"{account} could launch {target}",
        False: f"{account} could NOT launch {target}",
        None: f"It cannot be told whether {account} could launch {target}",
    }[found.could]
    failed = {p.message: p.reason for p in found.failed}
    lines = [head, *(f"  not read: {reason}: {said}" for said, reason in failed.items())]
    if found.state is not None:
        lines += _lines("AMI", found.state)
    named = [("launch permission", found.launch)]
    named += [(f"KMS key {k.key}" if k.key else "KMS key", k) for k in found.keys]
    for what, finding in named if target.image_id else ():
        if finding.why not in failed:
            lines += _lines(what, finding)
    lines += [f"  note: {n}" for n in found.notes]
    return "\n".join([*lines, *_fact_lines(found)])


WORDS = {
    "Given": "given by",
    "Missing": "MISSING",
    "NotNeeded": "not needed",
    "Unknown": "not known",
}


def _lines(what: str, finding: Finding) -> list[str]:
    said = WORDS[finding.state]
    if finding.by:
        said = f"{said} {', '.join(finding.by)}"
        said = f"{said} ({finding.why})" if finding.why else said
    elif finding.why:
        said = f"{said}: {finding.why}"
    if what == "AMI":
        said = finding.why
    lines = [f"  {what}: {said}"]
    return [*lines, f"    fix: {finding.fix}"] if finding.fix else lines


def _fact_lines(found: Explanation) -> Sequence[str]:
    facts = found.facts
    if facts is None:
        return ()
    told = {"sees the AMI": facts.visible, "launches (dry run)": facts.launch}
    told |= {f"uses {key}": said for key, said in facts.keys.items()}
    return [
        f"  {found.account} itself {what}: {f'no: {said}' if said else 'yes'}"
        for what, said in told.items()
    ]


def _as_json(account: str, found: Sequence[Explanation]) -> dict[str, Any]:
    return {"account": account, "images": [_one(e) for e in found]}


def _one(found: Explanation) -> dict[str, Any]:
    target = found.target
    out: dict[str, Any] = {
        "region": target.region,
        "imageId": target.image_id or None,
        "goldenImage": target.golden or None,
        "version": target.version or None,
        "could": found.could,
        "launch": found.launch.as_dict(),
        "keys": [k.as_dict() for k in found.keys],
        "notes": list(found.notes),
        "failed": [{"reason": p.reason, "message": p.message} for p in found.failed],
    }
    if found.state is not None:
        out["state"] = found.state.as_dict()
    if found.facts is not None:
        facts = found.facts
        out["facts"] = {"visible": facts.visible, "launch": facts.launch, "keys": dict(facts.keys)}
    return out
