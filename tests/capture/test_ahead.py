"""The beginning of a capture is asked for, whatever it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.capture.ahead import AHEAD, ask_ahead


@pytest.mark.parametrize("works", [True, False])
def test_a_file_is_asked_for(works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def advise(_file: int, offset: int, size: int, _advice: int) -> None:
        asked.append((offset, size))
        if not works:
            raise OSError

    monkeypatch.setattr(os, "posix_fadvise", advise)
    path = tmp_path / "capture"
    path.write_bytes(b"x")
    ask_ahead(str(path))
    assert asked == [(0, AHEAD)]


@pytest.mark.parametrize("what", ["pipe", "directory", "nothing", "-"])
def test_nothing_else_is_opened(what: str, tmp_path: Path) -> None:
    """Who opens a pipe waits for its writer."""
    path = tmp_path / what
    if what == "pipe":
        os.mkfifo(path)
    if what == "directory":
        path.mkdir()
    ask_ahead("-" if what == "-" else str(path))


def test_what_asks_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, analyzer.cli; print('numpy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
