"""Every CEL rule of the project's CRDs accepts what it should and refuses what it should."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from k8s_http import Client

KMS = "alias/golden"
IMAGE = {"id": "ami-12345678"}
NEWEST = {"owners": ["self"], "name": "base-*"}


def image(**spec: Any) -> dict[str, Any]:
    return {"region": "eu-central-1", "source": {"image": IMAGE}, **spec}


def source(value: dict[str, Any]) -> dict[str, Any]:
    return {"region": "eu-central-1", "source": value}


def share(**spec: Any) -> dict[str, Any]:
    return {"imageRef": {"name": "web"}, **spec}


# plural, message, accepted specs, refused specs
CASES: list[tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    (
        "goldenimages",
        "give a name pattern or tags: the newest AMI of an owner alone is arbitrary",
        [
            source({"image": {"newest": NEWEST}}),
            source({"image": {"newest": {"owners": ["self"], "tags": {"a": "b"}}}}),
        ],
        [
            source({"image": {"newest": {"owners": ["self"]}}}),
            source({"image": {"newest": {"owners": ["self"], "tags": {}}}}),
        ],
    ),
    (
        "goldenimages",
        "give exactly one of id, ssmParameter and newest",
        [source({"image": IMAGE}), source({"image": {"ssmParameter": "/golden/base"}})],
        [
            source({"image": {}}),
            source({"image": {**IMAGE, "ssmParameter": "/golden/base"}}),
            source({"image": {**IMAGE, "ssmParameter": "/golden/base", "newest": NEWEST}}),
        ],
    ),
    (
        "goldenimages",
        "give exactly one of id and tags",
        [
            source({"instance": {"id": "i-12345678"}}),
            source({"instance": {"tags": {"a": "b"}}}),
        ],
        [
            source({"instance": {}}),
            source({"instance": {"id": "i-12345678", "tags": {"a": "b"}}}),
        ],
    ),
    (
        "goldenimages",
        "give exactly one of image and instance",
        [source({"image": IMAGE}), source({"instance": {"id": "i-12345678"}})],
        [source({}), source({"image": IMAGE, "instance": {"id": "i-12345678"}})],
    ),
    (
        "goldenimages",
        "must contain {version}: AMI names are unique",
        [image(naming={"template": "x-{version}"})],
        [image(naming={"template": "x-{name}"})],
    ),
    (
        "goldenimages",
        "keys that start with aws: or goldenimage.dev/ are reserved",
        [image(tags={"team": "a", "my-aws:x": "b"}), image(tags={})],
        [image(tags={"aws:x": "b"}), image(tags={"team": "a", "goldenimage.dev/x": "b"})],
    ),
    (
        "goldenimages",
        "replicas: the home Region cannot be a replica",
        [image(replicas=[{"region": "eu-west-1"}]), image(replicas=[])],
        [image(replicas=[{"region": "eu-west-1"}, {"region": "eu-central-1"}])],
    ),
    (
        "goldenimages",
        "replicas: each needs a kmsKeyId when encryption is set: KMS keys are Regional",
        [
            image(
                encryption={"kmsKeyId": KMS}, replicas=[{"region": "eu-west-1", "kmsKeyId": KMS}]
            ),
            image(encryption={"kmsKeyId": KMS}),
        ],
        [
            image(
                encryption={"kmsKeyId": KMS},
                replicas=[{"region": "eu-west-1", "kmsKeyId": KMS}, {"region": "eu-west-2"}],
            )
        ],
    ),
    (
        "imageshares",
        "give matchLabels or matchExpressions: an empty selector selects nothing",
        [
            share(imageRef={"selector": {"matchLabels": {"a": "b"}}}),
            share(
                imageRef={"selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
            ),
        ],
        [share(imageRef={"selector": {}}), share(imageRef={"selector": {"matchLabels": {}}})],
    ),
    (
        "imageshares",
        "give exactly one of name, selector and images",
        [
            share(),
            share(imageRef={"images": [{"id": "ami-12345678", "region": "eu-west-1"}]}),
        ],
        [
            share(imageRef={}),
            share(imageRef={"images": []}),
            share(imageRef={"name": "web", "selector": {"matchLabels": {"a": "b"}}}),
        ],
    ),
    (
        "imageshares",
        "count goes with select: Newest, only",
        [share(versions={"select": "Newest", "count": 2}), share(versions={"select": "All"})],
        [
            share(versions={"select": "Newest"}),
            share(versions={"count": 2}),
            share(versions={"select": "All", "count": 2}),
        ],
    ),
    (
        "imageshares",
        "public: needs confirmPublic: true beside it",
        [share(public=True, confirmPublic=True), share(public=False)],
        [share(public=True), share(public=True, confirmPublic=False)],
    ),
]
TRANSITIONS = {"is immutable: delete and create the GoldenImage to move it"}


def rules(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
        for value in node.values():
            yield from rules(value)
    elif isinstance(node, list):
        for value in node:
            yield from rules(value)


def test_every_rule_has_a_case(crd_docs: list[dict[str, Any]]) -> None:
    declared = {rule["message"] for rule in rules(crd_docs)}
    assert declared == {message for _, message, _, _ in CASES} | TRANSITIONS


@pytest.mark.parametrize(("plural", "message", "accepted", "refused"), CASES)
def test_rule_works_both_ways(
    http: Client,
    images: str,
    shares: str,
    plural: str,
    message: str,
    accepted: list[dict[str, Any]],
    refused: list[dict[str, Any]],
) -> None:
    path = images if plural == "goldenimages" else shares
    for spec in accepted:
        body = {"metadata": {"generateName": "good-"}, "spec": spec}
        http.ok("POST", path, json=body)
    for spec in refused:
        body = {"metadata": {"generateName": "bad-"}, "spec": spec}
        status = http.refused(422, "POST", path, json=body)
        assert message in status["message"]
        assert any(c["message"].endswith(message) for c in status["details"]["causes"])
    names = [i["metadata"]["name"] for i in http.ok("GET", path)["items"]]
    assert len(names) == len(accepted)
    assert all(name.startswith("good-") for name in names)


def test_transition_rule_compares_with_the_old_object(
    http: Client, images: str, golden_image: Callable[..., dict[str, Any]]
) -> None:
    (message,) = TRANSITIONS
    created = http.ok("POST", images, json=golden_image())
    same = copy.deepcopy(created)
    same["spec"]["description"] = "other"
    updated = http.ok("PUT", f"{images}/web", json=same)
    assert updated["metadata"]["generation"] == 2
    moved = copy.deepcopy(updated)
    moved["spec"]["region"] = "eu-west-1"
    status = http.refused(422, "PUT", f"{images}/web", json=moved)
    assert status["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": "spec.region",
            "message": f'Invalid value: "string": {message}',
        }
    ]
    assert http.ok("GET", f"{images}/web")["spec"]["region"] == "eu-central-1"


def test_rules_wait_until_the_object_fits_its_schema(http: Client, images: str) -> None:
    spec = {"region": "eu-central-1", "source": {}, "deletionPolicy": "Never"}
    body = {"metadata": {"name": "x"}, "spec": spec}
    message = http.refused(422, "POST", images, json=body)["message"]
    assert 'Unsupported value: "Never"' in message
    assert "some validation rules were not checked" in message
    assert "exactly one of" not in message


def test_a_rule_that_fails_in_evaluation_refuses_the_object(http: Client, namespace: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"a": {"type": "string"}, "n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.a == 'x'"}],
            },
            "mixed": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.n + 'x' == 'y'"}],
            },
        },
    }
    names = {"plural": "rules", "kind": "Rule"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "t.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    http.ok("POST", crds, json={"metadata": {"name": "rules.t.dev"}, "spec": spec})
    path = f"/apis/t.dev/v1/namespaces/{namespace}/rules"
    absent = {"metadata": {"name": "x"}, "spec": {}}
    assert "no such key" in http.refused(422, "POST", path, json=absent)["message"]
    # What the library cannot evaluate is an error of the server, not a pass.
    broken = {"metadata": {"name": "x"}, "mixed": {"n": 1}}
    http.refused(500, "POST", path, json=broken)
    assert http.ok("GET", path)["items"] == []
    http.ok("POST", path, json={"metadata": {"name": "x"}, "spec": {"a": "x"}})
