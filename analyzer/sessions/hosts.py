"""Who is who: addresses, the names hosts give themselves, when they were last heard.

In: the host table of the frames stage, names seen in calls. Out: look-ups both ways.

Theory. AUTH_SYS carries a machine name with every call and NLM a caller_name: the cheapest passive
name service there is. Names are compared folded (lower case) and by their first label, for one host
calls itself `client1` in one place and `client1.example.net` in the next.

Never: asks a resolver.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from analyzer.tables import Hosts as HostTable

SHORTEST_CUT = 31  # systems cut long names off somewhere, none before this
NAMES_PER_HOST = 16  # a host that uses more names than this is a NAT; the first ones tell
NOBODYS = {b"localhost", b""}  # names that tell no host from another


def address_text(high: int, low: int) -> str:
    """Canonical text of a 16-byte address: IPv4-mapped as IPv4, else RFC 5952."""
    raw = (high & (2**64 - 1)).to_bytes(8, "big") + (low & (2**64 - 1)).to_bytes(8, "big")
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


def fold(name: bytes) -> bytes:
    """The first label of a host name in lower case; an IPv4 address is kept whole."""
    name = name.rstrip(b"\0").lower()
    if name.replace(b".", b"").isdigit():
        return name
    return name.split(b".", 1)[0]


def is_odd_name(name: bytes) -> bool:
    """Whether this cannot be the name of a host: a path, a format string, a hidden file, a cut string.

    A scope (`fe80::1%eth0`) is no format string.
    """
    name = name.rstrip(b"\0")
    address, _, scope = name.partition(b"%")
    scoped = b":" in address and scope.isalnum()
    return b"/" in name or b"\0" in name or name[:1] == b"." or (b"%" in name and not scoped)


def is_other_name(name: bytes | None, other: bytes) -> bool:
    """Whether no host can have both names: neither is longer than the other, nor cut off."""
    return name is None or fold(name)[:SHORTEST_CUT] != fold(other)[:SHORTEST_CUT]


class Hosts:
    """Names and signs of life of the hosts of a capture."""

    def __init__(self) -> None:
        self.table: HostTable | None = None
        self.alias: Callable[[str], str] | None = None  # what addresses are shown as, if not as they are
        self._addresses: dict[int, str] = {}
        self.names: dict[int, list[bytes]] = {}
        self._by_name: dict[bytes, list[int]] = {}

    def address(self, host: int) -> str:
        """The address of a host as text."""
        text = self._addresses.get(host)
        if text is None:
            assert self.table is not None
            text = address_text(int(self.table.high[host]), int(self.table.low[host]))
            if self.alias is not None:
                text = self.alias(text)
            self._addresses[host] = text
        return text

    def name(self, host: int, name: bytes | None) -> None:
        """Note that `host` called itself `name`."""
        if not name:
            return
        known = self.names.get(host)
        if known is None:
            known = self.names[host] = []
        elif name in known:
            return
        if len(known) >= NAMES_PER_HOST:
            return
        known.append(name)
        owners = self._by_name.setdefault(fold(name), [])
        if host not in owners:
            owners.append(host)

    def forget(self, host: int) -> None:
        """Forget what a host called itself."""
        self._addresses.pop(host, None)
        for name in self.names.pop(host, ()):
            owners = self._by_name.get(fold(name), [])
            if host in owners:
                owners.remove(host)
            if not owners:
                self._by_name.pop(fold(name), None)

    def named(self, name: bytes) -> list[int]:
        """The hosts that called themselves `name`, or whose address it spells."""
        folded = fold(name)
        return self._by_name.get(folded, []) or [
            host for host in self.names if self.address(host).encode() == folded
        ]

    def is_named(self, host: int, name: bytes) -> bool:
        """Whether `host` is known by `name`."""
        return host in self._by_name.get(fold(name), ()) or self.spells(host, name)

    def spells(self, host: int, name: bytes) -> bool:
        """Whether a name is the address of `host` as text."""
        return self.address(host).encode() == fold(name)

    def is_first(self, host: int, name: bytes) -> bool:
        """Whether `name` is what `host` called itself first."""
        return fold(name) == fold(self.names.get(host, [b""])[0])

    def share_a_name(self, host: int, other: int) -> bool:
        """Whether two addresses call themselves by one name, and so may be one machine's."""
        theirs = {fold(name) for name in self.names.get(other, ())} - NOBODYS
        return any(fold(name) in theirs for name in self.names.get(host, ()))

    def are_one(self, host: int, other: int) -> bool:
        """Whether a host talks to itself."""
        address = self.address(host)
        return host == other or address == "::1" or address.startswith("127.")

    def packets(self, host: int) -> int:
        """How many packets of `host` were captured."""
        assert self.table is not None
        return int(self.table.packets[host])

    def last_seen(self, host: int) -> tuple[int, int]:
        """Frame and time of the last packet that `host` sent; (0, 0) if it never did."""
        assert self.table is not None
        return int(self.table.last_frame[host]), int(self.table.last_time[host])
