"""The evidence of a finding: exactly its frames, with times, lengths and comments, for dpkt and tshark."""

from __future__ import annotations

import gzip
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from dpkt import pcapng

from analyzer.cli import main
from analyzer.engine import analyze
from analyzer.errors import AnalyzerError
from analyzer.findings.rule import Confidence, Severity
from analyzer.render.evidence import MOST_COMMENTS, MOST_TEXT, comments, frames_of, write_evidence
from analyzer.render.reread import Frame, reread
from analyzer.render.view import View
from tests.capture.files import NANO, pcap, pcap_header, some_packets
from tests.capture.reading import Row, read
from tests.expectations import CAPTURES
from tests.render.captures import HOSTILE, hostile

LEAK = CAPTURES / "lab" / "umnt_unlock_dropped.pcap"
FINDING = "unlock-unanswered-abf135a9"


def a_finding(frames: tuple[int, ...], message: str = "it went wrong") -> Any:
    return SimpleNamespace(
        frames=frames, code="a-code", severity=Severity.HIGH, confidence=Confidence.DEFINITE, message=message
    )


def a_frame(**fields: Any) -> Frame:
    known: dict[str, Any] = {
        "number": 1,
        "path": "x.pcap",
        "place": 1,
        "time": 5,
        "link": 1,
        "wire": 4,
        "data": b"abcd",
    }
    return Frame(**(known | fields))


def blocks(data: bytes) -> Iterator[Any]:
    """The blocks of a file, as dpkt unpacks them."""
    kinds: dict[int, Any] = {
        pcapng.PCAPNG_BT_SHB: pcapng.SectionHeaderBlockLE,
        pcapng.PCAPNG_BT_IDB: pcapng.InterfaceDescriptionBlockLE,
        pcapng.PCAPNG_BT_EPB: pcapng.EnhancedPacketBlockLE,
    }
    while data:
        length = int.from_bytes(data[4:8], "little")
        yield kinds[int.from_bytes(data[:4], "little")](data[:length])
        data = data[length:]


def written(frames: list[Frame], findings: Any = ()) -> bytes:
    out = io.BytesIO()
    write_evidence(out, frames, findings)
    return out.getvalue()


def rows_of(data: bytes) -> list[Row]:
    return read(data)[0]


def packets_of(data: bytes) -> list[Any]:
    return [block for block in blocks(data) if isinstance(block, pcapng.EnhancedPacketBlockLE)]


def texts_of(block: Any) -> list[str]:
    return [option.text for option in block.opts if option.code == pcapng.PCAPNG_OPT_COMMENT]


def evidence(*arguments: str) -> int:
    return main(["evidence", *arguments])


