"""Too much of it: each rule fires on its fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import DEFINITE, LOW, MEDIUM
from tests.findings.lab import Lab
from tests.network import Connection
from tests.world import Exchange, File, Host, Request

LOCK_MANAGER, STATD = 100021, 100024


def answer_of(lab: Lab, asked: Request) -> int:
    """The frame of an answer; frames have numbers once the capture is written."""
    lab.findings()
    return max(asked.frames)


# -- nonblocking-retry-storm ----------------------------------------------------------------------


@pytest.mark.parametrize(("pause", "severity"), [(0.4, LOW), (0.001, MEDIUM)])
def test_nonblocking_retry_storm__fires(lab: Lab, pause: float, severity: int) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for _ in range(24):
        lab.world.wait(pause)
        tried = lab.bob.lock(db, 7, 5, 5, "DENIED")
    lab.later(1)
    found = lab.fires(
        "nonblocking-retry-storm",
        answer_of(lab, tried),
        severity=severity,
        confidence=DEFINITE,
        server=lab.server,
        client=lab.bob,
        path="/srv/db",
        range=(5, 9),
    )
    assert "svid 7" in found.message
    assert "24 times" in found.message
    lab.silent("test-polling")


def test_nonblocking_retry_storm__silent_for_tries_with_a_pause(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for _ in range(40):
        lab.world.wait(1)
        lab.bob.lock(db, 7, reply="DENIED")
    lab.clean("nonblocking-retry-storm")


def test_nonblocking_retry_storm__silent_for_one_try_of_many_ranges_and_owners(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for at in range(30):
        lab.bob.lock(db, 7, at, 1, "DENIED")
        lab.bob.lock(db, 100 + at, reply="DENIED")
    lab.clean("nonblocking-retry-storm")


def test_nonblocking_retry_storm__silent_in_a_grace_period(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    for _ in range(30):
        lab.world.wait(0.2)
        lab.bob.lock(db, 7, reply="GRACE")
    lab.silent("nonblocking-retry-storm")


# -- test-polling ---------------------------------------------------------------------------------


def test_test_polling__fires(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    for _ in range(20):
        lab.world.wait(0.4)
        tried = lab.bob.test(db, 7, reply="DENIED", holder=1)
    lab.later(1)
    lab.fires("test-polling", answer_of(lab, tried), severity=LOW, client=lab.bob, path="/srv/db")
    lab.silent("nonblocking-retry-storm")


def test_test_polling__silent_when_the_lock_is_free(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    for _ in range(30):
        lab.world.wait(0.2)
        lab.bob.test(db, 7)
    lab.clean("test-polling")


# -- rpc-retransmit-storm -------------------------------------------------------------------------


def test_rpc_retransmit_storm__fires_for_one_request_sent_four_times(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, reply=None)
    for pause in (10, 20, 30):
        lab.world.wait(pause)
        lock.again()
    lab.later(1)
    found = lab.fires("rpc-retransmit-storm", lock, severity=LOW, client=lab.alice, server=lab.server)
    assert "one LOCK 4 times in 60 s" in found.message


def test_rpc_retransmit_storm__fires_when_many_requests_are_repeated_once(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(20):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lab.world.wait(1.1)
        lock.again().answer("GRANTED")
    lab.later(1)
    found = lab.fires("rpc-retransmit-storm", lock, severity=MEDIUM, client=lab.alice, server=lab.server)
    assert "20 of 20 lock requests" in found.message


def test_rpc_retransmit_storm__silent_for_a_few(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(19):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lab.world.wait(1.1)
        lock.again().answer("GRANTED")
    lab.later(1)
    lab.silent("rpc-retransmit-storm")


def test_rpc_retransmit_storm__silent_for_a_few_of_many(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(20):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lab.world.wait(1.1)
        lock.again().answer("GRANTED")
    for svid in range(380):
        lab.alice.unlock(db, svid)
    lab.later(1)
    lab.silent("rpc-retransmit-storm")


def test_rpc_retransmit_storm__silent_when_the_capture_sees_packets_several_times(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(30):
        lock = lab.alice.lock(db, svid, svid, 1, reply=None)
        lock.again()
        lock.again()
        lock.again().answer("GRANTED")
    lab.later(1)
    lab.silent("rpc-retransmit-storm")


def test_rpc_retransmit_storm__silent_when_the_server_restarted(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1, reply=None)
    for _ in range(3):
        lab.world.wait(10)
        unlock.again()
    lab.server.boot()
    lab.server.notify(lab.alice, state=7)
    unlock.again().answer("GRANTED")
    lab.later(1)
    lab.silent("rpc-retransmit-storm")


def resending(lab: Lab, calls: int, copies: int, pause: float = 1.1) -> list[Exchange]:
    """Alice uses a file, and some of her calls are sent twice."""
    db = lab.mounted(lab.alice)
    made = []
    for number in range(calls):
        lab.world.wait(0.01)
        read = lab.alice.nfs("GETATTR", db, None)
        if number < copies:
            lab.world.wait(pause)
            read.again()
            made.append(read)
        read.answer({"status": 0})
    lab.later(1)
    return made


def test_rpc_retransmit_storm__fires_for_nfs(lab: Lab) -> None:
    made = resending(lab, 200, 25)
    found = lab.fires("rpc-retransmit-storm", made[0].calls[1], severity=MEDIUM, client=lab.alice)
    assert "25 of 22" in found.message
    assert "after 1.1 s" in found.message


@pytest.mark.parametrize(
    ("calls", "copies", "pause"),
    [
        pytest.param(200, 19, 1.1, id="few"),
        pytest.param(600, 25, 1.1, id="a small share"),
        pytest.param(200, 25, 0.05, id="packets seen twice"),
    ],
)
def test_rpc_retransmit_storm__silent_about_nfs_calls(
    lab: Lab, calls: int, copies: int, pause: float
) -> None:
    resending(lab, calls, copies, pause)
    lab.clean("rpc-retransmit-storm")


def test_rpc_retransmit_storm__silent_about_nfs_while_the_server_restarts(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.server.notify(lab.alice)
    resending(lab, 60, 25)
    lab.silent("rpc-retransmit-storm")


# -- port-lookup-storm ----------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "name"), [(LOCK_MANAGER, "lockd"), (STATD, "statd")])
def test_port_lookup_storm__fires(lab: Lab, program: int, name: str) -> None:
    lab.mounted(lab.alice)
    for _ in range(10):
        lab.world.wait(3)
        asked = lab.server.getport(lab.alice, program, 0)
    lab.later(1)
    found = lab.fires("port-lookup-storm", asked, severity=LOW, client=lab.server, server=lab.alice)
    assert f"the port of {name} 10 times" in found.message
    assert "10 times it was told none" in found.message


def test_port_lookup_storm__silent_when_they_come_slowly(lab: Lab) -> None:
    lab.mounted(lab.alice)
    for _ in range(30):
        lab.world.wait(7)
        lab.server.getport(lab.alice, LOCK_MANAGER, 4045)
    lab.silent("port-lookup-storm")


def test_port_lookup_storm__silent_for_a_burst_of_mounts(lab: Lab) -> None:
    for _ in range(20):
        lab.alice.getport(lab.server, 100005, 635)
    lab.mounted(lab.alice)
    lab.clean("port-lookup-storm")


# -- nlm-connection-churn -------------------------------------------------------------------------


def test_nlm_connection_churn__fires(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    for svid in range(11):
        linux.world.wait(5)
        lock = linux.alice.lock(db, svid, svid, 1)
        linux.alice.unlock(db, svid)
        linux.alice.disconnect(linux.server)
    linux.later(1)
    linux.findings()
    found = linux.fires("nlm-connection-churn", min(lock.frames), severity=LOW, client=linux.alice)
    assert "11 new TCP connections" in found.message


def test_nlm_connection_churn__silent_when_they_are_kept_for_a_while(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    for svid in range(20):
        linux.world.wait(7)
        linux.alice.lock(db, svid, svid, 1)
        linux.alice.unlock(db, svid)
        linux.alice.disconnect(linux.server)
    linux.silent("nlm-connection-churn")


def test_nlm_connection_churn__silent_for_one_connection_and_for_udp(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for svid in range(40):
        lab.alice.lock(db, svid, svid, 1, transport="udp" if svid % 2 else "tcp")
        lab.alice.unlock(db, svid, transport="udp" if svid % 2 else "tcp")
    lab.clean("nlm-connection-churn")


CROWD = 72


def crowd(linux: Lab) -> tuple[File, list[Host], list[Connection]]:
    """Many hosts lock, each over a connection of its own."""
    db = linux.export.file("db")
    hosts, made = [], []
    for number in range(CROWD):
        host = linux.world.host(f"client{number}", f"192.0.2.{100 + number}")
        hosts.append(host)
        host.lock(db, number, number, 1)
        linux.world.wait(0.5)
        made.append(linux.world.connections[host.address, linux.server.address, linux.server.lockd])
    return db, hosts, made


def newcomer(linux: Lab, db: File) -> None:
    """One more client."""
    linux.world.host("newcomer", "192.0.2.200").lock(db, 1, 1000, 1)


def test_nlm_connection_churn__fires_when_a_crowded_server_closes_one_in_use(linux: Lab) -> None:
    db, _, connections = crowd(linux)
    newcomer(linux, db)
    connections[0].close(1)
    linux.later(1)
    found = linux.fires("nlm-connection-churn", severity=LOW, server=linux.server, confidence=DEFINITE)
    assert found.client == "192.0.2.100"
    assert "had 73 lock connections" in found.message


def test_nlm_connection_churn__fires_harder_when_requests_are_lost_with_it(linux: Lab) -> None:
    db, hosts, connections = crowd(linux)
    pending = hosts[0].lock(db, 5, 5000, 1, None)
    newcomer(linux, db)
    connections[0].reset(1)
    linux.world.wait(0.1)
    pending.again()
    pending.answer("GRANTED")
    linux.later(1)
    linux.fires("nlm-connection-churn", pending.calls[0], severity=MEDIUM, server=linux.server)


@pytest.mark.parametrize(
    ("side", "waited", "opens"),
    [
        pytest.param(0, 0, True, id="by its client"),
        pytest.param(1, 400, True, id="after it was idle"),
        pytest.param(1, 5, False, id="for another reason"),
    ],
)
def test_nlm_connection_churn__silent_about_connections_that_end(
    linux: Lab, side: int, waited: float, opens: bool
) -> None:
    db, _, connections = crowd(linux)
    linux.world.wait(waited)
    if opens:
        newcomer(linux, db)
    connections[0].close(side)
    linux.later(1)
    linux.clean("nlm-connection-churn")


def test_nlm_connection_churn__silent_when_few_are_open(linux: Lab) -> None:
    db, _, connections = crowd(linux)
    for connection in connections[:20]:
        connection.close(0)
    newcomer(linux, db)
    connections[30].close(1)
    linux.later(1)
    linux.clean("nlm-connection-churn")


def test_nlm_connection_churn__silent_when_the_server_restarts(linux: Lab) -> None:
    db, _, connections = crowd(linux)
    newcomer(linux, db)
    for connection in connections:
        connection.close(1)
    linux.world.wait(2)
    linux.alice.lock(db, 1, 5000, 1, reply="GRACE")
    linux.later(1)
    linux.silent("nlm-connection-churn")
