"""Bytes of captures from wherever they are: the only place that opens anything.

In: paths as the user gave them, `-` for standard input. Out: streams of bytes with one
method, `readinto`.

Theory. What a file is, its first bytes tell and its name does not. Compressed streams are
unpacked as they are read, in pieces of bounded size however well they were packed; one
that breaks off or does not unpack ends where it breaks, and `damage` says so: what came
before is as good as ever. A pipe hands over what is there, so a live capture is a stream
like any other.

Never: looks at packets.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, Protocol, Self

from analyzer.capture.ahead import AHEAD
from analyzer.capture.foreign import Converted, is_foreign
from analyzer.capture.unpack import Unpacker, unpacker_for
from analyzer.errors import AnalyzerError

HEAD = 6  # bytes that tell what a file is
STDIN = "-"
PIPE = 1 << 20  # bytes that a pipe may hold (pipe-max-size of proc(5))


class Stream(Protocol):
    """What a reader reads: bytes, and at their end why they ended."""

    path: str
    damage: str | None
    cut_short: bool

    def readinto(self, view: memoryview) -> int | None:
        """Fill the front of `view`: how many bytes, 0 at the end, None where there are none just now."""
        ...


class Source:
    """A stream of capture bytes, unpacked.

    `bytes_read` counts bytes of the file itself, so that `bytes_read / size` is progress;
    `size` is None for what has none. `damage` says why a stream ended before its end, and
    `cut_short` whether it merely broke off there. A `patient` one waits for a pipe until `view` is full:
    small blocks cost ten times as much, if nobody looks at them as they come.
    """

    def __init__(self, path: str, raw: RawIOBase | IO[bytes] | Converted, size: int | None) -> None:
        self.path = path
        self.size = size
        self.bytes_read = 0
        self.damage: str | None = None
        self.cut_short = False
        self.patient = False
        self._raw: Any = raw
        self._asked_for = 0  # bytes of the file that the system was asked to have ready
        self._head = self._read_head()
        self._unpacker: Unpacker | None = unpacker_for(self._head, path)
        self._unpacked = memoryview(b"")

    @property
    def head(self) -> bytes:
        """The bytes that tell what it is, before anything was read."""
        return self._head

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return self._unpacker is not None

    def _read_head(self) -> bytes:
        """The bytes that tell what the file is; a pipe may hand them over one by one."""
        head = b""
        while len(head) < HEAD:
            piece = self._read(HEAD - len(head))
            if not piece:
                break
            head += piece
        return head

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view`; how many bytes, 0 at the end."""
        count = self._some(view)
        while self.patient and 0 < count < len(view) and (more := self._some(view[count:])):
            count += more
        return count

    def _some(self, view: memoryview) -> int:
        """What one read gives."""
        if self._unpacker is not None:
            return self._readinto_unpacked(view, self._unpacker)
        if self._head:
            return self._hand_over_head(view)
        try:
            count: int = self._raw.readinto(view) or 0
        except OSError as error:
            self._end(f"reading stopped: {error.strerror}")
            return 0
        self.bytes_read += count
        self._ask_ahead()
        return count

    def _ask_ahead(self) -> None:
        """Have the system read on while this is looked at, where it is a file."""
        wanted = self.bytes_read + AHEAD
        if self.size is None or self._asked_for > wanted - AHEAD // 2:
            return
        begin, self._asked_for = self._asked_for, wanted
        with suppress(OSError, AttributeError):  # not every system, nor every file system
            os.posix_fadvise(self._raw.fileno(), begin, wanted - begin, os.POSIX_FADV_WILLNEED)

    def _hand_over_head(self, view: memoryview) -> int:
        count = min(len(self._head), len(view))
        view[:count] = self._head[:count]
        self._head = self._head[count:]
        return count

    def _readinto_unpacked(self, view: memoryview, unpacker: Unpacker) -> int:
        """Fill `view`, from a pipe only with what one read gave."""
        filled = 0
        while filled < len(view):
            if not self._unpacked:
                if filled and self.size is None:
                    break
                self._unpacked = memoryview(self._next_piece(unpacker))
                if not self._unpacked:
                    break
            count = min(len(self._unpacked), len(view) - filled)
            view[filled : filled + count] = self._unpacked[:count]
            self._unpacked = self._unpacked[count:]
            filled += count
        return filled

    def _next_piece(self, unpacker: Unpacker) -> bytes:
        """The next unpacked bytes, none at the end."""
        while self.damage is None:
            data = b""
            if unpacker.needs_input:
                data = self._head or self._read(unpacker.piece)
                self._head = b""
                if not data:
                    if not unpacker.at_end and self.damage is None:
                        self._end("the compressed stream breaks off", cut_short=True)
                    break
            try:
                piece = unpacker.unpack(data)
            except unpacker.errors as error:
                self._end(f"the compressed stream is corrupt: {error}")
                break
            if piece:
                return piece
        return b""

    def _read(self, count: int) -> bytes:
        try:
            data: bytes = self._raw.read(count) or b""
        except OSError as error:
            self._end(f"reading stopped: {error.strerror}")
            return b""
        self.bytes_read += len(data)
        self._ask_ahead()
        return data

    def _end(self, damage: str, cut_short: bool = False) -> None:
        self.damage = damage
        self.cut_short = cut_short

    def close(self) -> None:
        """Give the file back (standard input stays open)."""
        if self.path != STDIN:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(path: str, convert: bool = True) -> Source:
    """The capture bytes of a file, a pipe or, for `-`, standard input.

    A file in a form that is not ours is converted, unless it must not be.
    """
    try:
        if path == STDIN:
            return Source(path, _standard_input(), None)
        raw = Path(path).open("rb", buffering=0)  # noqa: SIM115, the source closes it
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            return Source(path, raw, None)
        source = Source(path, raw, status.st_size)
    except OSError as error:
        raise AnalyzerError(f"{path}: {error.strerror}") from None
    if convert and not source.packed and is_foreign(source.head):
        source.close()
        return Source(path, Converted(path), status.st_size)
    return source


def _standard_input() -> Any:
    """Standard input without a buffer of its own, which would wait until it is full."""
    raw = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    widen(raw)
    return raw


def widen(pipe: Any) -> None:
    """Let a pipe hold as much as the system allows anybody, where it can be told."""
    with suppress(OSError, ValueError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
