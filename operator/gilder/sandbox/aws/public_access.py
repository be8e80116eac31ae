"""Block public access for AMIs, per account and Region."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import BLOCK_NEW_SHARING, SETTINGS, UNBLOCKED
from gilder.sandbox.aws.state import region_state


def _state(account: str, region: str) -> str:
    return region_state(account, region).block_public_access or (SETTINGS.image_block_public_access)


def public_access_blocked(account: str, region: str) -> bool:
    return _state(account, region) == BLOCK_NEW_SHARING


@ec2
def get_image_block_public_access_state(call: Call) -> Mapping[str, Any]:
    call.dry_run()
    return {
        "ImageBlockPublicAccessState": _state(call.account, call.region),
        "ManagedBy": "account",
    }


@ec2
def enable_image_block_public_access(call: Call) -> Mapping[str, Any]:
    wanted = call.need("ImageBlockPublicAccessState")
    if wanted != BLOCK_NEW_SHARING:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({wanted}) for parameter imageBlockPublicAccessState is invalid.",
        )
    call.dry_run()
    region_state(call.account, call.region).block_public_access = wanted
    return {"ImageBlockPublicAccessState": wanted}


@ec2
def disable_image_block_public_access(call: Call) -> Mapping[str, Any]:
    call.dry_run()
    region_state(call.account, call.region).block_public_access = UNBLOCKED
    return {"ImageBlockPublicAccessState": UNBLOCKED}
