from __future__ import annotations

import pytest

from analyzer.protocols.nsm import NSM
from analyzer.schema.columns import columns
from analyzer.schema.xdr import U32
from tests.protocols.checks import CALL, REPLY, assert_says, body, names

MY_ID = "my_name my_prog my_vers my_proc"


@pytest.mark.parametrize(
    ("number", "call", "reply"),
    [
        (0, "", ""),
        (1, "mon_name", "status state"),
        (2, f"mon_name {MY_ID} priv", "status state"),
        (3, f"mon_name {MY_ID}", "state"),
        (4, MY_ID, "state"),
        (5, "", ""),
        (6, "mon_name state", ""),
    ],
)
def test_columns(number: int, call: str, reply: str) -> None:
    assert names((NSM, 1, number), CALL) == call
    assert names((NSM, 1, number), REPLY) == reply


def test_statuses() -> None:
    status = columns(body((NSM, 1, 2), REPLY))[0].type
    assert isinstance(status, U32)
    assert status.names == {0: "STAT_SUCC", 1: "STAT_FAIL"}


def test_a_notice_of_linux() -> None:
    wire = "00000007 636c69656e743100 00000005"
    assert_says((NSM, 1, 6), CALL, wire, {"mon_name": b"client1", "state": 5})


def test_private_bytes_are_fixed() -> None:
    values = {"mon_name": b"m", "my_name": b"c", "my_prog": 100021, "my_vers": 3, "my_proc": 16}
    wire = "00000001 6d000000 00000001 63000000 000186b5 00000003 00000010"
    assert_says((NSM, 1, 2), CALL, wire + "ab" * 16, values | {"priv": b"\xab" * 16})
