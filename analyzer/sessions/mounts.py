"""Mount sessions: who uses which export, and what was said about it.

In: MOUNT calls and replies, NFS activity per block. Out: one `Mount` per (client, server, export).

Theory. MNT and UMNT are courtesies: the server keeps a count per (client, path), the client may go on after
UMNT (umount.nfs sends it before the system call, which may fail), may never send it (lazy unmount, crash,
libnfs), and may use an export it never asked MNT for. So a mount session is (client, server, export) with
evidence of MNT or of NFS calls on handles of that export, and after each UMNT that brings the count to zero
a stretch begins (`Goodbye`) in which traffic contradicts what was said.

Never: decides what is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice, takewhile

import numpy as np

from analyzer.parameters import DEFAULTS, Settings, window
from analyzer.records.events import Activity, Call, Reply
from analyzer.records.gather import distinct
from analyzer.sessions.handles import Export, Handles, printable
from analyzer.sessions.kept import Kept
from analyzer.sessions.model import Place

FLUSH = window("flush-after-umnt", 2, "delayed WRITE and COMMIT may follow a UMNT")
FAR = 2**62
WRITE, CREATE = 7, 8  # of NFSv3
ANSWERED_KEPT = 4096  # copies follow each other within seconds

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(slots=True, eq=False)
class Goodbye:
    """An accepted UMNT or UMNTALL that left no mount, and what the client did afterwards."""

    call: Call
    reply: Reply
    until: int = FAR  # a new MNT, or the next UMNT
    ended_by_mount: bool = False
    first_after: Place | None = None
    last_after: Place | None = None
    calls_after: int = 0


@dataclass(slots=True, eq=False)
class Mount:
    """What one client does with one export of one server."""

    client: int
    server: int
    export: Export | None
    mnts: list[Reply] = field(default_factory=list)
    umnts: list[Reply] = field(default_factory=list)
    goodbyes: list[Goodbye] = field(default_factory=list)
    paths: dict[str, int] = field(default_factory=dict)  # MNT minus UMNT by path
    first: Place | None = None  # NFS calls
    last: Place | None = None
    calls: int = 0
    writes: int = 0  # of them, WRITE and CREATE
    flows: dict[int, Place] = field(default_factory=dict)  # last NFS call by connection
    rebooted: Place | None = None

    @property
    def count(self) -> int:
        """Mounts that are open as far as MNT and UMNT say."""
        return sum(max(0, count) for count in self.paths.values())

    @property
    def path(self) -> str | None:
        """The path as mounted."""
        if self.paths:
            return next(iter(self.paths))
        return self.export.path if self.export else None

    @property
    def early(self) -> bool:
        """Whether it was in use before the first MNT seen: older than the capture."""
        if not self.mnts:
            return True
        return self.first is not None and self.first.time < self.mnts[0].call.time


class Mounts:
    """All mount sessions, and the MOUNT calls that belong to none."""

    def __init__(self, handles: Handles, settings: Settings = DEFAULTS) -> None:
        self.handles = handles
        self.flush = settings[FLUSH]
        self.sessions: dict[tuple[int, int, int], Mount] = {}
        self.refused: Kept[Reply] = Kept()  # MNT with a status or an RPC error
        self.unheard: dict[int, list[Call]] = {}  # copies of UMNT and UMNTALL without an answer (yet)
        self.failed_umnts: Kept[Reply] = Kept()
        self.strangers: Kept[Reply] = Kept()  # UMNT of a path that was not mounted as far as seen
        self.umntalls: Kept[Reply] = Kept()  # accepted ones, of whomever
        self.dumps: Kept[Reply] = Kept()
        self._of_client: dict[tuple[int, int], list[Mount]] = {}
        self._at: dict[tuple[int, int, str], list[Mount]] = {}  # by client, server, path as mounted
        self._answered: dict[int, None] = {}  # first copies of calls of which one was answered

    def session(self, client: int, server: int, export: Export | None) -> Mount:
        """The session of a client with an export, made when first needed."""
        key = (client, server, -1 if export is None else export.index)
        found = self.sessions.get(key)
        if found is None:
            found = self.sessions[key] = Mount(client, server, export)
            self._of_client.setdefault((client, server), []).append(found)
        return found

    def forget(self, key: tuple[int, int, int]) -> None:
        """Forget a session."""
        gone = self.sessions.pop(key)
        mine = self._of_client[gone.client, gone.server]
        mine.remove(gone)
        if not mine:
            del self._of_client[gone.client, gone.server]
        for path in gone.paths:
            self._leave(gone, path)

    def forget_closed(self, session: Mount) -> None:
        """Forget the paths of a session that were unmounted."""
        for path in [path for path, count in session.paths.items() if count <= 0]:
            del session.paths[path]
            self._leave(session, path)

    def _leave(self, session: Mount, path: str) -> None:
        key = (session.client, session.server, path)
        here = self._at[key]
        here.remove(session)
        if not here:
            del self._at[key]

    def of_client(self, client: int, server: int) -> list[Mount]:
        """The sessions of a client with a server."""
        return list(self._of_client.get((client, server), ()))

    def call(self, call: Call) -> None:
        """Take in a MOUNT call."""
        if call.procedure in (3, 4) and _first_copy(call) not in self._answered:
            self.unheard.setdefault(_first_copy(call), []).append(call)

    def reply(self, reply: Reply) -> None:
        """Take in a reply of MOUNT."""
        call = reply.call
        if call.procedure == 1:
            self._mnt(reply)
        elif call.procedure in (3, 4):
            self.unheard.pop(_first_copy(call), None)
            if reply.status != 0:
                self.failed_umnts.append(reply)
            elif self._is_first(call):
                self._umnt(reply)
        elif call.procedure == 2 and reply.status == 0:
            self.dumps.append(reply)

    def _is_first(self, call: Call) -> bool:
        """Whether this is the first answer to any copy of a call: the copies count once."""
        first = _first_copy(call)
        if first in self._answered:
            return False
        self._answered[first] = None
        if len(self._answered) > ANSWERED_KEPT:
            del self._answered[next(iter(self._answered))]
        return True

    def _mnt(self, reply: Reply) -> None:
        call = reply.call
        if reply.status != 0 or reply.result.get("status") != 0:
            self.refused.append(reply)
            return
        if reply.fh < 0 or not self._is_first(call):
            return
        path = call.args.get("dirpath", b"")
        export = self.handles.mounted(reply.fh, path)
        session = self.session(call.src, call.dst, export)
        text = printable(path)
        unknown = self.sessions.get((call.src, call.dst, -1))
        if session.first is None and unknown is not None:
            session.first = unknown.first  # calls on handles of no known export may have been on this one
        session.mnts.append(reply)
        self._mounted(session, text)
        self._end_goodbye(session, call.time, by_mount=True)

    def _mounted(self, session: Mount, path: str) -> None:
        """One more mount of a session under this path."""
        if path not in session.paths:
            self._at.setdefault((session.client, session.server, path), []).append(session)
        session.paths[path] = max(0, session.paths.get(path, 0)) + 1

    def _umnt(self, reply: Reply) -> None:
        call = reply.call
        text = printable(call.args.get("dirpath", b""))
        if call.procedure == 4:
            sessions = self.of_client(call.src, call.dst)
            self.umntalls.append(reply)
        else:
            sessions = self._at.get((call.src, call.dst, text)) or self._before_capture(call, text)
            if not sessions:
                self.strangers.append(reply)
        for session in sessions:
            for path in [text] if call.procedure == 3 else list(session.paths):
                left = session.paths.get(path, 0) - 1 if call.procedure == 3 else 0
                session.paths[path] = left
            session.umnts.append(reply)
            if session.count == 0:
                self._end_goodbye(session, call.time, by_mount=False)
                session.goodbyes.append(Goodbye(call, reply))

    def _before_capture(self, call: Call, path: str) -> list[Mount]:
        """The only session that is older than the capture and whose path is not known yet."""
        sessions = self._of_client.get((call.src, call.dst), ())
        unknown = list(islice((m for m in sessions if not m.mnts and not m.paths), 2))
        if len(unknown) != 1:
            return []
        self._mounted(unknown[0], path)
        return unknown

    def _end_goodbye(self, session: Mount, time: int, by_mount: bool) -> None:
        if session.goodbyes and session.goodbyes[-1].until == FAR:
            session.goodbyes[-1].until = time
            session.goodbyes[-1].ended_by_mount = by_mount

    def activity(self, rows: Activity) -> None:
        """Take in the NFS calls of a block."""
        if not len(rows.frame):
            return
        self.handles.absorb()
        exports = self.handles.export_indices(rows.fh).astype(np.int64)
        key = (rows.client << 42) | (rows.server << 21) | (exports + 1)
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order])) + 1
        for group in np.split(order, edges):
            self._used(rows, group, int(exports[group[0]]))

    def _used(self, rows: Activity, group: Rows, index: int) -> None:
        head, tail = int(group[0]), int(group[-1])
        export = self.handles.exports[index] if index >= 0 else None
        session = self.session(int(rows.client[head]), int(rows.server[head]), export)
        if session.first is None:
            session.first = Place(int(rows.frame[head]), int(rows.time[head]))
        session.last = Place(int(rows.frame[tail]), int(rows.time[tail]))
        session.calls += len(group)
        procedures = rows.procedure[group]
        session.writes += int(((procedures == WRITE) | (procedures == CREATE)).sum())
        flows = rows.flow[group]
        if (flows == flows[-1]).all():
            session.flows[int(flows[-1])] = session.last
        else:
            for flow in distinct(flows)[0]:
                at = int(group[np.flatnonzero(flows == flow)[-1]])
                session.flows[int(flow)] = Place(int(rows.frame[at]), int(rows.time[at]))
        times = rows.time[group]
        begin = int(times.min())
        for goodbye in takewhile(lambda goodbye: goodbye.until > begin, reversed(session.goodbyes)):
            self._after(goodbye, rows, group, times)

    def _after(self, goodbye: Goodbye, rows: Activity, group: Rows, times: Rows) -> None:
        """Take in the calls of a group that came after a goodbye, and before it was over."""
        late = group[(times > goodbye.call.time + self.flush) & (times < goodbye.until)]
        if len(late):
            head, tail = int(late[0]), int(late[-1])
            if goodbye.first_after is None:
                goodbye.first_after = Place(int(rows.frame[head]), int(rows.time[head]))
            goodbye.last_after = Place(int(rows.frame[tail]), int(rows.time[tail]))
            goodbye.calls_after += len(late)


def _first_copy(call: Call) -> int:
    """The serial number of the first copy of a call."""
    return call.serial if call.retransmit_of < 0 else call.retransmit_of
