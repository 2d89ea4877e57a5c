"""What is kept of what was put in lately."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzer.sessions.lately import Lately


@given(st.lists(st.integers(0, 20), max_size=80), st.integers(1, 6))
def test_the_last_ones_are_known(keys: list[int], least: int) -> None:
    kept: Lately[int, int] = Lately()
    for number, key in enumerate(keys):
        kept.new[key] = number
        kept.turn(least)
        assert len(kept.new | kept.old) <= 2 * least
    last = {key: number for number, key in enumerate(keys)}
    latest = sorted(last, key=last.__getitem__)[-least:]
    assert {key: kept.find(key) for key in latest} == {key: last[key] for key in latest}
    assert kept.forgot or len(kept.new | kept.old) == len(last)
    assert all(kept.find(key) in (last.get(key), None) for key in range(21))
