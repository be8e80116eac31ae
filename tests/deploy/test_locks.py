"""The locks pin all by hash, the image has what it needs, and no answer is no good news."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
Packages = dict[str, set[str]]


def blocks(lock: Path) -> list[str]:
    """One for each package: its line and what is indented below it."""
    lines = [x for x in lock.read_text().splitlines() if x.strip() and not x.startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def here(lock: Path) -> dict[str, str]:
    """What it installs on this machine: by name the version."""
    found = {}
    for block in blocks(lock):
        wanted = Requirement(block.splitlines()[0].rstrip("\\ "))
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            assert canonicalize_name(wanted.name) not in found, wanted.name
            found[canonicalize_name(wanted.name)] = str(wanted.specifier).removeprefix("==")
    return found


def closure(requirements: list[str]) -> set[str]:
    """All that these need, as the packages say that are installed here."""
    seen: Packages = {}
    ahead = [(Requirement(r), "") for r in requirements]
    while ahead:
        wanted, extra = ahead.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        new = ({"", *wanted.extras}) - seen.setdefault(name, set())
        seen[name] |= new
        needs = importlib.metadata.distribution(name).requires or []
        ahead += [(Requirement(n), e) for e in new for n in needs]
    return set(seen)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_each_line_pins_one_version_with_hashes(lock: Path) -> None:
    for block in blocks(lock):
        first, *rest = block.splitlines()
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s*]+(?: ; [^\\]+)? \\", first), first
        hashes = [line for line in rest if "--hash" in line]
        assert hashes, first
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}(?: \\)?", h) for h in hashes), first
    assert not re.search(r"(?m)^\s*(?:--(?!hash)|-[a-z])", lock.read_text())  # no index, no include


def test_there_is_a_lock_for_each_purpose() -> None:
    purposes = ["-audit", "-docs", "-runtime", "-tools", ""]
    assert {f.name for f in LOCKS} == {f"requirements{p}.lock" for p in purposes}
    assert "requirements-audit.lock" in (ROOT / "tools/dev").read_text()


def test_the_runtime_lock_is_what_the_operator_needs_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = here(ROOT / "requirements-runtime.lock")
    assert set(pinned) == closure(project["dependencies"])
    assert not {"moto", "pytest", "flask", "werkzeug", "mypy", "ruff"} & set(pinned)
    installed = {name: importlib.metadata.version(name) for name in pinned}
    assert pinned == installed


def test_what_the_image_has_is_what_the_tests_have() -> None:
    tested = here(ROOT / "requirements.lock")
    for name, version in here(ROOT / "requirements-runtime.lock").items():
        assert tested[name] == version, name


PIP_AUDIT = """
import json, os, sys
answer = os.environ["ANSWER"]
assert {"--require-hashes", "--disable-pip"} <= set(sys.argv)
if answer.startswith("{"):
    open(sys.argv[sys.argv.index("--output") + 1], "w").write(answer)
else:
    print(answer, file=sys.stderr)
sys.exit(int(os.environ["CODE"]))
"""
BAD = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": ""}


def package(*vulnerabilities: object) -> dict[str, object]:
    return {"name": "kopf", "version": "1.0", "vulns": list(vulnerabilities)}


SKIPPED = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("answer", "code", "expected", "told"),
    [
        ({"dependencies": [package()]}, 0, 0, "No known vulnerabilities."),
        (
            {"dependencies": [package(BAD)]},
            1,
            1,
            "VULNERABLE kopf 1.0 in some.lock: PYSEC-2026-1, CVE-2026-1; mended in 1.1",
        ),
        ({"dependencies": [package(BAD), SKIPPED]}, 1, 1, "no answer for 1 of 2"),
        # pip-audit says 0 here, of packages that the index does not know.
        ({"dependencies": [package(), SKIPPED]}, 0, 2, "no answer for 1 of 2"),
        ({"dependencies": []}, 0, 2, "there is nothing in it"),
        ("ConnectionError: no way to the service", 1, 2, "ConnectionError: no way to the service"),
        ("", 0, 2, "pip-audit said nothing"),
    ],
)
def test_no_answer_is_neither_good_nor_bad(
    answer: object, code: int, expected: int, told: str, tmp_path: Path
) -> None:
    """With a stand-in for pip-audit: the service is not asked by tests."""
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    lock = tmp_path / "some.lock"
    lock.write_text("kopf==1.0\n")
    said = answer if isinstance(answer, str) else json.dumps(answer)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "ANSWER": said, "CODE": str(code)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/audit.py"), str(lock)],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert told in done.stdout
    assert done.returncode == expected
    assert ("No known" in done.stdout) == (expected == 0)
