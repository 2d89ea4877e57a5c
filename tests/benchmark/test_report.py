"""The report: what is counted, the ratio of medians, and that different counts are said."""

from __future__ import annotations

import json

from analyzer.benchmark import report
from analyzer.benchmark.measure import Run

TSHARK = """
==========================================================
ONC-RPC Program Statistics:
Program    Version  Calls    Min SRT    Max SRT    Avg SRT
Portmap(100000)  2     24   0.000020   0.000020   0.000020
NFS(100003)      3   8440   0.000020   0.000020   0.000020
NLM(100021)      4    188   0.000020   0.000020   0.000020
===================================================================
"""


def _ours(**counts: int) -> str:
    zero = {"nfs": 0, "nlm": 0, "nsm": 0, "mount": 0, "portmap": 0, "by_procedure": {"NFS3 READ": 7}}
    return json.dumps({"counts": zero | counts})


def test_their_calls() -> None:
    assert report.their_calls(TSHARK) == 24 + 8440 + 188


def test_our_calls_counts_every_group_once() -> None:
    assert report.our_calls(_ours(nfs=1, nlm=20, nsm=300, mount=4000, portmap=50000)) == 54321


def test_the_ratio_is_that_of_the_medians() -> None:
    ours = [Run(wall, wall / 2, 50_000_000, _ours(nfs=8652)) for wall in (1.0, 9.0, 2.0)]
    theirs = [Run(wall, wall, 700_000_000, TSHARK) for wall in (20.0, 10.0, 90.0)]
    text = report.table("metadata", {"lockscope": ours, "tshark": theirs})
    ratio = next(line for line in text.splitlines() if line.startswith("  ratio"))
    assert ratio.split() == ["ratio", "10.0", "x", "20.0", "x"]
    assert "2.00 (1.00 - 9.00)" in text
    assert "calls counted: 8,652" in text


def test_different_counts_are_said() -> None:
    text = report.table("bulk", {"lockscope": [Run(1, 1, 1, _ours(nfs=5))], "tshark": [Run(1, 1, 1, TSHARK)]})
    assert "counts of calls differ" in text
    assert "lockscope 5, tshark 8,652" in text


def test_alone_there_is_no_ratio() -> None:
    text = report.table("bulk", {"lockscope": [Run(1, 1, 1, _ours(nfs=5))]})
    assert "ratio" not in text
    assert "calls counted: 5" in text
