"""Requests that wait for an answer, or for a copy of themselves."""

from __future__ import annotations

import pytest

from analyzer.sessions import operations
from tests.findings.lab import Lab

LOCKS = 10


def test_the_oldest_open_requests_make_room_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "OPEN_KEPT", 8)
    monkeypatch.setattr(operations, "EVICTED", 2)
    lab = Lab()
    file = lab.mounted(lab.alice)
    for number in range(LOCKS):
        lab.alice.lock(file, 100 + number)
        lab.alice.unlock(file, 100 + number)
    s = lab.world.analyze().sessions
    kept = list(s.operations.open)
    assert len(kept) == 2 * LOCKS - s.operations.evicted <= 8
    assert kept == sorted(kept)
    assert kept[-1] == s.ledger.locks[-1].unlock.order  # type: ignore[union-attr]
    assert s.ledger.locks[0].server_end is not None
