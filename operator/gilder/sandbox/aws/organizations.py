"""Organizations for those who read it: who may ask, pages of 20, states of accounts, moves."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.core.utils import unix_time
from moto.organizations.responses import OrganizationsResponse

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.organization import find_account, home_of, path_of
from gilder.sandbox.aws.pagination import page
from gilder.sandbox.aws.registry import LOCK, Call, call_of, json_errors, organizations
from gilder.sandbox.aws.settings import SETTINGS

_PARENT = re.compile(r"r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}")
_ACCOUNT = re.compile(r"\d{12}")
MAXIMUM = 20

# What moto serves and only the management account may call.
_WRITES = ("create_account", "delete_organization", "update_organizational_unit")


def _invalid() -> AwsError:
    return AwsError("InvalidInputException", "You specified an invalid value.")


def _reader(call: Call, *, member: bool = False, write: bool = False) -> Any:
    """The backend of the caller's organization, when it may ask.

    "You can only call this operation from the management account or a member account that is a
    delegated administrator."
    https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html
    """
    backend = home_of(call.account)
    if backend is None:
        raise AwsError(
            "AWSOrganizationsNotInUseException", "Your account is not a member of an organization."
        )
    management = backend.org.master_account_id == call.account
    delegated = any(a.account.id == call.account for a in backend.admins)
    if not (management or (member and not write) or (delegated and not write)):
        raise AwsError(
            "AccessDeniedException", "You don't have permissions to access this resource."
        )
    return backend


def _unit(backend: Any, unit_id: str, missing: str = "ParentNotFoundException") -> Any:
    if not _PARENT.fullmatch(unit_id):
        raise _invalid()
    found = next((u for u in backend.ou if u.id == unit_id), None)
    if found is None:
        what = "parent" if "Parent" in missing else "organizational unit"
        raise AwsError(missing, f"You specified {what} that doesn't exist.")
    return found


def _account(backend: Any, account_id: str) -> Any:
    if not _ACCOUNT.fullmatch(account_id):
        raise _invalid()
    found = next((a for a in backend.accounts if a.id == account_id), None)
    if found is None:
        raise AwsError("AccountNotFoundException", "You specified an account that doesn't exist.")
    return found


def _page(
    call: Call, name: str, items: Sequence[Any], shown: Callable[[Any], Mapping[str, Any]]
) -> Mapping[str, Any]:
    limit, token = call.get("MaxResults", MAXIMUM), call.get("NextToken")
    if not 1 <= limit <= MAXIMUM:
        raise _invalid()
    if token is None and SETTINGS.organizations_empty_page:
        return {name: [], "NextToken": _FIRST}
    chosen, further = page(
        items, lambda i: str(i.id), limit, None if token == _FIRST else token, _invalid()
    )
    out: dict[str, Any] = {name: [shown(i) for i in chosen]}
    if further is not None:
        out["NextToken"] = further
    return out


_FIRST = "first"


def _shown_account(backend: Any, account: Any) -> dict[str, Any]:
    management = account.id == backend.org.master_account_id
    out = {
        "Id": account.id,
        "Arn": account.arn,
        "Email": account.email,
        "Name": account.name,
        "Status": account.status,
        "State": account.state,
        "Paths": [f"{path_of(backend, account.parent_id)}{account.id}/"],
        "JoinedMethod": "INVITED" if management else account.joined_method,
        "JoinedTimestamp": unix_time(account.create_time),
    }
    if not SETTINGS.account_status:
        del out["Status"]
    return out


def _shown_unit(backend: Any, unit: Any) -> dict[str, Any]:
    return {
        "Id": unit.id,
        "Arn": unit.arn,
        "Name": unit.name,
        "Path": path_of(backend, unit.id),
    }


@organizations
def describe_organization(call: Call) -> Mapping[str, Any]:
    """ "You can call this operation from any account in an organization." """
    described: Mapping[str, Any] = _reader(call, member=True).org.describe()
    return described


@organizations
def list_roots(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    return _page(
        call, "Roots", [u for u in backend.ou if u.type == "ROOT"], lambda u: dict(u.describe())
    )


@organizations
def list_accounts(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    return _page(call, "Accounts", backend.accounts, lambda a: _shown_account(backend, a))


@organizations
def describe_account(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    return {"Account": _shown_account(backend, _account(backend, call.need("AccountId")))}


@organizations
def list_accounts_for_parent(call: Call) -> Mapping[str, Any]:
    """Those directly below; not those of OUs below."""
    backend = _reader(call)
    parent = _unit(backend, call.need("ParentId"))
    found = [a for a in backend.accounts if a.parent_id == parent.id]
    return _page(call, "Accounts", found, lambda a: _shown_account(backend, a))


@organizations
def list_organizational_units_for_parent(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    parent = _unit(backend, call.need("ParentId"))
    found = [u for u in backend.ou if u.parent_id == parent.id]
    return _page(call, "OrganizationalUnits", found, lambda u: _shown_unit(backend, u))


@organizations
def describe_organizational_unit(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    unit_id = call.need("OrganizationalUnitId")
    if unit_id.startswith("r-"):
        raise _invalid()
    unit = _unit(backend, unit_id, "OrganizationalUnitNotFoundException")
    return {"OrganizationalUnit": _shown_unit(backend, unit)}


@organizations
def list_parents(call: Call) -> Mapping[str, Any]:
    """A child has one parent: the root or an OU."""
    backend = _reader(call)
    child_id = call.need("ChildId")
    child = next((c for c in [*backend.accounts, *backend.ou] if c.id == child_id), None)
    if child is None or child.type == "ROOT":
        raise AwsError(
            "ChildNotFoundException",
            "We can't find an organizational unit (OU) or AWS account with the ChildId that you "
            "specified.",
        )
    parents = [u for u in backend.ou if u.id == child.parent_id]
    return _page(call, "Parents", parents, lambda u: {"Id": u.id, "Type": u.type})


@organizations
def list_children(call: Call) -> Mapping[str, Any]:
    backend = _reader(call)
    parent, kind = _unit(backend, call.need("ParentId")), call.need("ChildType")
    if kind not in ("ACCOUNT", "ORGANIZATIONAL_UNIT"):
        raise _invalid()
    among = backend.accounts if kind == "ACCOUNT" else backend.ou
    found = [c for c in among if c.parent_id == parent.id]
    return _page(call, "Children", found, lambda c: {"Id": c.id, "Type": kind})


@organizations
def create_organizational_unit(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/organizations/latest/APIReference/API_CreateOrganizationalUnit.html"""
    backend = _reader(call, write=True)
    parent, name = _unit(backend, call.need("ParentId")), call.need("Name")
    if any(u.parent_id == parent.id and u.name == name for u in backend.ou):
        raise AwsError(
            "DuplicateOrganizationalUnitException",
            "An OU with the same name already exists.",
        )
    # Five levels of OUs below the root.
    # https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
    if path_of(backend, parent.id).count("/ou-") >= 5:
        raise AwsError(
            "ConstraintViolationException",
            "You have exceeded the maximum nesting depth for organizational units.",
        )
    made = backend.create_organizational_unit(**call.params)["OrganizationalUnit"]
    return {"OrganizationalUnit": _shown_unit(backend, _unit(backend, made["Id"]))}


