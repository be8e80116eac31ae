"""Kinds of objects that the server serves: what discovery, storage and writes need to know."""

from dataclasses import dataclass
from typing import Any

READ_VERBS = ("get", "list", "watch")
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Column:
    """A printed column."""

    name: str
    type: str
    json_path: str
    priority: int = 0
    description: str = ""
    format: str = ""


@dataclass(frozen=True)
class Kind:
    """One served version of one resource."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    list_kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    # Whether metadata.generation is kept; core kinds such as ConfigMap have none.
    generation: bool = False
    unconditional_update: bool = True
    # RBAC names are path segments (system:node), all others DNS subdomains.
    dns_name: bool = True
    fields: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    schema: dict[str, Any] | None = None
    custom: bool = False
    # Storage of another resource that this one is a second view of.
    view_of: tuple[str, str] | None = None
    verbs: tuple[str, ...] = ALL_VERBS
    # Subresources beside status; they are read only.
    subresources: tuple[str, ...] = ()
    # Whether dependents stay when a deletion does not say what becomes of them.
    orphans: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> tuple[str, str]:
        """Where objects lie, whichever version they are read in."""
        return self.view_of or (self.group, self.plural)


AGE = Column("Age", "date", ".metadata.creationTimestamp")

_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)


def _kind(group: str, version: str, kind: str, plural: str, **more: Any) -> Kind:
    more.setdefault("columns", (AGE,))
    return Kind(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        list_kind=f"{kind}List",
        **more,
    )


def _columns(*columns: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*c) for c in columns)


RBAC = "rbac.authorization.k8s.io"

CRD = _kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    status=True,
    generation=True,
    columns=_columns(("Created At", "string", ".metadata.creationTimestamp")),
)
NAMESPACE = _kind(
    "",
    "v1",
    "Namespace",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    status=True,
    fields=("status.phase",),
    columns=(*_columns(("Status", "string", ".status.phase")), AGE),
)
EVENT = _kind(
    "",
    "v1",
    "Event",
    "events",
    short_names=("ev",),
    fields=_EVENT_FIELDS,
    columns=_columns(
        ("Last Seen", "date", ".lastTimestamp"),
        ("Type", "string", ".type"),
        ("Reason", "string", ".reason"),
        ("Object", "string", ".involvedObject.name"),
        ("Message", "string", ".message"),
    ),
)
EVENTS_VIEW = _kind(
    "events.k8s.io",
    "v1",
    "Event",
    "events",
    short_names=("ev",),
    view_of=("", "events"),
    columns=_columns(
        ("Last Seen", "date", ".deprecatedLastTimestamp"),
        ("Type", "string", ".type"),
        ("Reason", "string", ".reason"),
        ("Object", "string", ".regarding.name"),
        ("Message", "string", ".note"),
    ),
)
POD = _kind(
    "",
    "v1",
    "Pod",
    "pods",
    short_names=("po",),
    categories=("all",),
    status=True,
    subresources=("log",),
    fields=("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase"),
    columns=(*_columns(("Status", "string", ".status.phase")), AGE),
)
JOB = _kind(
    "batch",
    "v1",
    "Job",
    "jobs",
    categories=("all",),
    status=True,
    generation=True,
    orphans=True,
    fields=("status.successful",),
    columns=(*_columns(("Succeeded", "integer", ".status.succeeded")), AGE),
)

BUILT_IN: tuple[Kind, ...] = (
    NAMESPACE,
    EVENT,
    EVENTS_VIEW,
    CRD,
    _kind("", "v1", "ConfigMap", "configmaps", short_names=("cm",)),
    _kind(
        "",
        "v1",
        "Secret",
        "secrets",
        fields=("type",),
        columns=(*_columns(("Type", "string", ".type")), AGE),
    ),
    _kind("", "v1", "ServiceAccount", "serviceaccounts", short_names=("sa",)),
    _kind(
        "",
        "v1",
        "Service",
        "services",
        short_names=("svc",),
        categories=("all",),
        status=True,
        columns=(*_columns(("Type", "string", ".spec.type")), AGE),
    ),
    POD,
    _kind(
        "apps",
        "v1",
        "Deployment",
        "deployments",
        short_names=("deploy",),
        categories=("all",),
        status=True,
        generation=True,
        columns=(
            *_columns(
                ("Ready", "integer", ".status.readyReplicas"),
                ("Available", "integer", ".status.availableReplicas"),
            ),
            AGE,
        ),
    ),
    JOB,
    _kind(
        "coordination.k8s.io",
        "v1",
        "Lease",
        "leases",
        unconditional_update=False,
        columns=(*_columns(("Holder", "string", ".spec.holderIdentity")), AGE),
    ),
    _kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", short_names=("netpol",)),
    _kind(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        short_names=("pdb",),
        status=True,
        generation=True,
    ),
    _kind(RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False, dns_name=False),
    _kind(
        RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False, dns_name=False
    ),
    _kind(RBAC, "v1", "Role", "roles", dns_name=False),
    _kind(RBAC, "v1", "RoleBinding", "rolebindings", dns_name=False),
)
