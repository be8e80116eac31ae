"""`gilder tree`: an image with its versions, Regions, what is published, and its shares."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree as Branch

from gilder.api import GoldenImage, SpecError
from gilder.cli.manifests import ManifestError
from gilder.cli.objects import of_cluster, of_manifests
from gilder.core.tree import Lag, Place, Sharing, Standing, Tree, Version, tree
from gilder.reconcile.explain import Objects
from gilder.reconcile.ports import ClusterError

FOUND, ERROR = 0, 1
SHOWN = 10  # principals of one share; --output json has all
WIDE = 200  # columns where there is no terminal to ask

COLOURS = {"True": "green", "False": "red"}
MARKS = {"released": "green", "candidate": "cyan", "pinned": "magenta", "retiring": "yellow"}


class UsageError(ValueError):
    """What was asked for cannot be shown."""


def print_tree(
    name: str, everything: bool, namespace: str, output: str, manifests: Sequence[Path]
) -> int:
    try:
        found = _trees(name, everything, namespace, output, manifests)
    except (UsageError, ManifestError, SpecError, ClusterError) as error:
        print(f"gilder: {error}", file=sys.stderr)
        return ERROR
    if output == "json":
        print(json.dumps({"images": [t.as_dict() for t in found]}, indent=2))
        return FOUND
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    for one in found:
        console.print(_branch(one), soft_wrap=not console.is_terminal)
    if not found:
        console.print("No GoldenImages.")
    return FOUND


def _trees(
    name: str, everything: bool, namespace: str, output: str, manifests: Sequence[Path]
) -> list[Tree]:
    if output not in ("text", "json"):
        raise UsageError(f"--output {output}: use text or json")
    if bool(name) == everything:
        raise UsageError("give the name of a GoldenImage, or --all")
    given, slash, _ = name.partition("/")
    if slash and namespace not in ("", given):
        raise UsageError(f"{name} is not in --namespace {namespace}")
    key = "" if everything else name if slash else f"{namespace or 'default'}/{name}"
    only = namespace if everything else key.partition("/")[0]
    objects = of_manifests(manifests) if manifests else of_cluster(only)
    now = datetime.now(UTC)
    if everything:
        return [tree(i, objects.shares, now) for i in _of(objects, namespace)]
    image = objects.find(key)
    if image is None:
        where = "these manifests" if manifests else "the cluster"
        raise UsageError(f"no GoldenImage {key} in {where}: correct the name or --namespace")
    return [tree(image, objects.shares, now)]


def _of(objects: Objects, namespace: str) -> list[GoldenImage]:
    found = (i for i in objects.images if namespace in ("", i.metadata.namespace))
    return sorted(found, key=lambda i: i.metadata.key)


# Output


def _branch(found: Tree) -> Branch:
    account = f", account {found.account}" if found.account else ""
    top = Branch(f"[bold]{escape(found.key)}[/] ({found.region}{account}) {_word(found.ready)}")
    if found.pinned and found.pinned != found.released:
        top.add(f"[yellow]pinned to version {found.pinned}, which is not released (yet)[/]")
    versions = top.add("versions" if found.versions else "[dim]no versions yet[/]")
    for version in found.versions:
        _add_version(versions, version)
    if found.replicas:
        replicas = top.add("DR Regions")
        for lag in found.replicas:
            replicas.add(_lag(lag))
    if found.published:
        published = top.add("published")
        for place in found.published:
            where = f" in {place.region}" if place.region else ""
            where += f", account {place.account}" if place.account else ""
            what = f"{place.image_id} " if place.image_id else ""
            what += f"version {place.version}" if place.version else "nothing yet"
            said = f" [yellow]{escape(place.message)}[/]" if place.message else ""
            published.add(f"{place.kind} {escape(place.name)}{where}: {what}{said}")
    if found.shares:
        shares = top.add("shares")
        for share in found.shares:
            _add_share(shares, share)
    else:
        top.add("[dim]no ImageShare selects it[/]")
    if found.leftovers:
        top.add(f"[yellow]{found.leftovers} left over: see status.leftovers[/]")
    if found.recycle_bin:
        top.add(f"in the Recycle Bin: {', '.join(found.recycle_bin)}")
    return top


def _add_version(versions: Branch, version: Version) -> None:
    marks = " ".join(f"[{MARKS[m]}]{m}[/]" for m in version.marks)
    if version.held and "candidate" not in version.marks:
        marks = f"{marks} [dim]not released[/]".strip()
    colour = {"Passed": "green", "Failed": "red"}.get(version.gate, "yellow")
    gate = f" gates [{colour}]{version.gate}[/]" if version.gate else ""
    made = f" [dim]{version.created_at}[/]" if version.created_at else ""
    branch = versions.add(f"version {version.number} {marks}{gate}{made}".replace("  ", " "))
    for place in version.places:
        branch.add(_place(place))


def _place(place: Place) -> str:
    colour = "green" if place.state == "available" else "yellow"
    state = f" [{colour}]{place.state}[/]" if place.state else ""
    progress = f" {place.progress}" if place.progress else ""
    said = f" {escape(place.message)}" if place.message else ""
    goes = f" [yellow]{escape(place.retiring)}[/]" if place.retiring else ""
    return f"{place.region} {place.image_id or '(no AMI yet)'}{state}{progress}{said}{goes}"


def _lag(lag: Lag) -> str:
    colour = "red" if lag.stale else "green" if lag.state == "Current" else "yellow"
    there = f"version {lag.version} {lag.image_id or ''}".rstrip() if lag.version else "no version"
    behind = f", behind for {span(lag.lag)}" if lag.lag else ""
    age = f", recovery point {span(lag.age)} old" if lag.age is not None else ""
    progress = f" {lag.progress}" if lag.progress else ""
    said = f": {escape(lag.message)}" if lag.message else ""
    stale = " [red]DRStale[/]" if lag.stale else ""
    state = f"[{colour}]{lag.state}[/]{progress}{stale}"
    return f"{lag.region} {there} {state}{behind}{age}{said}"


def _add_share(shares: Branch, share: Sharing) -> None:
    where = f" in {', '.join(share.regions)}" if share.regions else ""
    note = f" [yellow]{share.note}[/]" if share.note else ""
    name, ready = escape(share.key), _word(share.ready)
    branch = shares.add(f"{name} (versions: {share.select}{where}) {ready}{note}")
    missing = set(share.missing)
    for name in share.principals[:SHOWN]:
        branch.add(f"{name} [yellow]not in place[/]" if name in missing else name)
    if len(share.principals) > SHOWN:
        branch.add(f"[dim]and {len(share.principals) - SHOWN} more: see --output json[/]")
    for region, image_id, state in share.places:
        colour = "green" if state == "Shared" else "yellow"
        branch.add(f"{region} {image_id} [{colour}]{state}[/]")


def _word(ready: Standing) -> str:
    colour = COLOURS.get(ready.status, "yellow")
    word = {"True": "Ready", "False": "not Ready"}.get(ready.status, "not known")
    said = ": ".join(t for t in (ready.reason, ready.message) if t)
    said = "" if ready.status == "True" else escape(said)
    late = "of an earlier spec" if ready.reason and not ready.current else ""
    told = ", ".join(t for t in (said, late) if t)
    return f"[{colour}]{word}[/]{f' ({told})' if told else ''}"


def span(seconds: float) -> str:
    """A time such as 3d 4h, 2h 5m, 12m or 40s; in words where it has no end."""
    if seconds == float("inf"):
        return "an unknown time"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m" if minutes else f"{rest}s"
