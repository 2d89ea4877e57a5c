"""What a batch decodes to: columns over the rows that the kernel stored.

In: a plan and the store it was followed into. Out: `Columns`.

Theory. Nothing is copied: a column is a view with the stride of a row, and a `valid` column is
made of the rows' valid bits when somebody asks for it. Spans are positions in the memory that
was decoded, good for as long as that memory stands.

Never: looks at the bytes of a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from analyzer.frozen import frozen
from analyzer.index import Ints
from analyzer.schema.plan import Layout, Plan

Bools = NDArray[np.bool_]
Unsigned = NDArray[np.uint64]


class Valid(Mapping[str, Bools]):
    """For each column, in which rows it was on the wire."""

    def __init__(self, bits: Ints, layout: Layout) -> None:
        self._bits = bits
        self._layout = layout
        self._made: dict[str, Bools] = {}
        self._everywhere: int | None = None  # bits that all rows have

    def __getitem__(self, name: str) -> Bools:
        if name not in self._made:
            self._made[name] = (self._bits & np.int64(1 << self._layout.slots[name].bit)) != 0
        return self._made[name]

    def is_everywhere(self, name: str) -> bool:
        """Whether a column was there in every row."""
        if self._everywhere is None:
            self._everywhere = int(np.bitwise_and.reduce(self._bits))
        return bool(self._everywhere & 1 << self._layout.slots[name].bit)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.slots)

    def __len__(self) -> int:
        return len(self._layout.slots)


@frozen
class Columns:
    """Decoded messages, or the entries of one of their lists.

    `values` has the numbers as int64, 0 where not valid; `start` and `stop` the spans of bytes.
    `fault` (a `Fault`, or -1) and `end` (where decoding came to) are of messages; entries, whose
    faults are those of their message, have them empty. `children` has, for each list, the row
    that each entry belongs to and the entries.
    """

    rows: int
    values: Mapping[str, Ints]
    start: Mapping[str, Ints]
    stop: Mapping[str, Ints]
    valid: Valid
    fault: Ints
    end: Ints
    children: Mapping[str, tuple[Ints, Columns]]

    def unsigned(self, name: str) -> Unsigned:
        """A column of unsigned hypers, whose upper half is negative in `values`."""
        return self.values[name].view(np.uint64)


def collect(plan: Plan, store: Ints, rows: int, entries: int, fault: Ints, end: Ints) -> Columns:
    """The columns of `rows` messages and of the `entries` of their lists."""
    width = plan.layouts[0].width
    main = store[: rows * width].reshape(rows, width)
    child_width = max((layout.width for layout in plan.layouts[1:]), default=0)
    child = store[rows * width : rows * width + entries * child_width].reshape(entries, child_width)
    return _table(plan, 0, main, child, np.empty(0, np.int64), fault, end)


def _table(plan: Plan, table: int, cells: Ints, child: Ints, place: Ints, fault: Ints, end: Ints) -> Columns:
    """The columns of one table; `place` has, for each entry, its row in the parent table."""
    layout = plan.layouts[table]
    values, start, stop = {}, {}, {}
    for name, slot in layout.slots.items():
        if slot.is_span:
            start[name], stop[name] = cells[:, slot.cell], cells[:, slot.cell + 1]
        else:
            values[name] = cells[:, slot.cell]
    return Columns(
        len(cells),
        values,
        start,
        stop,
        Valid(cells[:, 0], layout),
        fault,
        end,
        dict(_children(plan, table, child, place)),
    )


def _children(plan: Plan, table: int, child: Ints, place: Ints) -> Iterator[tuple[str, tuple[Ints, Columns]]]:
    none = np.empty(0, np.int64)
    for index, layout in enumerate(plan.layouts):
        if layout.parent != table:
            continue
        mine = np.flatnonzero(child[:, 1] == index) if len(plan.layouts) > 2 else np.arange(len(child))
        cells = child[mine] if len(mine) < len(child) else child
        parent = cells[:, 2] if table == 0 else place[cells[:, 2]]
        where = np.zeros(len(child), np.int64)
        where[mine] = np.arange(len(mine))
        yield layout.name, (parent, _table(plan, index, cells, child, where, none, none))
