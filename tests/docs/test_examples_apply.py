"""Every object that a page shows is taken by the API with our CRDs, with all of its fields."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gilder.api.names import API_VERSION, GROUP
from gilder.api.parse import parse_object
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import ManifestError, apply, install_crds

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SERVED = {API_VERSION, "v1"}
PATCH = re.compile(r"kubectl patch gimg \S+( -n \S+)? --type=merge -p '(.*?)'", re.DOTALL)

Object = dict[str, Any]


def blocks(page: Path) -> list[str]:
    found = re.findall(r"^ *```yaml\n.*?^ *```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return ["\n".join(textwrap.dedent(b).splitlines()[1:-1]) for b in found]


def objects(page: Path) -> list[Object]:
    """Whole objects of kinds that the cluster serves; parts of objects are passed over."""
    documents = [d for b in blocks(page) for d in yaml.safe_load_all(b)]
    return [d for d in documents if isinstance(d, dict) and d.get("apiVersion") in SERVED]


def kept(declared: Any, there: Any) -> bool:
    if isinstance(declared, dict):
        return isinstance(there, dict) and all(
            k in there and kept(v, there[k]) for k, v in declared.items()
        )
    if isinstance(declared, list):
        return len(declared) == len(there) and all(map(kept, declared, there))
    return bool(declared == there)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    crds = [yaml.safe_load(p.read_text()) for p in sorted((ROOT / "crds").glob("*.yaml"))]
    with start_cluster(tmp_path_factory.mktemp("cluster"), emulate=True) as running:
        install_crds(running, crds)
        yield running


def into(cluster: Cluster, namespace: str, document: Object) -> Object:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    moved = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
    return apply(cluster, [space, moved])[1]


@pytest.mark.parametrize("page", [p for p in PAGES if objects(p)], ids=lambda p: p.name)
def test_examples_are_taken_whole(page: Path, cluster: Cluster) -> None:
    for n, document in enumerate(objects(page)):
        if document["kind"] == "Namespace":
            continue
        namespace = f"{page.stem.lower()}-{n}"  # of its own: pages use the same names
        applied = into(cluster, namespace, document)
        body = {k: v for k, v in document.items() if k != "metadata"}
        assert kept(body, applied), f"{page.name}: {document['metadata']['name']}"


def test_what_is_no_field_is_found(cluster: Cluster) -> None:
    """Else the test above would pass whatever pages say."""
    document = objects(ROOT / "docs/tutorial.md")[0]
    wrong = {**document, "spec": {**document["spec"], "replcas": []}}
    with pytest.raises(ValueError, match="replcas"):
        parse_object(wrong)
    assert not kept({"spec": wrong["spec"]}, into(cluster, "wrong", wrong))
    with pytest.raises(ManifestError, match="region"):
        into(cluster, "wrong", {**document, "spec": {**document["spec"], "region": "us-east-1"}})


def test_the_patches_of_the_tutorial_fit_its_image(cluster: Cluster) -> None:
    text = (ROOT / "docs/tutorial.md").read_text()
    image = next(d for d in objects(ROOT / "docs/tutorial.md") if d["kind"] == "GoldenImage")
    applied = into(cluster, "steps", image)
    patches = [json.loads(p) for _, p in PATCH.findall(text)]
    assert len(patches) >= 5
    for patch in patches:
        applied = into(cluster, "steps", {**image, **patch})
        assert kept(patch["spec"], applied["spec"])
        parse_object({k: applied[k] for k in ("apiVersion", "kind", "metadata", "spec")})
    pinned, promotion = applied["spec"]["pinnedVersion"], applied["spec"]["promotion"]
    assert (pinned, promotion["mode"]) == (1, "Manual")
    assert '[{"op": "remove", "path": "/spec/pinnedVersion"}]' in text


def test_objects_of_ours_are_of_the_served_version() -> None:
    for page in PAGES:
        for block in blocks(page):
            for version in re.findall(r"^apiVersion: (\S+)$", block, re.MULTILINE):
                assert not version.startswith(GROUP) or version == API_VERSION, page.name
