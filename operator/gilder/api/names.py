"""The names users meet: API group, annotations, finalizer and ownership tags."""

GROUP = "goldenimage.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/finalizer"

RECONCILE_NOW = f"{GROUP}/reconcile-now"
PAUSED = f"{GROUP}/paused"
ABANDON = f"{GROUP}/abandon"  # "true" on an object being deleted: let go without touching AWS
REBUILD = f"{GROUP}/rebuild"  # a new value asks for a build
APPROVE = f"{GROUP}/approve"  # number of a version that gates.manual holds
REJECT = f"{GROUP}/reject"  # likewise
PROMOTE = f"{GROUP}/promote"  # number of a version that is released at once
# What `flux reconcile` writes; honoured as reconcile-now.
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"

LABEL_IMAGE = f"{GROUP}/image"  # on Jobs and ConfigMaps: name of the GoldenImage
LABEL_ACCOUNTS = f"{GROUP}/accounts"  # "true" on ConfigMaps that list account ids
LABEL_BUILD = f"{GROUP}/build"  # on Jobs: build id
ANNOTATION_DATA = f"{GROUP}/data"  # on ConfigMaps: digest of what was written

TAG_PREFIX = f"{GROUP}/"
TAG_IMAGE = f"{GROUP}/image"  # <namespace>/<name> of the GoldenImage
TAG_CLUSTER = f"{GROUP}/cluster"  # clusterName of the operator that owns the AMI
TAG_VERSION = f"{GROUP}/version"  # decimal, from 1
TAG_SOURCE = f"{GROUP}/source"  # fingerprint of what the version was made from
TAG_ROLE = f"{GROUP}/role"  # home | replica | intermediate
TAG_ATTEMPT = f"{GROUP}/attempt"  # decimal, from 1: which try of this copy
TAG_ADOPTED = f"{GROUP}/adopted"  # "true" on an AMI that existed before us
TAG_KEY = f"{GROUP}/key"  # ARN of the KMS key a copy was asked to be encrypted with
TAG_BUILD = f"{GROUP}/build"  # id of the build that made the AMI; Packer templates set it
TAG_ORIGIN = f"{GROUP}/origin"  # why and from what it was built: trigger, inputs, parent
TAG_GATES = f"{GROUP}/gates"  # pending | passed | failed; absent: no gates when it was made
TAG_RELEASE = f"{GROUP}/release"  # candidate | released; absent: nothing held it back
TAG_TEST = f"{GROUP}/test"  # on a test instance: id of the AMI under test
