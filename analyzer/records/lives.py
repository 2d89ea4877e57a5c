"""Lock requests of a block in columns, and the locks among them that were nobody else's concern.

In: the decoded lock calls and replies of a block. Out: `Requests`, one row for each TEST, LOCK, CANCEL and
UNLOCK that is answered by an RPC reply; and of those the pairs of a LOCK and the UNLOCK that gave it back.

Theory. Nearly every lock is granted at once, given back whole, and nobody else asks for its bytes meanwhile.
Such a LOCK and its UNLOCK need no objects if they and their replies lie in one block. A request stands from
its call on: a lock up to the reply to its UNLOCK, anything else up to its own. Two requests meet if they
stand at one time and are of one process, or share a byte of which one of them wants no sharing. To see which
meets none, the requests of each file are gone through in order, beside those that stand.

Never: knows of other blocks; what stands since before is told by who asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from analyzer.frozen import frozen
from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.protocols.nlm import DENIED, GRANTED, NLM
from analyzer.protocols.rpc import AUTH_SYS
from analyzer.records.batch import Batch, Identity, Said
from analyzer.records.gather import Gatherer, Texts, is_same
from analyzer.schema.rows import Bools
from analyzer.tables import I64, Bytes
from analyzer.words import views, wide_views

STANDING, TEST, LOCK, CANCEL, UNLOCK = range(5)  # kinds: what stands since before the block, and procedures
MOST_STANDING = 64  # at once on one file; where there are more, all its locks become objects
FOREVER = 2**62
COOKIE_SIZE = 4  # of a Linux client, which counts in it
FIELDS = ("svid", "l_offset", "l_len", "exclusive", "block", "reclaim", "state")
SPANS = ("cookie", "caller_name", "oh")
NONE = -1


class Standing(NamedTuple):
    """What stands when a block begins."""

    file: I64
    client: I64
    svid: I64
    low: I64
    high: I64
    exclusive: I64


@frozen
class Requests:
    """Lock requests of a block in the order of the wire. Good for as long as its memory is."""

    batch: Batch
    row: I64  # in `Messages`
    kind: I64
    version: I64
    fh: I64
    svid: I64
    offset: I64  # as asked for: unsigned, if `plain`
    length: I64
    low: I64  # first byte
    high: I64  # last one, FOREVER to the end of the file
    exclusive: I64
    block: I64
    state: I64
    count: I64  # in the cookie, NONE if it is no Linux client's
    caller: I64  # in `names`, NONE where it says nobody
    machine: I64
    uid: I64
    status: I64  # that its only reply gives, NONE where that says none or there is not just one
    reply: I64  # row of that reply, NONE
    plain: Bools  # sent once, understood, in its own name, and granted by its only reply
    names: list[bytes]
    spans: dict[str, tuple[I64, I64]]  # of what is not decoded further, in memory

    def column(self, name: str) -> I64:
        """A column of the calls in `Messages`."""
        column: I64 = getattr(self.batch.messages, name)[self.row]
        return column

    def answer(self, name: str) -> I64:
        """... of their replies; of any message where there is none."""
        column: I64 = getattr(self.batch.messages, name)[self.reply]
        return column


@kernel
def find_lives(
    order: Any,
    kind: Any,
    file: Any,
    client: Any,
    svid: Any,
    whom: Any,
    low: Any,
    high: Any,
    exclusive: Any,
    row: Any,
    reply: Any,
    until: Any,
    plain: Any,
    memory: Any,
    eights: Any,
    start: Any,
    stop: Any,
    stand: Any,
    unlock: Any,
) -> None:
    """unlock[i] = the request that gives back what LOCK `i` got, if neither meets another one; else -1.

    `order` goes through them file by file, and there by `row`; `until` is the row up to which each stands, if
    nothing gives it back; `start` and `stop` are the spans of `oh`; `stand` has room for those that stand.
    `plain` and `until` are changed.
    """
    k = 0
    while k < len(order):
        this = int(file[order[k]])
        begin = k
        standing = 0
        while k < len(order) and int(file[order[k]]) == this and standing <= len(stand):
            i = int(order[k])
            k += 1
            left = 0
            for a in range(standing):
                j = int(stand[a])
                if int(until[j]) >= int(row[i]):
                    stand[left] = j
                    left += 1
            standing = left
            own = 0
            given_back = -1
            for a in range(standing):
                j = int(stand[a])
                if int(client[j]) == int(client[i]) and int(svid[j]) == int(svid[i]):
                    own += 1
                    is_answered = int(kind[j]) == LOCK and 0 <= int(reply[j]) < int(row[i])
                    same = int(low[j]) == int(low[i]) and int(high[j]) == int(high[i])
                    if same and int(unlock[j]) < 0 and (is_answered or int(kind[j]) == STANDING):
                        given_back = j
            if int(kind[i]) == UNLOCK and own == 1 and given_back >= 0:
                j = given_back
                unlock[j] = i
                until[j] = until[i]
                size = int(stop[i]) - int(start[i])
                if (
                    int(plain[i]) == 0
                    or int(whom[i]) != int(whom[j])
                    or size != int(stop[j]) - int(start[j])
                    or not is_same(memory, eights, int(start[i]), int(start[j]), size)
                ):
                    plain[j] = 0
                continue
            for a in range(standing):
                j = int(stand[a])
                same = int(client[j]) == int(client[i]) and int(svid[j]) == int(svid[i])
                shared = int(low[j]) <= int(high[i]) and int(low[i]) <= int(high[j])
                if same or (shared and (int(exclusive[j]) != 0 or int(exclusive[i]) != 0)):
                    plain[i] = 0
                    plain[j] = 0
            if standing < len(stand):
                stand[standing] = i
            standing += 1
        crowded = standing > len(stand)
        while k < len(order) and int(file[order[k]]) == this:
            k += 1
        for at in range(begin, k):
            i = int(order[at])
            if crowded or int(plain[i]) == 0 or int(kind[i]) != LOCK:
                unlock[i] = -1


class Lives:
    """Finds them, in either mode of the kernels."""

    def __init__(self, compiled: bool) -> None:
        self._find = compiled_kernel(find_lives) if compiled else find_lives
        self._gatherer = Gatherer(compiled)

    def requests(self, batch: Batch, identity: Callable[[bytes], Identity]) -> Requests | None:
        """The lock requests of a batch, if any lock was asked for; `identity` reads credentials."""
        asked = [said for said in batch.asked if _is_request(said) and said.columns is not None]
        if not any(said.kind[2] == LOCK for said in asked):
            return None
        m = batch.messages
        rows = np.concatenate([said.rows for said in asked])
        order = np.argsort(rows)
        row = rows[order]
        if (np.diff(m.call[row]) <= 0).any():  # serial numbers are in the order of the wire
            return None
        said_of = {name: np.concatenate([_column(said, name) for said in asked])[order] for name in FIELDS}
        spans = {name: _spans(asked, name, order) for name in SPANS}
        numbers: dict[bytes, int] = {}
        machine, uid = self._machines(batch, row, identity, numbers)
        caller = self._callers(batch, spans["caller_name"], numbers)
        reply, status = _replies(batch, m.call[row])
        offset, length = said_of["l_offset"], said_of["l_len"]
        usual = (offset >= 0) & (length >= 0) & (offset < FOREVER) & (length < FOREVER)
        to_the_end = (length == 0) | ~usual
        faults = np.concatenate([said.faults for said in asked])[order]
        plain = usual & (faults < 0) & (m.damage[row] == 0) & (m.damage[reply] == 0) & (status == GRANTED)
        plain &= (m.retransmit_of[row] < 0) & ~_is_sent_again(batch, m.call[row])
        plain &= (said_of["reclaim"] == 0) & (machine >= 0) & (machine == caller)
        kind = np.concatenate([np.full(len(said.rows), said.kind[2]) for said in asked])[order]
        return Requests(
            batch,
            row,
            kind,
            m.version[row],
            np.concatenate([said.handles for said in asked])[order].astype(np.int64),
            said_of["svid"],
            offset,
            length,
            np.where(usual, offset, 0),
            np.where(to_the_end, FOREVER, offset + length - 1),
            np.where(kind == UNLOCK, 1, said_of["exclusive"]),
            said_of["block"],
            said_of["state"],
            _counts(batch.memory, spans["cookie"]),
            caller,
            machine,
            uid,
            status,
            reply,
            plain,
            list(numbers),
            spans,
        )

    def find(self, r: Requests, file: I64, plain: Bools, standing: Standing) -> tuple[I64, I64]:
        """The locks of nobody else's concern, and the UNLOCKs that gave them back: rows of the requests `r`.

        `file` numbers the files of the requests, and only those that are `plain` may take part.
        """
        before, count = len(standing.file), len(r.row)
        after: I64 = np.full(before, NONE)
        files = np.concatenate([standing.file, file])
        until = np.where(r.reply >= 0, r.reply, FOREVER)
        until[(r.kind == LOCK) & (r.status != DENIED)] = FOREVER
        start, stop = r.spans["oh"]
        whom = (r.column("flow") << 32) | (r.version << 24) | (r.machine & 0xFFFFFF)
        unlock: I64 = np.full(before + count, NONE)
        self._find(
            np.argsort(files, kind="stable"),
            np.concatenate([np.full(before, STANDING), r.kind]),
            files,
            np.concatenate([standing.client, r.column("src")]),
            np.concatenate([standing.svid, r.svid]),
            np.concatenate([after, whom]),
            np.concatenate([standing.low, r.low]),
            np.concatenate([standing.high, r.high]),
            np.concatenate([standing.exclusive, r.exclusive]),
            np.concatenate([after, r.row]),
            np.concatenate([after, r.reply]),
            np.concatenate([np.full(before, FOREVER), until]),
            np.concatenate([np.zeros(before, np.int64), plain]),
            *wide_views(r.batch.memory),
            np.concatenate([np.zeros(before, np.int64), start]),
            np.concatenate([np.zeros(before, np.int64), stop]),
            np.empty(MOST_STANDING, np.int64),
            unlock,
        )
        locks = np.flatnonzero(unlock[before:] >= 0)
        return locks, unlock[before:][locks] - before

    def texts(self, r: Requests, name: str, chosen: I64) -> Texts:
        """Spans of some requests, copied."""
        start, stop = r.spans[name]
        return self._gatherer.texts(r.batch.memory, start[chosen], stop[chosen], is_hex=True)

    def _machines(
        self, batch: Batch, row: I64, identity: Callable[[bytes], Identity], numbers: dict[bytes, int]
    ) -> tuple[I64, I64]:
        """Who sent each call, by its credentials: number of the machine's name and uid, or NONE."""
        m = batch.messages
        is_whole = (m.flavor[row] == AUTH_SYS) & (m.cred[row] >= 0)
        is_whole &= m.start[row] + m.kept[row] >= m.cred[row] + m.cred_size[row]
        starts, sizes = np.where(is_whole, m.cred[row], 0), np.where(is_whole, m.cred_size[row], 0)
        firsts, which = self._gatherer.repeats(batch.memory, starts, sizes)
        machines, uids = [], []
        for start, size in zip(starts[firsts].tolist(), sizes[firsts].tolist(), strict=True):
            uid, machine = identity(batch.memory[start : start + size].tobytes()) if size else (None, None)
            machines.append(numbers.setdefault(machine, len(numbers)) if machine else NONE)
            uids.append(NONE if uid is None else uid)
        return np.array(machines, np.int64)[which], np.array(uids, np.int64)[which]

    def _callers(self, batch: Batch, spans: tuple[I64, I64], numbers: dict[bytes, int]) -> I64:
        """Number of the name in each call, NONE for none."""
        starts, sizes = np.ascontiguousarray(spans[0]), spans[1] - spans[0]
        firsts, which = self._gatherer.repeats(batch.memory, starts, sizes)
        callers = [
            numbers.setdefault(batch.memory[start : start + size].tobytes(), len(numbers)) if size else NONE
            for start, size in zip(starts[firsts].tolist(), sizes[firsts].tolist(), strict=True)
        ]
        return np.array(callers, np.int64)[which]


