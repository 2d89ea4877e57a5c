"""Each rule of the expectations, shown by a case that would come out otherwise without it."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.score.expectations import Json, codes_of, false_alarms, meets, shortcomings, unmet

ENTRY: Json = {"any_of": ["lock-held-after-umnt", "export-pinned-by-locks"]}


def finding(**changes: Any) -> Json:
    """A finding that is right in all respects, but for `changes`."""
    return {
        "code": "lock-held-after-umnt",
        "severity": "high",
        "confidence": "probable",
        "server": "10.0.0.1",
        "client": "10.0.0.2",
        "peer": "10.0.0.3",
        "export": "/export",
        "path": "/export/dir/a.dat",
        "frames": [3, 5, 8],
    } | changes


def expectation(**changes: Any) -> Json:
    """An expectation that asks for nothing, but for `changes`."""
    return {"clean": False, "must": [], "may": [], "never": []} | changes


@pytest.mark.parametrize(
    ("entry", "changes", "met"),
    [
        ({}, {}, True),
        ({}, {"code": "export-pinned-by-locks"}, True),
        ({}, {"code": "umnt-lost"}, False),
        ({"server": "10.0.0.1"}, {}, True),
        ({"server": "10.0.0.1"}, {"server": "10.0.0.9"}, False),
        ({"server": "10.0.0.1"}, {"server": None}, False),
        ({"client": "10.0.0.2"}, {"client": "10.0.0.9"}, False),
        ({"client": "10.0.0.2"}, {"client": "10.0.0.22"}, False),
        ({"client": ["10.0.0.9", "10.0.0.2"]}, {}, True),
        ({"client": ["10.0.0.9", "10.0.0.8"]}, {}, False),
        ({"peer": "10.0.0.3"}, {"peer": "10.0.0.9"}, False),
        ({"export": "/export"}, {"export": "/export2"}, False),
        ({"path": "a.dat"}, {}, True),
        ({"path": "a.dat"}, {"path": ".../a.dat"}, True),
        ({"path": "a.dat"}, {"path": "/export/a.dat.old"}, False),
        ({"path": "a.dat"}, {"path": None}, False),
        ({"frames": [8, 9]}, {}, True),
        ({"frames": [4, 9]}, {}, False),
        ({"frames": [3]}, {"frames": []}, False),
        ({"min_confidence": "definite"}, {}, False),
        ({"min_confidence": "probable"}, {}, True),
        ({"min_confidence": "probable"}, {"confidence": "possible"}, False),
        ({"min_confidence": "possible"}, {"confidence": "definite"}, True),
        ({"server": "10.0.0.1", "client": "10.0.0.2", "path": "a.dat", "frames": [3]}, {}, True),
        ({"server": "10.0.0.1", "client": "10.0.0.2", "path": "b.dat", "frames": [3]}, {}, False),
    ],
)
def test_meets(entry: Json, changes: Json, met: bool) -> None:
    assert meets(ENTRY | entry, finding(**changes)) is met


def test_one_finding_may_meet_several_entries() -> None:
    expected = expectation(must=[ENTRY | {"client": "10.0.0.2"}, ENTRY | {"path": "a.dat"}])
    assert shortcomings(expected, [finding()]) == []


def test_other_findings_do_not_unmeet_an_entry() -> None:
    assert (
        unmet(expectation(must=[ENTRY]), [finding(code="umnt-lost"), finding(), finding(client=None)]) == []
    )


def test_the_unmet_entry_is_named() -> None:
    expected = expectation(must=[ENTRY | {"client": "10.0.0.2"}, ENTRY | {"client": "10.0.0.7"}])
    (line,) = unmet(expected, [finding()])
    assert line.startswith("must[1]")
    assert "10.0.0.7" in line


def test_an_entry_is_met_by_one_finding_not_by_two_halves() -> None:
    expected = expectation(must=[ENTRY | {"client": "10.0.0.2", "path": "a.dat"}])
    halves = [finding(client="10.0.0.9"), finding(path="/export/b")]
    assert len(unmet(expected, halves)) == 1


@pytest.mark.parametrize(
    ("expected", "severity", "alarm"),
    [
        (expectation(), "info", False),
        (expectation(), "low", False),
        (expectation(), "medium", True),
        (expectation(), "high", True),
        (expectation(), "critical", True),
        (expectation(may=["lock-held-after-umnt"]), "critical", False),
        (expectation(must=[ENTRY]), "critical", False),
        (expectation(never=["lock-held-after-umnt"]), "info", True),
        (expectation(never=["lock-held-after-umnt"], may=["lock-held-after-umnt"]), "info", True),
        (expectation(clean=True), "info", False),
        (expectation(clean=True), "low", True),
        (expectation(clean=True), "high", True),
        (expectation(clean=True, may=["lock-held-after-umnt"]), "high", False),
        (expectation(clean=True, must=[ENTRY]), "high", False),
        (expectation(clean=True, never=["lock-held-after-umnt"]), "info", True),
    ],
)
def test_false_alarm(expected: Json, severity: str, alarm: bool) -> None:
    assert bool(false_alarms(expected, [finding(severity=severity)])) is alarm


def test_a_may_covers_its_own_code_only() -> None:
    expected = expectation(may=["umnt-lost"])
    assert len(false_alarms(expected, [finding(), finding(code="umnt-lost")])) == 1


def test_shortcomings_are_both_kinds() -> None:
    expected = expectation(must=[ENTRY | {"client": "10.0.0.7"}], never=["umnt-lost"])
    assert len(shortcomings(expected, [finding(), finding(code="umnt-lost", severity="info")])) == 2


def test_codes_of() -> None:
    expected = expectation(must=[ENTRY, {"any_of": ["umnt-lost"]}], may=["mnt-unused"], never=["deadlock"])
    assert codes_of(expected) == {*ENTRY["any_of"], "umnt-lost", "mnt-unused", "deadlock"}
