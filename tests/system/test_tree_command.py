"""`gilder tree` as a user runs it: beside a cluster, and from files."""

import json
import os
import re
import subprocess

import yaml
from systemworld import System, golden, share

from gilder.sandbox.process import command

A, B = "222222222222", "333333333333"
HOME, DR = "eu-west-1", "eu-central-1"
KEY = {"kmsKeyId": "alias/golden"}


def run(
    system: System, *arguments: str, stdin: str = "", cluster: bool = True
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GILDER_", "KUBE"))}
    if cluster:
        clean["KUBECONFIG"] = str(system.world.cluster.kubeconfig.resolve())
    return command(["tree", *arguments], {**clean, "HOME": "/nonexistent"}, stdin)


def test_an_image_with_all_that_hangs_on_it(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    published = {"configMap": {"name": "base-ami"}}
    replicas = [{"region": DR, **KEY}]
    system.apply(
        golden(encryption=KEY, replicas=replicas, publish=published),
        golden("plain"),
        share(accounts=[A, B], regions=[HOME]),
    )
    system.wait_ready("GoldenImage", "base", "plain")
    system.wait_ready("ImageShare", "team")
    home, replica = system.image("base", HOME), system.image("base", DR)

    done = run(system, "base", "-n", "images")
    assert done.returncode == 0, done.stderr
    lines = [re.sub(r"^[\s│├└─]+", "", line).rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == f"images/base ({HOME}, account 123456789012) Ready"
    assert "version 1 released" in " | ".join(lines)
    assert f"{HOME} {home} available" in lines
    assert f"{DR} {replica} available" in lines
    assert any(
        line.startswith(f"{DR} version 1 {replica} Current, recovery point") for line in lines
    )
    assert "ConfigMap base-ami" in done.stdout
    assert f"images/team (versions: Latest in {HOME}) Ready" in lines
    assert {A, B} <= set(lines)
    assert f"{HOME} {home} Shared" in lines
    assert "plain" not in done.stdout

    found = json.loads(run(system, "images/base", "-o", "json").stdout)
    (one,) = found["images"]
    assert (one["name"], one["released"]) == ("images/base", 1)
    (shared,) = one["shares"]
    assert (shared["principals"], shared["missing"]) == ([A, B], [])
    everything = json.loads(run(system, "--all", "-o", "json").stdout)
    assert [i["name"] for i in everything["images"]] == ["images/base", "images/plain"]

    # What kubectl printed is as good as the cluster itself.
    items = [system.get("GoldenImage", "base"), system.get("ImageShare", "team")]
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})
    piped = run(system, "images/base", "-o", "json", "-f", "-", stdin=text, cluster=False)
    assert [v["images"] for v in json.loads(piped.stdout)["images"][0]["versions"]] == [
        v["images"] for v in one["versions"]
    ]


def test_what_cannot_be_shown(system: System) -> None:
    wrong = [
        (("images/none",), "no GoldenImage images/none in the cluster"),
        ((), "give the name of a GoldenImage, or --all"),
        (("images/base", "--all"), "give the name of a GoldenImage, or --all"),
        (("images/base", "-n", "other"), "is not in --namespace other"),
        (("images/base", "-o", "yaml"), "use text or json"),
        (("images/base", "-f", "/no/such"), "no such file or folder"),
    ]
    for arguments, text in wrong:
        done = run(system, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert text in done.stderr
    alone = run(system, "--all", cluster=False)
    assert (alone.returncode, "set KUBECONFIG" in alone.stderr) == (1, True)
    empty = run(system, "--all")
    assert (empty.returncode, empty.stdout) == (0, "No GoldenImages.\n")
