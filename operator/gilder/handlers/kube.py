"""The few calls the operator makes to Kubernetes itself: list, patch, post Events, Jobs."""

import copy
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from gilder.api.names import (
    ANNOTATION_DATA,
    FINALIZER,
    GROUP,
    LABEL_ACCOUNTS,
    LABEL_BUILD,
    LABEL_IMAGE,
    VERSION,
)
from gilder.core.actions import PutConfigMap, ReleaseConfigMap
from gilder.core.results import Event
from gilder.handlers.store import Body, Key, Kind
from gilder.reconcile.ports import ClusterError, NotOursError

PLURALS: dict[Kind, str] = {"GoldenImage": "goldenimages", "ImageShare": "imageshares"}
MERGE = "application/merge-patch+json"
TIMEOUT = 30  # seconds per request
PAGE = 250  # objects per page of a listing; one of thousands at once is most of the memory
LOG_LINES = 20  # of a failed Job


# Python reads no JSON that is nested deeper than its limit of recursion. An API server takes 10,000
# levels, where a schema takes anything; and one such object would keep a whole listing from being
# read. Reading that deep takes a megabyte of stack.
DEPTH = 30_000


def allow_depth() -> None:
    """Let whatever an API server stores be read."""
    sys.setrecursionlimit(max(DEPTH, sys.getrecursionlimit()))


class GoneError(Exception):
    """The object does not exist any more."""


