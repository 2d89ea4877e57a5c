"""IPv4 and IPv6 headers.

In: where an IP packet begins, how far it was captured, how far it went on the wire. Out:
addresses, the transport protocol, and where and how long the payload is.

Theory. The length that counts is IP's own: what the link layer adds behind (padding to 60
bytes, a frame check sequence) is no payload. A length of 0 is written by senders that leave
the cutting into packets to the network card (TSO), and by IPv6 jumbograms; then the wire
length counts. Both addresses have 128 bits, IPv4 as IPv4-mapped IPv6 (RFC 4291 2.5.5.2).

Never: puts fragments together; tells them apart instead.
"""

from __future__ import annotations

from typing import Any

from analyzer.frames.words import be16, be32, be64, byte
from analyzer.kernels import kernel

# how the header looked
FINE, SHORT, BAD = 0, 1, 2

# Which piece of a packet it is: the offset, a multiple of 8, plus 1 if more follow. So there are the
# whole, the first piece, and from LATER on the later ones.
WHOLE, FIRST, LATER = 0, 1, 8
MOST_PIECE = 0xFFF9

MAPPED = 0xFFFF << 32
IPV6_IDENT = 1 << 32  # added to identifications of IPv6, which are numbers of their own

# IPv6 extension headers (RFC 8200 4.1, RFC 4302, RFC 6275)
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135


@kernel
def ipv4(memory: Any, at: Any, stop: Any, end: Any) -> Any:
    """RFC 791 3.1: (look, protocol, payload start, payload bytes on the wire, piece, identification,
    both addresses).

    `stop` is the end of the captured bytes, `end` that of the bytes on the wire.
    """
    if at + 20 > stop:
        return SHORT, 0, at, 0, WHOLE, 0, 0, 0, 0, 0
    first = byte(memory, at)
    head = (first & 15) * 4
    total = be16(memory, at + 2)
    if total == 0:
        total = end - at
    if first >> 4 != 4 or head < 20 or total < head:
        return BAD, 0, at, 0, WHOLE, 0, 0, 0, 0, 0
    field = be16(memory, at + 6)
    piece = (field & 0x1FFF) << 3 | (field >> 13) & 1
    source = MAPPED | be32(memory, at + 12)
    target = MAPPED | be32(memory, at + 16)
    protocol, ident = byte(memory, at + 9), be16(memory, at + 4)
    return FINE, protocol, at + head, total - head, piece, ident, 0, source, 0, target


@kernel
def ipv6(memory: Any, at: Any, stop: Any, end: Any) -> Any:
    """RFC 8200 3 and 4: the same of an IPv6 packet, behind its extension headers."""
    if at + 40 > stop:
        return SHORT, 0, at, 0, WHOLE, 0, 0, 0, 0, 0
    if byte(memory, at) >> 4 != 6:
        return BAD, 0, at, 0, WHOLE, 0, 0, 0, 0, 0
    size = be16(memory, at + 4)
    if size == 0:
        size = max(0, end - at - 40)
    bottom = at + 40 + size
    source_high, source_low = be64(memory, at + 8), be64(memory, at + 16)
    target_high, target_low = be64(memory, at + 24), be64(memory, at + 32)
    look, protocol, at, piece, ident = extensions(memory, byte(memory, at + 6), at + 40, stop, bottom)
    return look, protocol, at, bottom - at, piece, ident, source_high, source_low, target_high, target_low


@kernel
def extensions(memory: Any, protocol: Any, at: Any, stop: Any, bottom: Any) -> Any:
    """Step over extension headers: (look, protocol, where it begins, piece, identification).

    What a fragment carries is not looked into, it may have to be put together first.
    """
    piece, ident = WHOLE, 0
    while piece == WHOLE and (
        protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY)
    ):
        if at + 8 > bottom:
            return BAD, protocol, at, WHOLE, 0
        if at + 8 > stop:
            return SHORT, protocol, at, WHOLE, 0
        length = 8 + 8 * byte(memory, at + 1)
        if protocol == AUTHENTICATION:
            length = 8 + 4 * byte(memory, at + 1)
        elif protocol == FRAGMENT:
            length = 8
            piece = be16(memory, at + 2) & MOST_PIECE
            ident = be32(memory, at + 4) + IPV6_IDENT
        protocol = byte(memory, at)
        at += length
    if at > bottom:
        return BAD, protocol, at, WHOLE, 0
    return FINE, protocol, at, piece, ident
