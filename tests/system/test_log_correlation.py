"""What the operator logs of a reconcile that AWS refuses, and what it posts as Events."""

import json
import re

from systemworld import System, golden, share

A = "222222222222"


def test_a_refusal_can_be_followed_from_the_log_to_aws(system: System) -> None:
    system.aws.faults.deny("ModifyImageAttribute")
    system.start(RESYNC_SECONDS="1", LOG_FORMAT="json")
    system.apply(golden(), share(accounts=[A]))
    refused = system.wait_event("team", "AccessDenied")
    before = system.events("team", "AccessDenied")[0]["count"]
    system.annotate("ImageShare", "team", **{"goldenimage.dev__reconcile-now": "again"})
    system.wait(
        lambda: system.events("team", "AccessDenied")[0]["count"] > before + 1, "refused again"
    )
    system.world.operator.stop()

    lines = system.world.operator.log.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    of_share = [t for t in told if t.get("resource") == "ImageShare images/team"]
    assert of_share
    assert all(re.fullmatch(r"[0-9a-f]{12}", t["reconcile"]) for t in of_share)
    failures = [t for t in of_share if t.get("reason") == "AccessDenied"]
    assert len({t["reconcile"] for t in failures}) > 1
    assert all(f"(request {t['aws_request_id']})" in t["event"] for t in failures)

    # One trouble is one Event, however often it is met.
    assert len(system.events("team", "AccessDenied")) == 1
    assert "(request" not in refused["message"]
    secret = system.aws.client_env()["AWS_SECRET_ACCESS_KEY"]
    shown = "\n".join(lines)
    assert f"={secret}" not in shown
    assert system.world.cluster.token not in re.findall(r"[Bb]earer (\S+)", shown)
