"""Asks which packages of the locks have known vulnerabilities: tools/dev audit [LOCK ...]

Ends with 0 when all were asked about and none has any, with 1 when some have, and with 2 when none
was found but the service did not answer for all of them. pip-audit itself ends with 0 when the
index knows none of the packages, and with 1 for a network error as for a finding.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLEAN, FOUND, NOT_ASKED = 0, 1, 2


def main(locks: list[Path]) -> int:
    found, missed = [], []
    for lock in locks:
        answer = _ask(lock)
        if answer is None:
            missed.append(f"{lock.name}: no answer, see above")
            continue
        asked = [d for d in answer if "skip_reason" not in d]
        found += [_told(lock, d, v) for d in asked for v in d["vulns"]]
        if len(asked) < len(answer):
            missed.append(f"{lock.name}: no answer for {len(answer) - len(asked)} of {len(answer)}")
        elif not answer:
            missed.append(f"{lock.name}: there is nothing in it")
        print(f"{lock.name}: {len(asked)} packages asked about", flush=True)
    for line in found:
        print(f"VULNERABLE {line}")
    for line in missed:
        print(f"COULD NOT ASK {line}")
    if found:
        return FOUND
    if missed:
        print("That says nothing about vulnerabilities. Ask from where PyPI itself is reached.")
        return NOT_ASKED
    print("No known vulnerabilities.")
    return CLEAN


def _ask(lock: Path) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package, or nothing if it could not say it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json", "--output", str(file)]
        done = subprocess.run(
            [*command, "--requirement", str(lock)], capture_output=True, text=True
        )
        try:
            packages = json.loads(file.read_text())["dependencies"]
        except (OSError, ValueError, KeyError):
            print(*(done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-3:], sep="\n")
            return None
        return list(packages)


def _told(lock: Path, package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", ())])
    fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    return f"{package['name']} {package['version']} in {lock.name}: {names}; mended in {fixed}"


if __name__ == "__main__":
    named = [Path(a) for a in sys.argv[1:]]
    sys.exit(main(named or sorted(ROOT.glob("requirements*.lock"))))
