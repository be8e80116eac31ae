"""What is broken by hand is put back, and told."""

import requests
from systemworld import System, free_port, golden, share

from gilder.sandbox.breakage import can_launch

A, STRANGER = "222222222222", "999999999999"
HOME = "eu-west-1"
ENCRYPTED = {"encryption": {"kmsKeyId": "alias/golden"}}


def test_every_kind_of_drift_heals_and_shows(system: System) -> None:
    port = free_port()
    system.start(RESYNC_SECONDS="1", METRICS_PORT=str(port))
    system.apply(golden(**ENCRYPTED), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    system.wait_ready("GoldenImage", "base")
    image = system.image("base", HOME)
    ec2, kms = system.aws.client("ec2"), system.aws.client("kms")

    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [{"UserId": A}]})
    system.wait(lambda: system.users(image) == {A}, "the permission given back")
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": STRANGER}]})
    system.wait(lambda: system.users(image) == {A}, "the stranger removed")
    system.wait(
        lambda: STRANGER in str(system.get("ImageShare", "team")["status"].get("removed")),
        "the stranger named in status",
    )
    (grant,) = system.grants()
    kms.revoke_grant(KeyId=system.seeded.keys[HOME], GrantId=grant["GrantId"])
    system.wait(lambda: len(system.grants()) == 1, "the grant given back")
    assert can_launch(system.aws, image, HOME, A)

    snapshot = system.owned(HOME)[0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    keys = ["goldenimage.dev/image", "goldenimage.dev/version"]
    ec2.delete_tags(Resources=[image, snapshot], Tags=[{"Key": k} for k in keys])
    system.wait(lambda: len(system.owned(HOME, version="1", image="images/base")) == 1, "the tags")
    assert [i["ImageId"] for i in system.owned(HOME)] == [image]  # and no second AMI was made

    system.wait(
        lambda: system.get("ImageShare", "team")["status"]["driftCorrected"] == 3,
        "3 drifts counted",
    )
    assert system.wait_event("team", "DriftCorrected")["type"] == "Warning"
    synced = system.condition("ImageShare", "team", "Synced")
    assert synced["status"] == "True"
    assert "3 drifts corrected" in synced["message"]
    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    counted = [x for x in metrics.splitlines() if x.startswith("gilder_drift_corrected_total{")]
    of_share = [x for x in counted if 'name="team"' in x]
    assert sum(float(x.rsplit(" ", 1)[1]) for x in of_share) == 3


def test_reconcile_now_heals_between_sweeps(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    system.apply(golden(**ENCRYPTED), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    image = system.image("base", HOME)
    ec2 = system.aws.client("ec2")
    for n, annotation in enumerate(
        ("goldenimage.dev__reconcile-now", "reconcile.fluxcd.io__requestedAt")
    ):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [{"UserId": A}]})
        system.annotate("ImageShare", "team", **{annotation: f"token-{n}"})
        system.wait(lambda: system.users(image) == {A}, f"healed by {annotation}")
        system.wait(
            lambda n=n: (
                f"token-{n}"
                in system.get("ImageShare", "team")["status"].get("lastHandledReconcileAt", "")
            ),
            "the request answered",
        )


def test_suspended_and_observed_resources_change_nothing(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    observed = golden("watched", managementPolicy="Observe", **ENCRYPTED)
    system.apply(observed, golden("asleep", suspend=True))
    system.wait_reason("GoldenImage", "asleep", "Suspended")
    system.wait(
        lambda: system.condition("GoldenImage", "watched", "Synced").get("reason") == "WouldChange",
        "the plan shown",
    )
    plan = system.get("GoldenImage", "watched")["status"]["plan"]
    assert len(plan) == 1
    assert plan[0].startswith("copy ami-")
    assert system.changes() == {}
    system.patch(
        "GoldenImage", "watched", {"spec": {"managementPolicy": "Full"}}
    ).raise_for_status()
    system.patch("GoldenImage", "asleep", {"spec": {"suspend": False}}).raise_for_status()
    system.wait_ready("GoldenImage", "watched", "asleep")
    system.annotate("GoldenImage", "asleep", **{"goldenimage.dev__paused": "true"})
    system.wait_reason("GoldenImage", "asleep", "Suspended")
