"""One table of some captures, written.

In: what to analyse, which table, how and where to. Out: a file or a stream.

Theory. The calls table is written while the captures are read; the others are made of the sessions at the
end. What makes a table is imported when the front is at work already.

Never: keeps the calls of a capture in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.render.view import Filters, View

if TYPE_CHECKING:
    from analyzer.engine import Analysis
    from analyzer.records.calls import Chunk
    from analyzer.render.calls import CallsTable

FORMATS = ("csv", "parquet", "jsonl")

Analyse = Callable[[Sequence[Any], bool], "Analysis"]
"""Analyses with the taps it is given; True: only as far as it takes to name files."""


def export(analyse: Analyse, name: str, style: str, stream: IO[bytes], filters: Filters) -> int:
    """Write a table; return how many replies came too late for it."""
    if name == "calls":
        return _calls(analyse, style, stream, filters)
    from analyzer.render import rows
    from analyzer.render.arrow import from_rows
    from analyzer.render.tables import writer

    out = writer(style, name, stream)
    view = View(analyse((), False), filters)
    out.write(from_rows(name, rows.TABLES[name](view)))
    out.close()
    return 0


def _calls(analyse: Analyse, style: str, stream: IO[bytes], filters: Filters) -> int:
    with ExitStack() as at_work:

        @cache
        def table() -> CallsTable:
            from analyzer.render.calls import CallsTable

            return at_work.enter_context(CallsTable(style, stream, filters))

        # whom a filter means is known from all that names hosts
        analysis = analyse([lambda *block: table().calls(*block)], filters.is_open)
        late = table().finish()
    View(analysis, filters)  # complains of a host that nobody is called
    return late


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
    from analyzer.records.calls import Calls
    from analyzer.render import rows
    from analyzer.render.arrow import from_chunk, from_rows
    from analyzer.render.tables import joined

    if name != "calls":
        return from_rows(name, rows.TABLES[name](View(analyse((), False))))
    parts: list[Any] = [from_rows("calls", ())]

    def ready(chunk: Chunk, engine: Any) -> None:
        parts.append(from_chunk(chunk, range(chunk.rows), calls, engine))

    calls = Calls(ready, window=None)
    analyse([calls], True)
    calls.finish()
    return joined(parts)
