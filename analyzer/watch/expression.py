"""A capture filter that lets RPC programs through, on whatever port.

In: ports. Out: an expression of libpcap (pcap-filter(7)).

Theory. What has a known port passes. So does what shows by its bytes that it is ours, a datagram or segment
that begins with a call of one of our programs or with an accepted reply: so a service on a port that nobody
told passes from its first call on, which is how its port becomes known. A filter by ports alone would lose
what has none: fragments but the first, what ICMP says of a port, what is wrapped in a tunnel or a tag; all of
these pass, and the beginnings and ends of all connections. What does not pass before the port is known: bare
acknowledgements, and messages that do not begin where their segment does.

libpcap looks into TCP and UDP of IPv4 only; for IPv6 the same is said by offsets.

Never: lets through less than the expression for fewer ports did.
"""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.protocols import LABELS

HEADER_6 = 40  # bytes of an IPv6 header
UDP_HEADER, MARK = 8, 4  # bytes before the xid, in a datagram and in a segment
CALL, REPLY, RPC_VERSION, ACCEPTED, NO_VERIFIER = 0, 1, 2, 0, (0, 0)
PORTLESS = (
    "tcp[13] & 7 != 0",  # SYN, FIN, RST
    f"(ip6[6] = 6 and ip6[{HEADER_6 + 13}] & 7 != 0)",
    *("icmp", "icmp6"),
    *("ip[6:2] & 0x1fff != 0", "ip6[6] = 44"),  # fragments but the first; of IPv6 all
)
WRAPPED = (
    *(f"{ip} proto {number}" for ip in ("ip", "ip6") for number in (4, 41, 47)),  # IP in IP, GRE
    *(f"udp port {number}" for number in (4789, 6081)),  # VXLAN, GENEVE
    *(f"ether proto {number:#x}" for number in (0x8100, 0x88A8, 0x8847, 0x8848, 0x8864)),  # tags, MPLS, PPPoE
)


def expression(ports: Iterable[int]) -> str:
    """The filter, when these ports are known."""
    known = (f"port {port}" for port in sorted(ports))
    return " or ".join((*known, *PORTLESS, *WRAPPED, *_shown_by_bytes()))


def _shown_by_bytes() -> tuple[str, ...]:
    """Calls and replies on any port. They come last: a packet too short to be asked is refused at once."""
    segment4, segment6 = "((tcp[12] & 0xf0) >> 2)", f"((ip6[{HEADER_6 + 12}] & 0xf0) >> 2)"
    return (
        _rpc("udp", f"{UDP_HEADER}"),
        _rpc("tcp", f"{segment4} + {MARK}"),
        f"(ip6[6] = 17 and {_rpc('ip6', f'{HEADER_6 + UDP_HEADER}')})",
        f"(ip6[6] = 6 and {_rpc('ip6', f'{segment6} + {HEADER_6 + MARK}')})",
    )


def _rpc(layer: str, xid: str) -> str:
    """A call of one of our programs, or an accepted reply (RFC 5531 9), whose xid is there."""

    def word(number: int, value: int) -> str:
        return f"{layer}[{xid} + {4 * number} : 4] = {value}"

    programs = " or ".join(word(3, program) for program in sorted(LABELS))
    call = f"{word(1, CALL)} and {word(2, RPC_VERSION)} and ({programs})"
    reply = f"{word(1, REPLY)} and {word(2, ACCEPTED)}"
    reply += "".join(f" and {word(at, value)}" for at, value in enumerate(NO_VERIFIER, 3))
    return f"(({call}) or ({reply}))"
