"""The official Python client against the emulation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch

from gilder.sandbox.kubernetes.cluster import Cluster

GROUP = ("goldenimage.dev", "v1alpha1")


def test_custom_objects_events_and_the_dynamic_client(
    cluster: Cluster,
    namespace: str,
    golden_image: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    api = config.new_client_from_config(str(cluster.kubeconfig))
    objects = client.CustomObjectsApi(api)
    where = (*GROUP, namespace, "goldenimages")
    created = objects.create_namespaced_custom_object(*where, golden_image())
    objects.patch_namespaced_custom_object_status(*where, "web", {"status": {"sourceId": "x"}})
    with pytest.raises(client.ApiException) as refusal:
        objects.replace_namespaced_custom_object(*where, "web", created)
    assert refusal.value.status == 409
    stream = watch.Watch().stream(
        objects.list_namespaced_custom_object,
        *where,
        resource_version=created["metadata"]["resourceVersion"],
        timeout_seconds=1,
    )
    assert [(e["type"], e["object"]["status"]["sourceId"]) for e in stream] == [("MODIFIED", "x")]
    core = client.CoreV1Api(api)
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(generate_name="e-"),
        involved_object=client.V1ObjectReference(
            kind="GoldenImage", name="web", namespace=namespace
        ),
        reason="Tested",
    )
    core.create_namespaced_event(namespace, event)
    (found,) = core.list_namespaced_event(namespace, field_selector="involvedObject.name=web").items
    assert found.reason == "Tested"
    discovered = dynamic.DynamicClient(api, cache_file=str(tmp_path / "cache.json"))
    resource = discovered.resources.get(api_version="/".join(GROUP), kind="GoldenImage")
    assert resource.get(name="web", namespace=namespace).status.sourceId == "x"
    resource.delete(name="web", namespace=namespace)
    assert resource.get(namespace=namespace).items == []
