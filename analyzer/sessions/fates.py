"""What becomes of files that carry locks: removed, replaced, or no longer known to the server.

In: names that went away, answers NFS3ERR_STALE and NLM4_STALE_FH. Out: `Fate`s of locks.

Theory. A lock is on an inode, programs mean a name. Where the last name goes while a lock stands, the next
program locks another file under the same name, and both believe to be alone. A Linux client that removes
a file it has open itself renames it to `.nfs...` instead (silly rename): the inode keeps a name.

Never: takes a file for gone that has, or ever had, a second name.
"""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.records.events import Naming, Renaming, Stale
from analyzer.sessions.kept import Kept
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import File, Lock, Place
from analyzer.sessions.operations import Answer, Operation


@dataclass(slots=True, eq=False)
class Fate:
    """A lock whose file lost its name (or went stale) while it was held."""

    lock: Lock
    how: str  # removed, replaced, stale (says NFS), unknown (says NLM)
    client: int  # by whom, or who was told
    place: Place
    name: bytes = b""


class Fates:
    """What happened to locked files."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.seen: Kept[Fate] = Kept()
        self.stale_calls: Kept[Stale] = Kept()  # on files that carry, or carried, locks
        self._told: dict[tuple[File, str], tuple[int, int]] = {}  # entries of its page then, and when

    def nameless(self, handle: int, event: Naming | Renaming) -> None:
        """A name of this file went away, perhaps its last one."""
        file = self._file(handle) if handle >= 0 and self.ledger.handles.nameless(handle) else None
        if file is not None:
            replaced = isinstance(event, Renaming)
            name = event.to_name if isinstance(event, Renaming) else event.name
            place = Place(event.frame, event.time)
            self._kept(file, "replaced" if replaced else "removed", event.client, place, name)

    def stale(self, event: Stale) -> None:
        """NFS says that the server does not know the file any more."""
        self.stale_calls.append(event)
        file = self._file(event.fh)
        if file is not None:
            self._unknown(file, "stale", event.client, Place(event.frame, event.time))

    def refused(self, operation: Operation, answer: Answer) -> None:
        """The lock service says so."""
        if operation.file is not None:
            self._unknown(operation.file, "unknown", operation.requester, Place(answer.frame, answer.time))

    def forget(self, limit: int) -> None:
        """What was told before `limit` (ns) is news again."""
        self._told = {key: told for key, told in self._told.items() if told[1] >= limit}

    def _file(self, handle: int) -> File | None:
        return self.ledger.files.get(self.ledger.handles.canonical(handle))

    def _unknown(self, file: File, how: str, client: int, place: Place) -> None:
        """The server does not know a file: no news where it said so, and nobody has locked it since."""
        entries, _ = self._told.get((file, how), (0, 0))
        if file.held and entries != file.held.entries:
            if len(self.seen) < self.seen.limit:
                self._told[file, how] = file.held.entries, place.time
            self._kept(file, how, client, place)

    def _kept(self, file: File, how: str, client: int, place: Place, name: bytes = b"") -> None:
        if len(self.seen) >= self.seen.limit:  # a file may have very many locks, and each answer say so
            self.seen.dropped += 1
            return
        for lock in file.held:
            self.seen.append(Fate(lock, how, client, place, name))
