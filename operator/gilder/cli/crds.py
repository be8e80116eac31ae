"""`gilder crds`: the CRDs of this version."""

import sys
from pathlib import Path

from gilder.api.crd import crd_files


def handle(write: Path | None, check: Path | None) -> int:
    files = crd_files()
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (write / name).write_text(text)
        return 0
    if check is not None:
        stale = [n for n, t in files.items() if not _same(check / n, t)]
        stale += [p.name for p in check.glob("*.yaml") if p.name not in files]
        for name in stale:
            print(f"{check / name} is not up to date: run `gilder crds --write {check}`")
        return 1 if stale else 0
    sys.stdout.write("---\n".join(files.values()))
    return 0


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text
