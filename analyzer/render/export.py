"""One table of some captures, written.

In: what to analyse, which table, how and where to. Out: a file or a stream.

Theory. The calls table is written while the captures are read; the others are made of the sessions at the
end.

Never: keeps the calls of a capture in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.records.calls import Calls, Chunk
from analyzer.render import rows
from analyzer.render.arrow import chosen, from_chunk, from_rows
from analyzer.render.tables import FORMATS, joined, writer
from analyzer.render.view import Filters, View

if TYPE_CHECKING:
    from analyzer.engine import Analysis

AHEAD = 2  # tables that wait to be written

Analyse = Callable[[Sequence[Any]], "Analysis"]
"""Analyses with the taps it is given."""


def export(analyse: Analyse, name: str, style: str, stream: IO[bytes], filters: Filters) -> int:
    """Write a table; return how many replies came too late for it."""
    out = writer(style, name, stream)
    late = 0
    if name == "calls":
        late = _calls(analyse, out.write, filters)
    else:
        view = View(analyse(()), filters)
        out.write(from_rows(name, rows.TABLES[name](view)))
    out.close()
    return late


def _calls(analyse: Analyse, write: Callable[[Any], None], filters: Filters) -> int:
    """Read and decode here, format and write in a second thread: Arrow does not hold the interpreter."""
    waiting: deque[Future[None]] = deque()

    def ready(chunk: Chunk, engine: Any) -> None:
        table = chosen(from_chunk(chunk, calls, engine), filters, engine.sessions)
        while len(waiting) >= AHEAD:
            waiting.popleft().result()
        waiting.append(pool.submit(write, table))

    calls = Calls(ready)
    with ThreadPoolExecutor(1) as pool:
        analysis = analyse([calls])
        calls.finish()
        for written in waiting:
            written.result()
    View(analysis, filters)  # complains of a host that nobody is called
    return calls.late


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
    if name != "calls":
        return from_rows(name, rows.TABLES[name](View(analyse(()))))
    parts: list[Any] = [from_rows("calls", ())]
    calls = Calls(lambda chunk, engine: parts.append(from_chunk(chunk, calls, engine)), window=None)
    analyse([calls])
    calls.finish()
    return joined(parts)
