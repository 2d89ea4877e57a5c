"""TCP, UDP and the unreachable messages of ICMP.

In: where an IP payload begins, how far it was captured, how many bytes it has on the wire.
Out: ports, numbers, and where and how long the payload is.

Theory. What a snaplen cut off is not wrong, only missing: as long as the fields that name
the flow and its place in the stream are there, the segment is told with nothing kept.

Never: understands payload, checks a checksum (offloads leave them unset on the sender).
"""

from __future__ import annotations

from typing import Any

from analyzer.frames.ip import BAD, FINE, FIRST, LATER, SHORT, ipv4, ipv6
from analyzer.frames.words import be16, be32, byte
from analyzer.kernels import kernel
from analyzer.tables import TCP, UDP

LONG = 3  # a look of its own: the length contradicts that of IP, all else is fine

ICMP, ICMPV6 = 1, 58
UNREACHABLE, UNREACHABLE_V6 = 3, 1  # RFC 792, RFC 4443 3.1
KIND_V6 = 100  # added to the codes of ICMPv6 in `Notices.kind`


@kernel
def read_tcp(memory: Any, at: Any, stop: Any, size: Any) -> Any:
    """RFC 9293 3.1: (look, source port, target port, seq, ack, flags, header bytes)."""
    if size < 20:
        return BAD, 0, 0, 0, 0, 0, 0
    if at + 14 > stop:
        return SHORT, 0, 0, 0, 0, 0, 0
    head = (byte(memory, at + 12) >> 4) * 4
    if head < 20 or head > size:
        return BAD, 0, 0, 0, 0, 0, 0
    return (
        FINE,
        be16(memory, at),
        be16(memory, at + 2),
        be32(memory, at + 4),
        be32(memory, at + 8),
        byte(memory, at + 13),
        head,
    )


@kernel
def read_udp(memory: Any, at: Any, stop: Any, size: Any, piece: Any) -> Any:
    """RFC 768: (look, source port, target port, payload bytes on the wire).

    The length of a first fragment is that of the whole datagram. A length of 0 is left by
    offloads as in IP. One beyond the IP packet contradicts it; IP's is believed.
    """
    if size < 8:
        return BAD, 0, 0, 0
    if at + 8 > stop:
        return SHORT, 0, 0, 0
    look = FINE
    length = be16(memory, at + 4)
    if length == 0:
        length = size
    if length < 8:
        return BAD, 0, 0, 0
    if length > size and piece != FIRST:
        look = LONG
        length = size
    return look, be16(memory, at), be16(memory, at + 2), length - 8


@kernel
def read_checksum(memory: Any, at: Any, stop: Any, flags: Any) -> Any:
    """The checksum of a segment or, where `flags` is -1, of a datagram; 0 where it is cut off."""
    at += 16 if flags >= 0 else 6
    return be16(memory, at) if at + 2 <= stop else 0


@kernel
def read_xid(memory: Any, at: Any, stop: Any) -> Any:
    """What tells one datagram of a client from the next: its first bytes, in 63 bits."""
    if at + 8 > stop:
        return 0
    return (be32(memory, at) << 31) | (be32(memory, at + 4) & 0x7FFFFFFF)


@kernel
def read_unreachable(memory: Any, at: Any, stop: Any, size: Any, protocol: Any) -> Any:
    """(kind or -1, then of the quoted packet: protocol, target port or -1, target address)."""
    if size < 8 or at + 8 > stop:
        return -1, 0, -1, 0, 0
    kind, code = byte(memory, at), byte(memory, at + 1)
    bottom = min(stop, at + size)
    if protocol == ICMP and kind == UNREACHABLE:
        quote = ipv4(memory, at + 8, bottom, bottom)
    elif protocol == ICMPV6 and kind == UNREACHABLE_V6:
        quote = ipv6(memory, at + 8, bottom, bottom)
        code += KIND_V6
    else:
        return -1, 0, -1, 0, 0
    look, quoted, start, _, piece, _, _, _, high, low = quote
    if look != FINE or quoted not in (TCP, UDP):
        return -1, 0, -1, 0, 0
    port = -1
    if piece < LATER and start + 4 <= bottom:
        port = be16(memory, start + 2)
    return code, quoted, port, high, low
