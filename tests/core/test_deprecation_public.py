"""AWS deprecates every public AMI two years after its creation, and lets nobody change that."""

from dataclasses import replace
from datetime import timedelta

import pytest
from planworld import HOME, NOW, ours, view, wanted, world
from pydantic import ValidationError

from gilder.api.lifecycle import Retention
from gilder.core.actions import DeprecateImage
from gilder.core.observed import Image
from gilder.core.plan import Draft
from gilder.core.retention import Standing, plan_retention
from gilder.core.times import moment, rfc3339
from gilder.core.wanted import Memory

OLD, NEW = ours(1, version=1), ours(2, version=2, fingerprint="f2")


def public(image: Image) -> Image:
    return replace(image, deprecated_at=rfc3339(moment(image.created) + timedelta(days=731)))


def deprecations(*images: Image, after: str) -> list[DeprecateImage]:
    draft = Draft()
    want = wanted(Memory(latest=2, highest=2), retention={"deprecateAfter": after})
    seen, standing = world(view(HOME, list(images))), Standing(released=2, candidate=2)
    plan_retention(want, images, seen, standing, {}, NOW, draft)
    return [a for a in draft.actions if isinstance(a, DeprecateImage)]


def test_the_released_one_keeps_what_aws_set() -> None:
    assert deprecations(OLD, public(NEW), after="900d")[0].image == OLD.id
    assert NEW.id not in {a.image for a in deprecations(OLD, public(NEW), after="900d")}


def test_a_date_of_somebody_else_is_taken_off_the_released_one() -> None:
    by_hand = replace(NEW, deprecated_at=rfc3339(NOW + timedelta(days=30)))
    assert DeprecateImage(region=HOME, image=NEW.id) in deprecations(by_hand, after="30d")


def test_a_superseded_one_is_deprecated_earlier_and_not_later() -> None:
    assert deprecations(public(OLD), NEW, after="900d") == []
    (earlier,) = deprecations(public(OLD), NEW, after="400d")
    assert moment(earlier.at) < moment(OLD.created) + timedelta(days=730)


def test_a_wish_for_two_years_is_no_date_of_aws() -> None:
    assert DeprecateImage(region=HOME, image=NEW.id) in deprecations(OLD, public(NEW), after="730d")


def test_more_than_ten_years_is_refused() -> None:
    with pytest.raises(ValidationError, match="ten years"):
        Retention.model_validate({"deprecateAfter": "3651d"})
    Retention.model_validate({"deprecateAfter": "3650d"})
