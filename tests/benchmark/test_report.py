"""The report: the ratio of medians, and that different counts are said."""

from __future__ import annotations

from analyzer.benchmark import report
from analyzer.benchmark.measure import Run


def test_the_ratio_is_that_of_the_medians() -> None:
    ours = [Run(wall, wall / 2, 50_000_000, 8652) for wall in (1.0, 9.0, 2.0)]
    theirs = [Run(wall, wall, 700_000_000, 8652) for wall in (20.0, 10.0, 90.0)]
    text = report.table("metadata", {"lockscope": ours, "tshark": theirs})
    ratio = next(line for line in text.splitlines() if line.startswith("  ratio"))
    assert ratio.split() == ["ratio", "10.0", "x", "20.0", "x"]
    assert "2.00 (1.00 - 9.00)" in text
    assert "calls counted: 8,652" in text


def test_different_counts_are_said() -> None:
    text = report.table("bulk", {"lockscope": [Run(1, 1, 1, 5)], "tshark": [Run(1, 1, 1, 8652)]})
    assert "counts of calls differ" in text
    assert "lockscope 5, tshark 8,652" in text


def test_alone_there_is_no_ratio() -> None:
    text = report.table("bulk", {"lockscope": [Run(1, 1, 1, 5)]})
    assert "ratio" not in text
    assert "calls counted: 5" in text
