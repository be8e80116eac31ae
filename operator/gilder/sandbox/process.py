"""The operator as a process of its own, as in a cluster, so that it can be killed."""

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

# What `gilder run` imports; a process forked from one that has it is there at once.
PRELOAD = ("gilder.cli.run", "gilder.handlers.operator", "kopf", "boto3", "botocore.handlers")


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
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__, *PRELOAD])
        self._process = context.Process(target=_run, args=(str(log), dict(env)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def code(self) -> int | None:
        return self._process.exitcode


def _run(log: str, env: dict[str, str]) -> None:
    """`gilder run` in this process, which was forked for it."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["gilder", "run"]
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
