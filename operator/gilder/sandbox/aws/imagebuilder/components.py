"""Components: immutable build versions of YAML documents, and those that AWS manages."""

from collections.abc import Mapping
from typing import Any

import yaml

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder import names
from gilder.sandbox.aws.imagebuilder.names import COMPONENT, Reference, dotted
from gilder.sandbox.aws.imagebuilder.service import (
    dry_run,
    filtered,
    idempotent,
    only_own,
    operation,
    paged,
)
from gilder.sandbox.aws.imagebuilder.store import Resource, best, stamp, store
from gilder.sandbox.aws.registry import Call

# Components that recipes may name with `aws` as the account: name -> (version, type).
MANAGED: Mapping[str, tuple[names.Version, str]] = {
    "amazon-cloudwatch-agent-linux": ((1, 0, 1), "BUILD"),
    "aws-cli-version-2-linux": ((1, 0, 4), "BUILD"),
    "chrony-time-configuration-test": ((1, 0, 0), "TEST"),
    "reboot-linux": ((1, 0, 1), "BUILD"),
    "reboot-test-linux": ((1, 0, 0), "TEST"),
    "simple-boot-test-linux": ((1, 0, 0), "TEST"),
    "stig-build-linux-high": ((2025, 3, 0), "BUILD"),
    "update-linux": ((1, 0, 2), "BUILD"),
    "update-linux-kernel-5": ((1, 0, 1), "BUILD"),
    "yum-repository-test-linux": ((1, 0, 0), "TEST"),
}


def _managed(region: str) -> list[Resource]:
    out = []
    for name, (version, kind) in MANAGED.items():
        base = f"arn:aws:imagebuilder:{region}:aws:component/{name}/{dotted(version)}"
        shown = {
            "arn": f"{base}/1",
            "name": name,
            "version": dotted(version),
            "type": kind,
            "platform": "Linux",
            "owner": "Amazon",
            "state": {"status": "ACTIVE"},
            "encrypted": True,
            "dateCreated": "2024-01-01T00:00:00.000Z",
        }
        out.append(Resource(f"{base}/1", COMPONENT, name, shown, version, 1))
    return out


def find(call: Call, wanted: Reference) -> Resource | None:
    """The newest component build that an ARN with or without wildcards means."""
    if wanted.region != call.region or wanted.owner not in (call.account, "aws"):
        return None
    own = wanted.owner == call.account
    found: Resource | None = best(
        store(call).of(COMPONENT) if own else _managed(call.region), wanted
    )
    return found


def check_document(text: str) -> str:
    """The type of a component by its document: TEST if `test` is its only phase, else BUILD."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise names.invalid("data", f"The document is not YAML: {problem}") from problem
    phases = document.get("phases") if isinstance(document, dict) else None
    if not isinstance(phases, list) or not phases:
        raise names.invalid("data", "The document has no phases.")
    for phase in phases:
        if not isinstance(phase, dict) or not phase.get("name") or not phase.get("steps"):
            raise names.invalid("data", "Each phase needs a name and steps.")
    return "TEST" if [p["name"] for p in phases] == ["test"] else "BUILD"


@operation
@idempotent
def create_component(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateComponent.html

    The same name and version again makes a new build version, unless nothing differs.
    """
    name, version = names.check_name(call.need("name")), call.need("semanticVersion")
    numbers, slug = names.exact_version(version), names.slug(name)
    data = call.get("data")
    if (data is None) == (call.get("uri") is None):
        raise AwsError("InvalidParameterCombinationException", "Give exactly one of data and uri.")
    if data is None:
        raise AwsError("UnsupportedOperation", "The sandbox reads component data only inline.")
    kind = check_document(data)
    content = {
        k: call.params[k]
        for k in ("description", "platform", "supportedOsVersions", "data", "kmsKeyId")
        if call.params.get(k) is not None
    }
    builds = [r for r in store(call).of(COMPONENT) if r.slug == slug and r.version == numbers]
    if builds and all(builds[-1].shown.get(k) == v for k, v in content.items()):
        raise names.exists(COMPONENT, builds[-1].arn)
    dry_run(call)
    version_arn = names.arn(call, COMPONENT, slug, version)
    build = store(call).number(version_arn)
    arn = f"{version_arn}/{build}"
    shown = {
        "arn": arn,
        "name": name,
        "version": dotted(numbers),
        "type": kind,
        "owner": call.account,
        "state": {"status": "ACTIVE"},
        "encrypted": True,
        "dateCreated": stamp(),
        **content,
    }
    if call.get("changeDescription"):
        shown["changeDescription"] = call.get("changeDescription")
    tags = dict(call.get("tags", {}))
    store(call).resources[arn] = Resource(arn, COMPONENT, slug, shown, numbers, build, tags)
    return {
        "componentBuildVersionArn": arn,
        "latestVersionReferences": names.version_references(
            names.arn(call, COMPONENT, slug), numbers
        ),
    }


