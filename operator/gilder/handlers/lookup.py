"""The custom resources as they are now, for commands that look once and watch nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from gilder.handlers.kube import PLURALS, Kube
from gilder.handlers.store import Body
from gilder.reconcile.ports import ClusterError


def listed(namespaces: tuple[str, ...] = ()) -> list[Body]:
    """All objects of ours in these namespaces, or in all of them. Raises ClusterError."""
    with _told():
        kube = Kube()
        pages = (kube.pages(kind, namespaces) for kind in PLURALS)
        return [body for kind in pages for page in kind for body in page]


def account_lists() -> dict[tuple[str, str], dict[str, str]]:
    """ConfigMaps with account ids: namespace and name to the data. Raises ClusterError."""
    with _told():
        found = list(Kube().list_config_maps(()))
    return {
        (b["metadata"]["namespace"], b["metadata"]["name"]): dict(b.get("data") or {})
        for b in found
    }


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConfigException as error:
        raise ClusterError(f"no cluster to ask ({error}): set KUBECONFIG", permanent=True) from None
    except ApiException as error:
        told = f"Kubernetes says {error.status}: {error.reason}"
        raise ClusterError(told, permanent=error.status == 403) from None
    except HTTPError as error:
        raise ClusterError(f"Kubernetes is out of reach: {error}", permanent=False) from None
