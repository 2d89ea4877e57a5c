"""The two ledgers: what the server must believe of every lock, and what the client must.

In: NLM operations and their answers in capture order, and the events that free locks without an UNLOCK.
Out: `Lock`s (one per grant), `Wait`s, `Offer`s (GRANTED callbacks), `Overlap`s (two owners believe).

Theory. The protocol gives the two sides no way to compare notes; every fault of this domain is a
difference between the ledgers S (server) and C (client):

    S held, C held        normal            S held, C not held     leak
    S not, C held         lost lock         S by a, C by a and b   double grant

Order is that of the calls, not of the replies: replies of pipelined calls may be swapped, a GRANTED_RES
may come after the waiter's own UNLOCK and after the next owner's grant. So an UNLOCK takes effect at its
call and is confirmed (or undone) by its answer, a grant is placed where its LOCK call (or its callback)
stands and what the same owner has unlocked since is cut out of it. Within one owner ranges follow POSIX
(`ranges`); between owners they conflict where they share a byte and one of them is exclusive.

Never: decides what is a fault; findings do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from analyzer.parameters import DEFAULTS, Settings, window
from analyzer.records.events import Io
from analyzer.sessions import operations as op
from analyzer.sessions.handles import Handles
from analyzer.sessions.kept import Kept
from analyzer.sessions.model import End, File, Lock, Offer, Overlap, Owner, Place, Wait
from analyzer.sessions.operations import Answer, Operation, with_one_more
from analyzer.sessions.servers import Servers
from analyzer.sessions.waiting import Waiting

UNLOCKERS_KEPT = 1024  # owners per file whose last UNLOCKs are known; Linux makes owners all the time
PENDING_KEPT = 1024  # UNLOCKs per file that may still be answered; one more, and the oldest never was
UNLOCKS_KEPT = 32  # per owner and file: enough to order a late grant behind its own UNLOCK
DENIALS_KEPT = 64
STATES_KEPT = 64  # of one client that are told apart
ASKED_KEPT = 64  # requests of one client that may be told to wait
WAIT_REMEMBERED = window(
    "late-callback", 120, "a GRANTED for a wait that ended so long ago at most is late, not unsolicited"
)


class Ledger:
    """Both ledgers of all files, fed with operations in order."""

    def __init__(
        self, handles: Handles, servers: Servers | None = None, settings: Settings = DEFAULTS
    ) -> None:
        self.handles = handles
        self.servers = servers or Servers(handles.table)
        self.files: dict[int, File] = {}
        self.owners: dict[tuple[object, ...], Owner] = {}
        self.locks: list[Lock] = []
        self.grants = 0  # numbers of locks given out
        self.pairs: set[tuple[int, int]] = set()  # clients and servers of all of them
        self.states: dict[int, list[tuple[int, int, int]]] = {}  # time, frame, NSM state, by client
        self.waits: list[Wait] = []
        self.offers: list[Offer] = []
        self.overlaps: Kept[Overlap] = Kept()
        self.unlocks: Kept[Operation] = Kept()  # those still without an answer, and the refused ones
        self.deadlocks: Kept[tuple[Operation, Answer]] = Kept()
        self.waiting = Waiting(settings[WAIT_REMEMBERED])
        self.asked_of: dict[int, deque[Operation]] = {}  # blocking requests by client, the newest
        self.on_wait: Callable[[Wait], None] = _nothing  # told of every new wait
        self.on_grant: Callable[[Lock], None] = _nothing  # ... and of every grant by the first answer

    # -- keys ---------------------------------------------------------------------------------

    def file(self, server: int, fh: int) -> File:
        """The file behind a handle. Handles with the same fsid and fileid are one file."""
        canonical = self.handles.canonical(fh)
        found = self.files.get(canonical)
        if found is None:
            found = self.files[canonical] = File(server, fh, self.servers.model(fh))
        return found

    def owner(self, operation: Operation, file: File) -> Owner:
        """The owner of a request, by the rules of the server it is sent to."""
        client = operation.requester
        key = file.model.owner(file.server, client, operation)
        owner = self.owners.get(key)
        if owner is None:
            owner = Owner(key, client, operation.svid, operation.oh, operation.caller)
            self.owners[key] = owner
        elif owner.caller != operation.caller:
            owner.is_shared = True
        return owner

    # -- calls --------------------------------------------------------------------------------

    def asked(self, operation: Operation) -> None:
        """A new request was sent."""
        kind = operation.kind
        if operation.fh < 0:
            return
        file = operation.file = self.file(operation.responder, operation.fh)
        operation.owner = self.owner(operation, file)
        if kind == "UNLOCK":
            self._release(operation)
        elif kind == "LOCK":
            if operation.block:
                self._may_wait(operation)
            if self.overlaps and not operation.reclaim:
                self._asked_again(operation)
        elif kind == "CANCEL":
            self._cancel(operation)

    def _may_wait(self, operation: Operation) -> None:
        """A blocking request: a callback may be about it."""
        asked = self.asked_of.get(operation.requester)
        if asked is None:
            asked = self.asked_of[operation.requester] = deque(maxlen=ASKED_KEPT)
        asked.append(operation)

    def _asked_again(self, operation: Operation) -> None:
        """Whoever asks for a lock that it lost had released it: the UNLOCK was not captured."""
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        for low, high, lock in file.believed.of(owner):
            overlap, covered = lock.lost, low <= operation.end and high >= operation.start
            if overlap is not None and covered and lock.exclusive == operation.exclusive:
                overlap.asked_again = overlap.asked_again or Place(operation.call.frame, operation.call.time)

    def _cancel(self, operation: Operation) -> None:
        """Its own wait is over; one of which it only has the name goes on for the host that waits."""
        wait = self._open_wait(operation)
        if wait is not None and _of_one_host(operation, wait.request):
            wait.cancel = operation
            operation.wait = wait
            self.end_wait(wait, End("cancel", operation.call.frame, operation.call.time))
            return
        assert operation.file is not None
        svid, start, end = operation.svid, operation.start, operation.end
        for wait in operation.file.waits:
            if wait.request.svid == svid and wait.start == start and wait.end == end:
                same = operation.identity == wait.request.identity
                if same and not _of_one_host(operation, wait.request):
                    wait.cancelled = operation

    def _release(self, operation: Operation) -> None:
        file, owner, call = operation.file, operation.owner, operation.call
        assert file is not None and owner is not None
        end = End("unlock", call.frame, call.time)
        theirs = operation.requester == owner.client or self._is_of_holder(operation, file, owner)
        if not theirs:
            file.part()
        removed = operation.removed = file.held.remove(owner, operation.start, operation.end)
        for low, high, lock in removed:
            lock.unlock = operation
            if (low == lock.start and high == lock.end) or lock not in file.held:
                lock.server_end = end
        if file.believed is not file.held:
            removed = file.believed.remove(owner, operation.start, operation.end) if theirs else []
        for low, high, lock in removed:
            if lock.lost is not None:
                self._proof(lock, "UNLOCK", call.frame, call.time)
            if (low == lock.start and high == lock.end) or lock not in file.believed:
                lock.client_end = end
        past = file.unlocks.get(owner)
        if past is None:
            past = file.unlocks[owner] = []
            if len(file.unlocks) > UNLOCKERS_KEPT:
                del file.unlocks[next(iter(file.unlocks))]
        past.append(operation)
        if len(past) > UNLOCKS_KEPT:
            del past[0]
        file.pending[operation] = None
        if len(file.pending) > PENDING_KEPT:
            self.give_up(next(iter(file.pending)))
        if not file.waits:
            return
        for wait in list(self.waiting.of_owner(owner)):
            if wait.file is file and wait.start >= operation.start and wait.end <= operation.end:
                self.end_wait(wait, end)
        self._freed(file, operation, Place(call.frame, call.time))

    @staticmethod
    def _is_of_holder(operation: Operation, file: File, owner: Owner) -> bool:
        """Whether it comes from the host that holds, where servers take names of two hosts for one owner."""
        return all(_of_one_host(operation, lock.request) for _, _, lock in file.believed.of(owner))

    def _proof(self, lock: Lock, kind: str, frame: int, time: int) -> None:
        overlap = lock.lost
        if overlap is not None and overlap.proof is None and overlap.asked_again is None:
            overlap.proof = Place(frame, time)
            overlap.proof_kind = kind

    def _freed(self, file: File, operation: Operation | None, place: Place) -> None:
        """Something was released: which waits have nothing in their way any more?"""
        held = file.held
        for wait in file.waits:
            if wait.free_since is None and not (
                held and held.conflicts(wait.owner, wait.start, wait.end, wait.exclusive)
            ):
                wait.free_since = place
                wait.freed_by = operation

    # -- answers ------------------------------------------------------------------------------

    def answered(self, operation: Operation, answer: Answer) -> None:
        """A status came back."""
        if operation.file is None or operation.owner is None:
            return
        kind = operation.kind
        if kind == "UNLOCK":
            self._unlock_answered(operation, answer)
        elif kind in ("LOCK", "NM_LOCK"):
            if answer.status == op.GRANTED:
                self._granted(operation, answer)
            else:
                self._refused(operation, answer)
        elif kind == "TEST":
            self._test_answered(operation, answer)

    def failed(self, operation: Operation) -> None:
        """RPC itself refused the call: nothing was executed."""
        if operation.kind == "UNLOCK" and not operation.answers:
            self._restore(operation)

    def _refused(self, operation: Operation, answer: Answer) -> None:
        status = answer.status
        wait = self._open_wait(operation)
        if status == op.BLOCKED:
            self._denied(operation, answer)
            if operation.block:
                self._blocked(operation, answer, wait)
            return
        if status == op.DENIED:
            self._denied(operation, answer)
        if status == op.DEADLCK:
            self.deadlocks.append((operation, answer))
        if wait is not None and status != op.DENIED_GRACE_PERIOD:
            self.end_wait(wait, End("denied", answer.frame, answer.time))

    def _granted(self, operation: Operation, answer: Answer) -> None:
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        place = Place(answer.frame, answer.time)
        order = answer.call.serial
        old = operation.lock
        if old is not None and (order == operation.order or old in file.held):
            return
        wait = self._open_wait(operation) if file.waits else None
        how = "poll" if wait is not None and operation is not wait.request else "reply"
        if old is not None:
            how = "duplicate"
        lock = self.new_lock(operation, file, owner, how, place)
        operation.lock = lock
        if operation.reclaim:
            before = self._reclaimed(operation, file, owner)
            if before is not None:
                lock = operation.lock = before
        if wait is not None:
            wait.lock = lock
            self.end_wait(wait, End("poll", answer.frame, answer.time))
        if how != "duplicate":
            lock.believed = lock.believed or place  # a reclaim goes on with what was believed
        self.place(lock, order, place, believes=how != "duplicate")
        if how == "reply" and not operation.reclaim:
            self.on_grant(lock)

    def _reclaimed(self, operation: Operation, file: File, owner: Owner) -> Lock | None:
        """A reclaim of what the client believed in goes on with the same lock."""
        lock = operation.lock
        if lock is None:
            return None
        for low, high, before in file.believed.of(owner):
            if low == operation.start and high == operation.end and before.exclusive == operation.exclusive:
                before.server_end = None
                before.reclaimed = with_one_more(before.reclaimed, operation)
                self.locks.pop()
                self.grants -= 1
                return before
        lock.how = "reclaim"
        return None

    def new_lock(self, operation: Operation, file: File, owner: Owner, how: str, place: Place) -> Lock:
        """A grant for a request, not yet entered into either ledger."""
        self.grants += 1
        lock = Lock(
            self.grants,
            file,
            owner,
            operation.start,
            operation.end,
            operation.exclusive,
            operation,
            how,
            place,
            monitored=operation.kind != "NM_LOCK",
        )
        self.locks.append(lock)
        self.pairs.add((owner.client, file.server))
        if operation.state and not operation.reclaim:
            self._stated(owner.client, operation)
        return lock

    def _stated(self, client: int, operation: Operation) -> None:
        """A client named its NSM state: is it another one?"""
        known = self.states.get(client)
        if known is None:
            known = self.states[client] = []
        if len(known) < STATES_KEPT and (not known or known[-1][2] != operation.state):
            known.append((operation.call.time, operation.call.frame, operation.state))

    def place(self, lock: Lock, order: int, place: Place, believes: bool) -> None:
        """Enter a grant into S and, where the client knows of it, into C."""
        file, owner = lock.file, lock.owner
        past = file.unlocks.get(owner)
        pieces, cut_by = [(lock.start, lock.end)], None
        if past and past[-1].order > order:  # hardly ever: calls come in order
            pieces, cut_by = self._cut(past, lock, order)
        if not pieces:
            end = End("unlock", cut_by.call.frame, cut_by.call.time) if cut_by else None
            lock.server_end = lock.server_end or end
            lock.client_end = lock.client_end or end
            lock.unlock = lock.unlock or cut_by
            return
        if file.pending:
            self._executed(file, owner, (lock.start, lock.end), lock.exclusive, order)
        if file.believed is not file.held:
            file.join()
        if not believes:
            file.part()
        for start, end_ in pieces:
            self._overrule(lock, start, end_, place)
            replaced = file.held.assign(start, end_, lock)
            for _, _, old in replaced:
                if old is not lock and old not in file.held:
                    old.server_end = End("replaced", place.frame, place.time)
            if file.believed is not file.held:
                replaced = file.believed.assign(start, end_, lock) if believes else []
            for _, _, old in replaced:
                if old is not lock and old not in file.believed:
                    old.client_end = End("replaced", place.frame, place.time)
        for wait in file.waits:
            if wait.free_since is None or wait.owner is owner:
                continue
            if wait.start <= lock.end and wait.end >= lock.start and (wait.exclusive or lock.exclusive):
                wait.taken("taken" if lock.how == "reply" else "turn", place)

    def _executed(
        self, file: File, owner: Owner, extent: tuple[int, int], exclusive: bool, order: int
    ) -> None:
        """A grant to somebody else, or what the owner did later, shows that earlier UNLOCKs were executed,
        though no answer was seen."""
        for unlock in [each for each in file.pending if each.order < order and each.removed]:
            mine = unlock.owner is owner
            unlock.removed = [
                (low, high, lock)
                for low, high, lock in unlock.removed
                if low > extent[1] or high < extent[0] or not (mine or exclusive or lock.exclusive)
            ]
            if not unlock.removed:
                del file.pending[unlock]

    @staticmethod
    def _cut(past: list[Operation], lock: Lock, order: int) -> tuple[list[tuple[int, int]], Operation | None]:
        """What is left of a grant after the UNLOCKs that its owner sent behind it."""
        pieces = [(lock.start, lock.end)]
        cut_by: Operation | None = None
        for unlock in past:
            if unlock.order <= order or unlock.status not in (None, op.GRANTED):
                continue
            start, end = unlock.start, unlock.end
            left: list[tuple[int, int]] = []
            for low, high in pieces:
                if high < start or low > end:
                    left.append((low, high))
                    continue
                cut_by = unlock
                if low < start:
                    left.append((low, start - 1))
                if high > end:
                    left.append((end + 1, high))
            pieces = left
        return pieces, cut_by

    def _overrule(self, lock: Lock, start: int, end: int, place: Place) -> None:
        """A grant proves that the server holds nothing that conflicts with it."""
        file, owner = lock.file, lock.owner
        in_way = file.held.conflicts(owner, start, end, lock.exclusive)
        if in_way:
            file.part()
        elif file.believed is file.held:
            return
        for loser in file.believed.conflicts(owner, start, end, lock.exclusive):
            if loser.lost is None:
                loser.lost = Overlap(loser, lock, place)
                self.overlaps.append(loser.lost)
            else:
                loser.lost.count += 1
        for gone in in_way:
            file.held.drop(gone)
            gone.server_end = End("overruled", place.frame, place.time)

    def _blocked(self, operation: Operation, answer: Answer, wait: Wait | None) -> None:
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        if wait is not None:
            if operation is not wait.request:
                wait.polls.append(operation)
                operation.wait = wait
                wait.taken("blocked", Place(answer.frame, answer.time))  # by something not on the wire
            return
        if self._overtaken_by_unlock(operation, answer):
            return
        wait = Wait(
            file,
            owner,
            operation.start,
            operation.end,
            operation.exclusive,
            operation,
            Place(operation.call.frame, operation.call.time),
            operation.blockers,
        )
        operation.wait = wait
        for lock in wait.blockers:
            lock.waiters += 1
        file.waits[wait] = None
        file.awaited = True
        self.waits.append(wait)
        self.waiting.begins(wait)
        self.on_wait(wait)

    def _overtaken_by_unlock(self, operation: Operation, answer: Answer) -> bool:
        """Whether the owner gave up (UNLOCK) behind this very call before it was told to wait."""
        file, owner, order = operation.file, operation.owner, answer.call.serial
        assert file is not None and owner is not None
        return any(
            unlock.order > order and unlock.start <= operation.start and unlock.end >= operation.end
            for unlock in file.unlocks.get(owner, ())
        )

    def _open_wait(self, operation: Operation) -> Wait | None:
        owner, extent = operation.owner, (operation.start, operation.end)
        for wait in self.waiting.of_owner(owner) if owner is not None else ():
            same = wait.file is operation.file and (wait.start, wait.end) == extent
            if same and wait.exclusive == operation.exclusive:
                return wait
        return None

    def end_wait(self, wait: Wait, end: End) -> None:
        """Nobody waits any more."""
        if wait.ended is None:
            wait.ended = end
            wait.taken(end.reason, Place(end.frame, end.time))
            wait.file.waits.pop(wait, None)
            self.waiting.ends(wait)

    def leave_wait(self, wait: Wait) -> None:
        """Nobody is to know of a wait any more, whether it goes on or not."""
        wait.file.waits.pop(wait, None)
        self.waiting.leave(wait)

    def _denied(self, operation: Operation, answer: Answer) -> None:
        """DENIED or BLOCKED: by which lock?"""
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        in_way = file.held.conflicts(owner, operation.start, operation.end, operation.exclusive)
        for unlock in file.pending:
            if unlock.order != operation.order and unlock.owner is not owner:
                for low, high, lock in unlock.removed:
                    if low <= operation.end and high >= operation.start and lock not in in_way:
                        if operation.exclusive or lock.exclusive:
                            in_way.append(lock)
        operation.blockers = in_way
        for lock in in_way:
            known, half = lock.denials, DENIALS_KEPT // 2
            if len(known) >= DENIALS_KEPT:
                known = [*known[:half], *known[half + 1 :]]  # the first ones and the last ones tell
            lock.denials = with_one_more(known, (operation, answer))
        if not in_way and len(file.unexplained) < DENIALS_KEPT:
            file.unexplained.append((operation, answer))

    def _unlock_answered(self, operation: Operation, answer: Answer) -> None:
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        file.pending.pop(operation, None)
        if file.pending and answer.status == op.GRANTED:
            self._executed(file, owner, (operation.start, operation.end), False, operation.order)
        if answer.status != op.GRANTED and operation.status == answer.status:
            self._restore(operation)
            self.unlocks.append(operation)

    def _restore(self, operation: Operation) -> None:
        """An UNLOCK was not executed: what it took away stands on the server."""
        file, owner = operation.file, operation.owner
        if file is None or owner is None:
            return
        file.pending.pop(operation, None)
        for start, end, lock in operation.removed:
            if not any(
                other.owner is owner or lock.exclusive or other.exclusive
                for other in file.held.overlapping(start, end)
            ):
                file.part()
                file.held.assign(start, end, lock)
                lock.server_end = None

    def _test_answered(self, operation: Operation, answer: Answer) -> None:
        file, owner = operation.file, operation.owner
        assert file is not None and owner is not None
        if answer.status == op.DENIED:
            self._denied(operation, answer)
        elif answer.status == op.GRANTED:
            end = End("tested-free", answer.frame, answer.time)
            for lock in file.held.conflicts(owner, operation.start, operation.end, operation.exclusive):
                if lock.granted.time < operation.call.time:
                    file.part()
                    file.held.drop(lock)
                    lock.server_end = end
            for wait in file.waits:
                if wait.owner is not owner and wait.free_since is not None and wait.tested is None:
                    wait.tested = operation

    # -- what frees locks without an UNLOCK ----------------------------------------------------

    def free_client(
        self, server: int, client: int, end: End, client_too: bool, only: tuple[int, int] | None = None
    ) -> list[Lock]:
        """All locks of `client` on `server` end (reboot notice, FREE_ALL); return them.

        `only` limits it to one (transport, version), as Linux does for FREE_ALL.
        """
        freed: list[Lock] = []
        for file in self._files_of(server):
            for lock in [lock for lock in file.held if lock.client == client]:
                if only is not None and (lock.request.call.transport, lock.request.call.version) != only:
                    continue
                file.part()
                file.held.drop(lock)
                lock.server_end = end
                freed.append(lock)
                if client_too and lock in file.believed:
                    file.believed.drop(lock)
                    lock.client_end = end
            if client_too:
                for wait in [w for w in file.waits if w.client == client]:
                    self.end_wait(wait, End("reboot", end.frame, end.time))
            self._freed(file, None, Place(end.frame, end.time))
        return freed

    def restart(self, server: int, end: End) -> list[Lock]:
        """The server forgot every lock (it restarted); return what it held."""
        lost: list[Lock] = []
        for file in self._files_of(server):
            file.part()
            for lock in list(file.held):
                file.held.drop(lock)
                lock.server_end = end
                lost.append(lock)
            for wait in list(file.waits):
                self.end_wait(wait, End("server-restart", end.frame, end.time))
        return lost

    def _files_of(self, server: int) -> list[File]:
        return [
            file
            for file in self.files.values()
            if file.server == server and (file.held or file.believed or file.waits)
        ]

    def touched(self, io: Io) -> None:
        """A client wrote to a locked file: does it act as the holder of a lock it lost?"""
        canonical = self.handles.canonical(io.fh)
        file = self.files.get(canonical)
        if file is None:
            return
        last = io.offset + max(io.count, 1) - 1
        for lock in file.believed.overlapping(io.offset, last):
            if lock.client == io.client and lock.lost is not None:
                self._proof(lock, io.kind, io.frame, io.time)

    def finish(self, end: Place) -> None:
        """End of the capture: an UNLOCK that was never answered may never have been executed."""
        for wait in self.waits:
            wait.taken("open", end)
        for file in self.files.values():
            for operation in list(file.pending):
                self.give_up(operation)

    def give_up(self, operation: Operation) -> None:
        """Nobody says that an UNLOCK was executed."""
        self._restore(operation)
        self.unlocks.append(operation)


def _of_one_host(one: Operation, other: Operation) -> bool:
    """Whether two requests came from one address, or from two of a host that signs both with its name."""
    return one.requester == other.requester or (one.call.machine or b"") == other.call.machine


def _nothing(what: object) -> None:
    """Nobody listens."""
