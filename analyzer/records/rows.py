"""Decoded columns to one dictionary per message.

In: the columns of a batch. Out: a dict of plain Python values per row: int, bool as int, bytes; fields that
were not on the wire are absent. And what is wrong with each: an enum value that is none is seen here.

Theory. Only rare messages become dictionaries; a batch of them is turned column by column, so the price per
message is that of one `zip`.

Never: is used for NFS traffic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault
from analyzer.schema.batch import Decoder
from analyzer.schema.columns import own
from analyzer.schema.rows import Bools, Columns
from analyzer.schema.xdr import U32, U64, Type
from analyzer.tables import I64, Bytes

Rows = NDArray[np.intp]


class RowDecoder:
    """Decodes messages of one declared type to dictionaries."""

    def __init__(self, declared: Type, compiled: bool) -> None:
        self._decoder = Decoder(declared, None, compiled)
        self._unsigned = {column.name for column in own(declared) if isinstance(column.type, U64)}
        self._enums = {
            column.name: list(column.type.names)
            for column in own(declared)
            if isinstance(column.type, U32) and column.type.names and not column.type.is_open
        }

    def columns(self, memory: Bytes, start: I64, kept: I64, size: I64) -> Columns:
        """The messages at memory[start[i] : start[i] + kept[i]]."""
        return self._decoder.decode(memory, start, start + kept, size)

    def rows(self, memory: Bytes, columns: Columns, chosen: Rows) -> list[dict[str, Any]]:
        """The values of the chosen ones of these messages."""
        rows = self._table(memory, columns, chosen)
        if columns.children:
            place = dict(zip(chosen.tolist(), rows, strict=True))
            for name, (parents, entries) in columns.children.items():
                for row in rows:
                    row[name] = []
                all_of_them = np.arange(entries.rows)
                for parent, entry in zip(
                    parents.tolist(), self._table(memory, entries, all_of_them), strict=True
                ):
                    if parent in place:
                        place[parent][name].append(entry)
        return rows

    def faults(self, columns: Columns) -> I64:
        """The fault of each message, -1 none. A value that is none says more than bytes behind the end."""
        faults = columns.fault
        for name, known in self._enums.items():
            odd, values = columns.valid[name].copy(), columns.values[name]
            for number in known:  # they are few; `np.isin` takes 20 ms of start-up
                odd &= values != number
            faults[odd & ((faults < 0) | (faults == Fault.XDR_TRAILING))] = Fault.XDR_ENUM
        return faults

    def _table(self, memory: Bytes, columns: Columns, chosen: Rows) -> list[dict[str, Any]]:
        names: list[str] = []
        lists: list[list[Any]] = []
        whole = True
        view = memory.data
        for name, values in columns.values.items():
            numbers = values.view(np.uint64) if name in self._unsigned else values
            whole &= self._add(names, lists, name, numbers[chosen].tolist(), columns.valid[name][chosen])
        for name, start in columns.start.items():
            spans = zip(start[chosen].tolist(), columns.stop[name][chosen].tolist(), strict=True)
            texts = [bytes(view[a:b]) for a, b in spans]
            whole &= self._add(names, lists, name, texts, columns.valid[name][chosen])
        rows = [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
        if not names:
            return [{} for _ in chosen]
        if not whole:
            rows = [{name: value for name, value in row.items() if value is not None} for row in rows]
        return rows

    @staticmethod
    def _add(names: list[str], lists: list[list[Any]], name: str, values: list[Any], valid: Bools) -> bool:
        names.append(name)
        whole = bool(valid.all())
        if not whole:
            values = [value if there else None for value, there in zip(values, valid.tolist(), strict=True)]
        lists.append(values)
        return whole
