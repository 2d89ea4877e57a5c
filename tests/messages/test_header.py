"""RPC headers of every kind, whole and cut short."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.faults import Fault
from tests.messages.wire import NLM, Script, call, opaque, record, reply, run, words


def rows_of(*messages: bytes, kept: int = -1) -> list[dict[str, Any]]:
    """The rows of calls and replies of one connection, each in a segment of its own."""
    script = Script()
    flow = script.connect()
    for message in messages:
        side = int.from_bytes(message[4:8], "big")
        data = record(message)
        script.send(flow, side, data, kept=min(len(data), kept + 4) if kept >= 0 else -1)
    return run(script).rows


def faults_of(*messages: bytes) -> set[str]:
    script = Script()
    flow = script.connect()
    for message in messages:
        script.send(flow, int.from_bytes(message[4:8], "big"), record(message))
    return run(script).faulty()


def gss(procedure: int, service: int, version: int = 1) -> bytes:
    return words(version, procedure, 42, service) + opaque(b"handle")


UNIX = words(1) + opaque(b"host") + words(1000, 1000, 0)
SYS = call(5, NLM, 4, 2, b"arguments...", 1, UNIX)


def test_credentials() -> None:
    row = rows_of(SYS)[0]
    assert (row["flavor"], row["cred"], row["body"], row["gss"]) == (1, UNIX, b"arguments...", 0)
    assert (row["program"], row["version"], row["procedure"], row["rpcvers"]) == (NLM, 4, 2, 2)


def test_credentials_are_padded() -> None:
    row = rows_of(call(5, args=b"body", flavor=1, cred=b"12345"))[0]
    assert (row["cred"], row["body"]) == (b"12345", b"body")


@pytest.mark.parametrize(
    ("tail", "status", "low", "high"),
    [
        (words(0, 0, 0, 1), 1, -1, -1),
        (words(0, 0, 0, 2, 3, 4), 2, 3, 4),
        (words(0, 0, 0, 3), 3, -1, -1),
        (words(0, 0, 0, 4), 4, -1, -1),
        (words(0, 0, 0, 5), 5, -1, -1),
        (words(1, 0, 2, 2), 10, 2, 2),
        (words(1, 1, 1), 21, -1, -1),
        (words(1, 1, 14), 34, -1, -1),
    ],
)
def test_replies_that_say_no(tail: bytes, status: int, low: int, high: int) -> None:
    """Trap 25."""
    row = rows_of(SYS, words(5, 1) + tail)[1]
    assert (row["status"], row["low"], row["high"]) == (status, low, high)
    assert (row["body_size"], row["call"], row["program"]) == (0, 0, NLM)


def test_a_verifier_is_skipped() -> None:
    row = rows_of(SYS, reply(5, b"results", verifier=b"abcde"))[1]
    assert (row["body"], row["flavor"]) == (b"results", 0)


def test_another_rpc_version_is_delivered() -> None:
    rows = rows_of(SYS, call(6, NLM, 4, 0, rpcvers=3), words(6, 1, 1, 0, 2, 2))
    assert [row["rpcvers"] for row in rows] == [2, 3, 3]
    assert [row["status"] for row in rows] == [-1, -1, 10]
    assert rows_of(call(6, NLM, 4, 0, rpcvers=3))[0]["rpcvers"] == 3


@pytest.mark.parametrize("data", [b"", b"arguments"])
def test_gss_integrity(data: bytes) -> None:
    """Trap 26."""
    wrapped = words(len(data) + 4, 42) + data + bytes(-len(data) % 4) + opaque(b"checksum")
    rows = rows_of(call(5, args=wrapped, flavor=6, cred=gss(0, 2)), reply(5, wrapped))
    assert [(row["gss"], row["body"], row["body_size"]) for row in rows] == [(2, data, len(data))] * 2


def test_gss_privacy() -> None:
    """Trap 26."""
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(call(5, args=opaque(b"secret"), flavor=6, cred=gss(0, 3))))
    script.send(flow, 1, record(reply(5, opaque(b"secret"))))
    result = run(script)
    assert [(row["gss"], row["body_size"], row["body"]) for row in result.rows] == [(3, 0, b"")] * 2
    assert result.count(Fault.GSS_PRIVACY) == 2


@pytest.mark.parametrize(("procedure", "service", "kind"), [(0, 1, 1), (1, 1, 4), (2, 2, 4), (3, 3, 4)])
def test_gss_without_a_wrap(procedure: int, service: int, kind: int) -> None:
    """Trap 26."""
    rows = rows_of(
        call(5, procedure=0, args=b"token", flavor=6, cred=gss(procedure, service)), reply(5, b"tok")
    )
    assert [(row["gss"], row["body"]) for row in rows] == [(kind, b"token"), (kind, b"tok")]


MALFORMED = {
    "credentials over the end": SYS[:28] + words(300) + SYS[32:],
    "credentials over the limit": SYS[:28] + words(404) + bytes(500),
    "verifier over the end": call(5, NLM, 4, 2, flavor=1, cred=UNIX)[:-4] + words(8),
    "no room for a verifier": call(5, NLM, 4, 2)[:-4],
    "short call": call(5, NLM)[:30],
    "gss credentials too short": call(5, flavor=6, cred=words(1, 0, 1, 1)),
    "gss service unknown": call(5, flavor=6, cred=gss(0, 4)),
    "integrity without a length": call(5, flavor=6, cred=gss(0, 2), args=words(4)),
    "integrity over the end": call(5, flavor=6, cred=gss(0, 2), args=words(9, 1)),
    "integrity below nothing": call(5, flavor=6, cred=gss(0, 2), args=words(3, 1)),
    "reply of no kind": words(4, 1, 2, 0, 0, 0),
    "denied for no reason": words(4, 1, 1, 2, 0),
    "accepted in no way": words(4, 1, 0, 0, 0, 6),
    "reply verifier over the end": words(4, 1, 0, 0, 100, 0),
    "mismatch without versions": words(4, 1, 0, 0, 0, 2, 1),
    "short reply": words(4, 1, 0, 0),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(message: bytes) -> None:
    first = call(4)
    rows = rows_of(first, message)
    assert rows[1]["xid"] == int.from_bytes(message[:4], "big")
    assert rows[1]["body_size"] == 0
    assert faults_of(first, message) == {"RPC_MALFORMED"}


ANSWER = reply(5, b"results", verifier=b"abcde")
WHOLE = rows_of(SYS, ANSWER)
KNOWN = ("program", "version", "procedure", "rpcvers", "flavor", "status")


@pytest.mark.parametrize("kept", range(8, len(SYS)))
def test_every_prefix_tells_what_it_holds(kept: int) -> None:
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(call(1)))
    for side, message in enumerate((SYS, ANSWER)):
        script.send(flow, side, record(message), kept=min(kept, len(message)) + 4)
    result = run(script)
    for row, whole in zip(result.rows[1:], WHOLE, strict=kept >= 24):
        for column in KNOWN[: 4 if row["reply"] and kept < 24 else None]:
            assert row[column] in (-1, whole[column])
        assert whole["body"].startswith(row["body"])
        assert row["damage"] == (1 if kept < row["size"] else 0)
    assert not result.faulty()


@pytest.mark.parametrize("kept", range(24, 40))
def test_a_stream_may_begin_with_a_short_capture(kept: int) -> None:
    assert rows_of(SYS, kept=kept)[0]["procedure"] == 2
