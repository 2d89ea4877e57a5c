"""What the capture cannot show: never faults, always worth a line.

In: connections. Out: cases about the capture itself.

Never: above `info`.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Case, rule
from analyzer.sessions.model import Place
from analyzer.sessions.world import Sessions


@rule("capture-blind-spot", INFO)
def capture_blind_spot(s: Sessions) -> Iterator[Case]:
    """Bytes were sent that the capture does not have.

    ## What it is
    Holes in TCP streams: segments the receiver acknowledged and the capture never saw.

    ## Why it matters
    What is missing may be the very message that would explain a finding; absences on these connections are
    taken for less sure.

    ## What to do
    Capture with a larger buffer (`tcpdump -B`, `dumpcap -B`), a filter, or nearer to one of the hosts.

    ## Evidence
    The frames behind the holes.

    ## When it is a false alarm
    It is no alarm.
    """
    by_flow: dict[int, list[int]] = {}
    for hole in s.connections.holes:
        by_flow.setdefault(hole.flow, []).append(hole.frame)
    if not by_flow:
        return
    first = s.connections.holes[0]
    yield Case(
        f"{s.connections.hole_count} holes in {len(by_flow)} TCP connections: bytes that were sent and not "
        f"captured",
        [hole.frame for hole in s.connections.holes],
        Place(first.frame, first.time),
        Place(s.connections.holes[-1].frame, s.connections.holes[-1].time),
    )
