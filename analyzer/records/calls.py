"""The calls table: one row per RPC call as sent, and one per reply without a call.

In: the messages of each block, by way of a tap of the engine. Out: `Chunk`s of rows, in the order of the
wire.

Theory. A block's calls are a chunk. What a call says is decoded when its block is there, what its reply
says is put into the row when that comes, so a chunk waits until all its calls are answered, and at least
for one more block, by when the names in it are known to the sessions. It waits for at most `window` blocks,
so that memory stays flat: a reply that comes later still is counted in `late`. Values that most rows do not
have are kept as pieces (rows and their values) until somebody writes the chunk.

Never: makes an object per row; writes; knows Arrow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.protocols import LABELS, REGISTRY, find
from analyzer.protocols.nlm import NLM
from analyzer.protocols.rpc import AUTH_FLAVORS, AUTH_SYS, AUTH_SYS_BODY, RPC_STATUS
from analyzer.records.fields import NAMED_HANDLES, Kind, Part, recipe
from analyzer.records.gather import Gatherer, Texts, distinct, first_of_each
from analyzer.records.handles import HandleTable
from analyzer.records.kinds import Kinds
from analyzer.schema.batch import Decoder
from analyzer.schema.program import CALL, REPLY
from analyzer.tables import I32, I64, Bytes, Messages

WINDOW = 16
REMEMBERED = 1 << 20  # calls whose frame a retransmission can still name
PRIVACY = 3
NO_REPLY = -(2**63)
CALLBACKS = (5, 10)  # NLM GRANTED, GRANTED_MSG: the caller is the server of the file
TRANSPORTS = {6: "TCP", 17: "UDP"}
BASE = (
    *("call_frame", "call_first_frame", "reply_frame", "retransmit_of", "file", "frame_in_file", "time"),
    *("latency", "client", "client_port", "server", "server_port", "transport", "xid", "program", "version"),
    *("procedure", "rpc_status", "auth", "retransmits", "call_bytes", "reply_bytes"),
)
"""Columns of every row."""
OF_CALL = {
    "call_frame": "frame",
    "call_first_frame": "first_frame",
    "time": "time",
    "client": "src",
    "client_port": "sport",
    "server": "dst",
    "server_port": "dport",
    "transport": "transport",
    "xid": "xid",
    "version": "version",
    "call_bytes": "size",
}
"""Those that are a column of its message, for a call and for a reply without a call."""
OF_ORPHAN = {
    "reply_frame": "frame",
    "client": "dst",
    "client_port": "dport",
    "server": "src",
    "server_port": "sport",
    "reply_bytes": "size",
}
OF_REPLY = ("reply_frame", "retransmit_of", "rpc_status", "reply_bytes")
"""Those that are known later, if ever."""
NOT_OF_ORPHANS = ("call_frame", "call_first_frame", "retransmits", "call_bytes")

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]


class Vocabulary:
    """Words by number: the categories of a column, growing as they are met."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._places: dict[str, int] = {}
        self._codes: dict[object, int] = {}

    def code(self, key: object, word: str) -> int:
        """The code of `key`, which is written as `word`."""
        found = self._codes.get(key)
        if found is None:
            found = self._codes[key] = self._places.setdefault(word, len(self.words))
            if found == len(self.words):
                self.words.append(word)
        return found

    def codes(self, values: NDArray[Any], word: Callable[[int], str], scope: object = None) -> I32:
        """The codes of many numbers; -1 stays -1."""
        unique, place = distinct(values)
        codes = [-1 if v == -1 else self.code((scope, v), word(v)) for v in unique.tolist()]
        return np.array(codes, np.int32)[place]


@dataclass(slots=True)
class Piece:
    """Values of one column for some rows of a chunk: of rows of one procedure, in that order; of rows of any,
    `which` of the values each has."""

    rows: Rows
    values: NDArray[Any] | Texts
    which: Rows | None = None

    def places(self, first: int) -> Rows:
        """For each row the number of its value, where they are numbered from `first` on."""
        return np.arange(first, first + len(self.rows)) if self.which is None else self.which + first


