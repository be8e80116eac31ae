"""Reads manifests from files, folders and standard input."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.api.names import GROUP, LABEL_ACCOUNTS


class ManifestError(ValueError):
    """A file that cannot be read as manifests."""


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Every document of the paths, Lists unpacked. Raises ManifestError naming file and cause."""
    documents: list[dict[str, Any]] = []
    for path in paths:
        if str(path) == "-":
            documents += _parse("standard input", sys.stdin.read())
            continue
        if not path.exists():
            raise ManifestError(f"{path}: no such file or folder")
        for file in _files(path):
            try:
                text = file.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ManifestError(f"{file}: {error}") from None
            documents += _parse(str(file), text)
    return documents


def parse(documents: Iterable[Mapping[str, Any]]) -> list[GoldenImage | ImageShare]:
    """Our kinds among the documents; others are passed over. Raises SpecError naming the object."""
    found: list[GoldenImage | ImageShare] = []
    wrong: list[str] = []
    seen: set[tuple[str, str]] = set()
    for document in documents:
        if not str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
            continue
        meta = document.get("metadata") or {}
        name = f"{document.get('kind')} {meta.get('namespace', 'default')}/{meta.get('name')}"
        try:
            parsed = parse_object(document)
        except SpecError as error:
            wrong.append(f"{name}: {error}")
            continue
        key = (parsed.kind, parsed.metadata.key)
        if key in seen:
            wrong.append(f"{name}: given twice")
        seen.add(key)
        found.append(parsed)
    if wrong:
        raise SpecError("\n        ".join(wrong))
    return found


class ManifestMaps:
    """The ConfigMaps among manifests, as gilder.reconcile.ports.ConfigMaps."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._data: dict[tuple[str, str], dict[str, str]] = {}
        for document in documents:
            meta = document.get("metadata") or {}
            labels = meta.get("labels") or {}
            if document.get("kind") == "ConfigMap" and labels.get(LABEL_ACCOUNTS) == "true":
                name = (meta.get("namespace", "default"), str(meta.get("name")))
                self._data[name] = dict(document.get("data") or {})

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return self._data.get((namespace, name))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.suffix in (".yaml", ".yml", ".json") and file.is_file():
            yield file


def _parse(name: str, text: str) -> list[dict[str, Any]]:
    try:
        found = [d for d in yaml.safe_load_all(text) if d is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"{name}: not YAML: {error}") from None
    documents: list[dict[str, Any]] = []
    for document in found:
        if not isinstance(document, dict):
            raise ManifestError(f"{name}: a {type(document).__name__} is not a manifest")
        if str(document.get("kind", "")).endswith("List") and "items" in document:
            documents += [i for i in document["items"] if isinstance(i, dict)]
        else:
            documents.append(document)
    return documents
