"""Writes what the Helm chart shares with the rest: CRDs, rules, alerts, the values' schema.

python deploy/chart.py [--check]

So that the chart and the kustomizations cannot drift apart, each is said in one place: the CRDs,
roles and admission policies in crds/ and deploy/, the settings in gilder.config. The templates read
the files.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from gilder.api.access import AccessFile
from gilder.config import Settings

DEPLOY = Path(__file__).parent
CHART = DEPLOY / "helm/gilder"
HEAD = "# Written by deploy/chart.py. Change what it reads instead.\n"
# The chart says these itself: by `access`, and by `leaderElection`.
OWN_SETTINGS = ("access_file", "lease")
GUARDS = ("public", "deletion", "jobs", "regions")

Schema = dict[str, Any]


def files() -> dict[Path, str]:
    """What is to be in the chart."""
    crds = sorted((DEPLOY.parent / "crds").glob("*.goldenimage.dev.yaml"))
    return {
        CHART / "values.schema.json": _rooted(json.dumps(values_schema(), indent=2)) + "\n",
        CHART / "files/rbac.yaml": _yaml(roles()),
        CHART / "files/alerts.yaml": _yaml(
            _documents("components/monitoring/rules.yaml")[0]["spec"]
        ),
        CHART / "files/guard-rails.yaml": _yaml(guard_rails()),
        CHART / "files/dashboard.json": (DEPLOY / "components/dashboard/gilder.json").read_text(),
        **{CHART / "files/crds" / crd.name: crd.read_text() for crd in crds},
    }


def roles() -> dict[str, Any]:
    """Rules by the name of the role; those of the Role, which is about the Lease, by `lease`."""
    found = {}
    for document in _documents("base/rbac.yaml") + _documents("base/roles-for-people.yaml"):
        if document["kind"] in ("ClusterRole", "Role"):
            name = "lease" if document["kind"] == "Role" else document["metadata"]["name"]
            found[name] = document["rules"]
    return found


def guard_rails() -> dict[str, Any]:
    """By file and policy: what it says, and what its binding says."""
    found: dict[str, Any] = {}
    for name in GUARDS:
        documents = _documents(f"components/guard-rails/{name}.yaml")
        policies = [d for d in documents if d["kind"] == "ValidatingAdmissionPolicy"]
        found[name] = {d["metadata"]["name"]: d["spec"] for d in policies}
    return found


def _documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text()))


def _yaml(value: Any) -> str:
    return HEAD + yaml.safe_dump(value, sort_keys=False, width=1000)


def values_schema() -> Schema:
    text: Schema = {"type": "string"}
    flag: Schema = {"type": "boolean"}
    free: Schema = {"type": "object"}
    texts: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
    frees: Schema = {"type": "array", "items": free}
    access = AccessFile.model_json_schema()
    definitions = access.pop("$defs")
    port = {"type": "integer", "minimum": 1024, "maximum": 65535}
    settings: Schema = {
        name: {k: v for k, v in field.items() if k not in ("title", "default")}
        for name, field in Settings.model_json_schema()["properties"].items()
        if name not in OWN_SETTINGS
    }
    settings["metrics_port"] |= port
    settings["health_port"] |= port
    name = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?)?$"}
    variable = _of(
        {
            "name": {"type": "string", "not": {"pattern": "^GILDER_"}},
            "value": text,
            "valueFrom": free,
        },
        ["name"],
    )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart gilder",
        "$comment": "Written by deploy/chart.py.",
        **_of(
            {
                "global": free,
                "nameOverride": name,
                "fullnameOverride": name,
                "image": _of(
                    {
                        "repository": {"type": "string", "minLength": 1},
                        "tag": text,
                        "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                    }
                ),
                "imagePullSecrets": {"type": "array", "items": _of({"name": text}, ["name"])},
                "replicaCount": {"type": "integer", "minimum": 0, "maximum": 5},
                "leaderElection": _of({"enabled": flag, "leaseName": name}),
                "settings": _of(settings),
                "extraEnv": {"type": "array", "items": variable},
                "aws": _of(
                    {
                        "identity": {"enum": ["none", "irsa", "pod-identity"]},
                        "roleArn": {
                            "type": "string",
                            "pattern": r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/\S+)?$",
                        },
                    }
                ),
                "access": _of({"enabled": flag, "existingConfigMap": text, "content": access}),
                "serviceAccount": _of({"create": flag, "name": text, "annotations": texts}),
                "rbac": _of(
                    {
                        "create": flag,
                        "perNamespace": flag,
                        "lists": flag,
                        "publishing": flag,
                        "people": flag,
                    }
                ),
                "crds": _of({"install": flag, "annotations": texts}),
                "resources": _of({"requests": free, "limits": free}),
                "podAnnotations": texts,
                "podLabels": texts,
                "nodeSelector": texts,
                "tolerations": frees,
                "affinity": free,
                "topologySpreadConstraints": frees,
                "priorityClassName": text,
                "podDisruptionBudget": _of({"enabled": flag}),
                "networkPolicy": _of(
                    {
                        "enabled": flag,
                        "metricsFrom": frees,
                        "apiPorts": {"type": "array", "items": {"type": "integer"}},
                        "extraEgress": frees,
                    }
                ),
                "serviceMonitor": _of({"enabled": flag, "interval": text, "labels": texts}),
                "prometheusRule": _of(
                    {
                        "enabled": flag,
                        "labels": texts,
                        "runbookBaseUrl": {"type": "string", "pattern": r"^https?://\S+$"},
                        "disabled": {"type": "array", "items": text},
                        "overrides": {
                            "type": "object",
                            "additionalProperties": _of(
                                {"expr": text, "for": text, "labels": texts}
                            ),
                        },
                    }
                ),
                "dashboard": _of({"enabled": flag, "labels": texts, "annotations": texts}),
                "guardRails": _of(
                    {
                        "public": flag,
                        "deletion": flag,
                        "jobs": flag,
                        "regions": {
                            "type": "array",
                            "items": {"type": "string", "pattern": "^[a-z]{2}(-[a-z]+)+-[0-9]$"},
                        },
                    }
                ),
            }
        ),
        "definitions": definitions,
        "allOf": [
            _if("aws", "identity", "irsa", {"aws": {"properties": {"roleArn": {"minLength": 1}}}}),
            _if("leaderElection", "enabled", False, {"replicaCount": {"maximum": 1}}),
            _if(
                "rbac",
                "perNamespace",
                True,
                {
                    "settings": {
                        "required": ["namespaces"],
                        "properties": {"namespaces": {"minLength": 1}},
                    }
                },
                required=["settings"],
            ),
        ],
    }


def _of(properties: Schema, required: list[str] | None = None) -> Schema:
    """An object of these fields and no others."""
    found: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": required} if required else {})


def _if(
    part: str, field: str, value: Any, then: Schema, required: list[str] | None = None
) -> Schema:
    """While a field of one part has this value, that holds of other parts."""
    has: Schema = {"required": [field], "properties": {field: {"const": value}}}
    then = {"properties": then} | ({"required": required} if required else {})
    return {"if": {"required": [part], "properties": {part: has}}, "then": then}


def stale() -> list[Path]:
    """Files that are missing, differ or should not be there."""
    wanted = files()
    there = {p for p in (CHART / "files").rglob("*") if p.is_file()}
    differ = [p for p, text in wanted.items() if not p.exists() or p.read_text() != text]
    return sorted([*differ, *(there - set(wanted))])


def _rooted(text: str) -> str:
    """References of pydantic's schema, as they are in ours."""
    return text.replace("#/$defs/", "#/definitions/")


if __name__ == "__main__":
    if "--check" in sys.argv:
        names = ", ".join(str(path) for path in stale())
        sys.exit(f"not current: {names}: run {__file__}" if names else 0)
    for path in stale():
        path.unlink(missing_ok=True)
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
