"""What the tests of every program ask of its declarations."""

from __future__ import annotations

from typing import Any

from analyzer.protocols import find
from analyzer.schema.columns import columns
from analyzer.schema.encode import encode
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import Type
from tests.strategies import fullest, joined_bytes

Key = tuple[int, int, int]


def body(key: Key, direction: int) -> Type:
    """The declared call or reply of a procedure."""
    procedure = find(*key)
    assert procedure is not None
    declared = procedure.body(direction)
    assert declared is not None
    return declared


def names(key: Key, direction: int) -> str:
    """Its columns in wire order."""
    return " ".join(column.name for column in columns(body(key, direction)))


def assert_says(key: Key, direction: int, wire: str, values: dict[str, Any]) -> None:
    """The bytes decode to the values, and the values encode to the bytes."""
    declared = body(key, direction)
    decoded = decode_one(declared, bytes.fromhex(wire))
    assert decoded.fault is None
    assert decoded.values == values
    assert encode(declared, values) == bytes.fromhex(wire)


def sizes(key: Key, direction: int) -> set[int]:
    """How long its fullest messages are, counted opaques being 5 bytes (4 + 8 on the wire)."""
    return {len(joined_bytes(tokens)) for tokens in fullest(body(key, direction))}


__all__ = ["CALL", "REPLY", "Key", "assert_says", "body", "names", "sizes"]
