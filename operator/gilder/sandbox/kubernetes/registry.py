"""Which kinds are served right now."""

from collections.abc import Iterable, Iterator

from gilder.sandbox.kubernetes.kinds import BUILT_IN, Kind


class Registry:
    """Kinds by group, version and plural."""

    def __init__(self, kinds: Iterable[Kind] = BUILT_IN) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        self._kinds[kind.group, kind.version, kind.plural] = kind

    def remove(self, group: str, plural: str) -> None:
        """Stop serving all versions of a resource."""
        for key in [k for k in self._kinds if (k[0], k[2]) == (group, plural)]:
            del self._kinds[key]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def stored(self, storage: tuple[str, str]) -> Kind | None:
        """Any served version of what lies at this storage."""
        return next((k for k in self._kinds.values() if k.storage == storage), None)

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._kinds.values()))

    def groups(self) -> dict[str, list[str]]:
        """Groups with their versions; the core group is the empty name."""
        found: dict[str, list[str]] = {}
        for kind in self._kinds.values():
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found

    def of(self, group: str, version: str) -> list[Kind]:
        return sorted(
            (k for k in self._kinds.values() if (k.group, k.version) == (group, version)),
            key=lambda k: k.plural,
        )
