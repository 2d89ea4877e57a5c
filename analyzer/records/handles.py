"""File handles to row numbers.

In: spans of memory that hold a file handle, and the server each was used with. Out: a row number per
handle, new ones appended.

Theory. A handle means nothing without its server, so the key is both. Trailing zeros do not count: NLM 1 and
3 carry a 28-byte handle padded to 32. The hash table is keyed by 64 bits of hash, the length and the server;
bytes are not compared again, a collision would join the names of two files and nothing worse.

Never: interprets a handle; forgets one that was not given up (beyond `LIMIT` new handles are counted and not
followed).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyzer.faults import Fault, Faults
from analyzer.index import drop, find, new_slots, put, refill
from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.records.gather import first_of_each
from analyzer.tables import I32, I64, Bytes
from analyzer.words import FETCHED, fetch, views, word

LIMIT = 1 << 18
RECENT = 1 << 14  # handles of single messages, remembered by their bytes
NO_HANDLE = -1
MOST_ROUNDS = 100
Described = tuple[int, int, int, int, int]  # handle, fsid, fileid, nlink, size
NOBODY, SEVERAL = -1, -2  # instead of the only host that locks a file
KNFSD_FSID_BYTES = {0: 8, 1: 4, 2: 12, 3: 8, 4: 8, 5: 8, 6: 16, 7: 24}


def export_key(handle: bytes) -> bytes | None:
    """The part of a handle that names its export, where the server's layout is known."""
    if len(handle) >= 8 and handle[0] == 1 and handle[1] == 0 and handle[2] in KNFSD_FSID_BYTES:
        size = KNFSD_FSID_BYTES[handle[2]]
        if len(handle) >= 4 + size:
            return b"k" + handle[2:3] + handle[4 : 4 + size]
    if len(handle) >= 8 and handle[0] == 0x43:
        return b"g" + handle[2:4]
    return None


