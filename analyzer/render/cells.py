"""A chunk of the calls table laid out for the kernel of `lines`.

In: `Chunk`s, in order; what the sessions know of hosts and paths by then. Out: `Cells`.

Theory. Words (hosts, paths, categories) are made into cells once and known by number from then on. A code of
the chunk means a word by way of a list per column, in which a list of hosts and one of paths do for all
columns that show them. When there are too many words all are forgotten, between two chunks.

Never: writes; looks at rows one by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.records.gather import Texts, distinct
from analyzer.render.clean import cell, clean
from analyzer.render.columns import TABLES, Column
from analyzer.render.lines import (
    COMMAS,
    DURATION,
    FIRST,
    HEX,
    IN_BASE,
    INT,
    KIND,
    MOST_IN_RUN,
    RUN,
    SLOT,
    SPARE,
    TEXT,
    TIME,
    UINT,
    WORD,
    Cells,
)
from analyzer.render.texts import cleaned
from analyzer.tables import I32, I64, Bytes

if TYPE_CHECKING:
    from analyzer.records.calls import Calls, Chunk

COLUMNS = TABLES["calls"]
HOSTS = ("client", "server")
PATHS = ("path", "dir_path")
KINDS = {"int": INT, "uint": UINT, "time": TIME, "duration": DURATION, "wire": TEXT, "hex": HEX}
REPEATING = {
    *("client", "client_port", "server", "server_port", "transport"),
    *("program", "version", "procedure", "rpc_status", "status", "auth", "uid", "gid", "machine"),
    *("retransmits", "count", "data_length", "stable", "committed", "eof"),
}
"""Columns that mostly say what they said in a row a little before."""
MOST_WORDS = 8 << 20  # bytes of words that are known at once
MOST_FORMS = 64
LAYOUTS = 64  # that are remembered
UNASKED = -2  # instead of the number of a word
TRUTHS = ("false", "true")


class Words:
    """Cells that occur again and again, by number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._ends = array("q", [0])
        self._data = bytearray()
        self._laid_out: tuple[I64, Bytes] | None = None

    def __len__(self) -> int:
        return len(self._data)

    def number(self, cell: str) -> int:
        """The number of a cell."""
        found = self._numbers.get(cell)
        if found is None:
            found = self._numbers[cell] = len(self._numbers)
            self._data += cell.encode()
            self._ends.append(len(self._data))
            self._laid_out = None
        return found

    def numbers(self, words: Iterable[str | None]) -> list[int]:
        """The numbers of texts as cells; -1 for None."""
        return [-1 if word is None else self.number(quoted(word)) for word in words]

    def laid_out(self) -> tuple[I64, Bytes]:
        """Where the cells end, the first one behind one that is empty, and their bytes."""
        if self._laid_out is None:
            data = np.zeros(len(self._data) + SPARE, np.uint8)
            data[:-SPARE] = self._data
            self._laid_out = np.array(self._ends, np.int64), data
        return self._laid_out


def quoted(word: str) -> str:
    """A text from the wire as a cell of CSV."""
    return '"' + cell(clean(word)).replace('"', '""') + '"'


class Lookups(NamedTuple):
    """What the codes of a chunk mean: for each list of words the number of each code's, and the words."""

    numbers: dict[str, I32]
    word_ends: I64
    words: Bytes


class Dictionary:
    """Knows the words of one table."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._forget()

    def _forget(self) -> None:
        self._words = Words()
        self._by_code: dict[str, list[int]] = {}
        self._hosts: I32 = np.full(1, -1, np.int32)
        self._paths: I32 = np.full(0, UNASKED, np.int32)
        self._named = -1  # when these paths were asked for

    def lookups(self, chunk: Chunk, engine: Any) -> Lookups:
        """What the codes of a chunk mean now."""
        if len(self._words) > MOST_WORDS:
            self._forget()
        there = {*chunk.base, *chunk.pieces}
        names = dict.fromkeys(_list_name(column) for column in COLUMNS if column.name in there)
        numbers = {name: self._numbers(name, chunk, engine) for name in names if name is not None}
        return Lookups(numbers, *self._words.laid_out())

    def _numbers(self, name: str, chunk: Chunk, engine: Any) -> I32:
        """The number of each code's word."""
        if name == "host":
            return self._of_hosts(chunk, engine)
        if name == "path":
            return self._of_paths(chunk, engine)
        if name == "bool":
            return np.array([self._words.number(word) for word in TRUTHS], np.int32)
        known = self._by_code.setdefault(name, [])
        known += self._words.numbers(self._calls.vocabulary(name).words[len(known) :])
        return np.array(known, np.int32)

    def _of_hosts(self, chunk: Chunk, engine: Any) -> I32:
        met = _met(chunk.base[name] for name in HOSTS)
        if len(met) and int(met[-1]) >= len(self._hosts):
            more = np.full(2 * int(met[-1]), -1, np.int32)
            self._hosts = np.concatenate([self._hosts, more])
        new = met[self._hosts[met] < 0].tolist()
        self._hosts[new] = self._words.numbers(map(engine.sessions.hosts.address, new))
        return self._hosts

    def _of_paths(self, chunk: Chunk, engine: Any) -> I32:
        met = _met(piece.values for name in PATHS for piece in chunk.pieces.get(name, ()))
        handles = engine.sessions.handles
        if handles.changes != self._named:
            self._named, self._paths = handles.changes, self._paths[:0]
        size = int(met[-1]) + 1 if len(met) else 0
        if size > len(self._paths):
            more = np.full(2 * size - len(self._paths), UNASKED, np.int32)
            self._paths = np.concatenate([self._paths, more])
        new = met[self._paths[met] == UNASKED].tolist()
        paths = handles.paths(new)
        self._paths[new] = self._words.numbers(map(paths.get, new))
        return self._paths


