"""Callbacks: that finding whose turn it is does not take longer the more have waited."""

from collections.abc import Callable
from typing import Any

import pytest

from analyzer.sessions.callbacks import Callbacks
from tests.findings.lab import Lab

ROUNDS = 12


def one_after_the_other(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for _ in range(ROUNDS):
        lab.takes_turns(db)


def in_a_queue(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for svid in range(ROUNDS):
        lab.bob.wait_for(db, 2 + svid)
    lab.alice.unlock(db, 1)
    for svid in range(ROUNDS):
        lab.server.granted(lab.bob, db, 2 + svid)
        lab.bob.unlock(db, 2 + svid)


def to_somebody_else(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    for svid in range(ROUNDS):
        lab.bob.wait_for(db, 2 + svid)
    for svid in range(ROUNDS):
        lab.server.granted(lab.carol, db, 2 + svid, oh=b"%d@bob" % (2 + svid))


@pytest.mark.parametrize(
    ("script", "verdict"),
    [(one_after_the_other, "match"), (in_a_queue, "match"), (to_somebody_else, "wrong-receiver")],
)
def test_only_waits_that_may_be_meant_are_compared(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, script: Callable[[Lab], None], verdict: str
) -> None:
    script(lab)
    compared = []
    differences = Callbacks._differences

    def counted(self: Callbacks, *requests: Any) -> tuple[str, ...]:
        compared.append(requests)
        return differences(self, *requests)

    monkeypatch.setattr(Callbacks, "_differences", counted)
    offers = lab.world.analyze().sessions.ledger.offers
    assert [offer.verdict for offer in offers] == [verdict] * ROUNDS
    assert len(compared) == ROUNDS
