"""The examples of docs/access.md are what the operator and IAM take."""

import json
import re
from pathlib import Path

import yaml

from gilder.api.access import AccessFile, NamespaceRule, load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/access.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_has_every_field() -> None:
    whole = load(blocks("yaml")[0])
    assert whole.model_fields_set == set(AccessFile.model_fields)
    first = whole.namespaces[0]
    assert first.model_fields_set == set(NamespaceRule.model_fields)
    target = whole.accounts[0]
    assert target.model_fields_set == set(type(target).model_fields)
    role = target.roles[1]
    assert role.model_fields_set == set(type(role).model_fields)


def test_the_component_that_it_names_is_there() -> None:
    (named,) = yaml.safe_load(blocks("yaml")[1])["components"]
    folder = (ROOT / "deploy/overlays/irsa" / named).resolve()
    assert yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] == "Component"
    found = yaml.safe_load((folder / "access.yaml").read_text())
    (text,) = found["data"].values()
    assert load(text).namespaces[0].names == ("*",)


def test_every_field_of_a_namespace_is_explained() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    fields = {f.alias for f in NamespaceRule.model_fields.values()}
    assert rows == fields


def test_trust_policies_are_json_for_one_principal() -> None:
    found = [json.loads(b) for b in blocks("json")]
    assert len(found) == 2
    for policy in found:
        (statement,) = policy["Statement"]
        assert statement["Principal"]["AWS"].startswith("arn:aws:iam::")
        assert "sts:ExternalId" in statement["Condition"]["StringEquals"]
