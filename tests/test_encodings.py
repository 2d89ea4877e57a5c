"""Traps of the wire, from the capture to the tables: those that no single stage answers for.

A test whose name or docstring says `trap N` proves number N of `tests.traps`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer.engine import Analysis
from analyzer.findings.rule import INFO
from tests.capture.files import NANO, Packet, pcap
from tests.findings.lab import Lab
from tests.messages.wire import call, opaque, record, reply, words
from tests.network import Network

CLIENT, SERVER, OTHER = "192.0.2.21", "192.0.2.1", "192.0.2.22"
NFS, NLM, MOUNT, PORTMAP = 100003, 100021, 100005, 100000
MODES = pytest.mark.parametrize("compiled", [False, True])


def seen(net: Network, path: Path, compiled: bool = False) -> Analysis:
    """What lockscope makes of what was said."""
    from analyzer.engine import analyze

    net.write(path / "capture.pcap")
    return analyze([str(path / "capture.pcap")], compiled=compiled)


def table(net: Network, path: Path) -> Any:
    """The calls table of what was said, as a list of dicts."""
    net.write(path / "capture.pcap")
    return analyzer.analyze(str(path / "capture.pcap")).calls.to_dict("records")


def exchange(net: Network, *pairs: tuple[bytes, bytes], port: int = 2049, source: str = CLIENT) -> None:
    """Calls and replies on one connection."""
    connection = net.connection(source, SERVER, port)
    assert connection is not None
    for asked, said in pairs:
        connection.send(0, record(asked))
        connection.send(1, record(said))


def entry(number: int) -> bytes:
    """An entry of READDIRPLUS without attributes, with a handle."""
    name = b"file-%06d" % number
    handle = words(1) + opaque(b"h" * 28 + struct.pack(">I", number))
    return words(1, 0, number) + opaque(name) + words(0, number, 0) + handle


@MODES
@pytest.mark.parametrize("end", [words(0, 1), b""], ids=["complete", "the end of the list is missing"])
def test_trap_07_a_listing_of_half_a_megabyte(end: bytes, compiled: bool, tmp_path: Path) -> None:
    listing = words(0, 0) + bytes(8) + b"".join(entry(n) for n in range(7000)) + end
    directory = opaque(b"d" * 32) + bytes(16) + words(1 << 16, 1 << 20)
    net = Network()
    connection = net.connection(CLIENT, SERVER, 2049)
    assert connection is not None
    connection.send(0, record(call(1, NFS, 3, 17, directory)))
    whole = record(reply(1, listing))
    assert len(whole) > 400_000
    for at in range(0, len(whole), 1448):
        connection.send(1, whole[at : at + 1448])
    connection.send(0, record(call(2, NFS, 3, 1, opaque(b"d" * 32))))
    analysis = seen(net, tmp_path, compiled)
    assert analysis.counts == {"NFS3 GETATTR": 1, "NFS3 READDIRPLUS": 1}
    assert analysis.health.orphan_replies == 0
    assert analysis.health.tcp_gaps == 0


@MODES
def test_trap_08_a_write_of_another_count_than_its_data(compiled: bool, tmp_path: Path) -> None:
    """The length of the data says where the next field is, and the next record is found."""
    handle = opaque(b"h" * 32)
    writes = [handle + words(0, 0, count, 2) + opaque(b"w" * 1000) for count in (0, 10, 1000, 1 << 30)]
    net = Network()
    ok = words(0, 0, 0, 1000, 2) + bytes(8)
    exchange(net, *[(call(n, NFS, 3, 7, args), reply(n, ok)) for n, args in enumerate(writes)])
    exchange(net, (call(9, NFS, 3, 21, handle + words(0, 0, 0)), reply(9, words(0, 0, 0) + bytes(8))))
    analysis = seen(net, tmp_path, compiled)
    assert analysis.counts == {"NFS3 COMMIT": 1, "NFS3 WRITE": 4}
    assert [name for name in analysis.health.faults if name.startswith("xdr")] == []


def test_trap_14_a_callback_comes_on_a_connection_of_its_own() -> None:
    """GRANTED_MSG from the server to the waiter's lockd: the waiter is the client all the same."""
    lab = Lab()
    file = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(file, 1)
    lab.bob.lock(file, 2, reply="BLOCKED", block=True)
    lab.alice.unlock(file, 1)
    lab.server.granted(lab.bob, file, 2)
    lab.later(1)
    lab.bob.unlock(file, 2)
    lab.later(1)
    lab.clean()


def test_trap_15_a_host_may_be_client_and_server_at_once(tmp_path: Path) -> None:
    """Each of two hosts locks a file of the other one."""
    lab = Lab()
    here = lab.mounted(lab.alice)
    there = lab.alice.export("/home")
    lab.server.mount(lab.alice, "/home")
    back = lab.server.lookup(there, "db")
    lab.alice.lock(here, 1)
    lab.server.lock(back, 1)
    lab.later(1)
    lab.world.write(tmp_path / "capture.pcap")
    locks = analyzer.analyze(str(tmp_path / "capture.pcap")).locks
    ends = {(row["server"], row["client"]) for row in locks.to_dict("records")}
    assert ends == {(lab.server.address, lab.alice.address), (lab.alice.address, lab.server.address)}
    lab.alice.unlock(here, 1)
    lab.server.unlock(back, 1)
    lab.later(1)
    lab.clean()


