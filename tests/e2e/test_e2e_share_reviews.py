"""Shares in odd orders: lists that nobody followed for a while, and files that change."""

import time

from stage import ENCRYPTED, A, B, Stage
from systemworld import golden
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
