"""Waiting: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import DEFINITE, INFO, LOW, MEDIUM, PROBABLE
from tests.findings.lab import Lab
from tests.world import File, Host


def wait(lab: Lab, host: Host, file: File, seconds: int, svid: int = 1) -> None:
    """A waiter polls for a while, as Linux does."""
    for _ in range(seconds // 30):
        lab.world.wait(30)
        for client in (lab.alice, lab.bob, lab.carol):
            client.getattr(file)
        host.wait_for(file, svid)


# -- long-hold and blocked-too-long ---------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "severity"), [(120, INFO), (960, MEDIUM)])
def test_long_hold__fires(lab: Lab, seconds: int, severity: int) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    held = lab.alice.lock(db, 1)
    waits = lab.bob.wait_for(db, 1)
    wait(lab, lab.bob, db, seconds)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 1)
    lab.bob.unlock(db, 1)
    lab.later(1)
    about = {"severity": severity, "confidence": DEFINITE, "server": lab.server, "path": "/srv/db"}
    lab.fires("long-hold", held, waits, client=lab.alice, **about)
    found = lab.fires("blocked-too-long", held, waits, client=lab.bob, **about)
    assert f"behind a lock of {lab.alice.address}" in found.message


def test_long_hold__fires_while_it_lasts(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    wait(lab, lab.bob, db, 90)
    assert "so far" in lab.fires("long-hold", severity=INFO, client=lab.alice).message


def test_long_hold__silent_when_nobody_waits_for_long(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    for _ in range(10):
        lab.later(30)
        lab.alice.getattr(db)
    lab.bob.wait_for(db, 1)
    lab.world.wait(20)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 1)
    lab.bob.unlock(db, 1)
    lab.later(1)
    lab.clean("long-hold", "blocked-too-long")


def test_long_hold__silent_when_it_is_usual_for_the_file(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    for seconds in (30, 30, 30, 90):
        lab.alice.lock(db, 1)
        lab.bob.wait_for(db, 1)
        wait(lab, lab.bob, db, seconds)
        lab.alice.unlock(db, 1)
        lab.server.granted(lab.bob, db, 1)
        lab.world.wait(30)
        lab.bob.unlock(db, 1)
    lab.clean("long-hold")


def test_long_hold__silent_for_a_shared_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, exclusive=False)
    lab.bob.wait_for(db, 1)
    wait(lab, lab.bob, db, 120)
    lab.silent("long-hold")


def test_blocked_too_long__fires_low_when_nothing_is_known_to_be_in_the_way(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    waits = lab.bob.wait_for(db, 1)
    wait(lab, lab.bob, db, 90)
    found = lab.fires("blocked-too-long", waits, severity=LOW, confidence=PROBABLE, client=lab.bob)
    assert "that the capture does not show" in found.message


@pytest.mark.parametrize("alive", [True, False])
def test_blocked_too_long__fires_and_says_whether_the_holder_lives(lab: Lab, alive: bool) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.world.wait(100)
    if alive:
        lab.alice.getattr(db)
    lab.later(20)
    assert ("(silent for" in lab.fires("blocked-too-long", client=lab.bob).message) != alive


def test_blocked_too_long__fires_and_says_that_a_callback_was_not_taken(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 1, reply=None)
    lab.later(100)
    message = lab.fires("blocked-too-long", client=lab.bob).message
    assert f"called back in frame {grant.frame}" in message


def test_blocked_too_long__silent_for_a_minute(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    wait(lab, lab.bob, db, 30)
    lab.world.wait(25)
    lab.bob.cancel(db, 1)
    lab.later(60)
    lab.silent("blocked-too-long")


# -- lock-convoy ----------------------------------------------------------------------------------


def queue(lab: Lab, waiters: int, seconds: float, step: int = 0, **how: Any) -> None:
    """Alice holds a lock, and so many wait for it."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    for svid in range(waiters):
        (lab.bob, lab.carol)[svid % 2].wait_for(db, svid, svid * step, 1 if step else 0, **how)
    lab.world.wait(seconds)
    lab.alice.unlock(db, 1)
    for svid in range(waiters):
        client = (lab.bob, lab.carol)[svid % 2]
        lab.server.granted(client, db, svid, svid * step, 1 if step else 0, **how)
        client.unlock(db, svid)
    lab.later(1)


