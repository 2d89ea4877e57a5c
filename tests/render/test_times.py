"""Times as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import AnalyzerError
from analyzer.render.times import SECOND, clock, parse, period, rfc3339, span

NOON = 1_700_049_600  # 2023-11-15T12:00:00Z


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (NOON * SECOND + 7, "2023-11-15T12:00:00.000000007Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_rfc3339(ns: int, text: str) -> None:
    assert rfc3339(ns) == text


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_is_read_back(ns: int) -> None:
    assert parse(rfc3339(ns)).at(123) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-15T12:00:00Z", NOON * SECOND),
        ("2023-11-15 12:00:00", NOON * SECOND),
        ("2023-11-15t12:00z", NOON * SECOND),
        ("2023-11-15T13:00:00.5+01:00", NOON * SECOND + SECOND // 2),
        ("2023-11-15T11:00:00-0100", NOON * SECOND),
        ("2023-11-15", (NOON - 43200) * SECOND),
        ("+12.5", 100 * SECOND + 12 * SECOND + SECOND // 2),
        ("+0", 100 * SECOND),
        (" +1 ", 101 * SECOND),
    ],
)
def test_parse(text: str, ns: int) -> None:
    assert parse(text).at(100 * SECOND) == ns


@pytest.mark.parametrize(
    "text", ["", "now", "12:00", "+", "-5", "+1e3", "2023-13-01", "2023-11-15T25:00Z", "1700049600"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(AnalyzerError, match="RFC 3339"):
        parse(text)


@pytest.mark.parametrize(
    ("ns", "text"),
    [(1_500_000, "1.5 ms"), (12 * SECOND, "12.0 s"), (660 * SECOND, "11 min"), (7260 * SECOND, "2 h 1 min")],
)
def test_span(ns: int, text: str) -> None:
    assert span(ns) == text


def test_the_day_is_said_once() -> None:
    assert clock(NOON * SECOND) == "2023-11-15 12:00:00.000000"
    assert period(NOON * SECOND, NOON * SECOND + SECOND) == "2023-11-15 12:00:00.000000 to 12:00:01.000000"
    assert period(0, NOON * SECOND) == "1970-01-01 00:00:00.000000 to 2023-11-15 12:00:00.000000"
