"""The real kubectl against the emulation and the project's CRDs."""

import json
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from k8s_http import Client

Make = Callable[..., dict[str, Any]]
Kubectl = Callable[..., str]


@pytest.fixture
def k(kubectl: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""
    return lambda *arguments, **more: kubectl(f"--namespace={namespace}", *arguments, **more)


def manifest(*docs: dict[str, Any]) -> str:
    return yaml.safe_dump_all(docs)


def ready(generation: int = 1) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Synced",
        "message": "all is well",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    latest = {"version": 3, "imageId": "ami-0000000a"}
    return {"status": {"conditions": [condition], "latest": latest, "driftCorrected": 2}}


def test_apply_creates_changes_and_leaves_alone(
    k: Kubectl, http: Client, images: str, golden_image: Make
) -> None:
    text = manifest(golden_image(description="one"))
    assert k("apply", "-f", "-", stdin=text) == "goldenimage.goldenimage.dev/web created\n"
    assert k("apply", "-f", "-", stdin=text) == "goldenimage.goldenimage.dev/web unchanged\n"
    text = manifest(golden_image(tags={"a": "b"}))
    assert k("apply", "-f", "-", stdin=text) == "goldenimage.goldenimage.dev/web configured\n"
    spec = http.ok("GET", f"{images}/web")["spec"]
    # The field that the manifest no longer has fell back to its default.
    assert (spec["description"], spec["tags"]) == ("", {"a": "b"})
    assert "serverside-applied" in k("apply", "--server-side", "-f", "-", stdin=text)


@pytest.mark.skipif(shutil.which("diff") is None, reason="kubectl diff runs diff")
def test_diff_is_a_dry_run(k: Kubectl, http: Client, images: str, golden_image: Make) -> None:
    k("apply", "-f", "-", stdin=manifest(golden_image(description="one")))
    said = k("diff", "-f", "-", stdin=manifest(golden_image(description="two")), code=1)
    lines = said.splitlines()
    assert ("-  description: one" in lines, "+  description: two" in lines) == (True, True)
    assert http.ok("GET", f"{images}/web")["spec"]["description"] == "one"


def test_apply_refuses_with_kubectls_words(k: Kubectl, golden_image: Make) -> None:
    said = k("apply", "-f", "-", stdin=manifest(golden_image(foo=1)), code=1)
    assert 'strict decoding error: unknown field "spec.foo"' in said
    said = k("apply", "-f", "-", stdin=manifest(golden_image(region="No")), code=1)
    assert said.startswith('The GoldenImage "web" is invalid: spec.region: Invalid value: "No"')
    said = k("apply", "-f", "-", stdin=manifest(golden_image(source={})), code=1)
    assert said == (
        'The GoldenImage "web" is invalid: spec.source: Invalid value: "object": '
        "give exactly one of image, instance, imageBuilder and job\n"
    )
    warned = manifest(golden_image(foo=1))
    said = k("apply", "--validate=warn", "-f", "-", stdin=warned)
    assert 'Warning: unknown field "spec.foo"' in said
    assert "web created" in said


def test_get_prints_the_columns(
    k: Kubectl, http: Client, images: str, shares: str, golden_image: Make, image_share: Make
) -> None:
    http.ok("POST", images, json=golden_image())
    http.merge(f"{images}/web/status", ready())
    http.ok("POST", shares, json=image_share("partners"))
    header, row = k("get", "gimg").splitlines()
    shown = ["NAME", "READY", "VERSION", "AMI", "REGION", "REPLICAS", "REASON", "AGE"]
    assert header.split() == shown
    assert row.split()[:5] == ["web", "True", "3", "ami-0000000a", "eu-central-1"]
    assert row.split()[-2] == "Synced"
    assert row.split()[-1].endswith("s")
    header, row = k("get", "goldenimage", "web", "-o", "wide").splitlines()
    assert ("DRIFT" in header, "MESSAGE" in header) == (True, True)
    assert row.endswith("all is well")
    both = k("get", "aws")
    assert "goldenimage.goldenimage.dev/web" in both
    assert "imageshare.goldenimage.dev/partners" in both
    assert k("get", "ishare", "-o", "name") == "imageshare.goldenimage.dev/partners\n"
    path = 'jsonpath={.items[0].status.conditions[?(@.type=="Ready")].reason}'
    assert k("get", "gimg", "-o", path) == "Synced"
    assert json.loads(k("get", "gimg", "web", "-o", "json"))["kind"] == "GoldenImage"
    assert yaml.safe_load(k("get", "gimg", "web", "-o", "yaml"))["spec"]["suspend"] is False
    assert "No resources found" in k("get", "gimg", "-l", "a=b")
    assert k("get", "gimg", "--sort-by=.metadata.name", "--no-headers").startswith("web")
    assert "NotFound" in k("get", "gimg", "none", code=1)
    everywhere = k("get", "gimg", "--all-namespaces")
    assert everywhere.startswith("NAMESPACE")


def test_describe_shows_the_events_of_the_object(
    k: Kubectl, http: Client, namespace: str, images: str, golden_image: Make
) -> None:
    created = http.ok("POST", images, json=golden_image())
    for uid, message in ((created["metadata"]["uid"], "mine"), ("other", "not mine")):
        event = {
            "metadata": {"generateName": "e-"},
            "involvedObject": {
                "apiVersion": "goldenimage.dev/v1alpha1",
                "kind": "GoldenImage",
                "name": "web",
                "namespace": namespace,
                "uid": uid,
            },
            "reason": "Captured",
            "message": message,
            "type": "Normal",
            "source": {"component": "gilder"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "count": 1,
        }
        http.ok("POST", f"/api/v1/namespaces/{namespace}/events", json=event)
    described = k("describe", "gimg", "web")
    assert "Region:" in described
    events = described.split("Events:")[1]
    assert "Captured" in events
    assert "mine" in events
    assert "not mine" not in events
    assert "Captured" in k("get", "events")
    assert "Captured" in k("events", "--for", "goldenimage/web")


def test_patch_in_all_formats(k: Kubectl, http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image())
    k("patch", "gimg", "web", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    operation = '[{"op":"replace","path":"/spec/description","value":"d"}]'
    k("patch", "gimg", "web", "--type=json", "-p", operation)
    status = json.dumps(ready())
    k("patch", "gimg", "web", "--type=merge", "--subresource=status", "-p", status)
    image = http.ok("GET", f"{images}/web")
    assert (image["spec"]["suspend"], image["spec"]["description"]) == (True, "d")
    assert image["status"]["latest"]["version"] == 3
    said = k("patch", "gimg", "web", "-p", "{}", code=1)
    assert "application/strategic-merge-patch+json is not supported" in said
    said = k(
        "patch", "gimg", "web", "--type=merge", "-p", '{"spec":{"region":"eu-west-1"}}', code=1
    )
    assert "is immutable" in said


def test_edit_replace_label_and_annotate(
    k: Kubectl, http: Client, images: str, golden_image: Make
) -> None:
    http.ok("POST", images, json=golden_image())
    edited = k("edit", "gimg", "web", EDITOR="sed -i s/suspend:.false/suspend:\\ true/")
    assert edited == "goldenimage.goldenimage.dev/web edited\n"
    body = http.ok("GET", f"{images}/web")
    assert body["spec"]["suspend"] is True
    k("label", "gimg", "web", "team=a")
    said = k("replace", "-f", "-", stdin=manifest(body), code=1)
    assert "the object has been modified" in said
    k("annotate", "gimg", "web", "note=x")
    metadata = http.ok("GET", f"{images}/web")["metadata"]
    assert (metadata["labels"], metadata["annotations"]["note"]) == ({"team": "a"}, "x")
    k("label", "gimg", "web", "team-")
    assert "labels" not in http.ok("GET", f"{images}/web")["metadata"]
    body = http.ok("GET", f"{images}/web")
    body["spec"]["suspend"] = False
    assert k("replace", "-f", "-", stdin=manifest(body)).endswith("replaced\n")
    assert http.ok("GET", f"{images}/web")["spec"]["suspend"] is False


def test_delete_waits_for_finalizers(
    k: Kubectl, http: Client, images: str, golden_image: Make
) -> None:
    body = golden_image()
    body["metadata"]["finalizers"] = ["t.dev/f"]
    http.ok("POST", images, json=body)
    k("delete", "gimg", "web", "--wait=false")
    said = k("delete", "gimg", "web", "--timeout=1s", code=1)
    assert "timed out" in said

    def finish() -> None:
        http.merge(f"{images}/web", {"metadata": {"finalizers": None}})

    timer = threading.Timer(0.5, finish)
    timer.start()
    said = k("wait", "--for=delete", "gimg/web", "--timeout=20s")
    timer.join()
    assert "condition met" in said
    http.refused(404, "GET", f"{images}/web")
    http.ok("POST", images, json=golden_image())
    assert "deleted" in k("delete", "gimg", "web", "--cascade=foreground")
    assert "NotFound" in k("delete", "gimg", "web", code=1)


def test_wait_for_a_condition(k: Kubectl, http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image())
    said = k("wait", "--for=condition=Ready", "gimg/web", "--timeout=1s", code=1)
    assert "timed out waiting" in said
    timer = threading.Timer(0.5, lambda: http.merge(f"{images}/web/status", ready()))
    timer.start()
    said = k("wait", "--for=condition=Ready", "gimg/web", "--timeout=20s")
    timer.join()
    assert said == "goldenimage.goldenimage.dev/web condition met\n"


def test_get_can_watch(k: Kubectl, http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image("a"))
    timer = threading.Timer(0.7, lambda: http.ok("POST", images, json=golden_image("b")))
    timer.start()
    said = k("get", "gimg", "--watch", "--request-timeout=2s")
    timer.join()
    rows = [line.split()[0] for line in said.splitlines()]
    assert rows == ["NAME", "a", "b"]


def test_discovery_and_explain(k: Kubectl) -> None:
    resources = k("api-resources", "--api-group=goldenimage.dev", "--no-headers").splitlines()
    assert [r.split() for r in resources] == [
        ["goldenimages", "gimg", "goldenimage.dev/v1alpha1", "true", "GoldenImage"],
        ["imageshares", "ishare", "goldenimage.dev/v1alpha1", "true", "ImageShare"],
    ]
    assert "goldenimage.dev/v1alpha1" in k("api-versions").splitlines()
    explained = k("explain", "goldenimage.spec.source")
    assert "ssmParameter" not in explained
    assert "exactly one of image, instance, imageBuilder" in " ".join(explained.split())
    assert "ssmParameter\t<string>" in k("explain", "gimg.spec.source.image")
    assert "Server Version: v1." in k("version")
    assert "is running at" in k("cluster-info")
    assert k("auth", "can-i", "create", "goldenimages") == "yes\n"
    assert "sandbox" in k("auth", "whoami")


def test_namespaces_and_built_in_kinds(kubectl: Kubectl, http: Client, golden_image: Make) -> None:
    assert kubectl("create", "namespace", "team") == "namespace/team created\n"
    assert "AlreadyExists" in kubectl("create", "namespace", "team", code=1)
    assert "Active" in kubectl("get", "ns", "team")
    kubectl("-n", "team", "create", "configmap", "c", "--from-literal=a=1")
    kubectl("-n", "team", "create", "secret", "generic", "s", "--from-literal=a=1")
    kubectl("-n", "team", "create", "serviceaccount", "gilder")
    assert kubectl("-n", "team", "get", "secret", "s", "-o", "jsonpath={.data.a}") == "MQ=="
    for data in ({"b": "1"}, {"c": "2"}):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": data}
        kubectl("-n", "team", "apply", "-f", "-", stdin=manifest(body))
    found = http.ok("GET", "/api/v1/namespaces/team/configmaps/d")
    assert found["data"] == {"c": "2"}
    kubectl("-n", "team", "apply", "-f", "-", stdin=manifest(golden_image()))
    assert 'namespace "team" deleted' in kubectl("delete", "namespace", "team")
    http.refused(404, "GET", "/api/v1/namespaces/team")
    everything = http.ok("GET", "/apis/goldenimage.dev/v1alpha1/goldenimages")["items"]
    assert [i for i in everything if i["metadata"]["namespace"] == "team"] == []


def test_rbac_and_workloads_apply(k: Kubectl, namespace: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"gilder:{namespace}"},
        "rules": [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"gilder:{namespace}"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"gilder:{namespace}",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "gilder", "namespace": namespace}],
    }
    container = {"name": "gilder", "image": "gilder:1"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gilder"},
        "spec": {
            "selector": {"matchLabels": {"app": "gilder"}},
            "template": {
                "metadata": {"labels": {"app": "gilder"}},
                "spec": {"containers": [container]},
            },
        },
    }
    said = k("apply", "-f", "-", stdin=manifest(role, binding, deployment))
    assert said.count(" created\n") == 3
    container["image"] = "gilder:2"
    said = k("apply", "-f", "-", stdin=manifest(role, binding, deployment))
    assert (said.count(" unchanged\n"), said.count(" configured\n")) == (2, 1)
    path = "jsonpath={.spec.template.spec.containers[*].image}"
    assert k("get", "deploy", "gilder", "-o", path) == "gilder:2"


def test_crds_apply_and_go(kubectl: Kubectl, http: Client) -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": free}}
    peering = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusterkopfpeerings.kopf.dev"},
        "spec": {
            "group": "kopf.dev",
            "scope": "Cluster",
            "names": {"plural": "clusterkopfpeerings", "kind": "ClusterKopfPeering"},
            "versions": [version],
        },
    }
    name = peering["metadata"]["name"]
    kubectl("apply", "-f", "-", stdin=manifest(peering))
    kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=10s")
    body = {
        "apiVersion": "kopf.dev/v1",
        "kind": "ClusterKopfPeering",
        "metadata": {"name": "default"},
    }
    kubectl("apply", "-f", "-", stdin=manifest(body))
    http.merge("/apis/kopf.dev/v1/clusterkopfpeerings/default", {"status": {"id": {"p": 1}}})
    assert kubectl("get", "clusterkopfpeering", "default", "-o", "jsonpath={.status.id.p}") == "1"
    assert name in kubectl("get", "crd")
    kubectl("delete", "crd", name)
    http.refused(404, "GET", "/apis/kopf.dev/v1/clusterkopfpeerings")
    # kubectl still has the resource in its discovery cache.
    said = kubectl("get", "clusterkopfpeering", code=1)
    assert "the server could not find the requested resource" in said
