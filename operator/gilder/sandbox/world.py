"""A whole world on this machine: local AWS, Kubernetes API, CRDs and the operator, for people
and for tests."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from gilder.api.crd import crds
from gilder.sandbox.aws.seed import Seeded, seed
from gilder.sandbox.aws.server import SandboxAws, start_aws
from gilder.sandbox.baking import bake
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.jobs import Jobs
from gilder.sandbox.kubernetes.manifests import apply, install_crds
from gilder.sandbox.process import OperatorProcess

SAMPLE_ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-sandbox0000"
SAMPLE_UNIT = "arn:aws:organizations::123456789012:ou/o-sandbox0000/ou-sand-workloads"


class World:
    """Everything started and the CRDs installed; the operator is started apart.

    With `events` there is a queue of what is done in AWS, in the `event_accounts` too.
    """

    def __init__(
        self,
        directory: Path,
        *,
        image_delay: float = 0.0,
        settings: Mapping[str, str] | None = None,
        emulate: bool = False,
        events: bool = False,
        event_accounts: Iterable[str] = (),
        aws: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.aws: SandboxAws = start_aws(image_delay=image_delay, **(aws or {}))
        try:
            self.seeded: Seeded = seed(self.aws)
            self.queue_url = self.aws.events(accounts=event_accounts) if events else ""
            self.cluster: Cluster = start_cluster(directory, emulate=emulate)
        except BaseException:
            self.aws.stop()
            raise
        install_crds(self.cluster, _crds())
        self.jobs = Jobs(self.cluster)
        self.jobs.behave(".*", bake(self.aws))
        self.jobs.start()
        self.operator = OperatorProcess(
            directory / "operator.log", self.operator_env(settings or {})
        )

    def operator_env(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Environment of an operator of this world; `settings` are GILDER_ names without prefix."""
        given = {
            "REGION": "eu-west-1",
            "RESYNC_SECONDS": "5",
            "POLL_SECONDS": "0.5",
            "API_RATE": "0",
            "METRICS_PORT": "0",
            "HEALTH_PORT": "0",
            "LISTEN": "127.0.0.1",
            "EVENT_QUEUE_URL": self.queue_url,
            **settings,
        }
        return {
            **self.aws.client_env(region="eu-west-1"),
            "KUBECONFIG": str(self.cluster.kubeconfig.resolve()),
            **{f"GILDER_{k}": v for k, v in given.items()},
        }

    def apply(self, *documents: dict[str, Any]) -> None:
        apply(self.cluster, list(documents))

    def apply_samples(self) -> list[dict[str, Any]]:
        """The packaged samples, with the organization and OU that this world has."""
        seeded = self.seeded
        documents = [_namespace("images"), *samples(seeded.organization_arn, seeded.unit_arn)]
        self.apply(*documents)
        return documents

    def stop(self) -> None:
        self.operator.stop()
        self.jobs.stop()
        self.cluster.stop()
        self.aws.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


_crds = cache(crds)


def samples(
    organization: str = SAMPLE_ORGANIZATION, unit: str = SAMPLE_UNIT
) -> list[dict[str, Any]]:
    """Every document of the packaged manifests."""
    folder = resources.files("gilder.sandbox") / "manifests"
    documents: list[dict[str, Any]] = []
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        text = file.read_text().replace(SAMPLE_ORGANIZATION, organization)
        text = text.replace(SAMPLE_UNIT, unit)
        documents += [d for d in yaml.safe_load_all(text) if d]
    return documents


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
