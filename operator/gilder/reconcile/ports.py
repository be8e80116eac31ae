"""What reconciles need of Kubernetes, as the handlers offer it."""

from collections.abc import Mapping
from typing import Any, Protocol

from gilder.core.actions import PutConfigMap, ReleaseConfigMap


class ClusterError(Exception):
    """The Kubernetes API refused, or is out of reach; `permanent` when a person must act."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class NotOursError(ClusterError):
    """An object of that name is there which is not ours."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


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


class PublishedMaps(Protocol):
    """ConfigMaps that tell released versions, with the label goldenimage.dev/image.

    Every call may raise ClusterError.
    """

    def put(self, action: PutConfigMap) -> None:
        """Create or change one. Raises NotOursError when there is one of that name without it."""

    def remove(self, namespace: str, name: str, uid: str) -> None:
        """Delete one of ours; one that is gone is no error."""

    def release(self, action: ReleaseConfigMap) -> None:
        """Take the owner off one of ours; one that is gone is no error."""


class NoPublishedMaps:
    """Where there is no Kubernetes to write to."""

    def put(self, action: PutConfigMap) -> None:
        name = action.manifest["metadata"]["name"]
        raise ClusterError(f"ConfigMap {name} cannot be written here", permanent=True)

    def remove(self, namespace: str, name: str, uid: str) -> None:  # noqa: ARG002
        raise ClusterError(f"ConfigMap {namespace}/{name} cannot be deleted here", permanent=True)

    def release(self, action: ReleaseConfigMap) -> None:
        raise ClusterError(f"ConfigMap {action.name} cannot be changed here", permanent=True)
