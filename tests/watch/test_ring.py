"""A ring of captures: bounded, followed without a gap, and good for evidence of what was told live."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.watch import pump, ring
from analyzer.watch.pump import Begun, Pump
from tests.expectations import CAPTURES
from tests.watch import wire as wires
from tests.watch.live import Live
from tests.watch.replay import frames
from tests.watch.wire import FAR, Wire, wait_for

DEADLOCK = CAPTURES / "lab" / "deadlock_denied.pcap"
QUICK = "20"


@pytest.fixture
def wire() -> Iterator[Wire]:
    yield from wires.made()


def test_files_are_followed_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "TICK", 0.01)
    alive = True
    begun: Begun = deque()
    made = Pump("ring", lambda: ring.Followed(tmp_path, begun, lambda: alive), begun)
    story: list[str | bytes] = []
    made.on_file = story.append

    def written() -> None:
        nonlocal alive
        for number in range(1, 4):
            with (tmp_path / f"lockscope_{number:05}_x.pcapng").open("wb", buffering=0) as file:
                for piece in range(3):
                    file.write(f"{number}{piece}".encode() * 30)
                    time.sleep(0.03)
        alive = False

    threading.Thread(target=written).start()
    view = memoryview(bytearray(1 << 16))
    while (count := made.readinto(view)) != 0:
        if count:
            story.append(bytes(view[:count]))
    text = b"".join(b"|" if isinstance(one, str) else one for one in story)
    assert text == b"|" + b"|".join(b"".join(f"{n}{p}".encode() * 30 for p in range(3)) for n in (1, 2, 3))
    assert made.damage is None


def test_a_ring_that_comes_round_too_soon_is_said(tmp_path: Path) -> None:
    begun: Begun = deque()
    followed = ring.Followed(tmp_path, begun, lambda: False)
    followed._open(tmp_path / "lockscope_00001_x.pcapng")
    assert "came round" in (followed.damage or "")
    assert followed.readinto(memoryview(bytearray(10))) == 0


def test_what_the_last_run_left_is_put_aside_once(tmp_path: Path) -> None:
    for run in ("first", "second", "third"):
        folder = ring.prepared(str(tmp_path))
        assert not list(folder.glob("lockscope*"))
        (folder / "lockscope_00001_x.pcapng").write_text(run)
        (folder / ring.EVENTS).write_text(run)
        (folder / "mine.txt").write_text("is not touched")
    assert (tmp_path / ring.PREVIOUS / ring.EVENTS).read_text() == "second"
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(AnalyzerError):
        ring.prepared(str(tmp_path / "mine.txt"))


def evidence(folder: Path, finding: str, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "analyzer",
            "evidence",
            str(folder),
            "--finding",
            finding,
            "--output",
            str(output),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_evidence_of_a_live_finding(wire: Wire, tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    live = Live(wire, tmp_path, "--ring", str(folder), "--ring-size", "0.3")
    time.sleep(0.5)
    for _ in range(3):  # goes round several files before and after
        wire.replay(CAPTURES / "lab" / "clean_basic.pcap", "--speed", "0")
    wire.replay(DEADLOCK, "--speed", QUICK)
    wait_for(lambda: live.said("open"))
    (event,) = [event for event in live.said("open") if event["code"] == "deadlock"]
    wait_for(lambda: len(list(folder.glob("lockscope_*.pcapng"))) > 2)
    assert live.end() == 0
    done = evidence(folder, event["id"], tmp_path / "evidence.pcapng")
    assert (done.returncode, done.stderr) == (0, "")
    copied = [data for _, data in frames(str(tmp_path / "evidence.pcapng"))]
    sent = [data for _, data in frames(str(DEADLOCK))]
    first = 3 * len(frames(str(CAPTURES / "lab" / "clean_basic.pcap")))
    assert copied == [sent[number - first - 1] for number in event["frames"]]
    assert sum(path.stat().st_size for path in folder.glob("lockscope_*.pcapng")) < 600_000
    assert json.loads((folder / ring.INDEX).read_text())["schema"] == ring.SCHEMA


def test_frames_that_the_ring_lost_are_missed(wire: Wire, tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    live = Live(wire, tmp_path, "--ring", str(folder), "--ring-size", "0.3")
    wire.replay(DEADLOCK, "--speed", QUICK)
    wait_for(lambda: live.said("open"))
    for _ in range(4):
        wire.replay(CAPTURES / "lab" / "clean_basic.pcap", "--speed", "0")
    time.sleep(0.5)
    assert live.end() == 0
    (event,) = [event for event in live.said("open") if event["code"] == "deadlock"]
    done = evidence(folder, event["id"], tmp_path / "evidence.pcapng")
    assert done.returncode == 2
    assert "no longer holds" in done.stderr


@pytest.fixture
def private() -> Iterator[Wire]:
    yield from wires.made("mount")


def test_the_disk_is_full(private: Wire, tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    folder.mkdir()
    private.run("mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder))
    live = Live(private, tmp_path, "--ring", str(folder), "--ring-size", "100")
    time.sleep(0.3)
    for _ in range(3):
        private.replay(DEADLOCK, "--speed", QUICK)
        private.replay(CAPTURES / "lab" / "clean_basic.pcap", "--speed", "0")
    assert live.end(None) == 2
    lines = live.err.read_text().splitlines()
    assert any(line.startswith("lockscope: dumpcap stopped: ") for line in lines), lines
    assert "Calls" in live.out.read_text()
    assert live.said("end")
    assert [event["code"] for event in live.said("open") if event["code"] == "deadlock"] == ["deadlock"]


def test_a_stream_has_no_ring(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "live", "-", "--ring", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, FAR in done.stderr) == (2, False)
    assert "--ring keeps what --interface captures" in done.stderr
