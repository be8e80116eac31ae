"""`gilder plan` beside a running world: it tells what comes, and touches nothing."""

import json
import os
import subprocess

import yaml
from stage import DR, ENCRYPTED, HOME, REPLICATED, STRANGER, A, B, Stage
from systemworld import Object, golden, share

from gilder.sandbox.process import command

Run = subprocess.CompletedProcess[str]


def plan(stage: Stage, *documents: Object, output: str = "json", **env: str) -> Run:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GILDER_"))}
    return command(
        ["plan", "-", "-o", output],
        {**clean, **stage.aws.client_env(), **env},
        yaml.safe_dump_all(documents),
    )


def actions(done: Run) -> list[Object]:
    return [a for r in json.loads(done.stdout)["resources"] for a in r["actions"]]


def test_what_is_planned_is_what_happens(stage: Stage) -> None:
    """Every action of the plan becomes a call, and there is no call that was not planned."""
    documents = [golden(**REPLICATED), share(accounts=[A, B])]
    done = plan(stage, *documents)
    assert done.returncode == 2, done.stderr
    planned = [(a["action"], a["region"]) for a in actions(done)]
    assert stage.changes() == {}
    stage.start()
    stage.apply(*documents)
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    names = {"ModifyImageAttribute": "ModifyLaunchPermission"}
    happened = [
        (names.get(k.action, k.action), k.region)
        for k in stage.aws.requests.history()
        if k.action in ("CopyImage", "CreateGrant", "ModifyImageAttribute", "CreateTags")
    ]
    assert sorted(happened) == sorted(planned)
    assert sum(stage.changes().values()) == len(planned)
    assert plan(stage, *documents).returncode == 0


def test_a_plan_of_an_edit_names_only_what_differs(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    stage.aws.requests.reset()
    edited = [golden(tags={"team": "b"}, **REPLICATED), share(accounts=[A, B])]
    found = actions(plan(stage, *edited))
    told = {(a["action"], a["region"]) for a in found}
    assert told == {
        ("CopyImage", DR),
        ("TagResources", HOME),
        ("CreateGrant", HOME),
        ("CreateGrant", DR),
        ("ModifyLaunchPermission", HOME),
        ("ModifyLaunchPermission", DR),
    }
    (opened,) = [
        a for a in found if a["action"] == "ModifyLaunchPermission" and a["region"] == HOME
    ]
    assert (opened["image"], opened["add"]) == (image, [B])
    # A stranger is told as well, by the plan of the share that would remove it.
    stage.aws.client("ec2").modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": STRANGER}]}
    )
    text = plan(stage, golden(**ENCRYPTED), share(accounts=[A]), output="text")
    assert text.returncode == 2
    assert f"stop {STRANGER} from launching {image}" in text.stdout
    assert "Plan: 1 changes, 0 problems, 2 resources." in text.stdout
    assert stage.users(image) == {A, STRANGER}


def test_a_plan_that_cannot_be_made_says_why(stage: Stage) -> None:
    bad = share(accounts=["12"])
    done = plan(stage, golden(region="mars"), bad)
    assert done.returncode == 1
    assert "GoldenImage images/base: spec.region" in done.stderr
    assert "ImageShare images/team: spec.accounts[0]" in done.stderr
    assert done.stdout == ""
    # AWS out of reach: told as a problem of each resource, without a traceback.
    done = plan(stage, golden(), AWS_ENDPOINT_URL="http://127.0.0.1:9", output="text")
    assert done.returncode == 1
    assert "AWSUnavailable" in done.stdout
    assert "Traceback" not in done.stderr
    assert stage.changes() == {}
