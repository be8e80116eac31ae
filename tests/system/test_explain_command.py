"""`gilder explain` as a user runs it: beside a cluster, from manifests, and with neither."""

import json
import os
import subprocess
from pathlib import Path

import yaml
from systemworld import System, golden, share

from gilder.sandbox.breakage import can_launch
from gilder.sandbox.process import command

A, B, STRANGER = "222222222222", "333333333333", "999999999999"
HOME, DR = "eu-west-1", "eu-central-1"
KEY = {"kmsKeyId": "alias/golden"}
Run = subprocess.CompletedProcess[str]


def run(system: System, *arguments: str, cluster: bool = True, **env: str) -> Run:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GILDER_", "KUBE"))}
    if cluster:
        env.setdefault("KUBECONFIG", str(system.world.cluster.kubeconfig.resolve()))
    return command(
        ["explain", *arguments], {**clean, "HOME": "/nonexistent", **system.aws.client_env(), **env}
    )


def test_the_answer_is_what_happens(system: System, tmp_path: Path) -> None:
    documents = [
        golden(encryption=KEY, replicas=[{"region": DR, **KEY}]),
        share(accounts=[A], regions=[HOME]),
    ]
    system.start(RESYNC_SECONDS="3600")
    system.apply(*documents)
    system.wait_ready("GoldenImage", "base")
    system.wait_ready("ImageShare", "team")
    home, replica = system.image("base", HOME), system.image("base", DR)
    system.world.operator.stop()
    system.aws.requests.reset()

    # At home it could, by name and by id; in the replica Region the share says no.
    done = run(system, "base", "-n", "images", "--account", A, "--region", HOME)
    assert done.returncode == 0, done.stdout + done.stderr
    first, permission, key = done.stdout.splitlines()
    assert first == f"{A} could launch {home} in {HOME} (images/base version 1)"
    assert permission.strip() == (
        "launch permission: given by account (declared by ImageShare images/team)"
    )
    (grant,) = system.grants(HOME)
    assert f"KMS key {system.seeded.keys[HOME]}: given by grant {grant['GrantId']}" in key
    assert run(system, home, "--account", A, "--region", HOME).stdout == done.stdout
    both = run(system, "images/base", "--account", A)
    assert both.returncode == 2
    assert f"{A} could NOT launch {replica} in {DR} (images/base version 1)" in both.stdout
    assert "change spec.versions or spec.regions there" in both.stdout
    assert "Traceback" not in both.stderr
    assert system.changes() == {}

    # Broken by hand, with the operator away.
    system.aws.client("ec2", HOME).modify_image_attribute(
        ImageId=home, LaunchPermission={"Remove": [{"UserId": A}]}
    )
    done = run(system, "images/base", "--account", A, "--region", HOME)
    assert done.returncode == 2
    assert not can_launch(system.aws, home, HOME, A)
    system.aws.requests.reset()
    assert "although ImageShare images/team declares it" in done.stdout
    stranger = run(system, "images/base", "--account", STRANGER, "--region", HOME)
    assert f"no ImageShare declares {STRANGER} for this image" in stranger.stdout

    # Manifests alone, whose GoldenImage has no status: AWS's tags tell its versions.
    manifest = tmp_path / "all.yaml"
    manifest.write_text(yaml.safe_dump_all(documents))
    files = ("images/base", "--account", A, "-f", str(manifest), "-o", "json")
    done = run(system, *files, cluster=False)
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    told = {(i["region"], i["imageId"], i["version"], i["could"]) for i in found["images"]}
    assert told == {(HOME, home, 1, False), (DR, replica, 1, False)}

    # No cluster: an id can be asked about, and what is declared is not known.
    done = run(system, home, "--account", A, "--region", HOME, cluster=False)
    assert done.returncode == 2
    assert "ImageShares are not looked at" in done.stderr
    assert "no ImageShare" not in done.stdout
    assert system.changes() == {}


def test_what_cannot_be_told_or_asked(system: System) -> None:
    system.apply(golden())
    image = system.seeded.base_image
    system.aws.faults.deny("DescribeImageAttribute")
    done = run(system, image, "--account", A, "--region", HOME)
    assert done.returncode == 1
    assert f"It cannot be told whether {A} could launch {image} in {HOME}" in done.stdout
    assert "not read: AccessDenied: reading launch permissions" in done.stdout
    # No version yet.
    done = run(system, "images/base", "--account", A)
    assert done.returncode == 2
    assert f"{A} could NOT launch an AMI in {HOME} (images/base)" in done.stdout
    wrong = [
        ((image, "--account", A), "give --region"),
        (("images/base", "--account", "12"), "an account id has 12 digits"),
        (("images/other", "--account", A), "no GoldenImage images/other in the cluster"),
        (("images/base", "--account", A, "-n", "x"), "is not in --namespace x"),
        (("images/base", "--account", A, "-o", "yaml"), "use text or json"),
        (("images/base", "--account", A, "-f", "/no/such"), "no such file or folder"),
    ]
    for arguments, text in wrong:
        done = run(system, *arguments)
        assert done.returncode == 1
        assert text in done.stderr
        assert done.stdout == ""
    done = run(system, "images/base", "--account", A, cluster=False)
    assert (done.returncode, "set KUBECONFIG" in done.stderr) == (1, True)
    away = run(
        system, image, "--account", A, "--region", HOME, AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    assert away.returncode == 1
    assert "AWSUnavailable" in away.stdout
    assert "Traceback" not in away.stderr
