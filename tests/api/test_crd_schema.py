"""The CRDs: structural, accepted by an API server, and the same as on disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gilder.api.conditions import Condition, ConditionType
from gilder.api.crd import crd_files, crds, structural
from gilder.api.goldenimage import GoldenImageSpec
from gilder.api.imageshare import ImageShareSpec
from gilder.sandbox.kubernetes.structural import check_definition

CRDS = {c["spec"]["names"]["kind"]: c for c in crds()}
DISK = Path(__file__).parents[2] / "crds"
BOTH = pytest.mark.parametrize("kind", CRDS)


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield at, schema
    for name, sub in schema.get("properties", {}).items():
        yield from nodes(sub, f"{at}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{at}.{key}")


@pytest.mark.parametrize("name", crd_files())
def test_on_disk_as_generated(name: str) -> None:
    assert (DISK / name).read_text() == crd_files()[name], "run: gilder crds --write crds"


@pytest.mark.parametrize("name", crd_files())
def test_yaml_reads_back(name: str) -> None:
    (crd,) = [c for c in CRDS.values() if c["metadata"]["name"] == name.removesuffix(".yaml")]
    assert yaml.safe_load(crd_files()[name]) == crd


@BOTH
def test_structural(kind: str) -> None:
    allowed = {
        "type", "description", "default", "properties", "required", "items", "enum", "pattern",
        "additionalProperties", "minItems", "maxItems", "minLength", "maxLength", "minimum",
        "maximum", "multipleOf", "minProperties", "maxProperties", "x-kubernetes-validations",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
        "x-kubernetes-preserve-unknown-fields",
    }  # fmt: skip
    for at, node in nodes(schema_of(kind)):
        assert set(node) <= allowed, at
        assert isinstance(node.get("type"), str), at
        assert node["type"] != "null", at
        if node["type"] == "array":
            assert "items" in node, at
        if node["type"] == "object":
            assert not ("properties" in node and "additionalProperties" in node), at


@BOTH
def test_an_api_server_takes_it(kind: str) -> None:
    assert check_definition(CRDS[kind]) == []


@BOTH
def test_lists_of_spec_are_bounded(kind: str) -> None:
    """Unbounded lists under a CEL rule cost more than an API server allows."""
    for at, node in nodes(schema_of(kind)["properties"]["spec"], "spec"):
        if node["type"] == "array" and "matchExpressions" not in at:
            assert "maxItems" in node, at


@BOTH
def test_rules_say_what_to_do(kind: str) -> None:
    for at, node in nodes(schema_of(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["rule"], at
            assert rule["message"], at


@BOTH
def test_names_and_columns(kind: str) -> None:
    spec = CRDS[kind]["spec"]
    assert spec["scope"] == "Namespaced"
    assert spec["names"]["categories"] == ["aws"]
    (version,) = spec["versions"]
    assert version["subresources"] == {"status": {}}
    schema = schema_of(kind)
    for column in version["additionalPrinterColumns"]:
        first, *rest = column["jsonPath"].split("[")[0].strip(".").split(".")
        if first == "metadata":
            continue
        node = schema["properties"][first]
        for name in rest:
            node = node["properties"][name]
        if column["type"] != "date" and not column["jsonPath"].endswith("]"):
            assert node["type"] in (column["type"], "array"), column


@BOTH
def test_conditions_merge_by_type(kind: str) -> None:
    conditions = schema_of(kind)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["properties"]["status"]["enum"] == ["True", "False", "Unknown"]


def test_an_optional_field_is_not_null_but_absent() -> None:
    account = structural(GoldenImageSpec)["properties"]["account"]
    assert account["type"] == "string"
    assert "default" not in account
    assert "account" not in structural(GoldenImageSpec)["required"]


def test_defaults_hold_no_nulls() -> None:
    versions = structural(ImageShareSpec)["properties"]["versions"]
    assert versions["default"] == {"select": "Latest"}


@pytest.mark.parametrize("kind", ConditionType)
def test_condition_types_are_such_as_kubernetes_takes(kind: ConditionType) -> None:
    made = Condition(
        type=kind.value, status="True", reason="Ok", last_transition_time="2030-01-01T00:00:00Z"
    )
    assert made.type.isalpha()
