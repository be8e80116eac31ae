"""The ConfigMap that tells the released version in the GoldenImage's namespace; pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gilder.api.goldenimage import Published
from gilder.api.names import ANNOTATION_DATA, API_VERSION, LABEL_IMAGE
from gilder.core.actions import (
    AnyAction,
    CopyImage,
    CreateImage,
    DeleteConfigMap,
    PutConfigMap,
    PutParameter,
    ReleaseConfigMap,
    SetTemplateImage,
    TagResources,
)
from gilder.core.digest import digest
from gilder.core.jobs import label
from gilder.core.needs import regions_of
from gilder.core.observed import Problem
from gilder.core.plan import Draft
from gilder.core.published import Maps, SeenMap
from gilder.core.slots import POLL
from gilder.core.versions import ImagePlan
from gilder.core.wanted import Wanted

VERSION_KEY = "version"
_AMI = re.compile(r"ami-[0-9a-f]{8,17}")
# Without a cluster to ask, a plan that has one of these will change the ConfigMap as well.
_MOVES = (CopyImage, CreateImage, PutParameter, SetTemplateImage)


def plan_map(
    want: Wanted,
    image: ImagePlan,
    maps: Maps,
    before: Iterable[AnyAction],
    draft: Draft,
    found: list[Published],
) -> set[tuple[str, str, str, str]]:
    """What makes the ConfigMap tell what is served; others of ours go. `before` are the actions
    of the image's own plan."""
    publish = want.spec.publish
    name = publish.config_map.name if publish and publish.config_map is not None else ""
    told = [t for t in want.memory.published if t.kind == "ConfigMap"]
    if maps.awaited and (name or told):
        draft.wait("ConfigMaps to be listed", POLL)
        return set()
    if maps.failure and (name or told):
        draft.note(Problem("KubernetesError", maps.failure, permanent=False))
        return set()
    kept = False
    if name and want.spec.region in image.served:
        kept = _put(want, name, image, maps, [*before, *draft.actions], draft, found)
    for other in maps.mine:
        # The former one goes once the new one is there.
        if other.name != name and not other.deleting and (kept or not name):
            draft.do(
                DeleteConfigMap(
                    region=want.spec.region,
                    namespace=other.namespace,
                    name=other.name,
                    uid=other.uid,
                )
            )
    if not maps.known:
        return set()
    left = {m.name for m in maps.mine} | {name}
    return {t.place for t in told if t.name not in left}


def plan_map_end(want: Wanted, maps: Maps, draft: Draft) -> None:
    """Before a GoldenImage goes that leaves what it published: its ConfigMap has it as its owner,
    and would go with it. Where it is to be deleted Kubernetes does that."""
    policy = want.spec.deletion_policy
    told = any(t.kind == "ConfigMap" for t in want.memory.published)
    if policy == "Delete" or not (told or maps.mine):
        return
    if maps.awaited:
        draft.wait("ConfigMaps to be listed", POLL)
    elif maps.failure:
        draft.note(
            Problem(
                "KubernetesError",
                f"{maps.failure}. The ConfigMap of spec.publish is to stay, and would go with this "
                "GoldenImage. Mend it, or let it go with the annotation "
                'goldenimage.dev/abandon: "true"',
                permanent=False,
            )
        )
    for there in maps.mine:
        if there.owner == want.uid and not there.deleting:
            draft.do(
                ReleaseConfigMap(
                    region=want.spec.region,
                    namespace=there.namespace,
                    name=there.name,
                    resource_version=there.resource_version,
                    whole=policy == "Orphan",
                )
            )


def _put(
    want: Wanted,
    name: str,
    image: ImagePlan,
    maps: Maps,
    actions: Iterable[AnyAction],
    draft: Draft,
    found: list[Published],
) -> bool:
    there = maps.named(name)
    data = _data(want, image, there.data if there is not None else {})
    told = want.memory.told(("ConfigMap", "", "", name))
    home = image.served[want.spec.region]
    record = Published(
        kind="ConfigMap", name=name, image_id=home.id, version=home.version or image.version
    )
    if not maps.known:
        if any(_moves(a) for a in actions):
            draft.do(_action(want, name, data, None, heals=False))
        else:
            found.append(record)
        return False
    if there is not None and there.deleting:
        draft.wait(f"ConfigMap {name} to be gone", POLL)
        return False
    if there is not None and _as_wanted(want, there, data):
        found.append(record)
        return True
    same = there.digest == digest(data) if there is not None else False
    if there is None and told is not None:
        same = told.version == record.version and told.image_id == record.image_id
    draft.do(_action(want, name, data, there, heals=same and told is not None))
    return False


def _moves(action: AnyAction) -> bool:
    return isinstance(action, _MOVES) or (isinstance(action, TagResources) and action.adopts)


def _data(want: Wanted, image: ImagePlan, before: Mapping[str, str]) -> dict[str, str]:
    """By Region, with the version at home; a Region without a copy keeps the AMI that it had."""
    regions = regions_of(want.spec)
    kept = {r: a for r, a in before.items() if r in regions and _AMI.fullmatch(a)}
    served = {r: i.id for r, i in image.served.items()}
    version = image.served[want.spec.region].version or image.version
    return {**kept, **served, VERSION_KEY: str(version)}


def _as_wanted(want: Wanted, there: SeenMap, data: Mapping[str, str]) -> bool:
    return (
        dict(there.data) == data
        and there.owner == want.uid
        and there.labels.get(LABEL_IMAGE) == label(want.name)
        and there.digest == digest(data)
    )


def _action(
    want: Wanted, name: str, data: Mapping[str, str], there: SeenMap | None, *, heals: bool
) -> PutConfigMap:
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": want.namespace,
            "labels": {LABEL_IMAGE: label(want.name)},
            "annotations": {ANNOTATION_DATA: digest(data)},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "GoldenImage",
                    "name": want.name,
                    "uid": want.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "data": dict(data),
    }
    gone = tuple(sorted(there.data.keys() - data.keys())) if there is not None else ()
    return PutConfigMap(
        region=want.spec.region,
        manifest=manifest,
        resource_version=there.resource_version if there is not None else "",
        gone=gone,
        heals=heals,
    )
