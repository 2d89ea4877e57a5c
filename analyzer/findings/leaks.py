"""Lock leaks, and their mirror image: locks that were lost.

In: the ledgers. Out: cases of locks the server keeps and the client does not, or the reverse.

Theory. S held and C not: a leak. C held and S not: a lost lock. See `sessions.ledger`.

Never: calls an open lock a leak for being old.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.overlaps import is_double_grant, restart_between, two_owners
from analyzer.findings.refusals import is_proof
from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Watch,
    file_name,
    mode,
    of_lock,
    of_operation,
    rule,
    seconds,
)
from analyzer.findings.standing import (
    KEEPALIVE,
    UMNT_WATCHED,
    UMNT_WINDOW,
    farewell,
    goodbye_of,
    held_at_end,
    is_unacked,
    sent_frames,
    unlock_pending,
    waiting_behind,
)
from analyzer.parameters import window
from analyzer.protocols.nlm import STATUS4
from analyzer.sessions import operations as op
from analyzer.sessions.model import Lock, Place
from analyzer.sessions.mounts import Goodbye, Mount
from analyzer.sessions.operations import Operation
from analyzer.sessions.shares import Share
from analyzer.sessions.world import Sessions
from analyzer.tables import TCP

SILENCE = window("vanished-silence", 300, "a Linux server forgets an idle client host after this long")
BLOCKED_BEHIND = window("vanished-blocked", 30, "one poll period of a Linux waiter")
UNACKED = window("unlock-ack", 5, "several TCP retransmissions without an ACK")
UNANSWERED = window("unlock-answer", 20, "two times the first RPC timeout of lockd")
LOST_ANSWER = window("lost-answer", 5, "an answer lost from the capture shows when the next one comes")
SENT_AGAIN = window("unlock-sent-again", 30, "a Linux client asks again 5 s after DENIED_GRACE_PERIOD")
WATCHED = window("unlock-watched", 120, "lockd has used up its longest timeout, 60 s, twice")


@rule("lock-open-at-capture-end", INFO, at_end=True)
def lock_open_at_capture_end(s: Sessions) -> Iterator[Case]:
    """A lock is held when the capture stops.

    ## What it is
    A granted lock without a release up to the last frame. A fact about the capture, not a fault.

    ## Why it matters
    It answers who holds what at the end. Long-running programs hold locks for days.

    ## What to do
    Capture longer, or look on the client: `cat /proc/locks`, `lsof`, `fuser -vm MOUNTPOINT`.

    ## Evidence
    The LOCK and its grant; the last frame the client sent; who waits behind it.

    ## When it is a false alarm
    It is no alarm. A release that was lost from the capture would not show.
    """
    behind = waiting_behind(s)
    for lock in held_at_end(s):
        frame, time = s.hosts.last_seen(lock.client)
        waits = behind.get(lock, ())
        queue = f"; {len(waits)} waiting behind it" if waits else ""
        yield Case(
            f"{s.hosts.address(lock.client)} holds {mode(lock)} lock on {file_name(s, lock.file)} since "
            f"frame "
            f"{lock.granted.frame} ({seconds(s.end - lock.granted.time)} up to the end); last heard of "
            f"{seconds(max(0, s.end - time))} before the end{queue}",
            [*lock.frames, *(wait.since.frame for wait in waits), frame],
            lock.granted,
            Place(frame, max(time, lock.granted.time)),
            cause=lock,
            **of_lock(s, lock),
        )


@rule("lock-held-after-umnt", HIGH)
def lock_held_after_umnt(s: Sessions) -> Iterator[Case]:
    """A client said it unmounted, and its lock still stands on the server.

    ## What it is
    A granted lock on an export whose holder has sent UMNT, which was accepted, with no UNLOCK that was
    executed and no NFS call of that client on the export afterwards. Or a share reservation (the open of a PC
    client) on it that was not taken back by UNSHARE.

    ## Why it matters
    The server keeps the file open for the lock: its own umount of the file system is busy, and others wait
    for a lock that nobody uses.

    ## What to do
    On the client look for a process that still holds the file (`cat /proc/locks`, `lsof`, `fuser -vm`)
    and stop it. If the client has forgotten the lock, free it on the server: `echo PATH >
    /proc/fs/nfsd/unlock_filesystem` or `echo SERVER-IP > /proc/fs/nfsd/unlock_ip`, or have the client say
    it rebooted with `sm-notify -f`.

    Freeing locks by hand is safe only when no client still works on the files.

    ## Evidence
    The MNT, the LOCK and its grant, every UMNT, the last NFS call on the export, an UNLOCK that was sent but
    not answered, refusals to others since.

    ## When it is a false alarm
    umount.nfs sends UMNT before the system call, which can fail: traffic on the export afterwards makes this
    `umnt-but-traffic-continues`. An UNLOCK can trail the UMNT by up to half a minute.
    """
    for lock in held_at_end(s):
        found = goodbye_of(s, lock)
        if found is None:
            continue
        mount, goodbye = found
        pending = unlock_pending(lock)
        lost = pending is not None and is_unacked(s, pending)
        first = next((g for g in mount.goodbyes if g.call.time > lock.granted.time), goodbye)
        watched = s.end - first.reply.time
        if watched < s.settings[UMNT_WATCHED]:
            continue  # nothing was seen after the UMNT: the open lock is all there is to say
        refused = [
            (operation, answer)
            for operation, answer in lock.denials
            if answer.time > goodbye.reply.time and operation.blockers == [lock]
        ]
        unlock = ""
        spoke = [*mount.mnts[:1], *mount.umnts]
        frames = [*lock.frames, *(f for each in spoke for f in (each.call.frame, each.frame))]
        frames += [mount.last.frame] if mount.last is not None else []
        if pending is not None:
            frames += sent_frames(s, pending)
            how = "never acknowledged" if lost else "not answered"
            unlock = f", its UNLOCK (frame {pending.call.frame}) was {how}"
        frames += [frame for operation, _ in refused for frame in operation.frames]
        yield Case(
            f"{s.hosts.address(lock.client)} unmounted {mount.path} (UMNT in frame {first.call.frame}), yet "
            f"{mode(lock)} lock of it on {file_name(s, lock.file)} stands on the server{unlock}; watched for "
            f"{seconds(watched)} after the UMNT",
            frames,
            Place(first.call.frame, first.call.time),
            Place(s.last_frame, s.end),
            confidence=DEFINITE if is_proof(s, lock, refused, goodbye.reply.time) else PROBABLE,
            stands=[lock],
            due=0 if lost or refused else first.reply.time + s.settings[UMNT_WINDOW],
            older=mount.early,
            cause=pending,
            subject=lock,
            **of_lock(s, lock),
        )
    for share in s.shares.standing.values():
        found = farewell(s, share.client, share.file, share.granted.time)
        if found is not None and share.freed is None:
            yield from _share_after_umnt(s, share, *found)


def _share_after_umnt(s: Sessions, share: Share, mount: Mount, goodbye: Goodbye) -> Iterator[Case]:
    """A share reservation stands although its client said goodbye."""
    request, watched = share.request, s.end - goodbye.reply.time
    if watched < s.settings[UMNT_WATCHED]:
        return
    refused = [operation for operation, answer in share.denials if answer.time > goodbye.reply.time]
    yield Case(
        f"{s.hosts.address(share.client)} unmounted {mount.path} (UMNT in frame {goodbye.call.frame}), yet "
        f"its share reservation of {file_name(s, share.file)} ({share.words}) stands on the server; watched "
        f"for {seconds(watched)} after the UMNT",
        [
            *request.frames,
            *(frame for umnt in mount.umnts for frame in (umnt.call.frame, umnt.frame)),
            *(frame for operation in refused for frame in operation.frames),
        ],
        Place(goodbye.call.frame, goodbye.call.time),
        Place(s.last_frame, s.end),
        confidence=PROBABLE,  # another share, older than the capture, may have been in the way too
        watched=[Watch(request.call, share.granted.time, s.end)],
        due=0 if refused else goodbye.reply.time + s.settings[UMNT_WINDOW],
        older=mount.early,
        subject=share,
        **of_operation(s, request) | {"range": None},
    )


@rule("lock-held-by-vanished-client", HIGH)
def lock_held_by_vanished_client(s: Sessions) -> Iterator[Case]:
    """A lock is held by a client that has gone silent, and others wait for it.

    ## What it is
    A lock that stands at the end of the capture, a holder that sends nothing any more on any connection, not
    even keepalives, and another client that waits behind it or was denied because of it for a minute or more.

    ## Why it matters
    NLM has no leases: a lock of a host that lost power is kept until the host comes back and says so.

    ## What to do
    Bring the host back: its sm-notify frees its locks at boot. If it will not come back, free them on the
    server: `echo PATH > /proc/fs/nfsd/unlock_filesystem`.

    ## Evidence
    The LOCK and its grant, the holder's last frame, the waiters with their polls; what called the holder in
    vain: SYNs of the server, a router that says so, the end of a connection that it did not acknowledge.

    ## When it is a false alarm
    An idle holder is legal. A capture on one of several paths does not see the others.
    """
    behind = waiting_behind(s)
    for lock in held_at_end(s):
        if lock.believed is None and lock.refusal is None:
            continue
        frame, time = s.hosts.last_seen(lock.client)
        waits = behind.get(lock, ())
        denied = [pair for pair in lock.denials if pair[1].time > time and pair[0].owner is not lock.owner]
        since = [wait.since.time for wait in waits]
        if not waits and (not denied or denied[-1][1].time - denied[0][1].time < s.settings[KEEPALIVE]):
            continue
        silent = s.end - time
        blocked = s.end - min(since or [denied[0][1].time])
        unreachable = [u.frame for u in s.connections.unreachable if u.host == lock.client and u.time > time]
        unanswered = [
            frame
            for attempt in s.connections.attempts(lock.server, lock.client, time, s.end)
            if attempt.since > time and not attempt.answered and len(attempt.tries) > 1
            for frame, _ in attempt.tries
        ]
        if not unreachable and (silent < s.settings[BLOCKED_BEHIND] or blocked < s.settings[BLOCKED_BEHIND]):
            continue
        polls = [poll for wait in waits for poll in wait.polls[-4:]] or [pair[0] for pair in denied[-4:]]
        given_up = _given_up(s, lock, time)
        sure = bool(unreachable or unanswered or given_up)
        how = ", nor answered when it was called" if unreachable or unanswered else ""
        how += ", not even when the server closed its connection" if given_up else ""
        other = waits[0].client if waits else denied[0][0].requester
        yield Case(
            f"{s.hosts.address(lock.client)} holds {mode(lock)} lock on {file_name(s, lock.file)} and has "
            f"sent nothing for {seconds(silent)} up to the end{how}; {s.hosts.address(other)} has been "
            f"{'waiting behind it' if waits else 'refused because of it'} for {seconds(blocked)}",
            [
                *lock.frames,
                frame,
                *(f for wait in waits for f in wait.request.frames),
                *(f for poll in polls for f in poll.frames),
                *unreachable,
                *unanswered,
                *given_up,
            ],
            lock.granted,
            Place(s.last_frame, s.end),
            confidence=PROBABLE if sure else POSSIBLE,
            severity=HIGH if sure or silent >= s.settings[SILENCE] else MEDIUM,
            stands=[lock],
            subject=lock,
            **of_lock(s, lock),
        )


def _given_up(s: Sessions, lock: Lock, heard: int) -> list[int]:
    """Where a server closed or reset connections of a holder that was not heard of since."""
    found = []
    for connection in s.connections.attempts(lock.client, lock.server, 0, heard):
        ends = [connection.fins.get(lock.server, (0, 0))]
        if connection.reset is not None and connection.reset[0] == lock.server:
            ends.append(connection.reset[1:])
        found += [frame for frame, time in ends if time > heard]
    return found


@rule("unlock-unanswered", HIGH)
def unlock_unanswered(s: Sessions) -> Iterator[Case]:
    """A release was sent and never answered.

    ## What it is
    An UNLOCK without a reply to any of its copies. Where TCP never acknowledged its bytes, it never arrived.

    ## Why it matters
    The server may still hold a lock that the client has given up.

    ## What to do
    Check that lockd on the server answers and that nothing filters its port (`rpcinfo -p SERVER`); then
    free the lock on the server if it is still there (`cat /proc/locks`).

    ## Evidence
    Every copy of the UNLOCK and its TCP retransmissions; the lock it was for.

    ## When it is a false alarm
    Linux repeats an UNLOCK for ever, at 10 to 60 s: a later copy may be answered after the end of the
    capture.
    """
    for operation in s.ledger.unlocks:
        if operation.answers or operation.failure or operation.is_async or operation.file is None:
            continue
        elapsed = s.end - operation.call.time
        quiet = s.end - operation.calls[-1].time
        unacked = is_unacked(s, operation)
        if not (unacked and elapsed >= s.settings[UNACKED]) and quiet < s.settings[UNANSWERED]:
            continue
        if _overtaken_by_restart(s, operation) or _was_sent_anew(operation):
            continue
        removed = operation.removed[0][2] if operation.removed else None
        lost = s.connections.answer_lost(operation.call, operation.call.time + s.settings[LOST_ANSWER])
        over_tcp = "and TCP acknowledged none of its bytes" if unacked else "though TCP delivered it"
        how = over_tcp if operation.call.transport == TCP else "over UDP: it may not have arrived"
        yield Case(
            f"the UNLOCK of {file_name(s, operation.file)} by {s.hosts.address(operation.requester)} has "
            f"no answer for "
            f"{seconds(elapsed)} up to the end, {how}",
            sent_frames(s, operation) + (removed.frames if removed else []),
            Place(operation.call.frame, operation.call.time),
            Place(s.last_frame, s.end),
            confidence=POSSIBLE if lost else PROBABLE,
            watched=[Watch(operation.call, operation.call.time, s.end)],
            due=0 if unacked else operation.calls[-1].time + s.settings[WATCHED],
            **of_operation(s, operation),
            subject=operation,
        )


def _was_sent_anew(operation: Operation) -> bool:
    """Whether a later UNLOCK of the same owner and bytes was answered."""
    assert operation.file is not None
    assert operation.owner is not None
    return any(
        later.order > operation.order
        and later.status == op.GRANTED
        and later.start <= operation.start
        and later.end >= operation.end
        for later in operation.file.unlocks.get(operation.owner, ())
    )


def _overtaken_by_restart(s: Sessions, operation: Operation) -> bool:
    """Whether the server restarted after the call: nobody is left to answer it."""
    return s.restarted(operation.responder, operation.call.time, s.end) is not None


@rule("unlock-refused", HIGH)
def unlock_refused(s: Sessions) -> Iterator[Case]:
    """A release was answered with an error: the client believes the lock is free, the server keeps it.

    ## What it is
    An UNLOCK answered with anything but GRANTED; with DENIED_GRACE_PERIOD only where it was not sent again.

    ## Why it matters
    No client tries again: the lock stays.

    ## What to do
    Look at the server's log for the reason; update the server; free the lock there.

    ## Evidence
    The UNLOCK and its answer.

    ## When it is a false alarm
    STALE_FH after the file was removed is harmless: then it is a fact, else low.
    """
    fates = {id(fate.lock.file): fate for fate in sorted(s.fates.seen, key=lambda fate: bool(fate.name))}
    for operation in s.ledger.unlocks:
        status = operation.status
        if status in (None, op.GRANTED) or not operation.removed:
            continue
        if status == op.DENIED_GRACE_PERIOD and not _was_given_up(s, operation):
            continue
        fate = fates.get(id(operation.file)) if status == op.STALE_FH else None
        yield Case(
            f"{s.hosts.address(operation.responder)} answered the UNLOCK of {file_name(s, operation.file)} "
            f"by {s.hosts.address(operation.requester)} with "
            f"{STATUS4.get(status or 0, status)}"
            + (" and it was not sent again" if status == op.DENIED_GRACE_PERIOD else ""),
            operation.frames,
            Place(operation.call.frame, operation.call.time),
            confidence=PROBABLE if status == op.DENIED_GRACE_PERIOD else DEFINITE,
            watched=[Watch(operation.call, operation.call.time, s.end)]
            if status == op.DENIED_GRACE_PERIOD
            else (),
            severity=HIGH if status != op.STALE_FH else INFO if fate is not None and fate.name else LOW,
            cause=fate,
            **of_operation(s, operation),
        )


def _was_given_up(s: Sessions, operation: Operation) -> bool:
    """Whether an UNLOCK that was put off by grace was not sent again, though its lock stands."""
    put_off = operation.answers[-1].time
    return (
        s.end - put_off >= s.settings[SENT_AGAIN]
        and s.restarted(operation.responder, put_off + 1, s.end) is None
        and all(lock.unlock is operation and lock.server_end is None for _, _, lock in operation.removed)
    )


@rule("lock-leaked-by-refused-grant", HIGH)
def lock_leaked_by_refused_grant(s: Sessions) -> Iterator[Case]:
    """The server gave a lock, the client refused it, and the server kept it.

    ## What it is
    A GRANTED callback for a waiting request answered with DENIED, no UNLOCK or CANCEL of that owner
    afterwards, and later requests of others refused because of that lock.

    ## Why it matters
    Nobody uses the lock and nobody can have it.

    ## What to do
    Free the lock on the server (`echo PATH > /proc/fs/nfsd/unlock_filesystem`); run Linux 6.4 or newer on
    server and client, which give a refused lock back.

    ## Evidence
    The GRANTED and its refusal, the later denials.

    ## When it is a false alarm
    A refusal of a late copy is harmless where a poll won the lock before; a refusal of a forged GRANTED too.
    """
    for lock in s.ledger.locks:
        offer = lock.refusal
        if offer is None or offer.refused is None or lock.believed is not None or offer.wait is None:
            continue
        if lock.server_end is not None and lock.server_end.reason == "unlock":
            continue
        if offer.wait.cancel is not None:
            continue
        denied = [
            pair for pair in lock.denials if pair[1].time > offer.refused.time and pair[0].blockers == [lock]
        ]
        if not denied and lock.server_end is not None:
            continue
        yield Case(
            f"{s.hosts.address(lock.client)} refused the lock on {file_name(s, lock.file)} that "
            f"{s.hosts.address(lock.server)} granted it; "
            + (
                f"the server keeps it: {len(denied)} later requests of others were refused"
                if denied
                else "whether the server kept it nobody asked"
            ),
            [
                *offer.operation.frames,
                *offer.wait.request.frames,
                *(frame for operation, _ in denied for frame in operation.frames),
            ],
            Place(offer.operation.call.frame, offer.operation.call.time),
            Place(denied[-1][1].frame, denied[-1][1].time) if denied else offer.refused,
            confidence=DEFINITE if denied else POSSIBLE,
            severity=HIGH if denied else MEDIUM,
            stands=[lock],
            subject=lock,
            **of_lock(s, lock),
        )


@rule("lock-lost-silently", CRITICAL)
def lock_lost_silently(s: Sessions) -> Iterator[Case]:
    """A client still believes it holds a lock that the server gave to someone else.

    ## What it is
    A conflicting lock was granted to another owner, and nothing on the wire ended the first one: no
    UNLOCK, no reboot of its holder, no restart of the server.

    ## Why it matters
    Two programs work under a lock that each believes to be its own. The file can be damaged.

    ## What to do
    Stop one of the two writers and check the file. Then look for who dropped the lock: a reboot notice in the
    client's name, FREE_ALL, `unlock_filesystem` or `unlock_ip` on the server.

    ## Evidence
    Both grants; what the first holder did as holder afterwards (WRITE, UNLOCK).

    ## When it is a false alarm
    An UNLOCK that was lost from the capture; an administrator who freed the lock of a dead client.
    """
    for overlap in s.ledger.overlaps:
        if not is_double_grant(overlap) and restart_between(s, overlap) is None:
            yield two_owners(s, overlap)


@rule("lock-taken-in-recovery", CRITICAL, family="recovery")
def lock_taken_in_recovery(s: Sessions) -> Iterator[Case]:
    """After a restart of the lock service someone else got a lock whose holder was not asked.

    ## What it is
    A conflicting lock was granted to another owner after the server restarted or went through grace, and the
    first holder neither reclaimed nor released its own.

    ## Why it matters
    Two programs work under a lock that each believes to be its own. The file can be damaged.

    ## What to do
    Stop one of the two writers and check the file. On the server make sure that clients are told:
    `sm-notify -f` after every restart of lockd; never `pkill -KILL lockd` alone; in a cluster first
    exports, then the address, then the notice.

    ## Evidence
    Both grants, the grace window or the notice between them, what the first holder did afterwards.

    ## When it is a false alarm
    An UNLOCK or a reclaim that was lost from the capture.
    """
    for overlap in s.ledger.overlaps:
        restart = restart_between(s, overlap)
        if restart is not None:
            case = two_owners(s, overlap)
            case.cause = restart
            yield case
