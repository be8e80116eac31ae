"""Manifests into a cluster over HTTP: CRDs, and anything that discovery knows."""

import time
from typing import Any

import requests

from gilder.sandbox.kubernetes.cluster import Cluster

_TIMEOUT = 30
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class ManifestError(RuntimeError):
    """The API refused a manifest."""


def install_crds(cluster: Cluster, docs: list[dict[str, Any]]) -> None:
    """Create or replace CRDs and wait until they are established."""
    session = _session(cluster)
    for doc in docs:
        name = doc["metadata"]["name"]
        url = f"{cluster.url}{_CRDS}/{name}"
        current = session.get(url, timeout=_TIMEOUT)
        if current.status_code == 404:
            _checked(session.post(f"{cluster.url}{_CRDS}", json=doc, timeout=_TIMEOUT))
        else:
            metadata = _checked(current)["metadata"]
            version = {"resourceVersion": metadata["resourceVersion"]}
            body = {**doc, "metadata": {**doc["metadata"], **version}}
            _checked(session.put(url, json=body, timeout=_TIMEOUT))
    for doc in docs:
        _wait_established(session, cluster, doc)


def apply(cluster: Cluster, docs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Create manifests, or merge them into what is there; the objects as they are then."""
    session = _session(cluster)
    applied = []
    for doc in docs:
        if doc.get("kind") == "CustomResourceDefinition":
            install_crds(cluster, [doc])
            url = f"{cluster.url}{_CRDS}/{doc['metadata']['name']}"
            applied.append(_checked(session.get(url, timeout=_TIMEOUT)))
            continue
        collection = _collection(session, cluster, doc)
        one = f"{collection}/{doc['metadata']['name']}"
        if session.get(one, timeout=_TIMEOUT).status_code == 404:
            response = session.post(collection, json=doc, timeout=_TIMEOUT)
        else:
            response = session.patch(
                one,
                json=doc,
                headers={"Content-Type": "application/merge-patch+json"},
                timeout=_TIMEOUT,
            )
        applied.append(_checked(response))
    return applied


def _session(cluster: Cluster) -> requests.Session:
    session = requests.Session()
    # Proxies and CA bundles of the environment do not apply to the loopback interface, where a
    # real API server serves with a certificate that it signed itself.
    session.trust_env = False
    session.verify = False
    session.headers["Authorization"] = f"Bearer {cluster.token}"
    return session


def _collection(session: requests.Session, cluster: Cluster, doc: dict[str, Any]) -> str:
    version = doc["apiVersion"]
    base = f"{cluster.url}/{'apis' if '/' in version else 'api'}/{version}"
    resources = _checked(session.get(base, timeout=_TIMEOUT))["resources"]
    for resource in resources:
        if resource["kind"] == doc["kind"] and "/" not in resource["name"]:
            if not resource["namespaced"]:
                return f"{base}/{resource['name']}"
            namespace = doc["metadata"].get("namespace", "default")
            return f"{base}/namespaces/{namespace}/{resource['name']}"
    raise ManifestError(f'no matches for kind "{doc["kind"]}" in version "{version}"')


def _checked(response: requests.Response) -> Any:
    if response.ok:
        return response.json()
    try:
        message = response.json()["message"]
    except (ValueError, KeyError):
        message = response.text
    raise ManifestError(f"{response.status_code}: {message}")


def _wait_established(session: requests.Session, cluster: Cluster, doc: dict[str, Any]) -> None:
    spec = doc["spec"]
    served = next(v["name"] for v in spec["versions"] if v["served"])
    crd = f"{cluster.url}{_CRDS}/{doc['metadata']['name']}"
    objects = f"{cluster.url}/apis/{spec['group']}/{served}/{spec['names']['plural']}"
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        conditions = _checked(session.get(crd, timeout=_TIMEOUT)).get("status", {})
        established = any(
            c["type"] == "Established" and c["status"] == "True"
            for c in conditions.get("conditions", [])
        )
        # A real API server serves the endpoint a moment after it says so.
        if established and session.get(objects, timeout=_TIMEOUT).ok:
            return
        time.sleep(0.05)
    raise ManifestError(f"{doc['metadata']['name']} was not established after {_TIMEOUT} s")
