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


ARN = "arn:aws:imagebuilder:eu-central-1:aws:component/update-linux/x.x.x"
DEVICE = "/dev/xvda"
INFRASTRUCTURE = {"instanceProfile": "builder"}
NETWORK = {"subnetId": "subnet-12345678", "securityGroupIds": ["sg-12345678"]}
PIPELINE = "arn:aws:imagebuilder:eu-central-1:123456789012:image-pipeline/web"
CONTAINERS = {"spec": {"containers": [{"name": "bake", "image": "bake:1"}]}}
CONFIG_MAP = {"configMap": {"name": "template"}}
GIT = {"repository": "https://git.example.com/images.git"}


def recipe(**fields: Any) -> dict[str, Any]:
    return {"parentImage": IMAGE, "components": [{"arn": ARN}], **fields}


def built(infrastructure: dict[str, Any] = INFRASTRUCTURE, **fields: Any) -> dict[str, Any]:
    """Of a recipe by Image Builder."""
    return source({"imageBuilder": {"recipe": recipe(**fields), "infrastructure": infrastructure}})


def component(**fields: Any) -> dict[str, Any]:
    return built(components=[fields])


def device(**fields: Any) -> dict[str, Any]:
    return built(blockDevices=[{"device": DEVICE, **fields}])


def packer(**template: Any) -> dict[str, Any]:
    return source({"job": {"preset": "packer", "packer": {"template": template}}})


OWN, OTHER = "111111111111", "222222222222"


def published_to(*accounts: str) -> dict[str, Any]:
    return {"ssmParameter": {"name": "/golden", "accounts": list(accounts)}}


def replica(**fields: Any) -> dict[str, Any]:
    return image(replicas=[{"region": "eu-west-1", **fields}])


def template(**fields: Any) -> dict[str, Any]:
    return image(publish={"launchTemplates": [fields]})


def inspector(**most: int) -> dict[str, Any]:
    return image(gates={"inspector": {"maxFindings": most}})


def checked(**instance: Any) -> dict[str, Any]:
    return image(gates={"ssm": {"instance": {"profile": "test", **instance}}})


