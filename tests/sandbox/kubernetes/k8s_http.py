"""An HTTP client for tests, with paths instead of URLs."""

import json
from collections.abc import Iterator
from typing import Any

import requests

from gilder.sandbox.kubernetes.cluster import Cluster


class Client:
    """HTTP to the cluster with paths instead of URLs."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.session = requests.Session()
        self.session.trust_env = False

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        more.setdefault("timeout", 15)
        return self.session.request(method, self.cluster.url + path, **more)

    def ok(self, method: str, path: str, **more: Any) -> Any:
        response = self(method, path, **more)
        assert response.ok, response.text
        return response.json()

    def refused(self, code: int, method: str, path: str, **more: Any) -> dict[str, Any]:
        response = self(method, path, **more)
        assert response.status_code == code, response.text
        status: dict[str, Any] = response.json()
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)
        return status

    def merge(self, path: str, patch: Any, **more: Any) -> requests.Response:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self("PATCH", path, json=patch, headers=headers, **more)

    def json_patch(self, path: str, operations: Any) -> requests.Response:
        headers = {"Content-Type": "application/json-patch+json"}
        return self("PATCH", path, json=operations, headers=headers)

    def watch(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Events of a watch, until the server ends it."""
        query = {"watch": "true", "timeoutSeconds": 10, **params}
        with self("GET", path, params=query, stream=True) as response:
            assert response.status_code == 200, response.text
            for line in response.iter_lines():
                yield json.loads(line)
