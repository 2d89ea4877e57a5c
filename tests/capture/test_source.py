"""Sources: what is inside is the same however it was packed, and damage ends it quietly."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import zstandard

from analyzer.capture import source as source_module
from analyzer.capture.source import Source, open_source
from analyzer.errors import AnalyzerError
from tests.capture.files import pcap, some_packets
from tests.capture.reading import Dribble, read

PLAIN = os.urandom(300_000) + b"lockscope" * 100_000
PACKERS = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: zstandard.compress(data, 1),
}
PACKED = {name: pack(PLAIN) for name, pack in PACKERS.items()}
COMPRESSED = ["gzip", "xz", "zstd"]


def drain(source: Source, room: int = 70_000) -> bytes:
    view = memoryview(bytearray(room))
    out = []
    while count := source.readinto(view):
        assert count <= room
        out.append(bytes(view[:count]))
    assert source.readinto(view) == 0, "the end stays the end"
    return b"".join(out)


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("room", [1 << 12, 1 << 22])
def test_whatever_the_name_says_the_bytes_tell(name: str, room: int, tmp_path: Path) -> None:
    """Trap 29."""
    path = tmp_path / "anything.txt"
    path.write_bytes(PACKED[name])
    with open_source(str(path), convert=False) as source:
        assert drain(source, room) == PLAIN
        assert (source.path, source.size, source.damage) == (str(path), len(PACKED[name]), None)
        assert source.bytes_read == source.size


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("step", [1, 1000])
def test_pipes_may_give_little_at_a_time(name: str, step: int) -> None:
    small = PACKERS[name](b"capture" * 500)
    assert drain(Source("-", Dribble(small, step), None)) == b"capture" * 500


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("patient", [False, True])
def test_a_patient_source_waits_until_all_is_full(name: str, patient: bool) -> None:
    source = Source("-", Dribble(PACKED[name], 5000), None)
    source.patient = patient
    sizes = []
    view = memoryview(bytearray(100_000))
    while count := source.readinto(view):
        sizes.append(count)
    assert sum(sizes) == len(PLAIN)
    assert (set(sizes[:-1]) == {100_000}) == patient


@pytest.mark.parametrize("name", COMPRESSED)
def test_members_one_after_the_other_and_padding(name: str) -> None:
    pack = PACKERS[name]
    data = pack(b"first") + pack(b"second") + bytes(512)
    source = Source("a", io.BytesIO(data), len(data))
    assert (drain(source), source.damage) == (b"firstsecond", None)


@pytest.mark.parametrize("name", COMPRESSED)
def test_what_was_packed_very_well_comes_out_whole(name: str) -> None:
    data = PACKERS[name](bytes(20_000_000))
    source = Source("a", io.BytesIO(data), len(data))
    assert (drain(source), source.damage) == (bytes(20_000_000), None)


def test_a_packed_pipe_hands_over_what_one_read_gave() -> None:
    source = Source("-", Dribble(PACKED["gzip"], 50_000), None)
    view = memoryview(bytearray(len(PLAIN)))
    assert 0 < source.readinto(view) < 60_000


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.999])
def test_a_stream_cut_short_gives_what_it_has_and_says_so(name: str, part: float) -> None:
    data = PACKED[name][: int(len(PACKED[name]) * part)]
    source = Source("a", io.BytesIO(data), len(data))
    out = drain(source)
    assert PLAIN.startswith(out)
    assert len(out) > 0 or part < 0.5
    assert (source.damage, source.cut_short) == ("the compressed stream breaks off", True)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_corrupt_stream_ends_where_it_is_corrupt(name: str) -> None:
    data = bytearray(PACKED[name])
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    source = Source("a", io.BytesIO(bytes(data)), len(data))
    drain(source)
    assert str(source.damage).startswith("the compressed stream is corrupt")
    assert not source.cut_short


def test_every_prefix_of_a_packed_capture_is_read_without_raising() -> None:
    whole = pcap(some_packets(20))
    for name in COMPRESSED:
        data = PACKERS[name](whole)
        for cut in range(40, len(data), 3):
            try:
                rows, reader, faults = read(data[:cut])
            except AnalyzerError:  # not one byte came out
                continue
            assert (reader.complete, faults) == (False, {"FILE_CUT_SHORT": 1})
            assert rows == read(whole)[0][: len(rows)]


def test_a_failing_disk_is_damage() -> None:
    class Failing(io.RawIOBase):
        def readinto(self, view):
            raise OSError(5, "Input/output error")

        def read(self, size=-1):
            return b"plain!"[:size]

    source = Source("a", Failing(), 100)
    assert drain(source) == b"plain!"
    assert source.damage == "reading stopped: Input/output error"


@pytest.mark.parametrize(("name", "says"), [("missing", "No such file"), ("", "Is a directory")])
def test_what_cannot_be_opened(name: str, says: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    with pytest.raises(AnalyzerError, match=f"^{path}: {says}") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_zstd_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(AnalyzerError, match="needs the package zstandard"):
        Source("a", io.BytesIO(PACKED["zstd"]), None)


def test_standard_input_is_read_and_left_open() -> None:
    script = (
        "from analyzer.capture.source import open_source\n"
        "import sys\n"
        "view = memoryview(bytearray(100))\n"
        "with open_source('-') as source: n = source.readinto(view); m = source.readinto(view[n:])\n"
        "print(bytes(view[: n + m]), source.size, sys.stdin.closed)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=b"capture!", capture_output=True, check=True)
    assert done.stdout.split() == [b"b'capture!'", b"None", b"False"]


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_system_is_asked_for_a_file_before_it_is_read(
    pack: Callable[[bytes], bytes], works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes.fromhex("d4c3b2a1 0200") + os.urandom(100_000)
    path = tmp_path / "capture"
    path.write_bytes(pack(data))
    asked: list[tuple[int, int]] = []

    def advise(_file: int, offset: int, size: int, _advice: int) -> None:
        asked.append((offset, size))
        if not works:
            raise OSError

    monkeypatch.setattr(source_module, "AHEAD", 8192)
    monkeypatch.setattr(os, "posix_fadvise", advise)
    with open_source(str(path)) as source:
        room = bytearray(1000)
        got = b""
        while count := source.readinto(memoryview(room)):
            got += room[:count]
            assert sum(size for _, size in asked) > min(source.bytes_read, path.stat().st_size - 1)
    assert got == data
    assert [offset for offset, _ in asked] == [0, *accumulate(size for _, size in asked[:-1])]
    assert sum(size for _, size in asked) <= path.stat().st_size + 2 * 8192
