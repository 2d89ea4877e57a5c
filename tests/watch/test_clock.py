"""The clock of a capture: that of its packets, and then of the time that passes here."""

from __future__ import annotations

from analyzer.watch.clock import UNDER_WAY, Clock

SECOND = 1_000_000_000
THEN = 1_700_000_000 * SECOND


class Steady:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def test_it_does_not_run_before_the_first_packet() -> None:
    steady = Steady()
    clock = Clock(steady)
    steady.now += 60 * SECOND
    assert clock.now() == 0


def test_it_goes_on_at_our_pace_less_what_is_under_way() -> None:
    steady = Steady()
    clock = Clock(steady)
    clock.packets(THEN)
    assert clock.now() == THEN
    steady.now += UNDER_WAY
    assert clock.now() == THEN, "a packet sent meanwhile may still arrive"
    steady.now += 10 * SECOND
    assert clock.now() == THEN + 10 * SECOND


def test_a_newer_packet_sets_it_and_an_older_one_does_not() -> None:
    steady = Steady()
    clock = Clock(steady)
    clock.packets(THEN)
    steady.now += 10 * SECOND
    clock.packets(THEN - SECOND)
    assert clock.now() == THEN + 10 * SECOND - UNDER_WAY
    clock.packets(THEN + 3 * SECOND)
    assert clock.now() == THEN + 3 * SECOND, "the capture's clock is slower than ours"


def test_every_packet_starts_it_anew() -> None:
    steady = Steady()
    clock = Clock(steady)
    for second in range(10):
        clock.packets(THEN + second * SECOND)
        steady.now += SECOND
    assert clock.now() == THEN + 9 * SECOND + SECOND - UNDER_WAY
