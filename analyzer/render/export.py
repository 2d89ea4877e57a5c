"""One table of some captures, written.

In: what to analyse, which table, how and where to. Out: a file or a stream.

Theory. The calls table is written while the captures are read; the others are made of the sessions at the
end. CSV of many calls is written by a kernel (`lines`), everything else by way of Arrow.

Never: keeps the calls of a capture in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Protocol

from analyzer.errors import AnalyzerError
from analyzer.records.calls import Calls, Chunk
from analyzer.render.columns import head
from analyzer.render.sieve import chosen
from analyzer.render.view import Filters, View

if TYPE_CHECKING:
    from analyzer.engine import Analysis

AHEAD = 2  # pieces that wait to be written
FORMATS = ("csv", "parquet", "jsonl")

Analyse = Callable[[Sequence[Any]], "Analysis"]
"""Analyses with the taps it is given."""


def export(analyse: Analyse, name: str, style: str, stream: IO[bytes], filters: Filters) -> int:
    """Write a table; return how many replies came too late for it."""
    if name == "calls":
        return _calls(analyse, style, stream, filters)
    from analyzer.render import rows
    from analyzer.render.arrow import from_rows
    from analyzer.render.tables import writer

    out = writer(style, name, stream)
    view = View(analyse(()), filters)
    out.write(from_rows(name, rows.TABLES[name](view)))
    out.close()
    return 0


def _calls(analyse: Analyse, style: str, stream: IO[bytes], filters: Filters) -> int:
    """Read and decode here, format and write in a second thread: neither kernels nor Arrow hold the
    interpreter."""
    waiting: deque[Future[None]] = deque()
    opened: list[_Form] = []

    def ready(chunk: Chunk, engine: Any) -> None:
        if not opened:
            opened.append(_form(style, stream, calls, engine.compiled))
        rows = chosen(chunk, filters, engine.sessions)
        while len(waiting) >= AHEAD:
            waiting.popleft().result()
        waiting.append(pool.submit(opened[0].prepared(chunk, rows, engine)))

    calls = Calls(ready)
    with ThreadPoolExecutor(1) as pool:
        analysis = analyse([calls])
        calls.finish()
        for written in waiting:
            written.result()
    (opened or [_form(style, stream, calls, compiled=False)])[0].close()
    View(analysis, filters)  # complains of a host that nobody is called
    return calls.late


class _Form(Protocol):
    """Writes the calls table in some format."""

    def prepared(self, chunk: Chunk, rows: Any, engine: Any) -> Callable[[], None]:
        """What writes these rows of a chunk, with what the sessions know now."""

    def close(self) -> None:
        """No more rows."""


def _form(style: str, stream: IO[bytes], calls: Calls, compiled: bool) -> _Form:
    return _Lines(stream, calls) if compiled and style == "csv" else _Tables(style, stream, calls)


class _Lines:
    """CSV by the compiled kernel."""

    def __init__(self, stream: IO[bytes], calls: Calls) -> None:
        from analyzer.render.cells import Dictionary, cells
        from analyzer.render.lines import RowWriter

        self._cells, self._dictionary = cells, Dictionary(calls)
        self._writer = RowWriter(compiled=True)
        self._stream = stream
        stream.write(head("calls"))

    def prepared(self, chunk: Chunk, rows: Any, engine: Any) -> Callable[[], None]:
        """What writes these rows of a chunk, with what the sessions know now."""
        lookups = self._dictionary.lookups(chunk, engine)

        def write() -> None:
            for piece in self._writer.lines(self._cells(chunk, lookups), rows):
                self._stream.write(piece)

        return write

    def close(self) -> None:
        """No more rows."""


class _Tables:
    """Any format, by way of Arrow."""

    def __init__(self, style: str, stream: IO[bytes], calls: Calls) -> None:
        from analyzer.render.tables import writer

        self._writer = writer(style, "calls", stream)
        self._calls = calls

    def prepared(self, chunk: Chunk, rows: Any, engine: Any) -> Callable[[], None]:
        """What writes these rows of a chunk, with what the sessions know now."""
        from analyzer.render.arrow import from_chunk

        return partial(self._writer.write, from_chunk(chunk, rows, self._calls, engine))

    def close(self) -> None:
        """No more rows."""
        self._writer.close()


def style_of(output: str) -> str:
    """The format that a file's name asks for."""
    if output == "-":
        return "csv"
    suffix = output.rpartition(".")[2].lower()
    if suffix not in FORMATS:
        raise AnalyzerError(f"{output}: end the name in .csv, .parquet or .jsonl, or give --format")
    return suffix


def table(analyse: Analyse, name: str) -> Any:
    """A whole table in memory."""
    from analyzer.render import rows
    from analyzer.render.arrow import from_chunk, from_rows
    from analyzer.render.tables import joined

    if name != "calls":
        return from_rows(name, rows.TABLES[name](View(analyse(()))))
    parts: list[Any] = [from_rows("calls", ())]

    def ready(chunk: Chunk, engine: Any) -> None:
        parts.append(from_chunk(chunk, range(chunk.rows), calls, engine))

    calls = Calls(ready, window=None)
    analyse([calls])
    calls.finish()
    return joined(parts)
