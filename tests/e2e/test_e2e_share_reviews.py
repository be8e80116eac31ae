"""Shares in odd orders: lists that nobody followed for a while, and files that change."""

import time

from stage import ENCRYPTED, HOME, A, B, Stage
from systemworld import golden, share
from test_e2e_accounts import access, in_prod, roles, users
from test_e2e_accounts import write as access_file
from test_e2e_lists import FROM_MAP, accounts_map, image, listed, write


def test_a_list_that_nobody_followed_for_a_while_is_read_anew(stage: Stage) -> None:
    stage.start(POLL_SECONDS="4")
    stage.apply(accounts_map(f"{A} {B}"), golden(**ENCRYPTED), listed(FROM_MAP))
    stage.wait_ready("ImageShare", "listed")
    assert stage.users(image(stage)) == {A, B}
    stage.delete("ImageShare", "listed")
    stage.gone("ImageShare", "listed")
    write(stage, A)
    given: list[set[str]] = []
    note = lambda _: given.append(stage.users(image(stage)))  # noqa: E731
    stage.aws.faults.after("ModifyImageAttribute", note)
    time.sleep(5)  # a poll without shares that have lists
    stage.apply(listed(FROM_MAP))
    stage.wait_ready("ImageShare", "listed")
    assert given == [{A}]


def test_an_account_leaves_the_access_file_and_comes_back(stage: Stage) -> None:
    roles(stage)
    stage.start(ACCESS_FILE=str(access_file(stage, access())))
    both = share("both", accounts=[A])
    both["spec"]["imageRef"] = {"selector": {"matchLabels": {"tier": "web"}}}
    ours, theirs = golden(**ENCRYPTED), in_prod(stage)
    for one in (ours, theirs):
        one["metadata"]["labels"] = {"tier": "web"}
    stage.apply(ours, theirs, both)
    stage.wait_ready("ImageShare", "both")
    there = stage.image("payments", HOME)
    without = {**access(accounts=["own"]), "accounts": []}
    access_file(stage, without)
    stage.wait_reason("ImageShare", "both", "AccountNotAllowed")
    stage.edit("ImageShare", "both", accounts=[A, B])
    stage.wait(lambda: stage.users(image(stage)) == {A, B}, "the own account goes on")
    stage.wait_reason("ImageShare", "both", "AccountNotAllowed")
    assert users(stage, there) == {A}
    access_file(stage, access())
    stage.wait(lambda: users(stage, there) == {A, B}, "and so does the other", 60)
    stage.wait_ready("GoldenImage", "payments")
    stage.wait_ready("ImageShare", "both")
    assert "Traceback" not in stage.world.operator.tail(500)
    # Withdrawn from the namespace alone, it is taken back with the credentials that are there.
    access_file(stage, access(accounts=["own"]))
    stage.wait(lambda: users(stage, there) == set(), "taken back", 60)
    assert stage.users(image(stage)) == {A, B}
