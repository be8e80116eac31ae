"""The Dockerfile as text: there is no Docker engine where these tests run."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.partition(" ")
        found.append((word, rest.strip()))
    return found


@pytest.fixture(scope="module")
def final(instructions: list[Instruction]) -> list[Instruction]:
    """The instructions of the last stage."""
    last = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last:]


def of(instructions: list[Instruction], word: str) -> list[str]:
    return [rest for w, rest in instructions if w == word]


def test_only_known_instructions(instructions: list[Instruction]) -> None:
    known = {"FROM", "WORKDIR", "ENV", "RUN", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions} <= known


def test_two_stages_of_one_pinned_slim_base(instructions: list[Instruction]) -> None:
    bases = [rest.split()[0] for rest in of(instructions, "FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    tag, _, digest = bases[0].split(":", 1)[1].partition("@")
    assert re.fullmatch(r"3\.\d+-slim-\w+", tag)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    version = tag.split("-")[0]
    assert f"python{version}/" in (ROOT / "Dockerfile").read_text()


def test_dependencies_come_by_hash_from_the_runtime_lock(instructions: list[Instruction]) -> None:
    installs = [r for r in of(instructions, "RUN") if " install " in r]
    assert "--require-hashes" in installs[0]
    assert "-r requirements-runtime.lock" in installs[0]
    assert all("--require-hashes" in r or "--no-deps" in r for r in installs)


def test_the_image_runs_the_operator_as_nobody(final: list[Instruction]) -> None:
    assert of(final, "USER") == ["65532:65532"]
    assert of(final, "ENTRYPOINT") == ['["gilder"]']
    assert of(final, "CMD") == ['["run"]']
    after = [word for word, _ in final[final.index(("USER", "65532:65532")) :]]
    assert "RUN" not in after
    assert "PYTHONDONTWRITEBYTECODE=1" in of(final, "ENV")[0]
    assert any("uninstall" in run and " pip " in f"{run} " for run in of(final, "RUN"))


def test_the_manifests_run_it_as_the_same_user(final: list[Instruction]) -> None:
    deployment = yaml.safe_load((ROOT / "deploy/base/deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert of(final, "USER") == [user]
    ports = {str(p["containerPort"]) for p in pod["containers"][0]["ports"]}
    assert set(of(final, "EXPOSE")[0].split()) == ports


def test_what_is_copied_is_there_and_not_ignored(instructions: list[Instruction]) -> None:
    kept = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.rstrip("/")
        for rest in of(instructions, "COPY")
        if not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_runtime_lock_has_no_emulator_and_no_developer_tool() -> None:
    lock = (ROOT / "requirements-runtime.lock").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert {"kopf", "boto3", "kubernetes", "pydantic"} <= names
    assert not names & {"moto", "pytest", "mypy", "ruff", "flask", "werkzeug", "import-linter"}
    blocks = re.split(r"\n(?=[a-z0-9-]+==)", lock.strip())
    assert all("--hash=sha256:" in block for block in blocks)


def test_hadolint_finds_nothing() -> None:
    path = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [path, "--format", "json", "--failure-threshold", "style", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == []
    assert done.returncode == 0


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """Or the test above would say nothing."""
    path = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:latest\nRUN pip install kopf\n")
    done = subprocess.run([path, "--format", "json", str(file)], capture_output=True, text=True)
    assert {"DL3007", "DL3013", "DL3042"} <= {found["code"] for found in json.loads(done.stdout)}
    assert done.returncode != 0
