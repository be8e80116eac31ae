"""kubeconfig files for kubectl and kopf."""

from pathlib import Path
from typing import Any

import yaml

CONTEXT = "sandbox"


def kubeconfig(url: str, *, token: str, insecure: bool = False) -> dict[str, Any]:
    """A kubeconfig with one cluster, one user and one context."""
    cluster: dict[str, Any] = {"server": url}
    if insecure:
        cluster["insecure-skip-tls-verify"] = True
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [
            {
                "name": CONTEXT,
                "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"},
            }
        ],
        "current-context": CONTEXT,
    }


def write(path: Path, config: dict[str, Any]) -> Path:
    """Write it readable by its owner only: it holds a token."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
