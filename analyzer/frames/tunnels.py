"""IP packets in IP packets, and the innermost of them.

In: an IP header as `ip` tells it. Out: that of the packet which the hosts at the ends exchanged.

Theory. A tunnel is one more link layer: the hosts of an NFS mount know nothing of it. What is carried
names itself by an EtherType, as on a cable, or by the protocol that carries it; a few fixed bytes
stand before it. UDP has tunnels on ports that anybody may use, so these are believed only where
an IP packet in good order, or the cut beginning of one, is inside; else the outer packet is the
packet. The same goes for GRE with something in it that is no IP. Packets may be wrapped several times
(a mirror session of a switch wraps what was wrapped already), but not without end.

Never: puts fragments together.
"""

from __future__ import annotations

from typing import Any

from analyzer.frames.ip import FINE, SHORT, WHOLE, ipv4, ipv6
from analyzer.frames.link import BRIDGED, CUT, ETHER_IPV4, ETHER_IPV6, ETHER_MPLS, IPV4, IPV6, behind_type
from analyzer.frames.words import be16, be32, byte
from analyzer.kernels import kernel
from analyzer.tables import UDP

MOST_LAYERS = 8

# IP protocols: RFC 2003, RFC 4213, RFC 2784, RFC 3378, RFC 4023
IN_IP, IN_IP6, GRE, ETHER_IP, MPLS_IN_IP = 4, 41, 47, 97, 137

# UDP ports: RFC 7348, what Linux used before it, RFC 8926
VXLAN, VXLAN_OLD, GENEVE = 4789, 8472, 6081

# GRE (RFC 2784, RFC 2890): flags, and what switches put in it to mirror traffic (draft-foschiano-erspan)
GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE, GRE_KNOWN = 0x8000, 0x2000, 0x1000, 0xB000
ERSPAN, ERSPAN_3 = 0x88BE, 0x22EB
ERSPAN_LONGER = 1  # the last bit of its header: a subheader of 8 bytes follows


@kernel
def innermost(memory: Any, stop: Any, header: Any) -> Any:
    """The header of the packet inside, or `header` itself where it carries no other."""
    for _layer in range(MOST_LAYERS):
        look, protocol, at, size, piece, ident, high, low, to_high, to_low = header
        if look != FINE or piece != WHOLE:
            break
        bottom = at + size
        stop = min(stop, bottom)
        kind, at = carried(memory, at, stop, protocol)
        if kind == 0:
            break
        kind, at = behind_type(memory, at, stop, kind)
        if kind == CUT:
            header = (SHORT, protocol, at, 0, WHOLE, ident, high, low, to_high, to_low)
            break
        if kind not in (IPV4, IPV6):
            break
        inner = ipv4(memory, at, stop, bottom) if kind == IPV4 else ipv6(memory, at, stop, bottom)
        if inner[0] not in (FINE, SHORT) or inner[2] + inner[3] > bottom:
            break
        header = inner
    return header


@kernel
def carried(memory: Any, at: Any, stop: Any, protocol: Any) -> Any:
    """The EtherType of what a packet carries, and where it begins; 0 if the packet is no tunnel."""
    if protocol == UDP:
        if at + 16 <= stop:
            port = be16(memory, at + 2)
            if port in (VXLAN, VXLAN_OLD):
                return behind_vxlan(memory, at + 8)
            if port == GENEVE:
                return behind_geneve(memory, at + 8)
    elif protocol == GRE:
        return behind_gre(memory, at, stop)
    elif protocol == IN_IP:
        return ETHER_IPV4, at
    elif protocol == IN_IP6:
        return ETHER_IPV6, at
    elif protocol == MPLS_IN_IP:
        return ETHER_MPLS, at
    elif protocol == ETHER_IP:
        return BRIDGED, at + 2
    return 0, at


@kernel
def behind_vxlan(memory: Any, at: Any) -> Any:
    """RFC 7348 5: a flag, a number, and zeros between."""
    if be32(memory, at) != 0x08000000 or byte(memory, at + 7) != 0:
        return 0, at
    return BRIDGED, at + 8


@kernel
def behind_geneve(memory: Any, at: Any) -> Any:
    """RFC 8926 3.4: version 0, options by their length in 4-byte words, an EtherType."""
    first = byte(memory, at)
    if first >> 6 != 0 or byte(memory, at + 7) != 0:
        return 0, at
    return be16(memory, at + 2), at + 8 + (first & 0x3F) * 4


@kernel
def behind_gre(memory: Any, at: Any, stop: Any) -> Any:
    """RFC 2890 2, and ERSPAN: type I has no header of its own, and no sequence number."""
    if at + 4 > stop:
        return 0, at
    flags, kind = be16(memory, at), be16(memory, at + 2)
    if flags & ~GRE_KNOWN & 0xFFFF:
        return 0, at
    at += 4
    for flag in (GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE):
        if flags & flag:
            at += 4
    if kind == ERSPAN:
        return BRIDGED, at + 8 if flags & GRE_SEQUENCE else at
    if kind == ERSPAN_3:
        if at + 12 > stop:
            return 0, at
        return BRIDGED, at + 20 if byte(memory, at + 11) & ERSPAN_LONGER else at + 12
    return kind, at
