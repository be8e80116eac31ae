"""What AWS would look like after an action: lets `plan` show steps that follow from others."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gilder.core.actions import (
    AFTER_APPLY,
    AnyAction,
    CopyImage,
    CreateGrant,
    CreateImage,
    DeleteParameter,
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    EnableImage,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    ProtectImage,
    PutKeyPolicy,
    PutParameter,
    ReleaseParameter,
    RevokeGrant,
    SetTemplateImage,
    TagResources,
    UntagResources,
)
from gilder.core.observed import NOBODY, Grant, Image, Key, Observed, RegionView, Snapshot
from gilder.core.published import Parameter, Template, TemplateVersion
from gilder.core.statements import replaced


def predict(seen: Observed, actions: Iterable[AnyAction]) -> Observed:
    """`seen` as it would be after the actions succeeded and everything pending was done."""
    for action in actions:
        view = seen.region(action.region)
        seen = Observed(seen.account, {**seen.regions, action.region: _after(view, action, seen)})
    return seen


def placeholder(name: str, region: str) -> str:
    """Stands for the id of an AMI or grant that is not made yet."""
    return f"{name}@{region} {AFTER_APPLY}"


def _after(view: RegionView, action: AnyAction, seen: Observed) -> RegionView:
    match action:
        case TagResources():
            return _retag(view, action.resources, dict(action.tags), ())
        case UntagResources():
            return _retag(view, action.resources, {}, action.keys)
        case CreateImage():
            image = Image(
                id=placeholder(action.name, action.region),
                region=action.region,
                owner=seen.account,
                name=action.name,
                tags=action.tags,
            )
            return _with(view, image)
        case CopyImage():
            source = seen.region(action.source_region).images.get(action.source_image)
            keys = frozenset({action.key}) if action.key else frozenset()
            image = Image(
                id=placeholder(action.name, action.region),
                region=action.region,
                owner=seen.account,
                name=action.name,
                encrypted=bool(action.key) or bool(source and source.encrypted),
                kms_keys=keys,
                tags=action.tags,
                source_image=action.source_image,
            )
            return _with(view, image)
        case EnableImage():
            found = view.images.get(action.image)
            return _with(view, replace(found, state="available")) if found else view
        case DisableImage():
            found = view.images.get(action.image)
            return _with(view, replace(found, state="disabled"), shared=False) if found else view
        case DeprecateImage():
            found = view.images.get(action.image)
            return _with(view, replace(found, deprecated_at=action.at)) if found else view
        case ProtectImage():
            found = view.images.get(action.image)
            return _with(view, replace(found, protection=action.mode)) if found else view
        case DeleteSnapshot():
            left = {k: v for k, v in view.snapshots.items() if k != action.snapshot}
            return replace(view, snapshots=left)
        case DeregisterImage():
            images = {k: v for k, v in view.images.items() if k != action.image}
            gone = {k: v for k, v in view.permissions.items() if k != action.image}
            return replace(view, images=images, permissions=gone)
        case CreateGrant():
            grant = Grant(
                placeholder(action.name, action.region),
                action.key,
                action.name,
                action.principal,
                frozenset(action.operations),
            )
            there = view.grants.get(action.key, ())
            return replace(view, grants={**view.grants, action.key: (*there, grant)})
        case RevokeGrant():
            kept = tuple(g for g in view.grants.get(action.key, ()) if g.id != action.grant)
            return replace(view, grants={**view.grants, action.key: kept})
        case ModifyLaunchPermission():
            now = (view.permissions.get(action.image, NOBODY) | action.add) - action.remove
            return replace(view, permissions={**view.permissions, action.image: now})
        case ModifySnapshotPermission():
            now = (view.volumes.get(action.snapshot, NOBODY) | action.add) - action.remove
            return replace(view, volumes={**view.volumes, action.snapshot: now})
        case PutKeyPolicy():
            key = view.keys.get(action.key)
            if not isinstance(key, Key) or key.policy is None:
                return view
            policy = replaced(key.policy, action.sid, action.statement)
            return replace(view, keys={**view.keys, action.key: replace(key, policy=policy)})
        case PutParameter():
            told = Parameter(action.name, action.image, action.owner)
            return replace(view, published={**view.published, action.name: told})
        case DeleteParameter() | ReleaseParameter():
            named = {k: v for k, v in view.published.items() if k != action.name}
            tagged = {k: tuple(n for n in v if n != action.name) for k, v in view.tagged.items()}
            return replace(view, published=named, tagged=tagged)
        case SetTemplateImage():
            made = TemplateVersion(action.source + 1, action.image, action.description)
            templates = {
                k: replace(t, default=made)
                if isinstance(t, Template) and t.id == action.template
                else t
                for k, t in view.templates.items()
            }
            return replace(view, templates=templates)
        case _:  # builds and checks take their time, and what comes of them is not known
            return view


def _with(view: RegionView, image: Image, *, shared: bool = True) -> RegionView:
    grants = {**dict.fromkeys(image.kms_keys, ()), **view.grants}
    permissions = {image.id: NOBODY, **view.permissions}
    if not shared:
        permissions[image.id] = NOBODY
    images = {**view.images, image.id: image}
    return replace(view, images=images, permissions=permissions, grants=grants)


def _retag(
    view: RegionView, ids: Iterable[str], tags: Mapping[str, str], gone: tuple[str, ...]
) -> RegionView:
    images, snapshots = dict(view.images), dict(view.snapshots)
    for resource in ids:
        if image := images.get(resource):
            left = {k: v for k, v in image.tags.items() if k not in gone}
            images[resource] = replace(image, tags={**left, **tags})
        if snapshot := snapshots.get(resource):
            left = {k: v for k, v in snapshot.tags.items() if k not in gone}
            snapshots[resource] = Snapshot(resource, {**left, **tags})
    return replace(view, images=images, snapshots=snapshots)
