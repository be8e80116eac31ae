"""Behaviours of the real API that the operator and kubectl rely on, over HTTP."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from k8s_http import Client

Make = Callable[..., dict[str, Any]]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def test_create_sets_metadata_and_defaults(http: Client, images: str, golden_image: Make) -> None:
    response = http("POST", images, json=golden_image())
    assert response.status_code == 201
    created = response.json()
    metadata = created["metadata"]
    assert metadata["generation"] == 1
    assert metadata["namespace"] == images.split("/")[5]
    assert metadata["creationTimestamp"].endswith("Z")
    assert len(metadata["uid"]) == 36
    assert int(metadata["resourceVersion"]) > 0
    assert created["spec"]["deletionPolicy"] == "Retain"
    assert created["spec"]["naming"] == {"template": "{namespace}-{name}-v{version}"}
    assert "status" not in created
    assert http.ok("GET", f"{images}/web") == created


def test_create_twice_and_get_nothing(http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image())
    status = http.refused(409, "POST", images, json=golden_image())
    assert status["reason"] == "AlreadyExists"
    assert status["message"] == 'goldenimages.goldenimage.dev "web" already exists'
    for method in ("GET", "DELETE"):
        status = http.refused(404, method, f"{images}/none")
        assert status["message"] == 'goldenimages.goldenimage.dev "none" not found'
        assert status["reason"] == "NotFound"
    http.refused(404, "GET", "/apis/goldenimage.dev/v1alpha1/nothings")


def test_generation_counts_changes_of_spec_only(
    http: Client, images: str, golden_image: Make
) -> None:
    path = f"{images}/web"
    http.ok("POST", images, json=golden_image())

    def generation(patch: dict[str, Any], at: str = path) -> int:
        response = http.merge(at, patch)
        assert response.ok, response.text
        return int(response.json()["metadata"]["generation"])

    assert generation({"metadata": {"labels": {"a": "b"}}}) == 1
    assert generation({"metadata": {"finalizers": ["t.dev/f"]}}) == 1
    assert generation({"status": {"sourceId": "x"}}, f"{path}/status") == 1
    assert generation({"spec": {"description": "new"}}) == 2
    assert generation({"spec": {"description": "new"}}) == 2
    # Deletion of an object with finalizers counts, too.
    assert http.ok("DELETE", path)["metadata"]["generation"] == 3


def test_status_and_spec_are_isolated(http: Client, images: str, golden_image: Make) -> None:
    path = f"{images}/web"
    body = golden_image()
    body["status"] = {"sourceId": "sneaked in"}
    created = http.ok("POST", images, json=body)
    assert "status" not in created
    patch = {
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["t.dev/f"]},
        "spec": {"description": "sneaked in"},
        "status": {"sourceId": "ami-1"},
    }
    changed = http.merge(f"{path}/status", patch).json()
    assert changed["status"]["sourceId"] == "ami-1"
    assert changed["spec"] == created["spec"]
    assert {k: v for k, v in changed["metadata"].items() if k != "resourceVersion"} == {
        k: v for k, v in created["metadata"].items() if k != "resourceVersion"
    }
    changed = http.merge(path, {"spec": {"description": "d"}, "status": {"sourceId": "no"}}).json()
    assert (changed["spec"]["description"], changed["status"]["sourceId"]) == ("d", "ami-1")
    replaced = copy.deepcopy(changed)
    del replaced["status"]
    assert http.ok("PUT", path, json=replaced)["status"]["sourceId"] == "ami-1"
    replaced = http.ok("PUT", f"{path}/status", json={**changed, "status": {}})
    assert "sourceId" not in replaced["status"]
    assert http.ok("GET", f"{path}/status") == http.ok("GET", path)


def test_writes_without_a_change_keep_the_version(
    http: Client, images: str, golden_image: Make
) -> None:
    created = http.ok("POST", images, json=golden_image())
    path = f"{images}/web"
    assert http.ok("PUT", path, json=created) == created
    assert http.merge(path, {"spec": {"region": "eu-central-1"}}).json() == created
    assert http.merge(f"{path}/status", {}).json() == created
    assert http.json_patch(path, []).json() == created


def test_stale_versions_conflict(http: Client, images: str, golden_image: Make) -> None:
    path = f"{images}/web"
    old = http.ok("POST", images, json=golden_image())
    new = http.merge(path, {"spec": {"description": "new"}}).json()
    stale = {"resourceVersion": old["metadata"]["resourceVersion"]}
    expected = (
        'Operation cannot be fulfilled on goldenimages.goldenimage.dev "web": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    status = http.refused(409, "PUT", path, json=old)
    assert (status["reason"], status["message"]) == ("Conflict", expected)
    for at in (path, f"{path}/status"):
        response = http.merge(at, {"metadata": stale, "status": {"sourceId": "x"}})
        assert (response.status_code, response.json()["reason"]) == (409, "Conflict")
    fresh = {"resourceVersion": new["metadata"]["resourceVersion"]}
    assert http.merge(path, {"metadata": fresh, "spec": {"description": "x"}}).ok
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": stale["resourceVersion"]}
    change = {"op": "replace", "path": "/spec/description", "value": "y"}
    assert http.json_patch(path, [test, change]).status_code == 422
    assert http.ok("GET", path)["spec"]["description"] == "x"


def test_put_needs_a_version(http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image())
    status = http.refused(422, "PUT", f"{images}/web", json=golden_image())
    assert "metadata.resourceVersion" in status["message"]
    assert "must be specified for an update" in status["message"]
    http.refused(404, "PUT", f"{images}/none", json=golden_image("none"))


def test_identity_cannot_change(http: Client, images: str, golden_image: Make) -> None:
    created = http.ok("POST", images, json=golden_image())
    path = f"{images}/web"
    assert http.merge(path, {"metadata": {"name": "other"}}).status_code == 400
    assert http.merge(path, {"metadata": {"uid": "other"}}).status_code == 409
    kept = http.merge(path, {"metadata": {"creationTimestamp": None, "generation": 9}}).json()
    assert kept == created
    http.refused(400, "POST", images, json={**golden_image("x"), "apiVersion": "v1"})
    http.refused(400, "POST", images, json={**golden_image("x"), "kind": "ImageShare"})


def test_unknown_fields_are_pruned_warned_about_or_refused(
    http: Client, images: str, golden_image: Make
) -> None:
    body = golden_image(foo=1)
    status = http.refused(400, "POST", f"{images}?fieldValidation=Strict", json=body)
    assert status["message"].endswith('strict decoding error: unknown field "spec.foo"')
    response = http("POST", images, json=body)
    assert response.headers["Warning"] == '299 - "unknown field \\"spec.foo\\""'
    assert "foo" not in http.ok("GET", f"{images}/web")["spec"]
    patch = {"spec": {"bar": 1, "description": "d"}}
    response = http.merge(f"{images}/web?fieldValidation=Strict", patch)
    assert response.status_code == 422
    assert 'unknown field \\"spec.bar\\"' in response.text
    response = http.merge(f"{images}/web?fieldValidation=Ignore", patch)
    assert response.ok
    assert "Warning" not in response.headers
    assert response.json()["spec"]["description"] == "d"


def test_an_invalid_object_names_every_field(http: Client, images: str, golden_image: Make) -> None:
    body = golden_image("x", region="Nowhere", account=7, deletionPolicy="Never")
    del body["spec"]["source"]
    status = http.refused(422, "POST", images, json=body)
    assert status["reason"] == "Invalid"
    assert status["message"].startswith('GoldenImage.goldenimage.dev "x" is invalid: [')
    assert status["details"]["kind"] == "GoldenImage"
    assert status["details"]["group"] == "goldenimage.dev"
    causes = {c["field"]: c["reason"] for c in status["details"]["causes"]}
    assert causes == {
        "spec.source": "FieldValueRequired",
        "spec.region": "FieldValueInvalid",
        "spec.account": "FieldValueTypeInvalid",
        "spec.deletionPolicy": "FieldValueNotSupported",
        "<nil>": "FieldValueInvalid",
    }


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Upper"}, "metadata.name"),
        ({}, "metadata.name"),
        ({"name": "x", "labels": {"a": "not valid"}}, "metadata.labels"),
        ({"name": "x", "labels": {"-a": "b"}}, "metadata.labels"),
        ({"name": "x", "annotations": {"a": "b" * 262144}}, "metadata.annotations"),
    ],
)
def test_metadata_is_validated(
    http: Client, images: str, golden_image: Make, metadata: dict[str, Any], field: str
) -> None:
    status = http.refused(422, "POST", images, json={**golden_image(), "metadata": metadata})
    assert status["details"]["causes"][0]["field"] == field


def test_lists_of_scalars_are_sets_and_lists_of_replicas_are_maps(
    http: Client, images: str, shares: str, golden_image: Make, image_share: Make
) -> None:
    twice = [{"region": "eu-west-1"}, {"region": "eu-west-1"}]
    status = http.refused(422, "POST", images, json=golden_image(replicas=twice))
    assert status["details"]["causes"][0]["reason"] == "FieldValueDuplicate"
    body = image_share(accounts=["111111111111", "111111111111"])
    status = http.refused(422, "POST", shares, json=body)
    assert status["details"]["causes"][0]["field"] == "spec.accounts[1]"


def test_deletion_waits_for_finalizers(http: Client, images: str, golden_image: Make) -> None:
    path = f"{images}/web"
    body = golden_image()
    body["metadata"]["finalizers"] = ["t.dev/a", "t.dev/b"]
    http.ok("POST", images, json=body)
    waiting = http.ok("DELETE", path, json={"propagationPolicy": "Background"})
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 0
    assert waiting["metadata"]["deletionTimestamp"].endswith("Z")
    again = http.ok("DELETE", path)
    assert again["metadata"] == waiting["metadata"]
    added = http.merge(path, {"metadata": {"finalizers": ["t.dev/a", "t.dev/b", "t.dev/c"]}})
    assert added.status_code == 422
    assert "no new finalizers can be added if the object is being deleted" in added.text
    revived = http.merge(path, {"metadata": {"deletionTimestamp": None}}).json()
    assert revived["metadata"]["deletionTimestamp"] == waiting["metadata"]["deletionTimestamp"]
    assert http.merge(path, {"metadata": {"finalizers": ["t.dev/b"]}}).ok
    http.ok("GET", path)
    assert http.json_patch(path, [{"op": "remove", "path": "/metadata/finalizers"}]).ok
    http.refused(404, "GET", path)


def test_deletion_without_finalizers_is_immediate(
    http: Client, images: str, golden_image: Make
) -> None:
    created = http.ok("POST", images, json=golden_image())
    http.refused(409, "DELETE", f"{images}/web", json={"preconditions": {"uid": "other"}})
    status = http.ok("DELETE", f"{images}/web")
    assert status["status"] == "Success"
    assert status["details"]["uid"] == created["metadata"]["uid"]
    http.ok("POST", images, json=golden_image("a"))
    http.ok("POST", images, json=golden_image("b"))
    assert len(http.ok("DELETE", images)["items"]) == 2
    assert http.ok("GET", images)["items"] == []


def test_dry_run_changes_nothing(http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", f"{images}?dryRun=All", json=golden_image())
    assert http.ok("GET", images)["items"] == []
    created = http.ok("POST", images, json=golden_image())
    patched = http.merge(f"{images}/web?dryRun=All", {"spec": {"description": "d"}}).json()
    assert patched["spec"]["description"] == "d"
    http.ok("DELETE", f"{images}/web?dryRun=All")
    assert http.ok("GET", f"{images}/web") == created


def test_lists_are_selected_and_paged_consistently(
    http: Client, images: str, golden_image: Make
) -> None:
    for name in ("a", "b", "c", "d"):
        body = golden_image(name)
        body["metadata"]["labels"] = {"half": "first" if name < "c" else "second"}
        http.ok("POST", images, json=body)

    def names(query: str) -> list[str]:
        return [i["metadata"]["name"] for i in http.ok("GET", f"{images}{query}")["items"]]

    assert names("?labelSelector=half in (second)") == ["c", "d"]
    assert names("?fieldSelector=metadata.name=b") == ["b"]
    http.refused(400, "GET", f"{images}?fieldSelector=spec.region=x")
    page = http.ok("GET", f"{images}?limit=3")
    assert page["kind"] == "GoldenImageList"
    assert page["metadata"]["remainingItemCount"] == 1
    http.ok("DELETE", f"{images}/d")
    http.ok("POST", images, json=golden_image("e"))
    token = page["metadata"]["continue"]
    rest = http.ok("GET", images, params={"limit": 3, "continue": token})
    assert [i["metadata"]["name"] for i in rest["items"]] == ["d"]
    assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]
    assert names("") == ["a", "b", "c", "e"]


def test_tables_have_the_columns_of_the_crd(http: Client, images: str, golden_image: Make) -> None:
    http.ok("POST", images, json=golden_image())
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ok",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"conditions": [condition], "driftCorrected": 3}}
    assert http.merge(f"{images}/web/status", status).ok
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    table = http.ok("GET", images, headers=accept)
    assert table["kind"] == "Table"
    columns = {c["name"]: c["priority"] for c in table["columnDefinitions"]}
    assert (columns["Ready"], columns["Drift"], columns["Message"]) == (0, 1, 1)
    cells = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    assert cells == {
        "Name": "web",
        "Ready": "True",
        "Version": None,
        "AMI": None,
        "Region": "eu-central-1",
        "Replicas": None,
        "Build": None,
        "Drift": 3,
        "Reason": "Ok",
        "Age": cells["Age"],
        "Message": "m",
    }
    assert cells["Age"].endswith("s")
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_apply_patch_creates_then_merges(http: Client, images: str, golden_image: Make) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    at = f"{images}/web?fieldManager=t"
    body = golden_image()
    assert http("PATCH", at, json=body, headers=headers).status_code == 201
    body["spec"]["description"] = "d"
    assert http.ok("PATCH", at, json=body, headers=headers)["spec"]["description"] == "d"
    http.refused(400, "PATCH", f"{images}/web", json=body, headers=headers)


def test_strategic_merge_patch_is_for_built_in_kinds(
    http: Client, images: str, namespace: str, golden_image: Make
) -> None:
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    http.ok("POST", images, json=golden_image())
    http.refused(415, "PATCH", f"{images}/web", json={}, headers=headers)
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    http.ok("POST", maps, json={"metadata": {"name": "c"}, "data": {"a": "1"}})
    patched = http.ok("PATCH", f"{maps}/c", json={"data": {"b": "2"}}, headers=headers)
    assert patched["data"] == {"a": "1", "b": "2"}


def test_events_are_found_by_their_object_in_both_groups(http: Client, namespace: str) -> None:
    events = f"/api/v1/namespaces/{namespace}/events"
    for name in ("web", "db"):
        event = {
            "metadata": {"generateName": "e-"},
            "involvedObject": {"kind": "GoldenImage", "name": name, "namespace": namespace},
            "reason": "Done",
            "message": f"about {name}",
            "type": "Normal",
        }
        http.ok("POST", events, json=event)
    selector = f"involvedObject.name=web,involvedObject.namespace={namespace}"
    (found,) = http.ok("GET", events, params={"fieldSelector": selector})["items"]
    assert found["message"] == "about web"
    viewed = http.ok("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")["items"]
    assert sorted(e["note"] for e in viewed) == ["about db", "about web"]
    assert all(e["regarding"]["kind"] == "GoldenImage" for e in viewed)


def test_events_are_checked(http: Client, namespace: str) -> None:
    events = f"/api/v1/namespaces/{namespace}/events"
    event: dict[str, Any] = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "GoldenImage", "name": "web", "namespace": "other"},
    }
    status = http.refused(422, "POST", events, json=event)
    assert "does not match event.namespace" in status["message"]
    event["involvedObject"]["namespace"] = namespace
    event["eventTime"] = "2026-01-01T00:00:00.000000Z"
    status = http.refused(422, "POST", events, json=event)
    missing = [c["field"] for c in status["details"]["causes"]]
    assert missing == ["reportingComponent", "reportingInstance", "action", "reason", "type"]
    fields = {"reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal"}
    http.ok("POST", events, json={**event, **fields, "reportingComponent": "gilder"})


def test_namespaces_take_their_content_along(http: Client, golden_image: Make) -> None:
    http.refused(
        404, "POST", "/apis/goldenimage.dev/v1alpha1/namespaces/gone/goldenimages", json={}
    )
    http.ok("POST", "/api/v1/namespaces", json={"metadata": {"name": "gone"}})
    path = "/apis/goldenimage.dev/v1alpha1/namespaces/gone/goldenimages"
    body = golden_image("held")
    body["metadata"]["finalizers"] = ["t.dev/f"]
    http.ok("POST", path, json=body)
    http.ok("POST", path, json=golden_image("free"))
    assert http.ok("DELETE", "/api/v1/namespaces/gone")["status"]["phase"] == "Terminating"
    http.refused(404, "GET", f"{path}/free")
    status = http.refused(403, "POST", path, json=golden_image("late"))
    assert "because it is being terminated" in status["message"]
    assert http.merge(f"{path}/held", {"metadata": {"finalizers": None}}).ok
    http.refused(404, "GET", "/api/v1/namespaces/gone")


def test_dependents_go_with_their_last_owner(http: Client, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    owners = [http.ok("POST", maps, json={"metadata": {"name": n}}) for n in ("o1", "o2")]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": uid}
        for o in owners
        if (uid := o["metadata"]["uid"])
    ]
    body = {"metadata": {"name": "child", "ownerReferences": references}}
    http.ok("POST", maps, json=body)
    http.ok("DELETE", f"{maps}/o1")
    http.ok("GET", f"{maps}/child")
    http.ok("DELETE", f"{maps}/o2")
    http.refused(404, "GET", f"{maps}/child")


def crd(plural: str = "widgets", **spec: Any) -> dict[str, Any]:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.t.dev"},
        "spec": {
            "group": "t.dev",
            "scope": "Cluster",
            "names": {"plural": plural, "kind": plural[:-1].title()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": free},
                }
            ],
            **spec,
        },
    }


def test_a_crd_is_served_at_once_and_goes_with_its_objects(http: Client) -> None:
    path = "/apis/t.dev/v1/widgets"
    http.refused(404, "GET", path)
    created = http.ok("POST", CRDS, json=crd())
    conditions = {c["type"]: c["status"] for c in created["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert created["status"]["storedVersions"] == ["v1"]
    assert created["status"]["acceptedNames"]["listKind"] == "WidgetList"
    groups = http.ok("GET", "/apis")["groups"]
    assert "t.dev" in [g["name"] for g in groups]
    (resource,) = http.ok("GET", "/apis/t.dev/v1")["resources"]
    assert resource["kind"] == "Widget"
    body = {"metadata": {"name": "w", "finalizers": ["t.dev/f"]}, "any": {"thing": 1}}
    assert http.ok("POST", path, json=body)["any"] == {"thing": 1}
    terminating = http.ok("DELETE", f"{CRDS}/widgets.t.dev")
    assert "Terminating" in [c["type"] for c in terminating["status"]["conditions"]]
    http.refused(405, "POST", path, json={"metadata": {"name": "late"}})
    assert http.merge(f"{path}/w", {"metadata": {"finalizers": []}}).ok
    http.refused(404, "GET", f"{CRDS}/widgets.t.dev")
    http.refused(404, "GET", path)


def test_a_crd_that_cannot_be_served_is_refused(http: Client) -> None:
    wrong = crd("gadgets")
    wrong["metadata"]["name"] = "other.t.dev"
    assert "spec.names.plural" in http.refused(422, "POST", CRDS, json=wrong)["message"]
    hooked = crd("gadgets", conversion={"strategy": "Webhook"})
    http.refused(422, "POST", CRDS, json=hooked)
    created = http.ok("POST", CRDS, json=crd("gadgets"))
    created["spec"]["scope"] = "Namespaced"
    status = http.refused(422, "PUT", f"{CRDS}/gadgets.t.dev", json=created)
    assert status["details"]["causes"][0]["field"] == "spec.scope"
    assert http.ok("DELETE", f"{CRDS}/gadgets.t.dev")["status"] == "Success"


def test_a_changed_crd_changes_the_schema_at_once(http: Client) -> None:
    created = http.ok("POST", CRDS, json=crd("gizmos"))
    http.ok("POST", "/apis/t.dev/v1/gizmos", json={"metadata": {"name": "a"}, "size": 1})
    schema = {"type": "object", "properties": {"size": {"type": "string"}}}
    created["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    assert http.ok("PUT", f"{CRDS}/gizmos.t.dev", json=created)["metadata"]["generation"] == 2
    http.refused(422, "POST", "/apis/t.dev/v1/gizmos", json={"metadata": {"name": "b"}, "size": 1})
    http.ok("DELETE", f"{CRDS}/gizmos.t.dev")


def test_documents_about_the_server(http: Client) -> None:
    assert http("GET", "/readyz").text == "ok"
    assert http.ok("GET", "/version")["gitVersion"].startswith("v1.")
    assert "/apis" in http.ok("GET", "/")["paths"]
    assert http.ok("GET", "/api")["versions"] == ["v1"]
    resources = http.ok("GET", "/apis/goldenimage.dev/v1alpha1")["resources"]
    image = next(r for r in resources if r["name"] == "goldenimages")
    assert (image["shortNames"], image["categories"]) == (["gimg"], ["aws"])
    assert "goldenimages/status" in [r["name"] for r in resources]
    index = http.ok("GET", "/openapi/v3")["paths"]
    url = index["apis/goldenimage.dev/v1alpha1"]["serverRelativeURL"]
    schemas = http.ok("GET", url)["components"]["schemas"]
    assert "spec" in schemas["dev.goldenimage.v1alpha1.GoldenImage"]["properties"]
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert http.ok("POST", review, json={"spec": {}})["status"]["allowed"] is True


def test_bodies_that_do_not_parse_or_are_too_large(http: Client, images: str) -> None:
    http.refused(400, "POST", images, data="{", headers={"Content-Type": "application/json"})
    http.refused(415, "POST", images, data="x", headers={"Content-Type": "text/plain"})
    huge = {"metadata": {"name": "x"}, "spec": {"description": "x" * 3_200_000}}
    http.refused(413, "POST", images, json=huge)
    http.refused(406, "GET", images, headers={"Accept": "application/xml"})
