"""Live on a wire: the same as `analyze` of what another program recorded there, and an end in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from analyzer.engine import analyze
from analyzer.render import document
from analyzer.render.view import View
from analyzer.watch.tables import made, write_tables
from tests.expectations import CAPTURES
from tests.watch import wire as wires
from tests.watch.live import Live
from tests.watch.wire import FAR, Wire, wait_for

LAB = CAPTURES / "lab"
DEADLOCK = LAB / "deadlock_denied.pcap"
PACKETS = 372  # in it
QUICK = "20"  # times a capture's own pace


@pytest.fixture
def wire() -> Iterator[Wire]:
    yield from wires.made()


def about(told: list[document.Json]) -> list[str]:
    """What is said, frames and times aside."""
    keys = ("code", "severity", "confidence", "server", "client", "peer", "path", "owner", "range", "count")
    return sorted(repr([entry[key] for key in keys]) for entry in told)


@pytest.mark.parametrize(
    ("name", "pace", "program"),
    [
        ("deadlock_denied", "1", "dumpcap"),
        ("raw_unsolicited_granted", "1", "tcpdump"),
        ("clean_contention", QUICK, "dumpcap"),
    ],
)
def test_the_same_as_analyze_of_what_was_recorded_beside(
    wire: Wire, tmp_path: Path, name: str, pace: str, program: str
) -> None:
    beside = tmp_path / "beside.pcap"
    recorder = wire.start("tcpdump", "-U", "--nano", "-i", FAR, "-w", str(beside), stderr=subprocess.DEVNULL)
    wait_for(wire.capturing)
    live = Live(wire, tmp_path, "--program", program)
    wire.replay(LAB / f"{name}.pcap", "--speed", pace)
    time.sleep(1)
    assert live.end() == 0
    recorder.terminate()
    recorder.wait()
    whole = View(analyze([str(beside)], compiled=False))
    assert [event["counts"] for event in live.said("end")] == [document.counts(whole)]
    told = [event for event in live.said("open") if event["id"] not in _ids(live.said("resolved"))]
    assert about(told) == about([document.finding(found) for found in whole.findings])
    expected = made(str(tmp_path / "expected"))
    write_tables(whole, expected, "csv")
    for table in ("locks", "waits", "mounts", "callbacks", "reboots", "hosts", "files"):
        wanted = (expected / f"{table}.csv").read_text().splitlines()
        assert sorted((live.tables / f"{table}.csv").read_text().splitlines()) == sorted(wanted)


def prepared(wire: Wire, tmp_path: Path, *options: str) -> Live:
    """A live run that has seen a deadlock."""
    live = Live(wire, tmp_path, *options)
    wire.replay(DEADLOCK, "--speed", QUICK)
    wait_for(lambda: "deadlock" in live.out.read_text())
    time.sleep(1)  # what the kernel still has reaches the program that is about to go
    return live


def ended_well(live: Live) -> bool:
    """Whether all that was to be said was said: the events, their end, the summary, the tables."""
    (end,) = live.said("end")
    return (
        end["health"]["frames"] == PACKETS
        and f"{PACKETS} packets" in live.out.read_text()
        and "Calls" in live.out.read_text()
        and (live.tables / "locks.csv").exists()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end(wire: Wire, tmp_path: Path, number: int) -> None:
    live = prepared(wire, tmp_path)
    assert live.end(number) == 0
    assert live.err.read_text() == ""
    assert ended_well(live)


def test_the_capture_program_is_killed(wire: Wire, tmp_path: Path) -> None:
    live = prepared(wire, tmp_path)
    os.kill(live.child(), signal.SIGKILL)
    assert live.end(None) == 2
    assert live.err.read_text() == "lockscope: dumpcap stopped: killed by SIGKILL\n"
    assert ended_well(live)


@pytest.mark.parametrize("program", ["dumpcap", "tcpdump"])
def test_the_interface_goes_away(wire: Wire, tmp_path: Path, program: str) -> None:
    live = prepared(wire, tmp_path, "--program", program)
    wire.run("ip", "link", "del", FAR)
    assert live.end(None) == 2
    line = live.err.read_text()
    assert line.startswith(f"lockscope: {program} stopped: ")
    assert line.count("\n") == 1
    assert ended_well(live)


def test_nothing_is_lost_of_what_is_under_way(wire: Wire, tmp_path: Path) -> None:
    """Ctrl-C right behind the last packet."""
    live = Live(wire, tmp_path)
    wire.replay(DEADLOCK, "--speed", "0")
    assert live.end() == 0
    assert ended_well(live)


def test_an_absence_is_told_in_time_though_nothing_arrives(wire: Wire, tmp_path: Path) -> None:
    """An UNLOCK that TCP does not acknowledge is worth a finding after 5 s."""
    live = Live(wire, tmp_path)
    wire.replay(LAB / "umnt_unlock_dropped.pcap", "--until", "7", "--speed", "7")
    wait_for(lambda: live.said("open"))
    (event,) = live.said("open")
    assert event["code"] == "unlock-unanswered"
    assert time.time() - datetime.fromisoformat(event["first_time"][:26] + "+00:00").timestamp() < 5 + 1.2
    assert live.end() == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-i", "nope"), "there is no interface nope"),
        (("-i", FAR, "--filter", "((("), "Invalid capture filter"),
    ],
)
def test_it_cannot_be_done(wire: Wire, options: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        wire.command(sys.executable, "-m", "analyzer", "live", *options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def _ids(events: list[document.Json]) -> set[object]:
    return {event["id"] for event in events}
