"""One message at a time: the plain decoder, and the oracle for the batch decoder.

In: a declared type and the bytes of one message. Out: a dict of its columns, the fault met if
any, and the way down to it.

Theory. Recursion follows the declaration, never the wire: a list is a loop. A fault that makes
the rest unreadable (bytes missing, a length over its limit, a list without end) stops the
message, and what was decoded before stands. One that does not (a bool over 1, padding that is
not zero, bytes left over) is noted, the first of them, and decoding goes on.

Never: raises on what the wire says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from analyzer.faults import Fault
from analyzer.frozen import frozen
from analyzer.schema.xdr import (
    I32,
    I64,
    MOST_ENTRIES,
    U32,
    U64,
    VOID,
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
    padded,
)

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded message: integers, bools, bytes, and lists of the same for child tables.

    `breadcrumbs` lead to the fault: (field, where it begins) from the outermost to the innermost,
    of which the offset is that of the fault; a field without a name is the end of the message.
    """

    values: Values
    fault: Fault | None
    end: int
    breadcrumbs: tuple[tuple[str, int], ...]


def decode_one(declared: Type, data: bytes | bytearray | memoryview, size: int | None = None) -> Decoded:
    """Decode the captured bytes `data` of a message that had `size` bytes on the wire."""
    reader = _Reader(bytes(data), size)
    values: Values = {}
    try:
        reader.walk(declared, "", values)
        reader.finish()
    except _Stop:
        pass
    return Decoded(values, reader.fault, reader.at, reader.breadcrumbs)


@frozen
class Span:
    """Where the bytes of a text, of opaque bytes or of bulk data stand in a message."""

    name: str  # the field that holds them
    type: Type
    start: int
    stop: int
    kept: bool


def spans(
    declared: Type, data: bytes | bytearray | memoryview, size: int | None = None
) -> tuple[list[Span], Decoded]:
    """The spans of a message, and what `decode_one` makes of it."""
    reader = _Surveyor(bytes(data), size)
    values: Values = {}
    try:
        reader.walk(declared, "", values)
        reader.finish()
    except _Stop:
        pass
    return reader.found, Decoded(values, reader.fault, reader.at, reader.breadcrumbs)


