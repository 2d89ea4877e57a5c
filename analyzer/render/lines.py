"""Rows of the calls table to lines of CSV (RFC 4180), by a kernel.

In: `Cells`: columns as integers, texts and words as bytes by number. Out: bytes.

Theory. A capture of a million packets has forty million cells, most of them empty, most others seen before:
a library that makes each column into text and then each row takes longer than all of the analysis. Here one
kernel walks through the rows and touches only columns that some row of the chunk has. What repeats (a host,
a procedure, a path) is a word: made into a cell once, copied eight bytes at a time. A number is written two
digits at a time, handles two, and what stands in front of the fraction of a second once a second. It writes
what the Arrow writer of `tables` writes, byte for byte: text in quotes, a quote doubled, nothing for null.

Never: decides what is safe to show, but that a text does not begin like a formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.render.clean import FORMULA
from analyzer.tables import I32, I64, Bytes

INT, UINT, TIME, DURATION, WORD, TEXT, HEX = range(7)
WIDEST = (21, 20, 33, 25)  # bytes of the longest cell of the kinds before WORD
KIND, IN_BASE, SLOT, NONE, FIRST, COMMAS = range(6)  # what a column is

ROOM = 1 << 20  # bytes written at a time
SPARE = 8  # bytes that `copy` may read and write beyond the last one
QUOTE, COMMA, NEWLINE, APOSTROPHE, MINUS, POINT, ZERO, COLON, T, Z = b"\",\n'-.0:TZ"
SECOND = 1_000_000_000
RISKY = np.frombuffer("".join(FORMULA).encode(), np.uint8)
PAIRS = np.frombuffer("".join(f"{n:02d}" for n in range(100)).encode(), np.dtype("<u2"))
HEXES = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), np.dtype("<u2"))


class Cells(NamedTuple):
    """The rows of a chunk. A column lies in the row SLOT of `base`, where NONE says null, or in that of
    `place`, which has numbers of `values` or of texts, -1 for null. A word's number is that of its code
    in `numbers`, from FIRST on."""

    columns: I64  # [column, what]: those that are not all null, with the commas in front of each
    commas: int  # behind the last
    base: I64  # [slot, row]
    place: I32  # [slot, row]
    values: I64
    text_ends: I64  # where text n begins is where text n - 1 ends
    texts: Bytes
    numbers: I32  # of words, by code; -1 null
    word_ends: I64
    words: Bytes  # each in quotes and harmless, `SPARE` bytes behind them


@kernel
def put_number(out: Any, out2: Any, at: Any, value: Any) -> Any:
    """A number that is not negative; where it ends."""
    size = 1
    limit = 10
    while size < 19 and value >= limit:
        size += 1
        limit *= 10
    return put_digits(out, out2, at + size, value, size)


@kernel
def put_digits(out: Any, out2: Any, stop: Any, value: Any, size: Any) -> Any:
    """The last `size` digits of a number, the last one at `stop - 1`; returns `stop`."""
    at = stop
    while size > 1:
        rest = value // 100
        at -= 2
        out2[at] = PAIRS[value - rest * 100]
        value = rest
        size -= 2
    if size > 0:
        out[at - 1] = ZERO + value % 10
    return stop


@kernel
def put_uint(out: Any, out2: Any, at: Any, value: Any) -> Any:
    """An unsigned number, given as the signed one of the same 64 bits."""
    if value >= 0:
        return put_number(out, out2, at, value)
    tens = ((value >> 1) & 0x7FFFFFFFFFFFFFFF) // 5
    at = put_number(out, out2, at, tens)
    out[at] = ZERO + ((value - tens * 10) & 0xF)
    return at + 1


@kernel
def put_second(out: Any, out2: Any, second: Any) -> None:
    """`"2024-02-03T04:05:06.` at the head of `out`. The calendar is counted from the 1st of March of the
    year 0, so that leap days come last."""
    since = second // 86400 + 719468
    second -= second // 86400 * 86400
    era = since // 146097
    of_era = since - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    march = (5 * of_year + 2) // 153
    year += era * 400
    if march >= 10:
        year += 1
    put_digits(out, out2, 5, year, 4)
    put_digits(out, out2, 8, (march + 2) % 12 + 1, 2)
    put_digits(out, out2, 11, of_year - (153 * march + 2) // 5 + 1, 2)
    put_digits(out, out2, 14, second // 3600, 2)
    put_digits(out, out2, 17, second // 60 % 60, 2)
    put_digits(out, out2, 20, second % 60, 2)
    out[0] = QUOTE
    out[5] = MINUS
    out[8] = MINUS
    out[11] = T
    out[14] = COLON
    out[17] = COLON
    out[20] = POINT


@kernel
def put_text(out: Any, at: Any, texts: Any, start: Any, stop: Any) -> Any:
    """A text; a quote is doubled, what a spreadsheet takes for a formula has an apostrophe in front."""
    if start < stop:
        for i in range(len(RISKY)):
            if int(texts[start]) == int(RISKY[i]):
                out[at] = APOSTROPHE
                at += 1
    for i in range(start, stop):
        value = int(texts[i])
        out[at] = value
        at += 1
        if value == QUOTE:
            out[at] = QUOTE
            at += 1
    return at


@kernel
def copy(out8: Any, at: Any, source8: Any, start: Any, stop: Any) -> Any:
    """Copy bytes, eight at once, beyond the last one too: what comes next is written over these."""
    for i in range(start, stop, 8):
        out8[at + i - start] = source8[i]
    return at + stop - start


@kernel
def put_commas(out: Any, at: Any, count: Any) -> Any:
    """The commas between two cells."""
    for i in range(count):
        out[at + i] = COMMA
    return at + count


@kernel
def write_rows(
    columns: Any,
    commas: Any,
    base: Any,
    place: Any,
    values: Any,
    text_ends: Any,
    texts: Any,
    numbers: Any,
    word_ends: Any,
    words8: Any,
    rows: Any,
    first: Any,
    second: Any,
    head: Any,
    head2: Any,
    head8: Any,
    out: Any,
    out2: Any,
    out8: Any,
    widest: Any,
) -> Any:
    """Write `rows` from the `first` on until they end or `out` is full: (next row, bytes written, the
    second that `head` shows)."""
    at = 0
    while first < len(rows) and at + widest <= len(out):
        row = int(rows[first])
        first += 1
        for column in range(len(columns)):
            at = put_commas(out, at, int(columns[column, COMMAS]))
            kind = int(columns[column, KIND])
            slot = int(columns[column, SLOT])
            if int(columns[column, IN_BASE]) != 0:
                value = int(base[slot, row])
                if value == int(columns[column, NONE]):
                    continue
            else:
                value = int(place[slot, row])
                if value < 0:
                    continue
                if kind < TEXT:
                    value = int(values[value])
            if kind == INT:
                if value < 0:
                    out[at] = MINUS
                    at = put_uint(out, out2, at + 1, -value)
                else:
                    at = put_number(out, out2, at, value)
            elif kind == WORD:
                word = -1 if value < 0 else int(numbers[int(columns[column, FIRST]) + value])
                if word >= 0:
                    at = copy(out8, at, words8, int(word_ends[word]), int(word_ends[word + 1]))
            elif kind == UINT:
                at = put_uint(out, out2, at, value)
            else:
                if kind == TIME:
                    moment = value // SECOND
                    if moment != second:
                        second = moment
                        put_second(head, head2, second)
                    at = copy(out8, at, head8, 0, 21)
                    at = put_digits(out, out2, at + 9, value - second * SECOND, 9)
                    out[at] = Z
                    at += 1
                else:
                    out[at] = QUOTE
                    at += 1
                    if kind == HEX:
                        for i in range(int(text_ends[value]), int(text_ends[value + 1])):
                            out2[at] = HEXES[int(texts[i]) & 0xFF]
                            at += 2
                    elif kind == TEXT:
                        at = put_text(out, at, texts, int(text_ends[value]), int(text_ends[value + 1]))
                    else:
                        at = put_number(out, out2, at, value // SECOND)
                        out[at] = POINT
                        at = put_digits(out, out2, at + 10, value % SECOND, 9)
                out[at] = QUOTE
                at += 1
        at = put_commas(out, at, commas)
        out[at] = NEWLINE
        at += 1
    return first, at, second


class RowWriter:
    """Writes rows of `Cells`, in either mode of the kernels."""

    def __init__(self, compiled: bool) -> None:
        self._write = compiled_kernel(write_rows) if compiled else write_rows
        self._second = -(2**63)
        self._head = np.zeros(3 * SPARE, np.uint8)
        self._out = np.empty(ROOM + SPARE, np.uint8)

    def lines(self, cells: Cells, rows: NDArray[np.intp]) -> Iterator[memoryview]:
        """The lines of some rows, in pieces; each is overwritten when the next is asked for."""
        widest = _widest(cells)
        if len(self._out) < widest + SPARE:
            self._out = np.empty(widest + SPARE, np.uint8)
        out, head, done = self._out, self._head, 0
        while done < len(rows):
            done, size, self._second = self._write(
                *cells[:-1],
                _eights(cells.words),
                rows,
                done,
                self._second,
                head,
                _pairs(head),
                _eights(head),
                out[:-SPARE],
                _pairs(out),
                _eights(out),
                widest,
            )
            yield out[:size].data


def _widest(cells: Cells) -> int:
    """No line is longer than this."""
    longest = (int(np.diff(ends).max(initial=0)) for ends in (cells.word_ends, cells.text_ends))
    word, text = longest
    widths = np.array([*WIDEST, word, 2 * text + 3, 2 * text + 2], np.int64)
    return int(widths[cells.columns[:, KIND]].sum() + cells.columns[:, COMMAS].sum()) + cells.commas + 1


def _pairs(data: Bytes) -> NDArray[np.uint16]:
    """The two bytes at every place."""
    return np.ndarray(len(data) - 1, np.dtype("<u2"), data, strides=(1,))


def _eights(data: Bytes) -> I64:
    """The eight bytes at every place."""
    return np.ndarray(len(data) - SPARE + 1, np.dtype("<i8"), data, strides=(1,))
