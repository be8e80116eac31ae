"""Uses of keys, also of other accounts' keys: who is let, dry runs, and moto for the rest."""

import base64
import json
from typing import Any

from moto.kms.models import kms_backends
from moto.kms.responses import KmsResponse
from moto.kms.utils import _deserialize_ciphertext_blob

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.keys import authorize, need_enabled, need_key
from gilder.sandbox.aws.registry import LOCK, Call, call_of, json_errors

# The "Cross-account use: Yes" operations of
# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
_CROSS_ACCOUNT = (
    "describe_key",
    "encrypt",
    "decrypt",
    "re_encrypt",
    "generate_data_key",
    "generate_data_key_without_plaintext",
    "get_public_key",
)
# These say how a key is, whatever its state.
_ANY_STATE = ("describe_key", "get_public_key")
_NO_CIPHERTEXT = "IGNORE_CIPHERTEXT"


def dry_run(asked: object) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html"""
    if asked:
        raise AwsError(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        )


def _key_of_ciphertext(call: Call, blob: str) -> Any:
    """The key that a ciphertext names, of whatever account."""
    try:
        key_id = _deserialize_ciphertext_blob(base64.b64decode(blob, validate=True)).key_id
    except Exception as problem:  # moto's format, or base64's
        raise AwsError("InvalidCiphertextException", "") from problem
    for backends in list(kms_backends.values()):
        backend: Any = backends.get(call.region)
        if backend is not None and key_id in backend.keys:
            return backend.keys[key_id]
    raise AwsError(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in "
        "this region, or you are not allowed to access.",
    )


def _key_of(call: Call, name: str) -> Any | None:
    if name == "re_encrypt":
        return need_key(call, call.need("DestinationKeyId"))
    written = call.get("KeyId")
    if written is not None:
        return need_key(call, written)
    blob = call.get("CiphertextBlob")
    return _key_of_ciphertext(call, blob) if name == "decrypt" and blob else None


def _check_ciphertext(call: Call, key: Any) -> None:
    """For a dry run of Decrypt, which looks at the ciphertext unless it is told not to."""
    if _NO_CIPHERTEXT in call.get("DryRunModifiers", []):
        return
    blob = call.get("CiphertextBlob")
    if not blob:
        raise AwsError("ValidationException", "CiphertextBlob must not be null")
    if _key_of_ciphertext(call, blob) is not key:
        raise AwsError(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )


def _serve(name: str) -> None:
    """Let a moto method serve keys of the account that the ARN names, when it allows that."""
    original = getattr(KmsResponse, name)

    def method(self: Any) -> Any:
        with LOCK, json_errors():
            call = call_of(self, json.loads(self.body))
            key = _key_of(call, name)
            if key is not None:
                authorize(call, key, "ReEncryptTo" if name == "re_encrypt" else call.action)
                if name not in _ANY_STATE:
                    need_enabled(key)
                if call.get("DryRun"):
                    if name == "decrypt":
                        _check_ciphertext(call, key)
                    dry_run(True)
                self.current_account = key.account_id
            return original(self)

    method.__name__ = name
    setattr(KmsResponse, name, method)


def install() -> None:
    for name in _CROSS_ACCOUNT:
        _serve(name)
