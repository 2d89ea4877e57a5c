"""Link layers to IP packets.

In: a captured packet and its LINKTYPE_. Out: where its IP packet begins, and which IP.

Theory. A link layer is what stands before IP, and that is all we want of it: an EtherType
behind any stack of VLAN tags and MPLS labels, a protocol field of Linux's cooked headers, an LLC
header, an address family in the byte order of whoever recorded it, or nothing at all. Every
step goes on by some bytes, so a stack ends with the packet at the latest.

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
TOKEN_RING, PPP, FDDI, PPP_HDLC, PPPOE, LLC, CISCO_HDLC, MPLS = 6, 9, 10, 50, 51, 100, 104, 219

# what is behind the link layer
IPV4, IPV6, OTHER, CUT, UNKNOWN = 4, 6, 0, -1, -2

ETHER_IPV4, ETHER_IPV6 = 0x0800, 0x86DD
VLAN, QINQ, QINQ_OLD = 0x8100, 0x88A8, 0x9100
ETHER_MPLS, ETHER_MPLS_MULTICAST, ETHER_PPPOE = 0x8847, 0x8848, 0x8864
BRIDGED = 0x6558  # an Ethernet frame (RFC 1701)
LONGEST_LENGTH = 1500  # an EtherType field up to here is an IEEE 802.3 length
SNAP, LLC_IP = 0xAAAA, 0x0606  # both service access points of an LLC header
PPP_IPV4, PPP_IPV6, PPP_MPLS = 0x21, 0x57, 0x281  # RFC 1332, RFC 5072, RFC 3032
PPP_ADDRESS = 0xFF03  # RFC 1662: address and control, which may be left out
SOURCE_ROUTED = 0x80  # the first bit of a token ring's source address

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
    return behind_rare_link(memory, at, stop, link)


@kernel
def behind_rare_link(memory: Any, at: Any, stop: Any, link: Any) -> Any:
    """The same for link layers of other times and places."""
    kind = 0  # no EtherType but a length: an LLC header follows
    if link == FDDI:  # frame control, both addresses (RFC 1390)
        at += 13
        if at > stop:
            return CUT, stop
        if byte(memory, at - 13) >> 4 != 5:  # no LLC frame: management of the ring
            return OTHER, at
    elif link == TOKEN_RING:  # access control, frame control, both addresses, perhaps a route
        at += 14
        if at + 1 > stop:
            return CUT, stop
        if byte(memory, at - 6) & SOURCE_ROUTED:
            at += byte(memory, at) & 0x1F
    elif link in (PPP, PPP_HDLC):
        return behind_ppp(memory, at, stop)
    elif link == PPPOE:
        kind = ETHER_PPPOE
    elif link == CISCO_HDLC:
        if at + 4 > stop:
            return CUT, stop
        kind, at = be16(memory, at + 2), at + 4
    elif link == MPLS:
        kind = ETHER_MPLS
    elif link != LLC:
        return UNKNOWN, at
    return behind_type(memory, at, stop, kind)


@kernel
def behind_type(memory: Any, at: Any, stop: Any, ether_type: Any) -> Any:
    """What follows an EtherType field that ends at `at`, behind any stack of tags and labels."""
    while ether_type not in (ETHER_IPV4, ETHER_IPV6):
        if ether_type in (VLAN, QINQ, QINQ_OLD):
            if at + 4 > stop:
                return CUT, stop
            ether_type = be16(memory, at + 2)
            at += 4
        elif ether_type <= LONGEST_LENGTH:
            if at + 8 > stop:
                return OTHER, at
            points = be16(memory, at)
            if points == LLC_IP:
                return IPV4, at + 3
            # RFC 1042: SNAP with an organization code of 0 holds an EtherType
            if points != SNAP or be16(memory, at + 3) != 0 or byte(memory, at + 5) != 0:
                return OTHER, at
            ether_type = be16(memory, at + 6)
            at += 8
            if ether_type <= LONGEST_LENGTH:
                return OTHER, at
        elif ether_type == BRIDGED:
            if at + 14 > stop:
                return CUT, stop
            ether_type = be16(memory, at + 12)
            at += 14
        elif ether_type in (ETHER_MPLS, ETHER_MPLS_MULTICAST):
            if at + 5 > stop:
                return CUT, stop
            if byte(memory, at + 2) & 1:  # the bottom of the stack (RFC 3032 2.1)
                ether_type = behind_labels(byte(memory, at + 4) >> 4)
                if byte(memory, at + 4) >> 4 == 0:
                    at += 4
            at += 4
        elif ether_type == ETHER_PPPOE:  # RFC 2516 4
            if at + 6 > stop:
                return CUT, stop
            return behind_ppp(memory, at + 6, stop)
        else:
            return OTHER, at
    if ether_type == ETHER_IPV4:
        return IPV4, at
    return IPV6, at


@kernel
def behind_labels(first: Any) -> Any:
    """What labels carry, by its first four bits: nothing else tells (RFC 4928).

    A frame of a pseudowire follows, behind a control word that begins with 0 (RFC 4448 4.6) or none.
    """
    if first == IPV4:
        return ETHER_IPV4
    if first == IPV6:
        return ETHER_IPV6
    return BRIDGED


@kernel
def behind_ppp(memory: Any, at: Any, stop: Any) -> Any:
    """RFC 1661 2: a protocol of two bytes, or of one, which is odd; address and control before it."""
    if at + 4 > stop:
        return CUT, stop
    if be16(memory, at) == PPP_ADDRESS:
        at += 2
    protocol = byte(memory, at)
    at += 1
    if protocol & 1 == 0:
        protocol = protocol << 8 | byte(memory, at)
        at += 1
    if protocol == PPP_IPV4:
        return IPV4, at
    if protocol == PPP_IPV6:
        return IPV6, at
    if protocol == PPP_MPLS and at + 5 <= stop and byte(memory, at + 2) & 1:
        version = byte(memory, at + 4) >> 4
        if version in (IPV4, IPV6):
            return version, at + 4
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
