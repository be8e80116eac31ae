"""The custom resources as pydantic models: the one source of the API and of crds/*.yaml."""

from gilder.api.conditions import Condition, ConditionType
from gilder.api.goldenimage import GoldenImage, GoldenImageSpec, GoldenImageStatus
from gilder.api.imageshare import ImageShare, ImageShareSpec, ImageShareStatus
from gilder.api.names import (
    FINALIZER,
    GROUP,
    PAUSED,
    RECONCILE_NOW,
    REQUESTED_AT,
    VERSION,
)
from gilder.api.parse import SpecError, parse_object

__all__ = [
    "FINALIZER",
    "GROUP",
    "PAUSED",
    "RECONCILE_NOW",
    "REQUESTED_AT",
    "VERSION",
    "Condition",
    "ConditionType",
    "GoldenImage",
    "GoldenImageSpec",
    "GoldenImageStatus",
    "ImageShare",
    "ImageShareSpec",
    "ImageShareStatus",
    "SpecError",
    "parse_object",
]
