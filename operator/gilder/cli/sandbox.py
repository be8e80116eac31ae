"""`gilder sandbox`: a live table of the samples converging, then of AWS healing."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from rich.console import Console
from rich.live import Live
from rich.table import Table

from gilder.api.names import GROUP, VERSION

if TYPE_CHECKING:
    from gilder.sandbox.breakage import Breakage, Step
    from gilder.sandbox.world import World

CONVERGE_SECONDS = 60.0
HEAL_SECONDS = 45.0
BUILD_SECONDS = 90.0
IMAGE_DELAY = 2.0  # seconds that an AMI is pending, so that there is something to see
# Seconds that builds, boots and checks take, for the same reason.
WORK = {"build_seconds": 4.0, "ssm_online_seconds": 1.0, "command_seconds": 1.0}
PAUSE = 0.25
SWEEP_SECONDS = 30
NOTHING_TOLD = "no resource tells of it yet"

Row = dict[str, Any]


def show(once: bool, directory: Path) -> int:
    try:
        from gilder.sandbox.breakage import breakages
        from gilder.sandbox.sharing import Sharing, prepare
        from gilder.sandbox.world import World
    except ModuleNotFoundError as error:
        print(
            f"gilder: the sandbox needs {error.name}: install gilder with the extra `sandbox`",
            file=sys.stderr,
        )
        return 1
    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    console.print("Starting a local AWS and a Kubernetes API ...")
    with World(
        directory,
        image_delay=IMAGE_DELAY,
        aws=WORK,
        settings={"RESYNC_SECONDS": str(SWEEP_SECONDS), "POLL_SECONDS": "1"},
        events=True,
    ) as world:
        view = _View(world.cluster.url, world.cluster.token)
        console.print(f"  AWS         moto with extensions, {world.aws.url}")
        console.print(f"  Kubernetes  {world.cluster.flavour}, {world.cluster.url}")
        console.print(f"  Operator    gilder run, log in {world.operator.log}")
        console.print(
            f"  Drift       by events from a queue, and a sweep every {SWEEP_SECONDS} s\n"
        )
        prepare(world)
        world.operator.start()
        world.apply_samples()
        try:
            took = _watch(console, view, view.all_ready, CONVERGE_SECONDS, "converging")
            if took is None:
                return _failed(console, world.operator.tail(), "the samples did not converge")
            console.print(f"[green]✓[/] the samples converged in {took:.1f} s\n")
            base = view.get("goldenimages", "base-linux")
            key = world.seeded.keys["eu-west-1"]
            team = view.get("goldenimages", "team-linux")
            sharing = Sharing(world, base, team)
            for step in sharing.steps():
                if why := _step(console, view, step):
                    return _failed(console, world.operator.tail(), why)
            for breakage in (*breakages(world.aws, base, key), sharing.breakage()):
                if why := _heal(console, view, breakage):
                    return _failed(console, world.operator.tail(), why)
            if not _gates(console, world, view):
                return _failed(console, world.operator.tail(), "the gates did not hold")
            if why := _release(console, world, view):
                return _failed(console, world.operator.tail(), why)
            took = _watch(console, view, view.all_ready, HEAL_SECONDS, "settling")
            if took is None:
                return _failed(console, world.operator.tail(), "not everything is Ready again")
            console.print("[green]✓[/] all healed, all Ready")
            if once:
                return 0
            _look_around(console, world.cluster.kubeconfig, world.aws.client_env())
            while world.operator.running:
                time.sleep(0.5)
            return _failed(console, world.operator.tail(), "the operator has stopped")
        except KeyboardInterrupt:
            console.print("\nStopping ...")
            return 0 if not once else 130


def _step(console: Console, view: "_View", step: "Step", word: str = "launched there") -> str:
    """Declare or do something, and see it take effect in AWS; what went wrong, if so."""
    console.print(f"[bold]Declared:[/] {step.title}", soft_wrap=True)
    if step.done():
        return "AWS had that already"
    step.do()
    took = _watch(console, view, step.done, HEAL_SECONDS, "sharing")
    if took is None:
        return "AWS does not have it"
    console.print(f"[green]✓[/] {word} after {took:.1f} s\n")
    return ""


def _heal(console: Console, view: "_View", breakage: "Breakage") -> str:
    """Break something by hand, and see AWS healed; what went wrong, if so."""
    console.print(f"[bold]By hand:[/] {breakage.title}")
    before = view.drifts()
    breakage.do()
    # It may be healed before it is looked at.
    if not breakage.broken() and view.told_since(before) == NOTHING_TOLD:
        return "AWS did not change"
    took = _watch(console, view, breakage.healed, HEAL_SECONDS, "healing")
    if took is None:
        return "AWS was not healed"
    console.print(f"[green]✓[/] healed in {took:.1f} s, read back from AWS")
    console.print(f"  {view.told_since(before)}\n")
    return ""


def _gates(console: Console, world: "World", view: "_View") -> bool:
    """A build whose check fails is kept aside; the next one passes and is released."""
    from gilder.sandbox.demonstration import Gates

    gates = Gates(world, "web", lambda: view.get("goldenimages", "web"))
    console.print("[bold]A rebuild:[/] with a private key left in the image")
    gates.rebuild("first", leaving_a_key=True)
    took = _watch(console, view, gates.kept_aside, BUILD_SECONDS, "building")
    if took is None:
        return False
    console.print(f"[green]✓[/] built, tested and kept aside in {took:.1f} s")
    console.print(f"  {gates.told()}\n", soft_wrap=True)
    console.print("[bold]Another rebuild:[/] without it")
    gates.rebuild("second")
    took = _watch(console, view, gates.released, BUILD_SECONDS, "building")
    if took is None:
        return False
    console.print(f"[green]✓[/] built, tested, copied and shared in {took:.1f} s")
    console.print(f"  {gates.told()}\n", soft_wrap=True)
    return gates.nothing_left()


def _release(console: Console, world: "World", view: "_View") -> str:
    """A rollback and back, a parameter that is put right, and what is announced to go."""
    from gilder.sandbox.releasing import Releasing

    releasing = Releasing(world, "web", lambda: view.get("goldenimages", "web"))
    for step in releasing.steps():
        if why := _step(console, view, step, "published and shared in both Regions"):
            return why
    if why := _heal(console, view, releasing.breakage()):
        return why
    if _watch(console, view, releasing.announced, HEAL_SECONDS, "retiring") is None:
        return "nothing was announced"
    console.print("[bold]Announced[/] before it goes, by spec.retention:")
    console.print(f"{releasing.told()}\n", soft_wrap=True)
    return ""


class _View:
    """What Kubernetes shows of the samples."""

    def __init__(self, url: str, token: str) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.verify = False
        self._root = f"{url}/apis/{GROUP}/{VERSION}/namespaces/images"

    def get(self, plural: str, name: str) -> Row:
        found: Row = self._session.get(f"{self._root}/{plural}/{name}", timeout=10).json()
        return found

    def rows(self) -> list[Row]:
        found: list[Row] = []
        for plural in ("goldenimages", "imageshares"):
            found += self._session.get(f"{self._root}/{plural}", timeout=10).json()["items"]
        return found

    def all_ready(self) -> bool:
        rows = self.rows()
        return bool(rows) and all(_condition(r, "Ready").get("status") == "True" for r in rows)

    def drifts(self) -> dict[str, int]:
        """Resource to the number of drifts it has corrected."""
        return {_name(r): r.get("status", {}).get("driftCorrected", 0) for r in self.rows()}

    def told_since(self, before: dict[str, int]) -> str:
        """The condition message of the resource that corrected a drift since."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for row in self.rows():
                grown = row.get("status", {}).get("driftCorrected", 0) > before.get(_name(row), 0)
                synced = _condition(row, "Synced")
                if grown and synced.get("status") == "True":
                    return f"{_name(row)}: {synced['message']}"
            time.sleep(PAUSE)
        return NOTHING_TOLD

    def table(self, title: str) -> Table:
        table = Table(title=title or None, title_justify="left")
        for column in ("Kind", "Name", "Ready", "Drift"):
            table.add_column(column, no_wrap=True)
        table.add_column("What", overflow="fold")
        for row in self.rows():
            ready = _condition(row, "Ready")
            word = ready.get("status", "-")
            colour = {"True": "green", "False": "yellow"}.get(word, "dim")
            status = row.get("status", {})
            table.add_row(
                row.get("kind", ""),
                row["metadata"]["name"],
                f"[{colour}]{word}[/]",
                str(status.get("driftCorrected", 0)),
                _what(status) if word == "True" else ready.get("message", ""),
            )
        return table


