"""A ring of capture files, that a live run follows and evidence is taken from.

In: a folder in which dumpcap writes files, the oldest of which it removes. Out: their bytes as one stream; an
index of which frame each file begins with; the frames of a finding that was told.

Theory. dumpcap writes, and keeps the bound; we read behind it, so there is one capture, with one numbering
of frames, and what is analysed is what is kept. A file is read to its end when the next one has begun. pcapng
may hold many sections, so the files one after the other are a capture, too. When somebody wants the frames of
a finding, the index says in which files they are, if the ring still has them.

Never: removes a capture, but those of the run before the last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from analyzer.errors import AnalyzerError
from analyzer.findings.rule import Confidence, Finding, Severity
from analyzer.render.reread import Frame, reread
from analyzer.watch.pump import Begun

FILES = 16
INDEX, EVENTS, BASE = "lockscope-ring.json", "lockscope-events.jsonl", "lockscope.pcapng"
PREVIOUS = "previous"
SCHEMA = "lockscope.ring/1"
PAUSE = 0.05  # seconds until a file is looked at again
OURS = ("lockscope_*.pcapng", INDEX, EVENTS)


def prepared(folder: str) -> Path:
    """The folder of a ring, empty; what the last run left is put aside."""
    path = Path(folder)
    try:
        before = path / PREVIOUS
        before.mkdir(parents=True, exist_ok=True)
        if any(path.glob(OURS[0])):
            for old in (one for pattern in OURS for one in before.glob(pattern)):
                old.unlink()
            for one in [one for pattern in OURS for one in path.glob(pattern)]:
                one.rename(before / one.name)
    except OSError as error:
        raise AnalyzerError(f"{folder}: {error.strerror}") from None
    return path


def options(folder: Path, size: float) -> list[str]:
    """What dumpcap is told to make a ring of so many megabytes."""
    part = max(1, round(size * 1000 / FILES))
    return ["-b", f"filesize:{part}", "-b", f"files:{FILES}", "-w", str(folder / BASE)]


class Followed:
    """The files of a ring, read while they are written."""

    def __init__(self, folder: Path, begun: Begun, writing: Callable[[], bool]) -> None:
        self.path = str(folder)
        self.damage: str | None = None
        self.cut_short = False
        self._folder = folder
        self._begun = begun
        self._writing = writing
        self._file: IO[bytes] | None = None
        self._name = ""
        self._given = 0

    def readinto(self, view: memoryview) -> int:
        """What was written since, 0 when no more will be."""
        while True:
            writing = self._writing()  # asked first: what is there afterwards was written before
            following = self._next()
            count = self._file.readinto(view) if self._file is not None else 0  # type: ignore[attr-defined]
            if count:
                self._given += count
                return int(count)
            if following is not None:
                self._open(following)
            elif not writing:
                return 0
            else:
                time.sleep(PAUSE)

    def _next(self) -> Path | None:
        """The file after the one that is read."""
        return min((one for one in self._folder.glob(OURS[0]) if one.name > self._name), default=None)

    def _open(self, path: Path) -> None:
        if self._file is not None:
            self._file.close()
        self._name = path.name
        self._begun.append((self._given, path.name))
        self._file = None
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            self.damage = "the ring came round before it was read: packets are missing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class Index:
    """Which frame each file of a ring begins with, on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def begin(self, name: str, frame: int) -> None:
        """A file begins."""
        self._files[name] = frame
        self._files = {one: first for one, first in self._files.items() if (self._folder / one).exists()}
        text = json.dumps({"schema": SCHEMA, "files": self._files}, indent=1)
        with suppress(OSError):  # a full disk: dumpcap says so
            (self._folder / INDEX).write_text(text)


def recorded(captures: Sequence[str], finding: str | None) -> tuple[list[Frame], list[Finding]] | None:
    """The frames of a finding that a live run told, from its ring; None where this is no ring, or no such."""
    folder = Path(captures[0])
    if len(captures) != 1 or not (folder / INDEX).is_file() or not (folder / EVENTS).is_file():
        return None
    told = [event for event in _events(folder) if event.get("id") == finding and event.get("event") == "open"]
    if not told:
        return None
    found = _finding(told[-1])
    files: dict[str, int] = json.loads((folder / INDEX).read_text())["files"]
    starts = sorted((first, name) for name, first in files.items() if (folder / name).exists())
    frames: list[Frame] = []
    for at, (first, name) in enumerate(starts):
        until = starts[at + 1][0] if at + 1 < len(starts) else 2**62
        wanted = {number - first + 1 for number in found.frames if first <= number < until}
        for frame in reread([str(folder / name)], wanted) if wanted else ():
            frame.number += first - 1
            frames.append(frame)
    if not frames:
        raise AnalyzerError(f"{folder}: the ring no longer holds the frames of {finding}")
    return frames, [found]


def _events(folder: Path) -> list[dict[str, Any]]:
    events = []
    for line in (folder / EVENTS).read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line that a full disk cut short
            events.append(json.loads(line))
    return events


def _finding(event: dict[str, Any]) -> Finding:
    """As much of a finding as evidence needs."""
    return Finding(
        **{name: event[name] for name in ("id", "code", "family", "server", "client", "peer", "export")},
        **{name: event[name] for name in ("path", "fh", "count", "message", "remedy")},
        severity=Severity[event["severity"].upper()],
        confidence=Confidence[event["confidence"].upper()],
        owner=None,
        range=None,
        first_time=0,
        last_time=0,
        frames=tuple(event["frames"]),
    )
