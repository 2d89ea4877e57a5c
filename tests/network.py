"""A network in which a script makes hosts talk, and the capture somebody took of it.

In: a script: who connects, sends, dies. Out: a classic pcap with nanosecond stamps, or a pcapng that tells of
drops.

Theory. The capture point sees every packet that is sent; whether it arrives is another matter (`cuts`,
`dead`), and what does not arrive is sent again after 1, 2, 4 and 8 seconds as TCP does. `captured=False` is
the capture's own loss: the packet arrives and is in no file. Packets carry their own times and are put in
order when the capture is written, so a retransmission may be scheduled while the script goes on.

Never: knows RPC.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analyzer.engine import Analysis, analyze
from tests.capture import files
from tests.frames.packets import ACK, FIN, RST, SYN, ethernet, ip4, ip6, tcp, udp

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
STEP = 50_000  # ns from one packet to the next
RETRIES = (1, 2, 4, 8)  # seconds between copies of what nobody acknowledges
PSH = 8


@dataclass(eq=False)
class Packet:
    """A packet sent; `frame` is its number in the capture, 0 where the capture missed it."""

    time: int
    data: bytes
    captured: bool = True
    frame: int = 0
    kept: int | None = None  # bytes of it that are in the file, where the snaplen was shorter


@dataclass(eq=False)
class Connection:
    """A TCP connection: what each end has sent, and what the other end has received of it."""

    network: Network
    ends: tuple[tuple[str, int], tuple[str, int]]
    sent: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    open: bool = True

    def __post_init__(self) -> None:
        number = self.network.opened
        self.network.opened += 1
        self.sent = [7_000 + 1_000_003 * number, 4_294_967_000 - 61 * number]  # the server's wraps soon
        self.received = list(self.sent)

    def segment(
        self, side: int, flags: int, data: bytes = b"", at: int = 0, time: int = 0, captured: bool = True
    ) -> Packet:
        """One segment, with what this end has received acknowledged."""
        (source, sport), (target, dport) = self.ends[side], self.ends[1 - side]
        ack = self.received[1 - side] if flags & ACK else 0
        body = tcp(data, sport, dport, at & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags)
        return self.network.packet(source, target, 6, body, time, captured)

    def send(self, side: int, data: bytes, captured: bool = True) -> Packet:
        """Bytes and the other end's ACK; where they do not arrive, TCP's further copies."""
        at = self.sent[side]
        self.sent[side] += len(data)
        packet = self.segment(side, ACK | PSH, data, at, captured=captured)
        if self.received[side] == at and self.network.arrives(self.ends[side], self.ends[1 - side]):
            self.received[side] = self.sent[side]
            self.segment(1 - side, ACK, at=self.sent[1 - side])
        elif self.network.alive(self.ends[side][0]):
            for later in _backoff():
                self.segment(side, ACK | PSH, data, at, self.network.clock + later)
        return packet

    def close(self, side: int = 0) -> None:
        """FIN from both ends, `side` first."""
        for end in (side, 1 - side):
            self.segment(end, FIN | ACK, at=self.sent[end])
            self.sent[end] += 1
            self.received[end] = self.sent[end]
        self.segment(side, ACK, at=self.sent[side])
        self.open = False

    def reset(self, side: int = 1) -> Packet:
        """RST from one end."""
        self.open = False
        return self.segment(side, RST | ACK, at=self.sent[side])


class Network:
    """A clock, addresses that live or not, connections, and the packets so far."""

    def __init__(self) -> None:
        self.clock = BEGIN
        self.packets: list[Packet] = []
        self.dead: set[str] = set()
        self.cuts: set[tuple[str, str, int]] = set()
        self.refused: set[tuple[str, int]] = set()
        self.connections: dict[tuple[str, str, int], Connection] = {}
        self.sport: dict[str, int] = {}
        self.opened = 0  # connections so far: no two begin at the same number
        self.drops = 0  # packets that the capturing program says it lost: the capture is a pcapng then

    # -- time -----------------------------------------------------------------------------------

    def at(self, seconds: float) -> None:
        """Go on at this second of the capture."""
        then = BEGIN + round(seconds * SECOND)
        assert then >= self.clock, "the clock cannot go back"
        self.clock = then

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock += round(seconds * SECOND)

    # -- what arrives ---------------------------------------------------------------------------

    def alive(self, address: str) -> bool:
        """Whether a host sends at all."""
        return address not in self.dead

    def arrives(self, source: tuple[str, int], target: tuple[str, int]) -> bool:
        """Whether a packet between these two ends reaches the second."""
        ends = (source[0], target[0])
        stopped = {(*ends, 0), (*ends, target[1]), (*ends, source[1])}
        return self.alive(target[0]) and self.alive(source[0]) and not stopped & self.cuts

    # -- packets --------------------------------------------------------------------------------

    def packet(
        self, source: str, target: str, protocol: int, body: bytes, time: int = 0, captured: bool = True
    ) -> Packet:
        """Send one IP packet now, or at `time`."""
        six = ":" in source
        data = ethernet((ip6 if six else ip4)(body, protocol, source, target), 0x86DD if six else 0x0800)
        if not time:
            self.clock += STEP
        made = Packet(time or self.clock, data, captured)
        self.packets.append(made)
        return made

    def unreachable(self, router: str, refused: Packet, source: str) -> Packet:
        """ICMP from a router: the host that a packet of `source` was meant for cannot be reached."""
        quoted = refused.data[14:]
        if ":" in source:
            return self.packet(router, source, 58, bytes((1, 3)) + bytes(6) + quoted)
        return self.packet(router, source, 1, bytes((3, 1)) + bytes(6) + quoted)

    def datagram(
        self, source: tuple[str, int], target: tuple[str, int], data: bytes, captured: bool = True
    ) -> Packet:
        """Send one UDP datagram."""
        return self.packet(source[0], target[0], 17, udp(data, source[1], target[1]), captured=captured)

    def connection(self, source: str, target: str, port: int, sport: int = 0) -> Connection | None:
        """The open connection from `source` to a port, made with a handshake where there is none.

        None where the other side does not answer (the SYN is repeated) or refuses (RST).
        """
        known = self.connections.get((source, target, port))
        if known is not None and known.open:
            return known
        made = self.connect(source, target, port, sport)
        return made if made.open else None

    def connect(self, source: str, target: str, port: int, sport: int = 0, lost: int = 0) -> Connection:
        """A handshake, or the attempt at one; the first `lost` SYNs get no answer."""
        if not sport:
            sport = self.sport.get(source, 1023)
            self.sport[source] = sport - 1
        made = self.connections[source, target, port] = Connection(self, ((source, sport), (target, port)))
        syn, answer = made.sent
        for seconds in RETRIES[:lost]:
            made.segment(0, SYN, at=syn)
            self.wait(seconds)
        made.segment(0, SYN, at=syn)
        if not self.arrives((source, sport), (target, port)):
            for later in _backoff():
                made.segment(0, SYN, at=syn, time=self.clock + later)
            made.open = False
            return made
        made.received[0] = made.sent[0] = syn + 1
        if (target, port) in self.refused:
            made.segment(1, RST | ACK, at=0)
            made.open = False
            return made
        made.segment(1, SYN | ACK, at=answer)
        made.received[1] = made.sent[1] = answer + 1
        made.segment(0, ACK, at=made.sent[0])
        return made

    # -- the capture ----------------------------------------------------------------------------

    def write(self, path: Path, end: float | None = None, start: float = 0) -> None:
        """Write the capture, packets from second `start` to `end` only if given; number the frames."""
        last = self.clock if end is None else BEGIN + round(end * SECOND)
        first = BEGIN + round(start * SECOND)
        seen = [p for p in sorted(self.packets, key=_time) if p.captured and first <= p.time <= last]
        for number, packet in enumerate(seen, 1):
            packet.frame = number
        packets = [files.Packet(p.data[: p.kept], p.time, len(p.data)) for p in seen]
        made = files.pcap(packets, magic=files.NANO)
        if self.drops:
            made = files.pcapng(packets) + files.statistics(0, self.drops, 0)
        path.write_bytes(made)

    def analyze(self, end: float | None = None, start: float = 0, **options: Any) -> Analysis:
        """What lockscope makes of the capture up to now."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "world.pcap"
            self.write(path, end, start)
            return analyze([str(path)], compiled=False, **options)


def _backoff() -> list[int]:
    passed, times = 0, []
    for seconds in RETRIES:
        passed += seconds
        times.append(passed * SECOND)
    return times


def _time(packet: Packet) -> int:
    return packet.time
