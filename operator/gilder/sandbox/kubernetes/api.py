"""The verbs of the API over the store: get, list, create, update, patch and delete."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from gilder.sandbox.kubernetes import admission, batch, definitions, objects, patches
from gilder.sandbox.kubernetes.errors import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    gone,
    invalid,
    invalid_value,
    method_not_allowed,
    not_found,
    unsupported_media_type,
)
from gilder.sandbox.kubernetes.kinds import CRD, JOB, NAMESPACE, POD, Kind
from gilder.sandbox.kubernetes.logs import PodLogs
from gilder.sandbox.kubernetes.registry import Registry
from gilder.sandbox.kubernetes.removal import Removal
from gilder.sandbox.kubernetes.selectors import Predicate, field_predicate, label_predicate
from gilder.sandbox.kubernetes.store import CompactedError, Key, Object, Store
from gilder.sandbox.kubernetes.views import served, stored

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)


@dataclass(frozen=True)
class Options:
    """What the query of a write says."""

    dry_run: bool = False
    field_validation: str = "Warn"


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    items: list[Object]
    revision: int
    token: str = ""
    remaining: int = 0


@dataclass
class Written:
    """The outcome of a write."""

    obj: Object
    created: bool = False
    warnings: list[str] = field(default_factory=list)


def selection(kind: Kind, labels: str, fields: str) -> Predicate:
    """The predicate of both selectors of a request."""
    by_label, by_field = label_predicate(labels), field_predicate(fields, kind)
    return lambda obj: by_label(obj) and by_field(obj)


class Api:
    """Everything that a request can do, without HTTP."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry
        self.removal = Removal(store, registry)
        self.logs = PodLogs()
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(NAMESPACE, "", {"metadata": {"name": name}})

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return served(self._stored(kind, (namespace, name)), kind)

    def _stored(self, kind: Kind, key: Key) -> Object:
        obj = self.store.get(kind.storage, key)
        if obj is None:
            raise not_found(kind.group, kind.plural, key[1])
        return obj

    def page(
        self,
        kind: Kind,
        namespace: str,
        matches: Predicate,
        *,
        limit: int = 0,
        token: str = "",
        exact: int | None = None,
    ) -> Page:
        """A page of a list, consistent with the first page."""
        revision, start = (exact or self.store.revision), None
        if token:
            revision, start = _unpacked(token)
        try:
            found = self.store.select_at(kind.storage, revision, namespace)
        except CompactedError as lost:
            raise gone(_TOO_OLD if token else str(lost)) from lost
        chosen = [o for o in found if matches(o)]
        if start is not None:
            chosen = [o for o in chosen if objects.key_of(o) > start]
        page = chosen[:limit] if limit else chosen
        rest = len(chosen) - len(page)
        more = _packed(revision, objects.key_of(page[-1])) if rest else ""
        return Page([served(o, kind) for o in page], revision, more, rest)

    def create(
        self, kind: Kind, namespace: str, body: Any, options: Options = Options()
    ) -> Written:
        obj, warnings = admission.decode(body, kind, options.field_validation)
        obj = stored(obj, kind)
        self._check_namespace(kind, namespace, obj)
        if obj["metadata"].get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        obj = objects.initialised(obj, kind, namespace)
        if kind.status:
            obj.pop("status", None)
        if kind == NAMESPACE:
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
            labels = obj["metadata"].get("labels", {})
            name = obj["metadata"].get("name", "")
            obj["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": name}
        elif kind == POD:
            obj["status"] = {"phase": "Pending"}
        elif kind == JOB:
            obj = batch.created(obj)
        admission.check(obj, None, kind)
        if kind == JOB:
            _check_job(obj, None)
        key = objects.key_of(obj)
        if self.store.get(kind.storage, key) is not None:
            raise already_exists(kind.group, kind.plural, key[1])
        self._check_terminating(kind)
        if options.dry_run:
            return Written(served(obj, kind), created=True, warnings=warnings)
        return Written(served(self._put(kind, key, obj), kind), created=True, warnings=warnings)

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any,
        subresource: str = "",
        options: Options = Options(),
    ) -> Written:
        """PUT: replace the object, or its status."""
        old = self._stored(kind, (namespace, name))
        new, warnings = admission.decode(body, kind, options.field_validation)
        new = stored(new, kind)
        metadata = new["metadata"]
        if not metadata.get("resourceVersion") and not kind.unconditional_update:
            cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(kind.group, kind.kind, name, [cause])
        return self._replace(kind, old, new, subresource, options, warnings)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        content_type: str,
        patch: Any,
        subresource: str = "",
        options: Options = Options(),
    ) -> Written:
        """PATCH in any of the supported formats; an apply patch may create."""
        key = (namespace, name)
        apply = content_type == patches.APPLY_PATCH
        accepted = [patches.JSON_PATCH, patches.MERGE_PATCH, patches.APPLY_PATCH]
        if not kind.custom:
            accepted.append(patches.STRATEGIC_PATCH)
        if content_type not in accepted:
            raise unsupported_media_type(accepted)
        if apply and self.store.get(kind.storage, key) is None and not subresource:
            metadata = {**(patch.get("metadata") or {}), "name": name}
            return self.create(kind, namespace, {**patch, "metadata": metadata}, options)
        old = self._stored(kind, key)
        current = served(old, kind)
        if content_type == patches.JSON_PATCH:
            patched = patches.json_patch(current, patch)
        elif not isinstance(patch, dict):
            raise bad_request("the patch must be an object")
        elif content_type == patches.STRATEGIC_PATCH:
            patched = patches.strategic(current, patch)
        else:
            patched = patches.merge(current, patch)
        new, warnings = admission.decode(patched, kind, options.field_validation, patched=True)
        return self._replace(kind, old, stored(new, kind), subresource, options, warnings)

    def _replace(
        self,
        kind: Kind,
        old: Object,
        new: Object,
        subresource: str,
        options: Options,
        warnings: list[str],
    ) -> Written:
        key = objects.key_of(old)
        _check_identity(kind, old, new)
        if subresource:
            new = objects.with_status(new, old)
        else:
            new = objects.carried_over(new, old, kind)
            if kind == JOB:
                new = batch.defaulted(new)
        if kind == CRD:
            new = definitions.established(new) if not definitions.check(new, old) else new
        new = objects.next_generation(new, old, kind)
        admission.check(new, old, kind)
        if kind == JOB and not subresource:
            _check_job(new, old)
        if new == old:
            return Written(served(old, kind), warnings=warnings)
        if options.dry_run:
            return Written(served(new, kind), warnings=warnings)
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            # As in etcd, the emptied list is never written: watchers see the object as it was.
            return Written(self._emptied(kind, key, new), warnings=warnings)
        return Written(served(self._put(kind, key, new), kind), warnings=warnings)

    def _emptied(self, kind: Kind, key: Key, new: Object) -> Object:
        if kind in (NAMESPACE, CRD):
            new = self._put(kind, key, new)
            self.removal.finish(kind.storage, key)
        else:
            self.removal.remove(kind.storage, key)
        return served(new, kind)

    def delete(
        self, kind: Kind, namespace: str, name: str, options: dict[str, Any], *, dry: bool = False
    ) -> tuple[Object, bool]:
        """Delete; says whether the object is gone or waits for its finalizers."""
        key = (namespace, name)
        obj = self._stored(kind, key)
        wanted = options.get("preconditions") or {}
        for label, field_name in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
            actual = obj["metadata"].get(field_name)
            if wanted.get(field_name) not in (None, "", actual):
                why = (
                    f"Precondition failed: {label} in precondition: {wanted[field_name]}, "
                    f"{label} in object meta: {actual}"
                )
                raise conflict(kind.group, kind.plural, name, why)
        if kind == NAMESPACE and name in ("default", "kube-system", "kube-public"):
            raise forbidden("", "namespaces", name, "this namespace may not be deleted")
        if dry:
            return served(obj, kind), True
        policy = options.get("propagationPolicy")
        orphan = policy == "Orphan" or (kind.orphans and not policy)
        if orphan:
            self._set_free(obj["metadata"]["uid"])
        left = self.removal.delete(kind.storage, key, orphan=orphan)
        return served(left or obj, kind), left is None

    def _set_free(self, uid: str) -> None:
        """Take an owner out of what it owns."""
        for storage in self.store.storages():
            for obj in self.store.select(storage):
                owners = obj["metadata"].get("ownerReferences") or []
                others = [o for o in owners if o.get("uid") != uid]
                if others != owners:
                    rest = {k: v for k, v in obj["metadata"].items() if k != "ownerReferences"}
                    kept = {"ownerReferences": others} if others else {}
                    freed = {**obj, "metadata": {**rest, **kept}}
                    self.store.put(storage, objects.key_of(obj), freed)

    def _put(self, kind: Kind, key: Key, obj: Object) -> Object:
        if kind == CRD:
            obj = definitions.established(obj)
        result = self.store.put(kind.storage, key, obj)
        self.removal.noted(kind.storage, result)
        if kind == CRD:
            spec = obj["spec"]
            self.registry.remove(spec["group"], spec["names"]["plural"])
            for served_kind in definitions.kinds_of(obj):
                self.registry.add(served_kind)
        return result

    def _check_namespace(self, kind: Kind, namespace: str, obj: Object) -> None:
        if not kind.namespaced:
            return
        given = obj["metadata"].get("namespace")
        if given and given != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace "
                "sent on the request"
            )
        holder = self.store.get(NAMESPACE.storage, ("", namespace))
        if holder is None:
            raise not_found("", "namespaces", namespace)
        if "deletionTimestamp" in holder["metadata"]:
            why = (
                f"unable to create new content in namespace {namespace} "
                "because it is being terminated"
            )
            raise forbidden(kind.group, kind.plural, obj["metadata"].get("name", ""), why)

    def _check_terminating(self, kind: Kind) -> None:
        crd = self.store.get(CRD.storage, ("", f"{kind.plural}.{kind.group}"))
        if kind.custom and crd is not None and "deletionTimestamp" in crd["metadata"]:
            raise method_not_allowed(
                "create not allowed while custom resource definition is terminating"
            )


def _check_job(job: Object, old: Object | None) -> None:
    causes = batch.check(job, old)
    if causes:
        raise invalid(JOB.group, JOB.kind, job["metadata"].get("name", ""), causes)


def _check_identity(kind: Kind, old: Object, new: Object) -> None:
    metadata, before = new["metadata"], old["metadata"]
    name = before["name"]
    if metadata.get("name") not in (None, "", name):
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL "
            f"({name})"
        )
    metadata["name"] = name
    if metadata.get("namespace") not in (None, "", before.get("namespace")):
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if "namespace" in before:
        metadata["namespace"] = before["namespace"]
    if metadata.get("uid") not in (None, "", before["uid"]):
        why = (
            f"Precondition failed: UID in precondition: {metadata['uid']}, "
            f"UID in object meta: {before['uid']}"
        )
        raise conflict(kind.group, kind.plural, name, why)
    version = metadata.get("resourceVersion")
    if version not in (None, "", before["resourceVersion"]):
        raise conflict(kind.group, kind.plural, name)


def _packed(revision: int, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *key]).encode()).decode()


def _unpacked(token: str) -> tuple[int, Key]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    return int(revision), (namespace, name)
