from __future__ import annotations

import pytest

from analyzer.faults import Fault
from analyzer.protocols.rpc import (
    AUTH_ERROR,
    AUTH_FLAVORS,
    AUTH_SYS_BODY,
    GSS_BODY,
    GSS_INIT_REPLY,
    RPC_STATUS,
)
from analyzer.schema.encode import encode
from analyzer.schema.scalar import decode_one


def test_statuses_are_those_of_the_messages_table() -> None:
    assert RPC_STATUS[0] == "SUCCESS"
    assert RPC_STATUS[5] == "SYSTEM_ERR"
    assert RPC_STATUS[10] == "RPC_MISMATCH"
    assert RPC_STATUS[AUTH_ERROR + 5] == "AUTH_TOOWEAK"
    assert RPC_STATUS[AUTH_ERROR + 14] == "RPCSEC_GSS_CTXPROBLEM"
    assert len(RPC_STATUS) == 6 + 1 + 15


def test_flavors() -> None:
    assert [AUTH_FLAVORS[n] for n in (0, 1, 6, 390004)] == ["AUTH_NONE", "AUTH_SYS", "RPCSEC_GSS", "krb5i"]


@pytest.mark.parametrize(("groups", "fault"), [(0, None), (16, None), (17, Fault.XDR_LIMIT)])
def test_auth_sys(groups: int, fault: Fault | None) -> None:
    values = {"stamp": 1, "machinename": b"client1", "uid": 0, "gid": 5, "gids": [{"gid": 9}] * groups}
    decoded = decode_one(AUTH_SYS_BODY, encode(AUTH_SYS_BODY, values))
    assert decoded.fault is fault
    assert (decoded.values["machinename"], decoded.values["uid"], decoded.values["gid"]) == (b"client1", 0, 5)
    assert len(decoded.values["gids"]) == (groups if fault is None else 0)


@pytest.mark.parametrize(("length", "fault"), [(255, None), (256, Fault.XDR_LIMIT)])
def test_a_machine_name_is_at_most_255_bytes(length: int, fault: Fault | None) -> None:
    made = encode(AUTH_SYS_BODY, {"machinename": b"c" * length})
    assert decode_one(AUTH_SYS_BODY, made).fault is fault


def test_gss() -> None:
    wire = bytes.fromhex("00000001 00000000 00000007 00000003 00000004 01020304")
    assert decode_one(GSS_BODY, wire).values == {
        "version": 1,
        "gss_proc": 0,
        "seq_num": 7,
        "service": 3,
        "handle": b"\1\2\3\4",
    }
    wire = bytes.fromhex("00000001 61000000 00000000 ffffffff 00000080 00000000")
    assert decode_one(GSS_INIT_REPLY, wire).values == {
        "handle": b"a",
        "gss_major": 0,
        "gss_minor": -1,
        "seq_window": 128,
        "gss_token": b"",
    }
