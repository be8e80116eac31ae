"""URL paths: which resource, namespace, name and subresource a request is about."""

from dataclasses import dataclass

from gilder.sandbox.kubernetes.kinds import Kind
from gilder.sandbox.kubernetes.registry import Registry


@dataclass(frozen=True)
class Target:
    """What a resource request addresses; an empty name addresses the collection."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        """The resource as RBAC names it."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural

    def verb(self, method: str, *, watch: bool) -> str:
        """The request's verb as RBAC names it."""
        if method == "GET":
            return "get" if self.name else ("watch" if watch else "list")
        if method == "DELETE":
            return "delete" if self.name else "deletecollection"
        return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())


def group_version(parts: list[str]) -> tuple[str, str, list[str]] | None:
    """Group, version and the rest of a path such as /apis/apps/v1/..., split at its slashes."""
    if parts[:1] == ["api"] and len(parts) >= 2:
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) >= 3:
        return parts[1], parts[2], parts[3:]
    return None


def target(registry: Registry, group: str, version: str, rest: list[str]) -> Target | None:
    """What the rest of a path addresses; None when nothing is served there."""
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3:
        inside = registry.find(group, version, rest[2])
        if inside is not None and inside.namespaced:
            namespace, rest = rest[1], rest[2:]
    kind = registry.find(group, version, rest[0])
    if kind is None or len(rest) > 3:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    served = (*kind.subresources, *(("status",) if kind.status else ()))
    if subresource and subresource not in served:
        return None
    if name and kind.namespaced and not namespace:
        return None
    return Target(kind, namespace, name, subresource)
