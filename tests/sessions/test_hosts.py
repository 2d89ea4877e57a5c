"""Hosts: names as they are compared, addresses as they are written."""

import pytest

from analyzer.sessions.hosts import address_text, fold
from tests.findings.lab import Lab
from tests.sessions.view import View


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        (b"Alice", b"alice"),
        (b"alice.example.net", b"alice"),
        (b"alice\0\0", b"alice"),
        (b"192.0.2.7", b"192.0.2.7"),
        (b"", b""),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_fold(name: bytes, folded: bytes) -> None:
    """Trap 31."""
    assert fold(name) == folded


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ((0, 0xFFFF_C000_0201), "192.0.2.1"),
        ((0x20010DB8_00000000, 1), "2001:db8::1"),
        ((-(1 << 63), 0), "8000::"),
        ((0, 1), "::1"),
    ],
)
def test_address_text(address: tuple[int, int], text: str) -> None:
    """Trap 30."""
    assert address_text(*address) == text


def test_a_host_is_known_by_every_name_it_gives_itself(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, caller_name="ALICE.example.net")
    lab.bob.lock(db, 1, 5, 5, caller_name="robert", reply="DENIED")
    view = View(lab)
    hosts = view.s.hosts
    (alice,) = hosts.named(b"alice")
    assert view.name(alice) == "alice"
    assert hosts.is_named(alice, b"alice.elsewhere")
    assert hosts.is_named(alice, b"192.0.2.21")
    assert not hosts.is_named(alice, b"robert")
    assert [view.name(host) for host in hosts.named(b"ROBERT")] == ["bob"]
    assert hosts.named(b"192.0.2.22") == hosts.named(b"bob")
    assert hosts.named(b"nobody") == []


def test_a_servers_grant_does_not_name_the_server_after_its_client(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 1, caller_name="bob")
    view = View(lab)
    assert [view.name(host) for host in view.s.hosts.named(b"bob")] == ["bob"]


def test_a_host_that_uses_very_many_names_is_remembered_by_the_first(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for number in range(40):
        lab.alice.lock(db, 1, caller_name=f"name{number}")
    hosts = View(lab).s.hosts
    assert all(len(names) <= 16 for names in hosts.names.values())
    assert hosts.named(b"name3")
    assert not hosts.named(b"name39")
