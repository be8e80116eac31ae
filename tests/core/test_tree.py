"""The tree of an image: what it marks, how far behind a Region is, and which shares hang on it."""

from datetime import UTC, datetime
from typing import Any

from gilder.api import GoldenImage, ImageShare, parse_object
from gilder.core.tree import tree

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOME, DR = "eu-west-1", "eu-central-1"
A, B, C = "222222222222", "333333333333", "444444444444"
ORGANIZATION = "arn:aws:organizations::123456789012:organization/o-abcde12345"


def body(kind: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "images", "generation": 2, **more.pop("metadata", {})}
    shared = {"apiVersion": "goldenimage.dev/v1alpha1", "kind": kind}
    return {**shared, "metadata": meta, "spec": spec, **more}


def ami(number: int) -> str:
    return f"ami-{number:017x}"


def image(status: dict[str, Any] | None = None, **spec: Any) -> GoldenImage:
    spec = {"region": HOME, "source": {"image": {"ssmParameter": "/golden/base"}}, **spec}
    labels = {"labels": {"os": "linux"}}
    found = parse_object(body("GoldenImage", "base", spec, status=status or {}, metadata=labels))
    assert isinstance(found, GoldenImage)
    return found


def share(name: str, ref: dict[str, Any], **more: Any) -> ImageShare:
    spec = {"imageRef": ref, **more.pop("spec", {})}
    found = parse_object(body("ImageShare", name, spec, **more))
    assert isinstance(found, ImageShare)
    return found


def version(number: int, *images: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": number, "images": list(images), **more}


def at(region: str, number: int, **more: Any) -> dict[str, Any]:
    return {"region": region, "imageId": ami(number), "state": "available", **more}


def test_versions_are_marked_newest_first() -> None:
    status = {
        "latest": {"version": 2, "imageId": ami(2)},
        "candidate": {"version": 3, "imageId": ami(3)},
        "versions": [
            version(1, at(HOME, 1)),
            version(2, at(HOME, 2), gate="Passed"),
            version(3, at(HOME, 3), gate="Pending", held=True),
        ],
        "retiring": [
            {
                "id": ami(1),
                "region": HOME,
                "version": 1,
                "action": "Deregister",
                "since": "2026-05-01T00:00:00Z",
                "at": "2026-05-02T00:00:00Z",
                "heldBy": "instance i-1",
            }
        ],
    }
    found = tree(image(status, pinnedVersion=2), [], NOW).as_dict()
    assert (found["released"], found["candidate"], found["pinned"]) == (2, 3, 2)
    told = [(v["version"], v["marks"], v["gate"]) for v in found["versions"]]
    assert told == [
        (3, ["candidate"], "Pending"),
        (2, ["released", "pinned"], "Passed"),
        (1, ["retiring"], None),
    ]
    (old,) = found["versions"][2]["images"]
    assert old["retiring"] == "Deregister at 2026-05-02T00:00:00Z, held by instance i-1"


def test_a_region_is_as_far_behind_as_a_newer_version_is_old() -> None:
    status = {
        "replicas": [
            {"region": DR, "version": 1, "imageId": ami(9), "state": "Copying", "progress": "45%",
             "recoveryPoint": "2026-04-30T12:00:00Z", "behindSince": "2026-05-01T11:00:00Z",
             "stale": True},
            {"region": "us-east-1", "state": "Missing"},
        ]
    }  # fmt: skip
    late, none = tree(image(status), [], NOW).as_dict()["replicas"]
    assert (late["lagSeconds"], late["recoveryPointAgeSeconds"]) == (3600, 86400)
    assert (late["stale"], late["progress"]) == (True, "45%")
    assert none["version"] is None
    assert (none["lagSeconds"], none["recoveryPointAgeSeconds"]) == (0, None)


def test_an_image_without_status_has_nothing_yet() -> None:
    found = tree(image(), [], NOW).as_dict()
    assert found["ready"]["status"] == "Unknown"
    assert (found["released"], found["versions"], found["shares"]) == (None, [], [])


def test_shares_that_select_it_and_those_that_still_hold_it() -> None:
    status = {"versions": [version(1, at(HOME, 1))]}
    held = [{"region": HOME, "imageId": ami(1), "image": "images/base", "state": "Removing"}]
    known = [
        share("named", {"name": "base"}, spec={"accounts": [A], "regions": [HOME]}),
        share("labelled", {"selector": {"matchLabels": {"os": "linux"}}}),
        share("by-id", {"images": [{"id": ami(1), "region": HOME}]}),
        share("former", {"name": "other"}, status={"images": held}),
        share("stranger", {"name": "other"}),
        share("away", {"name": "base"}, metadata={"namespace": "teams"}),
        share(
            "guest", {"name": "base", "namespace": "images"}, metadata={"namespace": "teams"}
        ),
    ]  # fmt: skip
    found = {s["name"]: s for s in tree(image(status), known, NOW).as_dict()["shares"]}
    assert list(found) == [
        "images/by-id", "images/former", "images/labelled", "images/named", "teams/guest"
    ]  # fmt: skip
    assert found["images/former"]["note"] == "does not select the image any more"
    assert "allowedNamespaces" in found["teams/guest"]["note"]
    assert found["images/by-id"]["select"] == "by id"
    assert found["images/named"]["regions"] == [HOME]


def test_principals_are_those_declared_now_and_those_still_held() -> None:
    held = {
        "region": HOME,
        "imageId": ami(1),
        "image": "images/base",
        "state": "Waiting",
        "accounts": [A, C],
        "missing": [A],
    }
    status = {
        "images": [held],
        "lists": [{"source": "configMap teams/accounts", "accounts": [B, "5" * 12]}],
    }
    spec = {
        "accounts": [A],
        "accountsFrom": [{"configMap": {"name": "teams"}}],
        "ignoreAccounts": ["5" * 12],
        "organizations": [ORGANIZATION],
        "temporary": [
            {"account": "6" * 12, "until": "2026-04-01T00:00:00Z"},
            {"account": "7" * 12, "until": "2026-06-01T00:00:00Z"},
        ],
        "versions": {"select": "Newest", "count": 3},
    }
    found = tree(image(), [share("team", {"name": "base"}, spec=spec, status=status)], NOW)
    (one,) = found.as_dict()["shares"]
    assert one["principals"] == [A, B, C, "7" * 12, "o-abcde12345"]
    assert one["missing"] == [A]
    assert one["select"] == "Newest 3"
    leaving = share("team", {"name": "base"}, spec=spec, status=status,
                    metadata={"deletionTimestamp": "2026-05-01T11:00:00Z"})  # fmt: skip
    (gone,) = tree(image(), [leaving], NOW).as_dict()["shares"]
    assert gone["principals"] == [A, C]
    assert gone["note"] == "is being deleted"


def test_ready_of_an_earlier_spec_is_told_as_such() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Available",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-05-01T00:00:00Z",
    }
    found = tree(image({"conditions": [condition]}), [], NOW)
    assert (found.ready.status, found.ready.current) == ("True", False)
