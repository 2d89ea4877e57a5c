"""Many times at once are written as one time is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analyzer.render import digits
from analyzer.render.times import SECOND, rfc3339

EDGES = [
    0,
    1,
    999,
    1000,
    999_999_999,
    SECOND,
    10 * SECOND - 1,
    10 * SECOND,
    86_400 * SECOND - 1,
    86_400 * SECOND,
]
NS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([*EDGES, *(-edge for edge in EDGES)])


@given(st.lists(st.tuples(NS, st.booleans())))
def test_times(values: list[tuple[int, bool]]) -> None:
    ns, missing = _columns(values)
    expected = [None if gone else rfc3339(value) for value, gone in values]
    assert digits.times(ns, missing).to_pylist() == expected


@given(st.lists(st.tuples(NS.filter(lambda ns: ns > -(2**63)), st.booleans())))
def test_durations(values: list[tuple[int, bool]]) -> None:
    ns, missing = _columns(values)
    written = digits.durations(ns, missing).to_pylist()
    for text, (value, gone) in zip(written, values, strict=True):
        if gone:
            assert text is None
        else:
            whole, _, part = text.partition(".")
            assert len(part) == 9
            assert abs(int(whole)) * SECOND + int(part) == abs(value)
            assert text.startswith("-") == (value < 0)


def _columns(values: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([v for v, _ in values], np.int64), np.array([gone for _, gone in values], np.bool_)
