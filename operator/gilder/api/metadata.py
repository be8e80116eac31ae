"""The few fields of Kubernetes object metadata that decisions depend on."""

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from gilder.api.base import ApiModel
from gilder.api.names import (
    ABANDON,
    APPROVE,
    PAUSED,
    PROMOTE,
    REBUILD,
    RECONCILE_NOW,
    REJECT,
    REQUESTED_AT,
)


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
    creation_timestamp: str | None = None
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

    @property
    def rebuild_request(self) -> str | None:
        """The value of rebuild; a new value asks for a build."""
        return self.annotations.get(REBUILD) or None

    @property
    def approved(self) -> int:
        """The version that approve names, or 0."""
        return _number(self.annotations.get(APPROVE, ""))

    @property
    def rejected(self) -> int:
        """The version that reject names, or 0."""
        return _number(self.annotations.get(REJECT, ""))

    @property
    def promoted(self) -> int:
        """The version that promote names, or 0."""
        return _number(self.annotations.get(PROMOTE, ""))


def _number(text: str) -> int:
    text = text.strip().removeprefix("v")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
