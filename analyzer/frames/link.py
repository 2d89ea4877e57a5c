"""Link layers to IP packets.

In: a captured packet and its LINKTYPE_. Out: where its IP packet begins, and which IP.

Theory. A link layer is what stands before IP, and that is all we want of it: an EtherType
behind any stack of VLAN tags, a protocol field of Linux's cooked headers, an address family
in the byte order of whoever recorded it, or nothing at all.

Never: looks at addresses of the link; drops a packet: what is no IP is told apart from
what is cut off and from what we do not know.
"""

from __future__ import annotations

from typing import Any

from analyzer.frames.words import be16, be32, byte
from analyzer.kernels import kernel

# LINKTYPE_ values (www.tcpdump.org/linktypes.html); 12 and 14 are raw IP as some BSDs number it
NULL, ETHERNET, RAW_BSD, RAW_BSDOS, RAW, LOOP, SLL = 0, 1, 12, 14, 101, 108, 113
IPV4_ONLY, IPV6_ONLY, SLL2 = 228, 229, 276

# what is behind the link layer
IPV4, IPV6, OTHER, CUT, UNKNOWN = 4, 6, 0, -1, -2

ETHER_IPV4, ETHER_IPV6 = 0x0800, 0x86DD
VLAN, QINQ, QINQ_OLD = 0x8100, 0x88A8, 0x9100
LONGEST_LENGTH = 1500  # an EtherType field up to here is an IEEE 802.3 length
SNAP, LLC_IP = 0xAAAA, 0x0606  # both service access points of an LLC header

# AF_INET6 of Linux, BSD/OS and NetBSD, FreeBSD, and macOS; AF_INET is 2 everywhere
AF_INET, AF_INET6 = 2, (10, 24, 28, 30)


@kernel
def find_ip(memory: Any, at: Any, stop: Any, link: Any) -> Any:
    """What the packet carries, and where that begins."""
    if link == ETHERNET:
        if at + 14 > stop:
            return CUT, stop
        return behind_type(memory, at + 14, stop, be16(memory, at + 12))
    if link == SLL:
        if at + 16 > stop:
            return CUT, stop
        return behind_type(memory, at + 16, stop, be16(memory, at + 14))
    if link == SLL2:
        if at + 20 > stop:
            return CUT, stop
        return behind_type(memory, at + 20, stop, be16(memory, at))
    if link in (RAW, RAW_BSD, RAW_BSDOS, IPV4_ONLY, IPV6_ONLY):
        if at >= stop:
            return CUT, stop
        version = byte(memory, at) >> 4
        if version in (IPV4, IPV6):
            return version, at
        return OTHER, at
    if link in (NULL, LOOP):
        if at + 4 > stop:
            return CUT, stop
        return behind_family(be32(memory, at)), at + 4
    return UNKNOWN, at


@kernel
def behind_type(memory: Any, at: Any, stop: Any, ether_type: Any) -> Any:
    """What follows an EtherType field that ends at `at`."""
    while ether_type in (VLAN, QINQ, QINQ_OLD):
        if at + 4 > stop:
            return CUT, stop
        ether_type = be16(memory, at + 2)
        at += 4
    if ether_type == ETHER_IPV4:
        return IPV4, at
    if ether_type == ETHER_IPV6:
        return IPV6, at
    if ether_type <= LONGEST_LENGTH and at + 3 <= stop:
        points = be16(memory, at)
        if points == LLC_IP:
            return IPV4, at + 3
        # RFC 1042: SNAP with an organization code of 0 holds an EtherType
        if points == SNAP and at + 8 <= stop and be16(memory, at + 3) == 0 and byte(memory, at + 5) == 0:
            inner = be16(memory, at + 6)
            if inner == ETHER_IPV4:
                return IPV4, at + 8
            if inner == ETHER_IPV6:
                return IPV6, at + 8
    return OTHER, at


@kernel
def behind_family(family: Any) -> Any:
    """What follows an address family, written in the byte order of the recording host."""
    if family & 0xFFFF == 0:
        family = ((family >> 24) & 0xFF) | ((family >> 8) & 0xFF00)
    if family == AF_INET:
        return IPV4
    if family in AF_INET6:
        return IPV6
    return OTHER
