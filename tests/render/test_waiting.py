"""The lock-wait report: shares, lengths, delays."""

from __future__ import annotations

from analyzer.parameters import SECOND
from analyzer.render.waiting import wait_times
from tests.findings.lab import Lab
from tests.render.seen import cells, view
from tests.world import File


def one_wait(lab: Lab, db: File, seconds: float, how: str) -> None:
    """Bob waits so long for what Alice holds; `how` it ends."""
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.world.wait(seconds)
    if how == "cancel":
        lab.bob.cancel(db, 2)
    lab.alice.unlock(db, 1)
    if how == "callback":
        lab.server.granted(lab.bob, db, 2)
    if how == "poll":
        lab.world.wait(7)
        lab.bob.wait_for(db, 2, reply="GRANTED")
    lab.bob.unlock(db, 2)


def test_the_report(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    for seconds, how in ((0.05, "callback"), (3, "callback"), (25, "poll"), (2, "cancel")):
        one_wait(lab, db, seconds, how)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.later(100)
    ends, lengths, delays = wait_times(view(lab))
    assert cells(ends, "ended", "waits", "share") == [
        ("callback", 2, "40 %"),
        ("poll", 1, "20 %"),
        ("cancel", 1, "20 %"),
        ("still waiting", 1, "20 %"),
    ]
    assert [round(row["longest"] / SECOND) for row in ends.rows] == [3, 32, 2, 100]
    assert cells(lengths, "up_to", "waits", "by_callback", "by_poll") == [
        ("0.1 s", 1, 1, 0),
        ("1 s", 0, 0, 0),
        ("5 s", 2, 1, 0),
        ("10 s", 0, 0, 0),
        ("20 s", 0, 0, 0),
        ("30 s", 0, 0, 0),
        ("40 s", 1, 0, 1),
        ("60 s", 0, 0, 0),
        ("300 s", 1, 0, 0),
    ]
    assert [row["limit"] for row in lengths.rows][:3] == [SECOND // 10, SECOND, 5 * SECOND]
    bars = [len(bar) for (bar,) in cells(lengths, "bar")]
    assert bars == [20, 0, 40, 0, 0, 0, 20, 0, 20]
    assert cells(delays, "how", "locks") == [("callback", 2), ("poll", 1)]
    assert round(delays.rows[1]["median"] / SECOND) == 7
    assert delays.rows[0]["longest"] < SECOND


def test_nobody_waits(lab: Lab) -> None:
    lab.mounted(lab.alice)
    ends, lengths, delays = wait_times(view(lab))
    assert ends.none == "Nobody waited for a lock."
    assert [lengths.rows, delays.rows] == [[], []]
    assert lengths.none == delays.none == ""


def test_filters_choose(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    one_wait(lab, db, 1, "callback")
    assert wait_times(view(lab, client="bob", file="db"))[0].rows
    assert not wait_times(view(lab, client="alice"))[0].rows
    assert not wait_times(view(lab, file="other"))[0].rows
