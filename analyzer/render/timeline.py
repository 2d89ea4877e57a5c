"""What happened to files, or what clients did, one event a line.

In: a `View` whose filters say which files, clients and times. Out: a sheet of events in order of time.

Theory. The ledgers keep each lock with its request, its grant and its ends, each wait with its polls,
callbacks and end; mounts keep their MNTs and UMNTs, reboots their notices. A timeline is all of these by
time. An UNLOCK stands there with what was said to it, also where nothing was; one that frees several locks
is one event.

Never: says what it means; findings do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analyzer.protocols.nlm import STATUS, STATUS4
from analyzer.render import rows
from analyzer.render.said import extent
from analyzer.render.sheet import Cell, Sheet
from analyzer.sessions.handles import printable
from analyzer.sessions.ranges import EOF

if TYPE_CHECKING:
    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.model import File, Lock, Wait
    from analyzer.sessions.operations import Operation

CELLS = (
    Cell("time", "time"),
    Cell("frame", "int"),
    Cell("client", "host"),
    Cell("server", "category"),
    Cell("subject", "text", "file or export"),
    Cell("event", "text"),
)
KEYS = (*CELLS, Cell("path", "path"), Cell("fh", "hex"), Cell("svid", "int"), Cell("lock", "int"))


def timeline(view: View) -> Sheet:
    """The events of what the filters of a view choose."""
    found = [row for row in _events(view) if view.since <= row["time"] <= view.until]
    found.sort(key=lambda row: (row["time"], row["frame"]))
    return Sheet("events", "Timeline", CELLS, found, "Nothing happened to locks or mounts.", keys=KEYS)


def _events(view: View) -> Iterator[Row]:
    yield from Locking(view).events()
    if view.filters.file is None:
        yield from _mounting(view)
        yield from _rebooting(view)


class Locking:
    """The events of locks and waits. An operation is told of once, whatever it did to how many locks."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.told: set[int] = set()

    def events(self) -> Iterator[Row]:
        """Everything that the ledgers know of the files and clients chosen."""
        s = self.view.sessions
        for wait in s.ledger.waits:
            if self._shows(wait.file, wait.client):
                yield from self._of_wait(wait)
        for lock in s.ledger.locks:
            yield from self._of_lock(lock)
        refused = [pair for file in s.ledger.files.values() for pair in file.unexplained]
        refused += s.ledger.deadlocks
        refused += [pair for grace in s.reboots.graces for pair in grace.refusals]
        for operation, _ in refused:
            yield from self._asked(operation, operation.kind)
        for operation in s.ledger.unlocks:
            yield from self._asked(operation, "UNLOCK")

    def _shows(self, file: File, client: int) -> bool:
        view = self.view
        fh = view.sessions.handles.table.data[file.fh].hex()
        hosts = view.address(file.server), view.address(client)
        return view.shows(*hosts) and view.shows_file(view.path(file.fh), fh)

    def _event(self, file: File, client: int, place: Any, what: str, **more: Any) -> Row:
        view, path = self.view, self.view.path(file.fh)
        fh = view.sessions.handles.table.data[file.fh]
        return {
            "time": place.time,
            "frame": place.frame,
            "client": view.address(client),
            "server": view.address(file.server),
            "subject": path if path is not None else f"fh {fh.hex()[:16]}…",
            "path": path,
            "fh": fh,
            "event": what,
            "svid": None,
            "lock": None,
        } | more

    def _of_lock(self, lock: Lock) -> Iterator[Row]:
        for operation, _ in lock.denials:
            yield from self._asked(operation, operation.kind, f", lock {lock.number} is in the way")
        if not self._shows(lock.file, lock.client):
            return
        svid = lock.owner.svid
        about = {"svid": svid, "lock": lock.number}
        kind = f"{'exclusive' if lock.exclusive else 'shared'}, {_extent(lock.start, lock.end)}"
        what = f"lock {lock.number} granted by {lock.how}: {kind}, svid {svid}"
        self.told.add(id(lock.request))
        yield self._event(lock.file, lock.client, lock.granted, what, **about)
        for operation in lock.reclaimed:
            yield from self._asked(operation, f"lock {lock.number} reclaimed")
        if lock.unlock is not None:
            yield from self._asked(lock.unlock, "UNLOCK")
        for side, end in (("server", lock.server_end), ("client", lock.client_end)):
            if end is not None and end.reason != "unlock":
                what = f"lock {lock.number} gone on the {side}: {end.reason}"
                yield self._event(lock.file, lock.client, end, what, **about)

    def _asked(self, operation: Operation, what: str, why: str = "") -> Iterator[Row]:
        """A request and what was said to it, once."""
        file = operation.file
        if file is None or id(operation) in self.told or not self._shows(file, operation.requester):
            return
        self.told.add(id(operation))
        about = f"{_extent(operation.start, operation.end)}, svid {operation.svid}"
        what = f"{what} {about}: {_said(operation)}{why}"
        yield self._event(file, operation.requester, operation.call, what, svid=operation.svid)

    def _of_wait(self, wait: Wait) -> Iterator[Row]:
        about = {"svid": wait.owner.svid, "lock": wait.lock.number if wait.lock is not None else None}
        behind = " ".join(f"lock {lock.number}" for lock in wait.blockers) or "nothing seen"
        what = f"LOCK {_extent(wait.start, wait.end)}, svid {wait.owner.svid}: BLOCKED, waits behind {behind}"
        self.told.add(id(wait.request))
        yield self._event(wait.file, wait.client, wait.since, what, **about)
        for poll in wait.polls:
            yield from self._asked(poll, "asks again:")
        for offer in wait.offers:
            operation = offer.operation
            what = f"GRANTED callback, svid {operation.svid}: {_said(operation)}"
            yield self._event(wait.file, wait.client, operation.call, what, **about)
        if wait.ended is not None:
            took = (wait.ended.time - wait.since.time) / 1e9
            what = f"wait over after {took:.3f} s: {wait.ended.reason}"
            yield self._event(wait.file, wait.client, wait.ended, what, **about)


