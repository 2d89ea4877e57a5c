"""The tables of sessions and findings, row by row.

In: a `View`. Out: for each table a stream of rows: dicts with the columns of `analyzer.render.columns`.

Theory. What the sessions know is a web of small objects; a table is that web seen from one side, flat, each
row with the frames that lead back to the packets. Values are plain: int, str, bytes, bool, ns since the
epoch, None. Rows come in the order of the wire.

Never: formats; knows pandas or Arrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from analyzer.protocols.nlm import STATUS, STATUS4
from analyzer.sessions.mounts import FAR

if TYPE_CHECKING:
    from analyzer.render.view import View
    from analyzer.sessions.handles import Export
    from analyzer.sessions.model import End, Lock, Wait
    from analyzer.sessions.mounts import Mount

Row = dict[str, Any]

EOF_OFFSET = 2**64 - 1
TRANSPORTS = {6: "TCP", 17: "UDP"}


def locks(view: View, chosen: Callable[[Lock], bool] | None = None) -> Iterator[Row]:
    """One row per grant that is chosen."""
    for lock in filter(chosen, view.sessions.ledger.locks) if chosen else view.sessions.ledger.locks:
        row = _lock(view, lock)
        last = None if "held" in (row["server_side"], row["client_side"]) else _last(lock)
        if view.shows(row["server"], row["client"], lock.granted.time, last):
            if view.shows_file(row["path"], row["fh"]):
                yield row


def _last(lock: Lock) -> int:
    return max(end.time for end in (lock.server_end, lock.client_end, lock.granted) if end is not None)


def _lock(view: View, lock: Lock) -> Row:
    owner, request = lock.owner, lock.request
    return {
        "lock": lock.number,
        **_file(view, lock.file.server, lock.file.fh),
        "client": view.address(owner.client),
        "caller_name": owner.caller,
        "svid": owner.svid,
        "oh": owner.oh,
        **_range(lock.start, lock.end),
        "exclusive": lock.exclusive,
        "how": lock.how,
        "version": request.call.version,
        "transport": TRANSPORTS.get(request.call.transport),
        "request_frame": request.call.frame,
        "granted_time": lock.granted.time,
        "granted_frame": lock.granted.frame,
        **_place("believed", lock.believed),
        **_end("server_end", lock.server_end),
        **_end("client_end", lock.client_end),
        "ledger": ledger(lock),
        "server_side": "held" if lock.server_end is None else "free",
        "client_side": "held" if believes(lock) else "free",
        "waiters": lock.waiters,
        "denials": len(lock.denials),
        "reclaims": len(lock.reclaimed),
        "overruled_by": lock.lost.winner.number if lock.lost is not None else None,
    }


def believes(lock: Lock) -> bool:
    """Whether the client thinks at the end that it holds the lock."""
    return lock.believed is not None and lock.client_end is None


def ledger(lock: Lock) -> str:
    """Where the two ledgers stand at the end of the capture."""
    if lock.server_end is None:
        return "held" if lock.client_end is None and lock.believed is not None else "leak"
    return "lost" if believes(lock) else "released"


def waits(view: View, chosen: Callable[[Wait], bool] | None = None) -> Iterator[Row]:
    """One row per request that was told to wait and is chosen."""
    for number, wait in enumerate(view.sessions.ledger.waits):
        if chosen is not None and not chosen(wait):
            continue
        row = _wait(view, wait, number)
        last = None if wait.ended is None else wait.ended.time
        if view.shows(row["server"], row["client"], wait.since.time, last):
            if view.shows_file(row["path"], row["fh"]):
                yield row


def _wait(view: View, wait: Wait, number: int) -> Row:
    owner = wait.owner
    return {
        "wait": number,
        **_file(view, wait.file.server, wait.file.fh),
        "client": view.address(owner.client),
        "caller_name": owner.caller,
        "svid": owner.svid,
        "oh": owner.oh,
        **_range(wait.start, wait.end),
        "exclusive": wait.exclusive,
        **_place("since", wait.since),
        **_end("ended", wait.ended),
        "waited": None if wait.ended is None else wait.ended.time - wait.since.time,
        "polls": len(wait.polls),
        "callbacks": len(wait.offers),
        "lock": wait.lock.number if wait.lock is not None else None,
        "blockers": [lock.number for lock in wait.blockers],
    }


def mounts(view: View) -> Iterator[Row]:
    """One row per client, server and export."""
    for row, _ in mounts_of(view):
        yield row


def mounts_of(view: View) -> Iterator[tuple[Row, Mount]]:
    """The rows of mounts, each with what it was made of."""
    held = _held_on(view)
    for mount in view.sessions.mounts.sessions.values():
        row = _mount(view, mount, held)
        times = [t for t in (row["first_mnt_time"], row["first_nfs_time"]) if t is not None]
        ends = [t for t in (row["last_umnt_time"], row["last_nfs_time"]) if t is not None]
        last = None if mount.count or not ends else max(ends)
        if view.shows(row["server"], row["client"], min(times, default=None), last):
            yield row, mount


def _held_on(view: View) -> Counter[tuple[int, int, Export | None]]:
    """Number of locks that a server holds for a client, by server, client and export."""
    handles = view.sessions.handles
    return Counter(
        (lock.server, lock.client, handles.export(lock.file.fh))
        for lock in view.sessions.ledger.locks
        if lock.server_end is None
    )


def _mount(view: View, mount: Mount, held: Counter[tuple[int, int, Export | None]]) -> Row:
    mnt = mount.mnts[0].call if mount.mnts else None
    umnt = mount.umnts[-1].call if mount.umnts else None
    goodbye = mount.goodbyes[-1] if mount.goodbyes else None
    return {
        "server": view.address(mount.server),
        "client": view.address(mount.client),
        "export": mount.path,
        "state": mount_state(mount),
        "mounts": len(mount.mnts),
        "umounts": len(mount.umnts),
        "open": mount.count,
        "before_capture": mount.early,
        **_place("first_mnt", mnt),
        **_place("last_umnt", umnt),
        **_place("first_nfs", mount.first),
        **_place("last_nfs", mount.last),
        "nfs_calls": mount.calls,
        "calls_after_umnt": goodbye.calls_after if goodbye is not None else 0,
        "locks_held": held[mount.server, mount.client, mount.export] if mount.export is not None else 0,
        "rebooted_time": mount.rebooted.time if mount.rebooted is not None else None,
    }


def mount_state(mount: Mount) -> str:
    """What a client was last seen to do with an export."""
    if mount.goodbyes and mount.goodbyes[-1].calls_after and mount.goodbyes[-1].until == FAR:
        return "used after unmount"
    if mount.count:
        return "mounted"
    return "unmounted" if mount.umnts else "in use"


def reboots(view: View) -> Iterator[Row]:
    """One row per announced reboot and per stretch of grace."""
    rows = [*_notices(view), *_graces(view)]
    for row in sorted(rows, key=lambda row: (row["frame"], row["kind"])):
        if view.shows(row["server"], row["client"], row["time"], row["end_time"], row["host"]):
            yield row


def _notices(view: View) -> Iterator[Row]:
    for notice in view.sessions.reboots.notices:
        sender, receiver = view.address(notice.sender), view.address(notice.receiver)
        from_server = notice.role == "server"
        yield {
            "kind": "notice",
            "server": sender if from_server else receiver,
            "client": receiver if from_server else sender,
            "host": view.address(notice.victim),
            "name": notice.name,
            "state": notice.state,
            "role": notice.role or None,
            "time": notice.place.time,
            "frame": notice.place.frame,
            "copies": len(notice.calls),
            "end_time": notice.answer.time if notice.answer is not None else None,
            "end_frame": notice.answer.frame if notice.answer is not None else None,
            "locks": len(notice.freed),
            "refusals": None,
        }


def _graces(view: View) -> Iterator[Row]:
    for grace in view.sessions.reboots.graces:
        server = view.address(grace.server)
        ended = grace.ended[1] if grace.ended is not None else None
        yield {
            "kind": "grace",
            "server": server,
            "client": None,
            "host": server,
            "name": grace.notice.name if grace.notice is not None else None,
            "state": grace.notice.state if grace.notice is not None else None,
            "role": "server",
            "time": grace.begin.time,
            "frame": grace.begin.frame,
            "copies": None,
            "end_time": ended.time if ended is not None else None,
            "end_frame": ended.frame if ended is not None else None,
            "locks": len(grace.held),
            "refusals": len(grace.refusals),
        }


def callbacks(view: View) -> Iterator[Row]:
    """One row per GRANTED callback."""
    for offer in view.sessions.ledger.offers:
        operation, call = offer.operation, offer.operation.call
        status = operation.status
        row = {
            **_file(view, call.src, operation.fh),
            "client": view.address(call.dst),
            "port": call.dport,
            "version": call.version,
            "svid": operation.svid,
            "oh": operation.oh,
            **_range(operation.start, operation.end),
            "exclusive": operation.exclusive,
            "time": call.time,
            "frame": call.frame,
            "copies": len(operation.calls),
            "verdict": offer.verdict,
            "differs": " ".join(offer.differs) or None,
            "status": _status(call.version, status),
            **_place("answer", operation.answers[0] if operation.answers else None),
            "latency": max(0, operation.answers[0].time - call.time) if operation.answers else None,
            "wait_frame": offer.wait.since.frame if offer.wait is not None else None,
            "lock": offer.lock.number if offer.lock is not None else None,
        }
        if view.shows(row["server"], row["client"], call.time, call.time):
            if view.shows_file(row["path"], row["fh"]):
                yield row


def findings(view: View) -> Iterator[Row]:
    """One row per finding."""
    for found in view.findings:
        caller, svid, oh = found.owner if found.owner is not None else (None, None, None)
        start, end = found.range if found.range is not None else (None, None)
        yield {
            "id": found.id,
            "code": found.code,
            "family": found.family,
            "severity": found.severity.name.lower(),
            "confidence": found.confidence.name.lower(),
            "server": found.server,
            "client": found.client,
            "peer": found.peer,
            "export": found.export,
            "path": found.path,
            "fh": None if found.fh is None else bytes.fromhex(found.fh),
            "caller_name": caller,
            "svid": svid,
            "oh": oh,
            "start": start,
            "end": None if end == EOF_OFFSET else end,
            "first_time": found.first_time,
            "last_time": found.last_time,
            "frames": list(found.frames),
            "count": found.count,
            "message": found.message,
            "remedy": found.remedy,
            "caused_by": " ".join(found.caused_by) or None,
        }


def hosts(view: View) -> Iterator[Row]:
    """One row per address that sent something."""
    s = view.sessions
    if s.hosts.table is None:
        return
    table = s.hosts.table
    role_of = roles(view)
    for host in range(len(table.packets)):
        if not int(table.packets[host]):
            continue
        address = s.hosts.address(host)
        first, last = int(table.first_time[host]), int(table.last_time[host])
        if not (view.shows(address, address, first, last) or _either(view, address, first, last)):
            continue
        names = s.hosts.names.get(host, [])
        yield {
            "address": address,
            "name": names[0] if names else None,
            "other_names": b" ".join(names[1:]) or None,
            "role": role_of.get(host),
            "first_time": first,
            "first_frame": int(table.first_frame[host]),
            "last_time": last,
            "last_frame": int(table.last_frame[host]),
            "packets": int(table.packets[host]),
        }


def _either(view: View, address: str, first: int, last: int) -> bool:
    """A host is shown where it is one of the clients or one of the servers asked for."""
    wanted = (view.clients or set()) | (view.servers or set())
    return address in wanted and first <= view.until and last >= view.since


def roles(view: View) -> dict[int, str]:
    """Client, server, or both, of the hosts that mount, use or lock files."""
    s = view.sessions
    pairs = {(client, server) for client, server, _ in s.mounts.sessions} | s.ledger.pairs
    pairs |= {(wait.client, wait.file.server) for wait in s.ledger.waits}
    clients, servers = {client for client, _ in pairs}, {server for _, server in pairs}
    return {
        host: "client and server" if host in clients & servers else "client" if host in clients else "server"
        for host in clients | servers
    }


def files(view: View) -> Iterator[Row]:
    """One row per file handle."""
    s = view.sessions
    table = s.handles.table
    grants: dict[int, int] = {}
    for lock in s.ledger.locks:
        grants[lock.file.fh] = grants.get(lock.file.fh, 0) + 1
    for handle in filter(table.is_followed, range(table.count)):
        row = _file(view, table.server_of(handle), handle)
        if view.shows(row["server"], None if view.clients is None else next(iter(view.clients), None)):
            if view.shows_file(row["path"], row["fh"].hex() if row["fh"] else None):
                yield row | {"is_root": handle in s.handles.roots, "locks": grants.get(handle, 0)}


def health(view: View) -> Iterator[Row]:
    """One row per counter of what was seen, and per fault."""
    seen = view.analysis.health
    for name, meaning in COUNTERS.items():
        yield {"name": name, "count": getattr(seen, name), "first_frame": None, "meaning": meaning}
    for name, number in seen.faults.items():
        yield {
            "name": name,
            "count": number,
            "first_frame": place if (place := seen.places.get(name, -1)) > 0 else None,
            "meaning": seen.meanings.get(name),
        }


COUNTERS = {
    "frames": "packets read",
    "messages": "RPC messages",
    "orphan_replies": "replies whose call was not captured",
    "unanswered_calls": "calls without a reply",
    "retransmissions": "calls sent again",
    "tcp_gaps": "holes in TCP streams",
    "truncated_frames": "packets captured only in part where RPC bytes are missing",
    "dropped_by_capture": "packets the capturing machine says it dropped",
    "settled_locks": "locks granted and given back without anything to remark, let go of to save memory",
}

TABLES: dict[str, Callable[[View], Iterator[Row]]] = {
    "locks": locks,
    "waits": waits,
    "mounts": mounts,
    "reboots": reboots,
    "callbacks": callbacks,
    "findings": findings,
    "hosts": hosts,
    "files": files,
    "health": health,
}


# -- pieces of rows -----------------------------------------------------------------------------


def _file(view: View, server: int, handle: int) -> Row:
    handles = view.sessions.handles
    export = handles.export(handle) if handle >= 0 else None
    return {
        "server": view.address(server),
        "export": export.path if export is not None else None,
        "path": view.path(handle),
        "fh": handles.table.data[handle] if handle >= 0 else None,
    }


def _range(start: int, end: int) -> Row:
    return {"start": start, "end": None if end == EOF_OFFSET else end}


def _place(name: str, place: Any) -> Row:
    if place is None:
        return {f"{name}_time": None, f"{name}_frame": None}
    return {f"{name}_time": place.time, f"{name}_frame": place.frame}


def _end(name: str, end: End | None) -> Row:
    return _place(name, end) | {f"{name}_reason": None if end is None else end.reason}


def _status(version: int, status: int | None) -> str | None:
    if status is None:
        return None
    return (STATUS4 if version == 4 else STATUS).get(status, str(status))
