"""What is a capture among what the user named, and in which order."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from analyzer.capture.find import find_captures
from analyzer.errors import AnalyzerError
from tests.capture.files import Packet, pcap, pcapng


def at(second: int) -> list[Packet]:
    return [Packet(b"x", second * 1_000_000_000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {
        "a-late.pcap": pcap(at(300)),
        "b-early": gzip.compress(pcapng(at(100))),
        "c-none.pcap": pcap([]),
        "d-middle.pcap": pcap(at(200), ">"),
        "empty.pcap": b"",
        "notes.json": b"{}",
        "packed.txt.gz": gzip.compress(b"text"),
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "x.pcap").write_bytes(pcap(at(1)))
    return tmp_path


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def test_a_directory_gives_its_captures_in_time_order_and_what_was_skipped(folder: Path) -> None:
    found, skipped = find_captures([str(folder)])
    assert names(found) == ["b-early", "d-middle.pcap", "a-late.pcap", "c-none.pcap"]
    assert names(skipped) == ["empty.pcap", "notes.json", "packed.txt.gz"]


def test_named_files_are_ordered_by_time_and_otherwise_as_named(folder: Path) -> None:
    other = folder / "other.pcap"
    other.write_bytes(pcap([]))
    paths = [str(folder / name) for name in ("other.pcap", "c-none.pcap", "a-late.pcap", "d-middle.pcap")]
    assert names(find_captures(paths)[0]) == ["d-middle.pcap", "a-late.pcap", "other.pcap", "c-none.pcap"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.pcap", "is empty"),
        ("notes.json", "not a packet capture"),
        ("packed.txt.gz", "not a packet capture"),
        ("nowhere.pcap", "No such file or directory"),
    ],
)
def test_a_named_file_that_is_no_capture(folder: Path, name: str, says: str) -> None:
    with pytest.raises(AnalyzerError, match=says) as caught:
        find_captures([str(folder / "a-late.pcap"), str(folder / name)])
    assert str(caught.value).startswith(f"{folder / name}: ")


def test_a_directory_without_captures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(AnalyzerError, match="no captures in this directory"):
        find_captures([str(tmp_path)])


def test_what_can_be_read_once_only_is_not_touched(folder: Path) -> None:
    pipe = str(folder / "pipe")
    os.mkfifo(pipe)  # opening it would wait for a writer for ever
    found, _ = find_captures(["-", pipe, str(folder / "a-late.pcap")])
    assert names(found) == ["a-late.pcap", "-", "pipe"]
    assert "pipe" not in names(find_captures([str(folder)])[0])
