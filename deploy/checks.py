"""Writes deploy/checks: the checks as documents of Systems Manager and of Image Builder.

python deploy/checks.py [--check]
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from gilder.checks import CHECKS, platforms
from gilder.checks.documents import component, ssm_document

FOLDER = Path(__file__).with_name("checks")


class _Dumper(yaml.SafeDumper):
    """Writes scripts as blocks, as one would by hand, and repeats what is there twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else "")


_Dumper.add_representer(str, _string)


def files() -> dict[Path, str]:
    """What is to be in the folder."""
    documents: dict[str, dict[str, Any]] = {}
    for name in CHECKS:
        documents[f"ssm/{name}.yaml"] = ssm_document(name)
        for platform in platforms(name):
            suffix = "" if platform == "linux" else f"-{platform}"
            documents[f"components/{name}{suffix}.yaml"] = component(name, platform)
    return {FOLDER / path: text(document) for path, document in documents.items()}


def text(document: dict[str, Any]) -> str:
    head = "# Written by deploy/checks.py. docs/checks.md says how to use it.\n"
    # No line may be folded: the scripts have long ones.
    return head + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)


def stale() -> list[Path]:
    """Files that are missing, differ or should not be there."""
    wanted = files()
    there = set(FOLDER.rglob("*.yaml"))
    differ = [p for p, content in wanted.items() if p not in there or p.read_text() != content]
    return sorted([*differ, *(there - set(wanted))])


if __name__ == "__main__":
    if "--check" in sys.argv:
        names = ", ".join(str(path) for path in stale())
        sys.exit(f"not current: {names}: run {__file__}" if names else 0)
    for path in stale():
        path.unlink(missing_ok=True)
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
