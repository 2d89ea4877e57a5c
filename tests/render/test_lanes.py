"""Bars of locks and mounts: as long as they lasted, of a kind that says who believed in them."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.render import lanes
from analyzer.render.lanes import Bar, Chart, Lane, lock_charts, mount_charts
from tests.findings.lab import Lab
from tests.network import SECOND
from tests.render.seen import view
from tests.world import File


def bars(charts: tuple[list[Chart], int], start: int) -> list[list[tuple[str, int, int]]]:
    """Kind, begin and end in seconds of each bar, by lane."""
    return [
        [
            (bar.kind, round((bar.start - start) / SECOND), round((bar.end - start) / SECOND))
            for bar in lane.bars
        ]
        for chart in charts[0]
        for lane in chart.lanes.values()
    ]


def locks(lab: Lab, **filters: Any) -> list[list[tuple[str, int, int]]]:
    seen = view(lab, **filters)
    return bars(lock_charts(seen), seen.sessions.start)


def mounts(lab: Lab) -> list[list[tuple[str, int, int]]]:
    seen = view(lab)
    return bars(mount_charts(seen), seen.sessions.start)


def locked(lab: Lab) -> File:
    db = lab.mounted(lab.alice, lab.bob)
    lab.world.at(10)
    lab.alice.lock(db, 1)
    lab.world.at(20)
    return db


def test_a_lock_that_is_released(everywhere: Lab) -> None:
    lab = everywhere
    lab.alice.unlock(locked(lab), 1)
    lab.later(5)
    assert locks(lab) == [[("held", 10, 20)]]


def test_a_lock_that_is_held_at_the_end(lab: Lab) -> None:
    locked(lab)
    lab.later(5)
    assert locks(lab) == [[("held", 10, 25)]]


def test_a_leak(lab: Lab) -> None:
    db = locked(lab)
    lab.alice.unlock(db, 1, reply=None)
    lab.world.at(50)
    lab.later(0)
    assert locks(lab) == [[("held", 10, 20), ("leak", 20, 50)]]


def test_a_lost_lock(lab: Lab) -> None:
    db = locked(lab)
    lab.server.boot()
    lab.bob.lock(db, 2)
    lab.world.at(30)
    lab.later(0)
    alice, bob = locks(lab)
    assert alice == [("held", 10, 20), ("lost", 20, 30)]
    assert bob == [("held", 20, 30)]


def test_a_wait(lab: Lab) -> None:
    db = locked(lab)
    lab.bob.wait_for(db, 2)
    lab.world.at(30)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    lab.world.at(40)
    lab.bob.unlock(db, 2)
    lab.later(5)
    bob, alice = locks(lab)
    assert bob == [("waits", 20, 30), ("held", 30, 40)]
    assert alice == [("held", 10, 30)]


def test_what_the_filters_leave(lab: Lab) -> None:
    db = locked(lab)
    lab.bob.lock(lab.bob.lookup(lab.export, "other"), 1)
    assert len(locks(lab)) == 2
    assert len(locks(lab, client="bob")) == 1
    assert len(locks(lab, file="db")) == 1
    assert locks(lab, server="192.0.2.99") == []
    assert db is not None


def test_mounts_and_use(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.world.at(10)
    lab.alice.umount(lab.export)
    lab.world.at(20)
    lab.alice.getattr(db)
    lab.world.at(30)
    lab.alice.mount(lab.server, "/srv")
    lab.world.at(40)
    lab.later(0)
    assert mounts(lab) == [
        [("mounted", 0, 10), ("mounted", 30, 40), ("used", 0, 30), ("after", 20, 20)],
    ]


def test_what_a_finding_is_about_comes_first(monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    db = locked(lab)
    other = lab.bob.lookup(lab.export, "other")
    for number in range(3):
        lab.bob.lock(other, 5, 0, 1)
        lab.bob.unlock(other, 5, 0, 1 + number)
    lab.alice.unlock(db, 1, reply=None)
    lab.later(60)
    monkeypatch.setattr(lanes, "MOST_CHARTS", 1)
    charts, left_out = lock_charts(view(lab))
    assert charts[0].title.startswith("/srv/db on ")
    assert left_out == 1


def test_a_lane_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOST_BARS", 2)
    lane = Lane("alice")
    for number in range(5):
        lane.add(Bar(number, number, "held", ""))
    assert len(lane.bars) == 2
    assert lane.left_out == 3
