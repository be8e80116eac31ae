"""Puts all extensions into moto, once per process, and takes their state away again."""

import dataclasses
from typing import Any

from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends
from moto.organizations.models import organizations_backends

from gilder.sandbox.aws import (
    accounts,
    commands,
    copying,
    events,
    findings,
    grants,
    images,
    inspector,
    key_calls,
    keys,
    launch_templates,
    launching,
    lifecycle,
    organizations,
    parameters,
    permissions,
    public_access,
    recycle_bin,
    references,
    registering,
    registry,
    replicas,
    retention_rules,
    roles,
    run_command,
    snapshot_permissions,
    snapshots,
    tags,
    usage_reports,
    volumes,
)
from gilder.sandbox.aws.faults import Faults
from gilder.sandbox.aws.imagebuilder import (
    builds,
    components,
    configurations,
    containers,
    pipelines,
    recipes,
    workflows,
)
from gilder.sandbox.aws.imagebuilder import images as built_images
from gilder.sandbox.aws.imagebuilder.store import STORES
from gilder.sandbox.aws.model import Image
from gilder.sandbox.aws.state import REGIONS

# Importing these registers their handlers.
HANDLERS = (
    built_images,
    components,
    configurations,
    containers,
    copying,
    grants,
    images,
    keys,
    launch_templates,
    lifecycle,
    organizations,
    permissions,
    pipelines,
    public_access,
    recipes,
    recycle_bin,
    references,
    registering,
    replicas,
    retention_rules,
    roles,
    snapshot_permissions,
    snapshots,
    tags,
    usage_reports,
    workflows,
)
_installed = False


def install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    for module in (
        accounts,
        events,
        images,
        snapshots,
        volumes,
        keys,
        key_calls,
        replicas,
        tags,
        launch_templates,
        launching,
        organizations,
        parameters,
        run_command,
        inspector,
        registry,
    ):
        module.install()


def settle() -> None:
    """Bring what the clock drives to the present; done before every request."""
    with registry.LOCK:
        builds.settle()
        commands.COMMANDS.settle()
        recycle_bin.settle()
        usage_reports.settle()


def bind(faults: Faults) -> None:
    images.bind(faults)


def reset() -> None:
    """Forget the state of moto and of the extensions."""
    with registry.LOCK:
        # Dropping the backends is enough, and much faster than building each one anew.
        instances: Any = vars(BackendDict)["_instances"]
        for backends in list(instances):
            backends.clear()
        instances.clear()
        organizations_backends.master_accounts.clear()
        REGIONS.clear()
        STORES.clear()
        builds.BUILDS.clear()
        commands.COMMANDS.reset()
        findings.FINDINGS.reset()
        usage_reports.USAGE_REPORTS.reset()
        accounts.reset_accounts()


def edit_image(account: str, region: str, image_id: str, **values: Any) -> None:
    image = images.own_image(account, region, image_id)
    known = {f.name for f in dataclasses.fields(Image)}
    for name, value in values.items():
        if name not in known:
            raise TypeError(f"an AMI has no field {name}; known: {', '.join(sorted(known))}")
        setattr(image, name, value)


def edit_instance(account: str, region: str, instance_id: str, **values: Any) -> None:
    instance = ec2_backends[account][region].get_instance(instance_id)
    for name, value in values.items():
        if not hasattr(instance, name):
            raise TypeError(f"an instance has no field {name}")
        setattr(instance, name, value)
