"""Pseudonyms: one for each, of the same length, with the structure kept."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.render.pseudonyms import Pseudonyms

NAMES = Pseudonyms(b"one key")
OTHERS = Pseudonyms(b"another key")


def shape(text: bytes) -> list[str]:
    """What kind of character stands where."""
    return [
        "digit" if chr(c).isdigit() and c < 128 else "small" if 97 <= c < 123 else "capital" if 65 <= c < 91
        else "high" if c > 127 else chr(c)
        for c in text
    ]  # fmt: skip


@given(st.binary(max_size=300))
def test_shape_stays(text: bytes) -> None:
    made = NAMES.text(text)
    if b":" not in text and b"." not in text:
        assert shape(made) == shape(text)
    assert len(made) == len(text)
    assert made == NAMES.text(text)


@pytest.mark.parametrize("kinds", [("a", "z"), ("0", "9"), ("A", "Z")])
def test_no_two_become_one(kinds: tuple[str, str]) -> None:
    letters = [chr(c) for c in range(ord(kinds[0]), ord(kinds[1]) + 1)]
    words = {f"{one}{two}".encode() for one in letters for two in letters}
    assert {NAMES.text(word) for word in words} == words


@given(st.lists(st.binary(min_size=1, max_size=64), unique=True, max_size=20))
def test_no_two_handles_become_one(handles: list[bytes]) -> None:
    made = [NAMES.handle(handle) for handle in handles]
    assert len(set(made)) == len(handles)
    assert all(new[:4] == old[:4] and len(new) == len(old) for old, new in zip(handles, made, strict=True))


def test_a_padded_handle_is_the_same_handle() -> None:
    handle = bytes((1, 0, 6, 1)) + bytes(range(1, 25))
    assert NAMES.handle(handle + bytes(4)) == NAMES.handle(handle) + bytes(4)


def test_parts_are_the_same_everywhere() -> None:
    host, path = NAMES.text(b"client1"), NAMES.text(b"/export/dir/a.dat")
    assert NAMES.text(b"client1.example.net").startswith(host + b".")
    assert NAMES.owner(b"17@client1") == b"17@" + host
    assert path.split(b"/")[3] == NAMES.text(b"a.dat")
    assert path.count(b"/") == 3


def test_keys_differ() -> None:
    assert NAMES.text(b"client1") != OTHERS.text(b"client1") != b"client1"
    assert NAMES.host("192.0.2.1") != OTHERS.host("192.0.2.1")


@pytest.mark.parametrize("same", [b"localhost", b"*", b"/", b"..", b"", b"LocalHost"])
def test_what_names_nobody_stays(same: bytes) -> None:
    assert NAMES.text(same) == same


@pytest.mark.parametrize("same", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "::", "::1"])
def test_what_every_host_has_stays(same: str) -> None:
    assert NAMES.host(same) == same


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_addresses_keep_prefixes_and_length(one: ipaddress.IPv4Address, two: ipaddress.IPv4Address) -> None:
    made = [ipaddress.ip_address(NAMES.host(str(each))) for each in (one, two)]
    assert (made[0] == made[1]) == (one == two)
    assert [len(str(each)) for each in made] == [len(str(one)), len(str(two))]
    if one.packed[0] == two.packed[0]:
        assert made[0].packed[0] == made[1].packed[0]
    assert NAMES.text(str(one).encode()) == str(made[0]).encode()


@given(st.ip_addresses(v=6))
def test_ip6(one: ipaddress.IPv6Address) -> None:
    made = ipaddress.IPv6Address(NAMES.address(one.packed))
    assert made.is_multicast == one.is_multicast
    assert made.is_link_local == one.is_link_local
    assert made.is_loopback == one.is_loopback
    if not one.is_multicast and one.ipv4_mapped is None:
        assert len(str(made)) == len(str(one))


@pytest.mark.parametrize(
    ("text", "address", "rest"),
    [
        (b"192.0.2.1.8.1", b"192.0.2.1", b".8.1"),
        (b"192.0.2.0/24", b"192.0.2.0", b"/24"),
        (b"fd77::10.8.1", b"fd77::10", b".8.1"),
        (b"fd77::/64", b"fd77::", b"/64"),
    ],
)
def test_what_stands_behind_an_address_stays(text: bytes, address: bytes, rest: bytes) -> None:
    assert NAMES.text(text) == NAMES.text(address) + rest
    assert NAMES.text(address) == NAMES.host(address.decode()).encode() != address


def test_hardware_addresses() -> None:
    card, group = bytes.fromhex("525400100101"), bytes.fromhex("01005e000001")
    assert NAMES.mac(card)[0] == 2
    assert NAMES.mac(group)[0] == 3
    assert NAMES.mac(card)[1:] != card[1:]
    assert NAMES.mac(b"\xff" * 6) == b"\xff" * 6
