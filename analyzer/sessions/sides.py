"""What TCP says of the two sides of each connection.

In: the flows and streams of a front, between two blocks. Out: `Sides`, which outlive it.

Theory. Who acknowledges what tells what was sent and not captured: the last bytes of a connection, or all of
one side. Read when somebody asks (rules do, at the end or at a look), and copied: a table of the front must
not be held by those who look at it afterwards, for with it they hold all of its memory.

Never: says whether anything of this is a fault.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analyzer.frames.dissect import ANSWER_SEEN, RST_SEEN, SYN_SEEN
from analyzer.index import Ints
from analyzer.tables import TCP, UDP, Flows, Streams

ROCE_PORT = 4791  # IANA roce; over it, RPC is what RFC 8166 makes of it


class OneWay(NamedTuple):
    """A connection of which the capture has one direction only."""

    flow: int
    heard: int
    missing: int
    frame: int
    time: int


class Traffic(NamedTuple):
    """TCP segments from one host to another, of the connections that the capture still knew at its end."""

    source: int
    target: int
    segments: int
    repeated: int
    reordered: int
    streams: set[tuple[int, int]]  # flow and side


class Sides(NamedTuple):
    """What is known of all connections, at some moment."""

    acked: Ints  # (flows * 2,) highest stream offset that the other side acknowledged, -1 none seen
    one_way: list[OneWay]
    rdma: list[OneWay]  # flows of RDMA over UDP, as RoCE v2 has it


NO_SIDES = Sides(np.empty(0, np.int64), [], [])


def sides(flows: Flows, streams: Streams, longer: int) -> Sides:
    """What is known now; in `longer` ns a connection repeats what was not acknowledged."""
    return Sides(streams.acked.copy(), _one_way(flows, streams, longer), _rdma(flows))


def unseen(streams: Streams) -> set[int]:
    """Flows of which the last bytes were acknowledged and never seen (a FIN is acknowledged as one)."""
    return set((np.flatnonzero(streams.acked > streams.next + 1) // 2).tolist())


def _one_way(flows: Flows, streams: Streams, longer: int) -> list[OneWay]:
    """Connections of which one side is there, goes on, and nothing of the other was captured.

    Who sends bytes after its SYN was answered. TCP sends again what nobody acknowledges: where that never
    happened in a connection of so many ns, somebody did. Not where the two talk on another connection.
    """
    rows = min(len(streams.segments) // 2, len(flows.host0))  # both have more rows than are used
    columns = (streams.segments, streams.repeated, streams.acked)
    segments, repeated, acked = (column[: 2 * rows].reshape(rows, 2) for column in columns)
    heard = (segments > 0) & (repeated == 0) & (acked < 0) & (segments[:, ::-1] == 0)
    one_sided = heard.any(1) & (flows.transport[:rows] == TCP)
    state = flows.state[:rows]
    both_opened = state & (SYN_SEEN | ANSWER_SEEN) == SYN_SEEN | ANSWER_SEEN
    one_sided &= ~both_opened & (state & RST_SEEN == 0)
    goes_on = flows.last_time[:rows] - flows.first_time[:rows] >= longer
    one_sided &= goes_on | (state & SYN_SEEN != 0)
    alone = np.flatnonzero(one_sided)
    ends = np.stack((flows.host0[:rows], flows.host1[:rows]), 1)
    speaking = np.flatnonzero((segments > 0) & np.isin(ends, ends[alone]))
    spoken = {(int(ends.flat[at]), int(ends.flat[at ^ 1])) for at in speaking.tolist()}
    found = []
    for flow in alone.tolist():
        here, missing = ends[flow].tolist() if heard[flow, 0] else ends[flow, ::-1].tolist()
        if (missing, here) in spoken:
            continue
        frame, time = int(flows.first_frame[flow]), int(flows.first_time[flow])
        found.append(OneWay(flow, here, missing, frame, time))
    return found


def _rdma(flows: Flows) -> list[OneWay]:
    rows = np.flatnonzero((flows.transport == UDP) & (flows.port1 == ROCE_PORT)).tolist()
    columns = (flows.host0, flows.host1, flows.first_frame, flows.first_time)
    return [OneWay(row, *(int(column[row]) for column in columns)) for row in rows]


def traffic(flows: Flows, streams: Streams) -> list[Traffic]:
    """TCP segments by direction between two hosts."""
    sums: dict[tuple[int, int], Traffic] = {}
    for row in np.flatnonzero(streams.segments).tolist():
        flow, side = divmod(row, 2)
        ends = int(flows.host0[flow]), int(flows.host1[flow])
        source, target = ends if side == 0 else ends[::-1]
        known = sums.get((source, target), Traffic(source, target, 0, 0, 0, set()))
        known.streams.add((flow, side))
        sums[source, target] = known._replace(
            segments=known.segments + int(streams.segments[row]),
            repeated=known.repeated + int(streams.repeated[row]),
            reordered=known.reordered + int(streams.reordered[row]),
        )
    return list(sums.values())
