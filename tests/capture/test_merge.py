"""Several captures as one: order, frame numbers, places, limits."""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import analyzer
from analyzer.capture.find import find_captures
from analyzer.capture.merge import MOST_TOGETHER, Merger, Places, Room, slots_for
from analyzer.capture.reader import LEAST_REGION
from analyzer.engine import analyze
from analyzer.faults import Fault, new_faults
from analyzer.tables import Packets
from tests import manifest
from tests.capture.files import NANO, Packet, pcap, pcapng

BASE = 1_700_000_000_000_000_000


class Row(NamedTuple):
    """A packet of the logical capture."""

    frame: int
    time: int
    data: bytes
    file: int
    number: int


class Merged:
    """Files written to a folder, and read as one."""

    def __init__(
        self, files: Sequence[Sequence[Packet]], rows: int = 1 << 14, compiled: bool = False, regions: int = 1
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for n, packets in enumerate(files):
                write = pcapng if n % 2 else pcap
                (Path(folder) / f"{n:03}").write_bytes(write(packets))
            self.paths, _ = find_captures([str(Path(folder) / f"{n:03}") for n in range(len(files))])
            self.order = [int(Path(path).name) for path in self.paths]
            slots, size = slots_for(len(files), LEAST_REGION)
            memory = np.zeros(regions * slots * size, np.uint8)
            room = Room([i * slots * size for i in range(regions)], slots, size)
            self.faults = new_faults()
            self.merger = Merger(self.paths, memory, room, compiled, self.faults, rows)
            self.rows: list[Row] = []
            self.most_open = 0
            before = None
            for block in self.merger.blocks():
                self.most_open = max(self.most_open, len(self.merger._active))
                now = _rows(memory, block.packets, block.rows, block.files, block.numbers)
                if before is not None and regions > 1:  # what was handed out last is there still
                    assert [memory[at : at + len(data)].tobytes() for at, data in before] == [
                        data for _, data in before
                    ]
                starts = block.packets.start[: block.rows].tolist()
                before = [(at, row.data) for at, row in zip(starts, now, strict=True)]
                self.rows += now

    @property
    def met(self) -> dict[str, int]:
        """Faults and how often."""
        return {Fault(i).name: int(n) for i, n in enumerate(self.faults.count) if n}


def _rows(
    memory: np.ndarray, packets: Packets, rows: int, files: np.ndarray, numbers: np.ndarray
) -> list[Row]:
    return [
        Row(
            int(packets.frame[i]),
            int(packets.time[i]),
            memory[int(packets.start[i]) : int(packets.stop[i])].tobytes(),
            int(files[i]),
            int(numbers[i]),
        )
        for i in range(rows)
    ]


def as_mergecap(files: Sequence[Sequence[Packet]]) -> list[Row]:
    """What mergecap does: the earliest of the packets at the heads of the files, of equals the last."""
    heads = [0] * len(files)
    out: list[Row] = []
    while True:
        left = [n for n, head in enumerate(heads) if head < len(files[n])]
        if not left:
            return out
        n = min(reversed(left), key=lambda n: files[n][heads[n]].time)
        packet = files[n][heads[n]]
        heads[n] += 1
        out.append(Row(len(out) + 1, packet.time, packet.data, n, heads[n]))


MOMENTS = st.lists(st.integers(0, 12), max_size=12)


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.sampled_from([1, 2, 3, 100]), st.booleans())
@hypothesis_settings(max_examples=80)
def test_trap_36_any_captures_are_merged_as_mergecap_does(
    moments: list[list[int]], rows: int, sort: bool
) -> None:
    marks = itertools.count()
    files = [
        [Packet(bytes([next(marks)]), BASE + 1_000_000 * t) for t in (sorted(times) if sort else times)]
        for times in moments
    ]
    merged = Merged(files, rows)
    expected = as_mergecap([files[n] for n in merged.order])
    assert merged.rows == expected
    stamps = [row.time for row in expected]
    backwards = sum(later < earlier for earlier, later in itertools.pairwise(stamps))
    assert merged.met == ({"TIME_BACKWARDS": backwards} if backwards else {})
    files_of, numbers = merged.merger.places.of(np.array([row.frame for row in expected], np.int64))
    assert list(zip(files_of, numbers, strict=True)) == [(row.file, row.number) for row in expected]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("regions", [1, 2])
def test_files_larger_than_their_room(compiled: bool, regions: int) -> None:
    """Blocks end anywhere in each file, and in none at the same time."""
    files = [
        [Packet(bytes([n, i % 256]) * (150 + 40 * n), BASE + 1000 * (i * (n + 2) + n)) for i in range(3000)]
        for n in range(3)
    ]
    merged = Merged(files, 1 << 14, compiled, regions)
    assert merged.rows == as_mergecap([files[n] for n in merged.order])


@pytest.mark.parametrize("files", [3, MOST_TOGETHER + 3])
def test_a_file_that_ends_leaves_its_last_block_alone(files: int) -> None:
    packets = [
        [Packet(bytes([n, i] * 20), BASE + 10_000 * n + 1000 * i) for i in range(3)] for n in range(files)
    ]
    assert Merged(packets, regions=2).rows == as_mergecap(packets)


