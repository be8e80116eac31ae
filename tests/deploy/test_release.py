"""What the release workflow takes from tools/release.py."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = (
    "tools/release.py",
    "pyproject.toml",
    "CHANGELOG.md",
    "operator/gilder/__init__.py",
    "deploy/base/kustomization.yaml",
    "deploy/helm/gilder/Chart.yaml",
)
IMAGE = "registry.example/owner/gilder"
DIGEST = "sha256:" + "0123456789abcdef" * 4
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy that is ready for version 0.1.0."""
    for part in PARTS:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    changes = tmp_path / "CHANGELOG.md"
    changes.write_text(re.sub(r"\[0\.1\.0\] - \S+", "[0.1.0] - 2026-12-01", changes.read_text()))
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tree / "tools/release.py"), *arguments], capture_output=True, text=True
    )


def test_the_notes_are_the_section_of_the_changelog(tree: Path) -> None:
    changes = tree / "CHANGELOG.md"
    changes.write_text(changes.read_text() + "\n## [0.0.9] - 2026-01-01\n\nOlder.\n")
    done = run(tree, "notes", "v0.1.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("### Added\n")
    assert "Older." not in done.stdout


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_release_is_of_one_version(part: str, tree: Path) -> None:
    file = tree / part
    text = file.read_text()
    assert "0.1.0" in text
    file.write_text(text.replace("0.1.0", "0.2.0"))
    done = run(tree, "notes", "v0.1.0")
    assert done.returncode == 1
    assert Path(part).name in done.stderr


def test_a_version_that_is_not_dated_is_not_released(tree: Path) -> None:
    changes = tree / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("2026-12-01", "unreleased"))
    done = run(tree, "notes", "v0.1.0")
    assert done.returncode == 1
    assert "Write the date there" in done.stderr


def test_the_chart_installs_the_image_by_digest(tmp_path: Path, helm: Helm) -> None:
    folder = tmp_path / "gilder"
    assert run(ROOT, "chart", IMAGE, DIGEST, str(folder)).returncode == 0
    packed = helm("package", str(folder), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.glob("gilder-*.tgz")
    done = helm("template", "gilder", str(archive), "--kube-version", "1.31.0")
    assert done.returncode == 0, done.stderr
    (deployment,) = [d for d in yaml.safe_load_all(done.stdout) if d and d["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{IMAGE}@{DIGEST}"


def test_the_chart_differs_in_that_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gilder"
    run(ROOT, "chart", IMAGE, DIGEST, str(folder))
    source = ROOT / "deploy/helm/gilder"
    before, after = (yaml.safe_load((f / "values.yaml").read_text()) for f in (source, folder))
    assert after.pop("image") == {**before.pop("image"), "repository": IMAGE, "digest": DIGEST}
    assert before == after
    for file in source.rglob("*"):
        if file.is_file() and file.name != "values.yaml":
            assert (folder / file.relative_to(source)).read_bytes() == file.read_bytes()


def test_a_tag_is_no_digest(tmp_path: Path) -> None:
    done = run(ROOT, "chart", IMAGE, "0.1.0", str(tmp_path / "gilder"))
    assert done.returncode == 1
    assert "sha256:" in done.stderr
