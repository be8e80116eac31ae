"""From spec.source.job to the Job that bakes the AMI; pure."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gilder.api.building import GitTemplate, JobSource, Packer
from gilder.api.names import API_VERSION, LABEL_BUILD, LABEL_IMAGE
from gilder.core.digest import digest

CONTAINER = "packer"
WORKSPACE = "/workspace"
SECRETS = "/credentials"
NAME_LIMIT = 63  # a Job's name becomes a label of its pods

_PACKER = """set -eu
cd "$GILDER_TEMPLATE"
packer init .
packer validate .
exec packer build -color=false -timestamp-ui ."""

_CLONE = """set -eu
if [ -f /credentials/ssh-privatekey ]; then
  cp /credentials/ssh-privatekey /tmp/key
  chmod 600 /tmp/key
  GIT_SSH_COMMAND="ssh -i /tmp/key -o UserKnownHostsFile=/credentials/known_hosts"
  export GIT_SSH_COMMAND
elif [ -f /credentials/password ]; then
  git config --global credential.helper \\
    '!f() { echo "username=$(cat /credentials/username)"; echo "password=$(cat /credentials/password)"; }; f'
fi
git init -q /workspace
cd /workspace
git remote add origin "$REPOSITORY"
git fetch -q --depth 1 origin "$REF"
git checkout -q FETCH_HEAD"""  # noqa: E501 - one line of shell


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a Job is made for."""

    namespace: str
    name: str
    uid: str
    region: str
    cluster: str
    version: int
    build: str
    ami_name: str
    kms_key: str


def inputs(source: JobSource) -> str:
    """Digest of what decides what a Job makes; how long it may take and is kept does not."""
    ignored = {"backoff_limit", "active_deadline_seconds", "keep_seconds"}
    return digest("job", source.model_dump(mode="json", exclude=ignored), length=12)


def job_name(name: str, build: str) -> str:
    """Unique by the build id, of which ten characters are enough beside the name."""
    tail = f"-{build[:10]}"
    return f"{name[: NAME_LIMIT - len(tail)].rstrip('-.')}{tail}".replace(".", "-")


def manifest(source: JobSource, of: JobContext) -> dict[str, Any]:
    """The Job as it is sent to Kubernetes.

    Its pods find the build id in GILDER_BUILD_ID, and must tag the AMI with it.
    """
    template = copy.deepcopy(source.template or {})
    meta = template["metadata"] = template.get("metadata") or {}
    spec = template["spec"] = template.get("spec") or {}
    labels = {LABEL_IMAGE: label(of.name), LABEL_BUILD: of.build}
    meta["labels"] = {**(meta.get("labels") or {}), **labels}
    spec["restartPolicy"] = "Never"  # each try is a pod of its own, whose log is kept
    if source.service_account_name is not None:
        spec["serviceAccountName"] = source.service_account_name
    if source.packer is not None:
        _packer(spec, source.packer)
    environment = _environment(of)
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        given = container.get("env") or []
        taken = {e.get("name") for e in given if isinstance(e, Mapping)}
        added = [e for e in environment if e["name"] not in taken or e["name"] in _FIXED]
        container["env"] = [*added, *(e for e in given if e.get("name") not in _FIXED)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(of.name, of.build),
            "namespace": of.namespace,
            "labels": labels,
            "annotations": {"goldenimage.dev/version": str(of.version)},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "GoldenImage",
                    "name": of.name,
                    "uid": of.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": source.backoff_limit,
            "activeDeadlineSeconds": source.active_deadline_seconds,
            "ttlSecondsAfterFinished": source.keep_seconds,
            "template": template,
        },
    }


_FIXED = frozenset({"GILDER_BUILD_ID", "PKR_VAR_build_id"})


def label(name: str) -> str:
    """A GoldenImage's name as a label value, which is at most 63 characters."""
    return name if len(name) <= 63 else f"{name[:50].rstrip('-.')}-{digest(name, length=12)}"


