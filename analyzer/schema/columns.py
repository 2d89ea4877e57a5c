"""Columns of a declaration: what a decoded message is made of.

In: a declared type. Out: its columns, those of child tables after a dot (`entries.name`).

Never: looks at bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.frozen import frozen
from analyzer.schema.xdr import (
    I32,
    I64,
    SPANS,
    TABLES,
    U32,
    U64,
    Array,
    Bool,
    Field,
    LastInt,
    List,
    Optional,
    Struct,
    Tail,
    Text,
    Type,
    Union,
    joined,
)

DTYPES = {
    U32: "uint32",
    I32: "int32",
    U64: "uint64",
    I64: "int64",
    LastInt: "int64",
    Bool: "bool",
    Text: "text",
}


@frozen
class Column:
    """One column: `dtype` is a NumPy name, "text" or "bytes"; `type` the declared leaf."""

    name: str
    dtype: str
    nullable: bool
    meaning: str
    unit: str
    type: Type
    kept: bool = True


def columns(declared: Type) -> list[Column]:
    """The columns of a message, in wire order, each name once."""
    found: dict[str, Column] = {}
    for column in _walk(declared, "", "", Field("", declared), False):
        found.setdefault(column.name, column)
    return list(found.values())


def own(declared: Type) -> list[Column]:
    """The columns of the message itself, without those of its child tables."""
    return [column for column in columns(declared) if "." not in column.name]


def has_bulk(declared: Type) -> bool:
    """Whether the message carries data of which only the length is kept."""
    match declared:
        case Struct(fields=fields):
            return any(not inner.keep or has_bulk(inner.type) for inner in fields)
        case Union():
            return any(has_bulk(arm) for arm in (*declared.arms.values(), declared.default))
        case Optional(of=of) | Tail(of=of) | List(of=of) | Array(of=of):
            return has_bulk(of)
    return False


def _walk(declared: Type, table: str, path: str, field: Field, nullable: bool) -> Iterator[Column]:
    """`field` is the innermost named one: it says meaning and unit for unnamed types within."""
    if isinstance(declared, Struct):
        for inner in declared.fields:
            yield from _walk(inner.type, table, joined(path, inner.name), _heir(field, inner), nullable)
    elif isinstance(declared, Union):
        yield from _walk(declared.tag.type, table, joined(path, declared.tag.name), declared.tag, nullable)
        for arm in (*declared.arms.values(), declared.default):
            yield from _walk(arm, table, path, field, True)
    elif isinstance(declared, (Optional, Tail)):
        yield from _walk(declared.of, table, path, field, True)
    elif isinstance(declared, TABLES):
        yield from _walk(declared.of, f"{table}{path}.", "", field, False)
    elif not field.keep:
        yield Column(f"{table}{path}_length", "uint32", nullable, field.meaning, "bytes", declared, False)
    else:
        dtype = (
            "bytes"
            if isinstance(declared, SPANS) and not isinstance(declared, Text)
            else DTYPES[type(declared)]
        )
        yield Column(table + path, dtype, nullable, field.meaning, field.unit, declared)


def _heir(outer: Field, inner: Field) -> Field:
    """The inner field, named; an unnamed one leaves the outer's meaning standing."""
    return inner if inner.name else outer
