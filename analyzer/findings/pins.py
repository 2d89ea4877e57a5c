"""What keeps an export busy after everybody has left it.

In: mount sessions, the ledgers. Out: exports that are left, each with how its clients went; `Pin`s on them.

Theory. A server keeps a file open for every lock on it, every share reservation and every request that waits
(Linux: `nlm_file_inuse`, fs/lockd/svcsubs.c). While one stands the file system cannot be unmounted, whoever
said goodbye. A client has left if it did so last of all and was silent on the export since, or if it vanished
and did not come back.

Never: takes an export for left while any client that was seen on it may be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings.departures import Departure, departure, stayed_away
from analyzer.findings.refusals import Refusal, is_proof
from analyzer.findings.rule import POSSIBLE
from analyzer.findings.standing import held_at_end, is_unacked, said_goodbye, unlock_pending
from analyzer.sessions.model import File, Lock, Owner, Place, Wait
from analyzer.sessions.mounts import Mount
from analyzer.sessions.operations import Operation
from analyzer.sessions.shares import Share
from analyzer.sessions.world import Sessions


class Left(NamedTuple):
    """How one client left an export."""

    mount: Mount
    place: Place  # the UMNT, or where it vanished
    since: int  # from then on it is away
    vanished: Departure | None = None


class Pin(NamedTuple):
    """One thing that keeps an export busy."""

    what: str
    thing: Lock | Share | Wait
    client: int
    file: File
    owner: Owner | None
    range: tuple[int, int] | None
    request: Operation
    asked: int  # when its client last asked for it
    frames: list[int]

    def refused(self, since: int) -> list[Refusal]:
        """Who was refused because of this lock alone."""
        denials = self.thing.denials if isinstance(self.thing, Lock) else []
        return [each for each in denials if each[1].time > since and each[0].blockers == [self.thing]]

    def is_proven(self, s: Sessions, since: int) -> bool:
        """Whether that leaves no doubt that it stands."""
        return isinstance(self.thing, Lock) and is_proof(s, self.thing, self.refused(since), since)

    def is_lost(self, s: Sessions) -> bool:
        """Whether its UNLOCK was sent and did not arrive."""
        pending = unlock_pending(self.thing) if isinstance(self.thing, Lock) else None
        return pending is not None and is_unacked(s, pending)


def left_exports(s: Sessions) -> dict[int, dict[int, Left]]:
    """The exports that all who were seen on them have left: how, by client."""
    found: dict[int, dict[int, Left]] = {}
    in_use: set[int] = set()
    for mount in s.mounts.sessions.values():
        if mount.export is None or mount.export.index in in_use:
            continue
        left = _left(s, mount)
        if left is None:
            in_use.add(mount.export.index)
        else:
            found.setdefault(mount.export.index, {})[mount.client] = left
    return {index: left for index, left in found.items() if index not in in_use}


def _left(s: Sessions, mount: Mount) -> Left | None:
    goodbye = said_goodbye(s, mount)
    if goodbye is not None:
        return Left(mount, Place(goodbye.call.frame, goodbye.call.time), goodbye.reply.time)
    gone = departure(s, mount)
    if gone is None or not stayed_away(mount, gone):
        return None
    if mount.early and gone.confidence == POSSIBLE:
        return None
    return Left(mount, gone.place, gone.place.time, gone)


def pins(s: Sessions, exports: dict[int, dict[int, Left]]) -> dict[int, list[Pin]]:
    """What pins these exports: locks first."""
    found: dict[int, list[Pin]] = {}
    for pin in _standing(s) if exports else ():
        index = s.handles.export_index(pin.file.fh)
        if index in exports:
            found.setdefault(index, []).append(pin)
    return found


def _standing(s: Sessions) -> Iterator[Pin]:
    for lock in held_at_end(s):
        request = lock.request
        extent = lock.start, lock.end
        asked = lock.granted.time if lock.how == "callback" else request.call.time
        yield Pin("lock", lock, lock.client, lock.file, lock.owner, extent, request, asked, lock.frames)
    for share in s.shares.standing.values():
        request = share.request
        if share.freed is None:
            asked = request.call.time
            what = "share reservation"
            yield Pin(
                what, share, share.client, share.file, request.owner, None, request, asked, request.frames
            )
    for wait in s.ledger.waits:
        if wait.ended is None:
            request, extent = wait.request, (wait.start, wait.end)
            last = wait.polls[-1] if wait.polls else request
            frames = [*request.frames, *last.frames]
            asked = last.calls[-1].time
            yield Pin(
                "waiting request", wait, wait.client, wait.file, wait.owner, extent, request, asked, frames
            )


def counted(found: list[Pin]) -> str:
    """How many there are of each kind."""
    kinds = dict.fromkeys(pin.what for pin in found)
    parts = [f"{sum(pin.what == kind for pin in found)} {kind}(s)" for kind in kinds]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)