def _environment(of: JobContext) -> list[dict[str, str]]:
    values = {
        "build_id": of.build,
        "version": str(of.version),
        "region": of.region,
        "ami_name": of.ami_name,
        "kms_key_id": of.kms_key,
    }
    out = [{"name": f"GILDER_{k.upper()}", "value": v} for k, v in values.items()]
    out += [{"name": "GILDER_IMAGE", "value": f"{of.namespace}/{of.name}"}]
    out += [{"name": "GILDER_CLUSTER", "value": of.cluster}]
    out += [{"name": "AWS_REGION", "value": of.region}]
    # Packer takes no notice of PKR_VAR_ for variables that a template does not declare.
    return out + [{"name": f"PKR_VAR_{k}", "value": v} for k, v in values.items()]


def _packer(spec: dict[str, Any], packer: Packer) -> None:
    """The preset: its container is merged into one of the same name, if the template has it."""
    folder = WORKSPACE
    volumes: list[dict[str, Any]] = []
    if packer.template.config_map is not None:
        source = {"name": packer.template.config_map.name}
        volumes.append({"name": "template", "configMap": source})
    elif packer.template.git is not None:
        git = packer.template.git
        if git.path != ".":
            folder = f"{WORKSPACE}/{git.path}"
        volumes.append({"name": "template", "emptyDir": {}})
        volumes += _clone(spec, git)
    volumes.append({"name": "packer-home", "emptyDir": {}})
    mounts = [{"name": "template", "mountPath": WORKSPACE}]
    mounts.append({"name": "packer-home", "mountPath": "/packer"})
    ours: dict[str, Any] = {
        "name": CONTAINER,
        "image": packer.image,
        "command": ["/bin/sh", "-c", _PACKER],
        "env": [
            {"name": "GILDER_TEMPLATE", "value": folder},
            {"name": "PACKER_CONFIG_DIR", "value": "/packer/config"},
            {"name": "PACKER_CACHE_DIR", "value": "/packer/cache"},
            {"name": "PACKER_PLUGIN_PATH", "value": "/packer/plugins"},
            {"name": "CHECKPOINT_DISABLE", "value": "1"},
            *({"name": f"PKR_VAR_{k}", "value": v} for k, v in sorted(packer.variables.items())),
        ],
        "volumeMounts": mounts,
    }
    if packer.variables_secret is not None:
        secret = {"secretRef": {"name": packer.variables_secret}, "prefix": "PKR_VAR_"}
        ours["envFrom"] = [secret]
    # Packer ends its build instance when it is told to stop, which takes a while.
    spec.setdefault("terminationGracePeriodSeconds", 300)
    containers = [dict(c) for c in spec.get("containers") or []]
    for container in containers:
        if container.get("name") == CONTAINER:
            for field in ("env", "envFrom", "volumeMounts"):
                merged = [*ours.pop(field, []), *(container.get(field) or [])]
                if merged:
                    container[field] = merged
            container.update({k: v for k, v in ours.items() if k not in container})
            break
    else:
        containers.insert(0, ours)
    spec["containers"] = containers
    spec["volumes"] = [*volumes, *(spec.get("volumes") or [])]


def _clone(spec: dict[str, Any], git: GitTemplate) -> list[dict[str, Any]]:
    """An init container that fetches the one commit; the volumes it needs."""
    mounts = [{"name": "template", "mountPath": WORKSPACE}]
    volumes: list[dict[str, Any]] = []
    if git.secret_name is not None:
        mounts.append({"name": "git-credentials", "mountPath": SECRETS, "readOnly": True})  # type: ignore[dict-item]
        volumes.append({"name": "git-credentials", "secret": {"secretName": git.secret_name}})
    clone = {
        "name": "clone",
        "image": git.image,
        "command": ["/bin/sh", "-c", _CLONE],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "REPOSITORY", "value": git.repository},
            {"name": "REF", "value": git.ref},
        ],
        "volumeMounts": mounts,
    }
    spec["initContainers"] = [clone, *(spec.get("initContainers") or [])]
    return volumes
