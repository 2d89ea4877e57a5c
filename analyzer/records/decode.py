"""Messages to records: what a block of RPC messages says.

In: `Messages` of a block. Out: a `Batch`: NFS activity, names of hosts, lock requests, counts; and events in
the order of the wire.

Theory. All messages of one procedure are decoded together, by the declaration. Messages of the programs
whose every word matters (portmap, MOUNT, NSM, NLM) become `Call` and `Reply` objects; NFSv3 stays in
columns (`nfs`), and so do the locks that somebody picks out of a batch because they are as locks should be
(`lives`). A call waits here for its reply, so that a `Reply` can name its `Call` in whatever block it comes.

Never: judges; knows what a ledger is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Faults
from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.protocols.portmap import PORTMAP
from analyzer.protocols.rpc import AUTH_SYS, AUTH_SYS_BODY, AUTH_TLS
from analyzer.records.batch import Batch, Found, Identity, Kind, Said
from analyzer.records.events import Call, Event, Hole, Reply
from analyzer.records.gather import first_of_each
from analyzer.records.handles import NO_HANDLE, HandleTable
from analyzer.records.lives import Lives, Requests
from analyzer.records.nfs import NfsRecords
from analyzer.records.rows import RowDecoder, Rows
from analyzer.records.sift import LAST_PROCEDURE, Sifter
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.rows import Bools, Columns
from analyzer.schema.scalar import decode_one
from analyzer.tables import I32, I64, UDP, Bytes, Messages, first_rows

FOLLOWED = (PORTMAP, MOUNT, NSM, NLM)
NAMING = (MOUNT,)
"""Programs of which every message becomes an object: all, or those that name files."""
CALLS_KEPT = 1 << 14  # for their replies; the reply to an older one tells enough of its call
IDENTITIES = 4096  # credentials remembered by their bytes
CALL_COLUMNS = (
    *("call", "frame", "time", "src", "dst", "sport", "dport", "transport", "flow", "side"),
    *("stream_end", "xid", "flavor", "damage", "retransmit_of"),
)
CALLBACKS = (5, 10)  # NLM GRANTED, GRANTED_MSG: the caller is the server of the file

REPLY_COLUMNS = ("frame", "time", "status", "damage", "low", "high")

NOBODY: Identity = (None, None)


class Records:
    """The record stage. Keeps the last `CALLS_KEPT` calls of the followed programs."""

    def __init__(self, compiled: bool, faults: Faults, names_only: bool = False) -> None:
        """`names_only`: read what names files, and nothing else."""
        self._compiled = compiled
        self._followed = NAMING if names_only else FOLLOWED
        self._faults = faults
        self.handles = HandleTable(compiled, faults)
        self.lives = Lives(compiled)
        self._sift = Sifter(compiled)
        self._nfs = NfsRecords(compiled, self.handles, names_only)
        self._decoders: dict[tuple[Kind, int], RowDecoder | None] = {}
        self._known: dict[bytes, Identity] = {}
        self._open: OrderedDict[int, Call] = OrderedDict()
        self._named = np.zeros(64, np.bool_)  # by host
        self._locking: set[int] = set()  # UDP flows that carried lock calls
        self.counts: dict[Kind, int] = {}
        self.first_frames: dict[Kind, int] = {}  # but of the usual calls of NFSv3

    def decode(self, memory: Bytes, messages: Messages, count: int) -> Batch:
        """Decode a block."""
        m = first_rows(messages, count)
        sifted = self._sift(m)
        rest = sifted.rest
        is_call = m.reply[rest] == 0
        self._count(m, sifted.asked, rest[is_call])
        remarkable = _remarkable(m, rest, self._followed)
        asked = [self._asked(memory, m, *group) for group in _groups(m, rest[remarkable & is_call])]
        others, activity = self._nfs.decode(memory, m, sifted)
        replies = rest[remarkable & ~is_call]
        answered = [self._answered(memory, m, *group) for group in _groups(m, replies[m.call[replies] >= 0])]
        others.extend(self._unseen_calls(m, rest))
        names = self._machine_names(memory, m, sifted.calls)
        described, self.handles.described = self.handles.described, []
        return Batch(memory, m, asked, answered, others, activity, names, described, self.handles.count)

    def events(self, batch: Batch, withheld: Bools) -> list[Event]:
        """The events of a batch in the order of the wire, without the messages that are `withheld`."""
        found: list[Found] = []
        for said in batch.asked:
            found.extend(self._calls(batch, said, ~withheld[said.rows]))
        found.extend(batch.others)
        for said in batch.answered:
            found.extend(self._replies(batch, said, ~withheld[said.rows]))
        found.sort(key=_row)
        return [event for _, event in found]

    def requests(self, batch: Batch) -> Requests | None:
        """The lock requests of a batch, if any lock was asked for."""
        return self.lives.requests(batch, self._identity)

    def forget(self, limit: int) -> None:
        """Calls from before `limit` (ns) are not answered any more."""
        while self._open and (oldest := next(iter(self._open.values()))).time < limit:
            del self._open[oldest.serial]

    def _count(self, m: Messages, asked: list[int], rest: Rows) -> None:
        for procedure, number in enumerate(asked):
            if number:
                self._add((NFS, 3, procedure), number)
        rest = rest[m.program[rest] >= 0]
        if len(rest):
            for kind, rows in _groups(m, rest):
                self._add(kind, len(rows))
                self.first_frames.setdefault(kind, int(m.frame[rows[0]]))

    def _add(self, kind: Kind, number: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + number

    # -- calls --------------------------------------------------------------------------------

    def _asked(self, memory: Bytes, m: Messages, kind: Kind, rows: Rows) -> Said:
        columns, faults = self._decode(memory, m, rows, kind, CALL)
        is_callback = kind[0] == NLM and kind[2] in CALLBACKS
        owners, users = (m.src, m.dst) if is_callback else (m.dst, m.src)
        handles = self._handles(memory, columns, owners[rows])
        if kind[0] == NLM:
            self.handles.locked(handles, users[rows])
        return Said(kind, rows, np.arange(len(rows)), columns, faults, handles)

    def _handles(self, memory: Bytes, columns: Columns | None, owners: I64) -> I32:
        """The file handle that each message names, NO_HANDLE where it names none."""
        if columns is None or "fh" not in columns.start:
            return np.full(len(owners), NO_HANDLE, np.int32)
        starts = np.where(columns.valid["fh"], columns.start["fh"], -1)
        return self.handles.intern(memory, starts, np.ascontiguousarray(columns.stop["fh"]), owners)

    def _calls(self, batch: Batch, said: Said, chosen: Bools) -> Iterator[Found]:
        kind, m, wanted = said.kind, batch.messages, np.flatnonzero(chosen)
        rows = said.rows[wanted]
        args = self._values(batch, said, CALL, wanted)
        who = self._identities(batch.memory, m, rows)
        columns = (getattr(m, name)[rows].tolist() for name in CALL_COLUMNS)
        faults, handles = said.faults[wanted].tolist(), said.handles[wanted].tolist()
        calls = list(map(Call, *columns, *map(repeat, kind), args, faults, handles, *zip(*who, strict=True)))
        self._open.update((call.serial, call) for call in calls)
        while len(self._open) > CALLS_KEPT:
            self._open.popitem(last=False)
        return zip(rows.tolist(), calls, strict=True)

    def _identities(self, memory: Bytes, m: Messages, rows: Rows) -> list[Identity]:
        """uid and machine name of each call, from its AUTH_SYS credentials, as far as they were captured."""
        view = memory.data
        found: list[Identity] = []
        captured = np.clip(m.start[rows] + m.kept[rows] - m.cred[rows], 0, m.cred_size[rows])
        for flavor, start, size in zip(
            m.flavor[rows].tolist(), m.cred[rows].tolist(), captured.tolist(), strict=True
        ):
            if flavor != AUTH_SYS or start < 0:
                found.append(NOBODY)
                continue
            found.append(self._identity(bytes(view[start : start + size])))
        return found

    def _identity(self, body: bytes) -> Identity:
        who = self._known.get(body)
        if who is None:
            values = decode_one(AUTH_SYS_BODY, body).values
            who = values.get("uid"), values.get("machinename")
            if len(self._known) >= IDENTITIES:
                self._known.clear()
            self._known[body] = who
        return who

    def _machine_names(self, memory: Bytes, m: Messages, calls: Rows) -> list[tuple[int, bytes]]:
        """The name that each host gives itself in its first NFS call; lock calls tell the others."""
        sources = m.src[calls]
        if len(sources) and (most := int(sources.max())) >= len(self._named):
            self._named = np.concatenate([self._named, np.zeros(most + 1, np.bool_)])
        rows = calls[~self._named[sources] & (m.flavor[calls] == AUTH_SYS)]
        _, first = first_of_each(m.src[rows])
        chosen = rows[first]
        self._named[m.src[chosen]] = True
        who = self._identities(memory, m, chosen)
        return [
            (host, machine) for host, (_, machine) in zip(m.src[chosen].tolist(), who, strict=True) if machine
        ]

    # -- replies ------------------------------------------------------------------------------

    def _answered(self, memory: Bytes, m: Messages, kind: Kind, rows: Rows) -> Said:
        good = np.flatnonzero(m.status[rows] == 0)
        columns, wrong = self._decode(memory, m, rows[good], kind, REPLY)
        faults: I64 = np.full(len(rows), -1)
        faults[good] = wrong
        handles: I32 = np.full(len(rows), NO_HANDLE, np.int32)
        if kind[0] == MOUNT:
            handles[good] = self._handles(memory, columns, m.src[rows[good]])
        return Said(kind, rows, good, columns, faults, handles)

    def _replies(self, batch: Batch, said: Said, chosen: Bools) -> Iterator[Found]:
        kind, m, wanted = said.kind, batch.messages, np.flatnonzero(chosen)
        is_good = chosen[said.decoded]
        results: list[dict[str, Any]] = [{} for _ in said.rows]
        values = self._values(batch, said, REPLY, np.flatnonzero(is_good))
        for i, value in zip(said.decoded[is_good].tolist(), values, strict=True):
            results[i] = value
        rows = said.rows[wanted]
        calls = [
            self._open.get(serial) or self._rebuilt(m, row, kind)
            for row, serial in zip(rows.tolist(), m.call[rows].tolist(), strict=True)
        ]
        columns = (getattr(m, name)[rows].tolist() for name in REPLY_COLUMNS)
        said_in_them = (results[i] for i in wanted.tolist())
        faults, handles = said.faults[wanted].tolist(), said.handles[wanted].tolist()
        replies = list(map(Reply, *columns, calls, said_in_them, faults, handles))
        return zip(rows.tolist(), replies, strict=True)

    @staticmethod
    def _rebuilt(m: Messages, row: int, kind: Kind) -> Call:
        """The call of a refused NFS reply, as far as its reply tells."""
        return Call(
            int(m.call[row]),
            int(m.call_frame[row]),
            int(m.call_time[row]),
            int(m.dst[row]),
            int(m.src[row]),
            int(m.dport[row]),
            int(m.sport[row]),
            int(m.transport[row]),
            int(m.flow[row]),
            1 - int(m.side[row]),
            -1,
            int(m.xid[row]),
            -1,
            0,
            -1,
            *kind,
            {},
        )

    def _unseen_calls(self, m: Messages, rest: Rows) -> Iterator[Found]:
        """Replies over UDP to calls that were not captured, between ports that locks were asked through."""
        rows = rest[m.transport[rest] == UDP]
        columns = (getattr(m, name)[rows].tolist() for name in ("flow", "reply", "program", "call"))
        for row, flow, is_reply, program, call in zip(rows.tolist(), *columns, strict=True):
            if not is_reply and program == NLM:
                self._locking.add(flow)
            elif is_reply and call < 0 and flow in self._locking:
                yield row, Hole(int(m.frame[row]), int(m.time[row]), flow, 1 - int(m.side[row]), -1)

    def _decode(
        self, memory: Bytes, m: Messages, rows: Rows, kind: Kind, direction: int
    ) -> tuple[Columns | None, I64]:
        decoder = self._decoder(kind, direction)
        if decoder is None:
            return None, np.full(len(rows), -1)
        there = m.body[rows] >= 0
        kept = np.where(there, m.body_kept[rows], 0)
        size = np.where(there, m.body_size[rows], -1)
        columns = decoder.columns(memory, np.where(there, m.body[rows], 0), kept, size)
        faults = decoder.faults(columns)
        for row in np.flatnonzero(faults >= 0).tolist():
            fault = int(faults[row])
            if self._faults.count[fault] == 0:
                self._faults.first_frame[fault] = m.frame[rows[row]]
            self._faults.count[fault] += 1
        return columns, faults

    def _values(self, batch: Batch, said: Said, direction: int, chosen: Rows) -> list[dict[str, Any]]:
        """What the chosen ones of the decoded messages say."""
        decoder = self._decoder(said.kind, direction)
        if decoder is None or said.columns is None:
            return [{} for _ in chosen]
        return decoder.rows(batch.memory, said.columns, chosen)

    def _decoder(self, kind: Kind, direction: int) -> RowDecoder | None:
        key = (kind, direction)
        if key not in self._decoders:
            program = REGISTRY.get(kind[:2])
            procedure = program.procedures.get(kind[2]) if program else None
            body = procedure.body(direction) if procedure else None
            self._decoders[key] = RowDecoder(body, self._compiled) if body is not None else None
        return self._decoders[key]


def _remarkable(m: Messages, rows: Rows, followed: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which rows become objects: the followed programs, NFS calls that do not exist, were refused, or ask for
    TLS (RFC 9289 4.1; answers to NULL are taken with them)."""
    program, procedure = m.program[rows], m.procedure[rows]
    undeclared = (m.version[rows] == 3) & (procedure > LAST_PROCEDURE)
    refused = (m.reply[rows] != 0) & (m.status[rows] > 0)
    found: NDArray[np.bool_] = np.isin(program, followed)
    secured = np.where(m.reply[rows] != 0, procedure == 0, m.flavor[rows] == AUTH_TLS)
    found |= (program == NFS) & (undeclared | refused | secured)
    return found


def _groups(m: Messages, rows: Rows) -> Iterator[tuple[Kind, Rows]]:
    """Rows by (program, version, procedure)."""
    if not len(rows):
        return
    kinds = np.stack((m.program[rows], m.version[rows], m.procedure[rows]), 1)
    order = np.lexsort((kinds[:, 2], kinds[:, 1], kinds[:, 0]))
    ordered = kinds[order]
    edges = np.flatnonzero((ordered[1:] != ordered[:-1]).any(1)) + 1
    for group in np.split(order, edges):
        program, version, procedure = kinds[group[0]].tolist()
        yield (program, version, procedure), rows[group]


def _row(found: Found) -> int:
    return found[0]