@pytest.fixture(params=["plain", "gzip", "zstd"])
def leak(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pack: Any = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[request.param]
    path = tmp_path / "leak.pcap"
    path.write_bytes(pack(LEAK.read_bytes()))
    return path


def test_exactly_the_frames_of_a_finding(leak: Path, tmp_path: Path, tshark: str) -> None:
    out = tmp_path / "e.pcapng"
    assert evidence(str(leak), "--finding", FINDING, "--output", str(out)) == 0
    numbers = next(one for one in analyze([str(LEAK)]).findings if one.id == FINDING).frames
    wanted = [row for row in rows_of(LEAK.read_bytes()) if row.frame in numbers]
    data = out.read_bytes()
    assert [(row.time, row.data, row.wire, row.link) for row in rows_of(data)] == [
        (row.time, row.data, row.wire, row.link) for row in wanted
    ]
    assert [bytes(packet) for _, packet in pcapng.Reader(io.BytesIO(data))] == [row.data for row in wanted]
    said = [texts_of(block) for block in packets_of(data)]
    assert said[0][0] == (
        "frame 123 of leak.pcap: NLM4 LOCK call, 192.168.77.21:683 to 192.168.77.10:40035, TCP"
    )
    assert all(len(texts) == 2 for texts in said)
    assert all(texts[1].startswith("unlock-unanswered (high, probable): the UNLOCK of") for texts in said)
    fields = ["-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.comment"]
    done = subprocess.run(
        [tshark, "-r", str(out), "-T", "fields", "-E", "aggregator=|", *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{row.time // 10**9}.{row.time % 10**9:09d}\t{row.wire}\t{'|'.join(texts)}"
        for row, texts in zip(wanted, said, strict=True)
    ]


def test_all_findings_of_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "e.pcapng"
    analysis = analyze([str(LEAK)])
    code = analysis.findings[0].code
    numbers = {n for one in analysis.findings if one.code == code for n in one.frames}
    assert evidence(str(LEAK), "--code", code, "--output", str(out)) == 0
    assert capsys.readouterr().out == f"{out}: {len(numbers)} frames\n"
    assert len(packets_of(out.read_bytes())) == len(numbers)


def test_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert evidence(str(LEAK), "--finding", FINDING) == 0
    assert evidence(str(LEAK), "--code", "unlock-unanswered") == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{FINDING}.pcapng", "unlock-unanswered.pcapng"}


@pytest.mark.parametrize("wrong", [("--finding", "../x"), ("--code", "deadlock"), ("--code", "no-such-code")])
def test_nothing_is_written_on_errors(
    wrong: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evidence(str(LEAK), *wrong) == 2
    assert evidence(str(LEAK), *wrong, "--output", "x.pcapng") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_capture_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "leak.pcap"
    capture.write_bytes(LEAK.read_bytes())
    (tmp_path / "link").symlink_to(capture)
    for name in ("leak.pcap", "link"):
        assert evidence(str(capture), "--finding", FINDING, "--output", str(tmp_path / name)) == 2
        assert "is a capture that is read" in capsys.readouterr().err
    assert capture.read_bytes() == LEAK.read_bytes()


def test_several_captures_are_one(tmp_path: Path) -> None:
    early = tmp_path / "early.pcap"
    early.write_bytes(pcap(some_packets(3)))
    view = View(analyze([str(LEAK), str(early)]))
    (finding,) = [one for one in view.findings if one.code == "unlock-unanswered"]
    frames = frames_of(view, [finding])
    assert (frames[0].number, frames[0].place) == (126, 123)
    assert comments(frames[0], [finding])[0].startswith(
        f"frame 126, frame 123 of {LEAK.name}: NLM4 LOCK call"
    )


def test_an_interface_for_each_link_type(tmp_path: Path, tshark: str) -> None:
    frames = [a_frame(number=n, link=link, time=n * 10**9 + n) for n, link in enumerate((1, 101, 1, 276), 1)]
    data = written(frames)
    interfaces = [block for block in blocks(data) if isinstance(block, pcapng.InterfaceDescriptionBlockLE)]
    assert [block.linktype for block in interfaces] == [1, 101, 276]
    assert [block.iface_id for block in packets_of(data)] == [0, 1, 0, 2]
    assert [(row.link, row.time) for row in rows_of(data)] == [(f.link, f.time) for f in frames]
    path = tmp_path / "e.pcapng"
    path.write_bytes(data)
    done = subprocess.run(
        [tshark, "-r", str(path), "-T", "fields", "-e", "frame.time_epoch"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{n}.{n:09d}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("time", [0, 1, 1_700_000_000_123_456_789, 2**62 + 1])
@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"abcd" * 1000])
def test_a_frame_is_as_it_was_captured(time: int, data: bytes) -> None:
    (row,) = rows_of(written([a_frame(time=time, data=data, wire=len(data) + 9)]))
    assert (row.time, row.data, row.wire) == (time, data, len(data) + 9)


def test_a_time_before_all_times() -> None:
    assert [row.time for row in rows_of(written([a_frame(time=-1)]))] == [0]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text(name: str) -> None:
    (block,) = packets_of(written([a_frame(path=f"/a/{name}")], [a_finding((1,), name)]))
    assert all(text.isprintable() for text in texts_of(block))
    assert len(texts_of(block)) == 2


def test_comments_are_bounded() -> None:
    frame = a_frame()
    said = comments(frame, [a_finding((1,), "é" * MOST_TEXT)] * (MOST_COMMENTS + 3) + [a_finding((2,))])
    assert said[-1] == "and 3 more findings"
    assert len(said) == MOST_COMMENTS + 2
    assert max(len(text.encode()) for text in said) in (MOST_TEXT - 1, MOST_TEXT)
    assert [texts_of(block) for block in packets_of(written([frame], [a_finding((2,))]))] == [said[:1]]


def test_a_hostile_capture(tmp_path: Path) -> None:
    view = View(analyze([str(hostile(tmp_path / "hostile.pcap"))]))
    assert view.findings
    data = written(frames_of(view, view.findings), view.findings)
    assert all(text.isprintable() for block in packets_of(data) for text in texts_of(block))


def test_a_capture_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(some_packets(3), magic=NANO))
    assert [frame.number for frame in reread([str(path)], [3, 1])] == [1, 3]
    path.write_bytes(pcap_header() + b"")
    with pytest.raises(AnalyzerError, match="changed between"):
        reread([str(path)], [3])


def test_frames_of_small_blocks_and_what_is_in_them() -> None:
    frames = {frame.number: frame for frame in reread([str(LEAK)], range(1, 196))}
    assert [frame.place for frame in frames.values()] == list(range(1, 196))
    assert "NLM4 LOCK reply" in frames[125].title
    assert frames[128].title == "TCP segment that was seen before"
    assert "TCP SYN" in [frame.title for frame in frames.values()]
    (reply,) = frames[125].messages
    assert (reply.status, reply.values["status"], reply.remark) == ("SUCCESS", 0, None)
