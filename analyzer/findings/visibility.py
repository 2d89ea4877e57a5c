"""What the capture cannot show: never faults, always worth a line.

In: connections, mounts. Out: cases about the capture itself.

Never: above `info`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analyzer.faults import MEANING, Fault
from analyzer.findings.rule import INFO, Case, rule, seconds
from analyzer.parameters import threshold, window
from analyzer.protocols.nfs3 import NFS
from analyzer.records.events import Call, Hole
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import Mount
from analyzer.sessions.sides import OneWay
from analyzer.sessions.world import LESS_SURE, NOTES, Sessions

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
    lock calls that were not captured. Packets that the capturing program dropped, nobody knows which. Hosts
    of which one is heard only: it goes on talking, and what the other answers is nowhere. Packets captured in
    part, messages encrypted by RPCSEC_GSS, connections that went over to TLS, RDMA. Calls of NFSv4, whose
    locks are on the same files and are not followed. Mounts that are older than the capture.

    ## Why it matters
    What is missing may be the very message that would explain a finding; absences on these connections are
    taken for less sure. Where one direction is missing altogether, none is reported. Findings that are less
    sure for that are listed here, and so is what is less than possible for all these reasons, and no finding.

    ## What to do
    Capture with a larger buffer (`tcpdump -B`, `dumpcap -B`), a filter, or nearer to one of the hosts; where
    one direction is missing, at a point that both directions pass.

    ## Evidence
    The frames behind the holes; the first frame of what cannot be read.

    ## When it is a false alarm
    It is no alarm. Which port a service had before the capture began is nowhere in it, but no matter: calls
    are known by what they say, not by their port.
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
    if s.drop_spans:
        text = "the capturing program dropped packets, nobody knows which"
        place = Place(s.last_frame, s.end)
        yield Case(text, [place.frame], place, group="dropped")
    yield from _one_sided(s)
    yield from _unread(s)
    yield from _sealed(s)
    yield from _older(s)
    for kind, lead in (
        (LESS_SURE, "less sure, as messages may be missing: "),
        (NOTES, "less than possible, and no findings: "),
    ):
        listed = _listed(s.doubted.get(kind), lead)
        if listed:
            yield Case(listed, [s.last_frame], Place(s.last_frame, s.end), group=kind)


def _older(s: Sessions) -> Iterator[Case]:
    """Mounts that were there before the capture."""
    half_seen = {one.heard for one in s.one_way()}  # their MNT may have been answered unseen
    places = [
        mount.first
        for mount in s.mounts.sessions.values()
        if mount.early and mount.first is not None and mount.client not in half_seen
    ]
    if places:
        text = f"{len(places)} mounts are in use whose MNT is not in the capture: nor are their older locks"
        yield Case(text, [place.frame for place in places], places[0], group="early")


def _one_sided(s: Sessions) -> Iterator[Case]:
    """Pairs of hosts of which only one is heard."""
    pairs: dict[tuple[int, int], list[OneWay]] = {}
    for one in s.one_way():
        pairs.setdefault((one.heard, one.missing), []).append(one)
    for (heard, missing), flows in pairs.items():
        withheld = _listed(s.doubted.get((heard, missing)), "; not said for that reason: ")
        yield Case(
            f"what {s.hosts.address(missing)} sent to {s.hosts.address(heard)} was not captured "
            f"({len(flows)} connections), only the other direction{withheld}",
            [one.frame for one in flows],
            Place(flows[0].frame, flows[0].time),
            client=heard,
            peer=missing,
        )


def _sealed(s: Sessions) -> Iterator[Case]:
    """Connections that went over to TLS, and those that carry RDMA."""
    sealed: dict[tuple[int, int], list[Call]] = {}
    for call in s.conduct.calls.get("tls", ()):
        reply = s.conduct.answer(call)
        if reply is not None and reply.status == 0:
            sealed.setdefault((call.src, call.dst), []).append(call)
    for (client, server), calls in sealed.items():
        yield Case(
            f"{s.hosts.address(client)} and {s.hosts.address(server)} went over to TLS on {len(calls)} "
            f"connections (AUTH_TLS): what they said there cannot be read",
            [call.frame for call in calls],
            Place(calls[0].frame, calls[0].time),
            server=server,
            client=client,
            group="tls",
        )
    for one in s.connections.sides.rdma:
        yield Case(
            f"{s.hosts.address(one.heard)} and {s.hosts.address(one.missing)} use RDMA, which is not read",
            [one.frame],
            Place(one.frame, one.time),
            client=one.heard,
            peer=one.missing,
            group="rdma",
        )


def _listed(codes: Counter[str] | None, lead: str) -> str:
    """Codes with how often, behind the words that lead to them; nothing where there are none."""
    if not codes:
        return ""
    said = (f"{code} ({count} times)" if count > 1 else code for code, count in codes.most_common())
    return lead + ", ".join(said)


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
    """A client writes to an export and never locks, while others lock or write there.

    ## What it is
    A client created or wrote files of an export for ten minutes or more without one lock request to this
    server; and other hosts sent it some, or write to the same export as this one does.

    ## Why it matters
    It may be mounted `nolock` or with `local_lock=`: its locks then hold on its own host only, and exclude
    nobody else; two such clients do not exclude each other. Or its own statd does not run, and its programs
    get ENOLCK.

    ## What to do
    Look on the client at the options of the mount (`/proc/mounts`), and at statd (`systemctl status
    rpc-statd`).

    ## Evidence
    The first and the last NFS call.

    ## When it is a false alarm
    It is no alarm: perhaps none of its programs locks, or its locks are NFSv4's, or took a path that was not
    captured.
    """
    asked = set(s.pace.copies)
    locking = {server for _, server in asked}
    unlocked = [
        mount
        for mount in s.mounts.sessions.values()
        if mount.writes and (mount.client, mount.server) not in asked and _used(mount) >= s.settings[IN_USE]
    ]
    writers = Counter((mount.server, mount.export) for mount in unlocked)
    for mount in unlocked:
        first, last = mount.first, mount.last
        others = writers[mount.server, mount.export] - 1
        if first is not None and (mount.server in locking or (mount.export is not None and others)):
            how = (
                "as others did" if mount.server in locking else f"nor did {others} other(s) that write there"
            )
            yield Case(
                f"{s.hosts.address(mount.client)} used {mount.path or 'an export'} for "
                f"{seconds(_used(mount))} ({mount.calls} calls, {mount.writes} of them WRITE or "
                f"CREATE) and asked for no lock, {how}",
                [first.frame, last.frame if last is not None else 0],
                first,
                last,
                server=mount.server,
                client=mount.client,
                export=mount.path,
            )


def _used(mount: Mount) -> int:
    """How long an export was in use, ns."""
    return mount.last.time - mount.first.time if mount.first is not None and mount.last is not None else 0


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