class Kube:
    """Blocking calls; safe to use from several threads."""

    def __init__(self) -> None:
        allow_depth()
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            # Read now: the library looks at the environment once, when it is imported.
            path = os.environ.get("KUBECONFIG") or None
            config.load_kube_config(config_file=path)  # type: ignore[no-untyped-call]
        # Plain dicts go in and come out, where the generated signatures know only models.
        self._api: Any = client.ApiClient()
        self._objects: Any = client.CustomObjectsApi(self._api)

    def pages(
        self, kind: Kind, namespaces: tuple[str, ...], selector: str = ""
    ) -> Iterator[list[Body]]:
        """The objects of a kind that a label selector selects, page by page.

        In these namespaces, or in all of them when none is named.
        """
        for namespace in namespaces or ("",):
            token = ""
            while True:
                answer = self._page(kind, namespace, selector, token)
                shared = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind}
                yield [{**shared, **i} for i in answer["items"]]
                token = answer["metadata"].get("continue") or ""
                if not token:
                    break

    def _page(self, kind: Kind, namespace: str, selector: str, token: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"limit": PAGE, "_request_timeout": TIMEOUT}
        if selector:
            asked["label_selector"] = selector
        if token:
            asked["_continue"] = token
        where = (GROUP, VERSION, *((namespace,) if namespace else ()), PLURALS[kind])
        call = (
            self._objects.list_namespaced_custom_object
            if namespace
            else self._objects.list_cluster_custom_object
        )
        found: dict[str, Any] = call(*where, **asked)
        return found

    def lacks_crd(self, kind: Kind) -> bool:
        """Whether the CRD of a kind is certain not to be there. An API server that starts may not
        find what it serves a moment later, but lists CRDs as they are stored."""
        query = urlencode({"fieldSelector": f"metadata.name={PLURALS[kind]}.{GROUP}"})
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        return not self._request("GET", f"{path}?{query}")["items"]

    def probe(self, namespaces: tuple[str, ...]) -> None:
        """Raise what is wrong, be it the API, the CRDs or what we may do."""
        inside = f"/namespaces/{namespaces[0]}" if namespaces else ""
        self._request("GET", f"/apis/{GROUP}/{VERSION}{inside}/{PLURALS['GoldenImage']}?limit=1")

    def patch_status(self, key: Key, body: Body, status: Mapping[str, Any]) -> Body | None:
        """Write the status if it differs from the one in `body`; the object as it is then."""
        change = merge_patch(body.get("status") or {}, status)
        if not change:
            return None
        return self._patch(key, {"status": change}, status=True)

    def set_finalizer(self, key: Key, body: Body, present: bool) -> Body | None:
        """Add or remove our finalizer; refused by the API when others changed it meanwhile."""
        meta = body["metadata"]
        before = list(meta.get("finalizers") or [])
        after = [f for f in before if f != FINALIZER] + ([FINALIZER] if present else [])
        if before == after:
            return None
        # With the resourceVersion, so that a finalizer of somebody else is never lost.
        change = {"finalizers": after, "resourceVersion": meta.get("resourceVersion")}
        return self._patch(key, {"metadata": change}, status=False)

    def get(self, key: Key) -> Body:
        """The object as it is now; raises GoneError."""
        try:
            found: Body = self._objects.get_namespaced_custom_object(
                GROUP, VERSION, key.namespace, PLURALS[key.kind], key.name, _request_timeout=TIMEOUT
            )
        except ApiException as error:
            if error.status == 404:
                raise GoneError(str(key)) from None
            raise
        return found

    def _patch(self, key: Key, change: Mapping[str, Any], *, status: bool) -> Body:
        call = (
            self._objects.patch_namespaced_custom_object_status
            if status
            else self._objects.patch_namespaced_custom_object
        )
        try:
            after: Body = call(
                GROUP,
                VERSION,
                key.namespace,
                PLURALS[key.kind],
                key.name,
                change,
                _content_type=MERGE,
                _request_timeout=TIMEOUT,
            )
        except ApiException as error:
            if error.status == 404:
                raise GoneError(str(key)) from None
            raise
        return after

    def post_event(self, key: Key, body: Body, event: Event, now: str) -> None:
        """Post an Event; the same one again raises the count of the first."""
        meta = body["metadata"]
        text = f"{meta.get('uid')}|{event.type}|{event.reason}|{event.message}"
        name = f"{key.name[:200]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        path = f"/api/v1/namespaces/{key.namespace}/events"
        try:
            known = self._request("GET", f"{path}/{name}")
        except ApiException as error:
            if error.status != 404:
                raise
            known = None
        if known is not None:
            change = {"count": (known.get("count") or 1) + 1, "lastTimestamp": now}
            self._request("PATCH", f"{path}/{name}", change)
            return
        self._request(
            "POST",
            path,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": key.namespace},
                "involvedObject": {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": key.kind,
                    "name": key.name,
                    "namespace": key.namespace,
                    "uid": meta.get("uid"),
                    "resourceVersion": meta.get("resourceVersion"),
                },
                "type": event.type,
                "reason": event.reason[:128],
                "message": event.message[:1024],
                "source": {"component": "gilder"},
                "reportingComponent": f"{GROUP}/gilder",
                "reportingInstance": "gilder",
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )

    # Jobs

    def list_jobs(self, namespaces: tuple[str, ...]) -> Iterator[Body]:
        """Jobs of ours, in these namespaces or in all of them; read page by page."""
        return self._listed("/apis/batch/v1", "jobs", LABEL_BUILD, namespaces)

    def list_config_maps(self, namespaces: tuple[str, ...]) -> Iterator[Body]:
        """ConfigMaps with account ids, in these namespaces or in all of them."""
        return self._listed("/api/v1", "configmaps", f"{LABEL_ACCOUNTS}=true", namespaces)

    def list_published(self, namespaces: tuple[str, ...]) -> Iterator[Body]:
        """ConfigMaps that tell released versions, in these namespaces or in all of them."""
        return self._listed("/api/v1", "configmaps", LABEL_IMAGE, namespaces)

    def put_map(self, action: PutConfigMap) -> Body:
        """Create a ConfigMap with our label, or change it as it was seen; as it is then.

        Raises NotOursError, and ClusterError when somebody else changed it meanwhile.
        """
        meta = action.manifest["metadata"]
        path = _maps(meta["namespace"])
        with _cluster_errors():
            if action.resource_version:
                change = {
                    **action.manifest,
                    "metadata": {**meta, "resourceVersion": action.resource_version},
                    "data": {**action.manifest["data"], **dict.fromkeys(action.gone)},
                }
                try:
                    changed: Body = self._request("PATCH", f"{path}/{meta['name']}", change)
                except ApiException as error:
                    if error.status != HTTPStatus.NOT_FOUND:
                        raise
                    gone = f"ConfigMap {meta['name']} was deleted meanwhile"
                    raise ClusterError(gone, permanent=False) from None
                return changed
            try:
                made: Body = self._request("POST", path, action.manifest)
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                # Only those with our label are looked at: it is a listing, not a read.
                named = quote(f"metadata.name={meta['name']}")
                query = f"labelSelector={quote(LABEL_IMAGE)}&fieldSelector={named}"
                found = self._request("GET", f"{path}?{query}")["items"]
                if any(_owned_by(f, meta["ownerReferences"][0]["name"]) for f in found):
                    raise  # ours, and not listed since: the next look has it
                raise NotOursError(
                    f"there is a ConfigMap {meta['name']} in namespace {meta['namespace']} that "
                    "this GoldenImage did not make"
                ) from None
            return made

    def delete_map(self, namespace: str, name: str, uid: str) -> None:
        """Delete the ConfigMap with this uid; one that is gone is no error."""
        with _cluster_errors(gone=True):
            options = {"preconditions": {"uid": uid}} if uid else {}
            self._request("DELETE", f"{_maps(namespace)}/{name}", options)

    def release_map(self, action: ReleaseConfigMap) -> None:
        """Have a ConfigMap outlive the GoldenImage that owns it; with `whole` it is not ours any
        more. One that is gone is no error."""
        meta: dict[str, Any] = {
            "resourceVersion": action.resource_version,
            "ownerReferences": None,
        }
        if action.whole:
            meta |= {"labels": {LABEL_IMAGE: None}, "annotations": {ANNOTATION_DATA: None}}
        with _cluster_errors(gone=True):
            path = f"{_maps(action.namespace)}/{action.name}"
            self._request("PATCH", path, {"metadata": meta})

    def _listed(
        self, root: str, plural: str, selector: str, namespaces: tuple[str, ...]
    ) -> Iterator[Body]:
        for namespace in namespaces or ("",):
            where = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
            query = f"{where}?labelSelector={quote(selector)}&limit={PAGE}"
            more = ""
            while True:
                answer = self._request("GET", query + more)
                yield from answer["items"]
                token = answer.get("metadata", {}).get("continue")
                if not token:
                    break
                more = f"&continue={quote(token)}"

    def create(self, manifest: Mapping[str, Any]) -> str:
        """As gilder.reconcile.ports.Jobs."""
        meta = manifest["metadata"]
        name, path = str(meta["name"]), _jobs(meta["namespace"])
        with _cluster_errors():
            try:
                self._request("POST", path, manifest)
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                known = self._request("GET", f"{path}/{name}")["metadata"].get("labels") or {}
                if known.get(LABEL_BUILD) != meta["labels"][LABEL_BUILD]:
                    raise ClusterError(
                        f"there is another Job of that name; delete Job {name}", permanent=True
                    ) from None
        return name

    def delete(self, namespace: str, name: str) -> None:
        """As gilder.reconcile.ports.Jobs."""
        with _cluster_errors(gone=True):
            self._request(
                "DELETE",
                f"{_jobs(namespace)}/{name}?propagationPolicy=Background",
            )

    def log(self, namespace: str, name: str) -> str:
        """As gilder.reconcile.ports.Jobs."""
        with _cluster_errors():
            query = f"labelSelector={quote(f'job-name={name}')}"
            pods = self._request("GET", f"/api/v1/namespaces/{namespace}/pods?{query}")["items"]
            failed = [p for p in pods if p.get("status", {}).get("phase") == "Failed"]
            last = max(
                failed or pods, key=lambda p: p["metadata"].get("creationTimestamp") or "",
                default=None,
            )  # fmt: skip
            if last is None:
                return ""
            containers = last["spec"].get("containers") or [{}]
            failing = _failing(last) or containers[-1].get("name", "")
            path = f"/api/v1/namespaces/{namespace}/pods/{last['metadata']['name']}/log"
            return self._text(f"{path}?container={quote(failing)}&tailLines={LOG_LINES}").strip()

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Lease, or None."""
        try:
            found: dict[str, Any] = self._request("GET", f"{_leases(namespace)}/{name}")
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def put_lease(self, namespace: str, name: str, body: dict[str, Any]) -> None:
        """Create a Lease, or replace it unless somebody else wrote it since it was read."""
        if body["metadata"].get("resourceVersion"):
            self._request("PUT", f"{_leases(namespace)}/{name}", body)
        else:
            self._request("POST", _leases(namespace), body)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A call without the generated models, which cost 70 MiB and two seconds to import."""
        return json.loads(self._send(method, path, body, "application/json"))

    def _text(self, path: str) -> str:
        return self._send("GET", path, None, "*/*").decode(errors="replace")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, accept: str) -> bytes:
        headers = {"Accept": accept}
        headers["Content-Type"] = MERGE if method == "PATCH" else "application/json"
        request = self._api.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer = self._api.call_api(*request, _request_timeout=TIMEOUT)
        data: bytes = answer.read()
        if not 200 <= answer.status < 300:
            raise ApiException(status=answer.status, reason=_reason(data) or answer.reason)
        return data


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _owned_by(body: Body, golden: str) -> bool:
    owners = body["metadata"].get("ownerReferences") or []
    return any(o.get("kind") == "GoldenImage" and o.get("name") == golden for o in owners)


