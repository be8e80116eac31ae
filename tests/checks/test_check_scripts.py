"""What is true of every script, whatever it checks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gilder.checks
from gilder.checks import CHECKS, platforms, script, title

FOLDER = Path(gilder.checks.__path__[0])
SHELL_SCRIPTS = sorted(FOLDER.glob("*.sh"))
POWERSHELL = sorted(FOLDER.glob("*.ps1"))


def test_every_check_has_a_script_for_linux() -> None:
    assert CHECKS == ("NoSecrets", "NoHostKeys", "Patched", "AgentHealthy", "CloudInitHealthy")
    assert {f.stem for f in SHELL_SCRIPTS} == set(CHECKS)
    assert {f.stem for f in POWERSHELL} == {n for n in CHECKS if "windows" in platforms(n)}
    for name in CHECKS:
        assert "\n" not in title(name)
        assert "\n".join(script(name, "linux")) + "\n" == (FOLDER / f"{name}.sh").read_text()


def test_a_missing_script_says_so() -> None:
    with pytest.raises(KeyError, match="NoHostKeys has no script for windows"):
        script("NoHostKeys", "windows")
    with pytest.raises(KeyError, match=r"no check Nothing.*NoSecrets"):
        script("Nothing", "linux")
    with pytest.raises(KeyError, match="no check Nothing"):
        title("Nothing")


def test_the_checks_import_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import gilder.checks.documents; "
        "print({m.partition('.')[0] for m in set(sys.modules) - before})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = set(re.findall(r"'(\w+)'", out.stdout)) - sys.stdlib_module_names
    assert outside <= {"gilder"}


@pytest.mark.parametrize("file", SHELL_SCRIPTS, ids=lambda f: f.stem)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash --posix", "busybox sh"])
def test_every_shell_can_read_it(file: Path, shell: str) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([*shell.split(), "-n", str(file)], check=True)


@pytest.mark.parametrize("file", SHELL_SCRIPTS, ids=lambda f: f.stem)
def test_shellcheck_finds_nothing(file: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    found = subprocess.run(
        ["shellcheck", "-s", "sh", str(file)], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


@pytest.mark.parametrize("file", SHELL_SCRIPTS + POWERSHELL, ids=lambda f: f.name)
def test_it_can_be_sent(file: Path) -> None:
    text = file.read_text()
    # Systems Manager and Image Builder take double braces for parameters.
    assert "{{" not in text
    assert "}}" not in text
    assert text.isascii()
    assert "\t" not in text
    assert all(line == line.rstrip() and len(line) <= 120 for line in text.splitlines())
    assert file.suffix != ".sh" or text.startswith("#!/bin/sh\n")


@pytest.mark.parametrize("file", SHELL_SCRIPTS, ids=lambda f: f.stem)
def test_every_path_is_below_the_root(file: Path) -> None:
    for line in file.read_text().splitlines()[1:]:
        code = re.sub(r"(^|\s)#.*|/dev/null", "", line)
        for path in re.findall(r"(?<![\w\"}*,])/(?:etc|var|run|root|home|proc|tmp)\b[^\s]*", code):
            told = re.search(rf"(echo|finish|lines) .*{re.escape(path)}", code)
            assert told, (path, line)


def test_what_two_scripts_share_is_the_same() -> None:
    parts = [
        part
        for file in SHELL_SCRIPTS
        for part in re.findall(
            r"^# shared: times$.*^# end of shared$", file.read_text(), re.M | re.S
        )
    ]
    assert len(parts) == 2
    assert parts[0] == parts[1]


@pytest.mark.parametrize("file", POWERSHELL, ids=lambda f: f.stem)
def test_powershell_looks_sane(file: Path) -> None:
    """All that is known of these: nothing here can run them."""
    text = file.read_text()
    code = re.sub(r"#[^\n]*|'[^'\n]*'|\"[^\"\n]*\"", "", text)
    for opening, closing in ("{}", "()", "[]"):
        assert code.count(opening) == code.count(closing)
    assert set(re.findall(r"exit (\d+)", text)) == {"0", "1", "2"}
    assert ".Line)" not in code
    for line in re.findall(r".*(?:Write-Output|Write-Host|found\.Add).*", text):
        assert not re.search(r"\.Line\b|\.Matches\b|\.Value\b", line), line
