"""The form of a key policy: size, characters, elements, principals."""

import json
import re
from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws import policy
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.policy import as_list
from gilder.sandbox.aws.principals import role_missing

# https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
LARGEST = 32_768
# https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html
_CHARACTERS = re.compile(r"[\t\n\r\u0020-\u00ff]*")
_TOP = frozenset({"Version", "Id", "Statement"})
_VERSIONS = ("2012-10-17", "2008-10-17")
_ELEMENTS = frozenset(
    {
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    }
)
_PRINCIPAL = re.compile(r"\*|\d{12}|arn:aws[\w-]*:(?:iam|sts)::\d{12}:.+")


def _malformed(message: str) -> AwsError:
    return AwsError("MalformedPolicyDocumentException", message)


def check_form(text: str) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html"""
    if len(text) > LARGEST:
        raise AwsError(
            "LimitExceededException", f"Policy is too large. It can have {LARGEST} characters."
        )
    if not _CHARACTERS.fullmatch(text):
        raise _malformed("Policy contains characters that are not allowed")
    document = policy.parse(text)
    if document is None or _repeats(text):
        raise _malformed("Policy document is not valid")
    if document.keys() - _TOP or document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise _malformed("Syntax errors in policy.")
    statements = as_list(document["Statement"])
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html
    sids = [s["Sid"] for s in statements if s.get("Sid")]
    if len(sids) != len(set(sids)):
        raise _malformed("Statement IDs (SID) in a single policy must be unique.")
    for statement in statements:
        _check_statement(statement)


def _repeats(text: str) -> bool:
    """Whether an element is there twice; json keeps the last, IAM refuses."""
    found = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len({k for k, _ in items}) < len(items)
        return dict(items)

    json.loads(text, object_pairs_hook=pairs)
    return found


def _check_statement(statement: Mapping[str, Any]) -> None:
    if statement.keys() - _ELEMENTS or not isinstance(statement.get("Condition", {}), Mapping):
        raise _malformed("Syntax errors in policy.")
    for name in ("Principal", "NotPrincipal"):
        element = statement.get(name, "*")
        if element == "*":
            continue
        if not isinstance(element, Mapping) or not element:
            raise _malformed("Syntax errors in policy.")
        for principal in as_list(element.get("AWS")):
            if not _PRINCIPAL.fullmatch(str(principal)) or role_missing(principal):
                raise _malformed("Policy contains a statement with one or more invalid principals.")
