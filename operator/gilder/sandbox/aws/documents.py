"""Documents of Systems Manager that commands may run: those of AWS, and the account's own."""

from collections.abc import Iterable, Mapping
from typing import Any

from moto.ssm.models import ssm_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.registry import Call

# Documents of AWS: name -> (plugins, required parameters).
AWS_DOCUMENTS: Mapping[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "AWS-ApplyAnsiblePlaybooks": (("runShellScript",), frozenset({"SourceType", "SourceInfo"})),
    "AWS-ConfigureAWSPackage": (("configurePackage",), frozenset({"action", "name"})),
    "AWS-GatherSoftwareInventory": (("collectSoftwareInventoryItems",), frozenset()),
    "AWS-RunDocument": (("runDocument",), frozenset({"sourceType"})),
    "AWS-RunPatchBaseline": (("PatchWindows", "PatchLinux"), frozenset({"Operation"})),
    "AWS-RunPowerShellScript": (("aws:runPowerShellScript",), frozenset({"commands"})),
    "AWS-RunRemoteScript": (("runShellScript",), frozenset({"sourceType", "sourceInfo"})),
    "AWS-RunShellScript": (("aws:runShellScript",), frozenset({"commands"})),
    "AWS-UpdateSSMAgent": (("aws:updateSsmAgent",), frozenset()),
    "AmazonInspector2-InspectorSsmPlugin": (("InspectorSsmPlugin",), frozenset()),
    "AmazonInspector2-InvokeInspectorSsmPlugin": (("InvokeInspectorSsmPlugin",), frozenset()),
}


def find_document(call: Call, written: str) -> tuple[str, str, tuple[str, ...]]:
    """Name, version and plugins of a document, with the parameters checked against it."""
    parameters = set(call.get("Parameters", {}))
    name = written.rpartition("document/")[2] if written.startswith("arn:") else written
    if name in AWS_DOCUMENTS:
        plugins, required = AWS_DOCUMENTS[name]
        _check_parameters(required, None, parameters)
        return name, "1", plugins
    backend: Any = ssm_backends[call.account][call.region]
    documents = backend._documents.get(name)
    if documents is None:
        raise AwsError("InvalidDocument", f"Document with name {name} does not exist.")
    version = call.get("DocumentVersion", "$DEFAULT")
    chosen = {"$DEFAULT": documents.default_version, "$LATEST": documents.latest_version}
    document = documents.versions.get(chosen.get(version, version))
    if document is None:
        raise AwsError("InvalidDocumentVersion", f"Document {name} has no version {version}.")
    if document.document_type != "Command":
        raise AwsError("InvalidDocument", f"Document {name} is of type {document.document_type}.")
    content = document.content_json
    declared: Mapping[str, Mapping[str, Any]] = content.get("parameters") or {}
    required = frozenset(k for k, v in declared.items() if "default" not in v)
    _check_parameters(required, set(declared), parameters)
    steps = tuple(s["name"] for s in content.get("mainSteps") or [])
    return name, str(document.document_version), steps or ("aws:runShellScript",)


def _check_parameters(required: Iterable[str], known: set[str] | None, given: set[str]) -> None:
    missing = sorted(set(required) - given)
    if missing:
        raise AwsError("InvalidParameters", f"Missing parameters: {', '.join(missing)}")
    extra = sorted(given - known) if known is not None else []
    if extra:
        raise AwsError("InvalidParameters", f"Unknown parameters: {', '.join(extra)}")
