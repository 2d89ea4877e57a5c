"""Compressed streams: gzip, xz and zstd behind one small interface.

In: pieces of a compressed file. Out: pieces of what is in it.

Theory. A file may hold several members one after the other (`cat a.gz b.gz`), so where
one ends the next begins, and zeros behind the last are padding. The decoders of gzip and
xz are told how much they may put out; that of zstd knows no such limit, so it is given
little at a time: 2 KiB unpack to 64 MiB at the very worst.

Never: reads.
"""

from __future__ import annotations

from typing import Any

from analyzer.errors import AnalyzerError

GZIP, XZ, ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
MOST_OUT = 1 << 20
PIECE = 1 << 17
ZSTD_PIECE = 1 << 11


class Unpacker:
    """The members of one compressed file, in order."""

    piece = PIECE
    errors: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self._member: Any = None
        self._rest = b""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out until more is put in."""
        if self._member is None:
            return not self._rest
        return self._is_hungry()

    @property
    def at_end(self) -> bool:
        """Whether the input may end here."""
        return self._member is None and not self._rest

    def unpack(self, data: bytes) -> bytes:
        """Some bytes more; none where more input is needed."""
        if self._member is None:
            data = (self._rest + data).lstrip(b"\0")
            self._rest = b""
            if not data:
                return b""
            self._member = self._new_member()
        out = self._feed(data)
        if self._member.eof:
            self._rest = self._member.unused_data
            self._member = None
        return out

    def _new_member(self) -> Any:
        raise NotImplementedError

    def _is_hungry(self) -> bool:
        return True

    def _feed(self, data: bytes) -> bytes:
        raise NotImplementedError


class Gzip(Unpacker):
    """RFC 1952 members."""

    def __init__(self) -> None:
        import zlib

        super().__init__()
        self.errors = (zlib.error,)
        self._zlib = zlib

    def _new_member(self) -> Any:
        return self._zlib.decompressobj(wbits=16 + self._zlib.MAX_WBITS)

    def _is_hungry(self) -> bool:
        return not self._member.unconsumed_tail

    def _feed(self, data: bytes) -> bytes:
        out: bytes = self._member.decompress(self._member.unconsumed_tail + data, MOST_OUT)
        return out


class Xz(Unpacker):
    """xz streams."""

    def __init__(self) -> None:
        import lzma

        super().__init__()
        self.errors = (lzma.LZMAError,)
        self._lzma = lzma

    def _new_member(self) -> Any:
        return self._lzma.LZMADecompressor(self._lzma.FORMAT_XZ, memlimit=1 << 28)

    def _is_hungry(self) -> bool:
        return bool(self._member.needs_input)

    def _feed(self, data: bytes) -> bytes:
        out: bytes = self._member.decompress(data, MOST_OUT)
        return out


class Zstd(Unpacker):
    """RFC 8878 frames."""

    piece = ZSTD_PIECE

    def __init__(self, path: str) -> None:
        try:
            import zstandard
        except ImportError:
            raise AnalyzerError(
                f"{path}: reading zstd needs the package zstandard (pip install zstandard)"
            ) from None
        super().__init__()
        self.errors = (zstandard.ZstdError,)
        self._decoder = zstandard.ZstdDecompressor()

    def _new_member(self) -> Any:
        return self._decoder.decompressobj()

    def _feed(self, data: bytes) -> bytes:
        out: bytes = self._member.decompress(data)
        return out


def unpacker_for(head: bytes, path: str) -> Unpacker | None:
    """What unpacks a file that begins with `head`; None where nothing has to."""
    if head.startswith(GZIP):
        return Gzip()
    if head.startswith(XZ):
        return Xz()
    if head.startswith(ZSTD):
        return Zstd(path)
    return None
