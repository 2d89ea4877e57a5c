"""Rows and chunks as Arrow tables.

In: rows of `analyzer.render.rows`, chunks of `analyzer.records.calls`. Out: Arrow tables with the columns
and types of `analyzer.render.columns`, whether they have rows or not.

Theory. Arrow holds what NumPy and pandas cannot say apart: a null and a zero. Columns of the calls table go
over without a copy where they can; repeated words are dictionaries.

Never: writes; filters by hand what Arrow can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from analyzer.records.calls import NO_REPLY
from analyzer.records.gather import Texts, distinct
from analyzer.render import buffers
from analyzer.render.clean import clean
from analyzer.render.columns import CONFIDENCES, SEVERITIES, TABLES, Column
from analyzer.render.texts import shown

if TYPE_CHECKING:
    from analyzer.records.calls import Calls, Chunk, Piece
    from analyzer.render.rows import Row

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


def from_chunk(chunk: Chunk, rows: Any, calls: Calls, engine: Any) -> Any:
    """Rows of a chunk of the calls table."""
    arrays = [_calls_column(column, chunk, calls, engine) for column in TABLES["calls"]]
    table = pa.Table.from_arrays(arrays, schema=schema("calls"))
    return table if len(rows) == chunk.rows else table.take(buffers.numbers(rows, pa.int64()))


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
    unique, place = distinct(hosts)
    return buffers.words(place, [engine.sessions.hosts.address(host) for host in unique.tolist()])


def _paths(handles: Any, engine: Any) -> Any:
    """Paths of handles, as the sessions know them now."""
    unique, place = distinct(handles)
    found = engine.sessions.handles.paths(handle for handle in unique.tolist() if handle >= 0)
    paths = [found.get(handle) for handle in unique.tolist()]
    known = np.array([path is not None for path in paths], np.bool_)
    codes = np.where(known, np.cumsum(known) - 1, -1)[place]
    return buffers.words(codes, [clean(path) for path in paths if path is not None])


def _scattered(rows: int, pieces: list[Piece], dtype: Any) -> Any:
    values = np.full(rows, -1, dtype)
    for piece in pieces:
        assert not isinstance(piece.values, Texts)
        values[piece.rows] = piece.values if piece.which is None else piece.values[piece.which]
    return values


def _texts(rows: int, pieces: list[Piece]) -> Any:
    where = np.full(rows, -1, np.int64)
    base, parts = 0, []
    for piece in pieces:
        assert isinstance(piece.values, Texts)
        where[piece.rows] = piece.places(base)
        base += len(piece.values)
        parts.append(_strings(shown(piece.values)))
    found = pa.concat_arrays(parts)
    return found.take(buffers.numbers(where, pa.int64(), where < 0))


def _strings(texts: Texts) -> Any:
    offsets = pa.py_buffer(np.ascontiguousarray(texts.offsets, np.int32))
    return pa.StringArray.from_buffers(len(texts), offsets, pa.py_buffer(texts.data))
