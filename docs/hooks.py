"""Hook of mkdocs: links from a page to what is not in docs/.

On a Git host `[policy](../deploy/iam-policy.json)` leads to the file. On the site it leads to the
same file at `repo_url`, or where that is not set to a copy of it within the site. What cannot be
shown there (a folder, a page that is not part of the site) becomes its path, as text.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # only what builds the site has mkdocs
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
COPIES = "source"  # folder of the site
BRANCH = "HEAD"
# A link that leaves docs/, or code, in which nothing is a link.
OUTSIDE = re.compile(
    r"(^ *```.*?^ *```|`[^`\n]+`)|\[((?:`[^`\n]+`|[^\]`])+)\]\(\.\./([^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)


def on_page_markdown(markdown: str, *, config: Any, files: "Files", **_: Any) -> str:
    copies: set[str] = set()
    text = rewritten(markdown, config.repo_url or "", copies)
    for path in sorted(copies):
        at = f"{COPIES}/{path}"
        if files.get_file_from_path(at) is None:
            files.append(_generated(config, at, ROOT / path))
    return text


def rewritten(markdown: str, repo_url: str, copies: set[str]) -> str:
    """The page with such links replaced; `copies` gets the files that it then links to."""

    def link(found: re.Match[str]) -> str:
        code, label, target = found.groups()
        if code:
            return str(code)
        path, _, anchor = target.partition("#")
        path = path.rstrip("/")
        if repo_url:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            suffix = f"#{anchor}" if anchor else ""
            return f"[{label}]({repo_url.rstrip('/')}/{kind}/{BRANCH}/{path}{suffix})"
        if (ROOT / path).is_file() and not path.endswith(".md"):
            copies.add(path)
            return f"[{label}]({COPIES}/{path})"
        plain = label.strip("`")
        return f"`{path}`" if plain == path else f"{label} (`{path}`)"

    return OUTSIDE.sub(link, markdown)


def _generated(config: Any, uri: str, path: Path) -> Any:
    from mkdocs.structure.files import File

    return File.generated(config, uri, abs_src_path=str(path))
