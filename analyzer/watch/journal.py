"""Findings as events in a file: JSON, one object a line.

In: entries. Out: lines, each with `event` (`start`, `open`, `resolved`, `port`, `drops`, `end`) and `time`.

Theory. Lines are added to what the file holds, so that a service may be started again, and are there as soon
as they are written. A finding has the fields of `analyze --format json`, and its id is the same in both of
its events. `end` carries the counters, so that a reader knows that nothing more follows, and how much was
seen.

Never: rewrites a line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from analyzer.errors import AnalyzerError
from analyzer.render import document
from analyzer.render.clean import clean
from analyzer.render.times import rfc3339
from analyzer.render.view import View
from analyzer.watch.diary import Entry
from analyzer.watch.loop import Watch
from analyzer.watch.options import ALL

SCHEMA = "lockscope.events/1"


def event(entry: Entry) -> document.Json:
    """An entry as an event."""
    return {"event": entry.state, "time": rfc3339(entry.time)} | document.finding(entry.finding)


class Journal:
    """Writes events to a file."""

    def __init__(self, path: str, source: str, capture_filter: str = ALL) -> None:
        try:
            self._stream: IO[str] = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 (closed at the end)
        except OSError as error:
            raise AnalyzerError(f"{path}: {error.strerror}") from None
        self._ports = self._drops = 0  # told
        start = {"event": "start", "schema": SCHEMA, "time": rfc3339(time.time_ns())}
        self._write(start | {"source": clean(source), "filter": capture_filter})

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:
        """Write these, and the end when it has come."""
        for entry in entries:
            self._write(event(entry))
        self._capture(watch)
        if watch.analysis is not None:
            view = View(watch.analysis)
            end = {"event": "end", "time": rfc3339(watch.now)}
            self._write(end | {"health": document.health(view), "counts": document.counts(view)})
            self._stream.close()

    def _capture(self, watch: Watch) -> None:
        """What is new about the capture itself."""
        now = rfc3339(watch.now)
        if watch.ports is not None:
            for port in watch.ports.learnt[self._ports :]:
                known = {"port": port.number, "program": port.program, "host": port.host}
                self._write({"event": "port", "time": now} | known)
            self._ports = len(watch.ports.learnt)
        if watch.drops > self._drops:
            self._drops = watch.drops
            self._write({"event": "drops", "time": now, "dropped": self._drops})

    def _write(self, line: document.Json) -> None:
        self._stream.write(document.line(line))
        self._stream.flush()
