"""The kernel writes the CSV that the Arrow writer writes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.engine import Analysis, analyze
from analyzer.records.calls import Calls, Chunk
from analyzer.render import cells as cells_module
from analyzer.render import lines
from analyzer.render.cells import Dictionary, cells
from analyzer.render.clean import FORMULA
from analyzer.render.export import export
from analyzer.render.lines import (
    COMMAS,
    DURATION,
    FIRST,
    HEX,
    IN_BASE,
    INT,
    KIND,
    NO_MOMENT,
    NULL,
    RUN,
    SLOT,
    SPARE,
    TEXT,
    TIME,
    UINT,
    WORD,
    Cells,
    RowWriter,
)
from analyzer.render.times import SECOND, rfc3339
from analyzer.render.view import Filters
from tests.expectations import CAPTURES
from tests.render.captures import hostile

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
KINDS = (INT, UINT, TIME, DURATION, WORD, TEXT, HEX)
EDGES = [0, 9, 10, 99, 100, 10**9, 10**18 - 1, 10**18, 2**63 - 1]
DAY = 86_400 * SECOND
MOMENTS = [0, -1, SECOND - 1, 951_782_400 * SECOND, 951_868_800 * SECOND - 1, 4_102_444_800 * SECOND, -DAY]
TEXTS = [b"", b'"', b'a"b""', b"=1", b"'x", b"-", b"\t", b"a,b\nc", "\u00e9".encode()]
CELLS = ['"a"', '"=b"', '""', "true"]
VALUES: dict[int, st.SearchStrategy[Any]] = {
    INT: (st.integers(-(2**63), 2**63 - 1) | st.sampled_from(EDGES + [-edge for edge in EDGES])).filter(
        NULL.__ne__
    ),
    UINT: st.integers(0, 2**64 - 1) | st.sampled_from([*EDGES, 2**63, 2**64 - 1]),
    TIME: st.integers(-(2**62), 2**63 - 1) | st.sampled_from(MOMENTS),
    DURATION: st.integers(0, 2**63 - 1) | st.sampled_from(EDGES),
    WORD: st.sampled_from(CELLS),
    TEXT: st.binary(max_size=20) | st.sampled_from(TEXTS),
    HEX: st.binary(max_size=20),
}
ROWS = st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in KINDS)), min_size=1, max_size=8)


def shown(kind: int, value: Any) -> bytes:
    """A cell, as simply as it can be said."""
    if value is None:
        return b""
    if kind in (INT, UINT):
        return b"%d" % value
    if kind == WORD:
        return bytes(value.encode())
    if kind == TIME:
        return b'"%s"' % rfc3339(value).encode()
    if kind == DURATION:
        return b'"%d.%09d"' % divmod(value, SECOND)
    if kind == HEX:
        return b'"%s"' % value.hex().encode()
    risky = value.startswith(tuple(start.encode() for start in FORMULA))
    return b'"%s%s"' % (b"'" if risky else b"", value.replace(b'"', b'""'))


def laid_out(rows: Sequence[tuple[Any, ...]], in_runs: bool = False) -> Cells:
    """Columns of all kinds, every other one in `base`, with three empty ones in front of each; in runs all
    in front of that which is unsigned and all behind it."""
    base = np.full((len(KINDS), len(rows)), NULL, np.int64)
    base[[KINDS.index(TIME), KINDS.index(DURATION)]] = NO_MOMENT
    place = np.full((len(KINDS), len(rows)), -1, np.int32)
    values, texts = [0], [b"somebody else's"]
    known: dict[bytes, int] = {}
    for row, row_values in enumerate(rows):
        for slot, (kind, value) in enumerate(zip(KINDS, row_values, strict=True)):
            if value is None:
                continue
            if kind in (TEXT, HEX):
                place[slot, row] = known.setdefault(value, len(texts))
                texts += [value] * (len(texts) == known[value])
                continue
            number = 1 + CELLS.index(value) if kind == WORD else value
            base[slot, row] = np.uint64(number & (2**64 - 1)).astype(np.int64)
            place[slot, row] = len(values)
            values.append(int(base[slot, row]))
    columns = [
        kind << KIND | (kind in (INT, TIME, WORD)) << IN_BASE | 4 << COMMAS | slot << SLOT | 1 << FIRST
        for slot, kind in enumerate(KINDS)
    ]
    if in_runs:
        behind = KINDS.index(UINT) + 1
        columns.insert(behind, RUN << KIND | (len(KINDS) - behind) << SLOT)
        columns.insert(0, RUN << KIND | (behind - 1) << SLOT)
    encoded = [word.encode() for word in CELLS]
    return Cells(
        np.zeros(len(rows), np.int64),
        np.array([0, len(columns)], np.int64),
        np.array(columns, np.int64),
        np.array([2], np.int64),
        base,
        place,
        np.array(values, np.int64),
        np.cumsum([0, *map(len, texts)]),
        np.frombuffer(b"".join(texts) + bytes(SPARE), np.uint8),
        np.array([-1, -1, *range(len(CELLS))], np.int32),
        np.cumsum([0, *map(len, encoded)]),
        np.frombuffer(b"".join(encoded) + bytes(SPARE), np.uint8),
    )


def expected(rows: Sequence[tuple[Any, ...]]) -> bytes:
    return b"".join(
        b"".join(b",,,," + shown(kind, value) for kind, value in zip(KINDS, row, strict=True)) + b",,\n"
        for row in rows
    )


def written(made: Cells, rows: Sequence[int], compiled: bool = False) -> bytes:
    return b"".join(map(bytes, RowWriter(compiled).lines(made, np.array(rows, np.intp))))


def test_a_piece_stays_until_the_next_but_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ROOM", 0)  # a row is a piece
    rows = [(number, number, None, number, '"a"', b"b", None) for number in range(5)]
    before: Any = b""
    for number, piece in enumerate(RowWriter(compiled=False).lines(laid_out(rows), np.arange(len(rows)))):
        assert bytes(before) == expected(rows[max(number - 1, 0) : number])
        assert bytes(piece) == expected(rows[number : number + 1])
        before = piece


@given(ROWS.map(lambda rows: [*rows, *reversed(rows)]), st.booleans())
def test_any_cell(rows: list[tuple[Any, ...]], in_runs: bool) -> None:
    assert written(laid_out(rows, in_runs), range(len(rows))) == expected(rows)


@settings(max_examples=30)
@given(ROWS.map(lambda rows: [*rows, *reversed(rows)]), st.booleans())
def test_machine_code_writes_the_same(rows: list[tuple[Any, ...]], in_runs: bool) -> None:
    assert written(laid_out(rows, in_runs), range(len(rows)), compiled=True) == expected(rows)


@pytest.mark.parametrize(("places", "longest"), [(1, 256), (1, 80), (512, 80), (512, 8)])
def test_runs_that_want_one_place_or_are_too_long(
    places: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (number % 2, number, None, number % 3, '"a"', b"x" * size, None)
        for number, size in enumerate([1, 1, 40, 2, 1, 1, 40, 2] * 3)
    ]
    monkeypatch.setattr(lines, "RUNS", places)
    monkeypatch.setattr(lines, "RUN_BYTES", longest)
    assert written(laid_out(rows, in_runs=True), range(len(rows))) == expected(rows)


def test_a_known_run_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Any] = []
    put_cell = lines.put_cell

    def counted(*arguments: Any) -> Any:
        put.append(arguments)
        return put_cell(*arguments)

    monkeypatch.setattr(lines, "put_cell", counted)
    row = (1, 2, 3, 4, '"a"', b"b", b"c")
    assert written(laid_out([row] * 10, in_runs=True), range(10)) == expected([row] * 10)
    assert len(put) == len(KINDS) + 9  # but for the one that is unsigned


def test_chosen_rows_in_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(n, n, n * DAY, n, '"a"', b'"' * n, bytes(n)) for n in range(40)]
    some = [3, 4, 17, 39]
    monkeypatch.setattr(lines, "ROOM", 8)
    assert written(laid_out(rows), some) == expected([rows[n] for n in some])
    assert written(laid_out(rows), []) == b""


@MODES
@pytest.mark.parametrize(
    "name", ["hostile", "umnt_unlock_dropped", "server_reboot_reclaim", "callback_blocked"]
)
def test_a_capture(name: str, compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hostile(tmp_path / "hostile.pcap") if name == "hostile" else CAPTURES / "lab" / f"{name}.pcap"
    by_arrow = io.BytesIO()

    def analyse(taps: Sequence[Any], names_only: bool) -> Analysis:
        return analyze([str(path)], taps=taps, compiled=False, names_only=names_only)

    export(analyse, "calls", "csv", by_arrow, Filters())
    monkeypatch.setattr(cells_module, "MOST_WORDS", 0)  # forgets what it can
    found: list[bytes] = []

    def ready(chunk: Chunk, engine: Any) -> None:
        made = cells(chunk, dictionary.lookups(chunk, engine))
        found.append(written(made, range(chunk.rows), compiled))

    calls = Calls(ready)
    dictionary = Dictionary(calls)
    analyze([str(path)], taps=[calls], compiled=False)
    calls.finish()
    assert b"".join(found) == by_arrow.getvalue().partition(b"\n")[2]
