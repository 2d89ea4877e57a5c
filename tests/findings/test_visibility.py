"""What the capture cannot show."""

import ipaddress
from typing import Any

import pytest

from analyzer.findings.catalogue import evaluate
from analyzer.findings.rule import DEFINITE, INFO
from analyzer.protocols.rpc import AUTH_TLS
from tests.findings.lab import TERRAINS, Lab
from tests.network import Packet
from tests.records.stream import Stream
from tests.world import AUTH_ERROR, LOCKD, Host


def test_capture_blind_spot__fires_when_segments_are_missing(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.alice.lock(db, 1, 10, 10, captured=False, reply_captured=False)
    linux.alice.unlock(db, 1)
    linux.later(1)
    linux.fires("capture-blind-spot", severity=INFO, confidence=DEFINITE)


def test_capture_blind_spot__fires_when_datagrams_are_missing() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1)
    unlock.calls[0].captured = False
    lab.later(1)
    found = lab.fires("capture-blind-spot", unlock.replies[0], severity=INFO)
    assert found.message == "1 replies over UDP to lock calls that were not captured"


def test_capture_blind_spot__fires_for_nfs_4(lab: Lab) -> None:
    lab.alice.ping(lab.server, (100003, 4), 2049, transport="tcp")
    how: dict[str, Any] = {"port": 2049, "transport": "tcp", "body": bytes(12)}
    first, _ = (lab.alice.call(lab.server, (100003, 4), 1, {}, **how) for _ in range(2))
    assert "2 calls of NFSv4" in lab.fires("capture-blind-spot", first).message


def half(lab: Lab, missing: Host) -> Lab:
    """The capture has nothing that this host sent."""
    for packet in lab.world.packets:
        data = packet.data
        source = data[26:30] if data[12:14] == b"\x08\x00" else data[22:38]
        packet.captured &= source != ipaddress.ip_address(missing.address).packed
    return lab


def busy(terrain: str) -> Lab:
    """Alice locks and unlocks for a while, and waits her turn."""
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob)
    for svid in range(6):
        lab.alice.lock(db, svid)
        lab.world.wait(5)
        lab.alice.unlock(db, svid)
    lab.bob.lock(db, 1)
    lab.alice.wait_for(db, 7)
    lab.bob.unlock(db, 1)
    lab.server.granted(lab.alice, db, 7)
    lab.alice.unlock(db, 7)
    lab.later(60)
    return lab


@pytest.mark.parametrize("terrain", TERRAINS)
def test_capture_blind_spot__fires_when_only_a_client_is_heard(terrain: str) -> None:
    lab = busy(terrain)
    lab.clean("capture-blind-spot")
    lab.analysis = None
    half(lab, lab.server)
    found = lab.fires("capture-blind-spot", client=lab.alice, peer=lab.server, confidence=DEFINITE)
    assert "unlock-unanswered (7 times)" in found.message
    lab.clean()


@pytest.mark.parametrize("terrain", ["linux", "opaque"])
def test_capture_blind_spot__fires_when_only_a_server_is_heard(terrain: str) -> None:
    lab = busy(terrain)
    half(lab, lab.alice)
    lab.fires("capture-blind-spot", client=lab.server, peer=lab.alice, confidence=DEFINITE)
    lab.clean()


