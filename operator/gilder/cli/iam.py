"""`gilder iam-policy`: the IAM policies of this version."""

import sys
from pathlib import Path

from gilder.aws.iampolicy import FILES, POLICIES, text


def handle(part: str, write: Path | None) -> int:
    if part and part not in POLICIES:
        print(f"gilder: --part {part}: use {', '.join(POLICIES)}", file=sys.stderr)
        return 1
    wanted = {p: made() for p, made in POLICIES.items() if part in ("", p)}
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for name, document in wanted.items():
            (write / FILES[name]).write_text(text(document))
        return 0
    sys.stdout.write(text(wanted[part]) if part else text(wanted))
    return 0
