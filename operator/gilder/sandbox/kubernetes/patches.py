"""JSON merge patch, JSON patch and a strategic merge patch for built-in kinds."""

import copy
from typing import Any

import jsonpatch
import jsonpointer

from gilder.sandbox.kubernetes.errors import ApiError, bad_request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# List fields of built-in kinds that are merged by a key; all other lists are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "env": "name",
    "imagePullSecrets": "name",
    "secrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_PORTS = ("containerPort", "port")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386; neither argument is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902, refused as the API server refuses it."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        return jsonpatch.apply_patch(target, operations, in_place=False)
    except (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed) as refusal:
        raise _unprocessable(str(refusal)) from refusal
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as refusal:
        # A path that does not exist is the object's fault, a malformed patch the client's.
        if isinstance(refusal, jsonpatch.InvalidJsonPatch):
            raise bad_request(str(refusal)) from refusal
        raise _unprocessable(str(refusal)) from refusal


def _unprocessable(why: str) -> ApiError:
    return ApiError(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
        details={"causes": [{"reason": "UnexpectedServerResponse", "message": why}]},
    )


def strategic(target: Any, patch: Any) -> Any:
    """Strategic merge patch with the merge keys of the built-in kinds."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if not k.startswith("$")}
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {k: v for k, v in result.items() if k in retained}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            result[name] = [v for v in result.get(name) or [] if v not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merged_list(key, result.get(key) or [], value)
        else:
            result[key] = strategic(result.get(key), value)
    return result


def _merged_list(name: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if name == "finalizers":
        return [*old, *(v for v in patch if v not in old)]
    key = _merge_key(name, patch)
    if key is None or any(v == {"$patch": "replace"} for v in patch):
        return [copy.deepcopy(v) for v in patch if v != {"$patch": "replace"}]
    merged = list(old)
    for item in patch:
        at = next((i for i, o in enumerate(merged) if o.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(strategic({}, item))
        else:
            merged[at] = strategic(merged[at], item)
    return merged


def _merge_key(name: str, patch: list[Any]) -> str | None:
    if not all(isinstance(v, dict) for v in patch):
        return None
    if name == "ports":
        return next((k for k in _PORTS if any(k in v for v in patch)), None)
    return _MERGE_KEYS.get(name)