def _name(row: Row) -> str:
    return f"{row['kind']} {row['metadata']['name']}"


def _condition(row: Row, kind: str) -> Row:
    conditions = row.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def _what(status: Row) -> str:
    """AMIs by Region of the current version, or how many AMIs are shared with how many."""
    if "shared" in status:
        count = status.get("principals", 0)
        return f"{status['shared']} AMIs shared with {count} principal{'s' if count != 1 else ''}"
    images = [i for v in status.get("versions", []) if v.get("current") for i in v["images"]]
    return ", ".join(f"{i['imageId']} in {i['region']}" for i in images)


def _watch(
    console: Console, view: _View, done: Callable[[], bool], seconds: float, word: str
) -> float | None:
    """Show the table until `done`; the seconds it took, or None when it took too long."""
    began = time.monotonic()
    finished = False
    # Where nobody watches (a pipe, CI) only the last table is printed.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not finished and (now := time.monotonic()) - began < seconds:
            finished = done()
            if console.is_terminal:
                live.update(view.table(f"{word} {now - began:.0f} s"), refresh=True)
            if not finished:
                time.sleep(PAUSE)
    if not finished:
        console.print(view.table(word))
        return None
    if word in ("converging", "settling"):
        console.print(view.table(""))
    return time.monotonic() - began


def _failed(console: Console, log: str, why: str) -> int:
    console.print(f"[red]✗[/] {why}")
    if log:
        console.print("The end of the operator's log:\n" + log, markup=False)
    return 1


def _look_around(console: Console, kubeconfig: Path, env: dict[str, str]) -> None:
    path = kubeconfig.resolve()
    console.print("\nEverything is running. Look around:", style="bold")
    console.print(
        f"  kubectl --kubeconfig {path} -n images get gimg,ishare -o wide", soft_wrap=True
    )
    console.print(
        f"  kubectl --kubeconfig {path} -n images describe ishare workloads", soft_wrap=True
    )
    console.print("Break AWS yourself, with any AWS tool and these variables:")
    for name, value in env.items():
        console.print(f"  export {name}={value}", soft_wrap=True)
    console.print("Ctrl-C stops everything.")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
