"""Lock connections that a crowded server closes to make room.

In: lock connections, how they began and ended, requests that were sent again. Out: cases of one rule,
`nlm-connection-churn`; who closed the connections of two hosts.

Theory. A Linux server accepts a connection and, where there are now too many, closes the oldest: for lockd
at `nlm_max_connections`, or at (threads + 3) x 20 = 80 where that is 0. So the closing of a connection that
was in use comes right behind the opening of another, while many are open. A connection that was idle is
closed by either side after minutes, and all at once where the service stops.

Never: walks connections once per connection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings.rule import LOW, MEDIUM, Case, seconds
from analyzer.findings.standing import RESTART_MARGIN
from analyzer.parameters import threshold, window
from analyzer.records.events import Call
from analyzer.sessions.connections import Connection
from analyzer.sessions.model import Place
from analyzer.sessions.world import Sessions

CROWD = threshold(
    "lock-connections-crowd",
    70,
    "connections",
    "a Linux lock server without a limit of its own closes the oldest at 80; some are older than the capture",
)
IDLE = window("lock-connection-idle", 300, "a Linux client closes a connection that it did not use so long")
MADE_ROOM = window("connection-made-room", 1, "a full server closes one connection as it accepts another")


class Life(NamedTuple):
    """One lock connection."""

    server: int
    client: int
    opened: int
    last: Call
    closed: Place | None
    closer: int  # host, -1 none seen

    @property
    def unused(self) -> int:
        """For how long it had not been used when it was closed, ns."""
        return self.closed.time - self.last.time if self.closed is not None else 0


def _lives(s: Sessions) -> Iterator[Life]:
    for flow, (first, last) in s.nlm_flows.items():
        connection = s.connections.by_flow.get(flow)
        opened = connection.since or first.time if connection is not None else first.time
        yield Life(first.dst, first.src, opened, last, *_closed(connection))


def _closed(connection: Connection | None) -> tuple[Place | None, int]:
    """How a connection ended, and by whom."""
    if connection is None:
        return None, -1
    ends = [(Place(*place), host) for host, place in connection.fins.items()]
    if connection.reset is not None:
        host, frame, time = connection.reset
        ends.append((Place(frame, time), host))
    return min(ends, key=lambda end: end[0].time, default=(None, -1))


def closers(s: Sessions) -> dict[tuple[int, int], Counter[int]]:
    """Who closed the lock connections between a client and a server, and how often."""
    found: dict[tuple[int, int], Counter[int]] = {}
    for life in _lives(s):
        if life.closed is not None:
            found.setdefault((life.client, life.server), Counter())[life.closer] += 1
    return found


def crowded(s: Sessions) -> Iterator[Case]:
    """Connections in use that a server closed while it had many, behind the opening of another."""
    by_server: dict[int, list[Life]] = {}
    for life in _lives(s):
        by_server.setdefault(life.server, []).append(life)
    resent = _resent(s)
    for server, lives in by_server.items():
        if len(lives) <= s.settings[CROWD]:
            continue
        opened = sorted(life.opened for life in lives)
        closed = sorted(life.closed.time for life in lives if life.closed is not None)
        for life in lives:
            if life.closed is None or life.closer != server or life.unused > s.settings[IDLE]:
                continue
            time = life.closed.time
            others = bisect_left(opened, time) - bisect_left(closed, time)
            room = bisect_left(opened, time) - bisect_right(opened, time - s.settings[MADE_ROOM])
            margin = s.settings[RESTART_MARGIN]
            if others < s.settings[CROWD] or not room or s.restarted(server, time - margin, time + margin):
                continue
            lost = life.last.flow in resent
            yield Case(
                f"{s.hosts.address(server)} had {others} lock connections and closed that of "
                f"{s.hosts.address(life.client)}, {seconds(life.unused)} after its last request, as another "
                "was opened" + ("; requests that were under way were sent again" if lost else ""),
                [life.last.frame, life.closed.frame],
                life.closed,
                severity=MEDIUM if lost else LOW,
                server=server,
                client=life.client,
                group="crowd",
                one=("crowd", server),
            )


def _resent(s: Sessions) -> set[int]:
    """Connections on which a request was sent that followed again on another one."""
    return {
        before.flow
        for copies in s.pace.copies.values()
        for operation in copies.operations
        for before, after in zip(operation.calls, operation.calls[1:], strict=False)
        if before.flow != after.flow
    }
