"""Clients that left an export without a word, and what gives them away.

In: a mount session, its connections, signs of life. Out: a `Departure`, or None.

Theory. Nobody tells the server that a client is gone: it shows by what the client leaves undone. A host that
lives acknowledges a FIN, answers a SYN, and says so when it boots. A host that is silent may be idle, for
days if it likes; but a Linux client closes its connection after five idle minutes, so one that leaves it open
for much longer is not there to close it.

Never: judges silence that nobody broke, except a Linux client's; judges a server that is silent too.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.findings.rule import POSSIBLE, PROBABLE, Confidence, seconds
from analyzer.findings.standing import KEEPALIVE
from analyzer.parameters import window
from analyzer.sessions.connections import Connection
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import Mount
from analyzer.sessions.world import Sessions

IDLE = window("mount-idle", 600, "a Linux client closes an idle NFS connection after half of this")


class Departure(NamedTuple):
    """How a client went without UMNT."""

    place: Place
    how: str  # in words
    frames: list[int]
    confidence: Confidence


def departure(s: Sessions, mount: Mount) -> Departure | None:
    """How the client of a mount that was not given back went, if it did."""
    if mount.rebooted is not None:
        gone = mount.rebooted
        if (mount.mnts and mount.mnts[0].time > gone.time) or goes_on(s, mount):
            return None
        return Departure(gone, f"rebooted (notice in frame {gone.frame})", [gone.frame], PROBABLE)
    connection = _last_connection(s, mount)
    if connection is None or mount.client in connection.fins:
        return None
    frame, heard = s.hosts.last_seen(mount.client)
    return (
        _given_up(mount, connection, heard)
        or _called_in_vain(s, mount, heard)
        or _never_closed(s, mount, connection, Place(frame, heard))
    )


def stayed_away(mount: Mount, gone: Departure) -> bool:
    """Whether a client did not come back: it neither mounted nor used the export since."""
    return not any(
        place is not None and place.time > gone.place.time
        for place in (mount.last, *(Place(mnt.frame, mnt.time) for mnt in mount.mnts[-1:]))
    )


def _last_connection(s: Sessions, mount: Mount) -> Connection | None:
    """The connection that carried the last NFS call of a mount."""
    for flow, last in mount.flows.items():
        if mount.last is not None and last.time == mount.last.time:
            return s.connections.by_flow.get(flow)
    return None


def _given_up(mount: Mount, connection: Connection, heard: int) -> Departure | None:
    """The server reset or closed the connection, and nothing was heard of the client since."""
    if connection.reset is not None:
        host, frame, time = connection.reset
        if host == mount.server and heard < time:
            how = f"was not heard of since the server reset its connection (frame {frame})"
            return Departure(Place(frame, time), how, [frame], PROBABLE)
        return None
    if mount.server in connection.fins and heard < connection.fins[mount.server][1]:
        closed = Place(*connection.fins[mount.server])
        how = f"was not heard of since the server closed its connection (frame {closed.frame})"
        return Departure(closed, how, [closed.frame], PROBABLE)
    return None


def _called_in_vain(s: Sessions, mount: Mount, heard: int) -> Departure | None:
    """The client is silent, and somebody tried to reach it since."""
    if s.end - heard < s.settings[KEEPALIVE]:
        return None
    called = [
        Place(*tried)
        for attempt in s.connections.attempts(mount.server, mount.client, heard, s.end)
        if attempt.since > heard and not attempt.answered and len(attempt.tries) > 1
        for tried in attempt.tries
    ]
    called += [Place(u.frame, u.time) for u in s.connections.unreachable if u.host == mount.client]
    called = sorted(place for place in called if place.time > heard)
    if not called:
        return None
    how = f"fell silent {seconds(s.end - heard)} before the end, was called in vain, and went"
    return Departure(called[0], how, [place.frame for place in called], PROBABLE)


def _never_closed(s: Sessions, mount: Mount, connection: Connection, last: Place) -> Departure | None:
    """A Linux client is silent for longer than it leaves an idle connection open."""
    silent = s.end - last.time
    seen = s.hosts.last_seen(mount.server)[1] - last.time  # is the capture still at the place?
    closed = connection.fins or connection.reset is not None
    if min(silent, seen) < s.settings[IDLE] or closed or not _is_linux(s, mount):
        return None
    how = f"fell silent {seconds(silent)} before the end, left its connection open, and went"
    return Departure(last, how, [*(frame for frame, _ in connection.tries[:1]), last.frame], POSSIBLE)


def _is_linux(s: Sessions, mount: Mount) -> bool:
    """Whether a client names lock owners as Linux does: `<svid>@<name>` (fs/lockd/clntproc.c)."""
    firsts = s.asks(mount.client, mount.server)
    first = next((firsts[version] for version in (4, 3, 1) if version in firsts), None)
    return first is not None and first.oh.split(b"@")[0] == str(first.svid).encode()


def goes_on(s: Sessions, mount: Mount) -> bool:
    """Whether a connection older than the reboot notice carries NFS calls after it: there was no reboot."""
    notice = mount.rebooted
    return notice is not None and any(
        last.time > notice.time
        and s.connections.opened(flow)
        and s.connections.by_flow[flow].since < notice.time
        for flow, last in mount.flows.items()
    )
