"""`gilder doctor` as a user runs it: against a whole world, and with what is denied there."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from systemworld import System, golden

from gilder.sandbox.process import command

HOME = "eu-west-1"


def run(system: System, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GILDER_", "KUBE"))}
    world = {
        "HOME": "/nonexistent",
        "KUBECONFIG": str(system.world.cluster.kubeconfig.resolve()),
        "GILDER_REGION": HOME,
        **system.aws.client_env(),
    }
    return command(["doctor", *arguments], {**clean, **world, **env})


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {f["what"]: f for f in json.loads(done.stdout)["findings"]}


def test_all_is_well_and_nothing_is_changed(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    system.apply(golden(encryption={"kmsKeyId": "alias/golden"}))
    system.wait_ready("GoldenImage", "base")
    system.world.operator.stop()
    before = {r: system.owned(r) for r in (HOME, "eu-central-1")}
    grants = system.grants()
    done = run(system, "--key", "alias/golden", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = findings(done)
    assert found["credentials"]["said"].startswith("account 123456789012 as arn:aws:")
    assert found["clock"]["state"] == "ok"
    for part in ("main", "builds", "publishing", "sharing"):
        told = found[f"{HOME}: policy {part}"]
        assert told["state"] == "ok", told
    assert "kms:PutKeyPolicy" not in done.stdout
    assert "iam:PassRole" in found[f"{HOME}: policy builds, the rest"]["said"]
    assert found[f"{HOME}: KMS key alias/golden"]["state"] == "ok"
    assert found["CRD goldenimages.goldenimage.dev"]["state"] == "ok"
    assert found["role gilder"]["state"] == "ok"
    assert {r: system.owned(r) for r in before} == before
    assert system.grants() == grants


def test_what_is_denied_is_told_with_what_mends_it(system: System, tmp_path: Path) -> None:
    access = tmp_path / "access.yaml"
    access.write_text(
        "accounts:\n- id: '222222222222'\n  roles: "
        "[{arn: 'arn:aws:iam::222222222222:role/gilder-none'}]\n"
    )
    faults = [
        system.aws.faults.deny(a)
        for a in ("CopyImage", "ListImageRecipes", "kms:ListGrants", "AssumeRole")
    ]
    done = run(
        system,
        *("--key", "alias/golden", "-o", "json"),
        GILDER_ACCESS_FILE=str(access),
        GILDER_EVENT_QUEUE_URL="https://sqs.eu-west-1.amazonaws.com/123456789012/gilder-none",
        GILDER_LEASE="gilder-system/gilder",
    )
    assert done.returncode == 2, done.stdout + done.stderr
    found = findings(done)
    main = found[f"{HOME}: policy main"]
    assert (main["state"], "not allowed: ec2:CopyImage" in main["said"]) == ("fail", True)
    assert "gilder iam-policy --part main" in main["fix"]
    builds = found[f"{HOME}: policy builds"]
    assert builds["state"] == "warn"
    assert "imagebuilder:ListImageRecipes" in builds["said"]
    assert found[f"{HOME}: KMS key alias/golden"]["said"] == "not allowed: kms:ListGrants"
    assert found["account 222222222222"]["state"] == "fail"
    assert found["queue of events"]["state"] == "fail"
    assert found["lease gilder-system/gilder"]["state"] == "warn"
    for fault in faults:
        fault.remove()
    # What is asked for by name must be there.
    system.aws.faults.deny("ListImageRecipes")
    strict = run(system, "--part", "builds", "--no-cluster", "-o", "json")
    assert strict.returncode == 2
    assert findings(strict)["KMS keys"]["state"] == "unknown"
    assert findings(strict)[f"{HOME}: policy builds"]["state"] == "fail"
    assert "CRD" not in strict.stdout


def test_settings_credentials_and_usage(system: System, tmp_path: Path) -> None:
    access = tmp_path / "access.yaml"
    access.write_text("nonsense: 1")
    system.aws.faults.deny("GetCallerIdentity")
    done = run(system, "--no-cluster", GILDER_WORKERS="many", GILDER_ACCESS_FILE=str(access))
    assert done.returncode == 2
    assert "fail    settings: GILDER_WORKERS" in done.stdout
    assert "fail    settings: GILDER_ACCESS_FILE: nonsense: unknown field" in done.stdout
    assert "fail    aws: credentials" in done.stdout
    assert "Traceback" not in done.stderr
    away = run(system, KUBECONFIG="/no/such", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert away.returncode == 2
    assert "fail    kubernetes: cluster" in away.stdout
    assert "Traceback" not in away.stderr
    for arguments, text in ((("-o", "yaml"), "text or json"), (("--part", "x"), "use main")):
        wrong = run(system, *arguments)
        assert (wrong.returncode, text in wrong.stderr) == (1, True)
