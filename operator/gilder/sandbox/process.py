"""The operator as a process of its own, as in a cluster, so that it can be killed."""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

# What `gilder` imports; a process forked from one that has it is there at once.
PRELOAD = (
    *(f"gilder.cli.{part}" for part in ("run", "plan", "explain", "tree", "doctor")),
    "gilder.handlers.operator",
    "kopf",
    "boto3",
    "botocore.handlers",
)


class Child(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int | None: ...

    def ended(self, seconds: float) -> bool:
        """Whether it has, waiting for it so long."""
        ...

    @property
    def code(self) -> int | None: ...


class Spawned:
    """`python -m gilder run`, as a container has it."""

    def __init__(self, log: Path, env: Mapping[str, str]) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gilder", "run"],
                env=env,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the sandbox, which stops it in order
            )

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def code(self) -> int | None:
        return self._process.returncode


class Forked:
    """The same from a server that has imported what it needs: two seconds of work less, for who
    starts hundreds."""

    def __init__(self, log: Path, env: Mapping[str, str]) -> None:
        self._process = _forked(["run"], env, str(log), str(log), os.devnull)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def code(self) -> int | None:
        return self._process.exitcode


def command(
    arguments: Sequence[str], env: Mapping[str, str], stdin: str = "", seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """`gilder` with these arguments, forked in the same way.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err, given = (Path(folder) / name for name in ("out", "err", "in"))
        given.write_text(stdin)
        process = _forked(arguments, env, str(out), str(err), str(given))
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["gilder", *arguments], seconds)
        return subprocess.CompletedProcess(
            ["gilder", *arguments], process.exitcode, out.read_text(), err.read_text()
        )


def _forked(
    arguments: Sequence[str], env: Mapping[str, str], out: str, err: str, stdin: str
) -> BaseProcess:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOAD])
    streams = (stdin, out, err)
    process = context.Process(target=_run, args=(list(arguments), dict(env), streams), daemon=True)
    process.start()
    return process


def _run(arguments: list[str], env: dict[str, str], streams: tuple[str, str, str]) -> None:
    """`gilder` in this process, which was forked for it."""
    os.setsid()
    for number, path in enumerate(streams):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o644), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has closed it
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["gilder", *arguments]
    runpy.run_module("gilder", run_name="__main__")


class OperatorProcess:
    """`gilder run` with its log in a file."""

    start_as: type[Spawned] | type[Forked] = Spawned

    def __init__(self, log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        self.env = {**_clean(os.environ), **env}
        self._process: Child | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._process = self.start_as(self.log, self.env)

    @property
    def running(self) -> bool:
        return self._process is not None and not self._process.ended(0)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def kill(self) -> None:
        """As a node failure would: at once, with nothing cleaned up."""
        if self._process is not None and self.running:
            self._signal(signal.SIGKILL)
            self._process.ended(30)

    def stop(self, seconds: float = 30.0) -> int | None:
        """As Kubernetes would: SIGTERM, then SIGKILL after the grace period. The exit code."""
        if self._process is None:
            return None
        if self.running:
            self._signal(signal.SIGTERM)
            if not self._process.ended(seconds):
                self.kill()
        return self._process.code

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, number)

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _clean(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without AWS and cluster settings of whoever runs the sandbox."""
    dropped = ("AWS_", "GILDER_", "KUBECONFIG", "KUBERNETES_")
    return {k: v for k, v in env.items() if not k.startswith(dropped)}


def wait_for(condition: object, seconds: float, pause: float = 0.1) -> bool:
    """Whether a callable came true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(pause)
    return bool(condition())
