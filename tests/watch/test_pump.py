"""A pump hands over what has come, whole at its head, and says when nothing comes any more."""

from __future__ import annotations

import os
import threading

import pytest
import zstandard

from analyzer.capture.pcap import HEADER
from analyzer.capture.source import Source
from analyzer.errors import AnalyzerError
from analyzer.watch import pump
from analyzer.watch.pump import Pump

ROOM = memoryview(bytearray(1 << 16))


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "TICK", 0.02)


@pytest.fixture
def pipe() -> tuple[Pump, int]:
    read, write = os.pipe()
    return Pump("pipe", lambda: Source("pipe", os.fdopen(read, "rb", buffering=0), None)), write


def all_of(made: Pump) -> bytes:
    """What comes until the end."""
    got = bytearray()
    while (count := made.readinto(ROOM)) != 0:
        got += ROOM[: count or 0]
    return bytes(got)


def test_nothing_comes_and_then_the_head_as_a_whole(pipe: tuple[Pump, int]) -> None:
    made, write = pipe
    os.write(write, b"x" * (HEADER - 1))
    assert made.readinto(ROOM) is None
    os.write(write, b"y")
    while (count := made.readinto(ROOM)) is None:
        pass
    assert count == HEADER
    os.write(write, b"z")
    while (count := made.readinto(ROOM)) is None:
        pass
    assert (count, bytes(ROOM[:1])) == (1, b"z")
    os.close(write)
    assert all_of(made) == b""
    assert made.at_end


def test_a_stream_that_ends_within_its_head_is_handed_over(pipe: tuple[Pump, int]) -> None:
    made, write = pipe
    os.write(write, b"short")
    os.close(write)
    assert all_of(made) == b"short"


def test_what_is_packed_is_unpacked() -> None:
    read, write = os.pipe()
    plain = os.urandom(300_000)
    threading.Thread(target=_write, args=(write, zstandard.compress(plain))).start()
    made = Pump("-", lambda: Source("-", os.fdopen(read, "rb", buffering=0), None))
    assert all_of(made) == plain


def test_why_it_broke_off_is_told() -> None:
    read, write = os.pipe()
    packed = zstandard.compress(os.urandom(100_000))
    os.write(write, packed[:50_000])
    os.close(write)
    made = Pump("-", lambda: Source("-", os.fdopen(read, "rb", buffering=0), None))
    all_of(made)
    assert made.cut_short
    assert "breaks off" in (made.damage or "")


def test_what_cannot_be_opened_is_complained_of_where_it_is_read() -> None:
    def refuse() -> Source:
        raise AnalyzerError("no such thing")

    made = Pump("-", refuse)
    with pytest.raises(AnalyzerError, match="no such thing"):
        all_of(made)


def test_it_keeps_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "MOST_WAITING", 100_000)
    read, write = os.pipe()
    data = os.urandom(2_000_000)
    threading.Thread(target=_write, args=(write, data)).start()
    made = Pump("-", lambda: Source("-", os.fdopen(read, "rb", buffering=0), None))
    got = bytearray()
    most = 0
    while (count := made.readinto(ROOM)) != 0:
        got += ROOM[: count or 0]
        most = max(most, made.waiting)
    assert bytes(got) == data
    assert most <= 100_000 + pump.PIECE


def test_after_a_stop_what_was_read_is_still_handed_over(pipe: tuple[Pump, int]) -> None:
    made, write = pipe
    os.write(write, b"a" * 1000)
    while made.waiting < 1000:
        pass
    made.stop()
    assert all_of(made) == b"a" * 1000
    assert not made.at_end
    os.close(write)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.close(descriptor)