def test_trap_16_ports_say_nothing(tmp_path: Path) -> None:
    """NLM on 2049, NFS on 4045, MOUNT on 22, and nobody asked a portmapper."""
    net = Network()
    exchange(net, (call(1, NLM, 4, 0), reply(1)), port=2049)
    exchange(net, (call(2, NFS, 3, 0), reply(2)), port=4045)
    exchange(net, (call(3, MOUNT, 3, 0), reply(3)), port=22)
    assert seen(net, tmp_path).counts == {"MOUNT3 NULL": 1, "NFS3 NULL": 1, "NLM4 NULL": 1}


@MODES
def test_trap_27_what_follows_a_probe_for_tls_is_not_decoded(compiled: bool, tmp_path: Path) -> None:
    probe = call(1, NFS, 3, 0, flavor=7)
    net = Network()
    connection = net.connection(CLIENT, SERVER, 2049)
    assert connection is not None
    connection.send(0, record(probe))
    connection.send(1, record(words(1, 1, 0, 0) + opaque(b"STARTTLS") + words(0)))
    secret = bytes.fromhex("1603010200") + bytes((7 * n) % 251 for n in range(512))
    for n in range(40):
        connection.send(n % 2, b"\x17\x03\x03" + struct.pack(">H", len(secret)) + secret)
    analysis = seen(net, tmp_path, compiled)
    assert analysis.counts == {"NFS3 NULL": 1}
    assert (analysis.health.messages, analysis.health.unanswered_calls) == (2, 0)
    (found,) = analysis.findings
    assert (found.code, found.severity) == ("capture-blind-spot", INFO)
    assert "TLS" in found.message


def test_trap_35_an_indirect_call_is_a_call_of_the_portmapper(tmp_path: Path) -> None:
    """CALLIT answers with the inner result only; that nothing comes back is normal."""
    inner = words(100004, 2, 1) + opaque(opaque(b"host"))
    net = Network()
    net.datagram((CLIENT, 700), (SERVER, 111), call(1, PORTMAP, 2, 5, inner))
    net.datagram((SERVER, 111), (CLIENT, 700), reply(1, words(662) + opaque(words(0, 3))))
    net.datagram((CLIENT, 700), ("192.0.2.255", 111), call(2, PORTMAP, 4, 5, inner))
    net.wait(60)
    net.datagram((CLIENT, 700), (SERVER, 111), call(3, PORTMAP, 2, 0))
    net.datagram((SERVER, 111), (CLIENT, 700), reply(3))
    analysis = seen(net, tmp_path)
    assert sum(analysis.counts.values()) == 3
    assert analysis.findings == []


def test_trap_36_no_duration_is_negative(tmp_path: Path) -> None:
    """The clock goes back ten seconds between a call and its reply."""
    net = Network()
    exchange(net, (call(1, NFS, 3, 0), reply(1)))
    for packet in net.packets[-2:]:
        packet.time -= 10_000_000_000
    asked, said = net.packets[3], net.packets[-2]
    assert said.time < asked.time
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap([Packet(packet.data, packet.time) for packet in net.packets], magic=NANO))
    calls = analyzer.analyze(str(path))
    (row,) = calls.calls.to_dict("records")
    assert row["latency"].total_seconds() >= 0
    assert "time_backwards" in set(calls.health["name"])


def test_trap_37_checksums_and_sizes_of_offloads_are_no_fault(tmp_path: Path) -> None:
    """Checksums are 0 in all packets made here; a segment of 60,000 bytes never went over a cable."""
    net = Network()
    data = opaque(b"h" * 32) + words(0, 0, 60000, 2) + opaque(bytes(60000))
    exchange(net, (call(1, NFS, 3, 7, data), reply(1, words(0, 0, 0, 60000, 2) + bytes(8))))
    analysis = seen(net, tmp_path)
    assert (analysis.counts, analysis.health.faults) == ({"NFS3 WRITE": 1}, {})


def test_trap_40_version_4_is_not_read_as_version_3(tmp_path: Path) -> None:
    """COMPOUND is procedure 1, as GETATTR is; its body is nobody's business here."""
    compound = opaque(b"tag") + words(0, 1, 24)
    net = Network()
    exchange(net, (call(1, NFS, 4, 1, compound), reply(1, words(0) + opaque(b"tag") + words(1, 24, 0))))
    rows = table(net, tmp_path)
    assert [(row["program"], row["version"], row["procedure"]) for row in rows] == [("NFS", 4, "COMPOUND")]
    assert seen(net, tmp_path).health.faults == {}


@MODES
def test_trap_11_a_reply_ahead_of_its_call(compiled: bool, tmp_path: Path) -> None:
    """Two receive queues: replies are recorded 20 us before their calls."""
    net = Network()
    exchange(net, *[(call(n, NLM, 4, 0), reply(n)) for n in range(5)])
    for n in range(3, 23, 4):
        net.packets[n].time, net.packets[n + 2].time = net.packets[n + 2].time, net.packets[n].time
    analysis = seen(net, tmp_path, compiled)
    assert (analysis.counts, analysis.findings) == ({"NLM4 NULL": 5}, [])
    health = analysis.health
    assert (health.orphan_replies, health.unanswered_calls, health.tcp_gaps) == (0, 0, 0)
