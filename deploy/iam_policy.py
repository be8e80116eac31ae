"""Writes the IAM policies in deploy/, which `gilder iam-policy` prints.

python deploy/iam_policy.py [--check]
"""

import sys
from pathlib import Path

from gilder.aws.iampolicy import FILES, POLICIES, text


def texts() -> dict[Path, str]:
    """Each file with what belongs in it."""
    folder = Path(__file__).parent
    return {folder / FILES[part]: text(made()) for part, made in POLICIES.items()}


if __name__ == "__main__":
    for file, wanted in texts().items():
        if "--check" not in sys.argv:
            file.write_text(wanted)
        elif file.read_text() != wanted:
            sys.exit(f"{file} is not current: run {__file__}")
