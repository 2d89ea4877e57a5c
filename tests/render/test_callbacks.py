"""Callback paths: how far each way back goes."""

from __future__ import annotations

import pytest

from analyzer.protocols.nlm import NLM
from analyzer.render.callbacks import callback_paths
from tests.findings.lab import Lab
from tests.render.seen import cells, view
from tests.world import File

LOCKD = 4045
COUNTS = ("waits", "by_callback", "by_poll", "callbacks", "accepted", "refused", "unanswered")


def waiting(lab: Lab) -> File:
    """Alice holds what Bob waits for."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.later(1)
    return db


def path(lab: Lab) -> tuple[tuple[int, ...], str]:
    """Counts and verdict of the one path."""
    sheet = callback_paths(view(lab))
    (counts,) = cells(sheet, *COUNTS)
    (ends,) = cells(sheet, "server", "client")
    assert ends == (lab.server.address, lab.bob.address)
    return counts, sheet.rows[0]["path"]


def test_a_callback_that_is_taken(everywhere: Lab) -> None:
    lab = everywhere
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    assert path(lab) == ((1, 1, 0, 1, 1, 0, 0), "callbacks arrive")


def test_a_callback_without_an_answer(lab: Lab) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, reply=None)
    lab.later(20)
    assert path(lab) == ((1, 0, 0, 1, 0, 0, 1), "the last callback was not answered")


def test_a_callback_that_is_refused(lab: Lab) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, reply="DENIED")
    assert path(lab) == ((1, 0, 0, 1, 0, 1, 0), "the last callback was refused")


def test_no_callback_at_all(lab: Lab) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.later(29)
    lab.bob.wait_for(db, 2, reply="GRANTED")
    assert path(lab) == ((1, 0, 1, 0, 0, 0, 0), "never tried")


@pytest.mark.parametrize(
    ("port", "verdict"),
    [(0, "lockd is not registered"), (None, "rpcbind does not answer")],
)
def test_a_lookup_that_fails(lab: Lab, port: int | None, verdict: str) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.getport(lab.bob, NLM, port)
    lab.later(5)
    counts, said = path(lab)
    assert counts == (1, 0, 0, 0, 0, 0, 0)
    assert verdict in said


def test_what_is_not_due_is_no_fault(lab: Lab) -> None:
    waiting(lab)
    assert path(lab) == ((1, 0, 0, 0, 0, 0, 0), "no callback was due")


def test_a_path_that_was_mended(lab: Lab) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    look = lab.server.getport(lab.bob, NLM, 0)
    lab.world.wait(25)
    lab.bob.wait_for(db, 2, reply="GRANTED")
    lab.bob.unlock(db, 2)
    lab.alice.lock(db, 1)
    lab.world.wait(60)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    (row,) = callback_paths(view(lab)).rows
    assert row["path"] == "callbacks arrive"
    assert row["last_bad_frame"] == look.reply_frame < row["last_good_frame"]


def test_the_newest_wall_is_told_and_times_of_both_kinds(lab: Lab) -> None:
    db = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    lab.bob.unlock(db, 2)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, reply=None)
    lab.later(20)
    (row,) = callback_paths(view(lab)).rows
    assert row["last_good_time"] < row["last_bad_time"]
    assert row["path"] == "the last callback was not answered"
    assert (row["accepted"], row["unanswered"]) == (1, 1)


def test_nobody_waits(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    sheet = callback_paths(view(lab))
    assert sheet.rows == []
    assert sheet.none.startswith("Nobody waited")


def test_filters_choose(lab: Lab) -> None:
    waiting(lab)
    assert callback_paths(view(lab, client="alice")).rows == []
    assert len(callback_paths(view(lab, client="bob")).rows) == 1
