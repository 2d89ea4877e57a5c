"""Rows and chunks as Arrow tables.

In: rows of `analyzer.render.rows`, chunks of `analyzer.records.calls`. Out: Arrow tables with the columns
and types of `analyzer.render.columns`, whether they have rows or not.

Theory. Arrow holds what NumPy and pandas cannot say apart: a null and a zero. Columns of the calls table go
over without a copy where they can; repeated words are dictionaries.

Never: writes; filters by hand what Arrow can.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.records.calls import NO_REPLY
from analyzer.records.gather import Texts
from analyzer.render import buffers
from analyzer.render.clean import clean
from analyzer.render.columns import CONFIDENCES, SEVERITIES, TABLES, Column
from analyzer.render.view import Filters, addresses

if TYPE_CHECKING:
    from analyzer.records.calls import Calls, Chunk, Piece
    from analyzer.render.rows import Row
    from analyzer.sessions.world import Sessions

WORDS = pa.dictionary(pa.int32(), pa.string())
LEVELS = pa.dictionary(pa.int32(), pa.string(), ordered=True)
TYPES = {
    "int": pa.int64(),
    "uint": pa.uint64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "wire": pa.string(),
    "path": WORDS,
    "hex": pa.string(),
    "category": WORDS,
    "severity": LEVELS,
    "confidence": LEVELS,
    "time": pa.timestamp("ns", "UTC"),
    "duration": pa.duration("ns"),
    "list": pa.list_(pa.int64()),
}
HOSTS = ("client", "server")
ORDERS = {"severity": SEVERITIES, "confidence": CONFIDENCES}


def schema(name: str) -> Any:
    """The Arrow schema of a table."""
    return pa.schema([(column.name, TYPES[column.kind]) for column in TABLES[name]])


def from_rows(name: str, rows: Iterable[Row]) -> Any:
    """A table of the sessions."""
    gathered = list(rows)
    columns = TABLES[name]
    arrays = [_column(column, [row[column.name] for row in gathered]) for column in columns]
    return pa.Table.from_arrays(arrays, schema=schema(name))


def _column(column: Column, values: list[Any]) -> Any:
    if column.kind == "hex":
        values = [None if value is None else value.hex() for value in values]
    elif column.kind in ("wire", "text", "path", "category"):
        values = [None if value is None else clean(value) for value in values]
    kind = TYPES[column.kind]
    if column.kind in ORDERS:
        order = ORDERS[column.kind]
        places = np.array([order.index(value) for value in values], np.int32)
        return buffers.words(places, order, ordered=True)
    if kind == WORDS:
        return buffers.strings(values).dictionary_encode()
    if kind == pa.string():
        return buffers.strings(values)
    if column.kind == "list":
        return buffers.lists(values)
    return buffers.bools(values) if column.kind == "bool" else buffers.integers(values, kind)


# -- calls --------------------------------------------------------------------------------------


def from_chunk(chunk: Chunk, calls: Calls, engine: Any) -> Any:
    """A chunk of the calls table."""
    arrays = [_calls_column(column, chunk, calls, engine) for column in TABLES["calls"]]
    return pa.Table.from_arrays(arrays, schema=schema("calls"))


def _calls_column(column: Column, chunk: Chunk, calls: Calls, engine: Any) -> Any:
    name = column.name
    if name in HOSTS:
        return _hosts(chunk.base[name], engine)
    if name in chunk.base:
        return _base(column, chunk.base[name], calls)
    pieces = chunk.pieces.get(name)
    if not pieces:
        return pa.nulls(chunk.rows, TYPES[column.kind])
    if column.kind == "path":
        return _paths(_scattered(chunk.rows, pieces, np.int32), engine)
    if isinstance(pieces[0].values, Texts):
        return _texts(chunk.rows, pieces)
    values = _scattered(chunk.rows, pieces, np.int32 if column.kind == "category" else np.int64)
    missing = np.ones(chunk.rows, np.bool_)
    for piece in pieces:
        missing[piece.rows] = False
    if column.kind == "category":
        return buffers.words(values, calls.vocabulary(name).words, missing)
    if column.kind == "uint":
        values = values.view(np.uint64)
    elif column.kind == "bool":
        values = values.astype(np.bool_)
    return buffers.numbers(values, TYPES[column.kind], missing)


def _base(column: Column, values: Any, calls: Calls) -> Any:
    """A column that every row has; -1 is null, and so is a time difference of a row without a reply."""
    if column.kind == "category":
        return buffers.words(values, [clean(word) for word in calls.vocabulary(column.name).words])
    if column.kind == "time":
        return buffers.numbers(values, TYPES["time"])
    if column.kind == "duration":
        return buffers.numbers(values, TYPES["duration"], values == NO_REPLY)
    return buffers.numbers(values.astype(np.int64), pa.int64(), values == -1)


def _hosts(hosts: Any, engine: Any) -> Any:
    unique, place = np.unique(hosts, return_inverse=True)
    return buffers.words(place, [engine.sessions.hosts.address(host) for host in unique.tolist()])


def _paths(handles: Any, engine: Any) -> Any:
    """Paths of handles, as the sessions know them now."""
    unique, place = np.unique(handles, return_inverse=True)
    found = engine.sessions.handles.paths(handle for handle in unique.tolist() if handle >= 0)
    paths = [found.get(handle) for handle in unique.tolist()]
    known = np.array([path is not None for path in paths], np.bool_)
    codes = np.where(known, np.cumsum(known) - 1, -1)[place]
    return buffers.words(codes, [clean(path) for path in paths if path is not None])


def _scattered(rows: int, pieces: list[Piece], dtype: Any) -> Any:
    values = np.full(rows, -1, dtype)
    for piece in pieces:
        values[piece.rows] = piece.values
    return values


def _texts(rows: int, pieces: list[Piece]) -> Any:
    where = np.full(rows, -1, np.int64)
    base = 0
    for piece in pieces:
        where[piece.rows] = base + np.arange(len(piece.rows))
        base += len(piece.rows)
    found = pa.concat_arrays([_strings(piece.values) for piece in pieces])
    return found.take(buffers.numbers(where, pa.int64(), where < 0))


def _strings(texts: Any) -> Any:
    """Text that is plain goes over as it is; what is not is cleaned value by value."""
    offsets = pa.py_buffer(np.ascontiguousarray(texts.offsets, np.int32))
    data = pa.py_buffer(texts.data)
    if texts.is_plain:
        return pa.StringArray.from_buffers(len(texts), offsets, data)
    raw = pa.BinaryArray.from_buffers(pa.binary(), len(texts), [None, offsets, data])
    return buffers.strings([clean(value) for value in raw.to_pylist()])


def chosen(table: Any, filters: Filters, sessions: Sessions) -> Any:
    """The rows of the calls table that the filters let through."""
    tests = []
    for column, wanted in (("client", filters.client), ("server", filters.server)):
        if wanted is not None:
            known = buffers.strings(sorted(addresses(sessions, wanted)))
            tests.append(pc.is_in(table[column].cast(pa.string()), known))
    for limit, compare in ((filters.since, pc.greater_equal), (filters.until, pc.less_equal)):
        if limit is not None:
            moment = pa.scalar(limit.at(sessions.start), pa.int64()).cast(TYPES["time"])
            tests.append(compare(table["time"], moment))
    if filters.file is not None:
        ends = pc.ends_with(table["path"].cast(pa.string()), filters.file)
        tests.append(pc.or_kleene(ends, pc.equal(table["fh"], filters.file)))
    return table.filter(reduce(pc.and_kleene, tests)) if tests else table
