"""Mount sessions as they stood at a time, and what the server's own list says of them.

In: a `View` and a `Moment`. Out: sheets.

Theory. MNT adds one to a path and UMNT takes one away, so what is mounted at a time is what these come to
until then; NFS calls show use where no MNT was seen. The list of mounts that a server gives (DUMP, what
`showmount -a` prints) is its own bookkeeping: entries of clients that are gone stay, clients that never said
MNT are not in it.

Never: takes an entry of the list for use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.render import rows
from analyzer.render.sheet import Cell, Sheet, of_table
from analyzer.sessions.handles import printable

if TYPE_CHECKING:
    from analyzer.records.events import Reply
    from analyzer.render.moment import Moment
    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.mounts import Mount

MNT, UMNT = 1, 3
MOST_ENTRIES = 4096  # of one list

MOUNTS = (
    Cell("client", "host"),
    Cell("server", "category"),
    Cell("export", "path"),
    Cell("state", "category"),
    Cell("mounts", "int"),
    Cell("umounts", "int"),
    Cell("nfs_calls", "int", "NFS calls"),
    Cell("last_nfs_time", "time", "last used"),
    Cell("locks_held", "int", "locks"),
)
LISTED = (
    Cell("server", "category"),
    Cell("listed_frame", "int", "frame"),
    Cell("hostname", "wire", "host in its list"),
    Cell("dirpath", "wire", "path"),
    Cell("client", "host"),
    Cell("state", "category"),
    Cell("last_nfs_time", "time", "last used"),
)


def state(mount: Mount, at: int) -> str | None:
    """What a client did with an export then; None where it had not come yet."""
    if any(
        goodbye.call.time <= at < goodbye.until
        and goodbye.first_after is not None
        and goodbye.first_after.time <= at
        for goodbye in mount.goodbyes
    ):
        return "used after unmount"
    if open_at(mount, at):
        return "mounted"
    if any(reply.time <= at for reply in mount.umnts):
        return "unmounted"
    return "in use" if mount.first is not None and mount.first.time <= at else None


def open_at(mount: Mount, at: int) -> int:
    """Mounts that are open then."""
    *_, count = (0, *(count for time, count in opened(mount) if time <= at))
    return count


def opened(mount: Mount) -> Iterator[tuple[int, int]]:
    """How many mounts are open from which time on, as far as MNT and UMNT say; the first is of before them.

    A UMNT before any MNT ends a mount that nobody saw begin.
    """
    said = [
        (reply.time, reply.call.procedure, printable(reply.call.args.get("dirpath", b"")))
        for reply in sorted([*mount.mnts, *mount.umnts], key=lambda reply: (reply.time, reply.frame))
    ]
    first: dict[str, int] = {}
    for _, procedure, path in said:
        if procedure in (MNT, UMNT):
            first.setdefault(path, procedure)
    paths = {path: 1 for path, procedure in first.items() if procedure == UMNT}
    yield 0, len(paths)
    for time, procedure, path in said:
        if procedure == MNT:
            paths[path] = max(0, paths.get(path, 0)) + 1
        elif procedure == UMNT:
            paths[path] -= 1
        else:
            paths = dict.fromkeys(paths, 0)
        yield time, sum(max(0, count) for count in paths.values())


def mount_sessions(view: View, moment: Moment) -> Sheet:
    """Who had what mounted."""
    found = list(_sessions(view, moment))
    title, none = f"Mounts {moment.words}", f"No mounts {moment.words}."
    return Sheet("mounts", title, MOUNTS, found, none, keys=of_table("mounts"))


def _sessions(view: View, moment: Moment) -> Iterator[Row]:
    held = Counter(
        (lock.server, lock.client, view.sessions.handles.export(lock.file.fh))
        for lock in moment.locks
        if moment.is_served(lock)
    )
    for row, mount in rows.mounts_of(view):
        now = state(mount, moment.time)
        if now is not None:
            locks = held[mount.server, mount.client, mount.export] if mount.export is not None else 0
            is_past = mount.last is None or mount.last.time <= moment.time  # else nobody counted up to then
            yield row | {
                "nfs_calls": row["nfs_calls"] if is_past else None,
                "last_nfs_time": row["last_nfs_time"] if is_past else None,
                "state": now,
                "open": open_at(mount, moment.time),
                "mounts": sum(reply.time <= moment.time for reply in mount.mnts),
                "umounts": sum(reply.time <= moment.time for reply in mount.umnts),
                "locks_held": locks,
            }


def listed(view: View, moment: Moment) -> Sheet:
    """The last list of mounts that each server gave, beside what was seen of each client."""
    last = {reply.call.dst: reply for reply in view.sessions.mounts.dumps if reply.time <= moment.time}
    by_path: dict[tuple[int, str], list[Mount]] = {}
    for mount in view.sessions.mounts.sessions.values() if last else ():
        for path in mount.paths:
            by_path.setdefault((mount.server, path), []).append(mount)
    found = [
        row
        for server, reply in last.items()
        if view.shows(view.address(server), None if view.clients is None else next(iter(view.clients)))
        for entry in (reply.result.get("mounts") or ())[:MOST_ENTRIES]
        for row in _entries(view, moment, reply, entry, by_path)
    ]
    return Sheet("listed", "What servers list as mounted", LISTED, found, "")


def _entries(
    view: View,
    moment: Moment,
    reply: Reply,
    entry: dict[str, bytes],
    by_path: dict[tuple[int, str], list[Mount]],
) -> Iterator[Row]:
    """An entry of a list, with the mount sessions it may mean."""
    server, hosts = reply.call.dst, view.sessions.hosts
    name, path = entry.get("hostname", b""), entry.get("dirpath", b"")
    row: Row = {
        "server": view.address(server),
        "listed_frame": reply.frame,
        "hostname": name,
        "dirpath": path,
    }
    meant = [m for m in by_path.get((server, printable(path)), ()) if hosts.is_named(m.client, name)]
    for mount in meant:
        last = mount.last.time if mount.last is not None and mount.last.time <= moment.time else None
        seen = {
            "client": view.address(mount.client),
            "state": state(mount, moment.time),
            "last_nfs_time": last,
        }
        yield row | seen
    if not meant:
        yield row | {"client": None, "state": "not seen in this capture", "last_nfs_time": None}
