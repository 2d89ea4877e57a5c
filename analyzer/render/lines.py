"""Rows of the calls table to lines of CSV (RFC 4180), by a kernel.

In: `Cells`: columns as integers, texts and words as bytes by number. Out: bytes.

Theory. A capture of a million packets has forty million cells, most of them empty, most others seen before:
a library that makes each column into text and then each row takes longer than all of the analysis. Here one
kernel walks through the rows and touches only columns that rows of their form have. What repeats (a host,
a procedure, a path) is a word: made into a cell once, copied eight bytes at a time. Cells side by side that
all repeat (who talks to whom, who asks for what) are a run, which is remembered as it was written. Numbers
and hex are written eight characters at a time, what stands in front of the fraction of a second once a
second. It writes what the Arrow writer of `tables` writes, byte for byte: text in quotes, a quote doubled,
nothing for null.

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

INT, UINT, TIME, DURATION, WORD, TEXT, HEX, RUN = range(8)
WIDEST = (21, 20, 33, 25)  # bytes of the longest cell of the kinds before WORD
NULL, NO_MOMENT = -1, -(2**63)  # in `base`: of numbers and words, of times
KIND, IN_BASE, COMMAS, SLOT, FIRST = 0, 4, 8, 16, 32  # from which bit on a number says what a column is

ROOM = 1 << 19  # bytes written at a time
PIECES = 4  # of as many that are there at once
AHEAD = 64  # rows looked at at once
RUNS = 1 << 9  # runs remembered, a power of two
RUN_BYTES = 256  # of the longest one that is
MOST_IN_RUN = 16
RUN_OF, RUN_SIZE, RUN_VALUES = 0, 1, 2  # in `runs`: which column it begins with, -1 none
SPARE = 8  # bytes that may be read and written beyond the last one
QUOTE, COMMA, NEWLINE, APOSTROPHE, MINUS, POINT, ZERO, COLON, T, Z = b"\",\n'-.0:TZ"
SECOND = 1_000_000_000
EIGHT = 100_000_000
RISKY = np.frombuffer("".join(FORMULA).encode(), np.uint8)
PAIRS = np.frombuffer("".join(f"{n:02d}" for n in range(100)).encode(), np.dtype("<u2"))


class Cells(NamedTuple):
    """The rows of a chunk. Rows of one form have the same columns that are not null, those of form n from
    `forms[n]` to `forms[n + 1]`. A column lies in the row SLOT of `base`, or in that of `place`, which has
    numbers of `values` or of texts, -1 for null. A word's number is that of its code in `numbers`, from
    FIRST on. A RUN has in SLOT how many of the columns behind it are of it: at most MOST_IN_RUN, none of
    them unsigned."""

    form: I64  # of each row
    forms: I64
    columns: I64  # KIND, IN_BASE, COMMAS (in front of it), SLOT and FIRST in one number
    commas: I64  # behind the last column, by form
    base: I64  # [slot, row]
    place: I32  # [slot, row]
    values: I64
    text_ends: I64  # where text n begins is where text n - 1 ends
    texts: Bytes  # `SPARE` bytes behind them
    numbers: I32  # of words, by code; -1 null
    word_ends: I64
    words: Bytes  # each in quotes and harmless, `SPARE` bytes behind them


@kernel
def eight_digits(value: Any) -> Any:
    """The characters of a number below 10^8, first one lowest: halves, and halves of these, side by side."""
    high = (value * 3518437209) >> 45  # // 10000
    x = high | ((value - high * 10000) << 32)
    high = ((x * 10486) >> 20) & 0x0000007F0000007F  # // 100
    x = high | ((x - high * 100) << 16)
    high = ((x * 103) >> 10) & 0x000F000F000F000F  # // 10
    return (high | ((x - high * 10) << 8)) + 0x3030303030303030


@kernel
def put_small(out8: Any, at: Any, value: Any) -> Any:
    """A number below 10^8; where it ends. What comes next is written over what is behind it."""
    size = 1
    if value >= 10000:
        size = 5 + int(value >= 100000) + int(value >= 1000000) + int(value >= 10000000)
    else:
        size = 1 + int(value >= 10) + int(value >= 100) + int(value >= 1000)
    out8[at] = eight_digits(value) >> (64 - 8 * size)
    return at + size


@kernel
def put_number(out8: Any, at: Any, value: Any) -> Any:
    """A number that is not negative; where it ends."""
    if value < EIGHT:
        return put_small(out8, at, value)
    high = value // EIGHT
    if high < EIGHT:
        at = put_small(out8, at, high)
    else:
        at = put_small(out8, at, high // EIGHT)
        out8[at] = eight_digits(high % EIGHT)
        at += 8
    out8[at] = eight_digits(value - high * EIGHT)
    return at + 8


@kernel
def put_fraction(out: Any, out8: Any, at: Any, ns: Any) -> Any:
    """Nine digits; where they end."""
    first = (ns * 1441151881) >> 57  # // 10^8
    out[at] = ZERO + first
    out8[at + 1] = eight_digits(ns - first * EIGHT)
    return at + 9


@kernel
def put_uint(out: Any, out8: Any, at: Any, value: Any) -> Any:
    """An unsigned number, given as the signed one of the same 64 bits."""
    if value >= 0:
        return put_number(out8, at, value)
    tens = ((value >> 1) & 0x7FFFFFFFFFFFFFFF) // 5
    at = put_number(out8, at, tens)
    out[at] = ZERO + ((value - tens * 10) & 0xF)
    return at + 1


@kernel
def put_second(head: Any, head2: Any, second: Any) -> None:
    """`"2024-02-03T04:05:06.`, from 0 on. The calendar is counted from the 1st of March of the year 0, so
    that leap days come last."""
    day = second // 86400
    second -= day * 86400
    since = day + 719468
    era = since // 146097
    of_era = since - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    march = (5 * of_year + 2) // 153
    year += era * 400
    if march >= 10:
        year += 1
    head2[1] = PAIRS[year // 100]
    head2[3] = PAIRS[year % 100]
    head2[6] = PAIRS[(march + 2) % 12 + 1]
    head2[9] = PAIRS[of_year - (153 * march + 2) // 5 + 1]
    head2[12] = PAIRS[second // 3600]
    head2[15] = PAIRS[second // 60 % 60]
    head2[18] = PAIRS[second % 60]
    head[0] = QUOTE
    head[5] = MINUS
    head[8] = MINUS
    head[11] = T
    head[14] = COLON
    head[17] = COLON
    head[20] = POINT


@kernel
def hex_of(four: Any) -> Any:
    """The eight characters of four bytes, lowest first: nibbles are spread over bytes, and those beyond 9
    moved up to the letters."""
    x = (four | (four << 16)) & 0x0000FFFF0000FFFF
    x = (x | (x << 8)) & 0x00FF00FF00FF00FF
    x = ((x >> 4) & 0x000F000F000F000F) | ((x & 0x000F000F000F000F) << 8)
    letters = ((x + 0x0606060606060606) >> 4) & 0x0101010101010101
    return x + 0x3030303030303030 + letters * 39


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
def put_commas(out8: Any, at: Any, count: Any) -> Any:
    """The commas between two cells."""
    for i in range(0, count, 8):
        out8[at + i] = 0x2C2C2C2C2C2C2C2C
    return at + count


@kernel
def find_run(
    columns: Any,
    first: Any,
    count: Any,
    row: Any,
    stride: Any,
    base: Any,
    place: Any,
    values: Any,
    runs: Any,
    wanted: Any,
) -> Any:
    """Where in `runs` a run of cells belongs, and whether it is there; what it says is left in `wanted`."""
    h = first
    for i in range(count):
        column = int(columns[first + i])
        at = ((column >> SLOT) & 0xFF) * stride + row
        if (column >> IN_BASE) & 1:
            value = int(base[at])
        else:
            value = int(place[at])
            if value < 0:
                value = NO_MOMENT
            elif (column >> KIND) & 0xF < TEXT:
                value = int(values[value])
        wanted[i] = value
        h = h * 33 + value
    at = (((h & 0xFFFFFFFF) * 0x9E3779B1) >> 16) & (RUNS - 1)
    if int(runs[at, RUN_OF]) != first:
        return at, False
    for i in range(count):
        if int(runs[at, RUN_VALUES + i]) != int(wanted[i]):
            return at, False
    return at, True


@kernel
def keep_run(
    runs: Any, run_texts8: Any, at: Any, first: Any, wanted: Any, count: Any, out8: Any, start: Any, stop: Any
) -> None:
    """Remember a run that was just written."""
    if stop - start > RUN_BYTES:
        return
    runs[at, RUN_OF] = first
    runs[at, RUN_SIZE] = stop - start
    for i in range(count):
        runs[at, RUN_VALUES + i] = wanted[i]
    for i in range(0, stop - start, 8):
        run_texts8[at * RUN_BYTES + i] = out8[start + i]


@kernel
def put_cell(
    column: Any,
    row: Any,
    stride: Any,
    base: Any,
    place: Any,
    values: Any,
    text_ends: Any,
    texts: Any,
    texts4: Any,
    numbers: Any,
    word_ends: Any,
    words8: Any,
    second: Any,
    head: Any,
    head2: Any,
    head8: Any,
    at: Any,
    out: Any,
    out8: Any,
) -> Any:
    """One cell with the commas in front of it: (where it ends, the second that `head` shows)."""
    kind = (column >> KIND) & 0xF
    at = put_commas(out8, at, (column >> COMMAS) & 0xFF)
    cell = ((column >> SLOT) & 0xFF) * stride + row
    if (column >> IN_BASE) & 1:
        value = int(base[cell])
        if value == (NO_MOMENT if TIME <= kind <= DURATION else NULL):
            return at, second
    else:
        value = int(place[cell])
        if value < 0:
            return at, second
        if kind < TEXT:
            value = int(values[value])
    if kind == INT:
        if value < 0:
            out[at] = MINUS
            at = put_uint(out, out8, at + 1, -value)
        else:
            at = put_number(out8, at, value)
    elif kind == WORD:
        word = -1 if value < 0 else int(numbers[(column >> FIRST) + value])
        if word >= 0:
            at = copy(out8, at, words8, int(word_ends[word]), int(word_ends[word + 1]))
    elif kind == UINT:
        at = put_uint(out, out8, at, value)
    elif kind == TIME:
        ns = value - second * SECOND
        if not 0 <= ns < SECOND:
            second = value // SECOND
            ns = value - second * SECOND
            put_second(head, head2, second)
        at = copy(out8, at, head8, 0, 21)
        at = put_fraction(out, out8, at, ns)
        out[at] = Z
        out[at + 1] = QUOTE
        at += 2
    else:
        out[at] = QUOTE
        at += 1
        if kind == HEX:
            start = int(text_ends[value])
            stop = int(text_ends[value + 1])
            for i in range(start, stop, 4):
                out8[at + 2 * (i - start)] = hex_of(int(texts4[i]) & 0xFFFFFFFF)
            at += 2 * (stop - start)
        elif kind == TEXT:
            at = put_text(out, at, texts, int(text_ends[value]), int(text_ends[value + 1]))
        else:
            whole = value // SECOND if value >= SECOND else 0
            at = put_number(out8, at, whole)
            out[at] = POINT
            at = put_fraction(out, out8, at + 1, value - whole * SECOND)
        out[at] = QUOTE
        at += 1
    return at, second


@kernel
def fetch_rows(base: Any, place: Any, stride: Any, first: Any, stop: Any) -> Any:
    """Look at some rows column by column, so that they are in the cache when they are written: a cell of each
    of forty columns in turn is more than the processor fetches ahead by itself."""
    seen = 0
    for slot in range(0, len(base), stride):
        for row in range(slot + first, slot + stop, 8):
            seen ^= int(base[row])
    for slot in range(0, len(place), stride):
        for row in range(slot + first, slot + stop, 16):
            seen ^= int(place[row])
    return seen


@kernel
def write_rows(
    form: Any,
    forms: Any,
    columns: Any,
    commas: Any,
    base: Any,
    place: Any,
    values: Any,
    text_ends: Any,
    texts: Any,
    texts4: Any,
    numbers: Any,
    word_ends: Any,
    words8: Any,
    rows: Any,
    first: Any,
    second: Any,
    head: Any,
    head2: Any,
    head8: Any,
    runs: Any,
    run_texts8: Any,
    wanted: Any,
    out: Any,
    out8: Any,
    widest: Any,
) -> Any:
    """Write `rows` from the `first` on until they end or `out` is full: (next row, bytes written, the
    second that `head` shows)."""
    at = 0
    stride = len(form)
    fetched = -1
    while first < len(rows) and at + widest <= len(out):
        row = int(rows[first])
        if row >= fetched:
            fetched = min(row + AHEAD, stride)
            wanted[0] = fetch_rows(base, place, stride, row, fetched)
        first += 1
        of = int(form[row])
        c = int(forms[of])
        end = int(forms[of + 1])
        run = -1  # where the run belongs that is being written, and will be remembered
        run_from = 0
        run_at = 0
        run_end = 0
        while c < end:
            column = int(columns[c])
            c += 1
            if (column >> KIND) & 0xF == RUN:
                count = (column >> SLOT) & 0xFF
                run, is_known = find_run(columns, c, count, row, stride, base, place, values, runs, wanted)
                if is_known:
                    start = run * RUN_BYTES
                    at = copy(out8, at, run_texts8, start, start + int(runs[run, RUN_SIZE]))
                    c += count
                    run = -1
                else:
                    run_from = c
                    run_end = c + count
                    run_at = at
                continue
            at, second = put_cell(
                column,
                row,
                stride,
                base,
                place,
                values,
                text_ends,
                texts,
                texts4,
                numbers,
                word_ends,
                words8,
                second,
                head,
                head2,
                head8,
                at,
                out,
                out8,
            )
            if run >= 0 and c == run_end:
                keep_run(runs, run_texts8, run, run_from, wanted, c - run_from, out8, run_at, at)
                run = -1
        at = put_commas(out8, at, int(commas[of]))
        out[at] = NEWLINE
        at += 1
    return first, at, second


class RowWriter:
    """Writes rows of `Cells`, in either mode of the kernels."""

    def __init__(self, compiled: bool) -> None:
        self._write = compiled_kernel(write_rows) if compiled else write_rows
        self._second = 0
        self._head = np.zeros(3 * SPARE, np.uint8)
        put_second(self._head, _pairs(self._head), self._second)
        self._runs = np.empty((RUNS, RUN_VALUES + MOST_IN_RUN), np.int64)
        self._run_texts = np.zeros(RUNS * RUN_BYTES + SPARE, np.uint8)
        self._wanted = np.empty(MOST_IN_RUN, np.int64)
        self._outs = [np.empty(0, np.uint8) for _ in range(PIECES)]

    def lines(self, cells: Cells, rows: NDArray[np.intp]) -> Iterator[memoryview]:
        """The lines of some rows, in pieces; each is overwritten when `PIECES` more are asked for."""
        widest = _widest(cells)
        head, done = self._head, 0
        self._runs[:, RUN_OF] = -1  # numbers mean other words and texts now
        while done < len(rows):
            out = self._turn(max(widest, ROOM) + SPARE)
            done, size, self._second = self._write(
                *cells[:4],
                cells.base.ravel(),
                cells.place.ravel(),
                *cells[6:9],
                np.ndarray(len(cells.texts) - 3, np.dtype("<u4"), cells.texts, strides=(1,)),
                cells.numbers,
                cells.word_ends,
                _eights(cells.words),
                rows,
                done,
                self._second,
                head,
                _pairs(head),
                _eights(head),
                self._runs,
                _eights(self._run_texts),
                self._wanted,
                out[:-SPARE],
                _eights(out),
                widest,
            )
            yield out[:size].data

    def _turn(self, size: int) -> Bytes:
        """The buffer that the oldest piece is in, of this size at least."""
        out = self._outs.pop(0)
        if len(out) < size:
            out = np.empty(size, np.uint8)
        self._outs.append(out)
        return out


def _widest(cells: Cells) -> int:
    """No line is longer than this."""
    word, text = (int(np.diff(ends).max(initial=0)) for ends in (cells.word_ends, cells.text_ends))
    widths = np.array([*WIDEST, word, 2 * text + 3, 2 * text + 2, 0], np.int64)
    columns = widths[cells.columns & 0xF] + ((cells.columns >> COMMAS) & 0xFF)
    return int((np.add.reduceat(columns, cells.forms[:-1]) + cells.commas).max()) + 1


def _pairs(data: Bytes) -> NDArray[np.uint16]:
    """The two bytes at every place."""
    return np.ndarray(len(data) - 1, np.dtype("<u2"), data, strides=(1,))


def _eights(data: Bytes) -> I64:
    """The eight bytes at every place."""
    return np.ndarray(len(data) - SPARE + 1, np.dtype("<i8"), data, strides=(1,))
