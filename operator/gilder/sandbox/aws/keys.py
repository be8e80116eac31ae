"""KMS keys: resolution by id, alias and ARN, accounts and Regions, key policies, aws/ebs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from moto.ec2.models import EC2Backend
from moto.kms.models import KmsBackend, kms_backends
from moto.kms.responses import KmsResponse
from moto.kms.utils import RESERVED_ALIASES

from gilder.sandbox.aws import policy
from gilder.sandbox.aws.callers import principal_of
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.key_documents import check_form
from gilder.sandbox.aws.policy import Principal
from gilder.sandbox.aws.principals import role_gone
from gilder.sandbox.aws.registry import Call, call_of, json_errors, kms

Context = Mapping[str, list[str]]

EBS_ALIAS = "alias/aws/ebs"
# AWS writes multi-Region ids without dashes, moto with.
_KEY_ID = r"(?:mrk-[0-9a-f]{32}|(?:mrk-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
_WRITTEN = re.compile(rf"{_KEY_ID}|alias/[a-zA-Z0-9/_-]+")
_ARN = re.compile(rf"arn:aws[\w-]*:kms:([a-z0-9-]+):(\d{{12}}):(key/({_KEY_ID})|alias/.+)")


def well_formed(written: str) -> bool:
    """Whether a KmsKeyId has any of the forms that EC2 accepts."""
    return bool(_WRITTEN.fullmatch(written) or _ARN.fullmatch(written))


def find_key(written: str, account: str, region: str) -> Any | None:
    """The key that an id, alias or ARN means to `account` in `region`, of whatever account."""
    match = _ARN.fullmatch(written)
    if match:
        if match[1] != region:
            return None
        account, written = match[2], match[4] or match[3]
    backend: Any = kms_backends[account][region]
    if written.startswith("alias/"):
        if written in RESERVED_ALIASES:
            return backend.keys.get(backend.get_key_id_from_alias(written))
        return next((k for k in backend.keys.values() if written in k.aliases), None)
    return backend.keys.get(written)


def default_ebs_key(account: str, region: str) -> Any:
    """The account's default key for EBS encryption: aws/ebs unless it was changed."""
    from moto.ec2.models import ec2_backends

    backend: Any = ec2_backends[account][region]
    if not backend.default_kms_key_id:
        backend._create_default_encryption_key()
    return find_key(backend.default_kms_key_id, account, region)


def aws_managed(arn: str | None) -> bool:
    """Whether a key ARN is of an AWS managed key."""
    if arn is None or (match := _ARN.fullmatch(arn)) is None:
        return False
    key = find_key(arn, match[2], match[1])
    return key is not None and key.key_manager == "AWS"


def permits(
    key: Any, principal: Principal, operations: Iterable[str], via_service: str | None = None
) -> bool:
    """Whether key policy and grants together let `principal` do all these operations."""
    context = policy.context_of(principal, via_service)
    return all(_permitted(key, principal, o, context) for o in operations)


def _permitted(key: Any, principal: Principal, operation: str, context: Context) -> bool:
    """A Deny in the key policy wins, also over grants.

    https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html
    """
    effect = policy.effect(key.policy, principal, f"kms:{operation}", context, of_key=True)
    if effect is None:
        return any(operation in g.operations for g in grants_of(key, principal))
    return effect == "Allow"


def grants_of(key: Any, principal: Principal) -> list[Any]:
    """The grants of a key that let `principal` do something."""
    return [
        grant
        for grant in key.grants.values()
        if _grantee_covers(grant.grantee_principal, principal)
        and not role_gone(grant.grantee_principal, getattr(grant, "grantee_id", None))
    ]


def allowed_by_policy(key: Any, principal: Principal, operation: str) -> bool:
    """Whether the key policy alone lets `principal` do this."""
    context = policy.context_of(principal)
    return policy.effect(key.policy, principal, f"kms:{operation}", context, of_key=True) == "Allow"


def usable_by_ebs(
    written: str, call: Call, operations: Iterable[str], region: str | None = None
) -> Any | None:
    """The enabled key that EBS may use for the caller, or None.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    """
    region = region or call.region
    key = find_key(written, call.account, region)
    if key is None or key.key_state != "Enabled":
        return None
    if key.key_manager == "AWS":
        return key if key.account_id == call.account else None
    via = f"ec2.{region}.amazonaws.com"
    return key if permits(key, principal_of(call), operations, via) else None


def _grantee_covers(grantee: str, principal: Principal) -> bool:
    # A grant to any principal of an account counts for the whole account: the sandbox does not
    # know who in that account launches.
    return f"::{principal.account}:" in grantee


