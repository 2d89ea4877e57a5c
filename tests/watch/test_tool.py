"""Capture programs: what they say when they cannot, and what we make of it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.watch import tool
from analyzer.watch.counters import dropped
from analyzer.watch.tool import DUMPCAP, TCPDUMP, Child, Tool, complaint, installed, interfaces
from tests.capture import files
from tests.frames.packets import ethernet, ip4, udp
from tests.watch import wire as wires
from tests.watch.live import Live
from tests.watch.wire import Wire, wait_for


@pytest.fixture
def wire() -> Iterator[Wire]:
    yield from wires.made()


@pytest.mark.parametrize("one", [DUMPCAP, TCPDUMP], ids=["dumpcap", "tcpdump"])
@pytest.mark.parametrize(
    ("said", "means"),
    [
        ('dumpcap: There is no device named "nope".\n(No such device exists)', "there is no interface if0"),
        ("tcpdump: nope: No such device exists\n(No such device exists)", "there is no interface if0"),
        ("Capturing on 'lo'\ndumpcap: You do not have permission to capture on device \"lo\".\n", "setcap"),
        ("tcpdump: lo: You don't have permission to perform this capture on that device", "setcap"),
        (
            "tcpdump: listening on vb\ntcpdump: pcap_loop: The interface disappeared\n0 packets captured",
            "disapp",
        ),
        ("Capturing on 'vb'\nFile: -\nThe network adapter is no longer running", "no longer running"),
        ("", "stopped"),
    ],
)
def test_complaint(one: Tool, said: str, means: str) -> None:
    line = complaint(one, "if0", said.splitlines())
    assert means in line
    assert "\n" not in line


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(AnalyzerError, match="apt install wireshark-common"):
        installed()


def test_dumpcap_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/there/{name}")
    assert installed() is DUMPCAP
    monkeypatch.setattr(shutil, "which", lambda name, **_: {"tcpdump": "/there/tcpdump"}.get(name))
    assert installed() is TCPDUMP


def fake(tmp_path: Path, script: str) -> Tool:
    """A program that does what the test says."""
    path = tmp_path / "dumpcap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Tool(str(path), "wireshark-common", (), ("-D",))


def test_interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "TOOLS", (fake(tmp_path, "echo '1. eth0'"),))
    assert interfaces() == "1. eth0\n"
    monkeypatch.setattr(tool, "TOOLS", (fake(tmp_path, "echo 'no permission' >&2; exit 1"),))
    with pytest.raises(AnalyzerError, match="no right to capture on any interface"):
        interfaces()


@pytest.mark.parametrize(
    ("script", "drops", "trouble"),
    [
        ("echo \"Packets received/dropped on interface 'vb': 90/7 (pcap:7)\" >&2", 7, "stopped"),
        ("echo '12 packets dropped by kernel' >&2; echo 'tcpdump: vb: gone' >&2; exit 1", 12, "vb: gone"),
        ("kill -KILL $$", 0, "killed by SIGKILL"),
    ],
)
def test_last_words(tmp_path: Path, script: str, drops: int, trouble: str) -> None:
    child = Child(fake(tmp_path, script), "vb", [str(tmp_path / "dumpcap")])
    child.source().readinto(memoryview(bytearray(10)))
    child.wait()
    assert child.drops == drops
    assert trouble in (child.trouble or "")


def test_drops_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "ASKED_EVERY", 0.0)
    script = (
        "n=0; trap 'n=$((n+5)); "
        'echo "tcpdump: 9 packets captured, $n packets dropped by kernel" >&2\' USR1\n'
        "echo 'tcpdump: listening on vb' >&2; while :; do sleep 0.02; done"
    )
    said = replace(fake(tmp_path, script), says_when_asked=True)
    child = Child(said, "vb", [str(tmp_path / "dumpcap")])
    wait_for(lambda: child.ask_drops() or child.drops >= 10)  # type: ignore[func-returns-value]
    child.stop()
    child.wait()
    assert child.drops % 5 == 0
    assert child.trouble is None
    assert complaint(TCPDUMP, "vb", ["tcpdump: 9 packets captured, 5 packets dropped by kernel"]).endswith(
        "stopped"
    )


def test_one_that_does_not_listen_yet_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "ASKED_EVERY", 0.0)
    child = Child(
        replace(fake(tmp_path, "exec sleep 60"), says_when_asked=True), "vb", [str(tmp_path / "dumpcap")]
    )
    child.ask_drops()
    time.sleep(0.1)
    assert child.runs()
    child.stop()
    child.wait()


def test_what_the_kernel_tells_is_added_to_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([3, 4, None])
    monkeypatch.setattr(tool, "ASKED_EVERY", 0.0)
    monkeypatch.setattr(tool, "dropped", lambda _: next(answers))
    script = 'trap "echo \\"Packets received/dropped on interface \'vb\': 90/7\\" >&2; exit" INT\n'
    child = Child(fake(tmp_path, script + "while :; do sleep 0.02; done"), "vb", [str(tmp_path / "dumpcap")])
    assert not child.tells_drops
    for told in (3, 7, 7):
        child.ask_drops()
        assert (child.drops, child.tells_drops) == (told, True)
    time.sleep(0.2)
    child.stop()
    child.wait()
    assert child.drops == 14


def test_nothing_is_told_of_a_process_that_is_gone() -> None:
    assert dropped(2**22) is None


def test_it_ends_as_asked(tmp_path: Path) -> None:
    child = Child(fake(tmp_path, "exec sleep 60"), "vb", [str(tmp_path / "dumpcap")])
    child.stop()
    child.wait()
    assert child.trouble is None


def test_one_that_does_not_listen_is_made_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "PATIENCE", 0.3)
    child = Child(
        fake(tmp_path, "trap '' INT; while :; do sleep 0.1; done"), "vb", [str(tmp_path / "dumpcap")]
    )
    child.stop()
    child.wait()
    assert child.trouble is None


@pytest.mark.parametrize(
    ("one", "ends"),
    [
        (DUMPCAP, ["-i", "eth0", "-w", "-", "-f", "port 111"]),
        (TCPDUMP, ["-i", "eth0", "-w", "-", "port 111"]),
    ],
    ids=["dumpcap", "tcpdump"],
)
def test_a_filter_is_handed_on_as_one_argument(one: Tool, ends: list[str]) -> None:
    assert one.command("eth0", "port 111")[-len(ends) :] == ends
    assert one.command("eth0", None)[-2:] == ["-w", "-"]


@pytest.mark.parametrize("program", ["dumpcap", "tcpdump"])
def test_drops_are_told_while_packets_come(wire: Wire, tmp_path: Path, program: str) -> None:
    live = Live(wire, tmp_path, "--program", program)
    long = tmp_path / "long.pcap"
    long.write_bytes(files.pcap([files.Packet(ethernet(ip4(udp(bytes(1400)))))] * 64))
    os.kill(live.child(), signal.SIGSTOP)
    wire.replay(long, "--rate", "0", "--seconds", "2.5")  # much more than the kernel has room for
    os.kill(live.child(), signal.SIGCONT)
    wait_for(lambda: live.said("drops"))
    assert live.end() == 0
    (end,) = live.said("end")
    assert end["health"]["dropped_by_capture"] >= live.said("drops")[-1]["dropped"] > 0
