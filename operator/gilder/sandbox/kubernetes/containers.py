"""What a container gets to see: its environment, and the files of its volumes."""

import base64
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

from gilder.sandbox.kubernetes.store import Object

# A ConfigMap or Secret by plural and name, from the pod's namespace.
Lookup = Callable[[str, str], Object | None]

_NAMES = {"configmaps": "configmap", "secrets": "secret"}
_EXPANSION = re.compile(r"\$\$|\$\(([^()]*)\)")
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class MissingError(Exception):
    """Something that the container needs is not there (yet)."""


def environment(pod: Object, container: Object, lookup: Lookup) -> dict[str, str]:
    """The resolved variables, later ones over earlier ones."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for plural, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if field in source:
                data = _data(lookup, plural, source[field])
                found |= {f"{prefix}{k}": v for k, v in (data or {}).items()}
    for entry in container.get("env") or []:
        value = _value(pod, entry, found, lookup)
        if value is not None:
            found[entry["name"]] = value
    return found


def _value(pod: Object, entry: dict[str, Any], found: dict[str, str], lookup: Lookup) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return _expanded(entry.get("value") or "", found)
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"].get("fieldPath", ""))
    for plural, field in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if field not in source:
            continue
        reference = source[field]
        data = _data(lookup, plural, reference)
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        what = "ConfigMap" if plural == "configmaps" else "Secret"
        namespace = pod["metadata"].get("namespace", "")
        raise MissingError(
            f"couldn't find key {reference['key']} in {what} {namespace}/{reference['name']}"
        )
    raise MissingError(f"the sandbox does not know the source of the variable {entry['name']}")


def _expanded(text: str, found: dict[str, str]) -> str:
    """$(NAME) of an earlier variable; what is not known stays, and $$ is a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return found.get(match[1], match[0])

    return _EXPANSION.sub(replace, text)


def field_of(pod: Object, path: str) -> str:
    """A field of the pod that the downward API gives."""
    metadata, spec = pod["metadata"], pod["spec"]
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
    }
    if path in known:
        return str(known[path])
    if found := _MAP_FIELD.fullmatch(path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    raise MissingError(f"the sandbox does not know the field {path}")


def files(pod: Object, container: Object, lookup: Lookup) -> dict[str, str]:
    """Content by path, of volumes made of ConfigMaps, Secrets and fields.

    All volumes of the pod must be there, whichever container mounts them.
    """
    volumes = {v["name"]: list(_volume(pod, v, lookup)) for v in pod["spec"].get("volumes") or []}
    found: dict[str, str] = {}
    for mount in container.get("volumeMounts") or []:
        volume = volumes.get(mount["name"])
        if volume is None:
            raise MissingError(f'volume "{mount["name"]}" not found')
        inside = mount.get("subPath", "").strip("/")
        for path, text in volume:
            if not inside:
                found[posixpath.join(mount["mountPath"], path)] = text
            elif path == inside:
                found[mount["mountPath"]] = text
            elif path.startswith(f"{inside}/"):
                rest = path.removeprefix(f"{inside}/")
                found[posixpath.join(mount["mountPath"], rest)] = text
    return found


def _volume(pod: Object, volume: dict[str, Any], lookup: Lookup) -> Iterator[tuple[str, str]]:
    if "projected" in volume:
        for source in volume["projected"].get("sources") or []:
            yield from _volume(pod, source, lookup)
    elif "configMap" in volume:
        yield from _items(lookup, "configmaps", volume["configMap"])
    elif "secret" in volume:  # which a projection names as all others do, a volume does not
        reference = volume["secret"]
        name = reference.get("secretName") or reference.get("name")
        yield from _items(lookup, "secrets", {**reference, "name": name})
    elif "downwardAPI" in volume:
        for item in volume["downwardAPI"].get("items") or []:
            if "fieldRef" in item:
                yield item["path"], field_of(pod, item["fieldRef"].get("fieldPath", ""))
    elif "serviceAccountToken" in volume:
        yield volume["serviceAccountToken"]["path"], "sandbox"


def _items(lookup: Lookup, plural: str, reference: dict[str, Any]) -> Iterator[tuple[str, str]]:
    data = _data(lookup, plural, reference) or {}
    chosen = reference.get("items")
    if not chosen:
        yield from data.items()
        return
    for item in chosen:
        if item["key"] in data:
            yield item["path"], data[item["key"]]
        elif not reference.get("optional"):
            kind = "config" if plural == "configmaps" else "secret"
            raise MissingError(f"references non-existent {kind} key: {item['key']}")


def _data(lookup: Lookup, plural: str, reference: dict[str, Any]) -> dict[str, str] | None:
    """All keys as text; None when an optional object is not there."""
    name = reference["name"]
    obj = lookup(plural, name)
    if obj is None:
        if reference.get("optional"):
            return None
        raise MissingError(f'{_NAMES[plural]} "{name}" not found')
    encoded = obj.get("data" if plural == "secrets" else "binaryData") or {}
    plain = (obj.get("data") or {}) if plural == "configmaps" else {}
    decoded = {k: base64.b64decode(v).decode(errors="replace") for k, v in encoded.items()}
    return {**plain, **decoded}
