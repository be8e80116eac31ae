"""The sandbox's controllers as clients: plain HTTP, so that they work with a real API too."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from typing import Any

import requests

from gilder.sandbox.kubernetes.store import Object

# The emulation neither counts nor fails what carries this name: tests do that to the operator.
AGENT = "gilder-sandbox-controllers"

_TIMEOUT = 30
_WATCH_SECONDS = 30


class RefusedError(Exception):
    """The API answered with an error."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.message = message


class Client:
    """The verbs over resources such as `batch/v1/jobs`; may be used from any thread."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.mount(url, requests.adapters.HTTPAdapter(pool_maxsize=64))
        # Proxies and CA bundles of the environment do not apply to the loopback interface.
        self._session.trust_env = False
        self._session.verify = False
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["User-Agent"] = AGENT

    def every(self, resource: str, labels: str = "") -> list[Object]:
        """The objects of all namespaces."""
        answer = self._send("GET", self._path(resource), params={"labelSelector": labels})
        group = resource.rsplit("/", 1)[0]
        # Items of a list do not say what they are.
        return [{"apiVersion": group, **item} for item in answer["items"]]

    def find(self, resource: str, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        try:
            return self._send("GET", self._path(resource, namespace, name))
        except RefusedError as refusal:
            if refusal.code == 404:
                return None
            raise

    def create(self, resource: str, namespace: str, body: Object) -> Object:
        return self._send("POST", self._path(resource, namespace), json=body)

    def put_status(self, resource: str, obj: Object) -> Object:
        """Replace the status, if nobody has changed the object meanwhile."""
        path = self._path(resource, *_key(obj)) + "/status"
        return self._send("PUT", path, json=obj)

    def merge(self, resource: str, obj: Object, patch: Any, subresource: str = "") -> Object:
        path = self._path(resource, *_key(obj)) + (f"/{subresource}" if subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._send("PATCH", path, data=json.dumps(patch), headers=headers)

    def delete(self, resource: str, obj: Object, **options: Any) -> None:
        """Delete this very object; it is no error when it is gone already."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": obj["metadata"]["uid"]},
            **options,
        }
        try:
            self._send("DELETE", self._path(resource, *_key(obj)), json=body)
        except RefusedError as refusal:
            if refusal.code not in (404, 409):
                raise

    def watch(self, resource: str, labels: str = "") -> Iterator[None]:
        """Yields whenever something may have changed, until the server ends the watch."""
        params: dict[str, str] = {
            "watch": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
            "labelSelector": labels,
        }
        timeout = (_TIMEOUT, _WATCH_SECONDS + _TIMEOUT)
        url = self._url + self._path(resource)
        with self._session.get(url, params=params, stream=True, timeout=timeout) as answer:
            answer.raise_for_status()
            for _ in answer.iter_lines():
                yield

    def tell(self, obj: Object, kind: str, reason: str, message: str, source: str) -> None:
        """An Event about an object; one that cannot be written is left out."""
        metadata = obj["metadata"]
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}."[:200]},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": "Job" if obj["apiVersion"] == "batch/v1" else "Pod",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "reportingComponent": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        with contextlib.suppress(RefusedError, requests.RequestException):
            self.create("v1/events", metadata["namespace"], event)

    def _path(self, resource: str, namespace: str = "", name: str = "") -> str:
        version, plural = resource.rsplit("/", 1)
        root = f"/{'apis' if '/' in version else 'api'}/{version}"
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{inside}/{plural}" + (f"/{name}" if name else "")

    def _send(self, method: str, path: str, **more: Any) -> Object:
        answer = self._session.request(method, self._url + path, timeout=_TIMEOUT, **more)
        if answer.ok:
            found: Object = answer.json()
            return found
        try:
            status = answer.json()
        except ValueError:
            status = {}
        reason, message = status.get("reason", ""), status.get("message", answer.text)
        raise RefusedError(answer.status_code, reason, message)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
