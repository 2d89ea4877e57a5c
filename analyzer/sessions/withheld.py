"""Locks that came and went within a block: known in columns, and as objects only if it comes to that.

In: the lock requests of each block, before its events. Out: which messages need not become events, and what
is to be known of their locks (`settled`); two operations and a lock after all, where a request is repeated or
answered once more.

Theory. What `settled` lets go of need not be made: locks that met no other request (`records.lives`), where
nothing else in the block is about their file, client or server that a finding could be made of. Whatever the
ledgers are told once of a client or a connection, or keep the last of, they are told by a lock that becomes
an object: so the first and the last ones of each connection do.

Never: takes part where all locks are wanted as a table.
"""

from __future__ import annotations

from bisect import insort
from collections import ChainMap, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nlm import DENIED, GRACE, GRANTED, NLM
from analyzer.protocols.nsm import NSM
from analyzer.records.batch import Batch
from analyzer.records.decode import CALL_COLUMNS
from analyzer.records.events import Call, Io, Naming, Renaming, Stale, Verifier
from analyzer.records.gather import Texts, distinct, first_of_each, most_of_each
from analyzer.records.lives import FOREVER, LOCK, MOST_STANDING, NONE, UNLOCK, Lives, Requests, Standing
from analyzer.schema.rows import Bools
from analyzer.sessions import settled
from analyzer.sessions.conduct import FIRST_OPEN_PORT
from analyzer.sessions.model import End, File, Lock, Place
from analyzer.sessions.operations import FORMS, IN_OPERATION, RES, Answer, Operation
from analyzer.sessions.ranges import LARGEST_32, LARGEST_64, extent
from analyzer.sessions.rebirths import FIRST_COOKIE
from analyzer.tables import I64

if TYPE_CHECKING:
    from analyzer.sessions.world import Sessions

WITHHELD = LOCK, UNLOCK
MNT = 1
UNSETTLING = ((NLM, 16), (NLM, 23), (NSM, 6))  # SM_NOTIFY, FREE_ALL, NOTIFY


class Block(NamedTuple):
    """Locks of one block: of each the LOCK, and its UNLOCK in the row behind it."""

    serials: I64  # of the calls, in order
    rows: I64  # of which call each serial is
    calls: I64  # `CALL_COLUMNS` of each
    said: I64  # what `_said` gives
    cookie: Texts
    oh: Texts
    names: list[bytes]
    requests: int  # before it
    first: int  # number of the first lock
    made: Bools  # of each lock, whether it is an object after all


