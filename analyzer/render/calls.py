"""The calls table, written while captures are read.

In: chunks of rows, as `Calls` hands them out. Out: CSV, Parquet or JSON lines in a stream.

Theory. Rows are read and decoded in one thread, joined with what the sessions know in another, formatted
in a third: neither kernels nor Arrow hold the interpreter. CSV of large captures is formatted by a kernel
(`lines`), everything else by way of Arrow. What the kernel made is written in a fourth thread: the system
takes as long to copy it into fresh memory as the kernel took to make it.

Never: keeps more than a few chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import IO, Any, Protocol, Self

from analyzer.records.calls import Calls, Chunk
from analyzer.render.cells import Dictionary, cells
from analyzer.render.columns import head
from analyzer.render.lines import PIECES, RowWriter
from analyzer.render.sieve import chosen
from analyzer.render.view import Filters
from analyzer.render.worker import Worker

AHEAD = 4  # chunks that wait to be formatted
PIECE = 1 << 16
"""Bytes given to the system at once. More at once are put into larger pages, for which a virtual machine may
have to ask its host: 0.4 s instead of 0.05 s for a file of 200 MB."""


class CallsTable:
    """Writes what `calls`, which is a tap, collects."""

    def __init__(self, style: str, stream: IO[bytes], filters: Filters) -> None:
        self.calls = Calls(self._ready)
        self._style = style
        self._stream = stream
        self._filters = filters
        self._form: _Form | None = None
        self._at_work = ExitStack()
        self._formatting = self._at_work.enter_context(Worker(AHEAD))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._at_work.close()

    def _ready(self, chunk: Chunk, engine: Any) -> None:
        if self._form is None:
            self._form = self._opened(engine.compiled)
        rows = chosen(chunk, self._filters, engine.sessions)
        self._formatting.do(self._form.prepared(chunk, rows, engine))

    def _opened(self, compiled: bool) -> _Form:
        if compiled and self._style == "csv":
            return _Lines(self._stream, self.calls, self._at_work.enter_context(Worker(PIECES - 1)))
        return _Tables(self._style, self._stream, self.calls)

    def finish(self) -> int:
        """All captures have been read: write the rest; return how many replies came too late."""
        self.calls.finish()
        self._formatting.finish()
        (self._form or self._opened(compiled=False)).close()
        return self.calls.late


class _Form(Protocol):
    """Writes the calls table in some format."""

    def prepared(self, chunk: Chunk, rows: Any, engine: Any) -> Callable[[], None]:
        """What writes these rows of a chunk, with what the sessions know now."""

    def close(self) -> None:
        """No more rows."""


class _Lines:
    """CSV by the compiled kernel."""

    def __init__(self, stream: IO[bytes], calls: Calls, writing: Worker) -> None:
        """`writing` has room for all pieces but one, which is made meanwhile: the system may be slow now and
        then."""
        self._dictionary = Dictionary(calls)
        self._writer = RowWriter(compiled=True)
        self._stream = stream
        self._writing = writing
        stream.write(head("calls"))

    def prepared(self, chunk: Chunk, rows: Any, engine: Any) -> Callable[[], None]:
        """What writes these rows of a chunk, with what the sessions know now."""
        lookups = self._dictionary.lookups(chunk, engine)

        def write() -> None:
            for lines in self._writer.lines(cells(chunk, lookups), rows):
                self._writing.do(partial(self._write, lines))

        return write

    def _write(self, lines: memoryview) -> None:
        for at in range(0, len(lines), PIECE):
            self._stream.write(lines[at : at + PIECE])

    def close(self) -> None:
        """No more rows."""
        self._writing.finish()


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
