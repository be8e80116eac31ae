"""`gilder doctor`: whether credentials, permissions, cluster and settings are as they must be."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from gilder.aws import doctor
from gilder.aws.errors import AWS_ERRORS, message
from gilder.aws.iampolicy import POLICIES, actions
from gilder.aws.sessions import Sessions
from gilder.cli.fleet import fleet_of
from gilder.config import Settings
from gilder.core.checkup import Finding, failed

OK, USAGE, FAILED = 0, 1, 2
PARTS = tuple(p for p in POLICIES if p != "consumer")
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "dim"}


def examine(
    regions: Sequence[str], keys: Sequence[str], parts: Sequence[str], output: str, *, cluster: bool
) -> int:
    """Print what was found; the exit code."""
    if output not in ("text", "json"):
        print(f"gilder: --output {output}: use text or json", file=sys.stderr)
        return USAGE
    if wrong := [p for p in parts if p not in PARTS]:
        print(f"gilder: --part {wrong[0]}: use {', '.join(PARTS)}", file=sys.stderr)
        return USAGE
    found: list[Finding] = []
    console = Console(highlight=False)
    for one in _findings(regions, keys, frozenset({"main", *parts}), cluster=cluster):
        found.append(one)
        if output == "text":
            _print(console, one)
    bad = failed(found)
    if output == "json":
        print(json.dumps({"ok": not bad, "findings": [f.as_dict() for f in found]}, indent=2))
    else:
        counts = {s: sum(f.state == s for f in found) for s in COLOURS}
        console.print("\n" + ", ".join(f"{n} {s}" for s, n in counts.items() if n))
    return FAILED if bad else OK


def _findings(
    regions: Sequence[str], keys: Sequence[str], strict: frozenset[str], *, cluster: bool
) -> Iterator[Finding]:
    settings, wrong = _settings()
    yield from wrong
    yield from _aws(settings, regions or (settings.region,), keys, strict)
    if settings.event_queue_url:
        yield doctor.queue(_sessions(settings), settings.event_queue_url)
    if cluster:
        from gilder.handlers import doctor as kubernetes

        namespaces = settings.namespace_list
        yield from kubernetes.examine(namespaces, settings.lease, jobs=settings.jobs)


def _settings() -> tuple[Settings, list[Finding]]:
    """The settings of the environment, with the default where one makes no sense, which is told."""
    found: list[Finding] = []
    try:
        settings = Settings()
    except ValidationError as error:
        bad: dict[str, Any] = {}
        for e in error.errors():
            name = str(e["loc"][0])
            bad[name] = Settings.model_fields[name].default
            said = e["msg"].removeprefix("Value error, ")
            fix = f"correct it; it is {e.get('input')!r}"
            what = f"GILDER_{name.upper()}"
            found.append(Finding("settings", what, "fail", said, fix))
        settings = Settings(**bad)
    if not found:
        found.append(Finding("settings", "environment", "ok", "every GILDER_ variable makes sense"))
    if settings.access_file:
        found.append(Finding("settings", "access file", "ok", f"{settings.access_file} is valid"))
    return settings, found


def _sessions(settings: Settings) -> Sessions:
    return Sessions(settings.region, cluster=settings.cluster_name)


def _aws(
    settings: Settings, regions: Sequence[str], keys: Sequence[str], strict: frozenset[str]
) -> Iterator[Finding]:
    sessions = _sessions(settings)
    found, usable = doctor.identity(sessions)
    yield from found
    if not usable:
        return
    wanted = {part: actions(part) for part in PARTS}
    for region in regions:
        yield from doctor.permissions(sessions, region, wanted, strict)
    for written in keys:
        region = written.split(":")[3] if written.startswith("arn:") else regions[0]
        yield doctor.key(sessions, region, written, sessions.account())
    if not keys:
        yield Finding("aws", "KMS keys", "unknown", "not asked for: name them with --key")
    yield from _accounts(settings)


def _accounts(settings: Settings) -> Iterator[Finding]:
    """The accounts that the access file leads to."""
    file = settings.access()
    if file is None:
        return
    path = Path(settings.access_file)
    accounts = fleet_of(settings.region, settings.cluster_name, path, None).accounts
    for account in file.accounts:
        what = f"account {account.id}"
        try:
            accounts.of(account.id).account()
        except AWS_ERRORS as error:
            fix = (
                "correct its profile or roles in the access file, and the trust policy of the role"
            )
            yield Finding("aws", what, "fail", message(error), fix)
            continue
        yield Finding("aws", what, "ok", "the access file leads there")


def _print(console: Console, found: Finding) -> None:
    colour = COLOURS[found.state]
    console.print(f"[{colour}]{found.state:<8}[/]", end="")
    said = f": {found.said}" if found.said else ""
    console.print(f"{found.area}: {found.what}{said}", markup=False, soft_wrap=True)
    if found.fix:
        console.print(f"        fix: {found.fix}", markup=False, soft_wrap=True)
