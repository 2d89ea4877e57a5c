from __future__ import annotations

import pytest

from analyzer.faults import Fault
from analyzer.protocols.mount import MOUNT
from analyzer.schema.scalar import decode_one
from tests.protocols.checks import CALL, REPLY, assert_says, body, names, sizes

EXPORTS = "exports.dirpath exports.groups.name"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    ("number", "call", "reply"),
    [
        (0, "", ""),
        (2, "", "mounts.hostname mounts.dirpath"),
        (3, "dirpath", ""),
        (4, "", ""),
        (5, "", EXPORTS),
    ],
)
def test_columns(version: int, number: int, call: str, reply: str) -> None:
    assert names((MOUNT, version, number), CALL) == call
    assert names((MOUNT, version, number), REPLY) == reply


def test_what_only_some_versions_have() -> None:
    assert names((MOUNT, 1, 1), REPLY) == names((MOUNT, 2, 1), REPLY) == "status fh"
    assert names((MOUNT, 3, 1), REPLY) == "status fh auth_flavors.flavor"
    assert names((MOUNT, 1, 6), REPLY) == names((MOUNT, 2, 6), REPLY) == EXPORTS
    assert names((MOUNT, 2, 7), CALL) == "dirpath"
    assert sizes((MOUNT, 2, 7), REPLY) == {40}


HANDLE = "01000600be04b1482a154e919eb9ea826f4502cb"


def test_a_handle_without_a_length_in_versions_1_and_2() -> None:
    """Trap 22."""
    for version in (1, 2):
        wire = "00000000" + HANDLE + "00" * 12
        values = {"status": 0, "fh": bytes.fromhex(HANDLE) + bytes(12)}
        assert_says((MOUNT, version, 1), REPLY, wire, values)


def test_a_handle_with_a_length_in_version_3() -> None:
    """Trap 22."""
    wire = "00000000 00000014" + HANDLE + "00000001 00000001"
    values = {"status": 0, "fh": bytes.fromhex(HANDLE), "auth_flavors": [{"flavor": 1}]}
    assert_says((MOUNT, 3, 1), REPLY, wire, values)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_refusal_is_a_status_and_nothing_else(version: int) -> None:
    """Trap 23."""
    declared = body((MOUNT, version, 1), REPLY)
    assert decode_one(declared, b"\0\0\0\x0d").values == {"status": 13}
    assert decode_one(declared, b"\0\0\0\x0d\0\0\0\0").fault is Fault.XDR_TRAILING


def test_exports_of_two_directories() -> None:
    """Trap 24."""
    wire = """
        00000001 00000002 2f610000 00000001 00000001 2a000000 00000000
        00000001 00000002 2f620000 00000000 00000000"""
    values = {"exports": [{"dirpath": b"/a", "groups": [{"name": b"*"}]}, {"dirpath": b"/b", "groups": []}]}
    assert_says((MOUNT, 3, 5), REPLY, wire, values)
