"""The benchmark's command line: arguments, statuses, captures kept for the next time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from analyzer.benchmark import __main__ as benchmark
from analyzer.benchmark.measure import CommandFailed, Program, Run

SMALL = ("--requests", "1000")
COUNTED = {"lockscope": 5, "decoding": 5, "tshark": 5}


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Program], int]]:
    """Both programs there, neither run: what would have been is noted."""
    asked: list[tuple[dict[str, Program], int]] = []

    def in_turn(programs: dict[str, Program], runs: int) -> dict[str, list[Run]]:
        asked.append((programs, runs))
        return {name: [Run(1.0, 1.0, 1, COUNTED[name])] * runs for name in programs}

    monkeypatch.setattr(benchmark, "in_turn", in_turn)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return asked


def _run(tmp_path: Path, *arguments: str) -> int:
    return benchmark.main(
        ["--dir", str(tmp_path / "d"), "--packets", "1000", "--megabytes", "1", *SMALL, *arguments]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--packets", "999"],
        ["--packets", "-1"],
        ["--packets", "many"],
        ["--megabytes", "0"],
        ["--runs", "0"],
        ["neither"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "loads"),
    [
        ([], ["metadata", "bulk", "metadata", "locks"]),
        (["all"], ["metadata", "bulk", "metadata", "locks"]),
        (["bulk"], ["bulk"]),
        (["export"], ["metadata"]),
        (["locks"], ["locks"]),
    ],
)
def test_the_loads(tmp_path: Path, both: Any, arguments: list[str], loads: list[str]) -> None:
    assert _run(tmp_path, "--runs", "2", *arguments) == 0
    captures = [[program.command[-1] for program in programs.values()] for programs, _ in both]
    assert [Path(ours).name.split("-")[0] for ours, *_ in captures] == loads
    assert all(len(set(same)) == 1 for same in captures)
    assert [list(programs) for programs, _ in both if len(programs) > 2] == [
        ["lockscope", "decoding", "tshark"] for load in loads if load == "locks"
    ]
    assert {runs for _, runs in both} == {2}


def test_captures_are_kept(tmp_path: Path, both: Any) -> None:
    _run(tmp_path, "metadata")
    (kept,) = (tmp_path / "d").iterdir()
    made = kept.stat().st_mtime_ns
    _run(tmp_path, "metadata")
    assert kept.stat().st_mtime_ns == made
    _run(tmp_path, "metadata", "--packets", "1200")
    assert len(list((tmp_path / "d").iterdir())) == 2


def test_without_tshark_it_says_so(
    tmp_path: Path, both: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert _run(tmp_path, "metadata") == 0
    assert "tshark is not installed" in capsys.readouterr().out
    assert list(both[0][0]) == ["lockscope"]


def test_different_counts_end_with_status_1(
    tmp_path: Path, both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COUNTED, "lockscope", 6)
    assert _run(tmp_path, "metadata") == 1


def test_a_failed_program_ends_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> dict[str, list[Run]]:
        raise CommandFailed("tshark ended with status 1: no such file")

    monkeypatch.setattr(benchmark, "in_turn", fails)
    assert _run(tmp_path, "metadata") == 2
    assert capsys.readouterr().err == "benchmark: tshark ended with status 1: no such file\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d").write_text("a file")
    assert _run(tmp_path, "metadata") == 2
    assert capsys.readouterr().err.startswith("benchmark: ")


def test_lockscope_and_tshark_count_the_same(
    tmp_path: Path, tshark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real thing, small."""
    assert _run(tmp_path, "--runs", "1") == 0, capsys.readouterr()
    assert capsys.readouterr().out.count("calls counted: ") == 4
