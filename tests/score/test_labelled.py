"""Captures and expectations on disk find each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import AnalyzerError
from analyzer.score.labelled import ENDINGS, expectation, findings_of, pairs
from tests.expectations import CAPTURES

GOOD: dict[str, Any] = {"clean": False, "must": [{"any_of": ["umnt-lost"]}], "may": [], "never": []}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_capture_stands_beside_its_expectation(tmp_path: Path, ending: str) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "a.b.expect.json").write_text("{}")
    (below / f"a.b{ending}").write_bytes(b"")
    (below / f"other{ending}").write_bytes(b"")
    assert pairs(tmp_path) == {below / "a.b.expect.json": below / f"a.b{ending}"}


def test_all_of_the_project_are_found() -> None:
    assert set(pairs(CAPTURES)) == set(CAPTURES.rglob("*.expect.json"))


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "no .expect.json"),
        (["a.pcap"], "no .expect.json"),
        (["a.expect.json", "b.pcap"], "no capture beside"),
    ],
)
def test_a_folder_that_cannot_be_scored(tmp_path: Path, files: list[str], complaint: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(AnalyzerError, match=complaint):
        pairs(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "\xff",
        "{}",
        GOOD | {"clean": "yes"},
        GOOD | {"must": [{}]},
        GOOD | {"must": [{"any_of": []}]},
        GOOD | {"must": [{"any_of": "umnt-lost"}]},
        GOOD | {"must": [{"any_of": ["umnt-lost"], "min_confidence": "certain"}]},
        GOOD | {"may": "umnt-lost"},
        {key: GOOD[key] for key in ("clean", "must", "may")},
    ],
    ids=str,
)
def test_what_is_no_expectation(tmp_path: Path, said: Any) -> None:
    path = tmp_path / "a.expect.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said), encoding="latin-1")
    with pytest.raises(AnalyzerError, match="is no expectation"):
        expectation(path)


def test_an_expectation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.expect.json"
    path.write_text(json.dumps(GOOD))
    assert expectation(path) == GOOD


def test_findings_are_those_of_the_json_document() -> None:
    (found,) = [
        f for f in findings_of(CAPTURES / "lab" / "umnt_unlock_dropped.pcap") if f["severity"] == "high"
    ][:1]
    assert found["confidence"] == "probable"
