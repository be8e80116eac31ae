"""CloudInitHealthy reads what cloud-init says of itself, in its old and new words."""

import pytest
from checkinstance import Instance

DONE = """status: done
extended_status: done
boot_status_code: enabled-by-generator
last_update: Thu, 01 Jan 1970 00:01:00 +0000
detail: DataSourceEc2Local
errors: []
recoverable_errors: {}"""
OLD = "status: done\ntime: Thu, 01 Jan 1970 00:01:00 +0000\ndetail:\nDataSourceEc2Local"
DEGRADED = """status: done
extended_status: degraded done
detail: DataSourceEc2Local
errors: []
recoverable_errors:
WARNING:
\t- Failed at merging in cloud config part"""
ERROR = """status: error
extended_status: error - done
detail: DataSourceEc2Local
errors:
\t- ('scripts_user', RuntimeError('Runparts: 1 failures'))
recoverable_errors: {}"""


def says(instance: Instance, text: str, code: int = 0) -> None:
    (instance.folder / "answer").write_text(text + "\n")
    instance.command("cloud-init", f'cat "{instance.folder}/answer"; exit {code}')


@pytest.mark.parametrize("text", [DONE, OLD, "\n" + DONE, "....." + OLD, ".....\n" + DONE])
def test_done_passes(instance: Instance, text: str) -> None:
    says(instance, text)
    result = instance.run("CloudInitHealthy")
    assert (result.code, result.lines) == (0, ["cloud-init is done, without errors."])
    assert instance.calls == ["cloud-init status --wait --long"]


@pytest.mark.parametrize("code", [2, 0])  # some distributions have 0 for it
def test_degraded_fails_and_shows_why(instance: Instance, code: int) -> None:
    says(instance, DEGRADED, code)
    result = instance.run("CloudInitHealthy")
    assert result.code == 1
    assert "Failed at merging" in result.text
    assert "degraded" in result.summary


def test_errors_fail_and_are_shown(instance: Instance) -> None:
    says(instance, ERROR, 1)
    result = instance.run("CloudInitHealthy")
    assert result.code == 1
    assert "Runparts: 1 failures" in result.text
    assert result.summary == "cloud-init ended with errors."


def test_disabled_fails(instance: Instance) -> None:
    says(instance, "status: disabled\ndetail: Cloud-init disabled by cloud-init-generator")
    assert "is disabled" in instance.run("CloudInitHealthy").summary


def test_not_run_fails(instance: Instance) -> None:
    says(instance, "status: not run")
    result = instance.run("CloudInitHealthy")
    assert (result.code, result.summary) == (1, "cloud-init is not done: not run.")


def test_an_exit_code_counts_whatever_is_said(instance: Instance) -> None:
    says(instance, DONE, 1)
    assert instance.run("CloudInitHealthy").code == 1


def test_one_that_never_ends_fails(instance: Instance) -> None:
    instance.command("cloud-init", "exec sleep 30")
    instance.environment["GILDER_CLOUD_INIT_SECONDS"] = "1"
    result = instance.run("CloudInitHealthy")
    assert (result.code, result.summary) == (1, "cloud-init was still at work after 1 seconds.")


def test_many_errors_are_cut_off(instance: Instance) -> None:
    says(instance, DEGRADED + "\n\t- again" * 100, 2)
    assert len(instance.run("CloudInitHealthy").lines) == 37


def test_without_an_answer_it_is_not_checked(instance: Instance) -> None:
    assert "not installed" in instance.run("CloudInitHealthy").summary
    says(instance, "Traceback (most recent call last):", 1)
    result = instance.run("CloudInitHealthy")
    assert result.code == 2
    assert "Traceback" in result.text
