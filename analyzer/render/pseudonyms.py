"""Pseudonyms: other names, other addresses, of the same length and structure.

In: a key, and what is to be replaced. Out: its pseudonym, the same for the same key and input.

Theory. Every replacement is a permutation that the key chooses: of the digits of a number, of the letters of
a word. So two names never become one, nothing has to be remembered, and a name that is found in a path, an
owner and a message of the mount protocol becomes the same everywhere. The permutation is a Feistel network
over as many bits as the values need, applied again until the result is a value again (cycle walking, as in
NIST SP 800-38G). Lengths stay, because a message is rewritten in its place. Addresses keep their prefixes:
what shared a network shares one afterwards. What every host shares (loopback, multicast, link-local
prefixes, `localhost`, `*`) stays.

Never: reads or keeps what it replaced; chooses a key.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

ROUNDS = 8
MOST_CACHED = 1 << 16
WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]+")
TAIL = rb"((?:\.\d{1,3}\.\d{1,3})?(?:/\d{1,3})?)(?![0-9A-Za-z:])"
"""Behind an address: the port of a universal address (RFC 1833), the length of a prefix."""
DOTTED = re.compile(rb"(?<![0-9A-Za-z.])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})" + TAIL)
COLONS = re.compile(rb"(?<![0-9A-Za-z:])([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})" + TAIL)
COMMON = (b"localhost", b"localdomain")
OWNER = re.compile(rb"(\d+)@(.*)", re.DOTALL)
CLASSES = (range(0x30, 0x3A), range(0x41, 0x5B), range(0x61, 0x7B), range(0x80, 0x100))
DECIMAL = (range(10), range(10, 100), range(100, 256))
FIRST = (range(1, 10), range(10, 100), (*range(100, 127), *range(128, 224)))
HEX = (range(1), range(1, 0x10), range(0x10, 0x100), range(0x100, 0x1000), range(0x1000, 0x10000))
FIRST_HEX = (*HEX[:4], range(0x1000, 0xFE00))


class Pseudonyms:
    """Replaces by a key."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32).digest()
        cached: Callable[..., Callable[[bytes], bytes]] = lru_cache(MOST_CACHED)
        self.text = cached(self._text)
        self.owner = cached(self._owner)
        self.handle = cached(self._handle)
        self.address = cached(self._address)
        self.mac = cached(self._mac)

    # -- text ---------------------------------------------------------------------------------

    def _text(self, text: bytes) -> bytes:
        """Names and paths: each word replaced, what is between them kept; addresses as addresses."""
        out = bytearray(text)
        done = [False] * len(text)
        for pattern in (DOTTED, COLONS):
            for found in pattern.finditer(text):
                new = self._spelled(found.group(1))
                if len(new) == len(found.group(1)):
                    out[found.start() : found.end(1)] = new
                    done[found.start() : found.end()] = [True] * len(found.group())
        for found in WORD.finditer(text):
            if not any(done[found.start() : found.end()]) and found.group().lower() not in COMMON:
                out[found.start() : found.end()] = self._word(found.group())
        return bytes(out)

    def _word(self, word: bytes) -> bytes:
        """A word of as many letters, capitals and digits, at the same places."""
        kinds = [next(kind for kind in CLASSES if byte in kind) for byte in word]
        size, value = 1, 0
        for byte, kind in zip(word, kinds, strict=True):
            size, value = size * len(kind), value * len(kind) + byte - kind[0]
        value = self._permuted(b"word" + bytes(kind[0] for kind in kinds), value, size)
        out = bytearray()
        for kind in reversed(kinds):
            value, place = divmod(value, len(kind))
            out.append(kind[place])
        return bytes(reversed(out))

    def _owner(self, owner: bytes) -> bytes:
        """The owner of a lock: `svid@host` keeps the number, other text is a name, the rest is words."""
        if found := OWNER.fullmatch(owner):
            return found.group(1) + b"@" + self.text(found.group(2))
        return self.text(owner) if owner.isascii() and owner.decode().isprintable() else self._words(owner, 0)

    def _handle(self, handle: bytes) -> bytes:
        """A file handle: the head, which says how it is made, stays."""
        return self._words(handle, 4)

    def _words(self, data: bytes, begin: int) -> bytes:
        """Each group of four bytes replaced; those that are zero stay, they are padding as often as not."""
        out = bytearray(data[:begin])
        for at in range(begin, len(data), 4):
            part = data[at : at + 4]
            value = int.from_bytes(part, "big")
            if value:
                value = 1 + self._permuted(
                    b"part" + at.to_bytes(4, "big"), value - 1, (1 << 8 * len(part)) - 1
                )
            out += value.to_bytes(len(part), "big")
        return bytes(out)

    # -- addresses ----------------------------------------------------------------------------

    def host(self, address: str) -> str:
        """An address as text."""
        return str(ipaddress.ip_address(self.address(ipaddress.ip_address(address).packed)))

    def _address(self, packed: bytes) -> bytes:
        """An address of 4 or 16 bytes."""
        if len(packed) == 4:
            return self._ip4(packed)
        mapped = ipaddress.IPv6Address(packed).ipv4_mapped
        return packed[:12] + self._ip4(mapped.packed) if mapped is not None else self._ip6(packed)

    def _ip4(self, packed: bytes) -> bytes:
        if packed[0] in (0, 127) or packed[0] >= 224:
            return packed
        return bytes(self._digits(b"ip4", list(packed), FIRST, DECIMAL))

    def _ip6(self, packed: bytes) -> bytes:
        address = ipaddress.IPv6Address(packed)
        if address.is_multicast:
            return packed[:13] + self._words(packed[13:], 0)
        if address.is_unspecified or address.is_loopback:
            return packed
        groups = [int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2)]
        kept = 4 if address.is_link_local else 0
        if not kept and groups[0] >= 0xFE00:
            kept = 1
        first = HEX if kept else FIRST_HEX
        new = groups[:kept] + self._digits(b"ip6" + packed[: 2 * kept], groups[kept:], first, HEX)
        return b"".join(group.to_bytes(2, "big") for group in new)

    def _digits(
        self,
        tweak: bytes,
        numbers: list[int],
        first: tuple[range | tuple[int, ...], ...],
        others: tuple[range | tuple[int, ...], ...],
    ) -> list[int]:
        """Numbers of as many digits; each depends on those before it, so that prefixes stay."""
        out = []
        for at, number in enumerate(numbers):
            kind = next(kind for kind in (others if at else first) if number in kind)
            out.append(kind[self._permuted(tweak, kind.index(number), len(kind))])
            tweak += number.to_bytes(2, "big")
        return out

    def _spelled(self, text: bytes) -> bytes:
        """An address in text; nothing where it is none."""
        try:
            return self.host(text.decode()).encode()
        except ValueError:
            return b""

    def _mac(self, mac: bytes) -> bytes:
        """A hardware address: a group address stays one, any other becomes locally administered."""
        if mac in (b"\xff" * len(mac), bytes(len(mac))):
            return mac
        value = self._permuted(b"mac", int.from_bytes(mac[1:], "big"), 1 << 8 * (len(mac) - 1))
        return bytes((2 | mac[0] & 1,)) + value.to_bytes(len(mac) - 1, "big")

    # -- permutations -------------------------------------------------------------------------

    def _permuted(self, tweak: bytes, value: int, size: int) -> int:
        """The place of `value` in a permutation of 0..size-1 that key and tweak choose."""
        if size < 2:
            return value
        half = ((size - 1).bit_length() + 1) // 2
        mask = (1 << half) - 1
        while True:
            left, right = value >> half, value & mask
            for number in range(ROUNDS):
                left, right = right, left ^ self._mixed(tweak, number, right, half)
            value = left << half | right
            if value < size:
                return value

    def _mixed(self, tweak: bytes, number: int, value: int, bits: int) -> int:
        """So many bits that nobody foresees without the key."""
        size = (bits + 7) // 8
        said = b"%d.%d.%d." % (len(tweak), number, bits) + tweak + value.to_bytes(size, "big")
        drawn = hashlib.shake_256(self._key + said).digest(size)
        return int.from_bytes(drawn, "big") & ((1 << bits) - 1)
