"""Every entry counts once, for one code."""

from __future__ import annotations

import pytest

from analyzer.score.expectations import Json
from analyzer.score.tally import Tally


def expectation(*entries: list[str], **changes: object) -> Json:
    return {
        "clean": False,
        "must": [{"any_of": codes} for codes in entries],
        "may": [],
        "never": [],
    } | changes


def finding(code: str, severity: str = "high") -> Json:
    about = dict.fromkeys(("server", "client", "peer", "export", "path"))
    return {"code": code, "severity": severity, "confidence": "definite", "frames": [1]} | about


@pytest.mark.parametrize(
    ("expected", "findings", "lines"),
    [
        (expectation(), [], []),
        (expectation(["a"]), ["a"], ["a 1 1 0 0"]),
        (expectation(["a"]), [], ["a 1 0 1 0"]),
        (expectation(["a"], ["a"]), ["a"], ["a 2 2 0 0"]),
        (expectation(["a", "b"]), ["b"], ["b 1 1 0 0"]),
        (expectation(["a", "b"]), ["b", "a"], ["a 1 1 0 0"]),
        (expectation(["b", "a"]), [], ["b 1 0 1 0"]),
        (expectation(["a"]), ["a", "c", "c"], ["a 1 1 0 0", "c 0 0 0 2"]),
        (expectation(["a"], never=["b"]), ["a", "b"], ["a 1 1 0 0", "b 0 0 0 1"]),
        (expectation(may=["c"]), ["c"], []),
    ],
)
def test_by_code(expected: Json, findings: list[str], lines: list[str]) -> None:
    tally = Tally()
    tally.take(expected, [finding(code) for code in findings])
    head, *shown = [" ".join(line.split()) for line in tally.lines()]
    assert head == "code must found missed false"
    assert shown == lines


def test_captures_add_up() -> None:
    tally = Tally()
    assert tally.recall == 1.0
    tally.take(expectation(["a"]), [finding("a")])
    tally.take(expectation(["a"], ["b"]), [finding("a")])
    assert tally.recall == pytest.approx(2 / 3)
    assert not tally.is_perfect


def test_a_false_alarm_alone_is_not_perfect() -> None:
    tally = Tally()
    tally.take(expectation(), [finding("a")])
    assert tally.recall == 1.0
    assert not tally.is_perfect
