"""AgentHealthy asks systemd about the SSM agent."""

import pytest
from checkinstance import Instance

PACKAGE = "amazon-ssm-agent.service"
SNAP = "snap.amazon-ssm-agent.amazon-ssm-agent.service"


def systemd(
    instance: Instance, unit: str, active: str = "active", enabled: str = "enabled"
) -> None:
    instance.command(
        "systemctl",
        f"""
for last; do :; done
case "$last" in {unit}) known=yes ;; *) known= ;; esac
case "$1" in
  show) if [ "$known" ]; then echo LoadState=loaded; else echo LoadState=not-found; fi ;;
  is-active) echo {active}; [ {active} = active ] ;;
  is-enabled) echo {enabled}; [ {enabled} = enabled ] ;;
esac""",
    )


def agent(instance: Instance, path: str, says: str = "SSM Agent version: 3.3.40.0") -> None:
    instance.has(path, f"#!/bin/sh\necho '{says}'\n").chmod(0o755)


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        (PACKAGE, "usr/bin/amazon-ssm-agent"),
        (SNAP, "snap/amazon-ssm-agent/current/amazon-ssm-agent"),
    ],
)
def test_a_running_agent_passes(instance: Instance, unit: str, path: str) -> None:
    systemd(instance, unit)
    agent(instance, path)
    result = instance.run("AgentHealthy")
    assert result.code == 0
    assert f"service: {unit}" in result.lines
    assert "version: 3.3.40.0" in result.lines
    assert result.summary == "The SSM agent 3.3.40.0 runs and starts at boot."


def test_a_stopped_agent_fails(instance: Instance) -> None:
    systemd(instance, PACKAGE, active="failed")
    result = instance.run("AgentHealthy")
    assert result.code == 1
    assert result.summary == "The SSM agent does not run: its service is failed."


@pytest.mark.parametrize("enabled", ["disabled", "masked", "enabled-runtime"])
def test_an_agent_that_does_not_start_at_boot_fails(instance: Instance, enabled: str) -> None:
    systemd(instance, PACKAGE, enabled=enabled)
    result = instance.run("AgentHealthy")
    assert result.code == 1
    assert result.summary.endswith(f"does not start at boot: its service is {enabled}.")


def test_no_agent_fails(instance: Instance) -> None:
    systemd(instance, "other.service")
    result = instance.run("AgentHealthy")
    assert result.code == 1
    assert "no service of the SSM agent" in result.summary


def test_an_agent_without_a_version_passes(instance: Instance) -> None:
    systemd(instance, PACKAGE)
    assert "version: unknown" in instance.run("AgentHealthy").lines


def test_without_systemd_it_is_not_checked(instance: Instance) -> None:
    assert "no systemctl" in instance.run("AgentHealthy").summary
    instance.command("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    assert "did not answer" in instance.run("AgentHealthy").summary