@dataclass(slots=True)
class Chunk:
    """Rows of one block. `base` has a value for every row, -1 where there is none; its columns are the rows
    of `matrix`."""

    rows: int
    matrix: I64
    base: dict[str, I64]
    first_serial: int  # of the calls among the rows, which follow each other
    call_rows: Rows  # their rows
    open: int
    pieces: dict[str, list[Piece]] = field(default_factory=dict)

    def add(self, column: str, rows: Rows, values: NDArray[Any] | Texts, which: Rows | None = None) -> None:
        """Put values of a column into some rows."""
        if len(rows):
            self.pieces.setdefault(column, []).append(Piece(rows, values, which))


class Calls:
    """Collects the calls of an engine: give it to `analyze` as a tap, and `finish` it."""

    def __init__(self, ready: Callable[[Chunk, Any], None], window: int | None = WINDOW) -> None:
        self._ready = ready
        self._window = window
        self._chunks: deque[Chunk] = deque()
        self._engine: Any = None
        self._decoders: dict[tuple[Kind, int], tuple[Decoder, tuple[Part, ...]] | None] = {}
        self._credentials: Decoder | None = None
        self._gatherer: Gatherer | None = None
        self._frames: I64 = np.zeros(REMEMBERED, np.int64)  # of calls, by serial number
        self._newest = -1
        self.late = 0
        self.words: dict[str, Vocabulary] = {}

    def __call__(
        self, memory: Bytes, messages: Messages, count: int, engine: Any
    ) -> Callable[[], None] | None:
        """Take in a block; return what hands out the chunks that are whole now."""
        if self._engine is None:
            self._engine = engine
            self._gatherer = Gatherer(engine.compiled)
            self._credentials = Decoder(AUTH_SYS_BODY, ("machinename", "uid", "gid"), engine.compiled)
        if not count:
            return None
        m = Messages._make(column[:count] for column in messages)
        kinds = Kinds(m, engine.compiled)
        chunk = self._chunk(m, kinds)
        if chunk.rows:
            self._chunks.append(chunk)
            self._ask(memory, m, kinds, chunk)
        self._answer(memory, m, kinds)
        whole = []
        while len(self._chunks) > 1 and (not self._chunks[0].open or self._overdue()):
            whole.append(self._chunks.popleft())

        def hand_out() -> None:
            for chunk in whole:
                self._ready(chunk, engine)

        return hand_out

    def _overdue(self) -> bool:
        return self._window is not None and len(self._chunks) > self._window

    def finish(self) -> None:
        """Hand out what still waits, and let go of the engine."""
        while self._chunks:
            self._ready(self._chunks.popleft(), self._engine)
        self._engine = None

    def vocabulary(self, column: str) -> Vocabulary:
        """The words of a column."""
        return self.words.setdefault(column, Vocabulary())

    # -- rows ---------------------------------------------------------------------------------

    def _chunk(self, m: Messages, kinds: Kinds) -> Chunk:
        """Rows of a block, with all that does not need decoding."""
        rows = np.flatnonzero((m.reply == 0) | (m.call < 0))
        is_call = m.reply[rows] == 0
        calls, orphans = rows[is_call], np.flatnonzero(~is_call)
        matrix = np.empty((len(BASE), len(rows)), np.int64)
        base = dict(zip(BASE, matrix, strict=True))
        for column in OF_REPLY:
            base[column][:] = -1
        for column, source in OF_CALL.items():
            np.take(getattr(m, source), rows, out=base[column], mode="clip")
        base["file"][:], base["frame_in_file"][:] = self._file(m.frame[rows])
        base["latency"][:] = NO_REPLY
        base["transport"][:] = self.vocabulary("transport").codes(
            base["transport"], lambda number: TRANSPORTS.get(number, str(number))
        )
        base["auth"][:] = self.vocabulary("auth").codes(
            np.where(is_call, m.flavor[rows], -1), lambda number: AUTH_FLAVORS.get(number, str(number))
        )
        base["program"][:], base["procedure"][:] = self._kinds(kinds, rows)
        base["retransmits"][:] = 0
        for column in NOT_OF_ORPHANS:
            base[column][orphans] = -1
        for column, source in OF_ORPHAN.items():
            base[column][orphans] = getattr(m, source)[rows[orphans]]
        base["rpc_status"][orphans] = self._rpc_status(m.status[rows[orphans]])
        first_serial = int(m.call[calls[0]]) if len(calls) else 0
        chunk = Chunk(len(rows), matrix, base, first_serial, np.flatnonzero(is_call), len(calls))
        self._remember(m.frame[calls], first_serial)
        self._mark_copies(m, calls, chunk)
        return chunk

    def _file(self, frames: I64) -> tuple[I32, I64]:
        """Which capture each frame is of, and its number there."""
        places = self._engine.places
        files, numbers = places.of(frames)
        codes = [self.vocabulary("file").code(number, path) for number, path in enumerate(places.paths)]
        return np.array([*codes, -1], np.int32)[files], numbers

    def _kinds(self, kinds: Kinds, rows: Rows) -> tuple[I32, I32]:
        """Program and procedure, as the standards call them."""
        programs, procedures = np.full(len(rows), -1, np.int32), np.full(len(rows), -1, np.int32)
        for kind, group in kinds.groups(rows):
            if kind[0] < 0:
                continue
            programs[group] = self.vocabulary("program").code(kind[:2], _program_name(kind))
            declared = find(*kind)
            word = declared.name if declared else str(kind[2])
            procedures[group] = self.vocabulary("procedure").code(kind, word)
        return programs, procedures

    def _rpc_status(self, status: I64) -> I32:
        return self.vocabulary("rpc_status").codes(status, lambda number: RPC_STATUS.get(number, str(number)))

    def _remember(self, frames: I64, first_serial: int) -> None:
        """The frames of calls that follow each other."""
        if not len(frames):
            return
        self._newest = first_serial + len(frames) - 1
        at = first_serial % REMEMBERED
        room = min(REMEMBERED - at, len(frames))
        self._frames[at : at + room] = frames[:room]
        self._frames[: len(frames) - room] = frames[room:]

    def _mark_copies(self, m: Messages, calls: Rows, chunk: Chunk) -> None:
        """Copies name their first call, which counts them."""
        copies = np.flatnonzero(m.retransmit_of[calls] >= 0)
        if not len(copies):
            return
        firsts = m.retransmit_of[calls[copies]]
        known = firsts > self._newest - REMEMBERED
        frames = np.where(known, self._frames[firsts % REMEMBERED], -1)
        chunk.base["retransmit_of"][chunk.call_rows[copies]] = frames
        for where, rows, _ in self._located(firsts, [*self._chunks, chunk]):
            np.add.at(where.base["retransmits"], rows, 1)

    def _located(self, serials: I64, chunks: list[Chunk]) -> Iterator[tuple[Chunk, Rows, Rows]]:
        """Chunks that hold these calls: their rows there, and which of `serials` they are."""
        for chunk in chunks:
            at = serials - chunk.first_serial
            mine = np.flatnonzero((at >= 0) & (at < len(chunk.call_rows)))
            if len(mine):
                yield chunk, chunk.call_rows[at[mine]], mine

    # -- decoding -----------------------------------------------------------------------------

    def _ask(self, memory: Bytes, m: Messages, kinds: Kinds, chunk: Chunk) -> None:
        """What the calls say: credentials and arguments."""
        calls = np.flatnonzero(m.reply == 0)
        self._identify(memory, m, calls, chunk)
        readable = np.flatnonzero((m.body[calls] >= 0) & (m.gss[calls] != PRIVACY))
        for kind, group in kinds.groups(calls[readable]):
            at = readable[group]
            rows = calls[at]
            servers = m.src[rows] if kind[0] == NLM and kind[2] in CALLBACKS else m.dst[rows]
            self._decode(memory, m, rows, kind, CALL, chunk, chunk.call_rows[at], servers)

    def _identify(self, memory: Bytes, m: Messages, calls: Rows, chunk: Chunk) -> None:
        chosen = np.flatnonzero(m.flavor[calls] == AUTH_SYS)
        if not len(chosen):
            return
        assert self._credentials is not None and self._gatherer is not None
        of = calls[chosen]
        start = np.maximum(m.cred[of], 0)
        size = np.clip(m.start[of] + m.kept[of] - start, 0, m.cred_size[of])  # as much as was captured
        firsts, which = self._gatherer.repeats(memory, start, size)
        start = start[firsts]
        found = self._credentials.decode(memory, start, start + size[firsts])
        rows = chunk.call_rows[chosen]
        for name in ("uid", "gid"):
            some, good = _those(found.valid[name], rows, which)
            chunk.add(name, some, found.values[name], good)
        named = found.valid["machinename"]
        starts, stops = np.where(named, (found.start["machinename"], found.stop["machinename"]), 0)
        some, good = _those(named, rows, which)
        chunk.add("machine", some, self._gatherer.texts(memory, starts, stops, is_hex=False), good)

    def _answer(self, memory: Bytes, m: Messages, kinds: Kinds) -> None:
        """What the replies say goes into the rows of their calls; the first reply to a call counts."""
        replies = np.flatnonzero((m.reply == 1) & (m.call >= 0))
        if not len(replies):
            return
        serials, first = first_of_each(m.call[replies])
        replies = replies[first]
        found = 0
        for chunk, rows, mine in self._located(serials, list(self._chunks)):
            found += len(mine)
            new = chunk.base["reply_frame"][rows] < 0
            self._fill(memory, m, kinds, replies[mine[new]], chunk, rows[new])
        self.late += len(serials) - found

    def _fill(
        self, memory: Bytes, m: Messages, kinds: Kinds, replies: Rows, chunk: Chunk, rows: Rows
    ) -> None:
        base = chunk.base
        base["reply_frame"][rows] = m.frame[replies]
        base["latency"][rows] = np.maximum(m.time[replies] - base["time"][rows], 0)  # clocks step
        base["rpc_status"][rows] = self._rpc_status(m.status[replies])
        base["reply_bytes"][rows] = m.size[replies]
        chunk.open -= len(rows)
        good = np.flatnonzero((m.status[replies] == 0) & (m.body[replies] >= 0) & (m.gss[replies] != PRIVACY))
        for kind, group in kinds.groups(replies[good]):
            at = good[group]
            self._decode(memory, m, replies[at], kind, REPLY, chunk, rows[at], m.src[replies[at]])

    def _decode(
        self,
        memory: Bytes,
        m: Messages,
        messages: Rows,
        kind: Kind,
        direction: int,
        chunk: Chunk,
        rows: Rows,
        servers: I64,
    ) -> None:
        decoder = self._decoder(kind, direction)
        if decoder is None:
            return
        assert self._gatherer is not None
        start = m.body[messages]
        found = decoder[0].decode(memory, start, start + m.body_kept[messages], m.body_size[messages])
        for part in decoder[1]:
            good = None if found.valid.is_everywhere(part.wire) else np.flatnonzero(found.valid[part.wire])
            some = rows if good is None else rows[good]
            if not len(some):
                continue
            if part.kind in ("text", "hex"):
                start, stop = _taken(found.start[part.wire], good), _taken(found.stop[part.wire], good)
                chunk.add(part.column, some, self._gatherer.texts(memory, start, stop, part.kind == "hex"))
                if part.column in NAMED_HANDLES:
                    table: HandleTable = self._engine.records.handles  # from which paths come
                    ids = table.intern(memory, start, stop, _taken(servers, good))
                    chunk.add(NAMED_HANDLES[part.column], some, ids)
                continue
            numbers = _taken(found.values[part.wire], good)
            values = self._categories(part, kind, numbers) if part.kind == "category" else numbers
            chunk.add(part.column, some, values)

    def _categories(self, part: Part, kind: Kind, values: I64) -> I32:
        names = dict(part.names)
        scope = (kind[0], part.names)
        return self.vocabulary(part.column).codes(
            values, lambda number: names.get(number, str(number)), scope
        )

    def _decoder(self, kind: Kind, direction: int) -> tuple[Decoder, tuple[Part, ...]] | None:
        key = (kind, direction)
        if key not in self._decoders:
            parts = recipe(kind, direction)
            if not parts:
                return None
            body = REGISTRY[kind[:2]].procedures[kind[2]].body(direction)
            assert body is not None
            made = Decoder(body, [part.wire for part in parts], self._engine.compiled)
            self._decoders[key] = (made, parts)
        return self._decoders[key]


def _taken(values: NDArray[Any], good: Rows | None) -> NDArray[Any]:
    """A copy of some values, or of all."""
    return values.copy() if good is None else values[good]


def _those(valid: Bools, rows: Rows, which: Rows) -> tuple[Rows, Rows]:
    """Rows, and which value each has, but for those whose value is not valid."""
    if valid.all():
        return rows, which
    good = np.flatnonzero(valid[which])
    return rows[good], which[good]


def _program_name(kind: Kind) -> str:
    known = REGISTRY.get(kind[:2])
    return known.label if known else LABELS.get(kind[0], str(kind[0]))
