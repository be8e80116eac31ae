"""Access reviews: everybody may do everything here."""

from typing import Any

_EVERYTHING = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}
_USER = {"username": "sandbox", "groups": ["system:masters", "system:authenticated"]}


def review(kind: str, api_version: str, body: Any) -> dict[str, Any]:
    """The answer to a review."""
    status: dict[str, Any]
    if kind == "SelfSubjectRulesReview":
        status = _EVERYTHING
    elif kind == "SelfSubjectReview":
        status = {"userInfo": _USER}
    elif kind == "TokenReview":
        status = {"authenticated": True, "user": _USER}
    else:
        status = {"allowed": True, "reason": "the emulation allows everything"}
    given = body if isinstance(body, dict) else {}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"creationTimestamp": None},
        "spec": given.get("spec", {}),
        "status": status,
    }
