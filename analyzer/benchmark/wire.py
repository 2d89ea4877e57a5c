"""A capture written packet by packet: Ethernet, IPv4, UDP and TCP, RPC records on top.

In: RPC messages between numbered clients and one server. Out: a pcap file.

Theory. The headers of one direction of a connection differ in six fields from packet to
packet, so they are kept as one buffer that is patched and written: a million packets take
seconds. Sequence and acknowledgement numbers and IP checksums are right; TCP and UDP
checksums are zero, as in a capture taken above a network card that fills them in.

Never: knows what the messages mean.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

SEGMENT = 1448  # payload of a full Ethernet frame beside a TCP timestamp option

_SERVER_ADDRESS = bytes((10, 0, 0, 1))
_SERVER_MAC = bytes.fromhex("020000000001")
_START = 1_700_000_000
_RECORD = struct.Struct("<IIII")
_TCP_OPTIONS = struct.Struct("!BBBBII")  # NOP, NOP, timestamps
_SYN_OPTIONS = struct.Struct("!BBHBBBBIIBBB")  # MSS, SACK permitted, timestamps, NOP, window scale

_LENGTH_AND_ID = struct.Struct("!HH")  # at 16
_CHECKSUM = struct.Struct("!H")  # at 24
_SEQ_AND_ACK = struct.Struct("!IIBB")  # at 38
_TIMESTAMPS = struct.Struct("!II")  # at 58

FIN, SYN, PSH, ACK = 1, 2, 8, 16


class CaptureFile:
    """A pcap file (microseconds, Ethernet) whose clock advances by a fixed step per packet."""

    def __init__(self, stream: BinaryIO, step: int) -> None:
        self._stream = stream
        self._step = step
        self._time = _START * 1_000_000
        self.packets = 0
        self.size = stream.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    @property
    def milliseconds(self) -> int:
        """The clock as a TCP timestamp."""
        return self._time // 1000 & 0xFFFFFFFF

    def write(self, header: bytes | bytearray, payload: bytes) -> None:
        """Append one packet."""
        self._time += self._step
        self.packets += 1
        length = len(header) + len(payload)
        seconds, micros = divmod(self._time, 1_000_000)
        self._stream.write(b"".join((_RECORD.pack(seconds, micros, length, length), header, payload)))
        self.size += 16 + length


class _Direction:
    """The Ethernet and IPv4 header of packets one way, and what follows it up to the payload."""

    def __init__(self, client: int, from_server: bool, protocol: int, rest: bytes) -> None:
        address, mac = bytes((10, 0, 1, client)), bytes.fromhex("0200000001") + bytes((client,))
        ends = [(mac, address), (_SERVER_MAC, _SERVER_ADDRESS)]
        (source_mac, source), (target_mac, target) = ends[::-1] if from_server else ends
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0x4000, 64, protocol, 0, source, target)
        self.header = bytearray(target_mac + source_mac + b"\x08\x00" + ip + rest)
        self._sum = sum(struct.unpack("!10H", ip))

    def address(self, payload: int, ident: int) -> None:
        """Fill in length, identification and checksum of the IPv4 header (RFC 791 3.1)."""
        length = len(self.header) - 14 + payload
        total = self._sum + length + ident
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        _LENGTH_AND_ID.pack_into(self.header, 16, length, ident)
        _CHECKSUM.pack_into(self.header, 24, ~total & 0xFFFF)


class Datagrams:
    """UDP between one client port and one server port."""

    def __init__(self, capture: CaptureFile, client: int, client_port: int, server_port: int) -> None:
        self._capture = capture
        self._ways = (
            _Direction(client, False, 17, struct.pack("!HHHH", client_port, server_port, 0, 0)),
            _Direction(client, True, 17, struct.pack("!HHHH", server_port, client_port, 0, 0)),
        )

    def send(self, side: int, message: bytes) -> None:
        """Send one RPC message from the client (0) or the server (1)."""
        way = self._ways[side]
        way.address(len(message), self._capture.packets & 0xFFFF)
        _CHECKSUM.pack_into(way.header, 38, 8 + len(message))
        self._capture.write(way.header, message)


class Connection:
    """A TCP connection, open from the start: side 0 is the client, side 1 the server."""

    def __init__(
        self, capture: CaptureFile, client: int, client_port: int, server_port: int, isn: int
    ) -> None:
        self._capture = capture
        self._next = [isn & 0xFFFFFFFF, ~isn & 0xFFFFFFFF]
        ports = (client_port, server_port)
        self._ways = tuple(
            _Direction(client, bool(side), 6, self._tcp(ports[side], ports[1 - side])) for side in (0, 1)
        )
        self._open(client, ports)

    def _open(self, client: int, ports: tuple[int, int]) -> None:
        for side, flags in ((0, SYN), (1, SYN | ACK)):
            now = self._capture.milliseconds
            options = _SYN_OPTIONS.pack(2, 4, 1460, 4, 2, 8, 10, now, now if side else 0, 1, 3, 3)
            rest = self._tcp(ports[side], ports[1 - side])[:20] + options + b"\x09"
            way = _Direction(client, bool(side), 6, rest)
            way.address(0, self._capture.packets & 0xFFFF)
            acked = self._next[0] if side else 0
            _SEQ_AND_ACK.pack_into(way.header, 38, self._next[side], acked, len(rest) // 4 << 4, flags)
            self._capture.write(way.header, b"")
            self._advance(side, 1)
        self._segment(0, ACK, b"")

    @staticmethod
    def _tcp(source: int, target: int) -> bytes:
        header = struct.pack("!HHIIBBHHH", source, target, 0, 0, 0x80, ACK, 2048, 0, 0)
        return header + _TCP_OPTIONS.pack(1, 1, 8, 10, 0, 0)

    def _advance(self, side: int, by: int) -> None:
        self._next[side] = (self._next[side] + by) & 0xFFFFFFFF

    def _segment(self, side: int, flags: int, payload: bytes) -> None:
        capture, way = self._capture, self._ways[side]
        way.address(len(payload), capture.packets & 0xFFFF)
        _SEQ_AND_ACK.pack_into(way.header, 38, self._next[side], self._next[1 - side], 0x80, flags)
        _TIMESTAMPS.pack_into(way.header, 58, capture.milliseconds, capture.milliseconds)
        capture.write(way.header, payload)
        self._advance(side, len(payload))

    def send(self, side: int, message: bytes) -> None:
        """Send one RPC record (RFC 5531 11); every second full segment is acknowledged."""
        data = struct.pack("!I", 0x80000000 | len(message)) + message
        last = (len(data) - 1) // SEGMENT
        for number in range(last):
            self._segment(side, ACK, data[number * SEGMENT : (number + 1) * SEGMENT])
            if number % 2:
                self._segment(1 - side, ACK, b"")
        self._segment(side, PSH | ACK, data[last * SEGMENT :])

    def close(self) -> None:
        """FIN both ways, from the client first."""
        for side in (0, 1):
            self._segment(side, FIN | ACK, b"")
            self._advance(side, 1)
        self._segment(0, ACK, b"")
