"""What stood at a time: the same as if the capture had ended then."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.render.moment import Moment
from analyzer.render.mounted import mount_sessions
from analyzer.render.view import View
from tests.findings.lab import Lab
from tests.network import BEGIN, SECOND
from tests.render.seen import cells, now, view


def at(lab: Lab, seconds: float) -> Moment:
    return Moment(view(lab), BEGIN + round(seconds * SECOND))


def held(moment: Moment) -> list[tuple[Any, ...]]:
    return cells(moment.held(), "lock", "client", "state", "waiters")


def waiting(moment: Moment) -> list[tuple[Any, ...]]:
    return cells(moment.waiting(), "wait", "client", "polls", "callbacks", "behind")


def contention(lab: Lab) -> list[float]:
    """Alice holds, Bob waits, polls, is called back, and releases; times between the steps."""
    times = []
    db = lab.mounted(lab.alice, lab.bob, lab.carol)

    def quiet() -> None:
        lab.later(1)
        times.append(now(lab))
        lab.later(1)

    quiet()
    lab.alice.lock(db, 1)
    lab.carol.lock(db, 5, 0, 0, reply="DENIED")
    quiet()
    lab.bob.wait_for(db, 2)
    quiet()
    lab.bob.wait_for(db, 2)
    quiet()
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    quiet()
    lab.bob.unlock(db, 2)
    lab.alice.umount(lab.export)
    quiet()
    lab.bob.umount(lab.export)
    quiet()
    lab.alice.mount(lab.server, "/srv")
    quiet()
    return times


def test_it_is_as_if_the_capture_had_ended_then(everywhere: Lab) -> None:
    lab = everywhere
    for time in contention(lab):
        cut = View(lab.world.analyze(end=time))
        moment, end = at(lab, time), Moment(cut, None)
        assert held(moment) == held(end)
        assert waiting(moment) == waiting(end)
        names = ("client", "state", "open", "mounts", "umounts", "locks_held")
        assert cells(mount_sessions(moment.view, moment), *names) == cells(mount_sessions(cut, end), *names)


def test_who_holds_and_who_waits(lab: Lab) -> None:
    times = contention(lab)
    alice, bob = lab.alice.address, lab.bob.address
    assert [held(at(lab, time)) for time in times[:6]] == [
        [],
        [(1, alice, "held", 0)],
        [(1, alice, "held", 1)],
        [(1, alice, "held", 1)],
        [(2, bob, "held", 0)],
        [],
    ]
    assert [waiting(at(lab, time)) for time in times[:6]] == [
        [],
        [],
        [(0, bob, 0, 0, [1])],
        [(0, bob, 1, 0, [1])],
        [],
        [],
    ]


def test_a_leak_is_one_from_the_unlock_on(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(5)
    before = now(lab)
    lab.later(5)
    lab.alice.unlock(db, 1, reply=None)
    lab.later(5)
    assert held(at(lab, before)) == [(1, lab.alice.address, "held", 0)]
    assert held(at(lab, now(lab))) == [(1, lab.alice.address, "leak", 0)]


def test_a_refused_unlock_freed_nothing_at_any_time(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1, reply=None)
    lab.later(2)
    between = now(lab)
    lab.later(2)
    unlock.answer("NOLOCKS")
    lab.later(2)
    assert held(at(lab, between))[0][2] == "leak"  # the client had let go of it


def test_between_restart_and_reclaim_the_server_holds_nothing(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(5)
    lab.server.boot()
    lab.server.notify(lab.alice, state=5)
    lab.later(3)
    between = now(lab)
    lab.later(3)
    lab.alice.lock(db, 1, reclaim=True, state=0)
    lab.later(3)
    assert held(at(lab, between)) == [(1, lab.alice.address, "lost", 0)]
    assert held(at(lab, now(lab))) == [(1, lab.alice.address, "held", 0)]


def test_what_is_left_of_a_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(1)
    whole = now(lab)
    lab.later(1)
    lab.alice.unlock(db, 1, 10, 10)
    assert cells(at(lab, whole).held(), "range") == [("whole file",)]
    assert cells(Moment(view(lab), None).held(), "range") == [("0 to 9, 20 to end of file",)]


def test_behind_counts_what_is_in_the_way_and_no_other(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, 0, 10, exclusive=False)
    lab.carol.lock(db, 5, 0, 10, exclusive=False)
    lab.alice.lock(db, 1, 100, 10)
    lab.bob.wait_for(db, 2, 0, 50)
    assert waiting(Moment(view(lab), None)) == [(0, lab.bob.address, 0, 0, [1, 2])]


def test_filters_choose(lab: Lab) -> None:
    contention(lab)
    moment = Moment(view(lab, client="bob"), BEGIN + SECOND * 1000)
    assert moment.held().rows == []
    early = Moment(view(lab, client="carol"), BEGIN + SECOND * 3)
    assert held(early) == []


@pytest.mark.parametrize("words", ["at the end", "at 2023"])
def test_the_sheets_say_when(lab: Lab, words: str) -> None:
    contention(lab)
    moment = Moment(view(lab), None if words == "at the end" else BEGIN)
    assert moment.held().none.startswith(f"No locks {words}")
    assert moment.waiting().none.startswith(f"Nobody waits {words}")
    assert moment.held(quiet=True).none == ""
