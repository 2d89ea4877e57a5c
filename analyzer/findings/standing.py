"""What stands when the capture stops: questions that several families ask of a lock or a request.

In: `Sessions`. Out: locks still held, the goodbye behind which one stands, whether a call ever arrived.

Never: yields a case.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.parameters import window
from analyzer.sessions.model import File, Lock, Wait
from analyzer.sessions.mounts import FAR, FLUSH, Goodbye, Mount
from analyzer.sessions.operations import Operation
from analyzer.sessions.world import Sessions

UMNT_WINDOW = window("unlock-after-umnt", 30, "an UNLOCK may trail its UMNT by one retry of a Linux client")
UMNT_WATCHED = window(
    "umnt-watched", 1, "where less was seen after a UMNT, an open lock is all there is to say"
)
LEAST_WATCHED = window(
    "watched-at-least", 2, "answers come within milliseconds: of one that is younger there is nothing to say"
)
KEEPALIVE = window("vanished-keepalive", 60, "a host that lives sends this often on an idle NFS connection")
RESTART_MARGIN = window("restart-margin", 60, "what goes wrong this close to a restart is part of it")


def held_at_end(s: Sessions) -> Iterator[Lock]:
    """The locks that stand in the server's ledger when the capture stops."""
    for lock in s.ledger.locks:
        if lock.server_end is None:
            yield lock


def goodbye_of(s: Sessions, lock: Lock) -> tuple[Mount, Goodbye] | None:
    """The unmount after which a lock stands, if its client said goodbye and kept silent since."""
    return farewell(s, lock.client, lock.file, lock.granted.time)


def farewell(s: Sessions, client: int, file: File, since: int) -> tuple[Mount, Goodbye] | None:
    """The unmount after which what a client has had on a file since then stands, if it kept silent."""
    export = s.handles.export(file.fh)
    if export is None:
        return None
    mount = s.mounts.sessions.get((client, file.server, export.index))
    last = said_goodbye(s, mount) if mount is not None else None
    if mount is None or last is None or since > last.call.time:
        return None
    return mount, last


def said_goodbye(s: Sessions, mount: Mount) -> Goodbye | None:
    """The unmount that left nothing mounted, if the client kept silent on the export since."""
    if not mount.goodbyes or mount.count > 0:
        return None
    last = mount.goodbyes[-1]
    if last.until != FAR or last.first_after is not None:
        return None
    if mount.last is not None and mount.last.time > last.call.time + s.settings[FLUSH]:
        return None
    return last


def unlock_pending(lock: Lock) -> Operation | None:
    """The UNLOCK of a lock that stands, sent but never answered."""
    unlock = lock.unlock
    return unlock if unlock is not None and not unlock.answers and unlock.failure is None else None


def is_unacked(s: Sessions, operation: Operation) -> bool:
    """Whether TCP never acknowledged any copy of a call: it was sent and did not arrive."""
    return all(
        call.stream_end >= 0 and s.connections.acked(call.flow, call.side) < call.stream_end
        for call in operation.calls
    )


def sent_frames(s: Sessions, operation: Operation) -> list[int]:
    """Frames of an operation and of the TCP retransmissions of its last copy."""
    call = operation.calls[-1]
    repeats = s.connections.repeats_of(call.flow, call.side, call.stream_end) if call.stream_end >= 0 else []
    return operation.frames + [repeat.frame for repeat in repeats]


def waiting_behind(s: Sessions) -> dict[Lock, list[Wait]]:
    """The open waits behind each lock that stands in the way of any."""
    behind: dict[Lock, list[Wait]] = {}
    for wait in s.ledger.waits:
        if wait.ended is None:
            for lock in wait.file.held.conflicts(wait.owner, wait.start, wait.end, wait.exclusive):
                behind.setdefault(lock, []).append(wait)
    return behind
