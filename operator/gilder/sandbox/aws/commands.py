"""Commands of Systems Manager: how they go, by the clock and by what tests ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from moto.ec2.models import ec2_backends

from gilder.sandbox.aws.settings import CLOCK, SETTINGS

DELIVERY_TIMEOUT = 3600
FINAL = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})
_DETAILS = {"InProgress": "InProgress", "TimedOut": "ExecutionTimedOut"}


@dataclass(eq=False)
class Outcome:
    """How invocations of some documents end; `left` counts down, None lasts."""

    document: re.Pattern[str]
    instance: str | None
    status: str
    stdout: str
    stderr: str
    exit_code: int
    left: int | None


@dataclass(eq=False)
class Invocation:
    """One command on one instance."""

    instance: str
    sent: float
    ends: float
    result: Outcome | None
    # Set once it is over.
    status: str | None = None
    details: str = ""
    ended: float | None = None


@dataclass(eq=False)
class Command:
    """A command with its invocations."""

    id: str
    account: str
    region: str
    document: str
    version: str
    plugins: tuple[str, ...]
    params: Mapping[str, Any]
    sent: float
    invocations: list[Invocation] = field(default_factory=list)


class Commands:
    """`SandboxAws.commands`: how commands that are sent from now on will go."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._offline: set[str] = set()
        self._sent: dict[str, Command] = {}

    def fail_next(
        self,
        document: str = ".*",
        *,
        instance: str | None = None,
        stdout: str = "",
        stderr: str = "failed to run commands: exit status 1",
        exit_code: int = 1,
        status: str = "Failed",
        count: int = 1,
    ) -> None:
        """Fail the next `count` invocations of documents whose name matches.

        `status` may also be TimedOut or Cancelled.
        """
        self._add(document, instance, status, stdout, stderr, exit_code, count)

    def outcome(
        self,
        document: str = ".*",
        *,
        instance: str | None = None,
        stdout: str = "",
        stderr: str = "",
        exit_code: int = 0,
        status: str | None = None,
        count: int | None = None,
    ) -> None:
        """What such invocations print and return; the newest outcome that matches counts."""
        ended = status or ("Success" if exit_code == 0 else "Failed")
        self._add(document, instance, ended, stdout, stderr, exit_code, count)

    def offline(self, instance_id: str) -> None:
        """Cut the instance's agent off, as a missing role or route does."""
        self._offline.add(instance_id)

    def online(self, instance_id: str) -> None:
        self._offline.discard(instance_id)

    def sent(self) -> list[Command]:
        """Every command so far, the oldest first."""
        return list(self._sent.values())

    def reset(self) -> None:
        self._outcomes.clear()
        self._offline.clear()
        self._sent.clear()

    def settle(self) -> None:
        """End the invocations whose time is over."""
        now = CLOCK.time()
        for command in self._sent.values():
            for invocation in command.invocations:
                if invocation.status is None:
                    self._end(command, invocation, now)

    def _end(self, command: Command, invocation: Invocation, now: float) -> None:
        result = invocation.result
        timeout = command.params.get("TimeoutSeconds") or DELIVERY_TIMEOUT
        if self.reachable(command.account, command.region, invocation.instance):
            if invocation.ends > now:
                return
            invocation.status = "Success" if result is None else result.status
            invocation.details = _DETAILS.get(invocation.status, invocation.status)
            invocation.ended = invocation.ends
        elif now >= invocation.sent + timeout:
            # The agent never came back.
            invocation.status, invocation.details = "TimedOut", "DeliveryTimedOut"
            invocation.ended, invocation.result = invocation.sent + timeout, None

    def reachable(self, account: str, region: str, instance_id: str) -> bool:
        return ping(account, region, instance_id) == "Online" and instance_id not in self._offline

    def is_offline(self, instance_id: str) -> bool:
        return instance_id in self._offline

    def add(self, command: Command) -> None:
        self._sent[command.id] = command

    def take(self, document: str, instance: str) -> Outcome | None:
        for outcome in reversed(self._outcomes):
            if outcome.document.fullmatch(document) and outcome.instance in (None, instance):
                if outcome.left is not None:
                    outcome.left -= 1
                    if outcome.left <= 0:
                        self._outcomes.remove(outcome)
                return outcome
        return None

    def _add(
        self, document: str, instance: str | None, status: str, stdout: str, stderr: str,
        exit_code: int, count: int | None,
    ) -> None:  # fmt: skip
        if status not in FINAL:
            raise ValueError(f"a command cannot end as {status}; known: {', '.join(FINAL)}")
        pattern = re.compile(document)
        self._outcomes.append(Outcome(pattern, instance, status, stdout, stderr, exit_code, count))


COMMANDS = Commands()


def instances_of(account: str, region: str) -> dict[str, Any]:
    backend: Any = ec2_backends[account][region]
    return {i.id: i for i in backend.all_instances()}


def ping(account: str, region: str, instance_id: str) -> str | None:
    """Online, ConnectionLost, or None for what Systems Manager does not know."""
    instance = instances_of(account, region).get(instance_id)
    if instance is None or instance.state in ("terminated", "shutting-down"):
        return None
    launched = instance.launch_time.replace(tzinfo=UTC).timestamp()
    if CLOCK.time() < launched + SETTINGS.ssm_online_seconds:
        return None
    return "Online" if instance.state == "running" else "ConnectionLost"
