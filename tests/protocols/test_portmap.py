from __future__ import annotations

import pytest

from analyzer.protocols.portmap import PORTMAP
from tests.protocols.checks import CALL, REPLY, assert_says, names, sizes

MAPPING = "prog vers prot port"
RPCB = "prog vers netid addr owner"


@pytest.mark.parametrize(
    ("number", "call", "reply"),
    [
        (0, "", ""),
        (1, MAPPING, "done"),
        (2, MAPPING, "done"),
        (3, MAPPING, "port"),
        (4, "", "mappings.prog mappings.vers mappings.prot mappings.port"),
        (5, "prog vers proc args", "port res"),
    ],
)
def test_portmap(number: int, call: str, reply: str) -> None:
    assert names((PORTMAP, 2, number), CALL) == call
    assert names((PORTMAP, 2, number), REPLY) == reply


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("number", "call", "reply"),
    [
        (0, "", ""),
        (1, RPCB, "done"),
        (2, RPCB, "done"),
        (3, RPCB, "addr"),
        (4, "", " ".join(f"mappings.{name}" for name in RPCB.split())),
        (5, "prog vers proc args", "addr res"),
        (6, "", "time"),
        (7, "addr", "maxlen buf"),
        (8, "maxlen buf", "addr"),
    ],
)
def test_rpcbind(version: int, number: int, call: str, reply: str) -> None:
    assert names((PORTMAP, version, number), CALL) == call
    assert names((PORTMAP, version, number), REPLY) == reply


def test_what_only_version_4_has() -> None:
    assert names((PORTMAP, 4, 9), CALL) == RPCB
    assert names((PORTMAP, 4, 9), REPLY) == "addr"
    assert names((PORTMAP, 4, 10), CALL) == "prog vers proc args"
    assert names((PORTMAP, 4, 10), REPLY) == "addr res"
    assert names((PORTMAP, 4, 11), REPLY).startswith("addresses.maddr addresses.nc_netid")
    # Per version of the protocol: 13 + 2 counters, two lists of two entries or of none.
    entries = 2 * (4 + 4 * 4 + 12) + 4 + 2 * (4 + 6 * 4 + 12) + 4
    assert sizes((PORTMAP, 4, 12), REPLY) == {3 * (15 * 4 + entries), 3 * (15 * 4 + 8)}


def test_a_look_up_of_linux() -> None:
    wire = "000186b5 00000004 00000004 74637036 0000000e 666437373a3a31302e302e3131310000 00000000"
    values = {"prog": 100021, "vers": 4, "netid": b"tcp6", "addr": b"fd77::10.0.111", "owner": b""}
    assert_says((PORTMAP, 4, 3), CALL, wire, values)
    wire = "0000000f 666437373a3a31302e3138302e333500"
    assert_says((PORTMAP, 4, 3), REPLY, wire, {"addr": b"fd77::10.180.35"})


def test_a_look_up_of_a_port() -> None:
    values = {"prog": 100021, "vers": 4, "prot": 6, "port": 0}
    assert_says((PORTMAP, 2, 3), CALL, "000186b5 00000004 00000006 00000000", values)
    assert_says((PORTMAP, 2, 3), REPLY, "00000801", {"port": 2049})