def cells(chunk: Chunk, lookups: Lookups) -> Cells:
    """A chunk as it is to be written."""
    form, present = _forms(chunk)
    lists = tuple((name, len(numbers)) for name, numbers in lookups.numbers.items())
    forms, columns, commas = _layout(tuple(chunk.base), tuple(chunk.pieces), present, lists)
    return Cells(
        form,
        forms,
        columns,
        commas,
        chunk.matrix,
        *_scattered(chunk),
        np.concatenate(list(lookups.numbers.values())),
        lookups.word_ends,
        lookups.words,
    )


@lru_cache(LAYOUTS)
def _layout(
    base: tuple[str, ...],
    pieces: tuple[str, ...],
    present: tuple[frozenset[str], ...],
    lists: tuple[tuple[str, int], ...],
) -> tuple[I64, I64, I64]:
    """`forms`, `columns` and `commas` of chunks that have these columns, each form some of them, and lists of
    words of such lengths."""
    firsts: dict[str | None, int] = {None: 0}
    size = 0
    for name, length in lists:
        firsts[name] = size
        size += length
    slots = {name: 1 << IN_BASE | slot << SLOT for slot, name in enumerate(base)}
    slots |= {name: slot << SLOT for slot, name in enumerate(pieces)}
    ends, columns, behind = [0], array("q"), array("q")
    for there in present:
        commas = 0
        run = -1  # where the run begins that the column before is of
        for column in COLUMNS:
            if column.name in there:
                if column.name not in REPEATING:
                    run = -1
                elif run < 0 or len(columns) - run > MOST_IN_RUN:
                    run = len(columns)
                    columns.append(RUN << KIND)
                if run >= 0:
                    columns[run] += 1 << SLOT
                of = _list_name(column)
                kind = KINDS[column.kind] if of is None else WORD
                columns.append(kind << KIND | slots[column.name] | commas << COMMAS | firsts[of] << FIRST)
                commas = 0
            commas += 1
        ends.append(len(columns))
        behind.append(commas - 1)
    return np.array(ends, np.int64), np.array(columns, np.int64), np.array(behind, np.int64)


def _forms(chunk: Chunk) -> tuple[I64, tuple[frozenset[str], ...]]:
    """The form of each row, which goes by its procedure, and the columns of each form."""
    names, form = distinct(chunk.base["procedure"])
    form = np.minimum(form, MOST_FORMS - 1)
    count = min(len(names), MOST_FORMS)
    present = [set(chunk.base) for _ in range(count)]
    for column, pieces in chunk.pieces.items():
        for piece in pieces:
            met = np.zeros(count, np.bool_)
            met[form[piece.rows[:1] if piece.which is None else piece.rows]] = True
            for number in np.flatnonzero(met).tolist():
                present[number].add(column)
    return form, tuple(map(frozenset, present))


def _list_name(column: Column) -> str | None:
    """Which list of words the codes of a column are of; None where it has none."""
    if column.name in HOSTS:
        return "host"
    if column.kind == "category":
        return column.name
    return column.kind if column.kind in ("path", "bool") else None


def _met(columns: Iterable[Any]) -> NDArray[np.intp]:
    """The numbers that occur, from 0 on, in order."""
    found = np.zeros(0, np.bool_)
    for column in columns:
        known = column[column >= 0]
        most = int(known.max(initial=-1)) + 1
        if most > len(found):
            found = np.concatenate([found, np.zeros(most - len(found), np.bool_)])
        found[known] = True
    return np.flatnonzero(found)


def _scattered(chunk: Chunk) -> tuple[I32, I64, I64, NDArray[np.uint8]]:
    """`place`, `values`, `text_ends` and `texts` of a chunk."""
    place = np.full((len(chunk.pieces), chunk.rows), -1, np.int32)
    values: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    ends: list[NDArray[Any]] = [np.zeros(1, np.int64)]
    data: list[NDArray[np.uint8]] = []
    numbers = texts = size = 0
    for slot, pieces in enumerate(chunk.pieces.values()):
        for piece in pieces:
            if isinstance(piece.values, Texts):
                place[slot, piece.rows] = piece.places(texts)
                shown = piece.values if piece.values.is_hex else cleaned(piece.values)
                ends.append(shown.offsets[1:] + size)
                data.append(shown.data)
                texts += len(shown)
                size += len(shown.data)
            else:
                place[slot, piece.rows] = piece.places(numbers)
                values.append(piece.values)
                numbers += len(piece.values)
    return (
        place,
        np.concatenate(values),
        np.concatenate(ends),
        np.concatenate([*data, np.zeros(SPARE, np.uint8)]),
    )