def _is_request(said: Said) -> bool:
    program, _, procedure = said.kind
    return program == NLM and TEST <= procedure <= UNLOCK


def _column(said: Said, name: str) -> I64:
    """Numbers of messages, 0 where they say none."""
    assert said.columns is not None
    column: I64 | None = said.columns.values.get(name)
    return np.zeros(len(said.rows), np.int64) if column is None else column


def _spans(asked: list[Said], name: str, order: I64) -> tuple[I64, I64]:
    columns = [said.columns for said in asked if said.columns is not None]
    starts = np.concatenate([column.start[name] for column in columns])
    stops = np.concatenate([column.stop[name] for column in columns])
    return starts[order], stops[order]


def _counts(memory: Bytes, cookie: tuple[I64, I64]) -> I64:
    """What a Linux client counts in its cookies."""
    start, stop = cookie
    words = views(memory)[1]
    is_count = stop - start == COOKIE_SIZE
    return np.where(is_count, words[np.where(is_count, start, 0)].astype(np.int64), NONE)


def _replies(batch: Batch, serials: I64) -> tuple[I64, I64]:
    """The only reply to each of these calls and its status, NONE."""
    reply, status = np.full(len(serials), NONE), np.full(len(serials), NONE)
    met = np.zeros(len(serials), np.int64)
    for said in batch.answered:
        if said.kind[0] != NLM:
            continue
        calls = batch.messages.call[said.rows]
        at = np.minimum(np.searchsorted(serials, calls), len(serials) - 1)
        ours = serials[at] == calls
        np.add.at(met, at[ours], 1)
        reply[at[ours]] = said.rows[ours]
        if said.columns is not None and "status" in said.columns.values:
            says = np.full(len(said.rows), NONE)
            says[said.decoded] = np.where(said.columns.valid["status"], said.columns.values["status"], NONE)
            says[said.faults >= 0] = NONE
            status[at[ours]] = says[ours]
    single = met == 1
    return np.where(single, reply, NONE), np.where(single, status, NONE)


def _is_sent_again(batch: Batch, serials: I64) -> Bools:
    """Whether a copy of each of these calls is in the block."""
    again: Bools = np.zeros(len(serials), np.bool_)
    for said in batch.asked:
        first = batch.messages.retransmit_of[said.rows]
        at = np.minimum(np.searchsorted(serials, first), len(serials) - 1)
        again[at[serials[at] == first]] = True
    return again
