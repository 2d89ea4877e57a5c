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

    def nameless(self, handle: int, event: Naming | Renaming) -> None:
        """A name of this file went away, perhaps its last one."""
        if handle >= 0 and self.ledger.handles.nameless(handle):
            replaced = isinstance(event, Renaming)
            name = event.to_name if isinstance(event, Renaming) else event.name
            self._keep(handle, "replaced" if replaced else "removed", event, name)

    def stale(self, event: Stale) -> None:
        """NFS says that the server does not know the file any more."""
        self.stale_calls.append(event)
        self._keep(event.fh, "stale", event, b"")

    def refused(self, operation: Operation, answer: Answer) -> None:
        """The lock service says so."""
        if operation.file is not None:
            self._kept(operation.file, "unknown", operation.requester, Place(answer.frame, answer.time))

    def _keep(self, handle: int, how: str, event: Naming | Renaming | Stale, name: bytes) -> None:
        file = self.ledger.files.get(self.ledger.handles.canonical(handle))
        if file is not None:
            self._kept(file, how, event.client, Place(event.frame, event.time), name)

    def _kept(self, file: File, how: str, client: int, place: Place, name: bytes = b"") -> None:
        if len(self.seen) >= self.seen.limit:  # a file may have very many locks, and each answer say so
            self.seen.dropped += 1
            return
        for lock in file.held:
            self.seen.append(Fate(lock, how, client, place, name))
