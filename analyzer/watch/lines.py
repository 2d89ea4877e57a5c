"""Findings as lines, one each, for a pipe, a log or a person.

In: entries. Out: lines of text, flushed at once.

Never: writes text of the wire that was not cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from analyzer.findings.catalogue import RULES
from analyzer.render.clean import clean
from analyzer.render.output import write
from analyzer.render.times import clock
from analyzer.watch.diary import OPEN, Entry
from analyzer.watch.loop import Watch


def line(entry: Entry) -> str:
    """`2026-11-20 11:39:47.861424 HIGH unlock-unanswered (probable): the UNLOCK of ... [id]`."""
    found = entry.finding
    if entry.state != OPEN:
        return f"{clock(entry.time)} resolved {found.code} [{found.id}]"
    return (
        f"{clock(entry.time)} {found.severity.name} {found.code} ({found.confidence.name.lower()}): "
        f"{clean(found.message)} [{found.id}]"
    )


class Lines:
    """Writes a line for each entry."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:  # noqa: ARG002 (as every listener)
        """Write these; what is about the end is in the summary."""
        lines = [f"{line(entry)}\n" for entry in entries if not RULES[entry.finding.code].at_end]
        if lines:
            write(self._stream, lines)
            self._stream.flush()


class Notices:
    """Writes a line for each port that the capture filter follows."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._told = 0
        self._gave_up = False

    def tell(self, entries: Sequence[Entry], watch: Watch) -> None:  # noqa: ARG002 (as every listener)
        """Write what became known."""
        ports = watch.ports
        if ports is None:
            return
        for port in ports.learnt[self._told :]:
            self._write(f"port {port.number} is captured, too: {port.program} of {clean(port.host)}")
        self._told = len(ports.learnt)
        if ports.overflown and not self._gave_up:
            self._gave_up = True
            self._write("too many ports for a filter: everything is captured")

    def _write(self, text: str) -> None:
        self._stream.write(f"lockscope: {text}\n")
        self._stream.flush()
