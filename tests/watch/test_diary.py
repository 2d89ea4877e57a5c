"""A finding is told once, and resolved once, whatever happens to it in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyzer.findings.catalogue import Key
from analyzer.findings.rule import HIGH, PROBABLE, Finding
from analyzer.watch import diary
from analyzer.watch.diary import OPEN, PATIENCE, RESOLVED, Diary

SECOND = 1_000_000_000
A: Key = ("a-code", 1)
B: Key = ("a-code", 2)


def finding(number: int = 1, last: int = SECOND) -> Finding:
    nothing = dict.fromkeys(("server", "client", "peer", "export", "path", "fh", "owner", "range"))
    return Finding(
        id=f"a-code-{number}",
        code="a-code",
        family="leaks",
        severity=HIGH,
        confidence=PROBABLE,
        first_time=0,
        last_time=last,
        frames=(number,),
        count=1,
        message="",
        remedy="",
        **nothing,  # type: ignore[arg-type]
    )


def test_once_however_often_it_is_found() -> None:
    book = Diary()
    assert [e.state for e in book.note([(A, finding())], 0)] == [OPEN]
    assert book.note([(A, replace(finding(), count=2))], SECOND) == []
    assert [f.count for f in book.standing] == [2]


def test_it_keeps_the_id_under_which_it_was_told() -> None:
    book = Diary()
    book.note([(A, finding(1))], 0)
    book.note([(A, finding(7))], SECOND)
    assert [f.id for f in book.standing] == ["a-code-1"]
    gone = book.note([], SECOND) + book.note([], SECOND + PATIENCE)
    assert [(e.state, e.finding.id, e.finding.frames) for e in gone] == [(RESOLVED, "a-code-1", (7,))]


def test_a_moment_without_it_is_nothing() -> None:
    book = Diary()
    book.note([(A, finding())], 0)
    assert book.note([], SECOND) == []
    assert book.note([(A, finding())], SECOND + PATIENCE - 1) == []
    assert book.note([], SECOND + PATIENCE) == [], "the patience begins anew"
    assert book.standing


def test_after_it_was_resolved_it_may_come_again() -> None:
    book = Diary()
    book.note([(A, finding())], 0)
    book.note([], 0)
    book.note([], PATIENCE)
    assert not book.standing
    assert [e.state for e in book.note([(A, finding())], 2 * PATIENCE)] == [OPEN]
    assert (book.opened, book.resolved) == (2, 1)


def test_what_is_merely_forgotten_is_not_resolved() -> None:
    book = Diary()
    book.note([(A, finding(1, last=SECOND)), (B, finding(2, last=9 * SECOND))], 10 * SECOND)
    gone = book.note([], 20 * SECOND, known_since=5 * SECOND, patience=0)
    assert [e.finding.id for e in gone] == ["a-code-2"]
    assert not book.standing


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diary, "MOST_OPEN", 1)
    book = Diary()
    assert len(book.note([(A, finding(1)), (B, finding(2))], 0)) == 1
    assert (len(book.standing), book.untold) == (1, 1)
