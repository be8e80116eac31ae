"""Argo CD and Flux: the health script as it runs, and the examples."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from lupa import lua51

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "deploy/argocd/health.lua").read_text()
Documents = list[dict[str, Any]]
Helm = Callable[..., CompletedProcess[str]]
Condition = tuple[str, str, str]  # type, status, reason


def documents(path: str) -> Documents:
    return list(yaml.safe_load_all((ROOT / path).read_text()))


APPLICATIONS = documents("deploy/argocd/example/application.yaml")
RELEASE = documents("deploy/flux/helmrelease-example.yaml")
FLUX = documents("deploy/flux/kustomization-example.yaml")


def health(*conditions: Condition, observed: int | None = 2, status: bool = True) -> str:
    """What Argo CD shows of an object of generation 2 with these conditions."""
    found = [
        {"type": t, "status": s, "reason": r, "message": f"about {t}"} for t, s, r in conditions
    ]
    obj: dict[str, Any] = {"metadata": {"generation": 2}}
    if status:
        obj["status"] = {"conditions": found, "observedGeneration": observed}
    lua = lua51.LuaRuntime()  # what Argo CD's Lua keeps to
    lua.globals().obj = lua.table_from(obj, recursive=True)
    answer = lua.execute(SCRIPT)
    assert isinstance(answer.message, str)
    return str(answer.status)


READY = ("Ready", "True", "Available")
NOT_READY = ("Ready", "False", "NotReady")
SYNCED = ("Synced", "True", "InSync")


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ((READY, SYNCED), "Healthy"),
        ((), "Progressing"),
        ((NOT_READY, ("Synced", "False", "Changing")), "Progressing"),
        ((NOT_READY, ("Reconciling", "True", "Changing")), "Progressing"),
        # A copy that takes an hour while the old version serves.
        ((READY, SYNCED, ("Reconciling", "True", "Progressing")), "Progressing"),
        ((NOT_READY, ("Stalled", "True", "AccessDenied")), "Degraded"),
        # The old version serves, but a person must act.
        ((READY, ("Stalled", "True", "AccessDenied")), "Degraded"),
        ((NOT_READY, ("Stalled", "True", "X"), ("Reconciling", "True", "Y")), "Degraded"),
        ((("Ready", "False", "Suspended"), ("Reconciling", "True", "Y")), "Suspended"),
        ((NOT_READY, ("Synced", "False", "WouldChange")), "Suspended"),
        ((("Ready", "Unknown", "Retrying"),), "Progressing"),
    ],
)
def test_health_of_conditions(conditions: tuple[Condition, ...], shown: str) -> None:
    assert health(*conditions) == shown


def test_health_before_the_operator_has_looked() -> None:
    assert health(status=False) == "Progressing"
    assert health(READY, SYNCED, observed=1) == "Progressing"
    assert health(READY, SYNCED, observed=None) == "Healthy"


def renders(helm: Helm, folder: str, values: dict[str, Any], tmp_path: Path) -> Documents:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = helm("template", "gilder", str(ROOT / folder), "-f", str(file))
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def test_the_applications_values_are_the_charts(helm: Helm, tmp_path: Path) -> None:
    source = APPLICATIONS[0]["spec"]["source"]
    found = renders(helm, source["path"], source["helm"]["valuesObject"], tmp_path)
    assert "PodDisruptionBudget" in {d["kind"] for d in found}
    # Argo CD may not take the CRDs away, and all images with them.
    assert "prune" not in APPLICATIONS[0]["spec"]["syncPolicy"]["automated"]


def test_the_releases_values_are_the_charts(helm: Helm, tmp_path: Path) -> None:
    source, release = RELEASE
    chart = release["spec"]["chart"]["spec"]
    assert chart["sourceRef"] == {
        "kind": source["kind"],
        "name": source["metadata"]["name"],
    }
    found = renders(helm, chart["chart"], release["spec"]["values"], tmp_path)
    assert {"ServiceMonitor", "PrometheusRule"} <= {d["kind"] for d in found}


def test_fluxs_kustomizations_lead_somewhere(render: Callable[[str], Documents]) -> None:
    sources = {d["metadata"]["name"] for d in FLUX if d["kind"] == "GitRepository"}
    ours, images = [d for d in FLUX if d["kind"] == "Kustomization"]
    assert {d["spec"]["sourceRef"]["name"] for d in (ours, images)} == sources
    assert [d["name"] for d in images["spec"]["dependsOn"]] == [ours["metadata"]["name"]]
    assert ours["spec"]["prune"] is False
    rendered = render(ours["spec"]["path"].removeprefix("./"))
    # What is replaced must be there.
    (patch,) = ours["spec"]["patches"]
    (operation,) = yaml.safe_load(patch["patch"])
    (account,) = [d for d in rendered if d["kind"] == patch["target"]["kind"]]
    at: Any = account
    for part in operation["path"].split("/")[1:]:
        at = at[part.replace("~1", "/")]
    assert at.startswith("arn:aws:iam::")
    (image,) = ours["spec"]["images"]
    assert image["name"] in {
        c["image"].split(":")[0]
        for d in rendered
        if d["kind"] == "Deployment"
        for c in d["spec"]["template"]["spec"]["containers"]
    }
