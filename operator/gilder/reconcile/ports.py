"""What reconciles need of Kubernetes, as the handlers offer it."""

from collections.abc import Mapping
from typing import Any, Protocol


class ClusterError(Exception):
    """The Kubernetes API refused, or is out of reach; `permanent` when a person must act."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class Jobs(Protocol):
    """Kubernetes Jobs. Every call may raise ClusterError."""

    def create(self, manifest: Mapping[str, Any]) -> str:
        """Create a Job; its name. One of that name which is there already is the same one."""

    def delete(self, namespace: str, name: str) -> None:
        """Delete a Job with its pods; one that is gone is no error."""

    def log(self, namespace: str, name: str) -> str:
        """The end of the log of the Job's last pod; empty when there is none to be had."""


class NoJobs:
    """Where Jobs are switched off."""

    def create(self, manifest: Mapping[str, Any]) -> str:
        raise ClusterError(
            f"Job {manifest['metadata']['name']} is not created: GILDER_JOBS is off", permanent=True
        )

    def delete(self, namespace: str, name: str) -> None:
        raise ClusterError(
            f"Job {namespace}/{name} is not deleted: GILDER_JOBS is off", permanent=True
        )

    def log(self, namespace: str, name: str) -> str:  # noqa: ARG002
        return ""


class ConfigMaps(Protocol):
    """ConfigMaps with the label goldenimage.dev/accounts: "true"."""

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of one, None when there is none. May raise ClusterError."""


class NoConfigMaps:
    """Where there is no Kubernetes to ask."""

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        raise ClusterError(f"ConfigMap {namespace}/{name} cannot be read here", permanent=True)
