"""An instance for the checks to look at: a folder as its root, and a PATH of few commands."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import gilder.checks

FOLDER = Path(gilder.checks.__path__[0])
SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
}
PRESENT = [name for name, command in SHELLS.items() if shutil.which(command[0])]
if os.path.realpath(shutil.which("sh") or "") == os.path.realpath(shutil.which("dash") or "-"):
    PRESENT.remove("sh")  # it is the same
TOOLS = """
awk cat chmod cut date dirname find grep head ls mkdir mktemp rm sed sleep sort stat tail timeout
tr wc xargs
""".split()  # noqa: SIM905
DAY = 86400


@dataclass(frozen=True)
class Result:
    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def summary(self) -> str:
        return self.lines[-1]


@dataclass
class Instance:
    """Runs checks on a planted root, and holds what is true of every run."""

    folder: Path
    shell: str
    secrets: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def has(self, path: str, text: str = "", *, age: float = 0) -> Path:
        """A file, written `age` seconds ago."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if age:
            os.utime(file, (time.time() - age,) * 2)
        return file

    def command(self, name: str, script: str) -> None:
        """A command on PATH that writes down how it was called."""
        file = self.folder / "bin" / name
        file.unlink(missing_ok=True)
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.folder}/calls"\n{script}\n')
        file.chmod(0o755)

    def lacks(self, name: str) -> None:
        (self.folder / "bin" / name).unlink()

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def run(self, name: str) -> Result:
        before = self._snapshot()
        program, *options = SHELLS[self.shell]
        done = subprocess.run(
            [shutil.which(program) or program, *options, str(FOLDER / f"{name}.sh")],
            env={
                "GILDER_ROOT": str(self.root),
                "PATH": str(self.folder / "bin"),
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        result = Result(done.returncode, done.stdout.splitlines())
        # busybox says so of a command that its timeout ended.
        assert done.stderr in ("", "Terminated\n")
        assert result.code in (0, 1, 2)
        assert 1 <= len(result.lines) <= 40
        assert all(len(line) <= 210 for line in result.lines)
        assert result.summary.strip()
        assert result.summary.startswith("Could not be checked: ") == (result.code == 2)
        assert "stopped unexpectedly" not in result.text
        assert str(self.root) not in result.text
        for secret in self.secrets:
            assert secret not in done.stdout
        assert self._snapshot() == before
        return result

    def _snapshot(self) -> dict[str, tuple[int, float, bytes]]:
        return {
            str(p): (p.stat().st_mode, p.stat().st_mtime, p.read_bytes())
            for p in self.root.rglob("*")
            if p.is_file()
        }
