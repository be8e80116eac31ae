"""With rights in some namespaces alone the operator gets along, and asks for nothing else."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from gilder.api.crd import crds
from gilder.sandbox.kubernetes import routes
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.errors import ApiError
from gilder.sandbox.kubernetes.manifests import apply, install_crds
from gilder.sandbox.process import OperatorProcess, wait_for

ROOT = Path(__file__).parents[2]
OPEN = ("/api", "/apis", "/openapi", "/version")  # documents that whoever is logged in may read
Documents = list[dict[str, Any]]
Request = tuple[str, str, str]  # verb, resource, namespace


@pytest.fixture
def documents(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Documents:
    done = helm(
        "template", "gilder", str(ROOT / "deploy/helm/gilder"), "-n", "gilder-system",
        "--set", "rbac.perNamespace=true", "--set", r"settings.namespaces=images\,team-a",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


class Rights:
    """RBAC, as far as the chart uses it: what its bindings allow the service account."""

    def __init__(self, documents: Documents) -> None:
        roles = {
            (d["kind"], d["metadata"]["name"]): d["rules"]
            for d in documents
            if d["kind"] in ("Role", "ClusterRole")
        }
        # By the namespace that a rule holds in; the empty one stands for all.
        self._rules: dict[str, list[dict[str, Any]]] = {}
        for binding in documents:
            if binding["kind"] in ("RoleBinding", "ClusterRoleBinding"):
                assert [s["name"] for s in binding["subjects"]] == ["gilder"]
                rules = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
                namespace = binding["metadata"].get("namespace", "")
                self._rules.setdefault(namespace, []).extend(rules)

    def allow(self, group: str, verb: str, resource: str, namespace: str, name: str) -> bool:
        rules = self._rules.get("", []) + (self._rules.get(namespace, []) if namespace else [])
        return any(
            group in rule["apiGroups"]
            and verb in rule["verbs"]
            and resource in rule["resources"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for rule in rules
        )


def enforce(cluster: Cluster, rights: Rights) -> tuple[list[Request], list[Request]]:
    """From now on the server lets nobody do more; lists of what was allowed and what refused."""
    allowed: list[Request] = []
    refused: list[Request] = []
    server = cluster.server
    assert server is not None

    def taken(method: str, path: str) -> ApiError | None:
        url = urlsplit(path)
        parts = [p for p in url.path.split("/") if p]
        found = routes.group_version(parts)
        target = routes.target(server.api.registry, *found) if found and found[2] else None
        if found is None or target is None:
            return None if url.path.startswith(OPEN) else ApiError(403, "Forbidden", url.path)
        watch = parse_qs(url.query).get("watch", [""])[0] in ("true", "1")
        verb = target.verb(method, watch=watch)
        request = (verb, target.resource, target.namespace)
        if rights.allow(found[0], verb, target.resource, target.namespace, target.name):
            allowed.append(request)
            return None
        refused.append(request)
        return ApiError(403, "Forbidden", f"{request} is forbidden")

    server.faults.taken = taken  # type: ignore[method-assign]
    return allowed, refused


def image(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": "GoldenImage",
        "metadata": {"name": "base", "namespace": namespace},
        "spec": {
            "region": "eu-west-1",
            "source": {"image": {"id": "ami-0123456789abcdef0"}},
            "suspend": True,
        },
    }


def share(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": "ImageShare",
        "metadata": {"name": "listed", "namespace": namespace},
        "spec": {
            "imageRef": {"name": "base"},
            "accountsFrom": [{"configMap": {"name": "team-accounts"}}],
        },
    }


def test_the_rights_end_at_the_namespaces(documents: Documents) -> None:
    rights = Rights(documents)
    ours = "goldenimage.dev"
    assert rights.allow(ours, "list", "goldenimages", "images", "")
    assert rights.allow("batch", "create", "jobs", "team-a", "")
    for namespace in ("", "other", "gilder-system"):
        assert not rights.allow(ours, "list", "goldenimages", namespace, "")
        assert not rights.allow("", "list", "configmaps", namespace, "")
        assert not rights.allow("batch", "create", "jobs", namespace, "")
    lease = ("coordination.k8s.io", "update", "leases", "gilder-system")
    assert rights.allow(*lease, "gilder")
    assert not rights.allow(*lease, "another")


def test_the_operator_asks_for_nothing_else(documents: Documents, tmp_path: Path) -> None:
    """AWS is out of reach, which is enough to list, watch, take the lease, patch and post."""
    with start_cluster(tmp_path, emulate=True) as cluster:
        install_crds(cluster, crds())
        for name in ("images", "team-a", "other", "gilder-system"):
            apply(cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        for name in ("images", "team-a", "other"):
            apply(cluster, [image(name), share(name)])
        allowed, refused = enforce(cluster, Rights(documents))
        env = {
            "KUBECONFIG": str(cluster.kubeconfig.resolve()),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "GILDER_METRICS_PORT": "0",
            "GILDER_HEALTH_PORT": "0",
            "GILDER_NAMESPACES": "images,team-a",
            "GILDER_LEASE": "gilder-system/gilder",
            "GILDER_LEASE_SECONDS": "3",
        }
        operator = OperatorProcess(tmp_path / "operator.log", env)
        operator.start()
        wanted = {
            (verb, resource, namespace)
            for namespace in ("images", "team-a")
            for verb, resource in (
                ("list", "goldenimages"),
                ("watch", "goldenimages"),
                ("watch", "imageshares"),
                ("patch", "goldenimages/status"),
                ("create", "events"),
                ("list", "jobs"),
                ("list", "configmaps"),
            )
        }
        wanted.add(("update", "leases", "gilder-system"))
        try:
            came = wait_for(lambda: wanted <= set(allowed), 60)
            assert came, (sorted(wanted - set(allowed)), refused, operator.tail())
        finally:
            operator.stop()
    assert refused == []
    assert not [r for r in allowed if r[2] == "other"]