BY_ID = {"images": [{"id": "ami-12345678", "region": "eu-west-1"}]}
ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-abcde12345"
UNTIL = "2030-01-01T00:00:00Z"


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
        [
            source({"image": IMAGE}),
            source({"image": {"ssmParameter": "/golden/base"}}),
            built(parentImage={"newest": NEWEST}),
        ],
        [
            source({"image": {}}),
            built(parentImage={**IMAGE, "newest": NEWEST}),
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
        "give exactly one of image, instance, imageBuilder and job",
        [
            source({"image": IMAGE}),
            source({"instance": {"id": "i-12345678"}}),
            source({"imageBuilder": {"pipelineArn": PIPELINE}}),
            packer(**CONFIG_MAP),
        ],
        [
            source({}),
            source({"image": IMAGE, "instance": {"id": "i-12345678"}}),
            source({"image": IMAGE, "imageBuilder": {"pipelineArn": PIPELINE}}),
            source({"instance": {"id": "i-12345678"}, "job": {"template": CONTAINERS}}),
        ],
    ),
    (
        "goldenimages",
        "schedule: source.image is followed as it changes; there is nothing to build anew",
        [
            image(),
            {**source({"instance": {"id": "i-12345678"}}), "schedule": {"cron": "0 3 * * 1"}},
        ],
        [image(schedule={"cron": "0 3 * * 1"}), image(schedule={})],
    ),
    (
        "goldenimages",
        "give exactly one of pipelineArn and recipe",
        [source({"imageBuilder": {"pipelineArn": PIPELINE}}), built()],
        [
            source({"imageBuilder": {}}),
            source(
                {
                    "imageBuilder": {
                        "pipelineArn": PIPELINE,
                        "recipe": recipe(),
                        "infrastructure": INFRASTRUCTURE,
                    }
                }
            ),
        ],
    ),
    (
        "goldenimages",
        "infrastructure belongs to recipe, which needs it",
        [built(), source({"imageBuilder": {"pipelineArn": PIPELINE}})],
        [
            source({"imageBuilder": {"recipe": recipe()}}),
            source({"imageBuilder": {"pipelineArn": PIPELINE, "infrastructure": INFRASTRUCTURE}}),
        ],
    ),
    (
        "goldenimages",
        "give exactly one of arn, check and document",
        [component(arn=ARN), component(check="Patched"), component(name="a", document="x: y")],
        [component(), component(arn=ARN, check="Patched")],
    ),
    (
        "goldenimages",
        "name belongs to document, which needs it",
        [component(name="a", document="x: y"), component(check="Patched")],
        [component(document="x: y"), component(arn=ARN, name="a")],
    ),
    (
        "goldenimages",
        "give a volume, or remove: true",
        [device(volume={"size": 20}), device(remove=True), device(volume={}, remove=False)],
        [device(), device(remove=False), device(volume={"size": 20}, remove=True)],
    ),
    (
        "goldenimages",
        "subnetId and securityGroupIds go together",
        [
            built({**INFRASTRUCTURE, **NETWORK}),
            built({**INFRASTRUCTURE, "securityGroupIds": []}),
            checked(**NETWORK),
            checked(),
        ],
        [
            built({**INFRASTRUCTURE, "subnetId": "subnet-12345678"}),
            built({**INFRASTRUCTURE, **NETWORK, "securityGroupIds": []}),
            checked(securityGroupIds=["sg-12345678"]),
        ],
    ),
    (
        "goldenimages",
        "preset: packer and packer go together",
        [packer(**CONFIG_MAP), source({"job": {"template": CONTAINERS}})],
        [
            source({"job": {"preset": "packer", "template": CONTAINERS}}),
            source({"job": {"packer": {"template": CONFIG_MAP}, "template": CONTAINERS}}),
        ],
    ),
    (
        "goldenimages",
        "give a preset or a template",
        [packer(**CONFIG_MAP), source({"job": {"template": CONTAINERS}})],
        [source({"job": {}}), source({"job": {"serviceAccountName": "packer"}})],
    ),
    (
        "goldenimages",
        "give exactly one of configMap and git",
        [packer(**CONFIG_MAP), packer(git=GIT)],
        [packer(), packer(**CONFIG_MAP, git=GIT)],
    ),
    (
        "goldenimages",
        "must not hold ..",
        [packer(git={**GIT, "path": "images/web"}), packer(git={**GIT, "path": "."})],
        [packer(git={**GIT, "path": "images/../web"}), packer(git={**GIT, "path": "a.."})],
    ),
    (
        "goldenimages",
        "name at least one severity",
        [inspector(critical=0), inspector(low=10), inspector(high=1, medium=5)],
        [inspector()],
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
        "replicas: each needs a kmsKeyId when encryption is set: KMS keys are Regional. Only a "
        "multi-Region key (mrk-...) need not be named again",
        [
            image(
                encryption={"kmsKeyId": "mrk-0123456789abcdef0123456789abcdef"},
                replicas=[{"region": "eu-west-2"}],
            ),
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
        "keys that start with aws: or goldenimage.dev/ are reserved",
        [share(consumerTags={"tags": {"a": "b"}}), share(consumerTags={})],
        [share(consumerTags={"tags": {"aws:a": "b"}})],
    ),
    (
        "imageshares",
        "namespace goes with name and selector, only",
        [
            share(imageRef={"name": "web", "namespace": "n"}),
            share(imageRef={"selector": {"matchLabels": {"a": "b"}}, "namespace": "n"}),
            share(imageRef=BY_ID),
        ],
        [share(imageRef={**BY_ID, "namespace": "n"})],
    ),
    (
        "imageshares",
        "account goes with images, only: a GoldenImage has its own spec.account",
        [share(imageRef={**BY_ID, "account": "222222222222"}), share(imageRef={"name": "web"})],
        [share(imageRef={"name": "web", "account": "222222222222"})],
    ),
    (
        "imageshares",
        "give exactly one of configMap, ssmParameter, organization and organizationalUnit",
        [
            share(accountsFrom=[{"configMap": {"name": "a"}}]),
            share(accountsFrom=[{"ssmParameter": {"name": "/a", "region": "eu-west-1"}}]),
            share(accountsFrom=[{"organization": ORGANIZATION, "allowEmpty": True}]),
        ],
        [
            share(accountsFrom=[{}]),
            share(accountsFrom=[{"configMap": {"name": "a"}, "organization": ORGANIZATION}]),
        ],
    ),
    (
        "imageshares",
        "give exactly one of account, organization and organizationalUnit",
        [share(temporary=[{"account": "222222222222", "until": UNTIL}])],
        [
            share(temporary=[{"until": UNTIL}]),
            share(
                temporary=[
                    {"account": "222222222222", "organization": ORGANIZATION, "until": UNTIL}
                ]
            ),
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
        "goldenimages",
        "give cron",
        [replica(schedule={"cron": "0 3 * * *"}), replica()],
        [replica(schedule={}), replica(schedule={"timezone": "UTC"})],
    ),
    (
        "goldenimages",
        "soakTime goes with mode Soak, and only so",
        [
            image(promotion={"mode": "Soak", "soakTime": "2d"}),
            image(promotion={"mode": "Manual"}),
            image(promotion={}),
        ],
        [
            image(promotion={"mode": "Soak"}),
            image(promotion={"mode": "Manual", "soakTime": "2d"}),
            image(promotion={"soakTime": "2d"}),
        ],
    ),
    (
        "goldenimages",
        "names that start with aws or ssm are reserved by AWS",
        [image(publish={"ssmParameter": {"name": n}}) for n in ("/golden/{name}", "golden")],
        [image(publish={"ssmParameter": {"name": n}}) for n in ("/aws/golden", "ssm", "/ssm/a")],
    ),
    (
        "goldenimages",
        "publish.ssmParameter.accounts: the image's own account has the parameter anyway; take it "
        "out",
        [image(account=OWN, publish=published_to(OTHER)), image(publish=published_to(OWN))],
        [image(account=OWN, publish=published_to(OTHER, OWN))],
    ),
    (
        "goldenimages",
        "a name with levels must begin with /",
        [image(publish={"ssmParameter": {"name": n}}) for n in ("/golden/{name}", "golden-{name}")],
        [image(publish={"ssmParameter": {"name": n}}) for n in ("golden/{name}", "{name}/ami")],
    ),
    (
        "goldenimages",
        "give exactly one of id and name",
        [template(id="lt-12345678"), template(name="web")],
        [template(), template(id="lt-12345678", name="web")],
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
