"""Bodies as people write them: what parse_object and the CRD's schema say to each."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.api.crd import crds
from gilder.api.names import API_VERSION
from gilder.sandbox.kubernetes.rules import evaluate
from gilder.sandbox.kubernetes.schema import default, prune
from gilder.sandbox.kubernetes.validation import validate

AMI, INSTANCE = "ami-0123456789abcdef0", "i-0123456789abcdef0"
HOME, DR = "eu-west-1", "eu-central-1"
KEY = "arn:aws:kms:eu-west-1:111111111111:key/00000000-0000-0000-0000-000000000000"
ORG = "arn:aws:organizations::111111111111:organization/o-abcdefghij"
OU = "arn:aws:organizations::111111111111:ou/o-abcdefghij/ou-abcd-12345678"

SCHEMAS = {
    c["spec"]["names"]["kind"]: c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for c in crds()
}


def body(kind: str, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    metadata = {"name": "base", "namespace": "team", "creationTimestamp": "2030-01-01T00:00:00Z"}
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": copy.deepcopy(dict(spec)),
        **more,
    }


def image(**spec: Any) -> dict[str, Any]:
    whole = {"region": HOME, "source": {"image": {"id": AMI}}, **spec}
    return body("GoldenImage", {k: v for k, v in whole.items() if v is not ...})


def share(**spec: Any) -> dict[str, Any]:
    whole = {"imageRef": {"name": "base"}, **spec}
    return body("ImageShare", {k: v for k, v in whole.items() if v is not ...})


def of_source(**source: Any) -> dict[str, Any]:
    return image(source=source)


def server_says(obj: dict[str, Any]) -> list[Any]:
    """What an API server would refuse about the object."""
    schema = SCHEMAS[obj["kind"]]
    known, _ = prune(copy.deepcopy(obj), schema)
    whole = default(known, schema)
    return validate(whole, schema) or evaluate(whole, None, schema, "")


TAGS = {"team": "base"}
GOOD = {
    "smallest GoldenImage": image(),
    "smallest ImageShare": share(),
    "source by parameter": of_source(image={"ssmParameter": "/golden/al2023"}),
    "source by newest name": of_source(image={"newest": {"owners": ["self"], "name": "x-*"}}),
    "source by newest tags": of_source(image={"newest": {"owners": ["amazon"], "tags": TAGS}}),
    "newest of an architecture": of_source(
        image={"newest": {"owners": ["111111111111"], "name": "x", "architecture": "arm64"}}
    ),
    "source by instance id": of_source(instance={"id": INSTANCE}),
    "source by instance tags": of_source(instance={"tags": TAGS, "noReboot": True}),
    "short ids": of_source(image={"id": "ami-01234567"}),
    "key by ARN": image(encryption={"kmsKeyId": KEY}),
    "key by alias": image(encryption={"kmsKeyId": "alias/golden/base"}),
    "key by id": image(encryption={"kmsKeyId": "00000000-0000-0000-0000-000000000000"}),
    "multi-Region key": image(encryption={"kmsKeyId": "mrk-" + "0" * 32}),
    "key of another partition": image(encryption={"kmsKeyId": KEY.replace("aws:", "aws-cn:", 1)}),
    "replicas": image(replicas=[{"region": DR}, {"region": "us-gov-west-1", "kmsKeyId": KEY}]),
    "encryption and replicas": image(
        encryption={"kmsKeyId": KEY}, replicas=[{"region": DR, "kmsKeyId": "alias/dr"}]
    ),
    "naming": image(naming={"template": "gold/{name} ({version})"}),
    "everything else": image(
        account="111111111111",
        description="d",
        tags=TAGS,
        deletionPolicy="Delete",
        suspend=True,
        managementPolicy="Observe",
    ),
    "share by selector": share(imageRef={"selector": {"matchLabels": {"os": "al"}}}),
    "share by expression": share(
        imageRef={"selector": {"matchExpressions": [{"key": "os", "operator": "Exists"}]}}
    ),
    "share by id": share(imageRef={"images": [{"id": AMI, "region": HOME}]}),
    "all principals": share(
        accounts=["222222222222"], organizations=[ORG], organizationalUnits=[OU]
    ),
    "public": share(public=True, confirmPublic=True),
    "confirmed only": share(confirmPublic=True),
    "not public": share(public=False),
    "all versions": share(versions={"select": "All"}),
    "newest versions": share(versions={"select": "Newest", "count": 3}),
    "kms": share(kms={"mode": "None", "operations": ["Decrypt"]}),
    "regions": share(regions=[HOME, DR], mode="Additive"),
}


@pytest.mark.parametrize("obj", GOOD.values(), ids=GOOD)
def test_good(obj: dict[str, Any]) -> None:
    parsed = parse_object(obj)
    assert isinstance(parsed, GoldenImage if obj["kind"] == "GoldenImage" else ImageShare)
    assert parsed.metadata.key == "team/base"
    assert server_says(obj) == []


@pytest.mark.parametrize("obj", GOOD.values(), ids=GOOD)
def test_what_is_written_is_read_again(obj: dict[str, Any]) -> None:
    parsed = parse_object(obj)
    again = parse_object(parsed.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert again == parsed


@pytest.mark.parametrize("obj", GOOD.values(), ids=GOOD)
def test_the_defaults_of_the_server_are_those_of_the_models(obj: dict[str, Any]) -> None:
    schema = SCHEMAS[obj["kind"]]
    defaulted = default(copy.deepcopy(obj), schema)
    assert parse_object(defaulted).spec == parse_object(obj).spec


ONE_SOURCE = "give exactly one of image, instance, imageBuilder and job"
ONE_IMAGE = "give exactly one of id, ssmParameter and newest"
ONE_REF = "give exactly one of name, selector and images"

# name: (body, field that is named, part of what is said)
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no region": (image(region=...), "spec.region", "required"),
    "a Region that is none": (image(region="Ireland"), "spec.region", "'Ireland'"),
    "a zone": (image(region="eu-west-1a"), "spec.region", "'eu-west-1a'"),
    "no source": (image(source=...), "spec.source", "required"),
    "an empty source": (of_source(), "spec.source", ONE_SOURCE),
    "two sources": (
        of_source(image={"id": AMI}, instance={"id": INSTANCE}),
        "spec.source",
        ONE_SOURCE,
    ),
    "an empty image": (of_source(image={}), "spec.source.image", ONE_IMAGE),
    "two images": (
        of_source(image={"id": AMI, "ssmParameter": "/x"}),
        "spec.source.image",
        ONE_IMAGE,
    ),
    "an AMI id that is none": (of_source(image={"id": "ami-x"}), "spec.source.image.id", "'ami-x'"),
    "an AMI id in capitals": (
        of_source(image={"id": AMI.upper()}),
        "spec.source.image.id",
        "pattern",
    ),
    "an AMI id with a line end": (
        of_source(image={"id": AMI + "\n"}),
        "spec.source.image.id",
        "pattern",
    ),
    "a parameter with spaces": (
        of_source(image={"ssmParameter": "/a b"}),
        "spec.source.image.ssmParameter",
        "pattern",
    ),
    "a parameter for the image's own account": (
        image(
            account="222222222222",
            publish={"ssmParameter": {"name": "/golden", "accounts": ["222222222222"]}},
        ),
        "spec",
        "the image's own account has the parameter anyway",
    ),
    "a parameter with levels and no slash": (
        image(publish={"ssmParameter": {"name": "golden/{name}"}}),
        "spec.publish.ssmParameter",
        "must begin with /",
    ),
    "newest of anybody": (
        of_source(image={"newest": {"name": "x"}}),
        "spec.source.image.newest.owners",
        "required",
    ),
    "newest of no owner": (
        of_source(image={"newest": {"owners": [], "name": "x"}}),
        "spec.source.image.newest.owners",
        "at least 1",
    ),
    "newest of an unknown owner": (
        of_source(image={"newest": {"owners": ["canonical"], "name": "x"}}),
        "spec.source.image.newest.owners[0]",
        "'canonical'",
    ),
    "newest of everything": (
        of_source(image={"newest": {"owners": ["self"]}}),
        "spec.source.image.newest",
        "give a name pattern or tags",
    ),
    "newest by no tags": (
        of_source(image={"newest": {"owners": ["self"], "tags": {}}}),
        "spec.source.image.newest",
        "give a name pattern or tags",
    ),
    "an unknown architecture": (
        of_source(image={"newest": {"owners": ["self"], "name": "x", "architecture": "riscv"}}),
        "spec.source.image.newest.architecture",
        "'riscv'",
    ),
    "an instance without id and tags": (
        of_source(instance={}),
        "spec.source.instance",
        "give exactly one of id and tags",
    ),
    "an instance with both": (
        of_source(instance={"id": INSTANCE, "tags": TAGS}),
        "spec.source.instance",
        "give exactly one of id and tags",
    ),
    "an account of 11 digits": (image(account="12345678901"), "spec.account", "pattern"),
    "an account as a number": (image(account=111111111111), "spec.account", "string"),
    "a key that is none": (
        image(encryption={"kmsKeyId": "golden"}),
        "spec.encryption.kmsKeyId",
        "'golden'",
    ),
    "encryption without a key": (image(encryption={}), "spec.encryption.kmsKeyId", "required"),
    "home as a replica": (image(replicas=[{"region": HOME}]), "spec", "home Region"),
    "a replica twice": (image(replicas=[{"region": DR}, {"region": DR}]), "spec", "once"),
    "a replica without a key": (
        image(encryption={"kmsKeyId": KEY}, replicas=[{"region": DR}]),
        "spec",
        "each needs a kmsKeyId",
    ),
    "a name without a version": (
        image(naming={"template": "{name}"}),
        "spec.naming",
        "{version}",
    ),
    "a name with an unknown field": (
        image(naming={"template": "{date}-{version}"}),
        "spec.naming.template",
        "pattern",
    ),
    "a name with a character that AMI names lack": (
        image(naming={"template": "a:{version}"}),
        "spec.naming.template",
        "pattern",
    ),
    "a reserved tag": (image(tags={"aws:x": "1"}), "spec", "reserved"),
    "a tag of ours": (image(tags={"goldenimage.dev/image": "x"}), "spec", "reserved"),
    "too many tags": (image(tags={f"t{i}": "" for i in range(41)}), "spec.tags", "40"),
    "a long tag value": (image(tags={"t": "x" * 257}), "spec.tags.t", "256"),
    "an unknown policy": (
        image(deletionPolicy="Keep"),
        "spec.deletionPolicy",
        "'Retain', 'Orphan' or 'Delete'",
    ),
    "a long description": (image(description="x" * 256), "spec.description", "255"),
    "no imageRef": (share(imageRef=...), "spec.imageRef", "required"),
    "an empty imageRef": (share(imageRef={}), "spec.imageRef", ONE_REF),
    "two imageRefs": (
        share(imageRef={"name": "a", "images": [{"id": AMI, "region": HOME}]}),
        "spec.imageRef",
        ONE_REF,
    ),
    "an imageRef of no images": (share(imageRef={"images": []}), "spec.imageRef", ONE_REF),
    "an image without its Region": (
        share(imageRef={"images": [{"id": AMI}]}),
        "spec.imageRef.images[0].region",
        "required",
    ),
    "an empty selector": (
        share(imageRef={"selector": {}}),
        "spec.imageRef.selector",
        "selects nothing",
    ),
    "an unknown operator": (
        share(imageRef={"selector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}),
        "spec.imageRef.selector.matchExpressions[0].operator",
        "'Gt'",
    ),
    "an account that is none": (share(accounts=["all"]), "spec.accounts[0]", "'all'"),
    "an account twice": (share(accounts=["222222222222"] * 2), "spec", "accounts: an entry may"),
    "an organization by id": (
        share(organizations=["o-abcdefghij"]),
        "spec.organizations[0]",
        "pattern",
    ),
    "an OU as an organization": (share(organizations=[OU]), "spec.organizations[0]", "pattern"),
    "an organization as an OU": (
        share(organizationalUnits=[ORG]),
        "spec.organizationalUnits[0]",
        "pattern",
    ),
    "an OU twice": (
        share(organizationalUnits=[OU, OU]),
        "spec",
        "organizationalUnits: an entry may",
    ),
    "public once": (share(public=True), "spec", "needs confirmPublic: true"),
    "public and not confirmed": (
        share(public=True, confirmPublic=False),
        "spec",
        "needs confirmPublic: true",
    ),
    "newest without a count": (
        share(versions={"select": "Newest"}),
        "spec.versions",
        "count goes with select: Newest",
    ),
    "a count without newest": (
        share(versions={"count": 2}),
        "spec.versions",
        "count goes with select: Newest",
    ),
    "a count of none": (
        share(versions={"select": "Newest", "count": 0}),
        "spec.versions.count",
        "greater than or equal to 1",
    ),
    "no operations": (share(kms={"operations": []}), "spec.kms.operations", "at least 1"),
    "an unknown operation": (
        share(kms={"operations": ["Delete"]}),
        "spec.kms.operations[0]",
        "'Delete'",
    ),
    "an unknown kms mode": (share(kms={"mode": "Policy"}), "spec.kms.mode", "'Policy'"),
    "an unknown mode": (share(mode="Strict"), "spec.mode", "'Strict'"),
    "a Region twice": (share(regions=[HOME, HOME]), "spec", "regions: an entry may"),
}


@pytest.mark.parametrize(("obj", "field", "said"), BAD.values(), ids=BAD)
def test_bad(obj: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_object(obj)
    assert str(error.value).startswith(f"{field}: ")
    assert said in str(error.value)
    assert server_says(obj), "the API server would let it in"


def test_a_launch_template_named_twice() -> None:
    """Only the operator tells: the rule would cost an API server too much."""
    twice = [{"name": "web"}, {"name": "web", "region": HOME}]
    with pytest.raises(SpecError, match=r"launchTemplates: web of eu-west-1 is there twice"):
        parse_object(image(publish={"launchTemplates": twice}))
    parse_object(image(publish={"launchTemplates": [{"name": "web"}, {"name": "api"}]}))


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (image(regoin=HOME), "spec.regoin: unknown field; remove it or correct its name"),
        (
            of_source(image={"id": AMI, "name": "x"}),
            "spec.source.image.name: unknown field",
        ),
        ({**image(), "metadata": {}}, "metadata.name: required"),
        ({k: v for k, v in image().items() if k != "spec"}, "spec: required"),
        ({}, "kind: missing of no apiVersion is not ours"),
        ({**image(), "kind": "Silver"}, "kind: Silver of goldenimage.dev/v1alpha1 is not ours"),
        ({**image(), "apiVersion": "v1"}, "kind: GoldenImage of v1 is not ours"),
    ],
)
def test_bodies_that_an_api_server_would_not_send(obj: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_object(obj)
    assert said in str(error.value)


def test_every_error_has_its_line() -> None:
    with pytest.raises(SpecError) as error:
        parse_object(share(accounts=["x"], mode="Strict", imageRef=...))
    fields = [line.split(":")[0] for line in str(error.value).split("; ")]
    assert fields == ["spec.imageRef", "spec.accounts[0]", "spec.mode"]


class TestStatus:
    """A status is a report: one that cannot be read is dropped, and never blamed on people."""

    broken = {"versions": "many", "driftCorrected": "x"}

    def test_unknown_fields_are_skipped(self) -> None:
        parsed = parse_object({**image(), "status": {"ofTomorrow": 1, "sourceId": AMI}})
        assert isinstance(parsed, GoldenImage)
        assert parsed.status.source_id == AMI

    def test_unknown_fields_deep_inside_take_nothing_with_them(self) -> None:
        """After a step back to an older version: whom a share let in must not be forgotten."""
        shared = {"region": HOME, "imageId": AMI, "accounts": ["222222222222"]}
        told = [{**shared, "ofTomorrow": {"a": 1}}, {**shared, "region": DR, "accounts": []}]
        status = {"images": told, "lists": [{"source": "s", "accounts": [], "later": 1}]}
        before = copy.deepcopy(status)
        parsed = parse_object({**share(), "status": status})
        assert isinstance(parsed, ImageShare)
        assert [i.region for i in parsed.status.images] == [HOME, DR]
        assert parsed.status.images[0].accounts == ("222222222222",)
        assert [one.source for one in parsed.status.lists] == ["s"]
        assert status == before

    @pytest.mark.parametrize("obj", [image(), share()])
    def test_a_broken_one_is_dropped(self, obj: dict[str, Any]) -> None:
        parsed = parse_object({**obj, "status": {"driftCorrected": "x", "images": 3}})
        assert parsed.status.drift_corrected == 0

    def test_a_broken_one_beside_a_broken_spec_is_not_named(self) -> None:
        with pytest.raises(SpecError) as error:
            parse_object({**image(region="Ireland"), "status": self.broken})
        assert str(error.value).startswith("spec.region: ")
        assert "status" not in str(error.value)

    def test_none_is_none(self) -> None:
        assert parse_object({**image(), "status": None}) == parse_object(image())


class TestMetadata:
    """What decisions take from an object's metadata."""

    def parsed(self, **metadata: Any) -> Any:
        return parse_object({**image(), "metadata": {"name": "base", **metadata}}).metadata

    @pytest.mark.parametrize(
        ("annotations", "want"),
        [
            ({}, None),
            ({"goldenimage.dev/reconcile-now": "1"}, "1"),
            ({"reconcile.fluxcd.io/requestedAt": "t"}, "t"),
            ({"goldenimage.dev/reconcile-now": "1", "reconcile.fluxcd.io/requestedAt": "t"}, "1 t"),
            ({"goldenimage.dev/reconcile-now": ""}, None),
        ],
    )
    def test_reconcile_request(self, annotations: dict[str, str], want: str | None) -> None:
        assert self.parsed(annotations=annotations).reconcile_request == want

    @pytest.mark.parametrize(
        ("value", "want"), [("true", True), ("True", True), ("false", False), ("", False)]
    )
    def test_paused(self, value: str, want: bool) -> None:
        assert self.parsed(annotations={"goldenimage.dev/paused": value}).paused is want

    def test_deleting_and_abandoned(self) -> None:
        abandon = {"goldenimage.dev/abandon": "true"}
        gone = "2030-01-01T00:00:00Z"
        assert not self.parsed(annotations=abandon).abandoned
        assert self.parsed(annotations=abandon, deletionTimestamp=gone).abandoned
        assert self.parsed(deletionTimestamp=gone).deleting
        assert not self.parsed(deletionTimestamp=gone).abandoned
