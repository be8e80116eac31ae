"""Builds by Kubernetes Jobs: begun once, told of when they fail, and cleared away."""

import threading

import pytest
from buildstage import Works, baked, packed
from stage import DR, ENCRYPTED, HOME, KEY, A, Stage
from systemworld import NAMESPACE, share

from gilder.sandbox.baking import bake
from gilder.sandbox.breakage import can_launch
from gilder.sandbox.kubernetes.jobs import JobRun


@pytest.fixture
def works(stage: Stage) -> Works:
    return Works(stage)


def test_a_job_bakes_an_ami_that_is_encrypted_copied_and_shared(stage: Stage, works: Works) -> None:
    stage.apply(
        baked(**ENCRYPTED, replicas=[{"region": DR, **KEY}]), share(image="tools", accounts=[A])
    )
    stage.start()
    stage.wait_ready("GoldenImage", "tools")
    stage.wait_ready("ImageShare", "team")
    assert can_launch(stage.aws, stage.image("tools", HOME), HOME, A)
    assert can_launch(stage.aws, stage.image("tools", DR), DR, A)
    build = works.build("tools")
    left = [i for i in works.amis().values() if i["Name"].startswith(f"{NAMESPACE}/")]
    assert left == [], "the unencrypted AMI is gone"
    assert build["state"] == "Succeeded"
    stage.wait(lambda: works.jobs() == [], "the Job is cleared away")
    assert stage.events("tools", "JobCreated")


def test_the_packer_preset(stage: Stage, works: Works) -> None:
    seen: list[JobRun] = []
    work = bake(stage.aws)

    def run(job: JobRun) -> int:
        seen.append(job)
        found = work(job)
        assert isinstance(found, int)
        return found

    stage.world.jobs.behave(".*", run)
    stage.apply(*packed())
    stage.start()
    stage.wait_ready("GoldenImage", "tools")
    (run_,) = seen
    assert run_.env["PKR_VAR_build_id"] == run_.env["GILDER_BUILD_ID"] == works.build("tools")["id"]
    assert run_.env["PKR_VAR_flavour"] == "small"
    assert run_.env["PKR_VAR_region"] == HOME
    assert run_.env["PKR_VAR_ami_name"] == f"images-tools-v1-{works.build('tools')['id'][:8]}"
    assert any(p.endswith("image.pkr.hcl") for p in run_.files)
    template = run_.job["spec"]["template"]["spec"]
    script = template["containers"][0]["command"][-1]
    assert [w for w in ("init", "validate", "build") if f"packer {w}" in script] == [
        "init", "validate", "build",
    ]  # fmt: skip


def test_a_failed_job_shows_the_end_of_its_log(stage: Stage, works: Works) -> None:
    stage.world.jobs.fail_next(log="==> amazon-ebs: Waiting\nError: no source AMI matches\n")
    stage.apply(baked())
    stage.start()
    message = works.wait_failed("tools")
    assert "Error: no source AMI matches" in message
    assert f"kubectl logs -n {NAMESPACE} job/tools-" in message
    assert "BackoffLimitExceeded" in message
    (job,) = works.jobs()
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    stage.look("GoldenImage", "tools", "again")
    assert len(works.jobs()) == 1, "not tried again by itself"
    works.request("tools", "again")
    stage.wait_ready("GoldenImage", "tools")
    stage.wait(lambda: works.jobs() == [], "both Jobs are cleared away")


def test_a_job_that_forgets_the_tag(stage: Stage, works: Works) -> None:
    stage.world.jobs.behave(".*", lambda _: 0)
    stage.apply(baked())
    stage.start()
    stage.wait(
        lambda: "to become visible" in stage.message("GoldenImage", "tools"), "the AMI is awaited"
    )
    assert works.build("tools", "build")["stage"] == "Complete"


def test_retries_and_limits_are_the_jobs_own(stage: Stage, works: Works) -> None:
    stage.world.jobs.fail_next(times=2)
    stage.apply(baked(job={"backoffLimit": 2, "activeDeadlineSeconds": 600}))
    stage.start()
    stage.wait_ready("GoldenImage", "tools")
    assert works.build("tools")["attempt"] == 1


def test_a_pod_that_kubernetes_refuses_is_told(stage: Stage, works: Works) -> None:
    nameless = {"template": {"spec": {"containers": [{"image": "baker:1"}]}}}
    stage.apply(baked(job=nameless))
    stage.start()
    stage.wait_reason("GoldenImage", "tools", "KubernetesError")
    assert works.jobs() == []


def test_jobs_can_be_switched_off(stage: Stage, works: Works) -> None:
    stage.apply(baked())
    stage.start(JOBS="false")
    found = stage.wait_reason("GoldenImage", "tools", "KubernetesError")
    assert "GILDER_JOBS" in found["message"]
    assert works.jobs() == []


@pytest.mark.parametrize("when", ["started", "baked"])
def test_killed_while_a_job_runs(stage: Stage, works: Works, when: str) -> None:
    struck = threading.Event()
    work = bake(stage.aws)

    def run(job: JobRun) -> int:
        if when == "started":
            stage.world.operator.kill()
        found = work(job)
        if when == "baked":
            stage.world.operator.kill()
        struck.set()
        assert isinstance(found, int)
        return found

    stage.world.jobs.behave(".*", run)
    stage.apply(baked(**ENCRYPTED))
    stage.start()
    stage.wait(struck.is_set, "killed")
    stage.restart()
    stage.wait_ready("GoldenImage", "tools")
    stage.wait(lambda: works.jobs() == [], "the Job is cleared away")
    stage.assert_nothing_twice(HOME)
    assert stage.status("GoldenImage", "tools")["latest"]["version"] == 1


def test_suspend_deletes_the_job_and_resuming_makes_another(stage: Stage, works: Works) -> None:
    stage.world.jobs.behave(".*", bake(stage.aws), seconds=600)
    stage.apply(baked())
    stage.start()
    stage.wait(works.jobs, "a Job")
    stage.edit("GoldenImage", "tools", suspend=True)
    stage.wait(lambda: works.jobs() == [], "no Job")
    stage.wait(lambda: works.build("tools").get("state") == "Cancelled", "status says so")
    stage.world.jobs.behave(".*", bake(stage.aws))
    stage.edit("GoldenImage", "tools", suspend=False)
    stage.wait_ready("GoldenImage", "tools")


def test_deletion_takes_the_job_along(stage: Stage, works: Works) -> None:
    stage.world.jobs.behave(".*", bake(stage.aws), seconds=600)
    stage.apply(baked())
    stage.start()
    stage.wait(works.jobs, "a Job")
    stage.delete("GoldenImage", "tools")
    stage.gone("GoldenImage", "tools")
    assert works.jobs() == []


def test_a_job_deleted_by_hand_is_a_failed_build(stage: Stage, works: Works) -> None:
    stage.world.jobs.behave(".*", bake(stage.aws), seconds=600)
    stage.apply(baked())
    stage.start()
    stage.wait(lambda: works.build("tools", "build").get("state") == "Running", "a Job runs")
    (job,) = works.jobs()
    url = f"{stage.world.cluster.url}/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    stage.session.delete(
        f"{url}/{job['metadata']['name']}?propagationPolicy=Background", timeout=10
    )
    assert "was deleted" in works.wait_failed("tools")