class Withheld:
    """The locks that did not become objects, of the last blocks."""

    def __init__(self, s: Sessions) -> None:
        self._s = s
        self._blocks: deque[Block] = deque()

    @property
    def since(self) -> int:
        """Number of a call since which there were more requests than may be repeated, or 0."""
        return int(self._blocks[0].serials[0]) if self._is_old(0) else 0

    def _is_old(self, number: int) -> bool:
        """Whether there were that many requests since a block began."""
        if number >= len(self._blocks):
            return False
        return self._s.operations.requests - self._blocks[number].requests >= settled.REQUESTS_KEPT

    def take(self, r: Requests | None, lives: Lives, rows: int) -> Bools:
        """Take in the requests `r` of a block as far as that can be done here: which of its `rows` messages
        need not become events."""
        withheld: Bools = np.zeros(rows, np.bool_)
        if r is None or any((said.kind[0], said.kind[2]) in UNSETTLING for said in r.batch.asked):
            return withheld
        plain = self._is_plain(r)
        files = {fh: self._s.handles.canonical(fh) for fh in dict.fromkeys(r.fh.tolist()) if fh >= 0}
        file = np.array([files.get(fh, NONE) for fh in r.fh.tolist()], np.int64)
        plain &= ~_is_among(file, self._apart(r, set(files.values())))
        if not plain.any():
            return withheld
        locks, unlocks = lives.find(r, file, plain, self._standing(np.unique(file[plain])))
        inner = ~_is_first_or_last(r, locks, unlocks) & ~self._is_last_of_awaited(file[locks])
        locks, unlocks = locks[inner], unlocks[inner]
        if len(locks):
            self._keep(r, lives, locks, unlocks)
            self._account(r, locks, unlocks, file[locks])
            while self._is_old(1):
                self._blocks.popleft()
            for requests in (locks, unlocks):
                withheld[r.row[requests]] = withheld[r.reply[requests]] = True
        return withheld

    # -- what may be withheld -----------------------------------------------------------------

    def _is_plain(self, r: Requests) -> Bools:
        """Which requests tell nothing that is new or remarkable, but perhaps of their file."""
        s, client, is_lock = self._s, r.column("src"), r.kind == LOCK
        plain = r.plain & (r.fh >= 0) & (r.column("sport") < FIRST_OPEN_PORT)
        plain &= r.answer("time") - r.column("time") <= s.slow_after
        largest = np.where(r.version >= 4, LARGEST_64, LARGEST_32)
        plain &= (r.length == 0) | (r.offset + r.length < largest)
        clients, first = first_of_each(client)
        known_otherwise = {
            host
            for host, name in zip(clients.tolist(), r.machine[first].tolist(), strict=True)
            if name == NONE or s.hosts.names.get(host, [r.names[name]]) != [r.names[name]]
        }
        several = (client[_differ(client, column)] for column in (r.machine, r.caller))
        restless = known_otherwise.union(*(hosts.tolist() for hosts in several))
        restless.update(client[is_lock][_differ(client[is_lock], r.state[is_lock])].tolist())
        restarted = {*s.reboots.active, *_restarted(r.batch)}
        plain &= ~_is_among(client, restless) & ~_is_among(r.column("dst"), restarted)
        return plain & (r.row > self._begun(r)[client])

    def _begun(self, r: Requests) -> I64:
        """The row, by client, up to which a block may show that it restarted: of its last MNT, or of the last
        answer to a LOCK with a young count."""
        client = r.column("src")
        begun = np.full(int(client.max()) + 1, NONE)
        for said in r.batch.asked:
            if (said.kind[0], said.kind[2]) == (MOUNT, MNT):
                hosts = r.batch.messages.src[said.rows]
                ours = hosts < len(begun)
                np.maximum.at(begun, hosts[ours], said.rows[ours])
        young = (r.kind == LOCK) & (r.count >= FIRST_COOKIE) & (r.count <= self._s.rebirths.youngest)
        np.maximum.at(begun, client[young], np.maximum(r.row, r.reply)[young])
        return begun

    def _apart(self, r: Requests, files: set[int]) -> set[int]:
        """Files of which all requests become objects."""
        s, ledger = self._s, self._s.ledger
        apart = set(r.fh[(r.status != NONE) & (r.status != GRANTED) & (r.status != DENIED)].tolist())
        apart.update(fh for fh in r.fh[r.version < 4].tolist() if fh in s.handles.large)
        for said in r.batch.asked:
            if said.kind[0] == NLM and said.kind[2] > UNLOCK:
                apart.update(said.handles.tolist())
        for _, event in r.batch.others:
            if isinstance(event, Io | Stale):
                apart.add(event.fh)
        apart.update(self._nameless(r.batch))
        apart = {s.handles.canonical(fh) for fh in apart if fh >= 0}
        remarkable = {operation.file for operation, _ in s.slow}
        remarkable.update(overlap.loser.file for overlap in ledger.overlaps)
        for key in files:
            file = ledger.files.get(key)
            if file is not None and (file in remarkable or not _is_at_ease(file)):
                apart.add(key)
        return apart

    def _nameless(self, batch: Batch) -> Iterator[int]:
        """Handles that lose a name, or get another one."""
        names: ChainMap[tuple[int, bytes], int] = ChainMap({}, self._s.handles.children)
        for _, event in batch.others:
            if isinstance(event, Naming | Renaming):
                name = event.directory, event.name
                if isinstance(event, Renaming):
                    to = event.to_directory, event.to_name
                    yield names.get(to, NONE)
                if isinstance(event, Renaming) or event.fh < 0:
                    yield names.get(name, NONE)
                else:
                    names[name] = event.fh

    def _is_last_of_awaited(self, file: I64) -> Bools:
        """Which locks are the last ones of files that somebody waited for once: see `settled`."""
        last: Bools = np.zeros(len(file), np.bool_)
        files, first = first_of_each(file[::-1])
        for key, behind in zip(files.tolist(), first.tolist(), strict=True):
            known = self._s.ledger.files.get(key)
            last[len(file) - 1 - behind] = known is not None and known.awaited
        return last

    def _standing(self, files: I64) -> Standing:
        """What stands of these files."""
        ledger, found = self._s.ledger, []
        for key in files.tolist():
            file = ledger.files.get(key)
            if file is not None:
                found += [(key, *request) for request in _standing_of(file)]
        asked = set(files.tolist())
        for one in self._s.operations.open.values():
            if len(one.answers) <= len(one.copies) and one.file is not None:
                key = self._s.handles.canonical(one.fh)
                if key in asked:
                    found.append((key, one.requester, one.svid, one.start, one.end, True))
        table = np.array([[min(cell, FOREVER) for cell in row] for row in found], np.int64)
        return Standing._make(np.ascontiguousarray(table.reshape(-1, len(Standing._fields)).T))

    # -- what becomes of it -------------------------------------------------------------------

    def _account(self, r: Requests, locks: I64, unlocks: I64, file: I64) -> None:
        """What is to be known of these locks."""
        s, ledger, known = self._s, self._s.ledger, self._s.settled
        client, server = r.column("src")[locks], r.column("dst")[locks]
        since, until = r.answer("time")[locks], r.column("time")[unlocks]
        for host, at in most_of_each(client, np.arange(len(locks))):
            known.name(host, r.names[r.machine[locks[at]]], ledger.grants + 1 + at)
        ledger.grants += len(locks)
        s.operations.requests += 2 * len(locks)
        known.count += len(locks)
        pairs, which = distinct(client << 32 | server)
        for pair, number in zip(pairs.tolist(), np.bincount(which).tolist(), strict=True):
            s.pace.of(pair >> 32, pair & 0xFFFFFFFF).requests += 2 * number
        for host, time in most_of_each(server, r.answer("time")[unlocks]):
            s.operations.answered[host] = max(time, s.operations.answered.get(host, 0))
        files, which = distinct(file)
        fhs = np.full(len(files), NONE)  # by which they are known
        entries = np.bincount(which).tolist()
        for number, (key, time) in enumerate(most_of_each(file, since)):
            one = ledger.files.get(key)
            if one is not None:
                fhs[number] = one.fh
                one.settled = max(one.settled, time)
                one.held.entries += entries[number]
        fh = np.where(fhs[which] == NONE, r.fh[locks], fhs[which])
        known.were_held(fh, client, since, until)

    def _keep(self, r: Requests, lives: Lives, locks: I64, unlocks: I64) -> None:
        """Keep what objects could be made of."""
        both = np.stack((locks, unlocks), 1).ravel()
        calls = np.stack([r.column(name)[both] for name in CALL_COLUMNS], 1)
        serials = r.column("call")[both]
        order = np.argsort(serials)
        self._blocks.append(
            Block(
                serials[order],
                order,
                calls,
                np.stack([column[both] for column in _said(r)], 1),
                lives.texts(r, "cookie", both),
                lives.texts(r, "oh", both),
                r.names,
                self._s.operations.requests,
                self._s.ledger.grants + 1,
                np.zeros(len(locks), np.bool_),
            )
        )

    def recall(self, serial: int) -> bool:
        """Make objects of the lock that a call asked for, or gave back, if it was withheld."""
        for block in self._blocks:
            at = int(np.searchsorted(block.serials, serial))
            if at < len(block.serials) and block.serials[at] == serial:
                number = int(block.rows[at]) // 2
                if not block.made[number]:
                    block.made[number] = True
                    self._make(block, number)
                    return True
        return False

    def _make(self, block: Block, number: int) -> None:
        s, ledger = self._s, self._s.ledger
        request, unlock = (_operation(block, row) for row in (2 * number, 2 * number + 1))
        for operation in (request, unlock):
            file = operation.file = ledger.file(operation.responder, operation.fh)
            owner = operation.owner = ledger.owner(operation, file)
            s.operations.open[operation.order] = operation
        granted = Place(request.answers[0].frame, request.answers[0].time)
        end = End("unlock", unlock.call.frame, unlock.call.time)
        lock = Lock(
            block.first + number,
            file,
            owner,
            request.start,
            request.end,
            request.exclusive,
            request,
            "reply",
            granted,
            granted,
            end,
            end,
            unlock,
        )
        request.lock, unlock.removed = lock, ((lock.start, lock.end, lock),)
        insort(ledger.locks, lock, key=_order_of_lock)
        s.settled.count -= 1


