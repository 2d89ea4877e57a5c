"""Calls in fragments and tunnels, counted by tshark and by lockscope."""

from __future__ import annotations

from pathlib import Path

from tests.capture.files import Packet, pcap
from tests.frames.packets import A6, B6, ethernet, fragments4, fragments6, ip4, ip6, udp
from tests.frames.test_link import labels, pppoe
from tests.frames.test_tunnels import geneve, gre, vxlan
from tests.messages.wire import NFS, call, opaque, reply, words
from tests.oracle.test_counts import differences

HANDLE = opaque(b"h" * 32)


def write(xid: int, size: int) -> bytes:
    """A WRITE of `size` bytes, as a datagram."""
    return udp(call(xid, NFS, 3, 7, HANDLE + words(0, 0, size, 2) + opaque(bytes(size))), 800, 2049)


def test_trap_28_and_29_are_counted_as_tshark_counts_them(tshark: str, tmp_path: Path) -> None:
    plain = ip4(udp(call(1, NFS, 3, 1, HANDLE), 800, 2049))
    frames = [
        ethernet(plain),
        ethernet(ip4(udp(reply(1, words(70)), 2049, 800), 17, "10.0.0.2", "10.0.0.1")),
        *map(ethernet, fragments4(write(2, 32768), *range(1480, 32768, 1480))),
        *map(ethernet, reversed(fragments4(write(3, 8192), *range(1480, 8192, 1480)))),
        *[ethernet(piece, 0x86DD) for piece in fragments6(write(4, 8192), *range(1448, 8192, 1448))],
        *map(ethernet, fragments4(write(5, 8192), 1480)[:1]),  # its rest was lost
        ethernet(ip4(udp(call(6, NFS, 3, 1, HANDLE), 800, 2049)), tags=[0x88A8, 0x8100]),
    ]
    for n, wrap in enumerate(
        (
            lambda packet: ethernet(gre(packet, 0x0800)),
            lambda packet: ethernet(gre(b"\x10" + bytes(7) + ethernet(packet), 0x88BE, 0x1000, 1)),
            lambda packet: ethernet(vxlan(ethernet(packet))),
            lambda packet: ethernet(geneve(ethernet(packet))),
            lambda packet: ethernet(labels(packet, 2), 0x8847),
            lambda packet: ethernet(pppoe(packet), 0x8864),
        )
    ):
        frames.append(wrap(ip4(udp(call(10 + n, NFS, 3, 4, HANDLE + words(63)), 800, 2049))))
    frames.append(ethernet(ip6(udp(call(30, NFS, 3, 18, HANDLE), 800, 2049), 17, A6, B6), 0x86DD))
    capture = tmp_path / "capture.pcap"
    stamps = range(1_700_000_000_000_000_000, 1_800_000_000_000_000_000, 10_000_000)
    capture.write_bytes(pcap([Packet(frame, time) for frame, time in zip(frames, stamps, strict=False)]))
    assert differences(tshark, capture) == {}