@kernel
def hash_pair(memory: Any, words: Any, start: Any, stop: Any) -> Any:
    """Two times 32 bits of hash over memory[start:stop] (FNV-1a over words of 4 bytes, stirred)."""
    g = 0x811C9DC5
    h = 0x7F4A7C15
    at = start
    while at < stop:
        if at + 4 <= stop:
            word = int(words[at]) & 0xFFFFFFFF
            at += 4
        else:
            word = int(memory[at]) & 0xFF
            at += 1
        g = ((g ^ word) * 0x01000193) & 0xFFFFFFFF
        g = g ^ (g >> 15)
        h = ((h ^ word) * 0x9E3779B1) & 0xFFFFFFFF
        h = h ^ (h >> 13)
    g = ((g ^ (g >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0xC2B2AE35) & 0xFFFFFFFF
    return g ^ (g >> 13), h ^ (h >> 16)


@kernel
def intern_spans(
    memory: Any,
    words: Any,
    starts: Any,
    stops: Any,
    servers: Any,
    slots: Any,
    k0: Any,
    k1: Any,
    count: Any,
    out: Any,
    new: Any,
) -> Any:
    """The row of each span; unknown ones get the next rows and are listed in `new`.

    Returns the number of rows after it. A span with start < 0 and one beyond the room get -1.
    """
    rows = count
    last_a = -1
    last_b = -1
    last_row = -1
    for i in range(len(starts)):
        if i % FETCHED == 0:
            out[i] = fetch(words, starts, i) & 1
        start = int(starts[i])
        stop = int(stops[i])
        if start < 0 or stop <= start:
            out[i] = -1
            continue
        while stop > start and int(memory[stop - 1]) == 0:
            stop -= 1
        g, h = hash_pair(memory, words, start, stop)
        a = (int(servers[i]) << 32) | g
        b = (h << 16) | min(stop - start, 0xFFFF)
        if a == last_a and b == last_b:
            out[i] = last_row
            continue
        row = find(slots, k0, k1, a, b)
        if row < 0:
            if rows >= len(k0):
                out[i] = -1
                continue
            row = rows
            k0[row] = a
            k1[row] = b
            put(slots, k0, k1, row)
            new[row - count] = i
            rows += 1
        out[i] = row
        last_a = a
        last_b = b
        last_row = row
    return rows


@kernel
def first_opaques(words: Any, body: Any, kept: Any, status: Any, limit: Any, starts: Any, stops: Any) -> None:
    """Span of the counted opaque at the head of each body, or behind the `status` 0 there; start -1 where
    there is none."""
    for i in range(len(body)):
        at = int(body[i])
        left = int(kept[i])
        starts[i] = -1
        stops[i] = -1
        if at < 0 or left < 4:
            continue
        if status == 1:
            if left < 8 or word(words, at) != 0:
                continue
            at += 4
            left -= 4
        size = word(words, at)
        if 0 < size <= limit and 4 + size <= left:
            starts[i] = at + 4
            stops[i] = at + 4 + size


class HandleTable:
    """All handles seen, by row."""

    def __init__(self, compiled: bool, faults: Faults, limit: int = LIMIT) -> None:
        self._intern = compiled_kernel(intern_spans) if compiled else intern_spans
        self._first = compiled_kernel(first_opaques) if compiled else first_opaques
        self._refill = compiled_kernel(refill) if compiled else refill
        self._faults = faults
        self._limit = limit
        self._k0: I64 = np.zeros(1024, np.int64)
        self._k1: I64 = np.zeros(1024, np.int64)
        self._slots = new_slots(1024)
        self.data: list[bytes] = []
        self._server: list[int] = []
        self.described: list[Described] = []  # new in this batch
        self._recent: dict[tuple[int, bytes], int] = {}
        self._spare: list[int] = []  # rows that were given up
        self._unmet: NDArray[np.int8] | None = (
            None  # rounds since a row was met, where somebody wants to know
        )
        self.reused: list[int] = []  # rows that became other handles, to be told
        self.named: NDArray[np.int8] = np.zeros(1024, np.int8)  # whether a name is known
        self.locker: I32 = np.full(1024, NOBODY, np.int32)  # the only host whose lock calls named it
        self.any_locked = False
        self._described: NDArray[np.int8] = np.zeros(1024, np.int8)

    @property
    def count(self) -> int:
        """Number of rows, of handles and given up."""
        return len(self.data)

    @property
    def used(self) -> int:
        """Number of handles."""
        return len(self.data) - len(self._spare)

    def server_of(self, handle: int) -> int:
        """The host a handle was used with."""
        return self._server[handle]

    def intern(self, memory: Bytes, starts: I64, stops: I64, servers: I64) -> I32:
        """Row numbers of the handles in memory[starts[i]:stops[i]]; -1 where start is -1."""
        out = np.empty(len(starts), np.int32)
        if not len(starts):
            return out
        self._reserve(len(starts))
        before = self.count
        new = np.empty(len(starts), np.int64)
        memory, words = views(memory)
        after = self._intern(
            memory, words, starts, stops, servers, self._slots, self._k0, self._k1, before, out, new
        )
        for i in new[: after - before].tolist():
            self.data.append(memory[int(starts[i]) : int(stops[i])].tobytes())
            self._server.append(int(servers[i]))
        while self._spare and self.count > before:
            self._move(self.count - 1, self._spare.pop(), out)
        if self._unmet is not None:
            self._unmet[out[out >= 0]] = 0
        if after >= self._limit:
            lost = int(np.count_nonzero((out < 0) & (starts >= 0)))
            if lost:
                self._faults.count[Fault.HANDLES_EVICTED] += lost
        return out

    def _move(self, row: int, spare: int, out: I32) -> None:
        """The last row, which is new, takes the place of one that was given up."""
        drop(self._slots, self._k0, self._k1, row)
        self._k0[spare], self._k1[spare] = self._k0[row], self._k1[row]
        put(self._slots, self._k0, self._k1, spare)
        self.data[spare], self._server[spare] = self.data.pop(), self._server.pop()
        out[out == row] = spare
        self.reused.append(spare)

    def next_round(self) -> None:
        """A round of whoever wants to know for how many of them a handle was not met."""
        if self._unmet is None:
            self._unmet = np.zeros(self._limit, np.int8)
        np.minimum(self._unmet + 1, MOST_ROUNDS, out=self._unmet)

    def unmet(self, rounds: int) -> list[int]:
        """The handles that were not met in so many whole rounds."""
        if self._unmet is None:
            return []
        rows = np.flatnonzero(self._unmet[: self.count] > rounds).tolist()
        return [row for row in rows if self.data[row]]

    def give_up(self, rows: Iterable[int]) -> None:
        """These handles are not followed any more; their rows may become others."""
        self._recent.clear()
        for row in rows:
            drop(self._slots, self._k0, self._k1, row)
            self.named[row] = self._described[row] = 0
            self.locker[row] = NOBODY
            self.data[row] = b""
            self._spare.append(row)

    def is_followed(self, row: int) -> bool:
        """Whether a row is a handle's."""
        return bool(self.data[row])

    def intern_one(self, server: int, data: bytes) -> int:
        """The row of one handle."""
        return self.intern_many([server], [data])[0]

    def intern_many(self, servers: Sequence[int], data: Sequence[bytes]) -> list[int]:
        """The rows of handles given as bytes; -1 for empty ones."""
        recent = self._recent
        keys = list(zip(servers, data, strict=True))
        new = [key for key in dict.fromkeys(keys) if key[1] and key not in recent]
        if new and len(recent) + len(new) > RECENT:
            recent.clear()
            new = [key for key in dict.fromkeys(keys) if key[1]]
        if new:
            stops = np.cumsum([len(handle) for _, handle in new])
            starts = np.concatenate(([0], stops[:-1]))
            memory = np.frombuffer(b"".join(handle for _, handle in new), np.uint8)
            owners = np.array([server for server, _ in new], np.int64)
            recent.update(zip(new, self.intern(memory, starts, stops, owners).tolist(), strict=True))
        rows = [recent[key] if key[1] else NO_HANDLE for key in keys]
        if self._unmet is not None:
            self._unmet[[row for row in rows if row >= 0]] = 0
        return rows

    def heads(self, memory: Bytes, body: I64, kept: I64, limit: int, status: bool = False) -> tuple[I64, I64]:
        """Spans of the counted opaque at the head of each body, or behind the status of success there."""
        starts, stops = np.empty(len(body), np.int64), np.empty(len(body), np.int64)
        self._first(views(memory)[1], body, kept, int(status), limit, starts, stops)
        return starts, stops

    def _reserve(self, more: int) -> None:
        need = min(self.count + more, self._limit)
        if need <= len(self._k0):
            return
        size = len(self._k0)
        while size < need:
            size *= 2
        size = min(size, self._limit)
        for name in ("_k0", "_k1"):
            bigger = np.zeros(size, np.int64)
            bigger[: self.count] = getattr(self, name)[: self.count]
            setattr(self, name, bigger)
        self.named, self._described = (
            np.concatenate([flags, np.zeros(size - len(flags), np.int8)])
            for flags in (self.named, self._described)
        )
        self.locker = np.concatenate([self.locker, np.full(size - len(self.locker), NOBODY, np.int32)])
        self._slots = new_slots(size)
        rows = np.array([row for row in range(self.count) if self.data[row]], np.int64)
        self._refill(self._slots, self._k0, self._k1, rows, len(rows))

    # -- who locks ----------------------------------------------------------------------------

    def locked(self, handles: ArrayLike, hosts: ArrayLike) -> None:
        """Lock calls of these hosts named these handles."""
        named, by = np.asarray(handles, np.int32), np.asarray(hosts, np.int32)
        named, by = named[named >= 0], by[named >= 0]
        before = self.locker[named]
        self.locker[named] = by
        mixed = ((before != NOBODY) & (before != by)) | (self.locker[named] != by)
        self.locker[named[mixed]] = SEVERAL
        self.any_locked |= bool(len(named))

    # -- attributes ---------------------------------------------------------------------------

    def describe(self, handle: int, fsid: int, fileid: int, nlink: int, size: int) -> None:
        """Attributes of a handle were read: to be told with the batch they came in."""
        self._described[handle] = 1
        self.described.append((handle, fsid, fileid, nlink, size))

    def undescribed(self, handles: I32) -> NDArray[np.intp]:
        """Indices of the first occurrence of each handle whose attributes are not known."""
        unknown = np.flatnonzero((handles >= 0) & (self._described[handles] == 0))
        _, first = first_of_each(handles[unknown])
        return unknown[first]
