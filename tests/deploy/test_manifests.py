"""Every manifest parses; objects of ours are valid by the CRDs, and an API takes them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gilder.api import names
from gilder.api.crd import crds
from gilder.api.parse import parse_object
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import ManifestError, apply, install_crds

ROOT = Path(__file__).parents[2]
# Documents of AWS services (test_checks.py), templates of Helm (test_chart.py).
OTHERS = (ROOT / "deploy/checks", ROOT / "deploy/helm/gilder")
FILES = sorted(
    f
    for folder in ("deploy", "crds", "operator/gilder/sandbox/manifests", "docs", "samples")
    for f in (ROOT / folder).rglob("*.y*ml")
    if not any(other in f.parents for other in OTHERS)
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCHEMAS = {
    c["spec"]["names"]["kind"]: c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for c in crds()
}
Object = dict[str, Any]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def of_file(file: Path) -> list[Any]:
    return [d for d in yaml.safe_load_all(file.read_text()) if d is not None]


def of_page(page: Path) -> Iterator[Any]:
    """Documents of a page's examples, those within lists as well."""
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from yaml.safe_load_all(block)


def ours(documents: list[Any]) -> list[Object]:
    found = [d for d in documents if isinstance(d, dict)]
    return [d for d in found if str(d.get("apiVersion", "")).startswith(f"{names.GROUP}/")]


OBJECTS = [(named(f), o) for f in FILES for o in ours(of_file(f))]
OBJECTS += [(named(p), o) for p in PAGES for o in ours(list(of_page(p)))]
IDS = [f"{where}-{o['kind']}-{o['metadata']['name']}" for where, o in OBJECTS]


def test_there_is_something_to_look_at() -> None:
    where = {path for path, _ in OBJECTS}
    assert {"README.md", "docs/howto.md", "deploy/argocd/example/images.yaml"} <= where
    assert any(path.startswith("operator/gilder/sandbox/manifests/") for path in where)


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_file_has_manifests_and_nothing_else(file: Path) -> None:
    found = of_file(file)
    if file.name == "example-values.yaml":
        return
    assert found
    for document in found:
        assert document["apiVersion"]
        assert document["kind"]
        if document["kind"] not in ("Kustomization", "Component"):
            assert document["metadata"]["name"]


@pytest.mark.parametrize("folder", sorted({f.parent for f in FILES}), ids=named)
def test_a_kustomization_names_files_that_are_there(folder: Path) -> None:
    file = folder / "kustomization.yaml"
    if not file.exists():
        return
    said = yaml.safe_load(file.read_text())
    for part in ("resources", "components"):
        for path in said.get(part, ()):
            assert (folder / path).exists(), path
    if folder.parent.name == "components":
        assert said["kind"] == "Component"


@pytest.mark.parametrize(("where", "body"), OBJECTS, ids=IDS)
def test_it_is_valid_by_the_crd(where: str, body: Object) -> None:
    assert body["apiVersion"] == names.API_VERSION, where
    schema = closed(SCHEMAS[body["kind"]], root=True)
    jsonschema.Draft7Validator(schema).validate(body)
    parse_object(body)


def closed(schema: Object, *, root: bool = False) -> Object:
    """With unknown fields refused, where an API server would drop them without a word."""
    found = dict(schema)
    if "properties" in found:
        properties = {k: closed(v) for k, v in found["properties"].items()}
        if root:
            properties["metadata"] = {"type": "object"}
        found["properties"] = properties
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = closed(found[key])
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster"), emulate=True) as running:
        install_crds(running, crds())
        yield running


@pytest.mark.parametrize("number", range(len(OBJECTS)), ids=IDS)
def test_an_api_takes_it(cluster: Cluster, number: int) -> None:
    """In a namespace of its own, since many examples have the same name."""
    _, body = OBJECTS[number]
    space = f"example-{number}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    placed = body | {"metadata": body["metadata"] | {"namespace": space}}
    for _ in range(2):  # the second time changes nothing
        *_, stored = apply(cluster, [namespace, placed])
        assert stored["metadata"]["generation"] == 1
    assert parse_object(stored).kind == body["kind"]


def test_what_is_wrong_is_seen(cluster: Cluster) -> None:
    """Or the tests above would say nothing."""
    (_, body) = next(x for x in OBJECTS if x[1]["kind"] == "GoldenImage")
    misspelt = body | {"spec": body["spec"] | {"replica": []}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(closed(SCHEMAS["GoldenImage"], root=True)).validate(misspelt)
    wrong = body | {"metadata": {"name": "wrong", "namespace": "default"}}
    with pytest.raises(ManifestError):
        apply(cluster, [wrong | {"spec": body["spec"] | {"region": "nowhere at all"}}])
