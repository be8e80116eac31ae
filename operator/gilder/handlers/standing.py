"""Which custom resources stand on an AMI, a snapshot, a KMS key or an Image Builder image."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Fields of spec and status, at whatever depth, that name something in AWS.
FIELDS = frozenset(
    {"id", "imageId", "snapshotIds", "kmsKeyId", "keyId", "ref", "source", "sourceId"}
)


class Standing(Generic[K]):
    """Objects by what they name in AWS. Not safe for use by several threads."""

    def __init__(self) -> None:
        self._names: dict[K, tuple[str, ...]] = {}
        self._by_name: dict[str, set[K]] = {}

    def put(self, key: K, body: Mapping[str, Any]) -> None:
        found = {*_named(body.get("spec")), *_named(body.get("status"))}
        names = tuple(sorted(found))  # a set takes eight times the memory
        if names == self._names.get(key):
            return
        self.drop(key)
        self._names[key] = names
        for name in names:
            self._by_name.setdefault(name, set()).add(key)

    def drop(self, key: K) -> None:
        for name in self._names.pop(key, ()):
            keys = self._by_name[name]
            keys.discard(key)
            if not keys:
                del self._by_name[name]

    def on(self, names: Iterable[str]) -> set[K]:
        return {key for name in names for key in self._by_name.get(name, ())}


def _named(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for field, inner in value.items():
            if field not in FIELDS or isinstance(inner, Mapping):
                yield from _named(inner)
            elif isinstance(inner, str):
                yield inner
            elif isinstance(inner, list):
                yield from (i for i in inner if isinstance(i, str))
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)