def _said(r: Requests) -> tuple[I64, ...]:
    """What is kept of requests besides the columns of their calls."""
    said = r.kind, r.version, r.fh, r.svid, r.offset, r.length, r.exclusive, r.block, r.state
    return *said, r.uid, r.machine, r.answer("frame"), r.answer("time")


def _operation(block: Block, row: int) -> Operation:
    """The operation of a request."""
    said: list[Any] = block.said[row].tolist()
    kind, version, fh, svid, offset, length, exclusive, waits, state, uid, machine, frame, time = said
    sent: list[Any] = block.calls[row].tolist()
    name = block.names[machine]
    call = Call(*sent, *[NLM, version, kind, IN_OPERATION, NONE, fh, uid, name])
    asked = call.src, call.dst, False, fh, block.cookie[row], name, block.oh[row], svid
    operation = Operation(FORMS[kind][0], call, *asked, *extent(offset, length), length)
    if kind == LOCK:
        operation.exclusive, operation.block, operation.state = exclusive != 0, waits != 0, state
    operation.answers = (Answer(GRANTED, frame, time, call),)
    return operation


def _is_at_ease(file: File) -> bool:
    """Whether both ledgers say the same of a file, not much, and nobody waits for it."""
    same = file.believed is file.held or not (file.held or file.believed)
    return same and len(file.held.owners) <= MOST_STANDING and not (file.waits or file.unexplained)


