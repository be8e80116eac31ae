"""Label selectors, as Kubernetes understands them."""

from typing import Any

import pytest
from pydantic import ValidationError

from gilder.api.imageshare import LabelSelector

LABELS = {"os": "al2023", "tier": "gold", "empty": ""}


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("selector", "want"),
    [
        ({"matchLabels": {"os": "al2023"}}, True),
        ({"matchLabels": {"os": "al2023", "tier": "gold"}}, True),
        ({"matchLabels": {"os": "al2023", "tier": "silver"}}, False),
        ({"matchLabels": {"missing": ""}}, False),
        ({"matchLabels": {"empty": ""}}, True),
        ({"matchExpressions": [requirement("os", "In", "al2", "al2023")]}, True),
        ({"matchExpressions": [requirement("os", "In", "al2")]}, False),
        ({"matchExpressions": [requirement("missing", "In", "al2")]}, False),
        ({"matchExpressions": [requirement("os", "NotIn", "al2")]}, True),
        ({"matchExpressions": [requirement("os", "NotIn", "al2023")]}, False),
        ({"matchExpressions": [requirement("missing", "NotIn", "x")]}, True),
        ({"matchExpressions": [requirement("empty", "Exists")]}, True),
        ({"matchExpressions": [requirement("missing", "Exists")]}, False),
        ({"matchExpressions": [requirement("missing", "DoesNotExist")]}, True),
        ({"matchExpressions": [requirement("empty", "DoesNotExist")]}, False),
        (
            {
                "matchLabels": {"os": "al2023"},
                "matchExpressions": [requirement("tier", "NotIn", "gold")],
            },
            False,
        ),
        (
            {
                "matchExpressions": [
                    requirement("tier", "Exists"),
                    requirement("missing", "DoesNotExist"),
                ]
            },
            True,
        ),
    ],
)
def test_matches(selector: dict[str, Any], want: bool) -> None:
    assert LabelSelector.model_validate(selector).matches(LABELS) is want


@pytest.mark.parametrize("empty", [{}, {"matchLabels": {}}, {"matchExpressions": []}])
def test_an_empty_selector_is_refused(empty: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="selects nothing"):
        LabelSelector.model_validate(empty)
