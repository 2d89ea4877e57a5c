"""Which findings were told, and which of them still stand.

In: the findings that hold now, again and again. Out: entries: a finding opened, a finding resolved.

Theory. A finding is told once, when it first holds, whatever is added to it later. When it no longer holds
it is resolved: the lock was freed after all, the client came back. One that is only no longer known, because
what it was made of has been dropped as too old, is not resolved; nothing is said, and it may be told again.
A finding keeps the id under which it was told, and one that does not hold for a moment only (an UMNT is
repeated, and its window begins anew) stands.

Never: judges; keeps more than `MOST_OPEN` findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from analyzer.findings.catalogue import Key
from analyzer.findings.rule import Finding

MOST_OPEN = 1 << 14
PATIENCE = 3_000_000_000  # ns of the capture in which a finding may hold again
OPEN, RESOLVED = "open", "resolved"


class Entry(NamedTuple):
    """Something to tell."""

    state: str
    time: int  # of the capture, ns since the epoch
    finding: Finding


class Diary:
    """The findings that were told and stand."""

    def __init__(self) -> None:
        self.opened = 0
        self.resolved = 0
        self.untold = 0  # there were too many at once
        self._standing: dict[Key, Finding] = {}
        self._missing: dict[Key, int] = {}  # since when one that was told does not hold

    @property
    def standing(self) -> list[Finding]:
        """What was told and still holds, the oldest first."""
        return list(self._standing.values())

    def told(self, found: Sequence[tuple[Key, Finding]]) -> list[Finding]:
        """Findings by the ids under which they were told, in themselves and as causes."""
        ids = {finding.id: self._standing[key].id for key, finding in found if key in self._standing}
        return [
            replace(
                finding,
                id=ids.get(finding.id, finding.id),
                caused_by=tuple(sorted(ids.get(cause, cause) for cause in finding.caused_by)),
            )
            for _, finding in found
        ]

    def note(
        self, found: Sequence[tuple[Key, Finding]], now: int, known_since: int = 0, patience: int = PATIENCE
    ) -> list[Entry]:
        """What is new about the findings that hold `now`, of a state that goes back to `known_since`."""
        holding = dict(found)
        entries = []
        for key in [key for key in self._standing if key not in holding]:
            if now - self._missing.setdefault(key, now) >= patience:
                del self._missing[key]
                gone = self._standing.pop(key)
                if gone.last_time >= known_since:
                    entries.append(Entry(RESOLVED, now, gone))
        for key, finding in holding.items():
            self._missing.pop(key, None)
            if key in self._standing:
                self._standing[key] = replace(finding, id=self._standing[key].id)
            elif len(self._standing) < MOST_OPEN:
                self._standing[key] = finding
                entries.append(Entry(OPEN, now, finding))
            else:
                self.untold += 1
        self.opened += sum(entry.state == OPEN for entry in entries)
        self.resolved += sum(entry.state == RESOLVED for entry in entries)
        return entries