def _standing_of(file: File) -> Iterator[tuple[int, int, int, int, bool]]:
    """Client, svid, first and last byte, and whether it is exclusive, of what is held of a file."""
    for owner in file.held.owners:
        for low, high, lock in file.held.of(owner):
            yield lock.request.requester, lock.request.svid, low, high, lock.exclusive


def _is_first_or_last(r: Requests, locks: I64, unlocks: I64) -> Bools:
    """Which locks are the first of their connection, or the last to be granted or given back."""
    side, version = r.column("side")[locks], r.version[locks]
    connection, which = distinct(r.column("flow")[locks] << 8 | side << 4 | version & 15)
    found: Bools = np.zeros(len(locks), np.bool_)
    found[first_of_each(which)[1]] = True
    for rows in (r.reply[locks], r.row[unlocks]):
        last = np.full(len(connection), NONE)
        np.maximum.at(last, which, rows)
        found |= rows == last[which]
    return found


def _differ(keys: I64, values: I64) -> Bools:
    """Where the value of a key is another than its first one."""
    numbers, first = first_of_each(keys)
    differ: Bools = values != values[first][np.searchsorted(numbers, keys)]
    return differ


def _is_among(numbers: I64, some: set[int]) -> Bools:
    return np.isin(numbers, np.array(sorted(some), np.int64))


def _restarted(batch: Batch) -> Iterator[int]:
    """Servers of which a block has what they say when they come back, or cannot serve."""
    for _, event in batch.others:
        if isinstance(event, Verifier):
            yield event.server
    for said in batch.answered:
        if said.kind[0] == NLM:
            refuses = batch.messages.status[said.rows] != 0
            if said.columns is not None and "status" in said.columns.values:
                refuses[said.decoded] |= said.columns.values["status"] == GRACE
            yield from batch.messages.src[said.rows[refuses]].tolist()
    for said in batch.asked:
        if said.kind[0] == NLM and said.kind[2] in RES:
            yield from batch.messages.src[said.rows].tolist()


def _order_of_lock(lock: Lock) -> int:
    return lock.request.order
