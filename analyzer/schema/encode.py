"""Values to bytes: the inverse of `scalar`, for scenarios, test captures and tests.

In: a declared type and the columns of a message, named as `scalar.decode_one` names them. Out:
its bytes, in canonical form.

Theory. What is not given is zero or empty, so that a scenario says only what matters to it. An
optional is present when one of its columns is given. An enum may be given by its symbol. A name
that the declaration does not know is the caller's mistake and raises `ValueError`.

Never: reads a capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from analyzer.schema.columns import columns
from analyzer.schema.xdr import (
    I32,
    I64,
    U32,
    U64,
    Array,
    Bool,
    Field,
    LastInt,
    List,
    Opaque,
    Optional,
    Rest,
    Struct,
    Tail,
    Text,
    Type,
    Union,
    joined,
)

WIDTHS: dict[type, tuple[int, bool]] = {
    U32: (4, False),
    I32: (4, True),
    U64: (8, False),
    I64: (8, True),
    Bool: (4, False),
}


def encode(declared: Type, values: Mapping[str, Any]) -> bytes:
    """The bytes of a message with these columns."""
    unknown = values.keys() - _names(declared, "")
    if unknown:
        raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
    return _node(declared, "", values)


@cache
def _names(declared: Type, path: str) -> set[str]:
    """The keys that values of this type may have: columns, lists, and bulk data itself."""
    names = set()
    for column in columns(declared):
        name = joined(path, column.name.partition(".")[0])
        names |= {name} if column.kept else {name, name.removesuffix("_length")}
    return names


def _node(declared: Type, path: str, values: Mapping[str, Any]) -> bytes:
    match declared:
        case Struct(fields=fields):
            return b"".join(_member(inner, joined(path, inner.name), values) for inner in fields)
        case Optional(of=of):
            there = not values.keys().isdisjoint(_names(of, path))
            return _word(1) + _node(of, path, values) if there else _word(0)
        case Tail(of=of):
            there = not values.keys().isdisjoint(_names(of, path))
            return _node(of, path, values) if there else b""
        case Union(tag=tag, arms=arms, default=default):
            name = joined(path, tag.name)
            number = _number(tag.type, values.get(name, 0))
            return _node(tag.type, name, values) + _node(arms.get(number, default), path, values)
        case List(of=of):
            entries = [_word(1) + encode(of, entry) for entry in values.get(path, ())]
            return b"".join(entries) + _word(0)
        case Array(of=of):
            elements = [encode(of, element) for element in values.get(path, ())]
            return _word(len(elements)) + b"".join(elements)
    return _leaf(declared, path, values)


def _member(inner: Field, path: str, values: Mapping[str, Any]) -> bytes:
    if inner.keep:
        return _node(inner.type, path, values)
    data = values.get(path, bytes(values.get(f"{path}_length", 0)))
    return _word(len(data)) + _padded(data)


def _leaf(declared: Type, path: str, values: Mapping[str, Any]) -> bytes:
    match declared:
        case Opaque(limit=size, fixed=True):
            return _padded(bytes(values.get(path, b"")).ljust(size, b"\0"))
        case Opaque() | Text():
            data = values.get(path, b"")
            data = data.encode() if isinstance(data, str) else bytes(data)
            return _word(len(data)) + _padded(data)
        case Rest():
            return bytes(values.get(path, b""))
        case LastInt():
            value = int(values.get(path, 0))
            return value.to_bytes(4 if -(1 << 31) <= value < 1 << 31 else 8, "big", signed=True)
    width, signed = WIDTHS[type(declared)]
    return _number(declared, values.get(path, 0)).to_bytes(width, "big", signed=signed)


def _number(declared: Type, value: int | str) -> int:
    """A number, or the number of a symbol of the enum."""
    if isinstance(value, str):
        names = declared.names if isinstance(declared, U32) else {}
        numbers = [number for number, name in names.items() if name == value]
        if not numbers:
            raise ValueError(f"no such symbol: {value}")
        return numbers[0]
    return int(value)


def _word(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
