"""What the tests of builds, Jobs and gates say and look at."""

from collections import Counter
from typing import Any

from stage import HOME, Stage
from systemworld import NAMESPACE, Object, golden

RECIPE: Object = {
    "recipe": {
        "parentImage": {"ssmParameter": "/golden/base"},
        "components": [
            {"arn": "arn:aws:imagebuilder:eu-west-1:aws:component/update-linux/x.x.x"},
            {
                "name": "web",
                "document": "name: web\nschemaVersion: 1.0\nphases:\n"
                "  - name: build\n    steps:\n      - name: Install\n"
                "        action: ExecuteBash\n        inputs:\n"
                "          commands: [dnf install -y nginx]\n",
            },
        ],
    },
    "infrastructure": {"instanceProfile": "golden-builder", "instanceTypes": ["t3.medium"]},
}
SSM_GATE: Object = {"ssm": {"instance": {"profile": "golden-test"}}}
LIVE = ["pending", "running", "stopping", "stopped"]


def built(name: str = "web", **spec: Any) -> Object:
    """A GoldenImage that Image Builder builds from a recipe."""
    source = spec.pop("imageBuilder", RECIPE)
    return golden(name, source={"imageBuilder": source}, **spec)


def baked(name: str = "tools", **spec: Any) -> Object:
    """A GoldenImage that a Job bakes."""
    container = {"name": "bake", "image": "baker:1"}
    job = {"template": {"spec": {"containers": [container]}}, **spec.pop("job", {})}
    return golden(name, source={"job": job}, **spec)


def packed(name: str = "tools", **job: Any) -> tuple[Object, Object]:
    """A GoldenImage that Packer bakes, and the ConfigMap with its template."""
    template = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "template", "namespace": NAMESPACE},
        "data": {"image.pkr.hcl": 'source "amazon-ebs" "x" {}'},
    }
    packer = {"template": {"configMap": {"name": "template"}}, "variables": {"flavour": "small"}}
    source = {"job": {"preset": "packer", "packer": packer, **job}}
    return template, golden(name, source=source)


class Works:
    """What is under way in the world of a Stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.aws = stage, stage.aws
        self._batch = f"{stage.world.cluster.url}/apis/batch/v1/namespaces/{NAMESPACE}/jobs"

    def builds(self) -> list[Object]:
        """Every build of Image Builder there ever was."""
        pages = self.aws.client("imagebuilder", HOME).list_image_build_versions()
        return list(pages["imageSummaryList"])

    def states(self) -> Counter[str]:
        return Counter(b["state"]["status"] for b in self.builds())

    def tests(self) -> list[str]:
        """Test instances that are alive."""
        return self._instances("tag-key", "goldenimage.dev/test")

    def builders(self) -> list[str]:
        """Instances of Image Builder that are alive."""
        return self._instances("tag:CreatedBy", "EC2 Image Builder")

    def _instances(self, name: str, value: str) -> list[str]:
        filters = [
            {"Name": name, "Values": [value]},
            {"Name": "instance-state-name", "Values": LIVE},
        ]
        found = self.aws.client("ec2", HOME).describe_instances(Filters=filters)["Reservations"]
        return [i["InstanceId"] for r in found for i in r["Instances"]]

    def launched_tests(self) -> int:
        """Test instances there ever were."""
        filters = [{"Name": "tag-key", "Values": ["goldenimage.dev/test"]}]
        found = self.aws.client("ec2", HOME).describe_instances(Filters=filters)["Reservations"]
        return sum(len(r["Instances"]) for r in found)

    def amis(self) -> dict[str, Object]:
        """Every AMI of the account at home, by id."""
        found = self.aws.client("ec2", HOME).describe_images(Owners=["self"])["Images"]
        return {i["ImageId"]: i for i in found}

    def jobs(self) -> list[Object]:
        answer = self.stage.session.get(self._batch, timeout=10)
        return list(answer.json()["items"])

    def assert_nothing_left(self) -> None:
        self.stage.wait(lambda: not self.tests(), "no test instance left")
        assert self.builders() == []

    def build(self, name: str, which: str = "lastBuild") -> Object:
        return dict(self.stage.status("GoldenImage", name).get(which) or {})

    def gates(self, name: str, version: int) -> dict[str, Object]:
        """Results of one version by the name of the check."""
        versions = self.stage.status("GoldenImage", name).get("versions", [])
        found = [v for v in versions if v["version"] == version]
        return {g["name"]: g for g in (found[0].get("gates", []) if found else [])}

    def request(self, name: str, value: str) -> None:
        self.stage.annotate("GoldenImage", name, **{"goldenimage.dev__rebuild": value})

    def run_on(self, name: str, seconds: float = 300) -> None:
        """Let time pass in AWS until the build instance of the next build runs."""
        self.stage.wait(lambda: self.build(name, "build").get("ref"), "a build under way")
        self.aws.clock.advance(seconds)
        self.stage.wait(self.builders, "a build instance runs")

    def wait_failed(self, name: str, reason: str = "BuildFailed") -> str:
        return str(self.stage.wait_reason("GoldenImage", name, reason)["message"])
