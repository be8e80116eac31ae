"""The manifests render, hold together, and an API takes them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gilder.api.crd import crds
from gilder.config import Settings, read_access
from gilder.core.tenancy import rule_of
from gilder.sandbox.kubernetes.cluster import start_cluster
from gilder.sandbox.kubernetes.manifests import apply

ROOT = Path(__file__).parents[2]
Documents = list[dict[str, Any]]
Render = Callable[[str], Documents]
FOLDERS = (
    "deploy/base",
    "deploy/overlays/access",
    "deploy/overlays/complete",
    "deploy/overlays/ha",
    "deploy/overlays/irsa",
    "deploy/overlays/pod-identity",
)


def of_kind(documents: Documents, kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind]
    return found


def mounted(documents: Documents, path: str, directory: Path) -> Path:
    """What the pod reads at a path of a mounted ConfigMap, as a file here."""
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    folder, _, name = path.rpartition("/")
    mount = mounts[folder]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # the kubelet would never write changes into it
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    (source,) = [
        d
        for d in documents
        if d["kind"] == "ConfigMap" and d["metadata"]["name"] == volume["configMap"]["name"]
    ]
    assert source["metadata"]["namespace"] == "gilder-system"
    assert "optional" not in volume["configMap"]
    file = directory / name
    file.write_text(source["data"][name])
    return file


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_renders_with_the_crds(folder: str, render: Render) -> None:
    documents = render(folder)
    found = [d["metadata"]["name"] for d in documents if d["kind"] == "CustomResourceDefinition"]
    assert sorted(found) == sorted(c["metadata"]["name"] for c in crds())
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_pod_is_locked_down_and_probed(folder: str, render: Render) -> None:
    deployment = of_kind(render(folder), "Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "memory" in container["resources"]["limits"]
    tag = container["image"].rsplit(":", 1)[-1]
    assert tag not in ("latest", container["image"])
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("folder", FOLDERS)
def test_settings_ports_and_lease_agree(folder: str, render: Render, tmp_path: Path) -> None:
    documents = render(folder)
    deployment = of_kind(documents, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    settings = {n.removeprefix("GILDER_").lower(): v for n, v in env.items()}
    assert settings.keys() <= set(Settings.model_fields)
    if "access_file" in settings:
        settings["access_file"] = str(mounted(documents, settings["access_file"], tmp_path))
    parsed = Settings(**settings)
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {"health": parsed.health_port, "metrics": parsed.metrics_port}
    namespace, lease = parsed.lease.split("/")
    assert namespace == deployment["metadata"]["namespace"]
    named = [n for r in of_kind(documents, "Role")["rules"] for n in r.get("resourceNames", [])]
    assert named == [lease]
    service = of_kind(documents, "Service")["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()


def test_the_access_file_is_mounted_and_its_example_can_be_used(
    render: Render, tmp_path: Path
) -> None:
    documents = render("deploy/overlays/access")
    file = mounted(documents, "/etc/gilder/access.yaml", tmp_path)
    rule = rule_of(read_access(str(file)), "anything")
    assert rule.accounts == ("own",)
    assert not rule.public
    # With the commented lines it is a whole file too.
    text = file.read_text().replace("accounts: []\n", "accounts:\n")
    text = text.replace("consumers: []\n", "consumers:\n")
    lines = [re.sub(r"^(\s*)# (?=\s*(?:- )?\w+:)", r"\1", x) for x in text.splitlines()]
    file.write_text("\n".join(x for x in lines if not x.lstrip().startswith("#")))
    whole = read_access(str(file))
    assert whole is not None
    assert [a.id for a in whole.accounts] == ["111111111111"]
    assert rule_of(whole, "team-shop").key_policies
    # Nothing else of the base is touched.
    base = of_kind(render("deploy/base"), "Deployment")["spec"]["template"]["spec"]
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    for part in ("env", "volumeMounts"):
        names = [x["name"] for x in base["containers"][0][part]]
        found = [x["name"] for x in pod["containers"][0][part]]
        assert set(names) < set(found)
        assert len(found) == len(names) + 1
    assert len(pod["volumes"]) == len(base["volumes"]) + 1


def test_the_access_file_goes_with_other_overlays(tmp_path: Path, render: Render) -> None:
    folder = ROOT / "deploy"
    copy = tmp_path / "deploy"
    shutil.copytree(folder, copy)
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    file = copy / "overlays/irsa/kustomization.yaml"
    file.write_text(file.read_text() + "components:\n  - ../../components/access\n")
    documents = render(str(copy / "overlays/irsa"))
    assert mounted(documents, "/etc/gilder/access.yaml", tmp_path).exists()
    account = of_kind(documents, "ServiceAccount")["metadata"]
    assert "eks.amazonaws.com/role-arn" in account["annotations"]


def test_irsa_names_a_role_and_pod_identity_needs_none(render: Render) -> None:
    arn = "eks.amazonaws.com/role-arn"
    irsa = of_kind(render("deploy/overlays/irsa"), "ServiceAccount")["metadata"]
    assert irsa["annotations"][arn].startswith("arn:aws:iam::")
    identity = of_kind(render("deploy/overlays/pod-identity"), "ServiceAccount")["metadata"]
    assert arn not in identity.get("annotations", {})


def test_two_replicas_are_never_without_one(render: Render) -> None:
    documents = render("deploy/overlays/ha")
    deployment = of_kind(documents, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {"type": "RollingUpdate"}
    budget = of_kind(documents, "PodDisruptionBudget")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_all_components_go_together(render: Render) -> None:
    documents = render("deploy/overlays/complete")
    kinds = {d["kind"] for d in documents}
    assert kinds >= {
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "ServiceMonitor",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    dashboards = [d for d in documents if d["metadata"]["name"] == "gilder-dashboard"]
    assert [d["metadata"]["labels"]["grafana_dashboard"] for d in dashboards] == ["1"]
    cluster_wide = ("ClusterRole", "Namespace", "CustomResource", "ValidatingAdmission")
    for document in documents:
        wide = document["kind"].startswith(cluster_wide)
        assert document["metadata"].get("namespace") == (None if wide else "gilder-system")
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "gilder"


def test_the_network_policy_lets_in_metrics_and_out_what_is_needed(render: Render) -> None:
    documents = render("deploy/overlays/complete")
    policy = of_kind(documents, "NetworkPolicy")["spec"]
    template = of_kind(documents, "Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (way_in,) = policy["ingress"]
    ports = {p["name"] for p in template["spec"]["containers"][0]["ports"]}
    assert {p["port"] for p in way_in["ports"]} <= ports
    assert way_in["from"]  # not everybody
    out = {p["port"] for rule in policy["egress"] for p in rule["ports"]}
    assert out == {53, 443, 6443, 80}
    (agent,) = [r for r in policy["egress"] if 80 in {p["port"] for p in r["ports"]}]
    assert {t["ipBlock"]["cidr"] for t in agent["to"]} == {"169.254.170.23/32", "fd00:ec2::23/128"}


def test_a_kubernetes_api_takes_the_base(render: Render, tmp_path: Path) -> None:
    documents = render("deploy/base")
    order = sorted(documents, key=lambda d: d["kind"] != "Namespace")
    with start_cluster(tmp_path, emulate=True) as cluster:
        for _ in range(2):  # the second time changes nothing
            stored = apply(cluster, order)
    for wanted, found in zip(order, stored, strict=True):
        assert found["metadata"]["uid"]
        if wanted["kind"] != "CustomResourceDefinition":
            for part in ("spec", "rules", "subjects", "roleRef"):
                if part in wanted and wanted["kind"] != "Namespace":
                    assert (
                        wanted[part] == found[part] or wanted[part].items() <= found[part].items()
                    )


def test_argo_cd_gets_the_health_of_both_kinds(render: Render) -> None:
    (config,) = render("deploy/argocd")
    script = (ROOT / "deploy/argocd/health.lua").read_text()
    assert config["metadata"] == {"name": "argocd-cm", "namespace": "argocd"}
    prefix = "resource.customizations.health.goldenimage.dev_"
    assert config["data"] == {f"{prefix}GoldenImage": script, f"{prefix}ImageShare": script}
