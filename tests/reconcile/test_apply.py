"""What may be tried once earlier stages are in: key before permission, permission before key."""

from dataclasses import replace

from gilder.core.actions import AnyAction, CreateGrant, ModifyLaunchPermission, RevokeGrant
from gilder.core.observed import Principals, Problem
from gilder.core.results import Result
from gilder.reconcile.apply import _ready

HOME, KEY = "eu-west-1", "arn:aws:kms:eu-west-1:123456789012:key/k"
A, B = "222222222222", "333333333333"
DENIED = Problem("AccessDenied", "no")


def grant(account: str) -> CreateGrant:
    return CreateGrant(
        region=HOME, key=KEY, account=account, principal="p", operations=("Decrypt",), name=account
    )


def permission(**more: object) -> ModifyLaunchPermission:
    return ModifyLaunchPermission(region=HOME, image="ami-1", **more)  # type: ignore[arg-type]


def revoke(**more: object) -> RevokeGrant:
    return RevokeGrant(region=HOME, key=KEY, grant="g", principal="p", account=A, **more)  # type: ignore[arg-type]


def ready(action: AnyAction, *before: Result) -> tuple[list[AnyAction], list[Result]]:
    return _ready([action], before)


def test_an_account_whose_grant_failed_is_not_let_in_and_the_other_is() -> None:
    action = permission(add=Principals(frozenset({A, B})), needs=frozenset({(A, KEY), (B, KEY)}))
    may, skipped = ready(action, Result(grant(A), DENIED), Result(grant(B), made="g2"))
    (done,) = may
    assert isinstance(done, ModifyLaunchPermission)
    assert done.add.accounts == {B}
    (held,) = skipped
    assert held.problem is not None
    assert held.problem.reason == "AccessDenied"
    assert isinstance(held.action, ModifyLaunchPermission)
    assert held.action.add.accounts == {A}


def test_removals_do_not_wait_for_a_grant() -> None:
    action = permission(
        add=Principals(frozenset({A})),
        remove=Principals(frozenset({B})),
        needs=frozenset({(A, KEY)}),
    )
    may, _ = ready(action, Result(grant(A), DENIED))
    (done,) = may
    assert isinstance(done, ModifyLaunchPermission)
    assert not done.add
    assert done.remove.accounts == {B}


def test_a_grant_stays_while_its_ami_could_not_be_closed() -> None:
    closing = permission(remove=Principals(frozenset({A})))
    action = revoke(images=("ami-1",))
    may, skipped = ready(action, Result(closing, DENIED))
    assert may == []
    assert skipped[0].problem is not None
    may, skipped = ready(action, Result(closing))
    assert may == [action]
    assert skipped == []


def test_a_grant_stays_until_its_successor_exists() -> None:
    action = revoke(replaced_by="new")
    new = replace(grant(A), name="new")
    assert ready(action, Result(new, DENIED))[0] == []
    assert ready(action, Result(new, made="g2"))[0] == [action]
    assert ready(action, Result(grant(A), DENIED))[0] == [action], "another grant is no successor"
