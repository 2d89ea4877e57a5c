"""Supposing an end: it says what `analyze` says of the capture up to then, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.engine import analyze
from analyzer.findings.catalogue import evaluate, judge
from analyzer.findings.rule import Finding
from analyzer.sessions.supposed import as_if_over
from analyzer.sessions.world import Sessions
from tests.expectations import expectations
from tests.watch.stepped import Fed

SMALL = 120_000  # bytes; the larger ones show nothing that these do not
CAPTURES = {name: path for name, path in expectations().items() if path.stat().st_size < SMALL}
CUTS = 5


@pytest.mark.parametrize("name", CAPTURES)
def test_at_any_moment_it_is_what_analyze_says_of_the_capture_so_far(name: str, tmp_path: Path) -> None:
    fed = Fed(CAPTURES[name])
    begin, end = fed.stream.begin, fed.stream.end
    for cut in range(1, CUTS):
        prefix = tmp_path / f"{cut}.pcap"
        prefix.write_bytes(fed.until(begin + (end - begin) * cut // CUTS))
        s = fed.engine.sessions
        if not fed.engine.frames:
            continue
        before = _ledgers(s)
        fed.engine.tell()
        with as_if_over(s, s.end):
            supposed = evaluate(s)
        assert _ledgers(s) == before
        assert _told(supposed) == _told(analyze([str(prefix)], compiled=False).findings)


def _told(findings: list[Finding]) -> list[tuple[object, ...]]:
    """What is said; traffic is counted at a real end only."""
    return [
        (f.id, f.severity, f.confidence, f.frames, f.message) for f in findings if f.code != "network-loss"
    ]


def _ledgers(s: Sessions) -> list[object]:
    """Everything that an end changes."""
    return [
        (s.end, len(s.ledger.unlocks), s.ledger.unlocks.dropped),
        [(lock.server_end, lock.client_end) for lock in s.ledger.locks],
        [(wait.free_since, wait.freed_by, wait.tested, list(wait.frees)) for wait in s.ledger.waits],
        [
            (list(file.pending), [(owner, file.held.of(owner)) for owner in file.held.owners])
            for file in s.ledger.files.values()
        ],
    ]


def test_an_end_changes_something_at_all() -> None:
    """The near miss: what is compared above would differ if nothing was taken back."""
    fed = Fed(CAPTURES["lab/umnt_unlock_dropped"])
    fed.until(fed.stream.end - 1)
    s = fed.engine.sessions
    before = _ledgers(s)
    with as_if_over(s, s.end):
        assert _ledgers(s) != before


def test_what_an_open_window_may_take_back_is_not_said() -> None:
    fed = Fed(CAPTURES["lab/umnt_unlock_dropped"])
    fed.until(fed.stream.end)
    s = fed.engine.sessions
    with as_if_over(s, s.end):
        whole = {f.code for _, f in judge(s)}
        so_far = {f.code for _, f in judge(s, goes_on=True)}
    assert whole - so_far == {"lock-open-at-capture-end"}
    early = Fed(CAPTURES["lab/umnt_unlock_dropped"])
    early.until(early.stream.begin + 9_000_000_000)
    s = early.engine.sessions
    with as_if_over(s, s.end):
        assert not [f for _, f in judge(s, goes_on=True)]
