"""Bounded lists, and that what they drop is told."""

from pathlib import Path

from analyzer.engine import Engine, analyze
from analyzer.sessions.kept import Kept


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
    assert engine.health().faults == {"state_evicted": 25}


def test_an_ordinary_capture_drops_nothing() -> None:
    capture = Path(__file__).parents[2] / "captures" / "lab" / "clean_contention.pcap"
    assert analyze([str(capture)], compiled=False).health.faults == {}
