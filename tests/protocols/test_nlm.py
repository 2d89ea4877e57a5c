from __future__ import annotations

import pytest

from analyzer.faults import Fault
from analyzer.protocols import REGISTRY
from analyzer.protocols.nlm import NLM
from analyzer.schema.columns import columns
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import U32
from tests.protocols.checks import CALL, REPLY, assert_says, body, names

LOCK = "caller_name fh oh svid l_offset l_len"
ARGUMENTS = {
    "TEST": f"cookie exclusive {LOCK}",
    "LOCK": f"cookie block exclusive {LOCK} reclaim state",
    "CANCEL": f"cookie block exclusive {LOCK}",
    "UNLOCK": f"cookie {LOCK}",
    "RES": "cookie status",
    "TEST_RES": "cookie status holder_exclusive holder_svid holder_oh holder_l_offset holder_l_len",
    "NOTIFY": "mon_name state priv",
    "SHARE": "cookie caller_name fh oh mode access reclaim",
    "SHARE_RES": "cookie status sequence",
    "FREE_ALL": "name state",
    "VOID": "",
}

PROCEDURES = [
    (0, "NULL", "VOID", "VOID", "call"),
    (1, "TEST", "TEST", "TEST_RES", "call"),
    (2, "LOCK", "LOCK", "RES", "call"),
    (3, "CANCEL", "CANCEL", "RES", "call"),
    (4, "UNLOCK", "UNLOCK", "RES", "call"),
    (5, "GRANTED", "TEST", "RES", "callback"),
    (6, "TEST_MSG", "TEST", "VOID", "msg"),
    (7, "LOCK_MSG", "LOCK", "VOID", "msg"),
    (8, "CANCEL_MSG", "CANCEL", "VOID", "msg"),
    (9, "UNLOCK_MSG", "UNLOCK", "VOID", "msg"),
    (10, "GRANTED_MSG", "TEST", "VOID", "msg"),
    (11, "TEST_RES", "TEST_RES", "VOID", "res"),
    (12, "LOCK_RES", "RES", "VOID", "res"),
    (13, "CANCEL_RES", "RES", "VOID", "res"),
    (14, "UNLOCK_RES", "RES", "VOID", "res"),
    (15, "GRANTED_RES", "RES", "VOID", "res"),
    (16, "SM_NOTIFY", "NOTIFY", "VOID", "callback"),
    (20, "SHARE", "SHARE", "SHARE_RES", "call"),
    (21, "UNSHARE", "SHARE", "SHARE_RES", "call"),
    (22, "NM_LOCK", "LOCK", "RES", "call"),
    (23, "FREE_ALL", "FREE_ALL", "VOID", "call"),
]


@pytest.mark.parametrize("version", [1, 3, 4])
def test_procedures(version: int) -> None:
    expected = [each for each in PROCEDURES if version > 1 or each[0] <= 16]
    assert [(each.number, each.name, each.role) for each in REGISTRY[NLM, version].procedures.values()] == [
        (number, name, role) for number, name, _, _, role in expected
    ]
    for number, _, call, reply, _ in expected:
        assert names((NLM, version, number), CALL) == ARGUMENTS[call]
        assert names((NLM, version, number), REPLY) == ARGUMENTS[reply]


@pytest.mark.parametrize(("version", "dtype"), [(1, "uint32"), (3, "uint32"), (4, "uint64")])
def test_version_4_is_wider(version: int, dtype: str) -> None:
    for number, direction in ((2, CALL), (1, REPLY), (10, CALL)):
        found = {column.name: column.dtype for column in columns(body((NLM, version, number), direction))}
        assert {found[name] for name in found if name.endswith(("l_offset", "l_len"))} == {dtype}
        assert {found[name] for name in found if name.endswith("svid")} == {"int32"}


@pytest.mark.parametrize(("version", "granted", "most"), [(1, "LCK_GRANTED", 5), (4, "NLM4_GRANTED", 9)])
def test_statuses(version: int, granted: str, most: int) -> None:
    status = {column.name: column.type for column in columns(body((NLM, version, 2), REPLY))}["status"]
    assert isinstance(status, U32)
    assert status.names[0] == granted
    assert sorted(status.names) == list(range(most + 1))


HANDLE = "01000601be04b1482a154e919eb9ea826f4502cb0c000000"


