"""A whole world with words for what the tests of the running operator do and look at."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests
import yaml

from gilder.sandbox.process import wait_for
from gilder.sandbox.world import World

NAMESPACE = "images"
PLURALS = {"GoldenImage": "goldenimages", "ImageShare": "imageshares"}
READS = ("Describe", "Get", "List")
SECONDS = 20.0

Object = dict[str, Any]


class System:
    """A world with words for what tests do and look at."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.aws = world.aws
        self.seeded = world.seeded
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {world.cluster.token}"
        self.session.verify = False
        self.root = f"{world.cluster.url}/apis/goldenimage.dev/v1alpha1/namespaces/{NAMESPACE}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    # Kubernetes

    def apply(self, *documents: Object) -> None:
        self.world.apply(*documents)

    def url(self, kind: str, name: str) -> str:
        return f"{self.root}/{PLURALS[kind]}/{name}"

    def get(self, kind: str, name: str) -> Object:
        answer = self.session.get(self.url(kind, name), timeout=10)
        return {} if answer.status_code == 404 else dict(answer.json())

    def patch(self, kind: str, name: str, change: Object) -> requests.Response:
        kind_header = {"Content-Type": "application/merge-patch+json"}
        return self.session.patch(
            self.url(kind, name), json=change, headers=kind_header, timeout=10
        )

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        change = {
            "metadata": {"annotations": {k.replace("__", "/"): v for k, v in annotations.items()}}
        }
        self.patch(kind, name, change).raise_for_status()

    def delete(self, kind: str, name: str) -> None:
        self.session.delete(self.url(kind, name), timeout=10).raise_for_status()

    def condition(self, kind: str, name: str, type_: str) -> Object:
        found = self.get(kind, name)
        for condition in found.get("status", {}).get("conditions", []):
            current = condition["observedGeneration"] == found["metadata"]["generation"]
            if condition["type"] == type_ and current:
                return dict(condition)
        return {}

    def ready(self, kind: str, name: str) -> bool:
        return self.condition(kind, name, "Ready").get("status") == "True"

    def events(self, name: str, reason: str) -> list[Object]:
        url = f"{self.world.cluster.url}/api/v1/namespaces/{NAMESPACE}/events"
        items = self.session.get(url, timeout=10).json()["items"]
        return [e for e in items if e["involvedObject"]["name"] == name and e["reason"] == reason]

    def wait(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        if not wait_for(condition, seconds):
            shown = yaml.safe_dump(
                [
                    self.session.get(f"{self.root}/{p}", timeout=10).json()["items"]
                    for p in PLURALS.values()
                ]
            )
            pytest.fail(f"not in time: {what}\n{shown}\n{self.world.operator.tail()}")

    def wait_event(self, name: str, reason: str) -> Object:
        self.wait(lambda: self.events(name, reason), f"Event {reason} of {name}")
        return self.events(name, reason)[0]

    def wait_ready(self, kind: str, *names: str) -> None:
        for name in names:
            self.wait(lambda name=name: self.ready(kind, name), f"{kind} {name} Ready")

    def wait_reason(self, kind: str, name: str, reason: str) -> Object:
        self.wait(
            lambda: self.condition(kind, name, "Ready").get("reason") == reason,
            f"{kind} {name} with reason {reason}",
        )
        return self.condition(kind, name, "Ready")

    # The operator

    def start(self, **settings: str) -> None:
        """Start the operator; RESYNC_SECONDS and the like as in the environment."""
        operator = self.world.operator
        operator.env = {**operator.env, **{f"GILDER_{k}": v for k, v in settings.items()}}
        operator.start()

    # AWS

    def image(self, name: str, region: str) -> str:
        """AMI id of the current version, from status."""
        for version in self.get("GoldenImage", name).get("status", {}).get("versions", []):
            for image in version["images"]:
                if version.get("current") and image["region"] == region:
                    return str(image["imageId"])
        return ""

    def users(self, image: str, region: str = "eu-west-1") -> set[str]:
        ec2 = self.aws.client("ec2", region)
        found = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
        return {p.get("UserId", "") for p in found["LaunchPermissions"]} - {""}

    def grants(self, region: str = "eu-west-1") -> list[Object]:
        key = self.seeded.keys[region]
        return list(self.aws.client("kms", region).list_grants(KeyId=key)["Grants"])

    def owned(self, region: str, **tags: str) -> list[Object]:
        """AMIs with our ownership tag in a Region."""
        filters = [{"Name": "tag:goldenimage.dev/cluster", "Values": ["default"]}]
        filters += [{"Name": f"tag:goldenimage.dev/{k}", "Values": [v]} for k, v in tags.items()]
        ec2 = self.aws.client("ec2", region)
        return list(ec2.describe_images(Owners=["self"], Filters=filters)["Images"])

    def changes(self) -> dict[str, int]:
        """Changing AWS calls since the last reset of the counts."""
        found: dict[str, int] = {}
        for key, count in self.aws.requests.snapshot().items():
            if not key.action.startswith(READS):
                found[key.action] = found.get(key.action, 0) + count
        return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def golden(name: str = "base", **spec: Any) -> Object:
    """A GoldenImage; by default encrypted, from the seeded parameter, without replicas."""
    spec = {"region": "eu-west-1", **spec}
    spec.setdefault("source", {"image": {"ssmParameter": "/golden/base"}})
    return _object("GoldenImage", name, spec)


def share(name: str = "team", image: str = "base", **spec: Any) -> Object:
    """An ImageShare of one GoldenImage."""
    return _object("ImageShare", name, {"imageRef": {"name": image}, **spec})


def _object(kind: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }
