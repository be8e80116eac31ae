"""The documents agree with the repository: links lead somewhere, manifests are valid."""

import re
from pathlib import Path

import pytest
import yaml

from gilder.api import parse_object

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]


def test_links_lead_somewhere() -> None:
    for file in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            if "://" not in link:
                assert (file.parent / link).exists(), f"{file.name}: {link}"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda f: f.name)
def test_manifests_in_documents_are_valid(file: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", file.read_text(), re.DOTALL)
    documents = [d for b in blocks for d in yaml.safe_load_all(b) if isinstance(d, dict)]
    ours = [d for d in documents if str(d.get("apiVersion")).startswith("goldenimage.dev/")]
    for document in ours:
        parse_object(document)
    if file.name == "README.md":
        assert {d["kind"] for d in ours} == {"GoldenImage", "ImageShare"}
