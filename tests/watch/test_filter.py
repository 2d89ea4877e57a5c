"""The filter that follows: what it lets through, which ports become known, who takes over from whom."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from analyzer.engine import analyze
from analyzer.errors import AnalyzerError
from analyzer.protocols import REGISTRY
from analyzer.protocols.portmap import PORTMAP
from analyzer.render import document
from analyzer.render.view import View
from analyzer.schema.encode import encode
from analyzer.tables import Packets, new_table
from analyzer.watch import portmapper
from analyzer.watch.expression import expression
from analyzer.watch.ports import MOST_PORTS, WELL_KNOWN, Port, Ports, services
from analyzer.watch.relay import AT_ONCE, Place, Relay, cut, seam
from analyzer.watch.run import Capture
from analyzer.watch.tool import Tool
from tests.capture import files
from tests.expectations import CAPTURES
from tests.frames.packets import FIN, ethernet, fragments4, fragments6, ip4, ip6, tcp, udp
from tests.watch import wire as wires
from tests.watch.live import Live
from tests.watch.stepped import Fed
from tests.watch.wire import Wire, wait_for

LAB = CAPTURES / "lab"
CONTENTION = LAB / "clean_contention.pcap"
V6 = 0x86DD
CALL = struct.pack(">10I", 7, 0, 2, 100021, 4, 0, 0, 0, 0, 0)
REPLY = struct.pack(">6I", 7, 1, 0, 0, 0, 0)
MARK = struct.pack(">I", 1 << 31 | len(CALL))


# -- what passes --------------------------------------------------------------------------------


def passed(folder: Path, packets: list[bytes], ports: tuple[int, ...] = (111,)) -> int:
    """How many of these packets the filter lets through."""
    before, after = folder / "before.pcap", folder / "after.pcap"
    before.write_bytes(files.pcap([files.Packet(packet) for packet in packets]))
    subprocess.run(["tcpdump", "-r", before, "-w", after, expression(ports)], check=True, capture_output=True)
    return (after.stat().st_size - 24) // (16 + len(packets[0])) if after.stat().st_size > 24 else 0


@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        (ethernet(ip4(udp(b"what it is", 700, 111))), True),
        (ethernet(ip4(udp(b"what it is", 700, 112))), False),
        (ethernet(ip6(udp(b"what it is", 111, 700)), V6), True),
        (ethernet(ip6(udp(b"what it is", 112, 700)), V6), False),
        (ethernet(ip4(udp(CALL, 700, 5000))), True),
        (
            ethernet(ip4(udp(CALL.replace(struct.pack(">I", 100021), struct.pack(">I", 100022)), 700, 1))),
            False,
        ),
        (ethernet(ip4(udp(REPLY, 5000, 700))), True),
        (ethernet(ip4(udp(REPLY[:8] + b"\0\0\0\1" + REPLY[12:], 5000, 700))), False),
        (ethernet(ip6(udp(CALL, 700, 5000)), V6), True),
        (ethernet(ip6(udp(REPLY, 5000, 700)), V6), True),
        (ethernet(ip4(tcp(MARK + CALL, 700, 5000), 6)), True),
        (ethernet(ip6(tcp(MARK + CALL, 700, 5000), 6), V6), True),
        (ethernet(ip6(tcp(MARK + REPLY, 5000, 700), 6), V6), True),
        (ethernet(ip4(tcp(CALL, 700, 5000), 6)), False),
        (ethernet(ip4(tcp(b"", 700, 80, flags=16), 6)), False),
        (ethernet(ip4(tcp(b"", 700, 80, flags=16 | FIN), 6)), True),
        (ethernet(ip6(tcp(b"", 700, 80, flags=16), 6), V6), False),
        (ethernet(ip6(tcp(b"", 700, 80, flags=16 | FIN), 6), V6), True),
        (ethernet(ip4(bytes(28), 1)), True),
        (ethernet(ip4(bytes(28), 47)), True),
        (ethernet(ip4(tcp(b"", 700, 80, flags=16), 6), tags=(0x8100,)), True),
        (ethernet(bytes(28), 0x0806), False),
        *((ethernet(piece), True) for piece in fragments4(udp(bytes(3000), 700, 111), 1480, 2960)),
        *((ethernet(piece, V6), True) for piece in fragments6(udp(bytes(3000), 700, 111), 1480, 2960)),
    ],
)
def test_what_passes(tmp_path: Path, packet: bytes, passes: bool) -> None:
    assert passed(tmp_path, [packet]) == passes


@pytest.mark.parametrize("name", ["clean_contention", "contention_v6", "mount_udp", "raw_nlm_v1v3"])
def test_no_message_is_lost_before_a_port_is_known(tmp_path: Path, name: str) -> None:
    capture, filtered = LAB / f"{name}.pcap", tmp_path / "filtered.pcap"
    subprocess.run(
        ["tcpdump", "-r", capture, "-w", filtered, expression(WELL_KNOWN)], check=True, capture_output=True
    )
    assert analyze([str(filtered)]).counts == analyze([str(capture)]).counts


def test_the_most_ports_make_a_filter_that_the_kernel_takes() -> None:
    ports = tuple(range(1000, 65000, 1000))[:MOST_PORTS]
    done = subprocess.run(
        ["tcpdump", "-y", "EN10MB", "-d", expression(ports)], check=True, capture_output=True, text=True
    )
    assert len(done.stdout.splitlines()) < 4096  # BPF_MAXINSNS


# -- what becomes known -------------------------------------------------------------------------


def learnt(capture: Path) -> list[Port]:
    """The ports that a capture tells."""
    fed, ports = Fed(capture), Ports()
    fed.engine.taps.append(ports.tap)
    fed.until(fed.stream.end)
    return ports.learnt


def test_ports_become_known_by_portmap_and_by_calls() -> None:
    assert set(learnt(CONTENTION)) == {
        Port(53309, "MOUNT", "192.168.77.10"),
        Port(45049, "NLM", "192.168.77.10"),
        Port(38863, "NLM", "192.168.77.22"),
    }


def message(program: tuple[int, int], procedure: int, args: dict[str, Any], port: int, xid: int) -> bytes:
    declared = REGISTRY[program].procedures[procedure]
    head = struct.pack(">10I", xid, 0, 2, *program, procedure, 0, 0, 0, 0)
    return ethernet(ip4(udp(head + (encode(declared.call, args) if declared.call else b""), 700, port)))


def answer(program: tuple[int, int], procedure: int, result: dict[str, Any], xid: int, status: int) -> bytes:
    declared = REGISTRY[program].procedures[procedure]
    assert declared.reply is not None
    head = struct.pack(">6I", xid, 1, 0, 0, 0, status)
    return ethernet(ip4(udp(head + encode(declared.reply, result), 111, 700), 17, "10.0.0.2", "10.0.0.1"))


LISTED = {"mappings": [{"prog": 100005, "vers": 3, "prot": 6, "port": 9000}, {"prog": 100024, "port": 9001}]}
TOLD = {"mappings": [{"prog": 100021, "vers": 4, "netid": b"tcp", "addr": b"0.0.0.0.15.206"}]}


@pytest.mark.parametrize(
    ("version", "procedure", "args", "result", "known"),
    [
        (2, 3, {"prog": 100021}, {"port": 9000}, {9000: "NLM"}),
        (2, 3, {"prog": 100021}, {"port": 0}, {}),
        (2, 3, {"prog": 100021}, {"port": 70000}, {}),
        (2, 3, {"prog": 77}, {"port": 9000}, {}),
        (2, 4, {}, LISTED, {9000: "MOUNT", 9001: "NSM"}),
        (2, 1, {"prog": 100021, "port": 9000}, {"done": True}, {9000: "NLM"}),
        (4, 3, {"prog": 100005}, {"addr": b"0.0.0.0.15.206"}, {4046: "MOUNT"}),
        (4, 3, {"prog": 100005}, {"addr": b""}, {}),
        (3, 4, {}, TOLD, {4046: "NLM"}),
    ],
)
def test_what_a_portmapper_says(
    tmp_path: Path, version: int, procedure: int, args: Any, result: Any, known: dict[int, str]
) -> None:
    program, path = (PORTMAP, version), tmp_path / "portmap.pcap"
    call = message(program, procedure, args, 111, 5)
    for status in (0, 1):
        reply = answer(program, procedure, result, 5, status)
        path.write_bytes(
            files.pcap([files.Packet(call), files.Packet(reply, files.Packet(b"").time + 10_000_000)])
        )
        if status == 0 or procedure != 1:
            assert {port.number: port.program for port in learnt(path)} == (known if status == 0 else {})


def test_a_mapping_without_a_port_says_nothing() -> None:
    assert list(services({"prog": 100021})) == []


def test_more_ports_than_a_filter_can_hold() -> None:
    ports = Ports()
    for number in range(10_000, 20_000):
        ports.learn(number, 100021, "10.0.0.1")
    assert len(ports.known) == MOST_PORTS
    assert ports.overflown


# -- one behind the other -----------------------------------------------------------------------


def table(times: list[int], data: list[bytes]) -> tuple[Any, Packets]:
    packets, memory = new_table(Packets, len(times)), np.frombuffer(b"".join(data), np.uint8)
    at = 0
    for row, (moment, one) in enumerate(zip(times, data, strict=True)):
        packets.time[row], packets.start[row], packets.stop[row] = moment, at, at + len(one)
        packets.frame[row] = row + 1
        at += len(one)
    return memory, packets


@pytest.mark.parametrize(
    ("times", "data", "first"),
    [
        ((1, 2, 3, 4), "abcd", 3),  # the packet itself is there
        ((1, 2, 3, 4), "abxd", 3),  # it is not: what is no later was seen
        ((5, 6, 7, 8), "cdef", 0),  # the same bytes long after are another packet
        ((1, 2, 2, 3), "abcc", 3),  # of two the nearest, where the clocks of two sockets differ
        ((4, 5, 6, 7), "abxy", 0),  # the new part began later
        ((0, 1, 2, 2), "abxy", 4),  # all was seen
    ],
)
def test_seam(times: tuple[int, ...], data: str, first: int) -> None:
    unit = 2 * AT_ONCE
    scaled = [
        unit * moment + (row == 2 and first == 3 and "cc" in data) * 10 for row, moment in enumerate(times)
    ]
    memory, packets = table(scaled, [one.encode() for one in data])
    last = Place(unit * (2 if "cc" in data else 3 if times[0] else 2), b"c")
    assert seam(memory, packets, len(times), last) == first
    left = cut(packets, len(times), first)
    assert packets.frame[:left].tolist() == list(range(first + 1, len(times) + 1))


@pytest.fixture
def wire() -> Iterator[Wire]:
    yield from wires.made()


@pytest.mark.parametrize("program", ["dumpcap", "tcpdump"])
def test_the_filter_follows_and_nothing_is_lost_or_doubled(wire: Wire, tmp_path: Path, program: str) -> None:
    live = Live(wire, tmp_path, "--filter", "auto", "--program", program)
    wire.replay(CONTENTION, "--speed", "4")
    wait_for(lambda: len(live.said("port")) == 3)
    wire.replay(LAB / "deadlock_denied.pcap", "--speed", "4")
    time.sleep(1)
    assert live.end() == 0
    (end,) = live.said("end")
    wholes = [document.counts(View(analyze([str(CONTENTION)]))), _counts("deadlock_denied")]
    expected: dict[str, int] = {}
    for name, number in (pair for whole in wholes for pair in whole["by_procedure"].items()):
        expected[name] = expected.get(name, 0) + number
    assert end["counts"]["by_procedure"] == expected
    assert end["health"]["faults"].get("time_backwards", 0) == end["health"]["tcp_gaps"] == 0
    said = live.err.read_text().splitlines()
    assert "lockscope: port 45049 is captured, too: NLM of 192.168.77.10" in said
    assert len(said) == len(live.said("port"))


def test_without_another_child_the_filter_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once = tmp_path / "once"
    script = f"[ -e {once} ] && {{ echo 'no more of these' >&2; exit 1; }}; touch {once}; exec sleep 60"
    path = tmp_path / "tool"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    ports, relay = Ports(), Relay(Tool(str(path), "", (), ()), "if0", None, deque())
    capture = Capture(cast(Any, None), relay, ports)
    wait_for(once.exists)
    ports.learn(9000, 100021, "10.0.0.1")
    capture.follow()
    wait_for(lambda: relay.failed)
    capture.follow()
    capture.follow()
    assert capsys.readouterr().err.count("the filter stays as it is: ") == 1
    relay.stop()
    relay.wait()


def _counts(name: str) -> document.Json:
    return document.counts(View(analyze([str(LAB / f"{name}.pcap")])))


# -- asking -------------------------------------------------------------------------------------


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A portmapper that answers what the test puts into a list, to every second call."""
    replies: list[bytes] = []
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    monkeypatch.setattr(portmapper, "ADDRESS", server.getsockname()[1])
    monkeypatch.setattr(portmapper, "PATIENCE", 0.2)

    def serve() -> None:
        while True:
            server.recvfrom(1000)
            call, sender = server.recvfrom(1000)
            for reply in replies:
                server.sendto(call[:4] + reply[4:], sender)

    threading.Thread(target=serve, daemon=True).start()
    return replies


def test_a_portmapper_is_asked(answering: list[bytes]) -> None:
    declared = REGISTRY[PORTMAP, 2].procedures[4].reply
    assert declared is not None
    answering.append(REPLY + encode(declared, LISTED))
    assert list(portmapper.registered("127.0.0.1")) == [(9000, 100005), (9001, 100024)]


@pytest.mark.parametrize(
    "reply", [b"", REPLY[:20], REPLY[:8] + b"\0\0\0\1" + REPLY[12:], REPLY[:20] + b"\0\0\0\1"]
)
def test_a_portmapper_that_says_nothing(answering: list[bytes], reply: bytes) -> None:
    answering.extend([reply] if reply else [])
    with pytest.raises(AnalyzerError, match=r"--ask 127\.0\.0\.1: "):
        list(portmapper.registered("127.0.0.1"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-i", "lo", "--ring", "x", "--filter", "auto"), "--ring keeps one filter"),
        (("-", "--filter", "auto"), "--filter is for --interface"),
        (("-i", "lo", "--ask", "10.0.0.1"), "--ask finds ports"),
        (("-i", "lo", "--filter", "auto", "--ask", "no.such.host.invalid"), "no portmapper answers"),
    ],
)
def test_wrong_use(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "analyzer", "live", *options),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
