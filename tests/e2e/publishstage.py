"""What the tests of publishing do to a world, and look at."""

from typing import Any

from stage import DR, HOME, KEY, Stage
from systemworld import NAMESPACE, Object, golden

from gilder.sandbox.aws.seed import make_snapshot, register

NAME = "/out/base"
MAP = "base-ami"
TEMPLATE = "web"
PARAMETER: Object = {"ssmParameter": {"name": "/out/{name}"}}
EVERYWHERE: Object = {
    **PARAMETER,
    "configMap": {"name": MAP},
    "launchTemplates": [{"name": TEMPLATE}],
}
REPLICA: Object = {"encryption": KEY, "replicas": [{"region": DR, **KEY}]}


class Published:
    """The places that a version is told in."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    # Parameters

    def ssm(self, region: str = HOME, account: str = "") -> Any:
        aws = self.stage.aws
        return aws.client("ssm", region, account) if account else aws.client("ssm", region)

    def parameter(self, region: str = HOME, name: str = NAME, account: str = "") -> str:
        """The value of a parameter; empty when there is none."""
        found = self.ssm(region, account).get_parameters(Names=[name])["Parameters"]
        return str(found[0]["Value"]) if found else ""

    def both(self, name: str = NAME) -> dict[str, str]:
        return {HOME: self.parameter(HOME, name), DR: self.parameter(DR, name)}

    def tags(self, region: str = HOME, name: str = NAME) -> dict[str, str]:
        answer = self.ssm(region).list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
        return {t["Key"]: t["Value"] for t in answer["TagList"]}

    # Launch templates

    def make_template(self, name: str = TEMPLATE, region: str = HOME) -> str:
        data = {"ImageId": self.stage.seeded.base_image, "InstanceType": "t3.small"}
        ec2 = self.stage.aws.client("ec2", region)
        made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def default(self, name: str = TEMPLATE, region: str = HOME) -> Object:
        (found,) = self.stage.aws.client("ec2", region).describe_launch_template_versions(
            LaunchTemplateName=name, Versions=["$Default"]
        )["LaunchTemplateVersions"]
        return dict(found)

    def templated(self, name: str = TEMPLATE, region: str = HOME) -> str:
        return str(self.default(name, region)["LaunchTemplateData"]["ImageId"])

    # ConfigMaps

    def map_url(self, name: str = MAP) -> str:
        url = self.stage.world.cluster.url
        return f"{url}/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"

    def map(self, name: str = MAP) -> Object:
        answer = self.stage.session.get(self.map_url(name), timeout=10)
        return {} if answer.status_code == 404 else dict(answer.json())

    def mapped(self, name: str = MAP) -> Object:
        return dict(self.map(name).get("data") or {})

    def patch_map(self, change: Object, name: str = MAP) -> None:
        header = {"Content-Type": "application/merge-patch+json"}
        self.stage.session.patch(
            self.map_url(name), json=change, headers=header, timeout=10
        ).raise_for_status()

    # Versions

    def images(self, version: int, name: str = "base") -> dict[str, str]:
        """Region to AMI of a version, by status."""
        for one in self.stage.status("GoldenImage", name).get("versions", []):
            if one["version"] == version:
                return {i["region"]: i["imageId"] for i in one["images"]}
        return {}

    def next_version(self, version: int) -> None:
        """Another AMI behind the source, until it is released."""
        self.stage.publish(f"next-{version}")
        self.stage.look("GoldenImage", "base", f"version-{version}")
        self.stage.wait_version(version)

    def wait_told(self, version: int, name: str = "base", seconds: float = 30) -> dict[str, str]:
        """Wait until Published says that a version is told everywhere; its AMIs by Region."""
        stage = self.stage

        def told() -> bool:
            found = stage.condition("GoldenImage", name, "Published")
            return found.get("status") == "True" and found["message"].startswith(
                f"version {version}:"
            )

        stage.wait(told, f"version {version} of {name} told", seconds)
        return self.images(version, name)

    def reason(self, name: str = "base") -> str:
        return str(self.stage.condition("GoldenImage", name, "Published").get("reason", ""))

    def wait_published_reason(self, reason: str, name: str = "base") -> str:
        self.stage.wait(lambda: self.reason(name) == reason, f"Published of {name}: {reason}")
        return self.stage.message("GoldenImage", name, "Published")

    def entries(self, name: str = "base", **match: Any) -> list[Object]:
        """Entries of status.published that have these values."""
        found = self.stage.status("GoldenImage", name).get("published", [])
        return [p for p in found if all(p.get(k, "") == v for k, v in match.items())]

    def stranger(self, name: str = "stranger") -> str:
        """An AMI that no GoldenImage made."""
        return register(self.stage.aws, name, make_snapshot(self.stage.aws))


def publishing(name: str = "base", publish: Object | None = None, **spec: Any) -> Object:
    return golden(name, publish=publish or PARAMETER, **spec)


def poll(stage: Stage, **settings: Any) -> None:
    """Start the operator, with looks that follow one another soon."""
    stage.start(POLL_SECONDS="1", **settings)