@pytest.mark.parametrize("waiters", [5, 7])
def test_lock_convoy__fires(lab: Lab, waiters: int) -> None:
    queue(lab, waiters, 12)
    found = lab.fires("lock-convoy", severity=MEDIUM, confidence=DEFINITE, server=lab.server, path="/srv/db")
    assert f"up to {waiters} owners on 2 hosts" in found.message


@pytest.mark.parametrize(("waiters", "seconds"), [(4, 25), (7, 9)])
def test_lock_convoy__silent_for_a_short_queue(lab: Lab, waiters: int, seconds: int) -> None:
    queue(lab, waiters, seconds)
    lab.clean("lock-convoy")


def test_lock_convoy__silent_for_readers_and_for_different_ranges(lab: Lab) -> None:
    queue(lab, 8, 12, exclusive=False)
    lab.clean("lock-convoy")


def test_lock_convoy__silent_for_different_ranges(lab: Lab) -> None:
    queue(lab, 8, 12, step=10)
    lab.clean("lock-convoy")


# -- lock-starvation ------------------------------------------------------------------------------


def overtake(lab: Lab, times: int, pause: float, start: int = 0, length: int = 0) -> None:
    """Bob waits, and carol gets locks again and again."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.unlock(db, 1)
    for _ in range(times):
        lab.carol.lock(db, 2, start, length)
        lab.world.wait(pause)
        lab.carol.unlock(db, 2, start, length)
    lab.bob.wait_for(db, 1, reply="GRANTED")
    lab.bob.unlock(db, 1)
    lab.later(1)


def test_lock_starvation__fires(lab: Lab) -> None:
    overtake(lab, 5, 2.5)
    found = lab.fires("lock-starvation", severity=MEDIUM, confidence=PROBABLE, client=lab.bob)
    assert "5 later requests" in found.message


@pytest.mark.parametrize(("times", "pause", "length"), [(4, 3, 0), (8, 1, 0), (5, 3, 10)])
def test_lock_starvation__silent(lab: Lab, times: int, pause: int, length: int) -> None:
    """For a few, for a short wait, and for locks on a part of what is waited for."""
    overtake(lab, times, pause, 0, length)
    lab.silent("lock-starvation")


def test_lock_starvation__silent_when_the_waiter_was_not_heard_of_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.unlock(db, 1)
    for _ in range(8):
        lab.carol.lock(db, 2)
        lab.world.wait(3)
        lab.carol.unlock(db, 2)
    lab.later(1)
    lab.silent("lock-starvation")


def test_lock_starvation__silent_when_the_holder_locks_again_what_it_has(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    for _ in range(8):
        lab.world.wait(3)
        lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.later(1)
    lab.silent("lock-starvation")


# -- lock-ping-pong -------------------------------------------------------------------------------


def play(lab: Lab, turns: int, hold: float, gap: float) -> None:
    """Alice and bob take turns."""
    db = lab.mounted(lab.alice, lab.bob)
    hosts = (lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for turn in range(turns):
        holder, waiter = hosts[turn % 2], hosts[1 - turn % 2]
        waiter.wait_for(db, 1)
        lab.world.wait(hold)
        holder.unlock(db, 1)
        lab.world.wait(gap)
        lab.server.granted(waiter, db, 1)
    hosts[turns % 2].unlock(db, 1)
    lab.later(1)


def test_lock_ping_pong__fires(lab: Lab) -> None:
    play(lab, 24, 0.01, 0.1)
    found = lab.fires("lock-ping-pong", severity=LOW, confidence=DEFINITE, server=lab.server, path="/srv/db")
    assert "changed hands 24 times" in found.message


@pytest.mark.parametrize(("turns", "hold", "gap"), [(19, 0.01, 0.1), (24, 0.5, 0.1), (24, 0.01, 3.2)])
def test_lock_ping_pong__silent(lab: Lab, turns: int, hold: float, gap: float) -> None:
    """For a few turns, for work done under the lock, and for turns that come slowly."""
    play(lab, turns, hold, gap)
    lab.silent("lock-ping-pong")
