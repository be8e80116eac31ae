"""Generated pages are current, and links between pages lead somewhere."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from gilder.api import names
from gilder.api.parse import parse_object
from gilder.config import Settings
from gilder.handlers import metrics

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
REFERENCE = (ROOT / "docs/reference.md").read_text()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/generate.py"))


@pytest.mark.parametrize("page", ["reference.md", "configuration.md"])
def test_a_generated_page_is_current(page: str, script: dict[str, Any]) -> None:
    there = (ROOT / "docs" / page).read_text()
    assert there == script["FILES"][page](), "run: python docs/generate.py"


def test_every_setting_is_described() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for name in Settings.model_fields:
        assert f"`GILDER_{name.upper()}`" in text


def test_every_annotation_and_tag_is_described(script: dict[str, Any]) -> None:
    known = {
        value
        for name, value in vars(names).items()
        if isinstance(value, str) and "/" in value and not name.startswith("_")
    }
    known -= {names.API_VERSION, names.TAG_PREFIX, names.FINALIZER}
    described = script["ANNOTATIONS"].keys() | script["TAGS"].keys() | script["LABELS"].keys()
    assert known == described


def test_every_metric_is_described() -> None:
    text = (ROOT / "docs/howto.md").read_text()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            suffix = "_total" if family.type == "counter" else ""
            assert f"`{family.name}{suffix}`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http:", "https:", "#", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve()
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


def fields() -> set[str]:
    """Every field of both kinds, such as spec.replicas[].region."""
    rows = re.findall(r"^(?:### \w+ (spec|status)|\| `([\w.\[\]]+)` \|)", REFERENCE, re.MULTILINE)
    part, found = "", set()
    for heading, field in rows:
        part = heading or part
        found.add(f"{part}.{field}")
    return found


# What the first design had, on the page that says so.
NOT_THERE = {"spec.roleARN"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_fields_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:spec|status)\.[\w.\[\]]+)", page.read_text())
    assert {n.rstrip(".").removesuffix("[]") for n in named} - fields() - NOT_THERE == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_examples_are_valid(page: Path) -> None:
    """Whole objects in a page parse; parts of objects (no apiVersion) are passed over."""
    kinds = set()
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        for document in yaml.safe_load_all(block):
            if str(document.get("apiVersion", "")).startswith(names.GROUP):
                kinds.add(parse_object(document).kind)
    if page.name in ("README.md", "howto.md", "tutorial.md"):
        assert kinds == {"GoldenImage", "ImageShare"}
