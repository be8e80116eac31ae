"""What `gilder doctor` says of a cluster."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from gilder.api.crd import crds
from gilder.core import checkup
from gilder.handlers.doctor import NEEDS, REVIEWS, look

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Answers = Callable[[str, str, Mapping[str, Any] | None], dict[str, Any] | None]


def established(crd: dict[str, Any]) -> dict[str, Any]:
    return {**crd, "status": {"conditions": [{"type": "Established", "status": "True"}]}}


class Cluster:
    """One that has what it should, but for what a test changes."""

    def __init__(self, denied: tuple[str, ...] = ()) -> None:
        self.denied = denied
        self.crds = {c["metadata"]["name"]: established(c) for c in crds()}
        self.reviews = True

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        assert method == ("POST" if path == REVIEWS else "GET")
        if path == "/version":
            return {"gitVersion": "v1.35.0"}
        if path == REVIEWS:
            if not self.reviews:
                raise ApiException(status=403, reason="no reviews here")
            assert body is not None
            asked = body["spec"]["resourceAttributes"]
            return {
                "status": {"allowed": f"{asked['verb']} {asked['resource']}" not in self.denied}
            }
        return self.crds.get(path.rsplit("/", 1)[-1])


def findings(cluster: Cluster, **more: Any) -> dict[str, checkup.Finding]:
    options = {"namespaces": (), "lease": "", "jobs": True, **more}
    found = list(look(cluster, options["namespaces"], options["lease"], jobs=options["jobs"]))
    return {f.what: f for f in found}


def test_a_cluster_that_has_everything() -> None:
    found = findings(Cluster())
    assert {f.state for f in found.values()} == {"ok"}
    assert {"role gilder", "role gilder-jobs", "role gilder-lists"} <= set(found)
    assert not checkup.failed(found.values())


def test_what_is_asked_for_is_what_the_roles_allow() -> None:
    """The Role about Leases apart: what it allows is shown by the Lease itself."""
    documents = list(yaml.safe_load_all((ROOT / "deploy/base/rbac.yaml").read_text()))
    allowed = {
        (d["metadata"]["name"], group, resource, verb)
        for d in documents
        if d["kind"] == "ClusterRole"
        for rule in d["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {(n.role, n.group, n.resource, v) for n in NEEDS for v in n.verbs}
    assert asked == allowed


@pytest.mark.parametrize(
    ("denied", "role", "state"),
    [("patch goldenimages", "gilder", "fail"), ("list pods", "gilder-jobs", "warn")],
)
def test_a_permission_that_is_missing(denied: str, role: str, state: str) -> None:
    found = findings(Cluster((denied,)))[f"role {role}"]
    assert (found.state, denied in found.said) == (state, True)
    assert f"bind the ClusterRole {role}" in found.fix


def test_permissions_are_asked_for_per_namespace() -> None:
    found = findings(Cluster(("patch imageshares",)), namespaces=("a", "b"))["role gilder"]
    assert "patch imageshares in a, patch imageshares in b" in found.said


def test_without_jobs_their_role_is_not_asked_about() -> None:
    assert "role gilder-jobs" not in findings(Cluster(("list jobs",)), jobs=False)


def test_what_cannot_be_asked_is_not_known() -> None:
    cluster = Cluster()
    cluster.reviews = False
    found = findings(cluster)["role gilder"]
    assert (found.state, "no reviews here" in found.said) == ("unknown", True)


def test_definitions_that_are_missing_or_of_another_version() -> None:
    cluster = Cluster()
    first, second = cluster.crds
    del cluster.crds[first]
    schema = cluster.crds[second]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"].pop("suspend")
    found = findings(cluster)
    assert found[f"CRD {first}"].said == "is not there"
    assert "differs" in found[f"CRD {second}"].said
    assert all("kubectl apply" in found[f"CRD {n}"].fix for n in (first, second))
    assert checkup.failed(found.values())


@pytest.mark.parametrize(
    ("spec", "state", "said"),
    [
        (None, "warn", "nobody has taken it yet"),
        ({"holderIdentity": ""}, "warn", "nobody holds it"),
        ({"holderIdentity": "a", "renewTime": 5}, "ok", "held by a"),
        ({"holderIdentity": "a", "renewTime": 90}, "warn", "a has not renewed it for 90 s"),
    ],
)
def test_the_lease(spec: dict[str, Any] | None, state: str, said: str) -> None:
    if spec and "renewTime" in spec:
        ago = timedelta(seconds=spec["renewTime"])
        spec = {**spec, "leaseDurationSeconds": 30, "renewTime": (NOW - ago).isoformat()}
    found = checkup.lease("ns/gilder", {"spec": spec} if spec is not None else None, NOW)
    assert (found.state, found.said) == (state, said)


@pytest.mark.parametrize(
    ("seconds", "state", "said"),
    [(2, "ok", "agrees"), (-90, "warn", "90 s behind AWS's"), (600, "fail", "600 s ahead of")],
)
def test_the_clock(seconds: int, state: str, said: str) -> None:
    found = checkup.skew(NOW, NOW + timedelta(seconds=seconds))
    assert (found.state, said in found.said) == (state, True)
