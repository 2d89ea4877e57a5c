"""The things the ledgers hold: files, owners, locks, waits, offers, overlaps.

In: nothing. Out: small slotted objects, compared by identity.

Theory. See `ledger`, which fills them. A `Lock` is one grant and lives in two ledgers: when it leaves one of
them is its `server_end` or `client_end`.

Never: holds behaviour beyond looking at itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.ranges import Page
from analyzer.sessions.servers import LINUX, Model


class Place(NamedTuple):
    """A frame and its time."""

    frame: int
    time: int


class Free(NamedTuple):
    """A stretch in which nothing on the wire stood in a waiter's way, and how it ended."""

    place: Place
    by: Operation | None  # the UNLOCK that freed it
    how: str  # poll, callback, cancel, unlock, taken, turn, open ...
    end: Place
    tested: Operation | None = None  # another owner's TEST found the range free


class End(NamedTuple):
    """How a lock left a ledger."""

    reason: str
    frame: int
    time: int


@dataclass(slots=True, eq=False)
class Owner:
    """One lock owner as the server tells owners apart."""

    key: tuple[object, ...]
    client: int
    svid: int
    oh: bytes
    caller: bytes
    is_shared: bool = False  # requests under another name came as this owner's


@dataclass(slots=True, eq=False)
class Lock:
    """One grant and its life in both ledgers."""

    number: int
    file: File
    owner: Owner
    start: int
    end: int
    exclusive: bool
    request: Operation
    how: str  # reply, poll, callback, reclaim, duplicate
    granted: Place
    believed: Place | None = None  # when the client learnt of it
    server_end: End | None = None
    client_end: End | None = None
    unlock: Operation | None = None  # the UNLOCK that took it (or its last piece) away
    reclaimed: Sequence[Operation] = ()
    denials: Sequence[tuple[Operation, Answer]] = ()
    waiters: int = 0
    lost: Overlap | None = None
    refusal: Offer | None = None
    monitored: bool = True

    @property
    def server(self) -> int:
        """The lock server."""
        return self.file.server

    @property
    def client(self) -> int:
        """The host that owns it."""
        return self.owner.client

    @property
    def frames(self) -> list[int]:
        """Frames that prove the grant."""
        return sorted({call.frame for call in self.request.calls} | {self.granted.frame})


@dataclass(slots=True, eq=False)
class Wait:
    """One blocking request that was told to wait."""

    file: File
    owner: Owner
    start: int
    end: int
    exclusive: bool
    request: Operation
    since: Place
    blockers: Sequence[Lock]
    polls: list[Operation] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    ended: End | None = None  # callback, poll, cancel, unlock, denied, server-restart, reboot
    lock: Lock | None = None
    cancel: Operation | None = None
    cancelled: Operation | None = None  # a CANCEL in its name that another host sent
    free_since: Place | None = None  # last conflicting lock released, nobody granted since
    freed_by: Operation | None = None
    tested: Operation | None = None
    frees: list[Free] = field(default_factory=list)

    @property
    def client(self) -> int:
        """The host that waits."""
        return self.owner.client

    def taken(self, how: str, end: Place) -> None:
        """The stretch in which it could have been served is over."""
        if self.free_since is not None:
            self.frees.append(Free(self.free_since, self.freed_by, how, end, self.tested))
            self.free_since = self.freed_by = self.tested = None


@dataclass(slots=True, eq=False)
class Offer:
    """One GRANTED callback and what it was about."""

    operation: Operation
    wait: Wait | None
    verdict: str  # match, late, wrong-sender, wrong-receiver, mismatch, unsolicited
    differs: tuple[str, ...] = ()
    lock: Lock | None = None
    accepted: Place | None = None
    refused: Place | None = None


@dataclass(slots=True, eq=False)
class Overlap:
    """A lock was given away while another client still believed in its own."""

    loser: Lock
    winner: Lock
    place: Place
    count: int = 1
    proof: Place | None = None  # the loser acted as holder afterwards
    proof_kind: str = ""
    asked_again: Place | None = None  # the loser asked for it anew, as if it had released it


@dataclass(slots=True, eq=False)
class File:
    """A file as the lock server sees it: both ledgers, and who waits."""

    server: int
    fh: int
    model: Model = LINUX
    held: Page[Lock] = field(default_factory=Page)  # S
    believed: Page[Lock] = field(init=False)  # C: as long as both say the same, the same page
    waits: dict[Wait, None] = field(default_factory=dict)  # open ones, in order
    unlocks: dict[Owner, list[Operation]] = field(default_factory=dict)  # the last ones, in order
    pending: dict[Operation, None] = field(default_factory=dict)  # UNLOCKs without an answer yet, in order
    unexplained: list[tuple[Operation, Answer]] = field(default_factory=list)
    awaited: bool = False  # whether anybody ever waited for it
    settled: int = 0  # when the last of the locks that were let go of was granted

    def __post_init__(self) -> None:
        self.believed = self.held

    def part(self) -> None:
        """One ledger is about to change without the other."""
        if self.believed is self.held:
            self.believed = self.held.copy()

    def join(self) -> None:
        """Both are empty, perhaps: then they say the same."""
        if not (self.held or self.believed):
            self.believed = self.held

    def pieces(self, lock: Lock) -> list[tuple[int, int]]:
        """What is left of `lock` on the server."""
        return [(low, high) for low, high, held in self.held.of(lock.owner) if held is lock]