def _extent(start: int, end: int) -> str:
    return extent(start, None if end == EOF else end)


def _said(operation: Operation) -> str:
    """What was answered."""
    if operation.status is not None:
        names = STATUS4 if operation.call.version == 4 else STATUS
        return names.get(operation.status, str(operation.status))
    return "refused by RPC" if operation.failure is not None else "no answer"


# -- mounts and reboots -----------------------------------------------------------------------------


def _mounting(view: View) -> Iterator[Row]:
    for mount in view.sessions.mounts.sessions.values():
        server, client = view.address(mount.server), view.address(mount.client)
        if not view.shows(server, client):
            continue
        common = {"client": client, "server": server, "subject": mount.path, "path": mount.path}
        for reply in mount.mnts:
            path = printable(reply.call.args.get("dirpath", b""))
            yield _plain(reply.call, f"MNT {path}", **common)
        for reply in mount.umnts:
            what = (
                "UMNTALL"
                if reply.call.procedure == 4
                else f"UMNT {printable(reply.call.args.get('dirpath', b''))}"
            )
            yield _plain(reply.call, what, **common)
        if mount.first is not None:
            yield _plain(mount.first, "first NFS call", **common)
        if mount.last is not None:
            yield _plain(mount.last, f"last NFS call, of {mount.calls:,}", **common)


def _rebooting(view: View) -> Iterator[Row]:
    for row in rows.reboots(view):
        common = {"client": row["client"], "server": row["server"], "subject": None, "path": None}
        answered = "answered" if row["end_time"] is not None else "not answered"
        what = f"notice that {printable(row['name'] or b'')} rebooted, state {row['state']}: {answered}"
        if row["kind"] == "grace":
            what = f"grace begins: {row['refusals']} requests are refused"
        yield {"time": row["time"], "frame": row["frame"], "event": what, **common, **NOBODY}


def _plain(place: Any, what: str, **common: Any) -> Row:
    return {"time": place.time, "frame": place.frame, "event": what, **common, **NOBODY}


NOBODY = {"fh": None, "svid": None, "lock": None}
