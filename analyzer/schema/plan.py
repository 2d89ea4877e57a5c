"""A declaration flattened into a table of numbers that a kernel can follow.

In: a declared type and the columns wanted. Out: a `Plan`: one row of int64 per instruction, and
where each column lies in the rows that the kernel stores.

Theory. The batch decoder must not know Python objects, so the tree becomes straight code with
jumps: an optional jumps over its type, a union to the arm of its tag, a list back to its start.
Neighbouring words, and neighbouring hypers, make one instruction with a count (fattr3 has 22
words and is 7 instructions). With few columns wanted, everything of fixed size between two of
them is one `SKIP`. What has a length is walked either way, so that faults of structure are met
whatever is wanted; padding and bools of what is skipped are not looked at.

A stored row is `[valid bits, (table, parent,) cells...]`: one cell for a number, two for a span.

Never: sees a message.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analyzer.frozen import frozen
from analyzer.index import Ints
from analyzer.schema.columns import columns
from analyzer.schema.xdr import (
    I32,
    I64,
    MOST_ENTRIES,
    SPANS,
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
    padded,
)

# op               columns 1.. of the instruction
END = 0
WORDS = 1  # cell, bit, count
HYPERS = 2  # cell, bit, count
INT = 3  # cell, bit
TRUTH = 4  # cell, bit
SPAN = 5  # cell, bit, limit
FIXED = 6  # cell, bit, size
BULK = 7  # cell or -1, bit, limit
REST = 8  # cell or -1, bit
LAST_INT = 9  # cell or -1, bit
SKIP = 10  # size
OVER = 11  # limit: a counted opaque that nobody wants
IF = 12  # target where false
IF_LEFT = 13  # target where the message is at its end
SWITCH = 14  # cell or -1, bit, number of cases; that many CASE rows follow, then the default GOTO
CASE = 15  # tag, target
GOTO = 16  # target
ENTER = 17  # level, most entries: before a linked list
COUNT = 18  # level, limit: before a counted array
MORE = 19  # level, table or -1, exit: one entry of a linked list
EACH = 20  # level, table or -1, exit: one element of a counted array
LEAVE = 21  # end of an entry that is stored

MAIN_HEADER = 1
CHILD_HEADER = 3
MOST_COLUMNS = 62
"""Columns of one table: their valid bits share a signed 64-bit word."""


class Slot(NamedTuple):
    """Where a column lies in its row."""

    cell: int
    bit: int
    is_span: bool


@dataclass(slots=True)
class Layout:
    """The rows of one table: the message itself, or one of its lists."""

    name: str
    parent: int
    width: int
    slots: dict[str, Slot] = field(default_factory=dict)

    def slot(self, name: str, is_span: bool) -> Slot:
        """The slot of a column; arms of a union that share a column share its slot."""
        if name not in self.slots:
            if len(self.slots) == MOST_COLUMNS:
                raise ValueError(f"more than {MOST_COLUMNS} columns in one table: choose fewer")
            self.slots[name] = Slot(self.width, len(self.slots), is_span)
            self.width += 2 if is_span else 1
        return self.slots[name]


@frozen
class Plan:
    """What the kernel follows: `code`, one instruction a row, and the layout of each table."""

    code: Ints
    layouts: tuple[Layout, ...]
    levels: int


def flatten(declared: Type, wanted: Collection[str] | None = None) -> Plan:
    """Flatten `declared`. `wanted` names columns as `columns` does, or whole child tables."""
    names = [column.name for column in columns(declared)]
    chosen = set(names) if wanted is None else _chosen(names, wanted)
    writer = _Writer(chosen)
    writer.node(declared, 0, "", "")
    writer.emit(END)
    return Plan(np.array(writer.code, np.int64), tuple(writer.layouts), max(writer.deepest, 1))


def _chosen(names: list[str], wanted: Collection[str]) -> set[str]:
    chosen: set[str] = set()
    for want in wanted:
        some = [name for name in names if name == want or name.startswith(want + ".")]
        if not some:
            raise ValueError(f"no column {want!r} here: there are {', '.join(names)}")
        chosen.update(some)
    return chosen


FIXED_SIZES: dict[type, int] = {U32: 4, I32: 4, Bool: 4, U64: 8, I64: 8}
RUNS: dict[type, int] = {U32: WORDS, U64: HYPERS, I64: HYPERS}


@dataclass(slots=True)
class _Writer:
    """Writes instructions; `held` bytes to skip are gathered until something else is written."""

    chosen: set[str]
    code: list[list[int]] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=lambda: [Layout("", -1, MAIN_HEADER)])
    held: int = 0
    label: int = -1
    level: int = 0
    deepest: int = 0

    def emit(self, op: int, *operands: int) -> int:
        """Write one instruction; say where it stands."""
        self.release()
        self.code.append([op, *operands] + [0] * (3 - len(operands)))
        return len(self.code) - 1

    def release(self) -> None:
        if self.held:
            held, self.held = self.held, 0
            self.emit(SKIP, held)

    def here(self) -> int:
        """A place that may be jumped to: what stands before is not merged with what follows."""
        self.release()
        self.label = len(self.code)
        return self.label

    def run(self, op: int, slot: Slot) -> None:
        """A number, in one instruction with its neighbours of the same width."""
        self.release()
        if len(self.code) > max(self.label, 0):
            last = self.code[-1]
            if last[0] == op and (last[1] + last[3], last[2] + last[3]) == (slot.cell, slot.bit):
                last[3] += 1
                return
        self.emit(op, slot.cell, slot.bit, 1)

    def node(self, declared: Type, table: int, prefix: str, path: str) -> None:
        """Write one node. `prefix` names the child table in `chosen`, `path` the column."""
        match declared:
            case Struct():
                for inner in declared.fields:
                    self.member(inner, table, prefix, joined(path, inner.name))
            case Optional():
                self.guarded(IF, declared.of, table, prefix, path)
            case Tail():
                self.guarded(IF_LEFT, declared.of, table, prefix, path)
            case Union():
                self.union(declared, table, prefix, path)
            case List() | Array():
                self.loop(declared, table, prefix, path)
            case _:
                self.leaf(declared, self.place(declared, table, prefix, path))

    def member(self, inner: Field, table: int, prefix: str, path: str) -> None:
        if inner.keep:
            self.node(inner.type, table, prefix, path)
            return
        assert isinstance(inner.type, Opaque)
        slot = self.place(U32(), table, prefix, f"{path}_length")
        cell, bit = (slot.cell, slot.bit) if slot else (-1, 0)
        self.emit(BULK, cell, bit, inner.type.limit)

    def place(self, declared: Type, table: int, prefix: str, path: str) -> Slot | None:
        """Where the column goes, or None where nobody wants it."""
        if prefix + path not in self.chosen:
            return None
        return self.layouts[table].slot(path, isinstance(declared, SPANS))

    def leaf(self, declared: Type, slot: Slot | None) -> None:
        kind = type(declared)
        cell, bit = (slot.cell, slot.bit) if slot else (-1, 0)
        match declared:
            case Opaque(limit=size, fixed=True):
                self.fixed(FIXED, slot, padded(size), size)
            case Opaque(limit=limit) | Text(limit=limit):
                self.emit(SPAN, cell, bit, limit) if slot else self.emit(OVER, limit)
            case Rest():
                self.emit(REST, cell, bit)
            case LastInt():
                self.emit(LAST_INT, cell, bit)
            case U32() | U64() | I64() if slot:
                self.run(RUNS[kind], slot)
            case _:
                self.fixed(TRUTH if kind is Bool else INT, slot, FIXED_SIZES[kind], 0)

    def fixed(self, op: int, slot: Slot | None, size: int, operand: int) -> None:
        if slot:
            self.emit(op, slot.cell, slot.bit, operand)
        else:
            self.held += size

    def guarded(self, op: int, of: Type, table: int, prefix: str, path: str) -> None:
        jump = self.emit(op)
        self.node(of, table, prefix, path)
        self.code[jump][1] = self.here()

    def union(self, declared: Union, table: int, prefix: str, path: str) -> None:
        slot = self.place(declared.tag.type, table, prefix, joined(path, declared.tag.name))
        cell, bit = (slot.cell, slot.bit) if slot else (-1, 0)
        self.emit(SWITCH, cell, bit, len(declared.arms))
        cases = [self.emit(CASE, tag) for tag in declared.arms]
        exits = [self.emit(GOTO)]
        default = exits[0]
        for case, arm in zip(cases, declared.arms.values(), strict=True):
            self.code[case][2] = self.here()
            self.node(arm, table, prefix, path)
            exits.append(self.emit(GOTO))
        self.code[default][1] = self.here()
        self.node(declared.default, table, prefix, path)
        out = self.here()
        for jump in exits[1:]:
            self.code[jump][1] = out

    def loop(self, declared: List | Array, table: int, prefix: str, path: str) -> None:
        child, name = -1, f"{prefix}{path}."
        if any(chosen.startswith(name) for chosen in self.chosen):
            child = len(self.layouts)
            self.layouts.append(Layout(path, table, CHILD_HEADER))
        level, self.level = self.level, self.level + 1
        self.deepest = max(self.deepest, self.level)
        if isinstance(declared, Array):
            self.emit(COUNT, level, declared.limit)
        else:
            self.emit(ENTER, level, MOST_ENTRIES)
        start = self.here()
        self.emit(EACH if isinstance(declared, Array) else MORE, level, child)
        self.node(declared.of, child, name, "")
        if child >= 0:
            self.emit(LEAVE)
        self.emit(GOTO, start)
        self.code[start][3] = self.here()
        self.level = level
