"""The record of IAM actions beside the calls."""

import importlib
import pkgutil
import re
from pathlib import Path

import gilder.aws
from gilder.aws import permissions

CALL = re.compile(r"\b(?:ec2|kms|ssm)\.(?:get_paginator\(\s*\"(\w+)\"|(\w+)\()")


def test_every_aws_call_stands_below_its_iam_action() -> None:
    folder = Path(gilder.aws.__path__[0])
    for module in pkgutil.iter_modules([str(folder)]):
        importlib.import_module(f"gilder.aws.{module.name}")
    used = {a.split(":")[1] for actions in permissions.used().values() for a in actions}
    called: set[str] = set()
    for file in folder.glob("*.py"):
        for match in CALL.finditer(file.read_text()):
            called.add(match[1] or match[2])
    called -= {"get_paginator"}
    assert "copy_image" in called
    names = {"".join(w.capitalize() for w in c.split("_")) for c in called}
    assert names - used == set()
