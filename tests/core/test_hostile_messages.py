"""Messages of the event queue that anybody might have written, and what fuzzing them has found."""

import json

import pytest
from hostilemessages import HOSTILE_BODIES, SAMPLES, bodies, check_message
from hypothesis import HealthCheck, given, settings
from planworld import FOREIGN


@settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(bodies())
def test_any_message_is_taken_from_the_queue(body: str) -> None:
    check_message(body)


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=range(len(HOSTILE_BODIES)))
def test_what_is_no_event_is_ignored(body: str) -> None:
    assert check_message(body) == "ignored"


@pytest.mark.parametrize(
    "event", SAMPLES, ids=lambda e: e["detail"].get("eventName") or e["source"]
)
def test_a_strange_account_touches_nothing(event: dict[str, object]) -> None:
    """A parameter's name, which anybody may give to one of theirs, was enough."""
    check_message(json.dumps({**event, "account": FOREIGN}))
