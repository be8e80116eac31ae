"""The operator's role allows what the operator does in Kubernetes, and hardly more."""

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gilder.api.crd import crds
from gilder.handlers import kube
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import apply, install_crds
from gilder.sandbox.process import OperatorProcess, wait_for

Documents = list[dict[str, Any]]
Right = tuple[str, str]  # verb, resource

KINDS = ("goldenimages", "imageshares")
# What handlers/kube.py calls, and the right that it takes.
CALLS: dict[str, set[Right]] = {
    "list_cluster_custom_object": {("list", k) for k in KINDS},
    "list_namespaced_custom_object": {("list", k) for k in KINDS},
    "get_namespaced_custom_object": {("get", k) for k in KINDS},
    "patch_namespaced_custom_object": {("patch", k) for k in KINDS},
    "patch_namespaced_custom_object_status": {("patch", f"{k}/status") for k in KINDS},
    "post_event GET": {("get", "events")},
    "post_event PATCH": {("patch", "events")},
    "post_event POST": {("create", "events")},
    "get_lease GET": {("get", "leases")},
    "put_lease PUT": {("update", "leases")},
    "put_lease POST": {("create", "leases")},
    "lacks_crd GET": {("list", "customresourcedefinitions")},
    "probe GET": {("list", "goldenimages")},
    "_listed GET": {("list", "jobs"), ("list", "configmaps")},
    "create POST": {("create", "jobs")},
    "create GET": {("get", "jobs")},
    "delete DELETE": {("delete", "jobs")},
    "put_map POST": {("create", "configmaps")},
    "put_map PATCH": {("patch", "configmaps")},
    "put_map GET": {("list", "configmaps")},
    "delete_map DELETE": {("delete", "configmaps")},
    "release_map PATCH": {("patch", "configmaps")},
    "log GET": {("list", "pods")},
    "log text": {("get", "pods/log")},
}
# What kopf watches on its own.
WATCHES: set[Right] = {
    (verb, resource)
    for verb in ("list", "watch")
    for resource in (*KINDS, "customresourcedefinitions", "namespaces")
}


@pytest.fixture
def rights(role_documents: Documents) -> set[Right]:
    roles = [d for d in role_documents if d["kind"] in ("ClusterRole", "Role")]
    rules = [rule for role in roles for rule in role["rules"]]
    assert not any("*" in value for rule in rules for value in rule.values())
    return {(v, r) for rule in rules for r in rule["resources"] for v in rule["verbs"]}


def calls() -> set[str]:
    """Calls of handlers/kube.py, as CALLS names them."""
    tree = ast.parse(Path(kube.__file__).read_text())
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Attribute):
                continue
            if node.value.attr == "_objects":
                found.add(node.attr)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "_request":
                assert isinstance(node.args[0], ast.Constant)
                found.add(f"{function.name} {node.args[0].value}")
            elif node.func.attr == "_text":
                found.add(f"{function.name} text")
    return found


def test_the_table_names_every_call() -> None:
    assert calls() == set(CALLS)


def test_the_role_allows_what_the_code_calls_and_no_more(rights: set[Right]) -> None:
    needed = WATCHES.union(*CALLS.values())
    assert needed <= rights
    # kopf reads one CRD at a time in some versions.
    assert rights - needed == {("get", "customresourcedefinitions")}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with start_cluster(tmp_path, emulate=True) as running:
        install_crds(running, crds())
        yield running


def test_a_running_operator_stays_within_its_role(
    cluster: Cluster, tmp_path: Path, rights: set[Right]
) -> None:
    """AWS is out of reach, which is enough to list, watch, take the lease, patch and post."""
    metadata = {"name": "base", "namespace": "default"}
    source = {"image": {"id": "ami-0123456789abcdef0"}}
    apply(
        cluster,
        [
            {
                "apiVersion": "goldenimage.dev/v1alpha1",
                "kind": "GoldenImage",
                "metadata": metadata,
                "spec": {"region": "eu-west-1", "source": source, "suspend": True},
            }
        ],
    )
    assert cluster.server is not None
    requests = cluster.server.requests
    requests.reset()
    env = {
        "KUBECONFIG": str(cluster.kubeconfig.resolve()),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GILDER_METRICS_PORT": "0",
        "GILDER_HEALTH_PORT": "0",
        "GILDER_LEASE": "default/gilder",
        "GILDER_LEASE_SECONDS": "3",
    }
    operator = OperatorProcess(tmp_path / "operator.log", env)
    operator.start()
    try:
        wanted = {("create", "events"), ("update", "leases"), ("watch", "goldenimages")}
        came = wait_for(lambda: wanted <= set(requests.snapshot()), 20)
        assert came, operator.tail()
        time.sleep(0.2)
    finally:
        operator.stop()
    documents = ("/api", "/openapi", "/version")  # open to everybody who is logged in
    asked = {r for r in requests.snapshot() if not r[1].startswith(documents)}
    assert asked <= rights