@organizations
def delete_organizational_unit(call: Call) -> None:
    backend = _reader(call, write=True)
    unit_id = call.need("OrganizationalUnitId")
    unit = _unit(backend, unit_id, "OrganizationalUnitNotFoundException")
    if any(c.parent_id == unit.id for c in [*backend.accounts, *backend.ou]):
        raise AwsError(
            "OrganizationalUnitNotEmptyException",
            "The specified OU is not empty. Move all accounts to another root or to other OUs, "
            "remove all child OUs, and try the operation again.",
        )
    backend.ou.remove(unit)


@organizations
def move_account(call: Call) -> None:
    """https://docs.aws.amazon.com/organizations/latest/APIReference/API_MoveAccount.html"""
    backend = _reader(call, write=True)
    account = _account(backend, call.need("AccountId"))
    source = _unit(backend, call.need("SourceParentId"), "SourceParentNotFoundException")
    target = _unit(backend, call.need("DestinationParentId"), "DestinationParentNotFoundException")
    if source is target:
        raise AwsError(
            "DuplicateAccountException",
            "That account is already present in the specified destination.",
        )
    if account.parent_id != source.id:
        raise AwsError(
            "SourceParentNotFoundException",
            "We can't find a source root or OU with the ParentId that you specified.",
        )
    account.parent_id = target.id


@organizations
def close_account(call: Call) -> None:
    """Takes effect at once; on AWS the account is PENDING_CLOSURE for a while.

    https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_account_state.html
    """
    backend = _reader(call, write=True)
    account = _account(backend, call.need("AccountId"))
    if account.id == backend.org.master_account_id:
        raise AwsError("ConstraintViolationException", "You can't close the management account.")
    if account.state == "CLOSED":
        raise AwsError("AccountAlreadyClosedException", "The provided account is already closed.")
    set_account_state(account.id, "CLOSED")


def set_account_state(account_id: str, state: str) -> None:
    """Status has fewer values than State: a closed account shows SUSPENDED there."""
    account = find_account(account_id)
    if account is None:
        raise KeyError(f"no organization has the account {account_id}")
    account.state = state
    account.status = {"CLOSED": "SUSPENDED", "PENDING_ACTIVATION": "ACTIVE"}.get(state, state)


def _for_management(name: str) -> None:
    original = getattr(OrganizationsResponse, name)

    def method(self: Any) -> Any:
        with LOCK, json_errors():
            _reader(call_of(self, {}), write=True)
            return original(self)

    method.__name__ = name
    setattr(OrganizationsResponse, name, method)


def install() -> None:
    for name in _WRITES:
        _for_management(name)
