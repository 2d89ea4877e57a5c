"""Habits of lock servers: each rule fires on the fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import DEFINITE, MEDIUM
from tests.findings.lab import Lab
from tests.world import File

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