def test_a_lock_of_linux() -> None:
    wire = f"""
        00000004 35120000 00000001 00000001 00000007 636c69656e743200 0000001c {HANDLE} fb134409
        00000009 3040636c69656e7432000000 00000000 0000000000000000 0000000000000000 00000000 00000003"""
    values = {
        "cookie": b"5\x12\0\0",
        "block": True,
        "exclusive": True,
        "caller_name": b"client2",
        "fh": bytes.fromhex(HANDLE + "fb134409"),
        "oh": b"0@client2",
        "svid": 0,
        "l_offset": 0,
        "l_len": 0,
        "reclaim": False,
        "state": 3,
    }
    assert_says((NLM, 4, 2), CALL, wire, values)


def test_a_lock_of_version_3_has_narrow_ranges() -> None:
    """Trap 20."""
    wire = """
        00000000 00000000 00000001 00000001 63000000 00000000 00000000
        ffffffff 00000001 00000002 00000000 00000005"""
    decoded = decode_one(body((NLM, 3, 2), CALL), bytes.fromhex(wire))
    assert decoded.fault is None
    assert [decoded.values[name] for name in ("svid", "l_offset", "l_len", "state")] == [-1, 1, 2, 5]


def test_a_grant_of_linux() -> None:
    wire = f"""
        00000004 36120000 00000001 00000006 736572766572 0000 0000001c {HANDLE} fb134409
        00000009 3040636c69656e7432000000 00000000 0000000000000000 0000000000000000"""
    values = {
        "cookie": b"6\x12\0\0",
        "exclusive": True,
        "caller_name": b"server",
        "fh": bytes.fromhex(HANDLE + "fb134409"),
        "oh": b"0@client2",
        "svid": 0,
        "l_offset": 0,
        "l_len": 0,
    }
    assert_says((NLM, 4, 10), CALL, wire, values)


@pytest.mark.parametrize(
    ("left_out", "fault"), [("", None), ("00000000", None), ("0000", Fault.XDR_SHORT)], ids=["none", "4", "2"]
)
def test_a_share_may_lack_its_reclaim(left_out: str, fault: Fault | None) -> None:
    """Trap 21."""
    wire = f"""
        00000002 73320000 00000007 636c69656e743200 00000020 {HANDLE} 41cf46e8 00000000 00000003 73683200
        00000002 00000003"""
    decoded = decode_one(body((NLM, 3, 20), CALL), bytes.fromhex(wire + left_out))
    assert decoded.fault is fault
    assert (decoded.values["oh"], decoded.values["mode"], decoded.values["access"]) == (b"sh2", 2, 3)
    assert ("reclaim" in decoded.values) is (left_out == "00000000")


@pytest.mark.parametrize("state", ["00000007", "0000000000000007"], ids=["Linux", "Ganesha"])
def test_free_all_of_two_kinds(state: str) -> None:
    """Trap 21."""
    decoded = decode_one(body((NLM, 4, 23), CALL), bytes.fromhex("00000001 63000000" + state))
    assert decoded.fault is None
    assert decoded.values == {"name": b"c", "state": 7}


def test_the_holder_that_linux_cuts_short() -> None:
    """The asynchronous TEST_RES of Linux lacks the last 8 bytes of its holder."""
    wire = "00000002 74330000 00000001 00000000 000000a4 00000000 0000000000000000"
    decoded = decode_one(body((NLM, 4, 11), CALL), bytes.fromhex(wire))
    assert decoded.fault is Fault.XDR_SHORT
    assert [name for name, _ in decoded.breadcrumbs] == ["holder", "l_len"]
    assert decoded.values == {
        "cookie": b"t3",
        "status": 1,
        "holder_exclusive": False,
        "holder_svid": 164,
        "holder_oh": b"",
        "holder_l_offset": 0,
    }


def test_a_holder_is_there_only_when_denied() -> None:
    for status in (0, 2, 3, 4, 5, 99):
        wire = bytes(4) + status.to_bytes(4, "big")
        assert decode_one(body((NLM, 4, 1), REPLY), wire).fault is None


def test_the_notice_of_statd_to_its_lockd() -> None:
    priv = "000102030405060708090a0b0c0d0e0f"
    values = {"mon_name": b"c", "state": 5, "priv": bytes.fromhex(priv)}
    assert_says((NLM, 4, 16), CALL, "00000001 63000000 00000005" + priv, values)