def need_key(call: Call, written: str) -> Any:
    """The key of a KMS call; NotFoundException names what is missing, as KMS does."""
    match = _ARN.fullmatch(written)
    if match and match[1] != call.region:
        raise AwsError("NotFoundException", f"Invalid arn {match[1]}")
    if not match and not _WRITTEN.fullmatch(written):
        raise AwsError("NotFoundException", f"Invalid keyId '{written}'")
    key = find_key(written, call.account, call.region)
    if key is not None:
        return key
    arn = written if match else f"arn:aws:kms:{call.region}:{call.account}:{written}"
    if ":alias/" in arn:
        raise AwsError("NotFoundException", f"Alias {arn} is not found.")
    if not match:
        arn = f"arn:aws:kms:{call.region}:{call.account}:key/{written}"
    raise AwsError("NotFoundException", f"Key '{arn}' does not exist")


def authorize(call: Call, key: Any, operation: str) -> None:
    """Refuse what neither the key policy nor a grant allows the caller."""
    principal = principal_of(call)
    if not permits(key, principal, [operation]):
        raise AwsError(
            "AccessDeniedException",
            f"User: {principal.arn} is not authorized to perform: kms:{operation} on resource: "
            f"{key.arn} because no resource-based policy allows the kms:{operation} action",
        )


def need_enabled(key: Any) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html"""
    if key.key_state == "Disabled":
        raise AwsError("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        state = "pending deletion" if key.key_state == "PendingDeletion" else key.key_state
        raise AwsError("KMSInvalidStateException", f"{key.arn} is {state}.")


def check_policy_document(call: Call, text: str, bypass: bool = False) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html"""
    check_form(text)
    principal = principal_of(call)
    context = policy.context_of(principal)
    effect = policy.effect(text, principal, "kms:PutKeyPolicy", context, of_key=True)
    if not bypass and effect != "Allow":
        raise AwsError(
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        )


def own_key(call: Call, operation: str) -> Any:
    """For operations without cross-account use: another account's key is refused."""
    key = need_key(call, call.need("KeyId"))
    if key.account_id != call.account:
        raise AwsError(
            "AccessDeniedException",
            f"User: {principal_of(call).arn} is not authorized to perform: kms:{operation} on "
            f"resource: {key.arn}",
        )
    authorize(call, key, operation)
    return key


@kms
def put_key_policy(call: Call) -> None:
    key = own_key(call, "PutKeyPolicy")
    if call.get("PolicyName", "default") != "default":
        raise AwsError("NotFoundException", "No such policy exists")
    text = call.need("Policy")
    check_policy_document(call, text, bool(call.get("BypassPolicyLockoutSafetyCheck")))
    key.policy = text


@kms
def get_key_policy(call: Call) -> Mapping[str, Any]:
    key = own_key(call, "GetKeyPolicy")
    if call.get("PolicyName", "default") != "default":
        raise AwsError("NotFoundException", "No such policy exists")
    return {"Policy": key.policy, "PolicyName": "default"}


def _create_key(original: Any) -> Any:
    def create_key(self: Any) -> Any:
        text = self._get_param("Policy")
        if text:
            bypass = bool(self._get_param("BypassPolicyLockoutSafetyCheck"))
            with json_errors():
                check_policy_document(call_of(self, {}), text, bypass)
        return original(self)

    return create_key


# moto looks these up by the bare id, whatever form the request has.
_BY_ID = (
    "cancel_key_deletion",
    "disable_key",
    "enable_key",
    "list_resource_tags",
    "schedule_key_deletion",
    "tag_resource",
    "untag_resource",
)


def _by_id(original: Any) -> Any:
    def method(self: Any, key_id: str, *args: Any, **kwargs: Any) -> Any:
        return original(self, self.get_key_id(key_id), *args, **kwargs)

    return method


def install() -> None:
    response: Any = KmsResponse
    response.create_key = _create_key(KmsResponse.create_key)

    def validate(self: Any, key_id: str) -> None:
        # moto reads only the last part of an ARN, so that any account's ARN meant the own key.
        with json_errors():
            key = need_key(call_of(self, {}), key_id)
            if key.account_id != self.current_account:
                raise AwsError("NotFoundException", f"Key '{key_id}' does not exist")

    response._validate_cmk_id = validate
    # The key policy is evaluated above, and by more than moto's one action.
    response._validate_key_policy = lambda *_: None

    generate = KmsBackend._generate_default_keys

    def generate_default_key(self: Any, alias_name: str) -> str | None:
        key_id = generate(self, alias_name)
        if key_id is not None:
            key = self.keys[key_id]
            key.key_manager = "AWS"
            key.description = f"Default key that protects my {alias_name.rpartition('/')[2]} data"
        return key_id

    def create_default_encryption_key(self: Any) -> str:
        backend: Any = kms_backends[self.account_id][self.region_name]
        self.default_kms_key_id = backend.keys[backend.get_key_id_from_alias(EBS_ALIAS)].arn
        return str(self.default_kms_key_id)

    backend_class: Any = KmsBackend
    for name in _BY_ID:
        setattr(backend_class, name, _by_id(getattr(backend_class, name)))
    backend_class._generate_default_keys = generate_default_key
    ec2_class: Any = EC2Backend
    ec2_class._create_default_encryption_key = create_default_encryption_key
