"""Habits of lock servers: each rule fires on the fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import CRITICAL, DEFINITE, MEDIUM
from tests.findings.lab import Lab
from tests.world import File, Request

# -- blocked-without-block ------------------------------------------------------------------------


@pytest.mark.parametrize("held", [True, False])
def test_blocked_without_block__fires(lab: Lab, held: bool) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    if held:
        lab.alice.lock(db, 1)
    wrong = lab.bob.lock(db, 2, reply="BLOCKED")
    found = lab.fires("blocked-without-block", wrong, client=lab.bob, severity=MEDIUM, confidence=DEFINITE)
    assert found.count == 1


def test_blocked_without_block__silent_when_it_asked_to_wait(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.carol.lock(db, 3, reply="DENIED")
    lab.silent("blocked-without-block")


# -- grant-accepted-twice -------------------------------------------------------------------------


def two_turns(lab: Lab, released: bool) -> tuple[Request, Request]:
    """Bob and Carol wait; both are told that it is their turn, and take it."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.carol.wait_for(db, 3)
    lab.alice.unlock(db, 1)
    first = lab.server.granted(lab.bob, db, 2)
    if released:
        lab.bob.unlock(db, 2)
    second = lab.server.granted(lab.carol, db, 3)
    if not released:
        lab.bob.write(db)
    lab.later(1)
    return first, second


def test_grant_accepted_twice__fires_when_two_take_their_turn(lab: Lab) -> None:
    first, second = two_turns(lab, released=False)
    lab.fires(
        "grant-accepted-twice",
        first,
        second,
        client=lab.bob,
        peer=lab.carol,
        severity=CRITICAL,
        confidence=DEFINITE,
        path="/srv/db",
    )
    lab.silent("lock-lost-silently")


def test_grant_accepted_twice__silent_when_the_first_released_it(lab: Lab) -> None:
    two_turns(lab, released=True)
    lab.clean("grant-accepted-twice")


def test_grant_accepted_twice__silent_about_a_lock_that_was_taken_without_a_callback(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    lab.carol.lock(db, 3)
    lab.silent("grant-accepted-twice")


# -- grant-repeated-after-acceptance --------------------------------------------------------------


def offered(lab: Lab, first: str, later: int) -> File:
    """Bob waits, is called back, and then so many times again."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, reply=first)
    for _ in range(later):
        lab.world.wait(60)
        lab.server.granted(lab.bob, db, 2)
    return db


def test_grant_repeated_after_acceptance__fires_at_the_second_repetition(lab: Lab) -> None:
    offered(lab, "GRANTED", 2)
    lab.fires("grant-repeated-after-acceptance", client=lab.bob, severity=MEDIUM, confidence=DEFINITE)


@pytest.mark.parametrize(("first", "later"), [("GRANTED", 1), ("GRACE", 2)])
def test_grant_repeated_after_acceptance__silent_about_one_copy_or_grace(
    lab: Lab, first: str, later: int
) -> None:
    offered(lab, first, later)
    lab.silent("grant-repeated-after-acceptance")


def test_grant_repeated_after_acceptance__silent_when_the_client_waits_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for _ in range(4):
        lab.alice.lock(db, 1)
        lab.bob.wait_for(db, 2)
        lab.alice.unlock(db, 1)
        lab.server.granted(lab.bob, db, 2)
        lab.world.wait(10)
        lab.bob.unlock(db, 2)
    lab.silent("grant-repeated-after-acceptance")
