"""The few fields of Kubernetes object metadata that decisions depend on."""

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from gilder.api.base import ApiModel
from gilder.api.names import ABANDON, PAUSED, RECONCILE_NOW, REQUESTED_AT


class Metadata(ApiModel):
    """Subset of `metadata`; everything else is ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    deletion_timestamp: str | None = None

    @property
    def key(self) -> str:
        """`<namespace>/<name>`, as in the ownership tag."""
        return f"{self.namespace}/{self.name}"

    @property
    def deleting(self) -> bool:
        return self.deletion_timestamp is not None

    @property
    def paused(self) -> bool:
        return self.annotations.get(PAUSED, "").lower() == "true"

    @property
    def abandoned(self) -> bool:
        return self.deleting and self.annotations.get(ABANDON, "").lower() == "true"

    @property
    def reconcile_request(self) -> str | None:
        """The value of reconcile-now or of Flux's requestedAt; a new value asks for a run."""
        parts = [self.annotations.get(k) for k in (RECONCILE_NOW, REQUESTED_AT)]
        return " ".join(p for p in parts if p) or None
