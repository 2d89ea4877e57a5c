"""NFSv3 in columns: activity, names, attributes, verifiers.

In: the NFSv3 rows of a block's messages. Out: `Activity`, and events where something new was said.

Theory. Of millions of NFS calls only novelty matters: a name that leads to another handle than it did, a
verifier that changed, attributes of a handle not described yet. Kernels and vectorised comparisons find it;
what repeats never becomes an object. What is decoded is named here as columns of the declarations, projected
to the few that are read.

Never: keeps more than one row per name and handle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.index import find, new_slots, put, refill
from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.protocols import REGISTRY
from analyzer.protocols.nfs3 import NFS
from analyzer.records.events import Activity, Done, Event, Io, Naming, Renaming, Resent, Stale, Verifier
from analyzer.records.gather import distinct
from analyzer.records.handles import NOBODY, HandleTable, hash_pair
from analyzer.records.sift import Sifted
from analyzer.schema.batch import Decoder
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.rows import Columns
from analyzer.tables import I32, I64, Bytes, Messages
from analyzer.words import views, word

HANDLE_LIMIT = 64
NAMES_REMEMBERED = 1 << 18
FEW_NAMES = 1 << 10  # there is room for at first
SENT_REMEMBERED = 1 << 16  # calls whose time a copy may ask for; a power of two
GETATTR, SETATTR, LOOKUP, WRITE, CREATE, MKDIR, SYMLINK, MKNOD = 1, 2, 3, 7, 8, 9, 10, 11
REMOVE, RMDIR, RENAME, LINK, READDIRPLUS, COMMIT = 12, 13, 14, 15, 17, 21
STALE = 70  # NFS3ERR_STALE (RFC 1813 2.6)
GIVE_NAMES = (LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD)

Rows = NDArray[np.intp]
Found = tuple[int, Event]


@kernel
def novel_names(
    memory: Any,
    words: Any,
    starts: Any,
    stops: Any,
    dirs: Any,
    fhs: Any,
    slots: Any,
    k0: Any,
    k1: Any,
    last: Any,
    used: Any,
    named: Any,
    out: Any,
) -> Any:
    """out[i] = 1 where (dirs[i], name) led elsewhere before, or fhs[i] had no name; returns the rows used.

    A further name of a file that has one (a hard link, another way to it) says nothing new.
    """
    for i in range(len(starts)):
        out[i] = 0
        if int(dirs[i]) < 0 or int(fhs[i]) < 0 or int(starts[i]) < 0:
            continue
        g, b = hash_pair(memory, words, int(starts[i]), int(stops[i]))
        a = (int(dirs[i]) << 32) | g
        row = find(slots, k0, k1, a, b)
        if row < 0:
            row = used
            k0[row] = a
            k1[row] = b
            last[row] = -1
            put(slots, k0, k1, row)
            used += 1
        before = int(last[row])
        if (before >= 0 and before != int(fhs[i])) or int(named[fhs[i]]) == 0:
            named[fhs[i]] = 1
            out[i] = 1
        last[row] = fhs[i]
    return used


@kernel
def stales(
    words: Any,
    rows: Any,
    body: Any,
    kept: Any,
    call: Any,
    fh_of_call: Any,
    first: Any,
    locker: Any,
    nobody: Any,
    out: Any,
) -> Any:
    """Write the replies NFS3ERR_STALE into `out` and return their number, leaving out most that are about
    files without locks, for to look at their bytes is dear: `fh_of_call` has the handles of this block's
    calls, from the one numbered `first`.
    """
    count = 0
    for i in range(len(rows)):
        row = int(rows[i])
        place = int(call[row]) - first
        if 0 <= place < len(fh_of_call):
            fh = int(fh_of_call[place])
            if fh < 0 or int(locker[fh]) == nobody:
                continue
        if int(kept[row]) >= 4 and word(words, int(body[row])) == STALE:
            out[count] = row
            count += 1
    return count


class NfsRecords:
    """Reads the NFSv3 messages of a block."""

    def __init__(self, compiled: bool, handles: HandleTable, names_only: bool = False) -> None:
        """`names_only`: read what names files, and nothing else."""
        self._compiled = compiled
        self._names_only = names_only
        self._handles = handles
        self._decoders: dict[tuple[int, int, tuple[str, ...]], Decoder] = {}
        self._novel = compiled_kernel(novel_names) if compiled else novel_names
        self._stales = compiled_kernel(stales) if compiled else stales
        self._k0: I64 = np.zeros(NAMES_REMEMBERED, np.int64)
        self._k1: I64 = np.zeros(NAMES_REMEMBERED, np.int64)
        self._last: I64 = np.zeros(NAMES_REMEMBERED, np.int64)
        self._slots = new_slots(FEW_NAMES)
        self._refill = compiled_kernel(refill) if compiled else refill
        self._used = 0
        self._verifiers: dict[int, bytes] = {}
        self._sent: I64 = np.zeros(SENT_REMEMBERED, np.int64)  # times of calls by serial number
        self._first_serial = 0
        self._fh_of_call: I32 = np.empty(0, np.int32)

    def decode(self, memory: Bytes, m: Messages, sifted: Sifted) -> tuple[list[Found], Activity]:
        """Events (with their row in the block) and activity of the NFSv3 rows."""
        found: list[Found] = []
        calls = sifted.calls[:0] if self._names_only else sifted.calls
        activity, fhs = self._activity(memory, m, calls)
        found.extend(self._io(memory, m, calls, fhs))
        found.extend(self._resent(m, calls))
        for procedure, rows in enumerate(sifted.good):
            if not len(rows):
                continue
            if procedure in GIVE_NAMES:
                found.extend(self._names(memory, m, rows, procedure))
            elif procedure in (REMOVE, RMDIR):
                found.extend(self._removals(memory, m, rows, procedure))
            elif procedure == RENAME:
                found.extend(self._renames(memory, m, rows))
            elif procedure == LINK:
                found.extend(self._links(memory, m, rows))
            elif procedure == READDIRPLUS:
                found.extend(self._listings(memory, m, rows))
            elif self._names_only:
                continue
            elif procedure == GETATTR:
                self._attributes(memory, m, rows)
            elif procedure in (WRITE, COMMIT):
                found.extend(self._verified(memory, m, rows, procedure))
        if self._handles.any_locked:
            for procedure in (WRITE, SETATTR):
                found.extend(self._done_io(memory, m, sifted.good[procedure], procedure))
            found.extend(self._stale(memory, m, np.concatenate(sifted.good)))
        return found, activity

    # -- calls --------------------------------------------------------------------------------

    def _activity(self, memory: Bytes, m: Messages, calls: Rows) -> tuple[Activity, I32]:
        starts, stops = self._handles.heads(memory, m.body[calls], m.body_kept[calls], HANDLE_LIMIT)
        fhs = self._handles.intern(memory, starts, stops, m.dst[calls])
        serials = m.call[calls]
        self._first_serial = int(serials[0]) if len(serials) else 0
        self._fh_of_call = np.full(
            int(serials[-1]) - self._first_serial + 1 if len(serials) else 0, -1, np.int32
        )
        self._fh_of_call[serials - self._first_serial] = fhs
        frame, time, src, dst, flow, procedure = (
            column[calls] for column in (m.frame, m.time, m.src, m.dst, m.flow, m.procedure)
        )
        return Activity(frame, time, src, dst, flow, fhs, procedure), fhs

    def _resent(self, m: Messages, calls: Rows) -> Iterator[Found]:
        """The calls that were sent before, by client and server."""
        if not len(calls):
            return
        first, serials, times = m.retransmit_of[calls], m.call[calls], m.time[calls]
        again = np.flatnonzero(first >= 0)
        if len(again):
            waited = times[again] - self._when(first[again], serials, times)
            rows = calls[again]
            pairs = m.src[rows] << 32 | m.dst[rows]
            for pair in distinct(pairs)[0].tolist():
                mine = np.flatnonzero(pairs == pair)
                row = int(rows[mine[0]])
                yield row, Resent(*_where(m, row), m.frame[rows[mine]].tolist(), waited[mine].tolist())
        self._sent[serials & len(self._sent) - 1] = times

    def _when(self, wanted: I64, serials: I64, times: I64) -> I64:
        """When calls were sent: of this block, lately, or before all that is remembered."""
        place = np.minimum(np.searchsorted(serials, wanted), len(serials) - 1)
        lately = self._sent[wanted & len(self._sent) - 1]
        known = wanted > int(serials[0]) - len(self._sent)
        if not known.all():
            lately = np.where(known, lately, self._sent[self._sent > 0].min(initial=int(times[0])))
        return np.where(serials[place] == wanted, times[place], lately)

    def _asked_of(self, memory: Bytes, m: Messages, rows: Rows) -> I32:
        """The handle that heads the call of each reply: known from this block, else read again."""
        place = m.call[rows] - self._first_serial
        here = (place >= 0) & (place < len(self._fh_of_call))
        fhs = np.full(len(rows), -1, np.int32)
        fhs[here] = self._fh_of_call[place[here]]
        rest = rows[~here]
        if len(rest):
            starts, stops = self._handles.heads(
                memory, m.call_body[rest], m.call_body_kept[rest], HANDLE_LIMIT
            )
            fhs[~here] = self._handles.intern(memory, starts, stops, m.src[rest])
        return fhs

    def _io(self, memory: Bytes, m: Messages, calls: Rows, fhs: I32) -> Iterator[Found]:
        procedures = m.procedure[calls]
        writes = self._of_others(fhs, m.src[calls])
        for procedure, kind, wanted in (
            (WRITE, "WRITE", ("offset", "count")),
            (SETATTR, "SETATTR", ("set_size",)),
        ):
            chosen = np.flatnonzero(writes & (procedures == procedure))
            rows = calls[chosen]
            if not len(rows):
                continue
            columns = self._decode(memory, m, rows, procedure, CALL, wanted)
            for i, row in enumerate(rows.tolist()):
                if columns.valid[wanted[0]][i]:
                    offset = int(columns.unsigned(wanted[0])[i])
                    count = int(columns.values["count"][i]) if procedure == WRITE else 0
                    fh, serial = int(fhs[chosen[i]]), int(m.call[row])
                    yield row, Io(*_where(m, row), fh, kind, offset, count, serial)

    def _of_others(self, fhs: I32, clients: I64) -> NDArray[np.bool_]:
        """Whether somebody else than `clients` locks these files: what is one's own concerns nobody."""
        locker = self._handles.locker[fhs]
        found: NDArray[np.bool_] = (fhs >= 0) & (locker != NOBODY) & (locker != clients)
        return found

    def _done_io(self, memory: Bytes, m: Messages, rows: Rows, procedure: int) -> Iterator[Found]:
        """How the calls that were told as `Io` ended."""
        rows = rows[self._of_others(self._asked_of(memory, m, rows), m.dst[rows])]
        if not len(rows):
            return
        result = self._decode(memory, m, rows, procedure, REPLY, ("status",))
        for i in np.flatnonzero(result.valid["status"]).tolist():
            row, status = int(rows[i]), int(result.values["status"][i])
            yield row, Done(int(m.frame[row]), int(m.time[row]), int(m.call[row]), status)

    def _stale(self, memory: Bytes, m: Messages, good: Rows) -> Iterator[Found]:
        """Answers NFS3ERR_STALE about files that carry locks."""
        out = np.empty(len(good), np.int64)
        words = views(memory)[1]
        mine, first, locker = self._fh_of_call, self._first_serial, self._handles.locker
        count = self._stales(words, good, m.body, m.body_kept, m.call, mine, first, locker, NOBODY, out)
        rows = out[:count]
        fhs = self._asked_of(memory, m, rows)
        for i in np.flatnonzero((fhs >= 0) & (locker[fhs] != NOBODY)).tolist():
            yield int(rows[i]), Stale(*_whence(m, int(rows[i])), int(fhs[i]))

    # -- replies ------------------------------------------------------------------------------

    def _names(self, memory: Bytes, m: Messages, rows: Rows, procedure: int) -> Iterator[Found]:
        rows = rows[m.call_body[rows] >= 0]
        asked = self._decode_asked(memory, m, rows, procedure, ("name",))
        dirs = self._asked_of(memory, m, rows)
        fhs = self._given(memory, m, rows, procedure, asked.valid["name"])
        fresh = self._fresh(memory, asked.start["name"], asked.stop["name"], dirs, fhs)
        for i in np.flatnonzero(fresh).tolist():
            row = int(rows[i])
            name = memory[int(asked.start["name"][i]) : int(asked.stop["name"][i])].tobytes()
            yield row, Naming(*_whence(m, row), int(dirs[i]), name, int(fhs[i]), procedure != LOOKUP)

    def _given(self, memory: Bytes, m: Messages, rows: Rows, procedure: int, asked: NDArray[np.bool_]) -> I32:
        """The handle that each reply gives for the name that was `asked` for. That of a LOOKUP stands behind
        its status: nothing else is read but of handles that nothing has described yet."""
        attributes = ("obj_attr_nlink", "obj_attr_size", "obj_attr_fsid", "obj_attr_fileid")
        servers = m.src[rows]
        if procedure == LOOKUP:
            starts, stops = self._handles.heads(
                memory, m.body[rows], m.body_kept[rows], HANDLE_LIMIT, status=True
            )
            fhs = self._handles.intern(memory, np.where(asked, starts, -1), stops, servers)
            new = self._handles.undescribed(fhs)
            if len(new):
                result = self._decode(memory, m, rows[new], procedure, REPLY, attributes)
                self._describe(fhs[new], result, "obj_attr_")
            return fhs
        result = self._decode(memory, m, rows, procedure, REPLY, ("status", "fh", *attributes))
        good = (result.values["status"] == 0) & result.valid["fh"] & asked
        fhs = self._spans(memory, result, "fh", good, servers)
        self._describe(fhs, result, "obj_attr_")
        return fhs

    def _listings(self, memory: Bytes, m: Messages, rows: Rows) -> Iterator[Found]:
        rows = rows[m.call_body[rows] >= 0]
        result = self._decode(memory, m, rows, READDIRPLUS, REPLY, ("entries.name", "entries.fh"))
        servers = m.src[rows]
        directories = self._asked_of(memory, m, rows)
        if "entries" not in result.children:
            return
        parents, entries = result.children["entries"]
        good = entries.valid["fh"] & entries.valid["name"]
        fhs = self._spans(memory, entries, "fh", good, servers[parents])
        dirs = directories[parents]
        fresh = self._fresh(memory, entries.start["name"], entries.stop["name"], dirs, fhs)
        for i in np.flatnonzero(fresh).tolist():
            row = int(rows[parents[i]])
            name = memory[int(entries.start["name"][i]) : int(entries.stop["name"][i])].tobytes()
            yield row, Naming(*_whence(m, row), int(dirs[i]), name, int(fhs[i]))

    def _removals(self, memory: Bytes, m: Messages, rows: Rows, procedure: int) -> Iterator[Found]:
        for row, asked, i, server in self._done(memory, m, rows, procedure, ("dir_fh", "name")):
            directory, name = self._entry(memory, asked, "dir_fh", "name", i, server)
            yield row, Naming(*_whence(m, row), directory, name, -1)

    def _renames(self, memory: Bytes, m: Messages, rows: Rows) -> Iterator[Found]:
        wanted = ("from_dir_fh", "from_name", "to_dir_fh", "to_name")
        for row, asked, i, server in self._done(memory, m, rows, RENAME, wanted):
            old = self._entry(memory, asked, "from_dir_fh", "from_name", i, server)
            new = self._entry(memory, asked, "to_dir_fh", "to_name", i, server)
            yield row, Renaming(*_whence(m, row), *old, *new)

    def _links(self, memory: Bytes, m: Messages, rows: Rows) -> Iterator[Found]:
        wanted = ("fh", "link_dir_fh", "link_name")
        for row, asked, i, server in self._done(memory, m, rows, LINK, wanted):
            directory, name = self._entry(memory, asked, "link_dir_fh", "link_name", i, server)
            fh = self._one(memory, asked, "fh", i, server)
            yield row, Naming(*_whence(m, row), directory, name, fh, True)

    def _done(
        self, memory: Bytes, m: Messages, rows: Rows, procedure: int, wanted: tuple[str, ...]
    ) -> Iterator[tuple[int, Columns, int, int]]:
        """The calls of these replies that succeeded: row, decoded call, index in it, server."""
        rows = rows[m.call_body[rows] >= 0]
        result = self._decode(memory, m, rows, procedure, REPLY, ("status",))
        asked = self._decode_asked(memory, m, rows, procedure, wanted)
        good = result.valid["status"] & (result.values["status"] == 0) & asked.valid[wanted[-1]]
        for i in np.flatnonzero(good).tolist():
            yield int(rows[i]), asked, i, int(m.src[rows[i]])

    def _attributes(self, memory: Bytes, m: Messages, rows: Rows) -> None:
        """fsid and fileid of handles that nothing has described yet."""
        fhs = self._asked_of(memory, m, rows)
        new = self._handles.undescribed(fhs)
        if len(new):
            chosen = rows[new]
            wanted = ("attr_nlink", "attr_size", "attr_fsid", "attr_fileid")
            result = self._decode(memory, m, chosen, GETATTR, REPLY, wanted)
            self._describe(fhs[new], result, "attr_")

    def _verified(self, memory: Bytes, m: Messages, rows: Rows, procedure: int) -> Iterator[Found]:
        result = self._decode(memory, m, rows, procedure, REPLY, ("status", "verf"))
        good = np.flatnonzero(result.valid["verf"])
        if not len(good):
            return
        at = result.start["verf"][good]
        words = memory[at[:, None] + np.arange(8)].view(">u8").ravel()
        servers = m.src[rows[good]]
        for server in distinct(servers)[0].tolist():
            mine = np.flatnonzero(servers == server)
            values = words[mine]
            before = self._verifiers.get(server)
            changed = np.flatnonzero(values[1:] != values[:-1]) + 1
            if before is not None and int.from_bytes(before, "big") != int(values[0]):
                changed = np.concatenate(([0], changed))
            for i in changed.tolist():
                row = int(rows[good[mine[i]]])
                old = before if i == 0 and before is not None else int(values[i - 1]).to_bytes(8, "big")
                new = int(values[i]).to_bytes(8, "big")
                yield row, Verifier(int(m.frame[row]), int(m.time[row]), server, old, new)
            self._verifiers[server] = int(values[-1]).to_bytes(8, "big")

    # -- decoding -----------------------------------------------------------------------------

    def _decoder(self, procedure: int, direction: int, wanted: tuple[str, ...]) -> Decoder:
        key = (procedure, direction, wanted)
        if key not in self._decoders:
            body = REGISTRY[NFS, 3].procedures[procedure].body(direction)
            assert body is not None
            self._decoders[key] = Decoder(body, wanted, self._compiled)
        return self._decoders[key]

    def _decode(
        self, memory: Bytes, m: Messages, rows: Rows, procedure: int, direction: int, wanted: tuple[str, ...]
    ) -> Columns:
        start = m.body[rows]
        stop = start + m.body_kept[rows]
        return self._decoder(procedure, direction, wanted).decode(memory, start, stop, m.body_size[rows])

    def _decode_asked(
        self, memory: Bytes, m: Messages, rows: Rows, procedure: int, wanted: tuple[str, ...]
    ) -> Columns:
        start = m.call_body[rows]
        return self._decoder(procedure, CALL, wanted).decode(memory, start, start + m.call_body_kept[rows])

    def _spans(
        self, memory: Bytes, columns: Columns, name: str, good: NDArray[np.bool_], servers: I64
    ) -> I32:
        starts = np.where(good, columns.start[name], -1)
        return self._handles.intern(memory, starts, np.ascontiguousarray(columns.stop[name]), servers)

    def _one(self, memory: Bytes, columns: Columns, name: str, i: int, server: int) -> int:
        return self._handles.intern_one(
            server, memory[int(columns.start[name][i]) : int(columns.stop[name][i])].tobytes()
        )

    def _entry(
        self, memory: Bytes, columns: Columns, directory: str, name: str, i: int, server: int
    ) -> tuple[int, bytes]:
        text = memory[int(columns.start[name][i]) : int(columns.stop[name][i])].tobytes()
        return self._one(memory, columns, directory, i, server), text

    def _describe(self, fhs: I32, columns: Columns, prefix: str) -> None:
        new = self._handles.undescribed(fhs)
        new = new[columns.valid[f"{prefix}fileid"][new]]
        said = (columns.unsigned(f"{prefix}{name}")[new] for name in ("fsid", "fileid", "nlink", "size"))
        for described in zip(fhs[new].tolist(), *(column.tolist() for column in said), strict=True):
            self._handles.describe(*described)

    def _fresh(self, memory: Bytes, starts: I64, stops: I64, dirs: I32, fhs: I32) -> NDArray[np.int8]:
        self._make_room(len(starts))
        out = np.zeros(len(starts), np.int8)
        memory, words = views(memory)
        self._used = self._novel(
            memory,
            words,
            starts,
            stops,
            dirs,
            fhs,
            self._slots,
            self._k0,
            self._k1,
            self._last,
            self._used,
            self._handles.named,
            out,
        )
        return out

    def _make_room(self, more: int) -> None:
        """Room for so many more names."""
        if self._used + more > NAMES_REMEMBERED:  # forgetting only repeats what was said
            self._slots, self._used = new_slots(more), 0
        elif 2 * (self._used + more) > len(self._slots):
            self._slots = new_slots(self._used + more)
            self._refill(self._slots, self._k0, self._k1, np.arange(self._used), self._used)


def _where(m: Messages, row: int) -> tuple[int, int, int, int]:
    return int(m.frame[row]), int(m.time[row]), int(m.src[row]), int(m.dst[row])


def _whence(m: Messages, row: int) -> tuple[int, int, int, int]:
    """As `_where`, of a reply: the client is whom it goes to."""
    return int(m.frame[row]), int(m.time[row]), int(m.dst[row]), int(m.src[row])
