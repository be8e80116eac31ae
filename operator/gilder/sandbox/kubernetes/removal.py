"""What leaves the store with an object: a namespace's content, a CRD's objects, dependents."""

from gilder.sandbox.kubernetes import definitions
from gilder.sandbox.kubernetes.kinds import CRD, NAMESPACE
from gilder.sandbox.kubernetes.objects import key_of, marked_deleted
from gilder.sandbox.kubernetes.registry import Registry
from gilder.sandbox.kubernetes.store import Key, Object, Storage, Store


class Removal:
    """Deletes objects with the consequences that a cluster's controllers would bring about."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._owned: dict[str, set[tuple[Storage, Key]]] = {}

    def noted(self, storage: Storage, obj: Object) -> None:
        """Remember the owners of a stored object."""
        for reference in obj["metadata"].get("ownerReferences") or []:
            self._owned.setdefault(reference.get("uid", ""), set()).add((storage, key_of(obj)))

    def delete(self, storage: Storage, key: Key, *, orphan: bool = False) -> Object | None:
        """Delete; the result is the object that still waits for finalizers, if it does."""
        obj = self._store.get(storage, key)
        if obj is None:
            return None
        if "deletionTimestamp" not in obj["metadata"] and self._holds(storage, obj):
            obj = marked_deleted(obj)
            if storage == NAMESPACE.storage:
                obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
            elif storage == CRD.storage:
                obj = definitions.terminating(obj)
            self._store.put(storage, key, obj)
            self._empty(storage, obj)
        self.finish(storage, key, orphan=orphan)
        return self._store.get(storage, key)

    def finish(self, storage: Storage, key: Key, *, orphan: bool = False) -> None:
        """Remove an object that nothing holds any more."""
        obj = self._store.get(storage, key)
        if obj is not None and not self._holds(storage, obj):
            self.remove(storage, key, orphan=orphan)

    def remove(self, storage: Storage, key: Key, *, orphan: bool = False) -> None:
        """Remove an object whatever its finalizers, and what hangs on it."""
        obj = self._store.remove(storage, key)
        if storage == CRD.storage:
            self._registry.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
        self._settle(storage, key[0])
        dependents = self._owned.pop(obj["metadata"]["uid"], set())
        if not orphan:
            for dependent in dependents:
                self._collect(*dependent)

    def _holds(self, storage: Storage, obj: Object) -> bool:
        finalizers = obj["metadata"].get("finalizers") or []
        if storage == NAMESPACE.storage:
            return bool(finalizers) or any(
                self._store.select(s, obj["metadata"]["name"]) for s in self._store.storages()
            )
        if storage == CRD.storage:
            others = [f for f in finalizers if f != definitions.CLEANUP]
            return bool(others) or self._store.count(_instances(obj)) > 0
        return bool(finalizers)

    def _empty(self, storage: Storage, obj: Object) -> None:
        """Delete what lives inside a namespace or by a CRD."""
        if storage == NAMESPACE.storage:
            inside = obj["metadata"]["name"]
            for other in self._store.storages():
                for item in self._store.select(other, inside):
                    self.delete(other, key_of(item))
        elif storage == CRD.storage:
            for item in self._store.select(_instances(obj)):
                self.delete(_instances(obj), key_of(item))

    def _settle(self, storage: Storage, namespace: str) -> None:
        """Finish a namespace or a CRD that waited for its last object."""
        waiting = [(NAMESPACE.storage, ("", namespace))] if namespace else []
        waiting.append((CRD.storage, ("", f"{storage[1]}.{storage[0]}")))
        for place, key in waiting:
            holder = self._store.get(place, key)
            if holder is not None and "deletionTimestamp" in holder["metadata"]:
                self.finish(place, key)

    def _collect(self, storage: Storage, key: Key) -> None:
        """Delete a dependent unless another owner is left."""
        obj = self._store.get(storage, key)
        if obj is None:
            return
        owners = {r.get("uid") for r in obj["metadata"].get("ownerReferences") or []}
        alive = {
            o["metadata"]["uid"]
            for s in self._store.storages()
            for o in self._store.select(s)
            if o["metadata"]["uid"] in owners
        }
        if owners and not alive:
            self.delete(storage, key)


def _instances(crd: Object) -> Storage:
    return crd["spec"]["group"], crd["spec"]["names"]["plural"]
