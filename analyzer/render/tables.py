"""Tables to files: CSV, Parquet, JSON lines; and to DataFrames.

In: Arrow tables with the columns of `analyzer.render.columns`. Out: bytes in a stream, or DataFrames.

Theory. A writer takes table after table, so that the calls of a capture of any size are written in little
memory. CSV is read by spreadsheets: a text that begins like a formula gets a `'` in front.

Never: changes a value, but for that `'`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from analyzer.render import buffers, digits
from analyzer.render.arrow import WORDS, schema
from analyzer.render.clean import cell
from analyzer.render.columns import TABLES, head
from analyzer.render.times import SECOND, rfc3339

if TYPE_CHECKING:
    import pandas as pd

FORMULA = r"^[=+\-@\t\r]"
GROUP = 1 << 15  # rows of a row group: more would make memory grow with the capture


class Writer(Protocol):
    """Takes tables; is done when closed."""

    def write(self, table: Any) -> None:
        """Add rows."""

    def close(self) -> None:
        """No more rows."""


def writer(style: str, name: str, stream: IO[bytes]) -> Writer:
    """A writer of a table in one of `FORMATS`."""
    made: dict[str, type[CsvWriter | ParquetWriter | LineWriter]] = {
        "csv": CsvWriter,
        "parquet": ParquetWriter,
        "jsonl": LineWriter,
    }
    return made[style](name, stream)


class CsvWriter:
    """RFC 4180, with a head, lines ended by a newline."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._stream = stream
        self._columns = TABLES[name]
        stream.write(head(name))

    def write(self, table: Any) -> None:
        """Add rows."""
        import pyarrow.csv

        if not table.num_rows:
            return
        cells = pa.table(
            [_cells(table[column.name], column.kind) for column in self._columns], table.column_names
        )
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(cells, sink, pyarrow.csv.WriteOptions(include_header=False, batch_size=8192))
        self._stream.write(sink.getvalue())

    def close(self) -> None:
        """No more rows."""


class ParquetWriter:
    """Parquet, in row groups of a good size."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        import pyarrow.parquet

        self._writer = pyarrow.parquet.ParquetWriter(stream, schema(name), compression="zstd")
        self._waiting: list[Any] = []
        self._rows = 0

    def write(self, table: Any) -> None:
        """Add rows."""
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(joined(self._waiting))
        self._waiting, self._rows = [], 0

    def close(self) -> None:
        """No more rows."""
        self._flush()
        self._writer.close()


class LineWriter:
    """One JSON object a line."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._stream = stream
        self._columns = TABLES[name]

    def write(self, table: Any) -> None:
        """Add rows."""
        names = [column.name for column in self._columns]
        values = [_plain(table[column.name], column.kind) for column in self._columns]
        for row in zip(*values, strict=True):
            line = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
            self._stream.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        """No more rows."""


def joined(tables: Iterable[Any]) -> Any:
    """Tables behind one another, with one dictionary for each column."""
    return pa.concat_tables(tables).unify_dictionaries()


def _plain(column: Any, kind: str) -> list[Any]:
    """Values for JSON."""
    if kind == "time":
        return [None if ns is None else rfc3339(ns) for ns in column.cast(pa.int64()).to_pylist()]
    if kind == "duration":
        return [None if ns is None else ns / SECOND for ns in column.cast(pa.int64()).to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _cells(column: Any, kind: str) -> Any:
    """A column as CSV shows it."""
    chunks = column.chunks
    if kind == "time":
        return pa.chunked_array([digits.times(*buffers.taken_apart(chunk)) for chunk in chunks], pa.string())
    if kind == "duration":
        return pa.chunked_array(
            [digits.durations(*buffers.taken_apart(chunk)) for chunk in chunks], pa.string()
        )
    if kind == "list":
        return pa.chunked_array([pc.binary_join(column.combine_chunks().cast(pa.list_(pa.string())), " ")])
    if pa.types.is_dictionary(column.type):
        return pa.chunked_array([_harmless_words(chunk) for chunk in chunks], WORDS)
    if kind in ("text", "wire") and column.null_count < len(column):
        return _harmless(column)
    return column


def _harmless(column: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    risky = pc.match_substring_regex(column, FORMULA)
    if not pc.any(risky).as_py():
        return column
    quoted = pc.binary_join_element_wise("'", column, "")
    return pc.if_else(risky, quoted, column)


def _harmless_words(column: Any) -> Any:
    words = [None if word is None else cell(word) for word in column.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(column.indices, buffers.strings(words))


def to_pandas(table: Any) -> pd.DataFrame:
    """A DataFrame with types that know null."""
    import pandas as pd

    types = {
        pa.int64(): pd.Int64Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(types_mapper=types.get)
    return frame
