"""What still pins an export.

In: a `View` and the path of an export. Out: one line for each thing that keeps it from being released.

Theory. An export is free when no client has it mounted or uses it, and the server holds no lock and no
waiting request on it. What the server's own list of mounts says counts as well, for that is what its
administrator sees.

Never: takes silence for release: a client that was never heard to unmount still pins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.errors import AnalyzerError
from analyzer.render import rows
from analyzer.render.clean import clean
from analyzer.render.text import extent, file_of
from analyzer.render.times import clock

if TYPE_CHECKING:
    from analyzer.render.view import View
    from analyzer.sessions.mounts import Mount


def pins(view: View, export: str) -> list[str]:
    """Everything that pins an export; raises `AnalyzerError` where it is not in the capture."""
    wanted = export.rstrip("/") or "/"
    sessions = [mount for mount in view.sessions.mounts.sessions.values() if wanted in _paths(mount)]
    lines = [*_mounts(view, sessions), *_locks(view, wanted), *_waits(view, wanted), *_listed(view, wanted)]
    if not sessions and not lines:
        seen = {path for mount in view.sessions.mounts.sessions.values() for path in _paths(mount)}
        known = ", ".join(sorted(map(clean, seen))) or "none"
        raise AnalyzerError(f"no export {clean(export)} in this capture (exports seen: {known})")
    return lines


def _paths(mount: Mount) -> set[str]:
    named = set(mount.paths) | set(mount.export.paths if mount.export is not None else ())
    return {path.rstrip("/") or "/" for path in named}


def _mounts(view: View, sessions: list[Mount]) -> Iterator[str]:
    for mount in sessions:
        server, client = view.address(mount.server), view.address(mount.client)
        if not view.shows(server, client):
            continue
        used = f", last used in frame {mount.last.frame}" if mount.last is not None else ""
        state = rows.mount_state(mount)
        if state == "mounted":
            yield f"client {client} has it mounted from {server}{used}"
        elif state == "in use":
            yield f"client {client} uses it on {server}: neither MNT nor UMNT was seen{used}"
        elif state == "used after unmount":
            calls = mount.goodbyes[-1].calls_after
            yield f"client {client} made {calls} calls on {server} after its UMNT{used}"


def _locks(view: View, wanted: str) -> Iterator[str]:
    for row in rows.locks(view, standing=True):
        if row["server_side"] == "held" and (row["export"] or "").rstrip("/") == wanted:
            where = extent(row["start"], row["end"])
            since = f"granted in frame {row['granted_frame']} at {clock(row['granted_time'])}"
            yield f"{row['server']} holds a lock of {row['client']} on {file_of(row)}, {where}, {since}"


def _waits(view: View, wanted: str) -> Iterator[str]:
    for row in rows.waits(view):
        if row["ended_time"] is None and (row["export"] or "").rstrip("/") == wanted:
            since = f"since frame {row['since_frame']}"
            yield f"client {row['client']} waits for a lock on {file_of(row)} {since}"


def _listed(view: View, wanted: str) -> Iterator[str]:
    """Entries of the last list of mounts that each server gave."""
    last = {reply.call.dst: reply for reply in view.sessions.mounts.dumps}
    for server, reply in last.items():
        for entry in reply.result.get("mounts") or ():
            if clean(entry.get("dirpath", b"")).rstrip("/") == wanted:
                host = clean(entry.get("hostname", b""))
                yield f"{view.address(server)} lists {host} as having it mounted (frame {reply.frame})"
