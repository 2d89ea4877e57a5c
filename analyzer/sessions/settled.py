"""Locks that ended as they should: what is kept of them.

In: sessions, now and then. Out: the same sessions without the locks that are settled.

Theory. Nearly all locks of a capture are granted at once, given back, and nobody had to wait for them, though
some were told that they cannot have them now: no rule has anything to say of them, whatever comes. They are
settled as soon as nobody can repeat or answer their requests any more, and are let go of, or memory would
grow with the capture. What rules ask of all locks there ever were is kept as numbers: who has had a file, who
used a name last, when a file was last given away, how long it is held. A lock that spans what may turn out to
be a restart (a MNT of its client, another write verifier or a FREE_ALL at its server) stays, and so does one
that stood while somebody waited for its file. So does the last one of a file that anybody waited for, which
may be handed over, and of one that an UNLOCK of another range ended: some servers free only what matches a
lock exactly, and whoever is refused there hours later is so for that reason.

Never: lets go of a lock that a rule could name; takes part where all locks are wanted as a table.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence, Sized
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from analyzer.records.gather import most_of_each
from analyzer.sessions import operations as op
from analyzer.sessions.lately import Lately
from analyzer.sessions.model import File, Lock, Owner
from analyzer.sessions.operations import LATELY, Operation
from analyzer.sessions.servers import UNKNOWN
from analyzer.sessions.spans import Stretch, joined, meet_joined
from analyzer.tables import I64

if TYPE_CHECKING:
    from analyzer.sessions.world import Sessions

REQUESTS_KEPT = 1 << 14
"""Requests that may still be repeated or answered: 16 s of a server that takes a thousand a second, and lockd
tries again after 10. They take 1.5 KB each with their locks, and half as many more may be there: 40 MB."""
HAD_KEPT = 1 << 15  # pairs of a client and a file it has locked, at the least
NAMES_KEPT = 1 << 16  # names under which clients have locked
FILES_KEPT = 1 << 12  # that were locked last, of which it is known how long they are held, at the least
HOLDS_KEPT = 64  # of one file: the first ones tell what is usual there
LAST_KEPT = 1 << 12  # files of which the last lock stays
NEVER = -1
QUIETLY = ("unlock", "replaced")  # by its own owner


class Settled:
    """What is known of the locks that were let go of."""

    def __init__(self) -> None:
        self.count = 0
        self.last_use: dict[tuple[int, bytes], int] = {}  # number of the last lock by client and name
        self._holds: Lately[int, array[int]] = Lately()  # ns, by handle
        self._had: Lately[int, int] = Lately()  # until when, by client and handle
        self._spent: dict[Operation, None] = {}  # UNLOCKs of nothing that is kept, and not forgotten yet
        self._next = REQUESTS_KEPT * 3 // 2  # requests at which it is time again
        self._crowd = 0  # owners and files at which it is time to look for idle ones

    def had(self, client: int, file: File) -> bool:
        """Whether a client may have had a lock of this file that was let go of."""
        return self._had.forgot or self._had.find(_pair(client, file.fh)) is not None

    def until(self, client: int, file: File) -> int:
        """Until when a client had the last lock of this file that was let go of; 0 if it had none."""
        return self._had.find(_pair(client, file.fh)) or 0

    def holds(self, file: File) -> list[int]:
        """How long locks of a file were held, ns."""
        return list(self._holds.find(file.fh) or ())

    def look(self, s: Sessions) -> None:
        """Let go of what is settled, if it is time again."""
        operations = s.operations
        if operations.requests < self._next:
            return
        first, idle = operations.close(REQUESTS_KEPT, s.withheld.since)
        self._spent.update(dict.fromkeys(idle))
        wanted = _wanted(s)
        ledger, is_settled = s.ledger, _IsSettled(s, first, wanted)
        self._sift(ledger.locks, first, is_settled)
        self._had.turn(HAD_KEPT)
        self._holds.turn(FILES_KEPT)
        self._forget_spent(s, wanted)
        if len(ledger.owners) + len(ledger.files) > self._crowd:
            drop_unused(s)
            self._crowd = 2 * (len(ledger.owners) + len(ledger.files))
        scanned: tuple[Sized, ...] = (
            ledger.locks,
            ledger.waits,
            operations.open,
            is_settled.times,
            self._spent,
        )
        self._next = operations.requests + max(REQUESTS_KEPT, *map(len, scanned)) // 2

    def _sift(self, locks: list[Lock], closed: int, is_settled: _IsSettled) -> None:
        """Let go of the settled ones."""
        # they are in the order in which they were granted: nearly all that follow are of later requests
        old = bisect_left(locks, closed, key=_request)
        looked_at, kept = locks[:old], []
        locks[:old] = ()
        looked_at.reverse()
        last: dict[File, Lock] = {}  # of each file of which it stays, so far
        while looked_at:
            lock = looked_at.pop()  # nobody else has it any more
            if not is_settled(lock):
                kept.append(lock)
                continue
            if last and lock.file in last:
                self._let_go(last.pop(lock.file))
            if (_ended_unevenly(lock) or lock.file in is_settled.awaited) and len(last) < LAST_KEPT:
                last[lock.file] = lock
            else:
                self._let_go(lock)
        if last:
            kept = sorted([*kept, *last.values()], key=_request)
        locks[:0] = kept

    def name(self, client: int, caller: bytes, number: int) -> None:
        """A client used this name for the lock with this number, which is let go of."""
        name = client, caller
        if name in self.last_use or len(self.last_use) < NAMES_KEPT:
            self.last_use[name] = max(number, self.last_use.get(name, 0))

    def were_held(self, fh: I64, client: I64, since: I64, until: I64) -> None:
        """Clients had locks of these files that are let go of, ns."""
        had, holds = self._had, self._holds
        for pair, last in most_of_each(client << 32 | fh, until):
            had.new[pair] = max(had.find(pair) or 0, last)
        order = np.argsort(fh, kind="stable")
        edges = np.flatnonzero(np.diff(fh[order])) + 1
        for mine in np.split(order, edges):
            file = int(fh[mine[0]])
            known = holds.find(file)
            known = holds.new[file] = array("q") if known is None else known
            known.extend((until[mine] - since[mine])[: HOLDS_KEPT - len(known)].tolist())

    def _was_held(self, fh: int, client: int, since: int, until: int) -> None:
        pair, had, holds = _pair(client, fh), self._had, self._holds
        had.new[pair] = max(had.find(pair) or 0, until)
        known = holds.find(fh)
        known = holds.new[fh] = array("q") if known is None else known
        if len(known) < HOLDS_KEPT:
            known.append(until - since)

    def _let_go(self, lock: Lock) -> None:
        file, owner, unlock, end = lock.file, lock.owner, lock.unlock, lock.server_end
        granted = lock.granted.time
        self.count += 1
        self.name(owner.client, owner.caller, lock.number)
        if end is not None:
            self._was_held(file.fh, owner.client, granted, end.time)
        file.settled = max(file.settled, granted)
        lock.request.lock, lock.denials = None, ()  # circles, which nobody would collect
        if unlock is not None:
            self._release(lock, unlock, file, owner)

    def _release(self, lock: Lock, unlock: Operation, file: File, owner: Owner) -> None:
        """What gave a lock back does not keep it, and is forgotten if it gave back nothing else."""
        removed = unlock.removed
        if removed and removed[0] == (lock.start, lock.end, lock) and len(removed) == 1:  # as nearly always
            unlock.removed = ()
        else:
            for each in (unlock, *file.unlocks.get(owner, ())):  # it may have gone piece by piece
                each.removed = [piece for piece in each.removed if piece[2] is not lock]
                if not each.removed:
                    self._spent[each] = None
            if unlock.removed:
                return
        # at a server that is not known an UNLOCK may have been more than its owner's
        if (file.model is UNKNOWN and file.held) or not _forgotten(file, owner, unlock):
            self._spent[unlock] = None

    def _forget_spent(self, s: Sessions, wanted: set[File | None]) -> None:
        """Forget UNLOCKs of nothing that is kept, of files that are at rest."""
        judged = {overlap.loser.file for overlap in s.ledger.overlaps}
        spent, self._spent = self._spent, {}
        for unlock in spent:
            file, owner = unlock.file, unlock.owner
            if file is None or owner is None or unlock not in file.unlocks.get(owner, ()):
                continue
            busy = file.held or file.believed or file.unexplained or file in judged or file in wanted
            if busy or unlock.order in s.operations.open or not _forgotten(file, owner, unlock):
                self._spent[unlock] = None


def _ended_unevenly(lock: Lock) -> bool:
    """Whether an exclusive lock was ended by an UNLOCK of another range than its own."""
    unlock = lock.unlock
    return lock.exclusive and unlock is not None and (unlock.start, unlock.end) != (lock.start, lock.end)


def _forgotten(file: File, owner: Owner, unlock: Operation) -> bool:
    """Forget an UNLOCK, if that may be: one that was sent behind one without an answer tells what became
    of that."""
    past = file.unlocks.get(owner, [])
    if len(past) == 1 and past[0] is unlock and unlock.answers:  # as nearly always
        del file.unlocks[owner]
        return True
    answered = list(takewhile(_has_answer, past))
    if unlock in answered:
        past.remove(unlock)
        return True
    return unlock not in past


def _has_answer(operation: Operation) -> bool:
    return len(operation.answers) > 0


def _wanted(s: Sessions) -> set[File | None]:
    """Files that somebody waited for without being told BLOCKED: very long, or still without an answer."""
    since = s.end - LATELY
    return {operation.file for operation, _ in s.slow} | {
        one.file for one in s.operations.open.values() if not one.answers and one.call.time >= since
    }


def _awaited(s: Sessions) -> dict[File, list[Stretch]]:
    """When somebody waited for each file."""
    waits: dict[File, list[Stretch]] = {}
    for wait in s.ledger.waits:
        end = s.end if wait.ended is None else wait.ended.time
        waits.setdefault(wait.file, []).append((wait.since.time, end))
    return {file: joined(stretches) for file, stretches in waits.items()}


class _IsSettled:
    """Whether a lock is settled."""

    def __init__(self, s: Sessions, closed: int, wanted: set[File | None]) -> None:
        """`closed`: requests before this one are not repeated, and no lock is asked about that was requested
        later; `wanted`: files of which all locks stay."""
        self._wanted = wanted
        self._closed = closed
        self.awaited = _awaited(s)
        self._named: set[Lock] = {found.lock for found in s.intrusions.found}
        self._named.update(fate.lock for fate in s.fates.seen)
        self._named.update(overlap.winner for overlap in s.ledger.overlaps)
        self._named.update(lock for birth in s.rebirths.found for lock in (birth.before, birth.after))
        self._named.update(lock for _, lock in s.rebirths.latest.values())
        self._events: dict[object, list[int]] = {}  # that a lock may span, by what they are about
        for mount in s.mounts.sessions.values():
            self._events.setdefault((mount.client, mount.server), []).extend(
                mnt.call.time for mnt in mount.mnts
            )
        for verifier in s.verifiers:  # signs of a restart
            self._events.setdefault(verifier.server, []).append(verifier.time)
        for call in s.conduct.calls.get("free-all", ()):
            self._events.setdefault(call.dst, []).append(call.time)
        for operation in s.misnamed:  # requests in another name
            self._events.setdefault(operation.file, []).append(operation.call.time)
        self.times = sorted(time for times in self._events.values() for time in times)
        for times in self._events.values():
            times.sort()

    def __call__(self, lock: Lock) -> bool:
        server, client, unlock = lock.server_end, lock.client_end, lock.unlock
        return (
            server is not None
            and client is not None
            and server.reason in QUIETLY
            and (client is server or client.reason in QUIETLY)
            and lock.how == "reply"
            and _granted_once(lock.request)
            and (unlock is None or (unlock.call.serial < self._closed and _granted_once(unlock)))
            and lock.monitored
            and not lock.waiters
            and not (lock.reclaimed or lock.owner.is_shared)
            and all(answer.status == op.DENIED for _, answer in lock.denials)
            and lock.lost is None
            and lock.file not in self._wanted
            and not meet_joined(self.awaited.get(lock.file, ()), lock.granted.time, server.time)
            and lock not in self._named
            and not (_spans(lock.granted.time, server.time, self.times) and self._spans_its_own(lock))
        )

    def _spans_its_own(self, lock: Lock) -> bool:
        """Whether it stood when something happened to its client, server or file."""
        end, file = lock.server_end, lock.file
        about = (lock.owner.client, file.server), file.server, file
        return end is not None and any(
            _spans(lock.granted.time, end.time, self._events.get(one, ())) for one in about
        )


def _granted_once(operation: Operation) -> bool:
    """Whether a request was sent once and granted at once."""
    answers = operation.answers
    return len(answers) == 1 and answers[0].status == op.GRANTED and not operation.copies


def _pair(client: int, fh: int) -> int:
    return client << 32 | fh


def _request(lock: Lock) -> int:
    return lock.request.call.serial


def _spans(since: int, until: int, times: Sequence[int]) -> bool:
    """Whether one of these times, in order, lies between."""
    at = bisect_left(times, since)
    return at < len(times) and times[at] <= until


def drop_unused(s: Sessions) -> None:
    """Forget the files and owners that nothing is about any more."""
    ledger = s.ledger
    requests = s.operations.open.values()
    used = {lock.file for lock in ledger.locks} | {wait.file for wait in ledger.waits}
    used |= {request.file for request in requests if request.file is not None}
    for key, file in list(ledger.files.items()):
        if not (file in used or file.unlocks or file.pending or file.believed or file.unexplained):
            if id(file) not in s.shares.of_file:
                del ledger.files[key]
    owners = {lock.owner for lock in ledger.locks} | {wait.owner for wait in ledger.waits}
    owners |= {request.owner for request in requests if request.owner is not None}
    for file in ledger.files.values():
        owners.update(file.unlocks)
        owners.update(lock.owner for lock in file.believed)
    ledger.owners = {key: owner for key, owner in ledger.owners.items() if owner in owners}
