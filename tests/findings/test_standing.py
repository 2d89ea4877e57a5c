"""What stands at the end: who waits behind which lock."""

from typing import Any

import pytest

from analyzer.findings.standing import waiting_behind
from analyzer.sessions.ranges import Page
from tests.findings.lab import Lab
from tests.sessions.view import View


def test_a_wait_is_behind_the_locks_in_its_way_and_no_others(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, 0, 100)
    lab.alice.unlock(db, 1, 40, 20)
    lab.carol.lock(db, 2, 45, 5, exclusive=False)
    lab.bob.wait_for(db, 3, 41, 10)
    lab.bob.wait_for(db, 4, 45, 20)
    lab.bob.wait_for(db, 5, 45, 5, exclusive=False)
    lab.bob.wait_for(db, 6, 90, 5, exclusive=False)
    lab.bob.wait_for(db, 7, 10, 5)
    lab.bob.cancel(db, 7, 10, 5)
    behind = waiting_behind(View(lab).s)
    found = {lock.owner.svid: [wait.owner.svid for wait in waits] for lock, waits in behind.items()}
    assert found == {1: [4, 6], 2: [3, 4]}


def test_locks_are_not_compared_with_every_wait(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for svid in range(20):
        lab.alice.lock(db, svid, 10 * svid, 5)
    for svid in range(4):
        lab.bob.wait_for(db, svid, 10 * svid, 5)
    lab.bob.cancel(db, 3, 30, 5)
    s = View(lab).s
    asked = []
    conflicts = Page.conflicts

    def counted(self: Page[Any], *about: Any) -> list[Any]:
        asked.append(about)
        return conflicts(self, *about)

    monkeypatch.setattr(Page, "conflicts", counted)
    assert [len(waits) for waits in waiting_behind(s).values()] == [1, 1, 1]
    assert len(asked) == 3
