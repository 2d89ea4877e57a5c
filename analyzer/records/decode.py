"""Messages to records: what a block of RPC messages says.

In: `Messages` of a block. Out: a `Batch`: events in the order of the wire, NFS activity, names of hosts,
counts.

Theory. All messages of one procedure are decoded together, by the declaration. Messages of the programs
whose every word matters (portmap, MOUNT, NSM, NLM) become `Call` and `Reply` objects; NFSv3 stays in
columns (`nfs`). A call waits here for its reply, so that a `Reply` can name its `Call` in whatever block
it comes.

Never: judges; knows what a ledger is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import numpy as np

from analyzer.faults import Fault, Faults
from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.protocols.portmap import PORTMAP
from analyzer.protocols.rpc import AUTH_SYS, AUTH_SYS_BODY
from analyzer.records.events import Activity, Call, Event, Reply
from analyzer.records.handles import HandleTable
from analyzer.records.nfs import LAST_PROCEDURE, NfsRecords, Rows
from analyzer.records.rows import RowDecoder
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.scalar import decode_one
from analyzer.tables import Bytes, Messages, first_rows

FOLLOWED = (PORTMAP, MOUNT, NSM, NLM)
OPEN_CALLS = 1 << 17
OFTEN = ("reply", "program", "version", "procedure", "gss", "body", "status", "call", "flavor")
IDENTITIES = 4096  # credentials remembered by their bytes
CALL_COLUMNS = (
    *("call", "frame", "time", "src", "dst", "sport", "dport", "transport", "flow", "side"),
    *("stream_end", "xid", "flavor", "retransmit_of"),
)
PRIVACY = 3
CALLBACKS = (5, 10)  # NLM GRANTED, GRANTED_MSG: the caller is the server of the file

Kind = tuple[int, int, int]  # program, version, procedure
Identity = tuple[int | None, bytes | None]  # uid, machine name
NOBODY: Identity = (None, None)


class Batch(NamedTuple):
    """What a block says."""

    events: list[Event]
    activity: Activity
    names: list[tuple[int, bytes]]  # host, machine name in its NFS credentials


class Records:
    """The record stage. Keeps the open calls of the followed programs, at most `OPEN_CALLS`."""

    def __init__(self, compiled: bool, faults: Faults) -> None:
        self._compiled = compiled
        self._faults = faults
        self.handles = HandleTable(compiled, faults)
        self._nfs = NfsRecords(compiled, self.handles)
        self._decoders: dict[tuple[Kind, int], RowDecoder | None] = {}
        self._known: dict[bytes, Identity] = {}
        self._open: OrderedDict[int, Call] = OrderedDict()
        self._named: set[tuple[int, int]] = set()
        self.counts: dict[Kind, int] = {}

    def decode(self, memory: Bytes, messages: Messages, count: int, locked: Set[int]) -> Batch:
        """Decode a block; `locked` are the handles whose writes matter."""
        m = first_rows(messages, count)
        # Columns are views with the stride of a message: those read again and again are copied once.
        m = m._replace(**{name: np.ascontiguousarray(getattr(m, name)) for name in OFTEN})
        is_call = m.reply == 0
        self._count(m, is_call)
        nfs = (m.program == NFS) & (m.version == 3) & (m.gss != PRIVACY)
        followed = np.isin(m.program, FOLLOWED)
        calls = np.flatnonzero(nfs & is_call & (m.procedure <= LAST_PROCEDURE) & (m.body >= 0))
        replies = np.flatnonzero(nfs & ~is_call)
        # A refused NFS call and an undeclared procedure are as remarkable as any lock call.
        odd_calls = nfs & is_call & (m.procedure > LAST_PROCEDURE)
        odd_replies = (
            (m.program == NFS)
            & ~is_call
            & (((m.status > 0) & (m.call >= 0)) | (m.procedure > LAST_PROCEDURE))
        )
        found: list[tuple[int, Event]] = []
        found.extend(self._calls(memory, m, np.flatnonzero((followed & is_call) | odd_calls)))
        locked = set(locked) | {
            event.fh for _, event in found if isinstance(event, Call) and event.program == NLM
        }
        locked.discard(-1)
        more, activity = self._nfs.decode(memory, m, calls, replies, locked)
        found.extend(more)
        found.extend(self._replies(memory, m, np.flatnonzero((followed & ~is_call) | odd_replies)))
        found.sort(key=_row)
        return Batch([event for _, event in found], activity, self._machine_names(memory, m, calls))

    def _count(self, m: Messages, is_call: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        rows = np.flatnonzero(is_call & (m.program >= 0))
        small = (m.version[rows] < 1024) & (m.procedure[rows] < 1024)
        key = (m.program[rows] << 20) | (m.version[rows] << 10) | m.procedure[rows]
        kinds, numbers = np.unique(key[small], return_counts=True)
        for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
            self._add((kind >> 20, (kind >> 10) & 1023, kind & 1023), number)
        for row in rows[~small].tolist():
            self._add((int(m.program[row]), int(m.version[row]), int(m.procedure[row])), 1)

    def _add(self, kind: Kind, number: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + number

    # -- calls --------------------------------------------------------------------------------

    def _calls(self, memory: Bytes, m: Messages, rows: Rows) -> Iterator[tuple[int, Event]]:
        if not len(rows):
            return
        for kind, group in _groups(m, rows):
            args, faults = self._decode(memory, m, group, kind, CALL)
            who = self._identities(memory, m, group)
            columns = (getattr(m, name)[group].tolist() for name in CALL_COLUMNS)
            is_callback = kind[0] == NLM and kind[2] in CALLBACKS
            rest = zip(group.tolist(), args, faults, who, m.damage[group].tolist(), strict=True)
            for head, (row, values, fault, (uid, machine), damage) in zip(
                zip(*columns, strict=True), rest, strict=True
            ):
                fields = (*head[:-2], *kind, head[-2], values, fault, damage, head[-1], -1, uid, machine)
                call = Call(*fields)
                if handle := values.get("fh"):
                    call.fh = self.handles.intern_one(call.src if is_callback else call.dst, handle)
                self._open[call.serial] = call
                if len(self._open) > OPEN_CALLS:
                    self._open.popitem(last=False)
                    self._faults.count[Fault.CALLS_EVICTED] += 1
                yield row, call

    def _identities(self, memory: Bytes, m: Messages, rows: Rows) -> list[Identity]:
        """uid and machine name of each call, from its AUTH_SYS credentials."""
        view = memory.data
        found: list[Identity] = []
        for flavor, start, size in zip(
            m.flavor[rows].tolist(), m.cred[rows].tolist(), m.cred_size[rows].tolist(), strict=True
        ):
            if flavor != AUTH_SYS or start < 0:
                found.append(NOBODY)
                continue
            body = bytes(view[start : start + size])
            who = self._known.get(body)
            if who is None:
                values = decode_one(AUTH_SYS_BODY, body).values
                who = values.get("uid"), values.get("machinename")
                if len(self._known) >= IDENTITIES:
                    self._known.clear()
                self._known[body] = who
            found.append(who)
        return found

    def _machine_names(self, memory: Bytes, m: Messages, calls: Rows) -> list[tuple[int, bytes]]:
        """The name each host gives itself, once per host and length of credential."""
        rows = calls[m.flavor[calls] == AUTH_SYS]
        key = (m.src[rows] << 10) | m.cred_size[rows]
        _, first = np.unique(key, return_index=True)
        new = [i for i in first.tolist() if self._first_time(int(m.src[rows[i]]), int(m.cred_size[rows[i]]))]
        chosen = rows[new]
        who = self._identities(memory, m, chosen)
        return [
            (host, machine) for host, (_, machine) in zip(m.src[chosen].tolist(), who, strict=True) if machine
        ]

    def _first_time(self, host: int, size: int) -> bool:
        if (host, size) in self._named:
            return False
        self._named.add((host, size))
        return True

    # -- replies ------------------------------------------------------------------------------

    def _replies(self, memory: Bytes, m: Messages, rows: Rows) -> Iterator[tuple[int, Event]]:
        rows = rows[m.call[rows] >= 0]
        if not len(rows):
            return
        for kind, group in _groups(m, rows):
            good = m.status[group] == 0
            results: list[dict[str, Any]] = [{} for _ in group]
            faults = [-1] * len(group)
            chosen = np.flatnonzero(good)
            if len(chosen):
                values, wrong = self._decode(memory, m, group[chosen], kind, REPLY)
                for i, value, fault in zip(chosen.tolist(), values, wrong, strict=True):
                    results[i], faults[i] = value, fault
            for i, row in enumerate(group.tolist()):
                call = self._open.get(int(m.call[row])) or self._rebuilt(m, row, kind)
                reply = Reply(
                    int(m.frame[row]),
                    int(m.time[row]),
                    call,
                    int(m.status[row]),
                    results[i],
                    faults[i],
                    int(m.damage[row]),
                    int(m.low[row]),
                    int(m.high[row]),
                )
                handle = results[i].get("fh")
                if handle:
                    reply.fh = self.handles.intern_one(call.dst, handle)
                call.replies.append(reply)
                yield row, reply

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
            *kind,
            -1,
            {},
        )

    def _decode(
        self, memory: Bytes, m: Messages, rows: Rows, kind: Kind, direction: int
    ) -> tuple[list[dict[str, Any]], list[int]]:
        decoder = self._decoder(kind, direction)
        if decoder is None:
            return [{} for _ in rows], [-1] * len(rows)
        there = m.body[rows] >= 0
        kept = np.where(there, m.body_kept[rows], 0)
        size = np.where(there, m.body_size[rows], -1)
        values, faults = decoder.decode(memory, np.where(there, m.body[rows], 0), kept, size)
        for fault, row in zip(faults, rows.tolist(), strict=True):
            if fault >= 0:
                if self._faults.count[fault] == 0:
                    self._faults.first_frame[fault] = m.frame[row]
                self._faults.count[fault] += 1
        return values, faults

    def _decoder(self, kind: Kind, direction: int) -> RowDecoder | None:
        key = (kind, direction)
        if key not in self._decoders:
            program = REGISTRY.get(kind[:2])
            procedure = program.procedures.get(kind[2]) if program else None
            body = procedure.body(direction) if procedure else None
            self._decoders[key] = RowDecoder(body, self._compiled) if body is not None else None
        return self._decoders[key]


def _groups(m: Messages, rows: Rows) -> Iterator[tuple[Kind, Rows]]:
    """Rows by (program, version, procedure)."""
    kinds = np.stack((m.program[rows], m.version[rows], m.procedure[rows]), 1)
    order = np.lexsort((kinds[:, 2], kinds[:, 1], kinds[:, 0]))
    ordered = kinds[order]
    edges = np.flatnonzero((ordered[1:] != ordered[:-1]).any(1)) + 1
    for group in np.split(order, edges):
        program, version, procedure = kinds[group[0]].tolist()
        yield (program, version, procedure), rows[group]


def _row(found: tuple[int, Event]) -> int:
    return found[0]
