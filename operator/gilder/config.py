"""The operator's settings: environment variables that start with GILDER_, checked at start."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gilder.api.access import AccessError, AccessFile, load
from gilder.api.imageshare import LabelSelector
from gilder.core import selector


class Settings(BaseSettings):
    """Every setting with its default; `gilder run --help` offers the most used as options."""

    model_config = SettingsConfigDict(env_prefix="GILDER_", extra="ignore")

    cluster_name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
            description="Name of this cluster in ownership tags and grant names. Two operators on "
            "one AWS account need two names.",
        ),
    ] = "default"
    region: Annotated[
        str, Field(description="Region for account-wide calls: STS and DescribeRegions.")
    ] = "us-east-1"
    namespaces: Annotated[
        str, Field(description="Comma-separated namespaces to watch; empty: all of them.")
    ] = ""
    selector: Annotated[
        str,
        Field(
            description="Label selector of the objects to work on, such as `shard=a` or "
            "`team in (a,b),!legacy`; all others are as if they did not exist; empty: all of them.",
        ),
    ] = ""
    access_file: Annotated[
        str,
        Field(
            description="Path of the access file: which namespace may use which AWS accounts and "
            "roles, and whom it may share with. Empty: none, so the account of the operator's "
            "credentials alone, for every namespace, and any principal.",
        ),
    ] = ""
    resync_seconds: Annotated[
        float, Field(ge=1, description="Seconds between sweeps that look for drift.")
    ] = 300.0
    poll_seconds: Annotated[
        float, Field(gt=0, description="Seconds between looks at AMIs that are being made.")
    ] = 15.0
    event_queue_url: Annotated[
        str,
        Field(
            pattern=r"^(https?://\S+)?$",
            description="URL of the SQS queue that EventBridge fills with what happens to AMIs and "
            "keys; empty: drift is looked for in sweeps alone.",
        ),
    ] = ""
    api_rate: Annotated[
        float,
        Field(
            ge=0,
            description="Factor on the operator's own limits of AWS requests per second; 1 leaves "
            "others about half of what AWS grants an account; 0: no limits.",
        ),
    ] = 1.0
    lease: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9-]+/[a-z0-9.-]+)?$",
            description="Lease `<namespace>/<name>` for leader election between replicas; empty: "
            "none, for a single replica.",
        ),
    ] = ""
    lease_seconds: Annotated[
        float,
        Field(ge=3, description="Seconds after which a leader that is gone is replaced."),
    ] = 30.0
    workers: Annotated[int, Field(ge=1, le=64, description="Reconciles at once.")] = 8
    max_builds: Annotated[
        int,
        Field(ge=1, le=1000, description="Builds of Image Builder and by Jobs at once."),
    ] = 10
    max_copies: Annotated[
        int,
        Field(
            ge=1,
            le=10000,
            description="Copies of AMIs at once into one Region of an account; the rest waits in a "
            "queue. AWS takes 300 unless the account's quota says otherwise.",
        ),
    ] = 300
    jobs: Annotated[
        bool,
        Field(
            description="Whether source.job may make Kubernetes Jobs. Whoever may write "
            "GoldenImages can then run pods in their namespace."
        ),
    ] = True
    metrics_port: Annotated[
        int, Field(ge=0, le=65535, description="Port of /metrics; 0: none.")
    ] = 9090
    health_port: Annotated[
        int, Field(ge=0, le=65535, description="Port of /healthz and /readyz; 0: none.")
    ] = 8080
    stuck_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds that one reconcile may take, or work may wait, or a sweep may be "
            "late, until /healthz fails and Kubernetes restarts the operator.",
        ),
    ] = 1800.0
    listen: Annotated[str, Field(description="Address of both ports.")] = "0.0.0.0"
    log_format: Annotated[Literal["json", "console"], Field(description="Log format.")] = "json"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Log level.")
    ] = "INFO"

    @field_validator("selector")
    @classmethod
    def _readable(cls, text: str) -> str:
        if text:
            selector.parse(text)
        return text

    @field_validator("access_file")
    @classmethod
    def _consistent(cls, path: str) -> str:
        if path:
            read_access(path)
        return path

    @property
    def label_selector(self) -> LabelSelector | None:
        """`selector`, parsed; None for all objects."""
        return selector.parse(self.selector) if self.selector else None

    def access(self) -> AccessFile | None:
        """The access file as it is now; None without one. Raises AccessError."""
        return read_access(self.access_file) if self.access_file else None

    @property
    def namespace_list(self) -> tuple[str, ...]:
        return tuple(n.strip() for n in self.namespaces.split(",") if n.strip())


def read_access(path: str) -> AccessFile:
    """The access file at a path. Raises AccessError, also when there is none to read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise AccessError(f"cannot be read: {error}") from None
    return load(text)
