"""The names users meet: API group, annotations, finalizer and ownership tags."""

GROUP = "goldenimage.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/finalizer"

RECONCILE_NOW = f"{GROUP}/reconcile-now"
PAUSED = f"{GROUP}/paused"
ABANDON = f"{GROUP}/abandon"  # "true" on an object being deleted: let go without touching AWS
# What `flux reconcile` writes; honoured as reconcile-now.
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"

TAG_PREFIX = f"{GROUP}/"
TAG_IMAGE = f"{GROUP}/image"  # <namespace>/<name> of the GoldenImage
TAG_CLUSTER = f"{GROUP}/cluster"  # clusterName of the operator that owns the AMI
TAG_VERSION = f"{GROUP}/version"  # decimal, from 1
TAG_SOURCE = f"{GROUP}/source"  # fingerprint of what the version was made from
TAG_ROLE = f"{GROUP}/role"  # home | replica | intermediate
TAG_ATTEMPT = f"{GROUP}/attempt"  # decimal, from 1: which try of this copy
TAG_ADOPTED = f"{GROUP}/adopted"  # "true" on an AMI that existed before us
TAG_KEY = f"{GROUP}/key"  # ARN of the KMS key a copy was asked to be encrypted with
