"""What the release workflow needs of the repository.

python tools/release.py notes TAG                    is all of one version? prints its CHANGELOG
python tools/release.py chart IMAGE DIGEST FOLDER    the chart, naming this image, into a new folder
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy/helm/gilder"


def notes(tag: str, root: Path = ROOT) -> str:
    """The section of this version; ends the program when something is of another one."""
    version = tag.removeprefix("v")
    chart = (root / "deploy/helm/gilder/Chart.yaml").read_text()
    said = {
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text())["project"][
            "version"
        ],
        "version of Chart.yaml": _one(r"^version: (\S+)$", chart),
        "appVersion of Chart.yaml": _one(r"^appVersion: (\S+)$", chart),
        "gilder/__init__.py": _one(
            r"^__version__ = (\S+)$", (root / "operator/gilder/__init__.py").read_text()
        ),
        "deploy/base/kustomization.yaml": _one(
            r"^ +newTag: (\S+)$", (root / "deploy/base/kustomization.yaml").read_text()
        ),
    }
    for place, found in said.items():
        if tag != f"v{found}":
            sys.exit(f"{tag}: {place} says {found}. Tag v{found}, or change it first.")
    changes = (root / "CHANGELOG.md").read_text()
    section = re.search(
        rf"^## \[{re.escape(version)}\] - (\S+)\n(.*?)(?=^## |\Z)",
        changes,
        re.MULTILINE | re.DOTALL,
    )
    if section is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", section[1]):
        sys.exit(
            f"{tag}: CHANGELOG.md has no section [{version}] with a date. Write the date there."
        )
    return section[2].strip() + "\n"


def chart(image: str, digest: str, folder: Path) -> None:
    """So that the signed chart installs the signed image, whatever becomes of its tag."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        sys.exit(f"digest: {digest} is none. Take that of the image index, sha256:...")
    shutil.copytree(CHART, folder)
    file = folder / "values.yaml"
    text = file.read_text()
    for key, value in (("repository", image), ("digest", digest)):
        text, count = re.subn(
            rf"(?m)(^image:\n(?:  .*\n)*?  {key}: )\S+(?: #.*)?$", rf"\g<1>{value}", text
        )
        if count != 1:
            sys.exit(f"image.{key}: values.yaml does not have it in one line.")
    file.write_text(text)


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip('"') if found else "nothing"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["notes", tag]:
            sys.stdout.write(notes(tag))
        case ["chart", image, digest, folder]:
            chart(image, digest, Path(folder))
        case _:
            sys.exit(__doc__)
