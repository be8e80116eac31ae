"""Drift that no other test makes, and that nothing is looked at before its time."""

import time

from stage import DR, ENCRYPTED, HOME, REPLICATED, STRANGER, A, Stage, metric
from systemworld import free_port, golden, share

from gilder.sandbox.breakage import can_launch


def test_a_disabled_ami_is_enabled_and_shared_again(stage: Stage) -> None:
    """DisableImage drops every launch permission, and EnableImage gives none back."""
    stage.start(resync=1)
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    stage.aws.client("ec2").disable_image(ImageId=image)
    stage.wait(lambda: stage.users(image) == {A}, "enabled and shared")
    assert can_launch(stage.aws, image, HOME, A)
    assert stage.image("base", HOME) == image
    assert len(stage.owned(HOME)) == 1
    stage.wait_ready("ImageShare", "team")
    stage.wait_ready("GoldenImage", "base")


def test_drift_of_an_image_is_told_and_counted(stage: Stage) -> None:
    port = free_port()
    stage.start(METRICS_PORT=str(port))
    stage.apply(golden(**REPLICATED))
    stage.wait_ready("GoldenImage", "base")
    copy = stage.image("base", DR)
    assert stage.events("base", "DriftCorrected") == []
    stage.aws.client("ec2", DR).deregister_image(ImageId=copy)
    time.sleep(1.5)  # the time in which it must not be noticed: nothing asks for it
    assert stage.owned(DR) == []
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__reconcile-now": "look"})
    stage.wait(lambda: len(stage.owned(DR)) == 1, "the copy made again")
    stage.wait_ready("GoldenImage", "base")
    stage.wait(lambda: stage.status("GoldenImage", "base")["replicasReady"] == "1/1", "replicas")
    assert "copy" in stage.wait_event("base", "DriftCorrected")["message"]
    stage.wait(
        lambda: "1 drift corrected" in stage.message("GoldenImage", "base", "Synced"), "Synced"
    )
    counted = {"kind": "GoldenImage", "namespace": "images", "name": "base"}
    assert metric(port, "gilder_drift_corrected_total", **counted) == 1
    assert stage.status("GoldenImage", "base")["lastHandledReconcileAt"] == "look"
    # Series of what is gone go too.
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    stage.wait(lambda: metric(port, "gilder_drift_corrected_total", **counted) == 0, "forgotten")


def test_a_change_of_the_spec_is_no_drift(stage: Stage) -> None:
    port = free_port()
    stage.start(METRICS_PORT=str(port))
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.edit("GoldenImage", "base", tags={"team": "b"})
    stage.edit("ImageShare", "team", accounts=["333333333333"])
    image = stage.image("base", HOME)
    stage.wait(lambda: stage.users(image) == {"333333333333"}, "the share changed")
    stage.wait(lambda: stage.tags(image, HOME).get("team") == "b", "the tags changed")
    stage.wait_ready("ImageShare", "team")
    stage.publish("base-2")
    stage.look("GoldenImage", "base", "v2")
    stage.wait_version(2)
    stage.wait(lambda: stage.users(stage.image("base", HOME)) != set(), "version 2 shared")
    for kind, name in (("GoldenImage", "base"), ("ImageShare", "team")):
        assert stage.status(kind, name)["driftCorrected"] == 0
        assert stage.events(name, "DriftCorrected") == []
    assert metric(port, "gilder_drift_corrected_total") == 0


def test_drift_while_nobody_watched_is_healed_at_the_start(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**REPLICATED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.wait_ready("GoldenImage", "base")
    assert stage.world.operator.stop(20) == 0
    image, copy = stage.image("base", HOME), stage.image("base", DR)
    (grant,) = stage.grants(DR)
    who = {"Add": [{"UserId": STRANGER}], "Remove": [{"UserId": A}]}
    stage.aws.client("ec2").modify_image_attribute(ImageId=image, LaunchPermission=who)
    stage.aws.client("kms", DR).revoke_grant(KeyId=stage.seeded.keys[DR], GrantId=grant["GrantId"])
    stage.edit("ImageShare", "team", accounts=[A, "333333333333"])
    stage.start()
    stage.wait(lambda: stage.users(image) == {A, "333333333333"}, "home healed")
    stage.wait(lambda: stage.grantees(DR) == [A, "333333333333"], "the grants in DR")
    assert can_launch(stage.aws, copy, DR, A)