def _reason(data: bytes) -> str:
    """What a Status object says; empty where the answer is none."""
    try:
        return str(json.loads(data).get("message") or "")[:500]
    except (ValueError, AttributeError):
        return ""


def _refused(error: ApiException) -> ClusterError:
    """Invalid, forbidden and the like need a person; all else may pass."""
    told = f"Kubernetes says {error.status}: {error.reason}"
    permanent = error.status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    )
    return ClusterError(told, permanent=permanent)


@contextmanager
def _cluster_errors(*, gone: bool = False) -> Iterator[None]:
    """ClusterError for what goes wrong; with `gone` a 404 is none."""
    try:
        yield
    except ApiException as error:
        if not gone or error.status != HTTPStatus.NOT_FOUND:
            raise _refused(error) from None
    except HTTPError as error:
        raise ClusterError(str(error), permanent=False) from None


def _failing(pod: Mapping[str, Any]) -> str:
    """The container that ended a pod, init containers first."""
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            ended = (container.get("state") or {}).get("terminated") or {}
            if ended.get("exitCode"):
                return str(container.get("name", ""))
    return ""


def _leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes `after` of `before`; empty when they agree."""
    change: dict[str, Any] = {k: None for k in before if k not in after}
    for key, value in after.items():
        if key not in before:
            change[key] = copy.deepcopy(value)
        elif isinstance(value, Mapping) and isinstance(before[key], Mapping):
            if inner := merge_patch(before[key], value):
                change[key] = inner
        elif before[key] != value:
            change[key] = copy.deepcopy(value)
    return change
