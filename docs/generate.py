"""Writes docs/reference.md from the CRDs and docs/configuration.md from the settings.

python docs/generate.py [--check]
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gilder.api.crd import crds
from gilder.api.names import (
    ABANDON,
    ANNOTATION_DATA,
    APPROVE,
    FINALIZER,
    LABEL_ACCOUNTS,
    LABEL_BUILD,
    LABEL_IMAGE,
    PAUSED,
    PROMOTE,
    REBUILD,
    RECONCILE_NOW,
    REJECT,
    REQUESTED_AT,
    TAG_ADOPTED,
    TAG_ATTEMPT,
    TAG_BUILD,
    TAG_CLUSTER,
    TAG_GATES,
    TAG_IMAGE,
    TAG_KEY,
    TAG_ORIGIN,
    TAG_RELEASE,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_TEST,
    TAG_VERSION,
)
from gilder.config import Settings

FOLDER = Path(__file__).parent
HEADER = "<!-- Written by docs/generate.py. Change the code instead. -->\n"
RULES = "x-kubernetes-validations"

ANNOTATIONS = {
    RECONCILE_NOW: "Any new value: reconcile now and read AWS anew.",
    REQUESTED_AT: "The same, as `flux reconcile` writes it.",
    PAUSED: '`"true"`: as `spec.suspend`, without a change of spec.',
    ABANDON: '`"true"` on an object that is being deleted: let go of it and leave AWS as it is.',
    REBUILD: "Any new value, on a GoldenImage: build, or capture the instance, anew.",
    APPROVE: "Number of the version that passes `spec.gates.manual`.",
    REJECT: "Number of the version that fails `spec.gates.manual`.",
    PROMOTE: "Number of a version that passed its gates: it is released at once.",
    ANNOTATION_DATA: "On the ConfigMap of `spec.publish.configMap`: digest of what was written.",
}
TAGS = {
    TAG_IMAGE: "`<namespace>/<name>` of the GoldenImage.",
    TAG_CLUSTER: "Cluster name of the operator that owns the AMI.",
    TAG_VERSION: "Version number, from 1.",
    TAG_SOURCE: "Fingerprint of the source and the home key.",
    TAG_ROLE: "`home`, `replica` or `intermediate`.",
    TAG_ATTEMPT: "Which try of this copy it is, from 2.",
    TAG_ADOPTED: '`"true"` on an AMI that was there before.',
    TAG_KEY: "ARN of the KMS key that the copy was asked to be encrypted with.",
    TAG_BUILD: "Id of the build that made the AMI. A Job must set it; Image Builder's images have "
    "it too.",
    TAG_ORIGIN: "Why and from what the version was built: `trigger=... inputs=... parent=...`.",
    TAG_GATES: "On the home AMI: `pending`, `passed`, `failed/<digest of the gates>`, or `waived` "
    "once there were no gates any more. Absent: there were none when it was made.",
    TAG_RELEASE: "On home AMIs and copies of a version that was held back: `candidate` until it is "
    "released, then `released`. Absent: nothing held it back.",
    TAG_TEST: "On a test instance: id of the AMI that is checked.",
}
LABELS = {
    LABEL_ACCOUNTS: '`"true"` on a ConfigMap: `spec.accountsFrom` may take account ids from it.',
    LABEL_IMAGE: "On Jobs, their pods and the ConfigMap of `spec.publish`: name of the "
    "GoldenImage, cut with a digest when it is too long for a label.",
    LABEL_BUILD: "On Jobs and their pods: id of the build.",
}


def reference() -> str:
    """Both kinds, field by field."""
    out = [
        HEADER,
        "# Reference\n",
        "All kinds are of `goldenimage.dev/v1alpha1` and namespaced. The same text is in the "
        "cluster: `kubectl explain goldenimage.spec`.\n",
    ]
    for crd in crds():
        out += _kind(crd)
    out += ["## Annotations\n", *_pairs("Annotation", ANNOTATIONS)]
    out += [f"The finalizer is `{FINALIZER}`.\n"]
    out += [
        "## Tags\n",
        "On every AMI that the operator owns and on its snapshots, as far as they apply.\n",
    ]
    out += _pairs("Tag", TAGS)
    out += ["## Labels\n"]
    out += _pairs("Label", LABELS)
    return "\n".join(out)


def configuration() -> str:
    """Every setting of `gilder run`."""
    out = [
        HEADER,
        "# Configuration\n",
        "`gilder run` reads environment variables. They are checked at start: a value that makes "
        "no sense ends the process with exit code 1 and names the variable. Some settings are "
        "options as well, see `gilder run --help`; an option wins over the variable.\n",
        "| Variable | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_json_schema()["properties"].items():
        variable = f"GILDER_{name.upper()}"
        default = f"`{json.dumps(field['default'])}`"
        out.append(f"| `{variable}` | {_type(field)} | {default} | {_cell(field['description'])} |")
    out += [
        "",
        "AWS credentials, and whatever else the AWS SDK takes from the environment "
        "(`AWS_ENDPOINT_URL`, `AWS_PROFILE`, `AWS_WEB_IDENTITY_TOKEN_FILE`), are read by boto3 in "
        "its usual way. Regions of API calls come from the resources, not from `AWS_REGION`. The "
        "cluster is that of the pod's service account, else of `KUBECONFIG`.",
        "",
        "`gilder doctor` reads all of them. `gilder plan` and `gilder explain` take "
        "`GILDER_CLUSTER_NAME` and `GILDER_REGION`. Give them the cluster name "
        "of the operator, or they do not know the AMIs that the operator owns.",
        "",
    ]
    return "\n".join(out)


def _kind(crd: dict[str, Any]) -> list[str]:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    columns = [c["name"] + (" (wide)" if c.get("priority") else "") for c in _columns(version)]
    out = [
        f"## {names['kind']}\n",
        f"`kubectl get {names['shortNames'][0]}`, also in category `{names['categories'][0]}`. "
        f"Columns: {', '.join(columns)}.\n",
    ]
    for part in ("spec", "status"):
        node = schema["properties"][part]
        out += [f"### {names['kind']} {part}\n", f"{node.get('description', '')}\n"]
        out += ["| Field | Type | Default | Description |", "|---|---|---|---|"]
        out += list(_rows(node, ""))
        out.append("")
        rules = list(_rules(node, part))
        if rules:
            out += ["Rules that the API server checks:\n", *rules, ""]
    return out


def _columns(version: dict[str, Any]) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = version["additionalPrinterColumns"]
    return columns


def _rows(node: dict[str, Any], path: str) -> Iterator[str]:
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        default = "required" if name in required else _default(child)
        text = child.get("description", "") or child.get("items", {}).get("description", "")
        yield f"| `{at}` | {_type(child)} | {default} | {_cell(text)} |"
        inner, suffix = child, ""
        while inner.get("type") == "array":
            inner, suffix = inner["items"], suffix + "[]"
        yield from _rows(inner, at + suffix)


def _default(node: dict[str, Any]) -> str:
    value = node.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value)}`"


def _type(node: dict[str, Any]) -> str:
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if "enum" in node:
        return ", ".join(f"`{v}`" for v in node["enum"])
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return str(node["type"])


def _rules(node: dict[str, Any], path: str) -> Iterator[str]:
    for rule in node.get(RULES, []):
        yield f"- `{path}`: {rule['message']}"
    for name, child in node.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        yield from _rules(node["items"], f"{path}[]")


def _pairs(title: str, pairs: dict[str, str]) -> list[str]:
    rows = [f"| `{name}` | {text} |" for name, text in pairs.items()]
    return [f"| {title} | Meaning |", "|---|---|", *rows, ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


FILES: dict[str, Callable[[], str]] = {
    "reference.md": reference,
    "configuration.md": configuration,
}

if __name__ == "__main__":
    for file, write in FILES.items():
        path, wanted = FOLDER / file, write()
        if "--check" not in sys.argv:
            path.write_text(wanted)
        elif not path.is_file() or path.read_text() != wanted:
            sys.exit(f"{path} is not current: run python {__file__}")