class _Stop(Exception):
    """The rest of the message cannot be read."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    size: int | None
    at: int = 0
    fault: Fault | None = None
    breadcrumbs: tuple[tuple[str, int], ...] = ()
    trail: list[tuple[str, int]] = field(default_factory=list)

    def walk(self, declared: Type, path: str, values: Values) -> None:
        """Read one node; a leaf is stored under `path`."""
        match declared:
            case Struct():
                for inner in declared.fields:
                    self.member(inner, path, values)
            case Optional():
                if self.truth():
                    self.walk(declared.of, path, values)
            case Tail():
                if self.at < len(self.data):
                    self.walk(declared.of, path, values)
            case Union():
                name = joined(path, declared.tag.name)
                self.member(declared.tag, path, values)
                self.walk(declared.arms.get(values[name], declared.default), path, values)
            case List():
                self.linked(declared, path, values)
            case Array():
                self.counted(declared, path, values)
            case _:
                values[path] = self.leaf(declared)

    def member(self, inner: Field, path: str, values: Values) -> None:
        name = joined(path, inner.name)
        if inner.name:
            self.trail.append((inner.name, self.at))
        if inner.keep:
            self.walk(inner.type, name, values)
        else:
            assert isinstance(inner.type, Opaque)
            values[f"{name}_length"] = self.bulk(inner.type.limit)
        if inner.name:
            self.trail.pop()

    def linked(self, declared: List, path: str, values: Values) -> None:
        rows: list[Values] = values.setdefault(path, [])
        while True:
            at = self.at
            if not self.truth():
                return
            if len(rows) == MOST_ENTRIES:
                self.stop(Fault.XDR_DEPTH, at)
            self.entry(declared.of, rows)

    def counted(self, declared: Array, path: str, values: Values) -> None:
        rows: list[Values] = values.setdefault(path, [])
        at = self.at
        count = self.number(4)
        if count > declared.limit:
            self.stop(Fault.XDR_LIMIT, at)
        for _ in range(count):
            self.entry(declared.of, rows)

    def entry(self, declared: Struct, rows: list[Values]) -> None:
        rows.append({})
        self.trail.append((f"[{len(rows) - 1}]", self.at))
        self.walk(declared, "", rows[-1])
        self.trail.pop()

    def leaf(self, declared: Type) -> int | bool | bytes:
        match declared:
            case U32():
                return self.number(4)
            case I32():
                return self.number(4, signed=True)
            case U64():
                return self.number(8)
            case I64():
                return self.number(8, signed=True)
            case Bool():
                return self.truth()
            case LastInt():
                return self.number(8 if len(self.data) - self.at >= 8 else 4, signed=True)
            case Rest():
                return self.take(len(self.data) - self.at)
            case Opaque(limit=limit, fixed=True):
                return self.opaque(limit, self.at)
            case Opaque(limit=limit) | Text(limit=limit):
                at = self.at
                return self.opaque(self.length(limit), at)
        raise TypeError(f"{declared!r} is not a leaf")

    def number(self, width: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "big", signed=signed)

    def truth(self) -> bool:
        at = self.at
        value = self.number(4)
        if value > 1:
            self.note(Fault.XDR_BOOL, at)
        return value != 0

    def length(self, limit: int) -> int:
        at = self.at
        size = self.number(4)
        if size > limit:
            self.stop(Fault.XDR_LIMIT, at)
        return size

    def opaque(self, size: int, at: int) -> bytes:
        """`size` bytes and their padding, of a field that began at `at`."""
        taken = self.take(padded(size), at)
        if any(taken[size:]):
            self.note(Fault.XDR_PADDING, self.at - padded(size) + size)
        return taken[:size]

    def bulk(self, limit: int) -> int:
        """The length of data that may be missing from the capture, though not from the wire."""
        at = self.at
        size = self.length(limit)
        if self.size is not None and self.at + padded(size) > max(self.size, len(self.data)):
            self.stop(Fault.XDR_SHORT, at)
        self.at = min(self.at + padded(size), len(self.data))
        return size

    def take(self, size: int, began: int = -1) -> bytes:
        if self.at + size > len(self.data):
            self.stop(Fault.XDR_SHORT, self.at if began < 0 else began)
        self.at += size
        return self.data[self.at - size : self.at]

    def note(self, fault: Fault, at: int) -> None:
        """Remember a fault that decoding survives; the first one counts."""
        if self.fault is None:
            self.place(fault, at)

    def stop(self, fault: Fault, at: int) -> NoReturn:
        """End the message at a fault in the field that began at `at`."""
        self.place(fault, at)
        self.at = at
        raise _Stop

    def place(self, fault: Fault, at: int) -> None:
        self.fault = fault
        last = self.trail[-1][0] if self.trail else ""
        self.breadcrumbs = (*self.trail[:-1], (last, at))

    def finish(self) -> None:
        whole = self.size is None or self.size <= len(self.data)
        if whole and self.at < len(self.data):
            self.note(Fault.XDR_TRAILING, self.at)


@dataclass(slots=True)
class _Surveyor(_Reader):
    """Reads, and notes where what it read stands."""

    found: list[Span] = field(default_factory=list)

    def leaf(self, declared: Type) -> int | bool | bytes:
        value = _Reader.leaf(self, declared)
        if isinstance(value, bytes) and value:
            start = self.at - (padded(len(value)) if not isinstance(declared, Rest) else len(value))
            self._note_span(declared, start, start + len(value), True)
        return value

    def bulk(self, limit: int) -> int:
        at = self.at + 4
        size = _Reader.bulk(self, limit)
        self._note_span(VOID, min(at, self.at), self.at, False)
        return size

    def _note_span(self, declared: Type, start: int, stop: int, kept: bool) -> None:
        name = next((name for name, _ in reversed(self.trail) if not name.startswith("[")), "")
        self.found.append(Span(name, declared, start, stop, kept))
