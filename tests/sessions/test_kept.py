"""Bounded lists, and that what they drop is told."""

from pathlib import Path

import pytest

from analyzer.engine import Engine, analyze
from analyzer.sessions.kept import Kept
from analyzer.sessions.ranges import Page
from tests.findings.lab import Lab


def test_the_first_are_kept_and_the_rest_counted() -> None:
    kept: Kept[int] = Kept(3)
    for number in range(5):
        kept.append(number)
    assert kept == [0, 1, 2]
    assert kept.dropped == 2


def test_what_is_dropped_anywhere_is_told() -> None:
    engine = Engine(False)
    assert engine.sessions.evicted() == 0
    engine.sessions.connections.unreachable.dropped = 3
    engine.sessions.reboots.evicted = 4
    engine.sessions.mounts.dumps.dropped = 5
    engine.sessions.circles.dropped = 6
    engine.sessions.pace.denied.bursts.dropped = 7
    engine.sessions.fates.seen.dropped = 8
    engine.sessions.intrusions.found.dropped = 9
    engine.sessions.shares.past.dropped = 10
    assert engine.health().faults == {"state_evicted": 52}


def test_an_ordinary_capture_drops_nothing() -> None:
    capture = Path(__file__).parents[2] / "captures" / "lab" / "clean_contention.pcap"
    assert analyze([str(capture)], compiled=False).health.faults == {}


def test_locks_of_a_file_are_not_looked_through_when_no_fate_is_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(3):
        lab.alice.lock(db, svid, 10 * svid, 5)
        lab.alice.lock(db, 9, 90, 5, reply="STALE_FH")
    s = lab.world.analyze().sessions
    file, known = s.ledger.locks[0].file, list(s.fates.seen)
    assert [fate.lock.number for fate in known] == [1, 1, 2, 1, 2, 3]
    refused = next(one for one in s.operations.open.values() if one.status == 7)
    s.fates.seen.limit = len(known)
    s.fates.forget(s.end + 1)
    monkeypatch.setattr(Page, "__iter__", None)
    s.fates.refused(refused, refused.answers[0])
    assert file.held
    assert s.fates.seen == known
    assert s.fates.seen.dropped == 1


def test_that_a_file_is_not_known_is_news_once_unless_it_is_locked_again_or_forgotten(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(2):
        lab.alice.lock(db, svid, 10 * svid, 5)
        for _ in range(3):
            lab.alice.lock(db, 9, 90, 5, reply="STALE_FH")
            lab.alice.nfs("GETATTR", db, status=70)
    s = lab.world.analyze().sessions
    told = [(fate.lock.number, fate.how) for fate in s.fates.seen]
    assert sorted(told) == sorted([(1, "unknown"), (1, "stale")] * 2 + [(2, "unknown"), (2, "stale")])
    assert len(s.fates.stale_calls) == 6
    refused = next(one for one in s.operations.open.values() if one.status == 7)
    s.fates.forget(refused.answers[0].time)
    s.fates.refused(refused, refused.answers[0])
    assert len(s.fates.seen) == len(told)
    s.fates.forget(s.end + 1)
    s.fates.refused(refused, refused.answers[0])
    assert len(s.fates.seen) == len(told) + 2