def test_capture_blind_spot__silent_about_a_server_that_is_dead(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(6):
        lab.alice.lock(db, svid, svid * 10, 10)
    lab.server.die()
    lab.world.packets.clear()
    for svid in range(6):
        call = lab.alice.unlock(db, svid, svid * 10, 10, None)
        lab.world.wait(10)
        call.again()
    lab.later(60)
    assert all(f.peer is None for f in lab.findings() if f.code == "capture-blind-spot")
    assert "unlock-unanswered" in {f.code for f in lab.findings()}


def test_capture_blind_spot__silent_about_one_odd_connection_of_two_that_talk(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    odd = linux.world.connect(linux.alice.address, linux.server.address, 9)
    odd.send(0, bytes(40))
    for packet in linux.world.packets[-5:]:  # the SYN and the bytes are there, their answers are not
        packet.captured = packet.data[26:30] == ipaddress.ip_address(linux.alice.address).packed
    linux.server.cut_from(linux.alice)
    linux.alice.unlock(db, 1, reply=None)
    linux.later(200)
    linux.fires("unlock-unanswered", client=linux.alice)
    linux.silent("capture-blind-spot")


def test_capture_blind_spot__fires_for_connections_that_went_over_to_tls(lab: Lab) -> None:
    how: dict[str, Any] = {"port": 2049, "transport": "tcp", "flavor": AUTH_TLS}
    probes = [lab.alice.call(lab.server, (100003, 3), 0, {}, reply={}, **how) for _ in range(2)]
    lab.fires(
        "capture-blind-spot", *(probe.calls[0] for probe in probes), client=lab.alice, server=lab.server
    )


@pytest.mark.parametrize("error", [AUTH_ERROR + 1, None])
def test_capture_blind_spot__silent_when_tls_was_refused(lab: Lab, error: int | None) -> None:
    how: dict[str, Any] = {"port": 2049, "transport": "tcp", "flavor": AUTH_TLS, "error": error or 0}
    lab.alice.call(lab.server, (100003, 3), 0, {}, **how)
    lab.alice.ping(lab.server, (100003, 3), 2049, transport="tcp")
    lab.silent("capture-blind-spot")


def test_capture_blind_spot__fires_for_rdma(lab: Lab) -> None:
    ends = (lab.alice.address, 49_152), (lab.server.address, 4791)
    first = lab.world.datagram(*ends, bytes(60))
    lab.fires("capture-blind-spot", first, client=lab.alice, peer=lab.server, severity=INFO)


def test_capture_blind_spot__fires_for_mounts_without_a_mnt(lab: Lab) -> None:
    first = lab.alice.lookup(lab.export, "db")
    lab.alice.write(first)
    lab.bob.mount(lab.server, "/srv")
    assert "1 mounts are in use" in lab.fires("capture-blind-spot").message


def test_capture_blind_spot__silent_about_replies_to_what_was_asked_before_the_capture() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1).calls[0].captured = False
    lab.alice.unlock(db, 1)
    lab.silent("capture-blind-spot")


def test_capture_blind_spot__silent_when_tcp_repaired_the_loss(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.server.cut_from(linux.alice, LOCKD)
    unlock = linux.alice.unlock(db, 1)
    linux.world.wait(0.5)
    linux.server.mend(linux.alice, LOCKD)
    linux.world.wait(1)
    unlock.answer("GRANTED")
    linux.later(1)
    linux.clean("capture-blind-spot")


def test_capture_blind_spot__fires_for_nothing_else_when_the_capture_began_late(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    for connection in linux.world.connections.values():
        assert connection.open
    linux.world.packets.clear()
    linux.alice.getattr(db)
    linux.later(1)
    linux.clean()
    assert "1 mounts are in use" in linux.fires("capture-blind-spot").message


# -- no-nlm-traffic -------------------------------------------------------------------------------


def use(lab: Lab, minutes: int, writes: bool = True) -> None:
    """Alice locks; bob only writes, or only looks."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 10)
    for _ in range(minutes):
        lab.world.wait(60)
        lab.bob.write(db, 10) if writes else lab.bob.getattr(db)
    lab.alice.unlock(db, 1, 0, 10)
    lab.later(1)


def test_no_nlm_traffic__fires(lab: Lab) -> None:
    use(lab, 11)
    found = lab.fires("no-nlm-traffic", severity=INFO, client=lab.bob, server=lab.server, export="/srv")
    assert "11 of them WRITE or CREATE" in found.message


def test_no_nlm_traffic__silent_for_a_short_while(lab: Lab) -> None:
    use(lab, 9)
    lab.clean("no-nlm-traffic")


def test_no_nlm_traffic__silent_for_a_reader(lab: Lab) -> None:
    use(lab, 11, writes=False)
    lab.clean("no-nlm-traffic")


def test_no_nlm_traffic__fires_for_two_that_write_and_never_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for _ in range(11):
        lab.world.wait(60)
        lab.bob.write(db)
        lab.alice.write(db)
    for client in (lab.alice, lab.bob):
        found = lab.fires("no-nlm-traffic", severity=INFO, client=client, server=lab.server)
        assert "nor did 1 other" in found.message


def test_no_nlm_traffic__silent_about_two_exports(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    home = lab.alice.mount(lab.server, "/home")
    mbox = lab.alice.lookup(home, "mbox")
    for _ in range(11):
        lab.world.wait(60)
        lab.bob.write(db)
        lab.alice.write(mbox)
    lab.clean("no-nlm-traffic")


def test_no_nlm_traffic__silent_when_nobody_locks(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    for _ in range(11):
        lab.world.wait(60)
        lab.bob.write(db)
    lab.clean("no-nlm-traffic")


# -- network-loss ---------------------------------------------------------------------------------


def lose(linux: Lab, losses: int, calls: int) -> None:
    """Some segments of alice have to be sent twice."""
    db = linux.mounted(linux.alice)
    for number in range(calls):
        linux.world.wait(0.1)
        lock = linux.alice.lock(db, 1, reply=None if number < losses else "GRANTED")
        if number < losses:
            sent = max(linux.world.packets[-2:], key=lambda packet: len(packet.data))
            linux.world.packet(linux.alice.address, linux.server.address, 6, tcp_of(sent))
            lock.answer("GRANTED")
    linux.alice.unlock(db, 1)
    linux.later(1)


def tcp_of(packet: Packet) -> bytes:
    """The TCP segment of an IPv4 packet."""
    return packet.data[14 + 20 :]


def test_network_loss__fires(linux: Lab) -> None:
    lose(linux, 24, 60)
    found = linux.fires("network-loss", severity=INFO, client=linux.alice, peer=linux.server)
    assert "were sent again" in found.message


def test_network_loss__silent_for_a_few(linux: Lab) -> None:
    lose(linux, 15, 60)
    linux.clean("network-loss")


def test_capture_blind_spot__silent_about_many_flows(linux: Lab) -> None:
    """Tables of flows and of streams grow each in its own way."""
    for port in range(20_000, 20_600):
        linux.world.datagram((linux.alice.address, port), (linux.server.address, 5000), bytes(60))
    assert evaluate(Stream(linux, rows=36).engine.sessions, ["capture-blind-spot"]) == []
