"""Multi-Region keys: replicas with one id, but policies, grants, tags and aliases of their own."""

from collections.abc import Mapping
from copy import copy
from typing import Any
from uuid import UUID

from moto.kms import models
from moto.kms.models import kms_backends
from moto.moto_api._internal import mock_random

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.keys import check_policy_document, need_enabled, own_key
from gilder.sandbox.aws.registry import Call, kms
from gilder.sandbox.aws.settings import CLOCK


@kms
def replicate_key(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ReplicateKey.html"""
    key, region = own_key(call, "ReplicateKey"), call.need("ReplicaRegion")
    if not key.multi_region or key.multi_region_configuration["MultiRegionKeyType"] != "PRIMARY":
        raise AwsError(
            "UnsupportedOperationException", f"{key.arn} is not a multi-Region primary key."
        )
    need_enabled(key)
    backend: Any = kms_backends[key.account_id][region]
    if key.id in backend.keys:
        raise AwsError(
            "AlreadyExistsException", f"There is a replica of {key.arn} in {region} already."
        )
    text = call.get("Policy")
    if text is not None:
        check_policy_document(call, text, bool(call.get("BypassPolicyLockoutSafetyCheck")))
    replica = copy(key)
    replica.region = region
    replica.arn = key.arn.replace(f":{call.region}:", f":{region}:")
    replica.policy = text or key.generate_default_policy()
    replica.description = call.get("Description", "")
    replica.creation_date = CLOCK.time()
    replica.grants, replica.aliases, replica.rotations = {}, {}, []
    # The lists are shared by all of them; only the type differs.
    configuration = key.multi_region_configuration
    configuration["ReplicaKeys"].append({"Arn": replica.arn, "Region": region})
    replica.multi_region_configuration = {**configuration, "MultiRegionKeyType": "REPLICA"}
    backend.keys[replica.id] = replica
    tags = list(call.get("Tags", []))
    if tags:
        backend.tag_resource(replica.id, {t["TagKey"]: t["TagValue"] for t in tags})
    return {
        "ReplicaKeyMetadata": replica.to_dict()["KeyMetadata"],
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": tags,
    }


def install() -> None:
    def generate_key_id(multi_region: bool = False) -> str:
        """AWS writes the ids of multi-Region keys without dashes."""
        found = UUID(str(mock_random.uuid4()))
        return f"mrk-{found.hex}" if multi_region else str(found)

    module: Any = models
    module.generate_key_id = generate_key_id
