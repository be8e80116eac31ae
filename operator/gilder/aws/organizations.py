"""Accounts of an organization or OU."""

from typing import Any

from gilder.aws.permissions import needs


def _active(raw: Any) -> bool:
    return (raw.get("State") or raw.get("Status")) == "ACTIVE"


@needs(
    "organizations:ListAccounts",
    "organizations:ListAccountsForParent",
    "organizations:ListOrganizationalUnitsForParent",
)
def expand(client: Any, arn: str) -> frozenset[str]:
    if ":organization/" in arn:
        pages = client.get_paginator("list_accounts").paginate()
        return frozenset(a["Id"] for p in pages for a in p["Accounts"] if _active(a))
    found, todo = set(), [arn.rsplit("/", 1)[1]]
    while todo:
        parent = todo.pop()
        for page in client.get_paginator("list_accounts_for_parent").paginate(ParentId=parent):
            found |= {a["Id"] for a in page["Accounts"] if _active(a)}
        for page in client.get_paginator("list_organizational_units_for_parent").paginate(
            ParentId=parent
        ):
            todo += [u["Id"] for u in page["OrganizationalUnits"]]
    return frozenset(found)
