"""Stalls and knots: each rule fires on its fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, LOW, MEDIUM, PROBABLE
from analyzer.protocols.nlm import NLM
from tests.findings.lab import Lab
from tests.world import LOCKD, Request

# -- nlm-server-stall -----------------------------------------------------------------------------


def test_nlm_server_stall__fires_for_one_long_wait(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, reply=None)
    lab.world.wait(10)
    lock.again()
    lab.world.wait(7)
    lock.answer("GRANTED")
    lab.later(1)
    found = lab.fires(
        "nlm-server-stall",
        lock,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )
    assert "after 17 s and 2 copies" in found.message


def test_nlm_server_stall__fires_for_three_short_ones(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in (1, 2, 3):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lab.world.wait(3)
        lock.answer("GRANTED")
    lab.later(1)
    found = lab.fires("nlm-server-stall", lock, severity=MEDIUM, client=lab.alice, server=lab.server)
    assert found.count == 3


def test_nlm_server_stall__fires_low_when_tcp_did_not_deliver_it(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.server.cut_from(linux.alice, LOCKD)
    unlock = linux.alice.unlock(db, 1)
    linux.world.wait(12)
    linux.server.mend(linux.alice, LOCKD)
    unlock.answer("GRANTED")
    linux.later(1)
    linux.fires("nlm-server-stall", unlock, severity=LOW, client=linux.alice)


def test_nlm_server_stall__fires_when_no_answer_comes(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 5)
    lock = lab.alice.lock(db, 1, 5, 5, reply=None)
    lab.world.wait(30)
    lab.alice.getattr(db)
    lab.later(1)
    lab.fires(
        "nlm-server-stall",
        lock,
        severity=HIGH,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


@pytest.mark.parametrize("how", ["a later answer", "an answer that may be lost", "a dead host", "no time"])
def test_nlm_server_stall__silent_without_an_answer_because_of(linux: Lab, how: str) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1, 0, 5)
    linux.alice.lock(db, 1, 5, 5, reply=None)
    if how == "a dead host":
        linux.server.die()
        linux.world.wait(60)
        linux.alice.getattr(db)
        linux.silent("nlm-server-stall")
        return
    linux.world.wait(0.5 if how == "no time" else 60)
    if how == "a later answer":
        linux.bob.lock(db, 2, 30, 5)
    elif how == "an answer that may be lost":
        linux.alice.lock(db, 1, 10, 5, reply_captured=False)
        linux.alice.ping(linux.server, (NLM, 4), LOCKD)
    linux.later(1)
    linux.silent("nlm-server-stall")


@pytest.mark.parametrize(
    ("port", "how", "sure"),
    [(0, "not registered", DEFINITE), (LOCKD, "filtered", PROBABLE), (LOCKD, "refused", DEFINITE)],
)
def test_nlm_server_stall__fires_when_lockd_is(linux: Lab, port: int, how: str, sure: int) -> None:
    db = linux.mounted(linux.alice)
    if how == "filtered":
        linux.server.cut_from(linux.alice, LOCKD)
    elif how == "refused":
        linux.server.refuse(LOCKD)
    looked = linux.alice.getport(linux.server, NLM, port)
    if port:
        linux.alice.lock(db, 1)
    linux.world.wait(20)
    linux.alice.getattr(db)
    linux.later(1)
    linux.fires("nlm-server-stall", looked, severity=HIGH, confidence=sure, client=linux.alice)


def test_nlm_server_stall__silent_when_lockd_is_reached_at_last(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.getport(linux.server, NLM, 0)
    linux.server.refuse(LOCKD)
    linux.alice.getport(linux.server, NLM, LOCKD)
    linux.alice.lock(db, 1)
    linux.world.refused.clear()
    linux.world.wait(3)
    linux.alice.lock(db, 1)
    linux.later(10)
    linux.clean("nlm-server-stall")


def test_nlm_server_stall__silent_for_two_short_ones(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in (1, 2):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lab.world.wait(6)
        lock.answer("GRANTED")
    lab.later(1)
    lab.clean("nlm-server-stall")


def test_nlm_server_stall__silent_when_the_server_restarted_meanwhile(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1, reply=None)
    lab.world.wait(30)
    lab.server.boot()
    lab.server.notify(lab.alice, state=7)
    unlock.again().answer("GRANTED")
    lab.later(1)
    lab.silent("nlm-server-stall")


def test_nlm_server_stall__silent_when_a_waiter_waits_for_a_holder(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    for _ in range(4):
        lab.world.wait(29)
        lab.bob.wait_for(db, 1)
        lab.alice.getattr(db)
    lab.later(1)
    lab.clean("nlm-server-stall")


# -- deadlock -------------------------------------------------------------------------------------


def test_deadlock__fires(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 1)
    lab.bob.lock(db, 1, 1, 1)
    lab.alice.wait_for(db, 1, 1, 1)
    refused = lab.bob.lock(db, 1, 0, 1, reply="DEADLCK", block=True)
    lab.later(1)
    lab.fires(
        "deadlock",
        refused,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.bob,
        server=lab.server,
        path="/srv/db",
        range=(0, 0),
    )


def test_deadlock__silent_when_a_chain_of_waits_does_not_close(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 1)
    lab.bob.lock(db, 1, 1, 1)
    lab.alice.wait_for(db, 1, 1, 1)
    lab.bob.unlock(db, 1, 1, 1)
    lab.server.granted(lab.alice, db, 1, 1, 1)
    lab.later(1)
    lab.clean("deadlock")


def circle(lab: Lab, seconds: float) -> list[Request]:
    """Three owners wait for each other, and the server does not see it."""
    files = [lab.mounted(host) for host in (lab.alice, lab.bob, lab.carol)]
    db, other = files[0], lab.alice.lookup(lab.export, "other")
    lab.alice.lock(db, 1, 0, 1)
    lab.bob.lock(other, 2, 0, 1)
    lab.carol.lock(db, 3, 1, 1)
    waits = [
        lab.alice.wait_for(other, 1, 0, 1),
        lab.bob.wait_for(db, 2, 1, 1),
        lab.carol.wait_for(db, 3, 0, 1),
    ]
    lab.world.wait(seconds)
    return waits


def test_deadlock__fires_for_a_circle_that_the_server_does_not_see(lab: Lab) -> None:
    waits = circle(lab, 15)
    lab.later(1)
    found = lab.fires("deadlock", *waits, severity=HIGH, confidence=PROBABLE, server=lab.server)
    assert "3 owners waited for each other" in found.message


def test_deadlock__fires_for_a_circle_that_was_broken_in_the_end(lab: Lab) -> None:
    waits = circle(lab, 15)
    lab.alice.cancel(lab.export.file("other"), 1, 0, 1)
    lab.later(100)
    found = lab.fires("deadlock", *waits, severity=HIGH, confidence=PROBABLE)
    assert "for 15 s" in found.message


def test_deadlock__silent_when_a_circle_is_soon_broken(lab: Lab) -> None:
    circle(lab, 5)
    lab.alice.unlock(lab.export.file("db"), 1, 0, 1)
    lab.later(60)
    lab.silent("deadlock")
