"""The commands that pip makes of the package: by themselves, under kubectl, and in shells."""

import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gilder import __version__
from gilder.cli import app

ROOT = Path(__file__).parents[2]


def installed(folder: Path) -> dict[str, str]:
    """The scripts as pip writes them; an environment whose PATH begins with them."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        module, _, attribute = target.partition(":")
        assert getattr(importlib.import_module(module), attribute) is app
        script = folder / name
        text = f"#!{sys.executable}\nfrom {module} import {attribute}\n{attribute}()\n"
        script.write_text(text)
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def run(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_scripts_and_the_help_of_each_command(tmp_path: Path) -> None:
    env = installed(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"gilder", "kubectl-gilder"}
    assert run(env, "gilder", "--version").stdout.strip() == __version__
    text = run(env, "gilder", "--help").stdout
    named = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    assert len(named) > 7
    assert all(name in text for name in named)
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__
        assert f"gilder {command.name or command.callback.__name__}" in (command.epilog or "")


def test_kubectl_finds_its_plugin(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and it is what finds the plugin")
    env = installed(tmp_path)
    done = run(env, "kubectl", "gilder", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


def test_shells_complete_commands_and_options(tmp_path: Path) -> None:
    env = installed(tmp_path)
    script = run({**env, "_GILDER_COMPLETE": "source_bash"}, "gilder").stdout
    assert "complete -o default -F _gilder_completion gilder" in script

    def completed(words: str) -> list[str]:
        asked = {"_GILDER_COMPLETE": "complete_bash", "COMP_WORDS": words}
        count = {"COMP_CWORD": str(len(words.split()) - 1)}
        return run({**env, **asked, **count}, "gilder").stdout.split()

    assert completed("gilder ex") == ["explain"]
    assert "--output" in completed("gilder tree --o")
