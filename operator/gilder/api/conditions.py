"""Kubernetes conditions, kstatus style: Reconciling and Stalled exist only while True."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from gilder.api.base import ApiModel


class ConditionType(StrEnum):
    """Condition types of both kinds."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SYNCED = "Synced"
    SOURCE_RESOLVED = "SourceResolved"
    BUILD_SUCCEEDED = "BuildSucceeded"
    GATES_PASSED = "GatesPassed"
    RELEASED = "Released"
    REPLICAS_READY = "ReplicasReady"
    DR_STALE = "DRStale"
    PUBLISHED = "Published"
    IMAGES_RESOLVED = "ImagesResolved"
    KEY_ACCESS_READY = "KeyAccessReady"
    LISTS_READ = "ListsRead"
    ACCESS_EXPIRING = "AccessExpiring"
    VERIFIED_FROM_CONSUMER = "VerifiedFromConsumer"


class Condition(ApiModel):
    """One entry of `status.conditions`; times are RFC 3339 in UTC."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=64)]
    message: Annotated[str, Field(max_length=4096)] = ""
    observed_generation: int = 0
    last_transition_time: str
