"""The scorer's command line: what it prints, and its statuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from analyzer.score.__main__ import main
from tests.expectations import CAPTURES

CAPTURE = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One labelled capture."""
    shutil.copy(CAPTURE, tmp_path)
    shutil.copy(CAPTURE.with_suffix(".expect.json"), tmp_path)
    return tmp_path


def change(folder: Path, **changes: object) -> None:
    path = folder / "umnt_unlock_dropped.expect.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_all_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    head, *codes, verdict = capsys.readouterr().out.splitlines()
    assert head.split() == ["code", "must", "found", "missed", "false"]
    assert codes
    assert verdict.startswith("captures: 1, recall: 1.000 (")
    assert verdict.endswith(", false alarms: 0")


def test_a_folder_named_twice_counts_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("captures: 1,")


def test_a_miss(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, must=[{"any_of": ["deadlock"]}], may=["unlock-unanswered"])
    assert main([str(folder)]) == 1
    output = capsys.readouterr().out
    assert "must[0] is not met: any_of=['deadlock']" in output
    assert "recall: 0.000 (0 of 1)" in output


def test_a_false_alarm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, must=[], never=["unlock-unanswered"])
    assert main([str(folder)]) == 1
    output = capsys.readouterr().out
    assert "never right here: code=unlock-unanswered" in output
    assert "recall: 1.000 (0 of 0)" in output


def test_no_folder() -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


@pytest.mark.parametrize("damage", ["no folder", "empty", "no expectation", "no capture"])
def test_wrong_use_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    where = folder
    if damage == "no folder":
        where = folder / "gone"
    elif damage == "empty":
        where = folder / "new"
        where.mkdir()
    elif damage == "no expectation":
        (folder / "umnt_unlock_dropped.expect.json").write_text("[]")
    else:
        (folder / "umnt_unlock_dropped.pcap").write_text("this is no capture")
    assert main([str(where)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("score: ")
