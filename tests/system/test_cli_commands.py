"""`gilder plan` and `gilder sandbox` as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from systemworld import System, golden, share

from gilder.sandbox.process import command
from gilder.sandbox.world import samples

A = "222222222222"


def run(system: System, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GILDER_"))}
    return command([*arguments], {**clean, **system.aws.client_env()}, stdin)


def test_plan_shows_all_steps_then_nothing(system: System, tmp_path: Path) -> None:
    documents = samples(system.seeded.organization_arn, system.seeded.unit_arn)
    manifest = tmp_path / "all.yaml"
    manifest.write_text(yaml.safe_dump_all(documents))
    first = run(system, "plan", str(manifest))
    assert first.returncode == 2, first.stderr
    assert (
        first.stdout.count("+ copy ") == 5
    )  # home, two replicas; one of the capture; and for teams
    assert "create AMI images-build-host-v1 in eu-west-1" in first.stdout
    assert first.stdout.count("+ grant ") == 7  # 3 accounts at home, 2 in each replica
    found = json.loads(run(system, "plan", str(manifest), "-o", "json").stdout)
    opened = [
        a
        for r in found["resources"]
        for a in r["actions"]
        if a["action"] == "ModifyLaunchPermission"
    ]
    assert {a["region"] for a in opened} == {"eu-west-1", "eu-central-1", "us-east-1"}
    assert system.changes() == {}

    system.start()
    system.apply(*documents)
    system.wait_ready("GoldenImage", "base-linux", "build-host", "team-linux", "tools", "web")
    shares = ("workloads", "partner", "everyone-here", "web-teams", "unit", "listed")
    system.wait_ready("ImageShare", *shares)
    system.wait(lambda: not system.get("GoldenImage", "tools")["status"].get("build"), "built")
    system.aws.requests.reset()
    last = run(system, "plan", "-", stdin=manifest.read_text())
    assert last.returncode == 0, last.stdout + last.stderr
    assert last.stdout.count("nothing to do") == 11
    assert system.changes() == {}


def test_plan_tells_problems_and_drift(system: System) -> None:
    bad = golden(source={"image": {"id": system.seeded.instance_store_image}})
    found = run(system, "plan", "-", stdin=yaml.safe_dump(bad))
    assert found.returncode == 1
    assert "InstanceStoreUnsupported" in found.stdout
    adopted = golden(source={"image": {"id": system.seeded.base_image}})
    shared = share(accounts=[A])
    system.start(RESYNC_SECONDS="3600")
    system.apply(adopted, shared)
    system.wait_ready("ImageShare", "team")
    ec2 = system.aws.client("ec2")
    ec2.modify_image_attribute(
        ImageId=system.seeded.base_image, LaunchPermission={"Add": [{"UserId": "9" * 12}]}
    )
    text = yaml.safe_dump_all([adopted, shared])
    found = run(system, "plan", "-", stdin=text)
    assert found.returncode == 2
    assert f"stop {'9' * 12} from launching" in found.stdout


@pytest.mark.timeout(420)
def test_the_sandbox_shows_everything_heal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gilder", "sandbox", "--once", "--directory", str(tmp_path)],
        env={**os.environ, "COLUMNS": "110"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("launched there after") == 3
    assert done.stdout.count("read back from AWS") == 6
    assert done.stdout.count("published and shared in both Regions after") == 2
    assert "GoldenImage web: Deregister ami-" in done.stdout
    assert "which has the tags os=al2023, team=platform there already" in done.stdout
    # Every drift is counted by a resource, whatever else has changed on its keys before.
    assert "no resource tells of it yet" not in done.stdout
    assert "all healed, all Ready" in done.stdout
