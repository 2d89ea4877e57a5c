"""Share reservations: what PC clients take with an open (XNFS C702, NLM_SHARE).

In: SHARE and UNSHARE with their answers, and the events that free what a client has. Out: `Share`s.

Theory. A share has no range: it says what its owner does with the file (access) and what it denies to
others (mode). Two conflict where one's access meets the other's denial. The owner is the client and its oh:
here even Linux compares oh (`fs/lockd/svcshare.c`). UNSHARE is answered GRANTED whether it found anything or
not, so it counts from its call.

Never: joins shares with byte ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.protocols.nlm import SHARE_ACCESS, SHARE_MODE
from analyzer.sessions import operations as op
from analyzer.sessions.kept import Kept
from analyzer.sessions.model import End, File, Place
from analyzer.sessions.operations import Answer, Operation

DENIALS_KEPT = 64

Name = tuple[int, int, bytes]  # file (by identity), client, oh


@dataclass(slots=True, eq=False)
class Share:
    """One granted SHARE."""

    file: File
    request: Operation
    granted: Place
    mode: int
    access: int
    freed: End | None = None  # a reboot notice or a restart took it away, if all went well
    closed: Place | None = None  # taken back, or shown to be gone by a grant to somebody else
    denials: Kept[tuple[Operation, Answer]] = field(default_factory=lambda: Kept(DENIALS_KEPT))

    @property
    def client(self) -> int:
        """The host that owns it."""
        return self.request.requester

    @property
    def words(self) -> str:
        """Access and mode as the standard names them."""
        return f"access {SHARE_ACCESS.get(self.access)}, deny {SHARE_MODE.get(self.mode)}"

    def in_way_of(self, asked: Operation) -> bool:
        """Whether it stands in the way of a SHARE."""
        mode, access = _wanted(asked)
        return bool(access & self.mode or mode & self.access)


class Shares:
    """The share reservations that stand, and those that reboots took away."""

    def __init__(self) -> None:
        self.standing: dict[Name, Share] = {}
        self.of_file: dict[int, dict[Name, Share]] = {}
        self.past: Kept[Share] = Kept()

    def asked(self, operation: Operation) -> None:
        """An UNSHARE was sent."""
        if operation.file is not None:
            self._drop(_name(operation), Place(operation.call.frame, operation.call.time))

    def answered(self, operation: Operation, answer: Answer) -> None:
        """A SHARE was answered."""
        file = operation.file
        if file is None:
            return
        others = [
            share
            for name, share in self.of_file.get(id(file), {}).items()
            if name != _name(operation) and share.in_way_of(operation)
        ]
        if answer.status == op.GRANTED:
            for gone in others:  # the server has none of them any more
                self._drop(_name(gone.request), Place(answer.frame, answer.time))
            share = Share(file, operation, Place(answer.frame, answer.time), *_wanted(operation))
            self.standing[_name(operation)] = share
            self.of_file.setdefault(id(file), {})[_name(operation)] = share
        elif answer.status == op.DENIED:
            held = [share for share in others if share.freed is None] or others
            if len(held) == 1:
                held[0].denials.append((operation, answer))

    def freed(self, server: int, end: End, client: int | None = None) -> None:
        """A client (or the server, where none is given) rebooted: its shares should be gone."""
        for share in self.standing.values():
            if share.file.server == server and client in (None, share.client):
                share.freed = share.freed or end

    def _drop(self, name: Name, place: Place) -> None:
        share = self.standing.pop(name, None)
        if share is not None:
            share.closed = place
            self.past.append(share)
            del self.of_file[name[0]][name]
            if not self.of_file[name[0]]:
                del self.of_file[name[0]]


def _name(operation: Operation) -> Name:
    return id(operation.file), operation.requester, operation.oh


def _wanted(operation: Operation) -> tuple[int, int]:
    """Mode (what others are denied) and access (what the owner does) of a SHARE."""
    args = operation.call.args
    return int(args.get("mode", 0)), int(args.get("access", 0))
