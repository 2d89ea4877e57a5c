"""What pins an export, at the end of a capture or at a time in it.

In: a `View`, the path of an export, a time. Out: a sheet with a row for each thing that keeps it from being
released.

Theory. An export is free when no client has it mounted or uses it, and the server holds no lock, no share
reservation and no waiting request on it. What the server's own list of mounts says counts as well, for that
is what its administrator sees. A lock on a file of which nobody knows the export counts too: it may be on
this one.

Never: takes silence for release: a client that was never heard to unmount still pins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.render import rows
from analyzer.render.clean import clean
from analyzer.render.moment import Moment
from analyzer.render.mounted import listed, state
from analyzer.render.said import extent, file_of
from analyzer.render.sheet import Cell, Sheet, offset

if TYPE_CHECKING:
    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.mounts import Mount

CELLS = (
    Cell("kind", "text", "pinned by"),
    Cell("server", "category"),
    Cell("client", "host"),
    Cell("frame", "int"),
    Cell("what", "text", "because"),
)


def pins(view: View, export: str, at: int | None = None) -> Sheet:
    """Everything that pins an export; raises `AnalyzerError` where it is not in the capture."""
    wanted = _folded(export)
    sessions = [mount for mount in view.sessions.mounts.sessions.values() if wanted in _paths(mount)]
    moment = Moment(view, at)
    found = [
        *_mounts(view, sessions, moment),
        *_locks(view, wanted, moment),
        *_shares(view, wanted, moment),
        *_waits(view, wanted, moment),
        *_listed(view, wanted, moment),
    ]
    if not sessions and not found:
        seen = {path for mount in view.sessions.mounts.sessions.values() for path in _paths(mount)}
        known = ", ".join(sorted(map(clean, seen))) or "none"
        raise AnalyzerError(f"no export {clean(export)} in this capture (exports seen: {known})")
    name = clean(export)
    when = "" if at is None else f" {moment.words}"
    return Sheet("pins", f"What pins {name}{when}", CELLS, found, f"nothing pins {name}{when}")


def _folded(path: str) -> str:
    return path.rstrip("/") or "/"


def _paths(mount: Mount) -> set[str]:
    named = set(mount.paths) | set(mount.export.paths if mount.export is not None else ())
    return {_folded(path) for path in named}


def _mounts(view: View, sessions: list[Mount], moment: Moment) -> Iterator[Row]:
    for mount in sessions:
        server, client = view.address(mount.server), view.address(mount.client)
        now = state(mount, moment.time)
        if now in (None, "unmounted") or not view.shows(server, client):
            continue
        used = f"; last used {offset(view, mount.last.time)}" if mount.last is not None else "; never used"
        why = {
            "mounted": f"MNT without UMNT{used}",
            "in use": f"NFS calls, neither MNT nor UMNT was seen{used}",
            "used after unmount": f"NFS calls after its UMNT{used}",
        }
        place = mount.mnts[-1] if now == "mounted" and mount.mnts else mount.last
        yield _pin("mount", server, client, place.frame if place is not None else None, why[str(now)])


def _locks(view: View, wanted: str, moment: Moment) -> Iterator[Row]:
    held = {lock.number for lock in moment.locks if moment.is_served(lock)}
    for row in rows.locks(view, lambda lock: lock.number in held and _is_on(view, lock.file.fh, wanted)):
        where = f"{file_of(row)}, {extent(row['start'], row['end'])}"
        why = f"lock {row['lock']} on {where}, granted {offset(view, row['granted_time'])}"
        yield _pin("lock", row["server"], row["client"], row["granted_frame"], why)


def _shares(view: View, wanted: str, moment: Moment) -> Iterator[Row]:
    shares = view.sessions.shares
    for share in (*shares.past, *shares.standing.values()):
        server, client = view.address(share.file.server), view.address(share.client)
        ended = share.freed or share.closed
        is_over = ended is not None and (moment.is_end or ended.time <= moment.time)
        if is_over or share.granted.time > moment.time or not view.shows(server, client):
            continue
        if _is_on(view, share.file.fh, wanted):
            name = clean(view.path(share.file.fh) or "a file without a name")
            why = f"share reservation of {name} ({share.words}), granted {offset(view, share.granted.time)}"
            yield _pin("share", server, client, share.granted.frame, why)


def _waits(view: View, wanted: str, moment: Moment) -> Iterator[Row]:
    open_ = {id(wait) for wait in moment.waits}
    for row in rows.waits(view, lambda wait: id(wait) in open_ and _is_on(view, wait.file.fh, wanted)):
        why = f"waits for a lock on {file_of(row)} since {offset(view, row['since_time'])}"
        yield _pin("wait", row["server"], row["client"], row["since_frame"], why)


def _is_on(view: View, fh: int, wanted: str) -> bool:
    """Whether a file is on the export, or may be."""
    export = view.sessions.handles.export(fh)
    if export is not None and export.paths:
        return wanted in map(_folded, export.paths)
    path = view.path(fh) or ""
    return not path.startswith("/") or path == wanted or path.startswith(f"{wanted.rstrip('/')}/")


def _listed(view: View, wanted: str, moment: Moment) -> Iterator[Row]:
    """Entries of the last list of mounts that each server gave."""
    for row in listed(view, moment).rows:
        if _folded(clean(row["dirpath"])) == wanted:
            why = f"the server lists {clean(row['hostname'])} as having it mounted"
            yield _pin("list", row["server"], row["client"], row["listed_frame"], why)


def _pin(kind: str, server: Any, client: Any, frame: int | None, what: str) -> Row:
    return {"kind": kind, "server": server, "client": client, "frame": frame, "what": what}
