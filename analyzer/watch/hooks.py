"""A command of the user's, run for each finding.

In: entries. Out: a process for each, one after the other, with the event as JSON on its standard input.

Theory. What a capture holds is hostile, so nothing of it becomes an argument or passes a shell: the command
is cut into words once, as the user wrote it, and the event comes on standard input. Processes run in a thread
of their own, for packets do not wait. One that takes too long is killed; events that come faster than
commands end are dropped and counted, beyond a number.

Never: runs a shell.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from queue import Full, Queue
from threading import Thread

from analyzer.errors import AnalyzerError
from analyzer.findings.catalogue import RULES
from analyzer.render import document
from analyzer.watch.diary import Entry
from analyzer.watch.journal import event
from analyzer.watch.loop import Watch

MOST_WAITING = 1024
LONGEST = 30.0  # seconds for one command
AT_END = 60.0  # seconds for those that wait when the capture ends


class Hook:
    """Runs a command for each event."""

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise AnalyzerError(f"--hook {command}: {error}") from None
        if not self._words or shutil.which(self._words[0]) is None:
            raise AnalyzerError(f"--hook {command}: there is no such command")
        self.dropped = 0
        self.failed = 0
        self._events: Queue[str | None] = Queue(MOST_WAITING)
        self._thread = Thread(target=self._work, name="lockscope-hook", daemon=True)
        self._thread.start()

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:
        """Run it for these, but for what is only about the end; then wait for the last ones."""
        for entry in entries:
            if not RULES[entry.finding.code].at_end:
                self._put(document.line(event(entry)))
        if watch.analysis is not None:
            self._put(None)
            self._thread.join(AT_END)

    def _put(self, line: str | None) -> None:
        try:
            self._events.put(line, block=line is None, timeout=AT_END)
        except Full:
            self.dropped += 1

    def _work(self) -> None:
        while (line := self._events.get()) is not None:
            try:
                self._run(line)
            except (OSError, subprocess.TimeoutExpired):
                self.failed += 1

    def _run(self, line: str) -> None:
        """Run it; what it prints is lost, its complaints are seen."""
        quiet = subprocess.DEVNULL
        done = subprocess.run(self._words, input=line, text=True, timeout=LONGEST, check=False, stdout=quiet)
        self.failed += done.returncode != 0
