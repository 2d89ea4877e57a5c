"""As long as both ledgers say the same they are one page, and nobody can tell."""

from __future__ import annotations

import pytest

from analyzer.engine import analyze
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import File, Lock
from analyzer.sessions.ranges import Page
from tests.expectations import expectations
from tests.findings.lab import Lab

SMALL = 60_000
CAPTURES = {name: path for name, path in expectations().items() if path.stat().st_size < SMALL}


def _two_pages(file: File) -> None:
    file.believed = Page()


def _told(ledger: Ledger) -> list[object]:
    """All that both ledgers say."""
    locks = [(lock.number, lock.server_end, lock.client_end) for lock in ledger.locks]
    pages = [
        [(owner.key, file.held.of(owner), file.believed.of(owner)) for owner in ledger.owners.values()]
        for file in ledger.files.values()
    ]
    return [
        locks,
        [
            [(key, _numbered(held), _numbered(believed)) for key, held, believed in page if held or believed]
            for page in pages
        ],
    ]


def _numbered(pieces: list[tuple[int, int, Lock]]) -> list[tuple[int, int, int]]:
    return [(start, end, lock.number) for start, end, lock in pieces]


@pytest.mark.parametrize("name", CAPTURES)
def test_one_page_or_two(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _told(analyze([str(CAPTURES[name])]).sessions.ledger)
    monkeypatch.setattr(File, "__post_init__", _two_pages)
    monkeypatch.setattr(File, "join", lambda _: None)
    assert _told(analyze([str(CAPTURES[name])]).sessions.ledger) == one


def _pages(lab: Lab) -> File:
    (file,) = lab.world.analyze().sessions.ledger.files.values()
    return file


def test_ledgers_that_agree_are_one_page(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 10)
    lab.bob.lock(db, 2, 20, 10)
    lab.alice.unlock(db, 1, 0, 10)
    file = _pages(lab)
    assert file.believed is file.held
    assert len(file.held.owners) == 1


def test_they_part_where_one_changes_alone_and_join_when_both_are_empty(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.lock(db, 2)  # the server gave it away
    file = _pages(lab)
    assert file.believed is not file.held
    assert (len(file.held.owners), len(file.believed.owners)) == (1, 2)
    lab.alice.unlock(db, 1)
    lab.bob.unlock(db, 2)
    lab.bob.lock(db, 2)
    file = _pages(lab)
    assert file.believed is file.held


def test_what_another_host_unlocks_the_client_still_believes_in(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.mallory)
    lab.alice.lock(db, 1)
    lab.mallory.unlock(db, 1, caller_name="alice", oh=b"1@alice")
    (file,) = lab.world.analyze(server_model="strict").sessions.ledger.files.values()
    assert (len(file.held.owners), len(file.believed.owners)) == (0, 1)
