"""The operator killed at any time and started again makes nothing twice."""

import threading
from collections import Counter

import pytest
from systemworld import System, golden, share

A, B = "222222222222", "333333333333"
HOME, DR = "eu-west-1", "us-east-1"


def documents() -> list[dict[str, object]]:
    replicas = [{"region": DR, "kmsKeyId": "alias/golden"}]
    encrypted = {"encryption": {"kmsKeyId": "alias/golden"}, "replicas": replicas}
    captured = {"source": {"instance": {"tags": {"Name": "builder"}}}, **encrypted}
    return [
        golden("base", **encrypted),
        golden("captured", **captured),
        share("team", "base", accounts=[A, B]),
    ]


def nothing_twice(system: System) -> None:
    for region in (HOME, DR):
        slots = Counter(
            tuple(
                t["Value"]
                for t in sorted(i["Tags"], key=lambda t: t["Key"])
                if t["Key"].rsplit("/")[-1] in ("image", "version", "role")
            )
            for i in system.owned(region)
        )
        assert slots
        assert set(slots.values()) == {1}, slots
        names = Counter(g["Name"] for g in system.grants(region))
        assert set(names.values()) == {1}, names


@pytest.mark.parametrize("call", [2, 5, 9])
def test_killed_after_a_changing_call(system: System, call: int) -> None:
    """Killed right after the nth changing call has taken effect. tests/reliability has more."""
    struck = threading.Event()
    seen = 0

    def strike(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == call:
            system.world.operator.kill()
            struck.set()

    changing = "(CreateTags|CopyImage|CreateImage|CreateGrant|ModifyImageAttribute|Deregister.*)"
    handle = system.aws.faults.after(changing, strike)
    system.start()
    system.apply(*documents())
    assert struck.wait(20), system.world.operator.tail()
    handle.remove()
    system.start()
    system.wait_ready("GoldenImage", "base", "captured")
    system.wait_ready("ImageShare", "team")
    nothing_twice(system)
    system.wait(
        lambda: not system.owned(HOME, role="intermediate"), "what was made on the way removed"
    )
    # And once all is well, a restart changes nothing.
    system.world.operator.kill()
    system.aws.requests.reset()
    system.start()
    system.wait(lambda: system.aws.requests.total("ListGrants") >= 2, "a look at everything")
    system.annotate("ImageShare", "team", **{"goldenimage.dev__reconcile-now": "after"})
    system.wait(
        lambda: system.get("ImageShare", "team")["status"].get("lastHandledReconcileAt") == "after",
        "another pass",
    )
    assert system.changes() == {}


def test_sigterm_ends_the_operator_in_order(system: System) -> None:
    system.start()
    system.apply(*documents())
    system.wait_ready("GoldenImage", "base")
    assert system.world.operator.stop(20) == 0
    lines = system.world.operator.log.read_text().splitlines()
    # kopf's watch is a generator of generators, which Python sometimes complains of when it ends.
    ours = [line for line in lines if "infinite_watch" not in line]
    assert not [line for line in ours if "Traceback" in line]
