"""docs/install.md names what deploy/ has, and its examples render."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/install.md").read_text()
Documents = list[dict[str, Any]]
Render = Callable[[str], Documents]


def examples() -> Documents:
    return [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("part", ["overlays", "components"])
def test_every_overlay_and_component_is_named(part: str) -> None:
    for folder in (ROOT / "deploy" / part).iterdir():
        assert f"(../deploy/{part}/{folder.name}/kustomization.yaml)" in PAGE


def test_every_guard_rail_is_named_with_its_label() -> None:
    labels, policies = set(), set()
    for file in (ROOT / "deploy/components/guard-rails").glob("*.yaml"):
        labels |= set(re.findall(r"goldenimage\.dev/may-[a-z-]+", file.read_text()))
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] == "ValidatingAdmissionPolicy":
                policies.add(document["metadata"]["name"])
    assert set(re.findall(r"goldenimage\.dev/may-[a-z-]+", PAGE)) == labels
    assert policies <= set(re.findall(r"`(gilder-[a-z-]+)`", PAGE))


def test_an_overlay_of_ones_own_renders(render: Render, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "gilder/deploy")
    shutil.copytree(ROOT / "crds", tmp_path / "gilder/crds")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/kustomization.yaml").write_text(yaml.safe_dump(examples()[0]))
    found = render(str(tmp_path / "ours"))
    assert "PrometheusRule" in {d["kind"] for d in found}
    (deployment,) = [d for d in found if d["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "REGISTRY/gilder:0.1.0"
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["GILDER_CLUSTER_NAME"] == "prod"
    assert {"GILDER_REGION", "GILDER_LEASE"} < set(env)


def test_argo_cds_own_settings_stay_when_health_is_merged_in(
    render: Render, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "deploy/argocd/health.lua", tmp_path)
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm"},
        "data": {"url": "https://argocd.example.com"},
    }
    (tmp_path / "install.yaml").write_text(json.dumps(config))
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(examples()[1]))
    (found,) = render(str(tmp_path))
    assert found["metadata"]["name"] == "argocd-cm"
    assert found["data"].pop("url") == "https://argocd.example.com"
    assert len(found["data"]) == 2


def test_helms_command_line_is_taken(
    helm: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    (command,) = re.findall(r"^helm install ((?:[^\n]*\\\n)*[^\n]*)", PAGE, re.MULTILINE)
    words = command.replace("\\\n", " ").split()
    folder = str(ROOT / words[1])
    done = helm("template", words[0], folder, *(w for w in words[2:] if w != "--create-namespace"))
    assert done.returncode == 0, done.stderr
    assert "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/gilder" in done.stdout
