"""How the cluster is, for `gilder doctor`: CRDs, permissions by access reviews, the Lease."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from gilder.api.crd import crds
from gilder.api.names import GROUP
from gilder.core import checkup
from gilder.core.checkup import Finding
from gilder.handlers.kube import Kube

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Need:
    """What the operator does in Kubernetes, and the role of deploy/base that allows it."""

    group: str
    resource: str  # with its subresource: pods/log
    verbs: tuple[str, ...]
    role: str = "gilder"
    everywhere: bool = False  # cluster-wide, however few namespaces are watched


NEEDS = (
    Need(GROUP, "goldenimages", ("get", "list", "watch", "patch")),
    Need(GROUP, "imageshares", ("get", "list", "watch", "patch")),
    Need(GROUP, "goldenimages/status", ("patch",)),
    Need(GROUP, "imageshares/status", ("patch",)),
    Need("", "events", ("get", "create", "patch")),
    Need(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        ("get", "list", "watch"),
        everywhere=True,
    ),
    Need("", "namespaces", ("list", "watch"), everywhere=True),
    Need("batch", "jobs", ("get", "list", "create", "delete"), "gilder-jobs"),
    Need("", "pods", ("list",), "gilder-jobs"),
    Need("", "pods/log", ("get",), "gilder-jobs"),
    Need("", "configmaps", ("list",), "gilder-lists"),
    Need("", "configmaps", ("list", "create", "patch", "delete"), "gilder-publishing"),
)
OPTIONAL = {
    "gilder-jobs": "builds by Jobs",
    "gilder-lists": "lists of accounts in ConfigMaps",
    "gilder-publishing": "publishing to ConfigMaps",
}


class Asked(Protocol):
    """A cluster that answers any call."""

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None: ...


class Cluster(Kube):
    """That of the pod or of KUBECONFIG. Its calls are of whoever looks, and of no role of ours."""

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """The answer to any call; None where there is nothing at the path."""
        try:
            found: dict[str, Any] = self._request(method, path, body)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found


def examine(namespaces: tuple[str, ...], lease: str, *, jobs: bool) -> Iterator[Finding]:
    """Everything about the cluster; one Finding where there is none to ask."""
    try:
        kube = Cluster()
    except ConfigException as error:
        yield Finding("kubernetes", "cluster", "fail", f"none to ask: {error}", "set KUBECONFIG")
        return
    yield from look(kube, namespaces, lease, jobs=jobs)


def look(kube: Asked, namespaces: tuple[str, ...], lease: str, *, jobs: bool) -> Iterator[Finding]:
    """As `examine`, of a cluster that can be asked."""
    try:
        version = kube.ask("GET", "/version") or {}
    except (ApiException, HTTPError) as error:
        fix = "check KUBECONFIG and the network"
        yield Finding("kubernetes", "cluster", "fail", _said(error), fix)
        return
    yield Finding("kubernetes", "cluster", "ok", f"answers, {version.get('gitVersion', '')}")
    yield from _definitions(kube)
    without = frozenset() if jobs else frozenset({"gilder-jobs"})
    roles = dict.fromkeys(n.role for n in NEEDS)
    for role in (r for r in roles if r not in without):
        yield _role(kube, role, namespaces)
    if lease:
        yield _lease(kube, lease)


def _definitions(kube: Asked) -> Iterator[Finding]:
    for wanted in crds():
        name = wanted["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        try:
            yield checkup.definition(name, kube.ask("GET", path), wanted)
        except (ApiException, HTTPError) as error:
            yield Finding("kubernetes", f"CRD {name}", "unknown", _said(error))


def _role(kube: Asked, role: str, namespaces: tuple[str, ...]) -> Finding:
    """What the account that asks may do of what a role allows."""
    what = f"role {role}"
    denied: list[str] = []
    count = 0
    for need in (n for n in NEEDS if n.role == role):
        for namespace in ("",) if need.everywhere else namespaces or ("",):
            for verb in need.verbs:
                try:
                    answer = kube.ask("POST", REVIEWS, _review(need, verb, namespace))
                except (ApiException, HTTPError) as error:
                    return Finding("kubernetes", what, "unknown", f"not asked: {_said(error)}")
                status = (answer or {}).get("status") or {}
                if "allowed" not in status:
                    return Finding("kubernetes", what, "unknown", "the API does not say")
                count += 1
                if not status["allowed"]:
                    where = f" in {namespace}" if namespace else ""
                    denied.append(f"{verb} {need.resource}{where}")
    if not denied:
        return Finding("kubernetes", what, "ok", f"{count} permissions asked for, all given")
    said = f"not allowed: {', '.join(denied)}"
    fix = f"bind the ClusterRole {role} of deploy/base/rbac.yaml"
    if role in OPTIONAL:
        return Finding("kubernetes", what, "warn", said, f"{fix}, for {OPTIONAL[role]}")
    return Finding("kubernetes", what, "fail", said, fix)


def _review(need: Need, verb: str, namespace: str) -> dict[str, Any]:
    resource, _, sub = need.resource.partition("/")
    asked = {"group": need.group, "resource": resource, "verb": verb}
    asked |= {"subresource": sub} if sub else {}
    asked |= {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }


def _lease(kube: Asked, lease: str) -> Finding:
    namespace, _, name = lease.partition("/")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    try:
        return checkup.lease(lease, kube.ask("GET", path), datetime.now(UTC))
    except (ApiException, HTTPError) as error:
        return Finding("kubernetes", f"lease {lease}", "unknown", _said(error))


def _said(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"Kubernetes says {error.status}: {error.reason}"
    return f"out of reach: {error}"
