"""TCP connections as evidence: who tried to reach whom, and what came back.

In: SYN, FIN and RST segments, ICMP unreachables, repeated segments, holes, messages cut by the snaplen. Out:
connection attempts, their answers and ends; when bytes of a conversation were missing.

Theory. Half of what goes wrong with locks never becomes an RPC: a callback that cannot be opened is a
SYN repeated at 1, 2, 4, 8 s, an unmount that is not heard is the same towards mountd. A retransmitted
SYN carries the same ISN, so the frames stage puts all tries of one attempt on one flow.

Never: looks at payload.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from analyzer.records.events import Call, Control, Hole, Repeat, Reply, Unreachable
from analyzer.sessions.kept import Kept
from analyzer.sessions.sides import NO_SIDES, Traffic
from analyzer.sessions.spans import Spans
from analyzer.tables import ACK, FIN, RST, SYN

Place = tuple[int, int]  # frame, time

TRIES_KEPT = 16
CONNECTIONS_KEPT = 65536
HOLES_KEPT = 4096
REPEATS_KEPT = 65536


@dataclass(slots=True, eq=False)
class Connection:
    """One TCP connection whose opening or end was seen."""

    flow: int
    opener: int
    target: int
    sport: int
    port: int
    side: int  # of the opener in its flow
    tries: list[Place] = field(default_factory=list)
    answered: Place | None = None
    refused: Place | None = None
    fins: dict[int, Place] = field(default_factory=dict)  # by host
    reset: tuple[int, int, int] | None = None  # host, frame, time

    @property
    def since(self) -> int:
        """Time of the first SYN."""
        return self.tries[0][1] if self.tries else 0

    def over_before(self, limit: int) -> bool:
        """Whether it was over before `limit` (ns): closed, reset, or never answered."""
        last = [*self.tries[-1:], *self.fins.values()]
        if self.reset is not None:
            last.append(self.reset[1:])
        ended = self.fins or self.reset is not None or self.answered is None
        return bool(ended) and max((time for _, time in last), default=0) < limit


class Connections:
    """The connections of a capture, newest kept."""

    def __init__(self) -> None:
        self.by_flow: dict[int, Connection] = {}
        self.order: deque[Connection] = deque()
        self.to_host: dict[tuple[int, int], deque[Connection]] = {}
        self.evicted = 0
        self.unreachable: Kept[Unreachable] = Kept()
        self.holes: Kept[Hole] = Kept(HOLES_KEPT)
        self.hole_count = 0
        self.missing = Spans()  # holes, and messages of which a part is missing
        self.unasked = 0  # replies over UDP to calls that were not captured
        self.repeats: deque[Repeat] = deque(maxlen=REPEATS_KEPT)
        self.traffic: list[Traffic] = []  # told at the end
        self.unseen: set[int] = set()  # told at the end: flows whose last bytes were not captured
        self.sides = NO_SIDES  # told at a look, and at the end
        self.torn: dict[int, tuple[int, int]] = {}  # likewise: flows that lost records, since and until

    def acked(self, flow: int, side: int) -> int:
        """Highest stream offset of `side` that its peer had acknowledged at the look, -1 none seen."""
        stream, acked = 2 * flow + side, self.sides.acked
        return int(acked[stream]) if stream < len(acked) else -1

    def control(self, event: Control) -> None:
        """Take in a SYN, FIN or RST."""
        connection = self.by_flow.get(event.flow)
        place = (event.frame, event.time)
        if event.flags & SYN and not event.flags & ACK:
            if connection is None or connection.fins or connection.reset:
                connection = self._add(event)
            if len(connection.tries) < TRIES_KEPT:
                connection.tries.append(place)
            return
        if connection is None:
            if event.flags & SYN:
                return
            connection = self._add(event)
        if event.flags & SYN:
            if connection.answered is None:
                connection.answered = place
        elif event.flags & RST:
            if connection.tries and connection.answered is None and event.src == connection.target:
                connection.refused = place
            if connection.reset is None:
                connection.reset = (event.src, *place)
        elif event.flags & FIN:
            connection.fins.setdefault(event.src, place)

    def _add(self, event: Control) -> Connection:
        connection = Connection(event.flow, event.src, event.dst, event.sport, event.dport, event.side)
        self.by_flow[event.flow] = connection
        self.order.append(connection)
        pair = self.to_host.setdefault((connection.opener, connection.target), deque())
        pair.append(connection)
        if len(self.order) > CONNECTIONS_KEPT:
            old = self.order.popleft()
            self.evicted += 1
            if self.by_flow.get(old.flow) is old:
                del self.by_flow[old.flow]
            olds = self.to_host[old.opener, old.target]
            olds.popleft()
            if not olds:
                del self.to_host[old.opener, old.target]
        return connection

    def forget_ended(self, limit: int) -> None:
        """Forget the connections that were over before `limit` (ns)."""
        self.order = deque(one for one in self.order if not one.over_before(limit))
        kept = set(self.order)
        for flow in [flow for flow, one in self.by_flow.items() if one not in kept]:
            del self.by_flow[flow]
        self.to_host.clear()
        for one in self.order:
            self.to_host.setdefault((one.opener, one.target), deque()).append(one)

    def opened(self, flow: int) -> bool:
        """Whether the opening SYN of a flow is in the capture."""
        connection = self.by_flow.get(flow)
        return connection is not None and bool(connection.tries)

    def forget(self, flows: list[int]) -> None:
        """These flow rows will be used again for other connections."""
        for flow in flows:
            self.by_flow.pop(flow, None)
        self.missing.forget(flows)

    def attempts(self, opener: int, target: int, since: int, until: int) -> list[Connection]:
        """Connections that `opener` tried to open to `target` with a SYN in since..until."""
        return [
            c
            for c in self.to_host.get((opener, target), ())
            if c.tries and c.tries[0][1] <= until and c.tries[-1][1] >= since
        ]

    def hole(self, event: Hole) -> None:
        """Take in a gap of a TCP stream, or a datagram that is missing."""
        self.hole_count += event.size >= 0
        self.unasked += event.size < 0
        self.holes.append(event)
        self.missing.add((event.flow, event.side), event.time)

    def cut(self, message: Call | Reply) -> None:
        """A message of which the capture has too little to read it."""
        call = message if isinstance(message, Call) else message.call
        self.missing.add((call.flow, call.side ^ (message is not call)), message.time)

    def answer_lost(self, call: Call, until: int) -> bool:
        """Whether bytes of the other side are known to be missing from the call up to then."""
        return self.missing.between((call.flow, 1 - call.side), call.time, until)

    def repeats_of(self, flow: int, side: int, offset: int) -> list[Repeat]:
        """Retransmissions of the segment that ends a message at stream offset `offset`."""
        return [r for r in self.repeats if r.flow == flow and r.side == side and r.start < offset <= r.end]
