"""The admission policies of the guard rails, evaluated with the sandbox's CEL library."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml

from gilder.api.crd import crds

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/components/guard-rails"
Object = dict[str, Any]

FILES = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
DOCUMENTS = [d for f in FILES for d in yaml.safe_load_all((FOLDER / f).read_text())]
POLICIES = {
    d["metadata"]["name"]: d["spec"] for d in DOCUMENTS if d["kind"] == "ValidatingAdmissionPolicy"
}
BINDINGS = [d for d in DOCUMENTS if d["kind"] == "ValidatingAdmissionPolicyBinding"]
(REGIONS,) = [d for d in DOCUMENTS if d["kind"] == "ConfigMap"]


def run(expression: str, context: Object) -> Any:
    """One expression; of Kubernetes' own extensions the policies use only `join`."""
    with_functions = cel.Context()
    for name, value in context.items():
        with_functions.add_variable(name, value)
    with_functions.add_function("join", lambda parts, by: by.join(parts))
    return cel.compile(expression).execute(with_functions)


def refusals(
    name: str,
    new: Object,
    old: Object | None = None,
    *,
    namespace: dict[str, str] | None = None,
    params: Object = REGIONS,
) -> list[str]:
    """What the API server would say with this policy; nothing when it lets the object in."""
    spec = POLICIES[name]
    context: Object = {
        "object": new,
        "oldObject": old or {},
        "request": {"operation": "UPDATE" if old else "CREATE"},
        "namespaceObject": {"metadata": {"labels": namespace} if namespace is not None else {}},
        "params": params,
    }
    if not all(run(c["expression"], context) for c in spec["matchConditions"]):
        return []
    variables: Object = {}
    context["variables"] = variables
    for variable in spec.get("variables", ()):
        variables[variable["name"]] = run(variable["expression"], context)
    said = []
    for validation in spec["validations"]:
        allowed = run(validation["expression"], context)
        assert isinstance(allowed, bool)
        if not allowed:
            told = validation.get("messageExpression")
            said.append(run(told, context) if told else validation["message"])
    return said


def image(*, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"name": "web", "namespace": "images"} | ({"labels": labels} if labels else {})
    source = {"image": {"id": "ami-0123456789abcdef0"}}
    return {"metadata": metadata, "spec": {"region": "eu-west-1", "source": source, **spec}}


def share(**spec: Any) -> Object:
    metadata = {"name": "web", "namespace": "images"}
    return {"metadata": metadata, "spec": {"imageRef": {"name": "web"}, **spec}}


def test_each_policy_is_bound_and_denies() -> None:
    assert sorted(b["spec"]["policyName"] for b in BINDINGS) == sorted(POLICIES)
    assert all(b["spec"]["validationActions"] == ["Deny"] for b in BINDINGS)
    for binding in BINDINGS:
        reference = binding["spec"].get("paramRef")
        assert ("paramKind" in POLICIES[binding["spec"]["policyName"]]) == bool(reference)
        if reference:
            assert reference["name"] == REGIONS["metadata"]["name"]
            assert reference["namespace"] == REGIONS["metadata"]["namespace"]
            assert reference["parameterNotFoundAction"] == "Deny"


@pytest.mark.parametrize("name", POLICIES)
def test_it_is_asked_about_our_kinds_alone(name: str) -> None:
    (rule,) = POLICIES[name]["matchConstraints"]["resourceRules"]
    assert rule["apiGroups"] == ["goldenimage.dev"]
    # No status: what the operator writes there is its own affair. No DELETE: that must always work.
    assert set(rule["operations"]) == {"CREATE", "UPDATE"}
    assert set(rule["resources"]) < {"goldenimages", "imageshares"}
    assert POLICIES[name]["failurePolicy"] == "Fail"


@pytest.mark.parametrize("name", POLICIES)
def test_every_field_that_it_reads_is_in_the_crd(name: str) -> None:
    """A misspelt field behind has() would let everything through."""
    spec = POLICIES[name]
    (plural,) = spec["matchConstraints"]["resourceRules"][0]["resources"]
    (crd,) = [c for c in crds() if c["spec"]["names"]["plural"] == plural]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    text = yaml.safe_dump([spec.get("variables", []), spec["validations"]])
    paths = {
        word.strip("().!,?")
        for line in text.splitlines()
        for word in line.replace("(", " ").replace(")", " ").split()
        if word.strip("().!,?").startswith("object.spec.")
    }
    assert paths
    for path in paths:
        at = schema
        for part in path.removesuffix(".map").split(".")[1:]:
            assert part in at["properties"], path
            at = at["properties"][part]


