"""The site has every page, its links hold there as on a Git host, and nothing is from elsewhere."""

import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
URL = "https://git.example.com/platform/gilder"


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without what it names of Python."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: "python")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    return found


@pytest.fixture(scope="module")
def hook() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "hooks.py"))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> Counter[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return Counter(re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles)


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "code", prose(page)))


def test_nav_lists_every_page_once(config: dict[str, Any]) -> None:
    listed = [page for part in config["nav"] for pages in part.values() for page in pages]
    assert sorted(listed) == [p.name for p in PAGES]
    assert listed[0] == "index.md"


def test_nothing_is_fetched_from_elsewhere(config: dict[str, Any]) -> None:
    assert config["theme"]["font"] is False
    assert config["plugins"] == ["search"]
    assert not {"extra_css", "extra_javascript", "extra"} & config.keys()
    lines = (ROOT / "mkdocs.yml").read_text().splitlines()
    assert not [x for x in lines if "://" in x and not x.startswith("#")]
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(|<(?:img|script|link|iframe)\b", prose(page)), page.name


def test_a_broken_link_ends_the_build(config: dict[str, Any]) -> None:
    assert config["strict"] is True
    assert set(config["validation"].values()) == {"warn"}
    assert "anchors" in config["validation"]
    assert "--strict" in (ROOT / "tools/dev").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("../"):
            continue
        found = DOCS / path if path else page
        assert found in PAGES, f"{page.name}: {target}"
        assert not anchor or anchors(found)[anchor] == 1, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_titles_of_a_page_differ(page: Path) -> None:
    """Else their anchors are numbered, and by another rule on a Git host than on the site."""
    assert [a for a, count in anchors(page).items() if count > 1] == []
    assert len(re.findall(r"^# .+$", prose(page), re.MULTILINE)) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_is_in_a_list_is_indented_by_four(page: Path) -> None:
    """A Git host takes less as well; what makes the site does not."""
    lists = re.findall(r"^(?: {1,3}| {5,7})(?:[-*] |\d+\. ).*$", prose(page), re.MULTILINE)
    assert lists + re.findall(r"^(?: {1,3}| {5,7})```.*$", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
@pytest.mark.parametrize("repo_url", ["", URL])
def test_links_out_of_docs_hold_on_the_site(
    page: Path, repo_url: str, hook: dict[str, Any]
) -> None:
    copies: set[str] = set()
    text = hook["rewritten"](page.read_text(), repo_url, copies)
    assert not re.search(r"\]\(\.\./", FENCE.sub("", text))
    assert all((ROOT / c).is_file() for c in copies)
    outside = {t[3:].partition("#")[0] for t in links(page) if t.startswith("../")}
    if repo_url:
        assert copies == set()
        assert all(f"/HEAD/{path}" in text for path in outside)
    else:
        told = {path for path in outside if f"`{path.rstrip('/')}`" in text}
        assert copies | told == outside


@pytest.mark.parametrize(
    ("text", "at_host", "alone", "copied"),
    [
        (
            "[policy](../deploy/iam-policy.json).",
            f"[policy]({URL}/blob/HEAD/deploy/iam-policy.json).",
            "[policy](source/deploy/iam-policy.json).",
            {"deploy/iam-policy.json"},
        ),
        (
            "[two](../deploy/overlays/ha)",
            f"[two]({URL}/tree/HEAD/deploy/overlays/ha)",
            "two (`deploy/overlays/ha`)",
            set(),
        ),
        (
            "[how](../CONTRIBUTING.md#style)",
            f"[how]({URL}/blob/HEAD/CONTRIBUTING.md#style)",
            "how (`CONTRIBUTING.md`)",
            set(),
        ),
        ("[`deploy`](../deploy)", f"[`deploy`]({URL}/tree/HEAD/deploy)", "`deploy`", set()),
        (
            "`[a](../b)` [c](howto.md)",
            "`[a](../b)` [c](howto.md)",
            "`[a](../b)` [c](howto.md)",
            set(),
        ),
        ("```\n[a](../b)\n```", "```\n[a](../b)\n```", "```\n[a](../b)\n```", set()),
    ],
)
def test_the_hook(
    text: str, at_host: str, alone: str, copied: set[str], hook: dict[str, Any]
) -> None:
    none: set[str] = set()
    assert hook["rewritten"](text, URL + "/", none) == at_host
    assert none == set()
    copies: set[str] = set()
    assert hook["rewritten"](text, "", copies) == alone
    assert copies == copied


def test_the_lock_is_pinned_by_hash_and_apart_from_that_of_the_tests() -> None:
    text = (ROOT / "requirements-docs.lock").read_text()
    assert "://" not in text
    packages = re.findall(r"^([\w.-]+)==\S+(.*(?:\n +--hash=.*)+)", text, re.MULTILINE)
    assert {"mkdocs", "mkdocs-material"} <= {name for name, _ in packages}
    assert len(packages) == len(re.findall(r"^\S", text, re.MULTILINE))
    assert all("--hash=sha256:" in hashes for _, hashes in packages)
    assert "mkdocs" not in (ROOT / "requirements.lock").read_text()
