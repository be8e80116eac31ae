"""Checks of a new AMI, as scripts that an instance of it runs.

A script ends with exit code 0 when the check passed, 1 when it failed and 2 when it could not be
made. The last line of its output is a sentence for people.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

Platform = Literal["linux", "windows"]

_TITLES = {
    "NoSecrets": "No passwords, keys or tokens are baked into the image",
    "NoHostKeys": "SSH host keys and the machine id are made by each instance",
    "Patched": "No security updates are pending, and no reboot",
    "AgentHealthy": "The SSM agent runs, and starts at every boot",
    "CloudInitHealthy": "cloud-init, or EC2Launch v2, ends without errors",
}
_WINDOWS = frozenset(_TITLES) - {"NoHostKeys"}

CHECKS: tuple[str, ...] = tuple(_TITLES)


def title(name: str) -> str:
    """One line for people."""
    return _TITLES[_known(name)]


def platforms(name: str) -> tuple[Platform, ...]:
    """Where there is a script for a check."""
    return ("linux", "windows") if _known(name) in _WINDOWS else ("linux",)


@cache
def script(name: str, platform: Platform) -> tuple[str, ...]:
    """The lines of a check, as the parameter `commands` of AWS-RunShellScript or its sibling."""
    if platform not in platforms(name):
        raise KeyError(f"The check {name} has no script for {platform}.")
    ending = "sh" if platform == "linux" else "ps1"
    text = files(__name__).joinpath(f"{name}.{ending}").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _known(name: str) -> str:
    if name not in _TITLES:
        raise KeyError(f"There is no check {name}. There are: {', '.join(CHECKS)}.")
    return name
