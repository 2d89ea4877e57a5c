"""The reports of the labelled captures are what lockscope says today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import regen
from tests.expectations import expectations


@pytest.mark.parametrize(("name", "capture"), expectations().items(), ids=expectations())
def test_report_is_up_to_date(name: str, capture: Path) -> None:
    text, document = regen.report(capture)
    assert (regen.REPORTS / f"{name}.txt").read_text(encoding="utf-8") == text, "run python -m tests.regen"
    assert (regen.REPORTS / f"{name}.json").read_text(encoding="utf-8") == document


def test_nothing_else_is_there() -> None:
    assert regen.strays() == []


def test_reports_name_no_place_outside_the_project() -> None:
    for name in expectations():
        document = json.loads((regen.REPORTS / f"{name}.json").read_text())
        assert all(capture["path"].startswith("captures/") for capture in document["captures"])


def test_check_says_what_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regen, "ROOT", tmp_path)
    (tmp_path / "a").write_text("old")
    wanted = [(tmp_path / "a", "new"), (tmp_path / "b", "new")]
    assert regen.stale(iter(wanted)) == ["a", "b"]
    (tmp_path / "a").write_text("new")
    assert regen.stale(iter(wanted)) == ["b"]