def test_public_takes_a_labelled_namespace() -> None:
    public = share(public=True, confirmPublic=True)
    told = ["spec.public needs the label goldenimage.dev/may-be-public=true on the namespace"]
    name, label = "gilder-public", "goldenimage.dev/may-be-public"
    assert refusals(name, share()) == []
    assert refusals(name, share(public=False)) == []
    assert refusals(name, public) == told
    assert refusals(name, public, namespace={}) == told
    assert refusals(name, public, namespace={label: "no"}) == told
    assert refusals(name, public, namespace={label: "true"}) == []
    assert refusals(name, public, share()) == told


def test_deletion_takes_a_label_on_the_image() -> None:
    name, label = "gilder-deletion", {"goldenimage.dev/may-delete": "true"}
    (told,) = refusals(name, image(deletionPolicy="Delete"))
    assert "goldenimage.dev/may-delete=true" in told
    assert refusals(name, image()) == []
    assert refusals(name, image(deletionPolicy="Retain")) == []
    assert refusals(name, image(deletionPolicy="Delete", labels=label)) == []
    other = {"goldenimage.dev/may-delete": "false"}
    assert refusals(name, image(deletionPolicy="Delete", labels=other))
    # The label cannot be taken off alone: then the object would be one that nobody may write.
    labelled = image(deletionPolicy="Delete", labels=label)
    assert refusals(name, image(deletionPolicy="Delete"), labelled)


def test_jobs_take_a_labelled_namespace() -> None:
    name, label = "gilder-jobs", "goldenimage.dev/may-run-jobs"
    job = image(source={"job": {"template": {}}})
    assert refusals(name, image()) == []
    assert refusals(name, job)
    assert refusals(name, job, namespace={label: "true"}) == []


def test_regions_are_the_keys_of_the_config_map() -> None:
    name = "gilder-image-regions"
    assert refusals(name, image(replicas=[{"region": "eu-central-1"}])) == []
    (told,) = refusals(name, image(replicas=[{"region": "us-east-1"}, {"region": "sa-east-1"}]))
    assert told.endswith(": us-east-1, sa-east-1")
    (told,) = refusals(name, image(region="us-east-1"))
    assert told.endswith(": us-east-1")
    assert refusals(name, image(), params={})
    name = "gilder-share-regions"
    assert refusals(name, share()) == []
    assert refusals(name, share(regions=["eu-west-1"])) == []
    assert refusals(name, share(regions=["us-east-1"]))
    plain = {"images": [{"id": "ami-0123456789abcdef0", "region": "us-east-1"}]}
    assert refusals(name, share(imageRef=plain))


REFUSED: list[tuple[str, Callable[[], Object]]] = [
    ("gilder-public", lambda: share(public=True)),
    ("gilder-deletion", lambda: image(deletionPolicy="Delete")),
    ("gilder-jobs", lambda: image(source={"job": {}})),
    ("gilder-image-regions", lambda: image(region="us-east-1")),
    ("gilder-share-regions", lambda: share(regions=["us-east-1"])),
]


@pytest.mark.parametrize(("name", "made"), REFUSED)
def test_what_was_there_before_the_rule_can_still_go(name: str, made: Callable[[], Object]) -> None:
    """The operator's finalizer must come off, or the object could never be deleted."""
    old, new = made(), made()
    old["metadata"]["finalizers"] = ["goldenimage.dev/finalizer"]
    new["metadata"] |= {"finalizers": [], "annotations": {"goldenimage.dev/abandon": "true"}}
    assert refusals(name, new, old) == []
    changed = made()
    changed["spec"]["suspend"] = True
    assert refusals(name, changed, old)


def test_every_policy_has_been_seen_to_refuse() -> None:
    assert {name for name, _ in REFUSED} == set(POLICIES)
