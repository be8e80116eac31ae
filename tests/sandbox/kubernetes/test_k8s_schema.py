"""Pruning, defaulting and validation by structural schemas."""

from typing import Any

import pytest

from gilder.sandbox.kubernetes.schema import default, prune
from gilder.sandbox.kubernetes.structural import check_definition
from gilder.sandbox.kubernetes.validation import validate

PRESERVE = "x-kubernetes-preserve-unknown-fields"


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def messages(value: Any, schema: dict[str, Any]) -> list[str]:
    return [str(c) for c in validate(value, schema, "spec")]


def test_unknown_fields_are_pruned_at_every_level() -> None:
    schema = obj(
        spec=obj(
            a={"type": "string"},
            items={"type": "array", "items": obj(b={"type": "integer"})},
            map={"type": "object", "additionalProperties": obj(c={"type": "string"})},
            free={"type": "object", PRESERVE: True},
        )
    )
    body = {
        "apiVersion": "g/v1",
        "kind": "K",
        "metadata": {"name": "x", "labels": {"a": "b"}, "oops": 1},
        "spec": {
            "a": "1",
            "no": 1,
            "items": [{"b": 1, "z": 2}],
            "map": {"k": {"c": "1", "z": 2}},
            "free": {"any": {"thing": [1]}},
        },
        "top": 1,
    }
    pruned, dropped = prune(body, schema)
    assert pruned == {
        "apiVersion": "g/v1",
        "kind": "K",
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {
            "a": "1",
            "items": [{"b": 1}],
            "map": {"k": {"c": "1"}},
            "free": {"any": {"thing": [1]}},
        },
    }
    assert sorted(dropped) == [
        "metadata.oops",
        "spec.items[0].z",
        "spec.map.k.z",
        "spec.no",
        "top",
    ]


def test_defaults_are_filled_in_recursively_and_null_gives_way_to_them() -> None:
    inner = obj(b={"type": "string", "default": "x"})
    schema = obj(
        with_default={**inner, "default": {}},
        without=inner,
        listed={"type": "array", "items": inner},
        mapped={"type": "object", "additionalProperties": inner},
        nulled={"type": "string", "default": "d"},
        nullable={"type": "string", "default": "d", "nullable": True},
    )
    given = {"listed": [{}], "mapped": {"k": {}}, "nulled": None, "nullable": None}
    assert default(given, schema) == {
        "with_default": {"b": "x"},
        "listed": [{"b": "x"}],
        "mapped": {"k": {"b": "x"}},
        "nulled": "d",
        "nullable": None,
    }
    assert given["nulled"] is None


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (
            1,
            {"type": "string"},
            'spec: Invalid value: "integer": spec in body must be of type string: "integer"',
        ),
        (
            None,
            {"type": "string"},
            'spec: Invalid value: "null": spec in body must be of type string: "null"',
        ),
        (
            True,
            {"type": "integer"},
            'spec: Invalid value: "boolean": spec in body must be of type integer: "boolean"',
        ),
        (
            "x",
            {"type": "string", "enum": ["a", "b"]},
            'spec: Unsupported value: "x": supported values: "a", "b"',
        ),
        (
            "x",
            {"type": "string", "pattern": "^a$"},
            "spec: Invalid value: \"x\": spec in body should match '^a$'",
        ),
        (
            "abc",
            {"type": "string", "maxLength": 2},
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            "a",
            {"type": "string", "minLength": 2},
            'spec: Invalid value: "a": spec in body should be at least 2 chars long',
        ),
        (
            0,
            {"type": "integer", "minimum": 1},
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            9,
            {"type": "integer", "maximum": 8},
            "spec: Invalid value: 9: spec in body should be less than or equal to 8",
        ),
        ({}, {"type": "object", "required": ["a"]}, "spec.a: Required value"),
        (
            {"a": 1, "b": 2},
            {"type": "object", "maxProperties": 1},
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            [1, 2],
            {"type": "array", "maxItems": 1},
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            [],
            {"type": "array", "minItems": 1},
            "spec: Invalid value: []: spec in body should have at least 1 items",
        ),
        (
            ["a", "a"],
            {"type": "array", "x-kubernetes-list-type": "set"},
            'spec[1]: Duplicate value: "a"',
        ),
        (
            [{"k": "a", "v": 1}, {"k": "a", "v": 2}],
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            'spec[1]: Duplicate value: {"k":"a"}',
        ),
        (
            "noon",
            {"type": "string", "format": "date-time"},
            'spec: Invalid value: "noon": spec in body must be of type date-time: "noon"',
        ),
    ],
)
def test_a_violation_is_worded_as_by_the_api_server(
    value: Any, schema: dict[str, Any], expected: str
) -> None:
    assert messages(value, schema) == [expected]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"type": "number"}),
        (1.0, {"type": "integer"}),
        (None, {"type": "string", "nullable": True}),
        ("é", {"type": "string", "maxLength": 1}),
        ("80%", {"x-kubernetes-int-or-string": True}),
        (80, {"x-kubernetes-int-or-string": True}),
        ("xay", {"type": "string", "pattern": "a"}),
    ],
)
def test_valid_values_pass(value: Any, schema: dict[str, Any]) -> None:
    assert messages(value, schema) == []


def test_a_pattern_ends_where_the_value_ends() -> None:
    """In Go `$` is the end of the text; in Python also before a final newline."""
    assert messages("a\n", {"type": "string", "pattern": "^a$"}) != []
    assert messages("a$", {"type": "string", "pattern": r"^a[$]$"}) == []
    assert messages("a$", {"type": "string", "pattern": r"^a\$$"}) == []


def definition(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, "type: Required value"),
        ({"type": "array"}, "items: Required value"),
        ({"type": "object", "additionalProperties": False}, "additionalProperties cannot be false"),
        ({"type": "string", "$ref": "#/x"}, "$ref is not supported"),
        ({"type": "string", "pattern": "("}, "must be a valid regular expression"),
        ({"type": "string", "default": 1}, "must be of type string"),
        ({**obj(), "default": {"no": 1}}, "must not have unknown fields"),
        (
            {
                "type": "array",
                "items": obj(k={"type": "string"}),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            "must have a default or be a required property",
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(node: dict[str, Any], expected: str) -> None:
    causes = check_definition(definition(obj(spec=obj(a=node))))
    assert any(expected in str(c) for c in causes), causes


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("self.a ==", "compilation failed"),
        ("self.missing == 'x'", "undefined field 'missing'"),
        ("other == 'x'", "undeclared reference to 'other'"),
        ("self.a.unheardOf()", "undeclared reference to 'unheardOf'"),
        ("", "rule is not specified"),
    ],
)
def test_a_rule_that_cannot_be_evaluated_is_refused_with_its_crd(rule: str, expected: str) -> None:
    node = {**obj(a={"type": "string"}), "x-kubernetes-validations": [{"rule": rule}]}
    causes = check_definition(definition(obj(spec=node)))
    assert len(causes) == 1
    assert expected in str(causes[0])


def test_a_default_that_a_rule_refuses_is_refused() -> None:
    rule = {"rule": "self != 'x'", "message": "not x"}
    node = {"type": "string", "default": "x", "x-kubernetes-validations": [rule]}
    (cause,) = check_definition(definition(obj(spec=obj(a=node))))
    assert cause.field.endswith("properties[spec].properties[a].default")
    assert str(cause).endswith("not x")


def test_the_projects_crds_are_structural(crd_docs: list[dict[str, Any]]) -> None:
    assert len(crd_docs) == 2
    assert [check_definition(doc) for doc in crd_docs] == [[], []]
