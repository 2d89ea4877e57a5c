"""`lockscope live` as a process on a wire.

In: a `Wire`, a folder. Out: what it says there: events, lines, tables.

Never: waits without end.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from analyzer.render.document import Json
from tests.watch.wire import FAR, Wire, wait_for


class Live:
    """`lockscope live` on the far end."""

    def __init__(self, wire: Wire, folder: Path, *options: str) -> None:
        self.events = folder / "events.jsonl"
        self.tables = folder / "tables"
        self.out, self.err = folder / "out", folder / "err"
        before = wire.capturing()
        self.process = wire.start(
            sys.executable,
            *("-m", "analyzer", "live", "-i", FAR, "--jsonl", str(self.events), "--export", str(self.tables)),
            *options,
            stdout=self.out.open("w"),
            stderr=self.err.open("w"),
        )
        wait_for(lambda: self.process.poll() is not None or wire.capturing() > before, 90)
        time.sleep(0.2)

    def child(self) -> int:
        """The capture program."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(path.read_text().split()[0])

    def said(self, event: str) -> list[Json]:
        """The events of a kind."""
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def end(self, number: int | None = signal.SIGINT) -> int:
        """Ask it to end, or wait until it does; the exit status."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(30)
