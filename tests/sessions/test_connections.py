"""Connections as evidence: attempts, answers, ends, and one four-tuple used twice."""

from tests.findings.lab import Lab
from tests.network import RETRIES
from tests.sessions.view import View
from tests.world import LOCKD, NFSD


def test_a_syn_and_its_copies_are_one_attempt(lab: Lab) -> None:
    lab.bob.cut_from(lab.server)
    lab.world.connect(lab.server.address, lab.bob.address, LOCKD)
    lab.later(20)
    s = View(lab).s
    (attempt,) = s.connections.by_flow.values()
    assert len(attempt.tries) == 1 + len(RETRIES)
    assert attempt.answered is None
    assert attempt.refused is None
    assert attempt.port == LOCKD


def test_a_syn_answered_at_the_third_try(lab: Lab) -> None:
    lab.world.connect(lab.server.address, lab.bob.address, LOCKD, lost=2)
    (attempt,) = View(lab).s.connections.by_flow.values()
    assert len(attempt.tries) == 3
    assert attempt.answered is not None
    assert attempt.answered[0] == 4


def test_a_refused_attempt(lab: Lab) -> None:
    lab.bob.refuse(LOCKD)
    lab.world.connect(lab.server.address, lab.bob.address, LOCKD)
    (attempt,) = View(lab).s.connections.by_flow.values()
    assert attempt.refused is not None
    assert attempt.refused[0] == 2


def test_a_reset_of_an_established_connection_is_no_refusal(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    reset = lab.world.connections[lab.alice.address, lab.server.address, LOCKD].reset()
    view = View(lab)
    connection = next(c for c in view.s.connections.by_flow.values() if c.port == LOCKD)
    assert connection.refused is None
    assert connection.reset is not None
    assert (view.name(connection.reset[0]), connection.reset[1]) == ("server", reset.frame)


def test_fins_are_noted_by_host(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.disconnect(lab.server)
    view = View(lab)
    connection = next(c for c in view.s.connections.by_flow.values() if c.port == NFSD)
    assert {view.name(host) for host in connection.fins} == {"alice", "server"}
    assert connection.reset is None


def test_a_four_tuple_used_again_is_a_connection_of_its_own(lab: Lab) -> None:
    """Trap 39."""
    first = lab.world.connect(lab.alice.address, lab.server.address, NFSD, sport=900)
    first.close()
    lab.world.wait(5)
    lab.world.connect(lab.alice.address, lab.server.address, NFSD, sport=900)
    lab.later(1)
    s = View(lab).s
    hosts = {s.hosts.address(c.opener): c.opener for c in s.connections.order}
    attempts = s.connections.attempts(hosts[lab.alice.address], s.connections.order[0].target, 0, s.end)
    assert [len(c.tries) for c in attempts] == [1, 1]
    assert [bool(c.fins) for c in attempts] == [True, False]


def test_a_four_tuple_used_again_after_a_crash_is_a_connection_of_its_own(lab: Lab) -> None:
    lab.world.connect(lab.alice.address, lab.server.address, NFSD, sport=900)
    lab.alice.boot()
    lab.world.wait(60)
    lab.world.connect(lab.alice.address, lab.server.address, NFSD, sport=900)
    lab.later(1)
    tries = [len(c.tries) for c in View(lab).s.connections.order]
    assert tries == [1, 1]


def test_attempts_are_found_by_the_time_of_any_of_their_syns(lab: Lab) -> None:
    lab.bob.cut_from(lab.server)
    lab.world.connect(lab.server.address, lab.bob.address, LOCKD)
    lab.later(20)
    s = View(lab).s
    (attempt,) = s.connections.by_flow.values()
    ends = attempt.opener, attempt.target
    first, last = attempt.tries[0][1], attempt.tries[-1][1]
    assert s.connections.attempts(*ends, last, last + 1) == [attempt]
    assert s.connections.attempts(*ends, first - 5, first) == [attempt]
    assert not s.connections.attempts(*ends, last + 1, last + 9)
    assert not s.connections.attempts(*ends, first - 9, first - 1)
    assert not s.connections.attempts(attempt.target, attempt.opener, 0, last)


def test_bytes_that_were_never_captured_make_a_connection_less_than_whole(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.lock(db, 1, 10, 10, captured=False, reply_captured=False)
    lab.alice.unlock(db, 1)
    lab.later(1)
    s = View(lab).s
    assert s.connections.hole_count == 2
    (flow,) = {hole.flow for hole in s.connections.holes}
    assert not s.losses.whole(flow, 0, s.end)
    assert s.losses.whole(flow, 0, s.start)
    assert s.losses.whole(flow + 1000, 0, s.end)


def test_what_tcp_repaired_is_no_hole(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.server.cut_from(lab.alice, LOCKD)
    lab.alice.unlock(db, 1)
    lab.later(8)
    s = View(lab).s
    assert not s.connections.holes
    assert len(s.connections.repeats) == 3
