"""What the capture cannot show: never faults, always worth a line.

In: connections, mounts. Out: cases about the capture itself.

Never: above `info`.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.faults import MEANING, Fault
from analyzer.findings.rule import INFO, Case, rule, seconds
from analyzer.parameters import threshold, window
from analyzer.protocols.nfs3 import NFS
from analyzer.records.events import Hole
from analyzer.sessions.model import Place
from analyzer.sessions.world import Sessions

IN_USE = window("no-nlm-use", 600, "long enough for a program that locks at all to have done so")
REPEATED = threshold("loss-segments", 20, "segments", "fewer are a bad moment")
LOSSY = threshold("loss-share", 10, "per thousand", "from here on TCP is visibly slower")
UNREAD = (Fault.FRAME_TRUNCATED, Fault.GSS_PRIVACY)
COMPOUND = (NFS, 4, 1)
SEEN_TWICE = threshold(
    "loss-seen-twice",
    450,
    "per thousand",
    "no connection loses half; the capture sees packets at two points of the path",
)


@rule("capture-blind-spot", INFO, at_end=True)
def capture_blind_spot(s: Sessions) -> Iterator[Case]:
    """Things were said that the capture does not have, or that cannot be read.

    ## What it is
    Holes in TCP streams: segments the receiver acknowledged and the capture never saw. Replies over UDP to
    lock calls that were not captured. Packets captured in part, messages encrypted by RPCSEC_GSS. Calls of
    NFSv4, whose locks are on the same files and are not followed.

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
    holes = [hole for hole in s.connections.holes if hole.size >= 0]
    if holes:
        flows = len({hole.flow for hole in holes})
        text = f"{s.connections.hole_count} holes in {flows} TCP connections: bytes that were sent and not "
        yield _unseen(f"{text}captured", holes)
    unasked = [hole for hole in s.connections.holes if hole.size < 0]
    if unasked:
        text = f"{s.connections.unasked} replies over UDP to lock calls that were not captured"
        yield _unseen(text, unasked)
    yield from _unread(s)


def _unseen(text: str, holes: list[Hole]) -> Case:
    return Case(
        text,
        [hole.frame for hole in holes],
        Place(holes[0].frame, holes[0].time),
        Place(holes[-1].frame, holes[-1].time),
        group=holes[0].size < 0,
    )


def _unread(s: Sessions) -> Iterator[Case]:
    """What is in the capture and cannot be read, or is not followed."""
    for fault in UNREAD:
        if s.faults.count[fault]:
            frame = int(s.faults.first_frame[fault])
            text = f"{s.faults.count[fault]} {MEANING[fault]}"
            yield Case(text, [frame], Place(frame, s.start), group=fault)
    if COMPOUND in s.counts:
        frame = s.first_frames[COMPOUND]
        text = f"{s.counts[COMPOUND]} calls of NFSv4: its locks are on the same files and are not followed"
        yield Case(text, [frame], Place(frame, s.start), group=COMPOUND)


@rule("no-nlm-traffic", INFO, at_end=True)
def no_nlm_traffic(s: Sessions) -> Iterator[Case]:
    """A client writes to an export and never locks, while others lock there.

    ## What it is
    A client created or wrote files of an export for ten minutes or more without one lock request to this
    server, to which other hosts sent some.

    ## Why it matters
    It may be mounted `nolock` or with `local_lock=`: its locks then hold on its own host only, and exclude
    nobody else.

    ## What to do
    Look at the options of the mount (`/proc/mounts` on the client).

    ## Evidence
    The first and the last NFS call.

    ## When it is a false alarm
    It is no alarm: perhaps none of its programs locks, or its locks are NFSv4's, or took a path that was not
    captured.
    """
    asked = set(s.pace.copies)
    locking = {server for _, server in asked}
    for mount in s.mounts.sessions.values():
        first, last = mount.first, mount.last
        if first is None or last is None or not mount.writes or last.time - first.time < s.settings[IN_USE]:
            continue
        if mount.server in locking and (mount.client, mount.server) not in asked:
            yield Case(
                f"{s.hosts.address(mount.client)} used {mount.path or 'an export'} for "
                f"{seconds(last.time - first.time)} ({mount.calls} calls, {mount.writes} of them WRITE or "
                f"CREATE) and asked for no lock, as others did",
                [first.frame, last.frame],
                first,
                last,
                server=mount.server,
                client=mount.client,
                export=mount.path,
            )


@rule("network-loss", INFO, at_end=True)
def network_loss(s: Sessions) -> Iterator[Case]:
    """The network loses segments between two hosts.

    ## What it is
    At least ten of a thousand TCP segments from one host to another, and twenty in all, were sent again.

    ## Why it matters
    TCP repairs the loss, but every repair is a pause: with NFS and locks on one connection, everything waits.

    ## What to do
    Look at the interfaces and switches on the way (errors, drops, duplex), and at the load of the receiver.

    ## Evidence
    The segments that were sent again.

    ## When it is a false alarm
    It is no alarm. A capture that saw a part of the packets twice counts them as sent again.
    """
    for traffic in s.connections.traffic:
        share = traffic.repeated * 1000 / max(traffic.segments, 1)
        if traffic.repeated < s.settings[REPEATED] or not s.settings[LOSSY] <= share < s.settings[SEEN_TWICE]:
            continue
        repeats = [r for r in s.connections.repeats if (r.flow, r.side) in traffic.streams]
        if repeats:
            source, target = s.hosts.address(traffic.source), s.hosts.address(traffic.target)
            yield Case(
                f"{traffic.repeated} of {traffic.segments} TCP segments from {source} to {target} were sent "
                f"again ({share:.0f} per thousand), {traffic.reordered} came out of order",
                [repeat.frame for repeat in repeats],
                Place(repeats[0].frame, repeats[0].time),
                Place(repeats[-1].frame, repeats[-1].time),
                client=traffic.source,
                peer=traffic.target,
            )