@operation
def get_component(call: Call) -> Mapping[str, Any]:
    text = call.need("componentBuildVersionArn")
    found = find(call, names.parse(text, COMPONENT, "componentBuildVersionArn"))
    if found is None:
        raise names.not_found(COMPONENT, text)
    return {
        "component": {**found.shown, "tags": found.tags},
        "latestVersionReferences": names.version_references(
            found.arn.rsplit("/", 2)[0], found.version
        ),
    }


def _visible(call: Call) -> list[Resource]:
    if only_own(call):
        return store(call).of(COMPONENT)
    return _managed(call.region) if call.get("owner") == "Amazon" else []


_VERSION_KEYS = ("name", "version", "description", "platform", "supportedOsVersions", "type")


@operation
def list_components(call: Call) -> Mapping[str, Any]:
    """One entry per version, or per name with `byName`."""
    found = filtered(
        call,
        _visible(call),
        {
            "description": lambda r: [r.shown.get("description", "")],
            "name": lambda r: [r.shown["name"]],
            "platform": lambda r: [r.shown["platform"]],
            "status": lambda r: [r.shown["state"]["status"]],
            "supportedOsVersion": lambda r: r.shown.get("supportedOsVersions", []),
            "type": lambda r: [r.shown["type"]],
            "version": lambda r: [dotted(r.version)],
        },
    )
    entries: dict[str, Resource] = {}
    for resource in sorted(found, key=lambda r: (r.slug, r.version, r.build)):
        base = resource.arn.rsplit("/", 1)[0]
        entries[base.rsplit("/", 1)[0] if call.get("byName") else base] = resource
    chosen, rest = paged(call, "ListComponents", list(entries.items()), lambda e: e[0])
    listed = []
    for arn, resource in chosen:
        entry = {k: v for k, v in resource.shown.items() if k in _VERSION_KEYS}
        shown_arn = f"{arn}/x.x.x" if call.get("byName") else arn
        entry |= {k: resource.shown[k] for k in ("owner", "dateCreated")}
        listed.append({"arn": shown_arn, "status": resource.shown["state"]["status"], **entry})
    return {"componentVersionList": listed, **rest}


@operation
def list_component_build_versions(call: Call) -> Mapping[str, Any]:
    text = call.get("componentVersionArn")
    found = store(call).of(COMPONENT)
    if text is not None:
        wanted = names.parse(text, COMPONENT, "componentVersionArn")
        if wanted.version is None or wanted.build is not None or "x" in wanted.version:
            raise names.invalid("componentVersionArn", "It must name one exact version.")
        found = [r for r in found if r.arn.rsplit("/", 1)[0] == text]
    chosen, rest = paged(call, "ListComponentBuildVersions", found, lambda r: r.arn)
    keys = {*_VERSION_KEYS, "arn", "state", "owner", "changeDescription", "dateCreated"}
    listed = [{**{k: v for k, v in r.shown.items() if k in keys}, "tags": r.tags} for r in chosen]
    return {"componentSummaryList": listed, **rest}


@operation
def delete_component(call: Call) -> Mapping[str, Any]:
    """Refused while a recipe names the version, with wildcards or without."""
    from gilder.sandbox.aws.imagebuilder.recipes import recipes_with

    text = call.need("componentBuildVersionArn")
    names.parse(text, COMPONENT, "componentBuildVersionArn")
    found = store(call).resources.get(text)
    if found is None:
        raise names.not_found(COMPONENT, text)
    users = recipes_with(call, found)
    if users:
        raise names.in_use(COMPONENT, text, users)
    del store(call).resources[text]
    return {"componentBuildVersionArn": text}
