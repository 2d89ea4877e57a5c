"""Where results go: standard output, or a file that is there whole or not at all.

In: text, or a writer that wants a path. Out: bytes on disk or on standard output.

Theory. A file is written beside its final name and renamed at the end, so that a run which fails leaves
what was there before, and it is opened first, so that a name which cannot be written fails before the work
is done. What is no regular file (a pipe, a device) is written to as it is.

Never: leaves half a file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from analyzer.errors import AnalyzerError

BATCH = 1 << 16


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[Path]:
    """A path to write to; it becomes `path` when all went well."""
    import tempfile

    final = Path(path)
    if final.is_dir():
        raise AnalyzerError(f"{path}: is a directory; give the name of a file")
    if final.exists() and not final.is_file():
        yield final
        return
    try:
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name[:40]}.")
    except OSError as error:
        raise AnalyzerError(f"{path}: {error.strerror}") from None
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(_mode(final))
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def _mode(final: Path) -> int:
    """The mode of the file that is replaced, or that of a new one."""
    if final.exists():
        return final.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextlib.contextmanager
def text_output(path: str | None) -> Iterator[IO[str]]:
    """A file of text, or standard output where `path` is None or `-`."""
    if path in (None, "-"):
        yield sys.stdout
        return
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


@contextlib.contextmanager
def binary_output(path: str) -> Iterator[IO[bytes]]:
    """A file of bytes, or standard output for `-`."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(path) as part, part.open("wb") as stream:
        yield stream


def write(stream: IO[str], pieces: Iterable[str]) -> None:
    """Write many small pieces in few calls; a stream that cannot show a character shows its number."""
    gathered: list[str] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= BATCH:
            stream.write(_fitting(stream, "".join(gathered)))
            gathered, size = [], 0
    stream.write(_fitting(stream, "".join(gathered)))


def _fitting(stream: IO[str], text: str) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower() in ("utf-8", "utf8"):
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)
