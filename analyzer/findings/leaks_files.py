"""What outlives its owner besides byte ranges: locks on files that are gone, share reservations.

In: what became of locked files, share reservations and who was refused because of them. Out: cases.

Theory. A lock is on an inode and not on a name; a share reservation has no range. Both escape whoever looks
for a lock on the file that has the name now.

Never: takes a silly rename for a removal.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.leaks import SILENCE
from analyzer.findings.rule import (
    DEFINITE,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Confidence,
    Watch,
    file_name,
    mode,
    of_lock,
    of_operation,
    rule,
)
from analyzer.findings.standing import farewell
from analyzer.parameters import window
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Place
from analyzer.sessions.operations import Operation
from analyzer.sessions.shares import Share
from analyzer.sessions.world import Sessions

FREEING = window("share-freeing", 5, "a server frees what a rebooted client had after it said so")


@rule("lock-on-stale-file", LOW)
def lock_on_stale_file(s: Sessions) -> Iterator[Case]:
    """A lock is held on a file that was removed or replaced.

    ## What it is
    The only known name of a file was removed, or another file was renamed over it, while a lock on it stood;
    or the server says that it does not know the file any more (NFS3ERR_STALE, NLM4_STALE_FH).

    ## Why it matters
    Whoever opens the name now gets, and locks, another file: two programs run that believe to be alone.

    ## What to do
    Find the program that removes or replaces the file: a lock file must stay where it is, and be truncated
    rather than removed. Let new contents be written into the file, not renamed over it.

    ## Evidence
    The lock, and the REMOVE, RENAME or refusal.

    ## When it is a false alarm
    A file with a further hard link that the capture does not show. A client that removes what it has open
    itself renames it to `.nfs...` first: that is not counted.
    """
    for fate in s.fates.seen:
        lock = fate.lock
        is_told = fate.how in ("stale", "unknown")
        if is_told and _has_booted(s, lock.server, lock.granted.time, fate.place.time):
            continue  # an export that is not there yet
        done = {
            "removed": f"{s.hosts.address(fate.client)} removed {printable(fate.name)}",
            "replaced": f"{s.hosts.address(fate.client)} renamed another file to {printable(fate.name)}",
            "stale": f"{s.hosts.address(lock.server)} does not know the file any more (NFS3ERR_STALE)",
            "unknown": "its lock service does not know the file any more (NLM4_STALE_FH)",
        }[fate.how]
        yield Case(
            f"{s.hosts.address(lock.client)} holds {mode(lock)} lock on {file_name(s, lock.file)} since "
            f"frame {lock.granted.frame}; {done} in frame {fate.place.frame}",
            [*lock.frames, fate.place.frame],
            fate.place,
            confidence=DEFINITE if is_told else PROBABLE,
            watched=[Watch(lock.request.call, lock.granted.time, fate.place.time)],
            subject=fate,
            **of_lock(s, lock),
        )


def _has_booted(s: Sessions, server: int, since: int, until: int) -> bool:
    """Whether a server restarted, or told anybody at all that it did."""
    return s.restarted(server, since, until) is not None or any(
        notice.sender == server and since <= notice.place.time <= until for notice in s.reboots.notices
    )


@rule("share-reservation-leaked", MEDIUM)
def share_reservation_leaked(s: Sessions) -> Iterator[Case]:
    """A share reservation stays in force although its client has gone.

    ## What it is
    A SHARE (the open of a PC client) that was granted and not taken back, whose client then unmounted,
    rebooted or fell silent for five minutes, and because of which a SHARE of somebody else was denied.

    ## Why it matters
    The file cannot be opened any more in the way that the reservation denies.

    ## What to do
    Close the file on the client; if that is gone, free what it holds on the server: `echo PATH >
    /proc/fs/nfsd/unlock_filesystem`, or `sm-notify -f` on the client.

    ## Evidence
    The SHARE with its mode and access, the goodbye or reboot, the SHARE that was denied.

    ## When it is a false alarm
    UNSHARE is always answered GRANTED, so nothing on the wire says that one took effect. A process on the
    server may have the file open.
    """
    for share in s.shares.standing.values():
        request = share.request
        for operation, answer in share.denials:
            found = _gone(s, share, operation)
            if found is None:
                continue
            how, frames, confidence = found
            yield Case(
                f"{s.hosts.address(share.client)} opened {file_name(s, share.file)} "
                f"({share.words}) and {how} without closing it; "
                f"{s.hosts.address(operation.requester)} was denied because of that in frame {answer.frame}",
                [*request.frames, *frames, *operation.frames],
                share.granted,
                Place(answer.frame, answer.time),
                confidence=confidence,
                watched=[Watch(request.call, share.granted.time, s.end)],
                subject=share,
                cause=share,
                **of_operation(s, request) | {"range": None},
            )


def _gone(s: Sessions, share: Share, denied: Operation) -> tuple[str, list[int], Confidence] | None:
    """How the client of a share went before somebody was denied: words, frames, how sure."""
    asked = denied.call.time
    if share.freed is not None:
        return (
            ("rebooted", [share.freed.frame], DEFINITE)
            if asked > share.freed.time + s.settings[FREEING]
            else None
        )
    goodbye = farewell(s, share.client, share.file, share.granted.time)
    if goodbye is not None and goodbye[1].reply.time < asked:
        reply = goodbye[1].reply
        return "unmounted", [reply.call.frame, reply.frame], DEFINITE
    frame, time = s.hosts.last_seen(share.client)
    return ("fell silent", [frame], POSSIBLE) if asked - time > s.settings[SILENCE] else None
