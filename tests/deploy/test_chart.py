"""The Helm chart, rendered by Helm: the same operator as deploy/base, and every option of it."""

import json
import runpy
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gilder.api.access import load
from gilder.api.crd import crds
from gilder.config import Settings
from gilder.sandbox.kubernetes.cluster import start_cluster
from gilder.sandbox.kubernetes.manifests import apply

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/gilder"
EXAMPLE = ROOT / "deploy/helm/example-values.yaml"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
Documents = list[dict[str, Any]]
Render = Callable[[str], Documents]
Helm = Callable[..., subprocess.CompletedProcess[str]]
Chart = Callable[..., Documents]


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy/chart.py"))


@pytest.fixture
def chart(helm: Helm, tmp_path: Path) -> Chart:
    """The chart's documents with some values, as a release named gilder."""

    def rendered(values: dict[str, Any] | None = None, *, release: str = "gilder") -> Documents:
        done = template(helm, tmp_path, values or {}, release)
        assert done.returncode == 0, done.stderr
        return [d for d in yaml.safe_load_all(done.stdout) if d]

    return rendered


def template(
    helm: Helm, folder: Path, values: dict[str, Any], release: str = "gilder", *more: str
) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return helm(
        "template", release, str(CHART), "-n", "gilder-system", "-f", str(file),
        "--kube-version", "1.34.0", *more,
    )  # fmt: skip


def example() -> dict[str, Any]:
    return dict(yaml.safe_load(EXAMPLE.read_text()))


def of_kind(documents: Documents, kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind]
    return found


def named(documents: Documents, *kinds: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (d["kind"], d["metadata"]["name"]): d for d in documents if not kinds or d["kind"] in kinds
    }


def pod(documents: Documents) -> dict[str, Any]:
    return dict(of_kind(documents, "Deployment")["spec"]["template"]["spec"])


def variables(documents: Documents) -> dict[str, str]:
    (container,) = pod(documents)["containers"]
    return {e["name"]: e["value"] for e in container["env"]}


def settings(documents: Documents, access: Path) -> Settings:
    """What the operator makes of the environment that the chart gives it."""
    env = {n.removeprefix("GILDER_"): v for n, v in variables(documents).items()}
    found = {n.lower(): v for n, v in env.items() if n.lower() in Settings.model_fields}
    assert len(found) == sum(n.startswith("GILDER_") for n in variables(documents))
    if "access_file" in found:
        source = next(
            d for d in documents if d["kind"] == "ConfigMap" and "access.yaml" in d["data"]
        )
        access.write_text(source["data"]["access.yaml"])
        found["access_file"] = str(access)
    return Settings(**found)


def test_the_files_are_what_the_generator_writes(generator: dict[str, Any]) -> None:
    assert generator["stale"]() == [], "run: python deploy/chart.py"


def test_check_notices_what_is_stale(tmp_path: Path, generator: dict[str, Any]) -> None:
    generator["stale"].__globals__["CHART"] = tmp_path
    try:
        assert len(generator["stale"]()) == len(generator["files"]())
        (tmp_path / "files").mkdir()
        (tmp_path / "files/old.yaml").write_text("")
        assert tmp_path / "files/old.yaml" in generator["stale"]()
    finally:
        generator["stale"].__globals__["CHART"] = CHART


def test_it_has_the_version_of_the_project() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert about["version"] == about["appVersion"] == project["version"]