def test_of_a_ring_buffer_only_neighbours_are_open() -> None:
    files = [[Packet(bytes([n]), BASE + 10_000 * n + 1000 * i) for i in range(10)] for n in range(40)]
    merged = Merged(files)
    assert [row.frame for row in merged.rows] == list(range(1, 401))
    assert merged.rows == as_mergecap(files)
    assert merged.most_open <= 2


def test_more_captures_at_once_than_can_be_open() -> None:
    """The last ones wait, and come out of order; that is counted, nothing is lost."""
    count = MOST_TOGETHER + 3
    files = [
        [Packet(bytes([n]), BASE + 1000 * n), Packet(bytes([n]), BASE + 10**9 + 1000 * n)]
        for n in range(count)
    ]
    merged = Merged(files)
    assert sorted(row.data[0] for row in merged.rows) == sorted(2 * list(range(count)))
    assert merged.most_open <= MOST_TOGETHER
    assert set(merged.met) == {"TIME_BACKWARDS"}


def test_damage_of_one_file_leaves_the_others_whole(tmp_path: Path) -> None:
    packets = [Packet(bytes(9), BASE + 1000 * i) for i in range(6)]
    (tmp_path / "a").write_bytes(pcap(packets[::2])[:-3])
    (tmp_path / "b").write_bytes(pcap(packets[1::2]))
    analysis = analyze([str(tmp_path)])
    assert analysis.health.frames == 5
    assert analysis.health.faults == {"file_cut_short": 1, "frame_malformed": 5}
    assert [(info.packets, info.complete) for info in analysis.captures] == [(2, False), (3, True)]


def test_places_forget_what_is_long_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.capture.merge.MOST_RUNS", 8)
    places = Places()
    places.add(1, np.array([0, 1] * 10), np.repeat(np.arange(1, 11), 2))
    files, numbers = places.of(np.array([1, 19, 20], np.int64))
    assert files.tolist() == [-1, 0, 1]
    assert numbers.tolist() == [-1, 10, 10]
    assert Places().of(np.array([1], np.int64))[0].tolist() == [-1]


def split(capture: Path, folder: Path, which: str) -> list[str]:
    """A capture of ours as several: one per sending host, or three pieces cut in the midst of streams."""
    data = capture.read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    records, at = [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little" if order == "<" else "big")
        records.append(data[at : at + 16 + size])
        at += 16 + size
    parts: dict[str, list[bytes]] = {}
    for n, record in enumerate(records):
        key = record[22:28].hex() if which == "hosts" else str(3 * n // len(records))
        parts.setdefault(key, []).append(record)
    for key, part in parts.items():
        (folder / f"{key}.pcap").write_bytes(data[:24] + b"".join(part))
    assert len(parts) > 1
    return [str(folder)]


PIECES = [path for path in manifest.captures() if path.suffix == ".pcap" and path.stat().st_size < 300_000][
    :12
]


@pytest.mark.parametrize("which", ["hosts", "pieces"])
@pytest.mark.parametrize("capture", PIECES, ids=lambda path: path.name)
def test_pieces_of_a_capture_give_what_the_whole_gives(capture: Path, which: str, tmp_path: Path) -> None:
    """Two hosts at the same time, and a ring buffer: TCP streams go on over the borders of files."""
    whole, parts = analyze([str(capture)]), analyze(split(capture, tmp_path, which))
    assert parts.counts == whole.counts
    assert parts.findings == whole.findings
    assert parts.health == whole.health
    assert len(parts.captures) > 1


def test_calls_say_in_which_file_they_are(tmp_path: Path) -> None:
    capture = PIECES[0]
    (tmp_path / "parts").mkdir()
    paths = split(capture, tmp_path / "parts", "hosts")
    calls = analyzer.analyze(paths).calls
    assert calls["file"].nunique() > 1
    whole = analyzer.analyze([str(capture)]).calls
    assert calls["call_frame"].tolist() == whole["call_frame"].tolist()
    for path, part in calls.groupby("file", observed=True):
        alone = analyzer.analyze([str(path)]).calls
        assert set(part["frame_in_file"]) <= set(alone["call_frame"])


@pytest.mark.parametrize("capture", PIECES, ids=lambda path: path.name)
def test_trap_12_both_ends_recorded_the_same(capture: Path, tmp_path: Path) -> None:
    """The other host's clock is 20 ms behind: nothing is told twice."""
    data = capture.read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    nano = struct.unpack(order + "I", data[:4])[0] == NANO
    later, at = [data[:24]], 24
    while at < len(data):
        seconds, part, size, wire = struct.unpack(order + "IIII", data[at : at + 16])
        time = seconds * 1_000_000_000 + part * (1 if nano else 1000) + 20_000_000
        stamp = divmod(time, 1_000_000_000)
        head = struct.pack(order + "IIII", stamp[0], stamp[1] // (1 if nano else 1000), size, wire)
        later.append(head + data[at + 16 : at + 16 + size])
        at += 16 + size
    (tmp_path / "server").write_bytes(data)
    (tmp_path / "client").write_bytes(b"".join(later))
    whole, both = analyze([str(capture)]), analyze([str(tmp_path)])
    assert both.counts == whole.counts
    assert [f.code for f in both.findings] == [f.code for f in whole.findings]
    assert both.health.frames == 2 * whole.health.frames
    assert both.health.messages == whole.health.messages
    assert both.health.retransmissions == whole.health.retransmissions
    assert both.health.tcp_gaps == whole.health.tcp_gaps
