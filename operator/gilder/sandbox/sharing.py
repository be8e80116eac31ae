"""What the sandbox shows of sharing: OUs by key policy, a list that grows, and the other side."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from gilder.sandbox.aws.seed import make_role
from gilder.sandbox.breakage import HOME, Breakage, Step, can_launch, image_of
from gilder.sandbox.world import World, samples

PARTNER = "444444444444"  # has a role for the operator
NEWCOMER = "555555555555"  # a member of the organization that comes into the OU
TEAM = "666666666666"  # comes into the list
ROLE = "gilder-consumer"
OURS = "GilderShares"  # what the Sid of our statement begins with


def prepare(world: World) -> None:
    """A role in one consumer account, a new member, and the access file that says so."""
    own = world.seeded.account
    make_role(world.aws, PARTNER, ROLE, trust=[own])
    world.aws.choose_account_ids(NEWCOMER)
    world.aws.client("organizations", "us-east-1").create_account(
        AccountName="newcomer", Email="newcomer@example.com"
    )
    role = "arn:aws:iam::{account}:role/" + ROLE
    file = world.directory / "access.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "consumers": [{"accounts": [PARTNER], "roles": [{"arn": role}]}],
                "namespaces": [{"names": ["images"], "consumers": [PARTNER], "keyPolicies": True}],
            },
            sort_keys=False,
        )
    )
    world.operator.env["GILDER_ACCESS_FILE"] = str(file.resolve())


class Sharing:
    """The GoldenImages `base-linux` and `team-linux` of the samples, as other accounts see them."""

    def __init__(self, world: World, base: Mapping[str, Any], team: Mapping[str, Any]) -> None:
        self._world, self._aws, self._seeded = world, world.aws, world.seeded
        self._base, self._team = image_of([base], HOME), image_of([team], HOME)
        self._kms = world.aws.client("kms", HOME)
        self._key = world.seeded.keys[HOME]

    def steps(self) -> list[Step]:
        return [
            Step(
                f"account {NEWCOMER} comes into the OU that may launch {self._team}",
                self._move,
                lambda: can_launch(self._aws, self._team, HOME, NEWCOMER),
            ),
            Step(
                f"account {TEAM} comes into the ConfigMap team-accounts",
                self._list,
                lambda: can_launch(self._aws, self._team, HOME, TEAM),
            ),
            Step(
                f"the tag approved=yes for {PARTNER}, which has the tags "
                f"{self._words()} there already",
                self._approve,
                lambda: (
                    self.tags().get("approved") == "yes"
                    and can_launch(self._aws, self._base, HOME, PARTNER)
                ),
            ),
        ]

    def breakage(self) -> Breakage:
        """The statement that lets the OU use the key, removed by hand; nothing else does."""
        return Breakage(
            f"remove the statement for the OU from the policy of the key of {HOME}",
            self._shut,
            lambda: not self._let_in(),
            lambda: self._let_in() and can_launch(self._aws, self._team, HOME, NEWCOMER),
        )

    def tags(self) -> dict[str, str]:
        """The tags of the base image that the partner itself sees."""
        ec2 = self._aws.client("ec2", HOME, PARTNER)
        (image,) = ec2.describe_images(ImageIds=[self._base])["Images"]
        return {t["Key"]: t["Value"] for t in image.get("Tags", [])}

    def _words(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in sorted(self.tags().items())) or "none"

    def _move(self) -> None:
        self._aws.client("organizations", "us-east-1").move_account(
            AccountId=NEWCOMER,
            SourceParentId=self._seeded.root_id,
            DestinationParentId=self._seeded.unit_id,
        )

    def _list(self) -> None:
        found = self._sample("ConfigMap", "team-accounts")
        found["data"]["accounts"] += f"{TEAM}\n"
        self._world.apply(found)

    def _approve(self) -> None:
        found = self._sample("ImageShare", "partner")
        found["spec"]["consumerTags"]["tags"] = {"approved": "yes"}
        self._world.apply(found)

    def _sample(self, kind: str, name: str) -> dict[str, Any]:
        documents = samples(self._seeded.organization_arn, self._seeded.unit_arn)
        return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))

    def _statements(self) -> list[dict[str, Any]]:
        text = self._kms.get_key_policy(KeyId=self._key, PolicyName="default")["Policy"]
        found: list[dict[str, Any]] = json.loads(text)["Statement"]
        return found

    def _let_in(self) -> bool:
        return any(s.get("Sid", "").startswith(OURS) for s in self._statements())

    def _shut(self) -> None:
        text = self._kms.get_key_policy(KeyId=self._key, PolicyName="default")["Policy"]
        document = json.loads(text)
        document["Statement"] = [
            s for s in document["Statement"] if not s.get("Sid", "").startswith(OURS)
        ]
        self._kms.put_key_policy(KeyId=self._key, PolicyName="default", Policy=json.dumps(document))