@pytest.mark.parametrize("file", [CHART / "values.yaml", EXAMPLE], ids=lambda f: f.name)
def test_helm_finds_nothing_to_lint(helm: Helm, file: Path) -> None:
    done = helm("lint", str(CHART), "--strict", "-f", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_default_it_is_the_base(chart: Chart, render: Render) -> None:
    ours, base = named(chart()), named(render("deploy/base"))
    base.pop(("Namespace", "gilder-system"))
    assert set(ours) == set(base)
    for key, wanted in base.items():
        found = ours[key]
        assert found["apiVersion"] == wanted["apiVersion"]
        assert found["metadata"].get("namespace") == wanted["metadata"].get("namespace")
        for part in ("rules", "subjects", "roleRef"):
            assert found.get(part) == wanted.get(part), key
    wanted, found = pod(list(base.values())), pod(list(ours.values()))
    found.pop("topologySpreadConstraints")
    assert found["containers"][0].pop("imagePullPolicy") == "IfNotPresent"
    assert found == wanted
    deployment = ours["Deployment", "gilder"]["spec"]
    assert deployment["strategy"] == base["Deployment", "gilder"]["spec"]["strategy"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert ours["Service", "gilder-metrics"]["spec"]["selector"].items() <= labels.items()


def test_the_crds_are_the_generated_ones_and_stay(chart: Chart) -> None:
    found = named(chart(), "CustomResourceDefinition")
    assert len(found) == len(crds())
    for wanted in crds():
        crd = found["CustomResourceDefinition", wanted["metadata"]["name"]]
        annotations = crd["metadata"].pop("annotations")
        assert annotations.pop("helm.sh/resource-policy") == "keep"
        assert annotations == wanted["metadata"].pop("annotations", {})
        assert crd == wanted
    assert not named(chart({"crds": {"install": False}}), "CustomResourceDefinition")
    wanted = example()["crds"]["annotations"]
    for crd in named(chart(example()), "CustomResourceDefinition").values():
        assert wanted.items() < crd["metadata"]["annotations"].items()


def test_a_kubernetes_api_takes_it_twice(chart: Chart, tmp_path: Path) -> None:
    with start_cluster(tmp_path, emulate=True) as cluster:
        namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace"}
        apply(cluster, [namespace | {"metadata": {"name": "gilder-system"}}])
        for _ in range(2):
            assert all(d["metadata"]["uid"] for d in apply(cluster, chart()))


def test_the_operator_reads_every_setting_of_the_example(chart: Chart, tmp_path: Path) -> None:
    documents = chart(example())
    read = settings(documents, tmp_path / "access.yaml")
    for name, value in example()["settings"].items():
        assert getattr(read, name) == value, name
    assert read.lease == "gilder-system/gilder"
    access = load((tmp_path / "access.yaml").read_text())
    assert [a.id for a in access.accounts] == ["111111111111"]
    ports = {p["name"]: p["containerPort"] for p in pod(documents)["containers"][0]["ports"]}
    assert ports == {"health": read.health_port, "metrics": read.metrics_port}
    assert of_kind(documents, "Service")["spec"]["ports"][0]["port"] == read.metrics_port
    assert variables(documents)["AWS_USE_FIPS_ENDPOINT"] == "true"


def test_the_schema_knows_every_setting_and_its_limits(generator: dict[str, Any]) -> None:
    known = SCHEMA["properties"]["settings"]["properties"]
    assert set(known) == set(Settings.model_fields) - set(generator["OWN_SETTINGS"])
    assert set(DEFAULTS["settings"]) <= set(known)
    assert known["workers"]["maximum"] == 64
    assert known["log_level"]["enum"] == ["DEBUG", "INFO", "WARNING", "ERROR"]


def test_the_schema_knows_every_value_and_no_more() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        assert set(values) == set(schema["properties"]) - {"global"}, path
        for name, value in values.items():
            below = schema["properties"][name]
            closed = below.get("additionalProperties") is False
            if isinstance(value, dict) and closed and name not in ("settings", "content"):
                compare(value, below, f"{path}.{name}")

    compare(DEFAULTS, SCHEMA, "")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(DEFAULTS)
    jsonschema.Draft7Validator(SCHEMA).validate(merged(DEFAULTS, example()))


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As Helm lays values over the chart's own."""
    found = dict(below)
    for name, value in above.items():
        before = found.get(name)
        both = isinstance(value, dict) and isinstance(before, dict)
        found[name] = merged(before, value) if both else value
    return found


REFUSED: dict[str, dict[str, Any]] = {
    "misspelt": {"replicas": 2},
    "misspelt further down": {"image": {"tagg": "1"}},
    "unknown setting": {"settings": {"resyncSeconds": 5}},
    "setting that the chart makes": {"settings": {"lease": "a/b"}},
    "access file by hand": {"settings": {"access_file": "/etc/x"}},
    "too many workers": {"settings": {"workers": 65}},
    "port as text": {"settings": {"metrics_port": "9090"}},
    "privileged port": {"settings": {"health_port": 80}},
    "log level": {"settings": {"log_level": "TRACE"}},
    "cluster name": {"settings": {"cluster_name": "Prod_1"}},
    "setting past the schema": {"extraEnv": [{"name": "GILDER_LEASE", "value": ""}]},
    "role that is none": {"aws": {"identity": "irsa", "roleArn": "gilder"}},
    "IRSA without a role": {"aws": {"identity": "irsa"}},
    "two that both act": {"replicaCount": 2, "leaderElection": {"enabled": False}},
    "digest": {"image": {"digest": "sha256:1"}},
    "access file": {"access": {"enabled": True, "content": {"namespaces": [{"nams": ["*"]}]}}},
    "rights per namespace of none": {"rbac": {"perNamespace": True}},
    "Region": {"guardRails": {"regions": ["Frankfurt"]}},
    "part of an alert": {"prometheusRule": {"overrides": {"GilderStalled": {"form": "1h"}}}},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_bad_values_are_refused(values: dict[str, Any], helm: Helm, tmp_path: Path) -> None:
    # By Helm, and by another reader of the schema: what an editor shows.
    done = template(helm, tmp_path, values)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(merged(DEFAULTS, values))


def test_an_alert_that_is_not_there_is_refused(helm: Helm, tmp_path: Path) -> None:
    values = {"prometheusRule": {"enabled": True, "disabled": ["GilderNotReddy"]}}
    done = template(helm, tmp_path, values)
    assert done.returncode != 0
    assert "there is no alert GilderNotReddy" in done.stderr


def test_the_pod_of_the_example(chart: Chart) -> None:
    documents, values = chart(example()), example()
    deployment = of_kind(documents, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {"type": "RollingUpdate"}
    spec = pod(documents)
    for name in (
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "imagePullSecrets",
    ):
        assert spec[name] == values[name]
    (container,) = spec["containers"]
    assert container["resources"] == values["resources"]
    assert container["image"] == f"{values['image']['repository']}@{values['image']['digest']}"
    metadata = deployment["template"]["metadata"]
    assert metadata["annotations"] == values["podAnnotations"]
    assert values["podLabels"].items() <= metadata["labels"].items()
    budget = of_kind(documents, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= metadata["labels"].items()
    account = of_kind(documents, "ServiceAccount")["metadata"]["annotations"]
    assert account["eks.amazonaws.com/role-arn"] == values["aws"]["roleArn"]
    assert account["example.com/owner"] == "platform"


def test_rights_of_jobs_lists_and_publishing_can_be_left_out(chart: Chart) -> None:
    values = {"settings": {"jobs": False}, "rbac": {"lists": False, "publishing": False}}
    documents = chart(values | {"rbac": {**values["rbac"], "people": False}})
    names = {name for _, name in named(documents, "ClusterRole", "ClusterRoleBinding")}
    assert names == {"gilder"}
    assert variables(documents)["GILDER_JOBS"] == "false"
    assert not named(chart({"rbac": {"create": False}}), "ClusterRole", "Role", "RoleBinding")


def test_rights_can_be_given_in_some_namespaces_alone(chart: Chart) -> None:
    documents = chart(example())
    everywhere = named(documents, "ClusterRoleBinding")
    assert set(everywhere) == {("ClusterRoleBinding", "gilder-cluster")}
    cluster = named(documents, "ClusterRole")["ClusterRole", "gilder-cluster"]
    resources = {r for rule in cluster["rules"] for r in rule["resources"]}
    assert resources == {"customresourcedefinitions", "namespaces"}
    bound = {
        (d["metadata"]["namespace"], d["roleRef"]["name"])
        for d in documents
        if d["kind"] == "RoleBinding" and d["roleRef"]["kind"] == "ClusterRole"
    }
    roles = ("gilder", "gilder-lists", "gilder-publishing")
    assert bound == {(n, r) for n in ("images", "team-a") for r in roles}


def test_each_release_has_names_of_its_own(chart: Chart) -> None:
    shard = chart(release="shard-a")
    (container,) = pod(shard)["containers"]
    assert container["env"][-1] == {
        "name": "GILDER_LEASE",
        "value": "gilder-system/shard-a-gilder",
    }
    rules = of_kind(shard, "Role")["rules"]
    assert [r["resourceNames"] for r in rules if "resourceNames" in r] == [["shard-a-gilder"]]
    both = set(named(shard)) & set(named(chart()))
    assert {kind for kind, _ in both} == {"CustomResourceDefinition"}
    selector = of_kind(shard, "Service")["spec"]["selector"]
    assert selector["app.kubernetes.io/instance"] == "shard-a"


def test_one_replica_needs_no_lease(chart: Chart) -> None:
    documents = chart({"leaderElection": {"enabled": False}})
    assert "GILDER_LEASE" not in variables(documents)
    assert not named(documents, "Role", "RoleBinding", "PodDisruptionBudget")


def test_an_access_file_that_is_there_is_used(chart: Chart) -> None:
    documents = chart({"access": {"enabled": True, "existingConfigMap": "ours"}})
    assert {"name": "access", "configMap": {"name": "ours"}} in pod(documents)["volumes"]
    assert not named(documents, "ConfigMap")


def test_pod_identity_needs_no_annotation_but_a_way_to_the_agent(chart: Chart) -> None:
    values = {"aws": {"identity": "pod-identity"}, "networkPolicy": {"enabled": True}}
    documents = chart(values)
    assert "annotations" not in of_kind(documents, "ServiceAccount")["metadata"]
    egress = json.dumps(of_kind(documents, "NetworkPolicy")["spec"]["egress"])
    assert "169.254.170.23/32" in egress
    # The node's role comes from the node's metadata; with IRSA there is no need of either.
    plain = json.dumps(chart({"networkPolicy": {"enabled": True}}))
    assert "169.254.170.23/32" not in plain
    assert "169.254.169.254/32" in plain
    assert "169.254." not in json.dumps(of_kind(chart(example()), "NetworkPolicy"))


def test_the_network_policy_is_the_components(chart: Chart) -> None:
    values = {"aws": {"identity": "pod-identity"}, "networkPolicy": {"enabled": True}}
    found = of_kind(chart(values), "NetworkPolicy")["spec"]
    file = ROOT / "deploy/components/network-policy/policy.yaml"
    wanted = yaml.safe_load(file.read_text())["spec"]
    assert found.pop("podSelector")["matchLabels"].items() >= (
        wanted.pop("podSelector")["matchLabels"].items()
    )
    assert found == wanted


def test_alerts_can_be_changed_and_left_out(chart: Chart) -> None:
    documents, options = chart(example()), example()["prometheusRule"]
    rule = of_kind(documents, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    found = {r["alert"]: r for g in rule["spec"]["groups"] for r in g["rules"]}
    file = ROOT / "deploy/components/monitoring/rules.yaml"
    groups = yaml.safe_load(file.read_text())["spec"]["groups"]
    wanted = {r["alert"]: r for g in groups for r in g["rules"]}
    assert set(wanted) - set(found) == set(options["disabled"])
    for name, alert in found.items():
        page = alert["annotations"].pop("runbook_url")
        assert page == f"{options['runbookBaseUrl']}#{name.lower()}"
        wanted[name]["annotations"].pop("runbook_url")
        assert alert == {**wanted[name], **options["overrides"].get(name, {})}
    monitor = of_kind(documents, "ServiceMonitor")["spec"]
    service = of_kind(documents, "Service")["metadata"]
    assert monitor["selector"]["matchLabels"].items() <= service["labels"].items()
    assert "prometheus.io/scrape" not in service.get("annotations", {})


def test_the_dashboard_and_the_guard_rails_are_the_components(chart: Chart) -> None:
    documents = named(chart(example()))
    text = (ROOT / "deploy/components/dashboard/gilder.json").read_text()
    dashboard = documents["ConfigMap", "gilder-dashboard"]
    assert json.loads(dashboard["data"]["gilder.json"]) == json.loads(text)
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    count = 0
    for file in (ROOT / "deploy/components/guard-rails").glob("*.yaml"):
        for wanted in yaml.safe_load_all(file.read_text()):
            if wanted["kind"].startswith("ValidatingAdmissionPolicy"):
                found = documents[wanted["kind"], wanted["metadata"]["name"]]
                assert found["spec"] == wanted["spec"]
                count += 1
    assert count == sum(kind.startswith("Validating") for kind, _ in documents)
    assert set(documents["ConfigMap", "gilder-regions"]["data"]) == {"eu-west-1", "eu-central-1"}


def test_guard_rails_take_a_kubernetes_that_has_them(helm: Helm, tmp_path: Path) -> None:
    values = {"guardRails": {"public": True}}
    done = template(helm, tmp_path, values, "gilder", "--kube-version", "1.29.0")
    assert "guardRails takes Kubernetes 1.30" in done.stderr
    assert template(helm, tmp_path, {}, "gilder", "--kube-version", "1.29.0").returncode == 0


def test_the_notes_say_what_is_left_to_do(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"aws": {"identity": "pod-identity"}}))
    done = helm(
        "install", "gilder", str(CHART), "--dry-run=client", "-n", "gilder-system", "-f", str(file)
    )
    assert done.returncode == 0, done.stderr
    assert "create-pod-identity-association" in done.stdout
    assert "There is no access file" in done.stdout
