"""Waits that a callback may be about: found by who waits, and forgotten some time after they ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analyzer.sessions.ledger import WAIT_REMEMBERED
from analyzer.sessions.model import Wait
from tests.findings.lab import Lab

ROUNDS = 5
AGES = WAIT_REMEMBERED.default / 1e9 + 1


def queued(lab: Lab) -> None:
    """Bob waits once more behind alice, and gets it."""
    db = lab.mounted(lab.alice, lab.bob)
    for _ in range(ROUNDS):
        lab.takes_turns(db)


def test_waits_of_long_ago_are_forgotten(lab: Lab) -> None:
    queued(lab)
    lab.world.wait(AGES)
    queued(lab)
    ledger = lab.world.analyze().sessions.ledger
    assert len(ledger.waits) == 2 * ROUNDS
    assert len(ledger.waiting) == ROUNDS


@pytest.mark.parametrize("open_still", [True, False])
def test_open_waits_are_known_by_their_owner(lab: Lab, open_still: bool) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.bob.wait_for(db, 3)
    if not open_still:
        lab.bob.cancel(db, 2)
    ledger = lab.world.analyze().sessions.ledger
    one, other = ledger.waits
    assert ledger.waiting.of_owner(one.owner) == ([one] if open_still else [])
    assert list(ledger.waiting.of_client(other.client)) == ([one, other] if open_still else [other])


def test_a_server_that_calls_back_for_long_means_the_same_wait(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    for _ in range(4):
        lab.server.granted(lab.bob, db, 2)
        lab.world.wait(AGES * 2 / 3)
        lab.alice.lock(db, 5, 70, 5)
        lab.carol.wait_for(db, 6, 70, 5)
        lab.alice.unlock(db, 5, 70, 5)
        lab.server.granted(lab.carol, db, 6, 70, 5)
        lab.carol.unlock(db, 6, 70, 5)
    ledger = lab.world.analyze().sessions.ledger
    mine = [offer for offer in ledger.offers if offer.operation.svid == 2]
    assert [offer.wait for offer in mine] == [ledger.waits[0]] * 4


def test_who_asks_again_or_gives_up_is_not_compared_with_all_who_wait(lab: Lab) -> None:
    class Crowd(dict[Wait, None]):
        def __iter__(self) -> Iterator[Wait]:
            raise AssertionError("everybody was asked")

    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for svid in range(2, 6):
        lab.bob.wait_for(db, svid)
    lab.bob.wait_for(db, 4)
    ledger = lab.world.analyze().sessions.ledger
    wait = ledger.waits[2]
    wait.file.waits = Crowd(wait.file.waits)
    (poll,) = wait.polls
    assert ledger._open_wait(poll) is wait
    ledger._cancel(poll)
    assert wait.ended is not None
    assert list(wait.file.waits.keys()) == [one for one in ledger.waits if one is not wait]
