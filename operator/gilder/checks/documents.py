"""The checks as documents for other places: Systems Manager and Image Builder."""

from typing import Any

from gilder.checks import Platform, platforms, script, title

SECONDS = 900  # more than all time limits inside one script together
_SSM = {"linux": ("Linux", "aws:runShellScript"), "windows": ("Windows", "aws:runPowerShellScript")}
_COMPONENT = {"linux": "ExecuteBash", "windows": "ExecutePowerShell"}
# The instance that builds has host keys of its own, often keys and histories until Image Builder
# cleans up, and needs a reboot after updates. Only an instance of the finished image tells.
_ONLY_FINISHED = frozenset({"NoSecrets", "NoHostKeys", "Patched"})


def ssm_document(name: str) -> dict[str, Any]:
    """A Command document, with one step per platform.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-schemas-features.html
    """
    return {
        "schemaVersion": "2.2",
        "description": f"{title(name)}. Exit code 1: failed, 2: could not be checked.",
        "mainSteps": [_step(name, platform) for platform in platforms(name)],
    }


def _step(name: str, platform: Platform) -> dict[str, Any]:
    kind, action = _SSM[platform]
    return {
        "action": action,
        "name": f"{name}On{kind}",
        "precondition": {"StringEquals": ["platformType", kind]},
        "inputs": {"timeoutSeconds": str(SECONDS), "runCommand": [_text(name, platform)]},
    }


def component(name: str, platform: Platform = "linux") -> dict[str, Any]:
    """A component's document, for one platform as Image Builder has it.

    https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-use-documents.html
    """
    step = {
        "name": name,
        "action": _COMPONENT[platform],
        "timeoutSeconds": SECONDS,
        "onFailure": "Abort",
        "inputs": {"commands": [_text(name, platform)]},
    }
    phases = ["test"] if name in _ONLY_FINISHED else ["validate", "test"]
    return {
        "name": f"gilder-{name}",
        "description": f"{title(name)}.",
        "schemaVersion": 1.0,
        "phases": [{"name": phase, "steps": [step]} for phase in phases],
    }


def _text(name: str, platform: Platform) -> str:
    return "\n".join(script(name, platform)) + "\n"
