"""Capture programs: what they say when they cannot, and what we make of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analyzer.errors import AnalyzerError
from analyzer.watch import tool
from analyzer.watch.tool import DUMPCAP, TCPDUMP, Child, Tool, complaint, installed, interfaces


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
