"""Label and field selectors."""

import pytest

from gilder.sandbox.kubernetes.errors import ApiError
from gilder.sandbox.kubernetes.kinds import EVENT, NAMESPACE
from gilder.sandbox.kubernetes.selectors import field_predicate, label_predicate

LABELLED = {"metadata": {"labels": {"app": "web", "tier": "front", "n": "5", "a.b/c": "x"}}}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("app!=db", True),
        ("missing!=x", True),
        ("missing=x", False),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db,cache)", True),
        ("missing notin (x)", True),
        ("missing in (x)", False),
        ("app in (web),tier=front", True),
        ("app in (web, db),tier=back", False),
        ("a.b/c=x", True),
        ("n>4", True),
        ("n<4", False),
    ],
)
def test_label_selectors(selector: str, expected: bool) -> None:
    assert label_predicate(selector)(LABELLED) is expected


@pytest.mark.parametrize("selector", ["app in web", "=x", "a b", "app in (a"])
def test_label_selectors_that_do_not_parse(selector: str) -> None:
    with pytest.raises(ApiError) as refusal:
        label_predicate(selector)
    assert refusal.value.code == 400


def test_field_selectors_over_events() -> None:
    event = {
        "metadata": {"name": "e", "namespace": "d"},
        "involvedObject": {"kind": "GoldenImage", "name": "web", "uid": "1"},
        "type": "Warning",
    }
    assert field_predicate("involvedObject.name=web,involvedObject.uid=1", EVENT)(event)
    assert field_predicate("metadata.namespace=d,type!=Normal", EVENT)(event)
    assert not field_predicate("involvedObject.kind=ImageShare", EVENT)(event)


def test_field_selectors_beyond_the_supported_ones_are_refused() -> None:
    with pytest.raises(ApiError, match=r'field label not supported: "spec\.x"') as refusal:
        field_predicate("spec.x=1", NAMESPACE)
    assert refusal.value.code == 400
