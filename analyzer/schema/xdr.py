"""XDR as data: the types in which every message of every protocol is declared.

In: nothing. Out: frozen node types; a tree of them declares a message.

Theory. A declaration says once what the bytes are (RFC 4506), what the columns are called and
what they mean; decoders, encoder, reference and test generators walk the tree. What cannot be
said with the node types below cannot be in a message: there are no callables, so that every
walker sees the same thing. Numbers stay numbers; names of enum values are put on at the edge,
and a value nobody has named survives.

Names of nested fields are joined with `_`; a field without a name adds nothing. Lists and
arrays are tables of their own, whose columns start afresh.

Nodes are compared by identity: a declaration is a thing, not a value, and a process that
only wants to print its version pays for every method that is generated.

Never: holds behaviour; knows a protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from analyzer.frozen import frozen

MOST_ENTRIES = 65536
"""Entries of one list that are decoded; a list that goes on is `Fault.XDR_DEPTH`."""


@frozen
class U32:
    """Unsigned int, or an enum where `names` says what the numbers are called. Where it `is_open` others are
    legal, too."""

    names: Mapping[int, str] = field(default_factory=dict)
    is_open: bool = False


@frozen
class I32:
    """Signed int."""


@frozen
class U64:
    """Unsigned hyper."""


@frozen
class I64:
    """Signed hyper."""


@frozen
class Bool:
    """A word that is 0 or 1. Anything over 1 is taken as true and noted."""


@frozen
class Opaque:
    """Bytes: counted and at most `limit`, or exactly `limit` of them where `fixed`."""

    limit: int
    fixed: bool = False


@frozen
class Text:
    """A counted string of at most `limit` bytes, in whatever encoding its sender uses."""

    limit: int


@frozen
class Rest:
    """All bytes up to the end of the message."""


@frozen
class LastInt:
    """A signed integer that ends the message: 8 bytes wide where 8 are left, else 4."""


@frozen
class Field:
    """A named part of a struct. Where `keep` is false, `type` is bulk data: only its length is
    kept, as NAME_length, and the captured bytes may end inside it."""

    name: str
    type: Type
    meaning: str = ""
    unit: str = ""
    keep: bool = True


@frozen
class Struct:
    """Fields in their order on the wire."""

    fields: tuple[Field, ...]

    def __init__(self, *fields: Field) -> None:
        object.__setattr__(self, "fields", fields)


@frozen
class Union:
    """A tag, then the fields of the arm it selects; `default` is the arm of all other tags."""

    tag: Field
    arms: Mapping[int, Struct]
    default: Struct = Struct()


@frozen
class Optional:
    """A bool, then the type where it is true (`*` in XDR)."""

    of: Type


@frozen
class Tail:
    """The type where the message has any bytes left: a last field that some senders omit."""

    of: Type


@frozen
class List:
    """XDR's linked list: each entry preceded by TRUE, the end marked by FALSE. A child table."""

    of: Struct


@frozen
class Array:
    """A counted array of at most `limit` elements. A child table."""

    of: Struct
    limit: int = MOST_ENTRIES


Type: TypeAlias = (
    U32
    | I32
    | U64
    | I64
    | Bool
    | Opaque
    | Text
    | Rest
    | LastInt
    | Struct
    | Union
    | Optional
    | Tail
    | List
    | Array
)

SPANS = (Opaque, Text, Rest)
TABLES = (List, Array)

VOID = Struct()


def joined(path: str, name: str) -> str:
    """The column name of field `name` inside `path`; a nameless field adds nothing."""
    return f"{path}_{name}" if path and name else path or name


def padded(size: int) -> int:
    """`size` rounded up to XDR's unit of four bytes."""
    return (size + 3) & ~3
