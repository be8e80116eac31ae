"""The Job of a build as Kubernetes gets it; its scripts run for real with stand-ins for tools."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gilder.api.building import JobSource
from gilder.core.jobs import JobContext, job_name, label, manifest

CONTEXT = JobContext(
    "team", "base", "uid-1", "eu-west-1", "prod", 3, "0123456789abcdef0123", "team-base-v3", ""
)
GIT = {"git": {"repository": "https://git.example/images", "ref": "v1", "path": "linux/web"}}
CONFIG_MAP = {"configMap": {"name": "template"}}


def job(packer: dict[str, Any] | None = None, **source: Any) -> dict[str, Any]:
    if packer is not None:
        source |= {"preset": "packer", "packer": packer}
    return manifest(JobSource.model_validate(source), CONTEXT)


def pod(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["spec"]["template"]["spec"])


def env(container: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e.get("value", "") for e in container["env"]}


def test_a_template_in_a_config_map_is_mounted_and_built() -> None:
    found = job({"template": CONFIG_MAP, "variables": {"size": "8"}, "variablesSecret": "secret"})
    (container,) = pod(found)["containers"]
    assert env(container)["GILDER_TEMPLATE"] == "/workspace"
    assert env(container)["PKR_VAR_size"] == "8"
    assert env(container)["PKR_VAR_build_id"] == CONTEXT.build
    assert container["envFrom"] == [{"secretRef": {"name": "secret"}, "prefix": "PKR_VAR_"}]
    volumes = {v["name"]: v for v in pod(found)["volumes"]}
    assert volumes["template"]["configMap"] == {"name": "template"}
    assert {m["name"] for m in container["volumeMounts"]} <= volumes.keys()
    assert pod(found)["terminationGracePeriodSeconds"] >= 120, "Packer ends its instance"


def test_a_template_in_git_is_cloned_first() -> None:
    template = {"git": {**GIT["git"], "secretName": "deploy-key"}}
    found = pod(job({"template": template}))
    (clone,) = found["initContainers"]
    assert env(clone)["REPOSITORY"] == "https://git.example/images"
    assert env(clone)["REF"] == "v1"
    assert env(found["containers"][0])["GILDER_TEMPLATE"] == "/workspace/linux/web"
    volumes = {v["name"]: v for v in found["volumes"]}
    assert volumes["git-credentials"]["secret"] == {"secretName": "deploy-key"}
    for container in (clone, *found["containers"]):
        assert {m["name"] for m in container["volumeMounts"]} <= volumes.keys()


def test_the_preset_is_merged_into_a_template() -> None:
    template = {
        "metadata": {"labels": {"team": "web", "goldenimage.dev/build": "forged"}},
        "spec": {
            "nodeSelector": {"pool": "builders"},
            "restartPolicy": "OnFailure",
            "containers": [
                {
                    "name": "packer",
                    "image": "our/packer:1",
                    "env": [
                        {"name": "GILDER_BUILD_ID", "value": "forged"},
                        {"name": "X", "value": "1"},
                    ],
                    "resources": {"limits": {"memory": "1Gi"}},
                }
            ],
        },
    }  # fmt: skip
    found = job({"template": CONFIG_MAP}, template=template)
    (container,) = pod(found)["containers"]
    assert container["image"] == "our/packer:1"
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert "packer build" in container["command"][-1]
    assert env(container)["X"] == "1"
    ids = [e["value"] for e in container["env"] if e["name"] == "GILDER_BUILD_ID"]
    assert ids == [CONTEXT.build], "the build id is the operator's"
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert labels["goldenimage.dev/build"] == CONTEXT.build
    assert labels["team"] == "web"
    assert pod(found)["nodeSelector"] == {"pool": "builders"}
    assert pod(found)["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", ["a", "a" * 63, "a" * 253, "with.dots.and-" + "b" * 60])
def test_names_and_labels_fit(name: str) -> None:
    found = job_name(name, CONTEXT.build)
    assert len(found) <= 63
    assert found.endswith(CONTEXT.build[:10])
    assert "." not in found
    assert len(label(name)) <= 63
    assert label(name)[-1].isalnum()


def test_the_clone_script_fetches_the_ref(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git here")
    origin, work = tmp_path / "origin", tmp_path / "workspace"
    origin.mkdir()
    (origin / "linux").mkdir()
    (origin / "linux/image.pkr.hcl").write_text("one")

    def run(*words: str) -> None:
        subprocess.run(
            [git, "-c", "user.email=a@b", "-c", "user.name=a", *words],
            cwd=origin, check=True, capture_output=True,
        )  # fmt: skip

    run("init", "-q", "-b", "main")
    run("add", ".")
    run("commit", "-q", "-m", "one")
    run("tag", "v1")
    (origin / "linux/image.pkr.hcl").write_text("two")
    run("commit", "-q", "-a", "-m", "two")
    (clone,) = pod(job({"template": GIT}))["initContainers"]
    script = clone["command"][-1].replace("/workspace", str(work))
    given = {**os.environ, **env(clone), "REPOSITORY": str(origin), "HOME": str(tmp_path)}
    subprocess.run(["sh", "-c", script], env=given, check=True)
    assert (work / "linux/image.pkr.hcl").read_text() == "one"


@pytest.mark.parametrize("failing", ["", "validate"])
def test_the_packer_script_stops_at_the_first_failure(tmp_path: Path, failing: str) -> None:
    tool = tmp_path / "packer"
    tool.write_text(
        f'#!/bin/sh\necho "$1" >>{tmp_path}/ran\n[ "$1" != "{failing}" ]\n', encoding="utf-8"
    )
    tool.chmod(0o755)
    (container,) = pod(job({"template": CONFIG_MAP}))["containers"]
    given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GILDER_TEMPLATE": str(tmp_path)}
    done = subprocess.run(["sh", "-c", container["command"][-1]], env=given, check=False)
    ran = (tmp_path / "ran").read_text().split()
    assert ran == (["init", "validate"] if failing else ["init", "validate", "build"])
    assert (done.returncode == 0) == (not failing)
