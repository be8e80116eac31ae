"""What docs/publishing.md shows follows the same parameter, and is what the operator writes."""

import re
from pathlib import Path
from typing import Any

import yaml

from gilder.api import GoldenImage
from gilder.api.parse import parse_object

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/publishing.md").read_text()


def documents() -> list[Any]:
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    return [d for b in blocks for d in yaml.safe_load_all(b)]


def image() -> GoldenImage:
    found = parse_object(documents()[0])
    assert isinstance(found, GoldenImage)
    return found


def name() -> str:
    publish, meta = image().spec.publish, image().metadata
    assert publish is not None
    assert publish.ssm_parameter is not None
    return publish.ssm_parameter.named(meta.namespace, meta.name)


def test_every_example_names_the_parameter_that_is_published() -> None:
    assert name() == "/golden/base"
    assert f'resolve:ssm:{name()}"' in TEXT
    (terraform,) = re.findall(r"```hcl\n(.*?)```", TEXT, re.DOTALL)
    assert f'name = "{name()}"' in terraform
    (stack,) = [d for d in documents() if "Resources" in d]
    assert stack["Parameters"]["BaseImage"]["Default"] == name()
    follows = stack["Resources"]["Follows"]["Properties"]["LaunchTemplateData"]
    assert follows["ImageId"] == f"resolve:ssm:{name()}"


def test_node_classes_select_by_parameter_and_by_our_tags() -> None:
    by_parameter, by_tags = [d for d in documents() if d.get("kind") == "EC2NodeClass"]
    assert by_parameter["spec"]["amiSelectorTerms"] == [{"ssmParameter": name()}]
    (term,) = by_tags["spec"]["amiSelectorTerms"]
    assert term["tags"]["goldenimage.dev/image"] == image().metadata.key


def test_the_config_map_is_as_the_operator_writes_it() -> None:
    spec = image().spec
    assert spec.publish is not None
    assert spec.publish.config_map is not None
    (shown,) = [d for d in documents() if d.get("kind") == "ConfigMap"]
    assert shown["metadata"]["name"] == spec.publish.config_map.name
    assert shown["metadata"]["labels"] == {"goldenimage.dev/image": image().metadata.name}
    regions = {spec.region, *(r.region for r in spec.replicas)}
    assert set(shown["data"]) == {*regions, "version"}
    (pod,) = [d for d in documents() if "env" in d]
    assert pod["env"][0]["valueFrom"]["configMapKeyRef"]["key"] in regions
