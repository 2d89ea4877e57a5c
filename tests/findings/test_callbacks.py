"""The way back: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings import callbacks, uncalled
from analyzer.findings.catalogue import evaluate
from analyzer.findings.rule import DEFINITE, HIGH, LOW, MEDIUM, POSSIBLE, PROBABLE, Confidence
from analyzer.protocols.nlm import NLM
from analyzer.sessions.model import Place, Wait
from tests.findings.lab import Lab
from tests.sessions.view import View
from tests.world import LOCKD, RPCBIND, File, Request


def waiting(lab: Lab, start: int = 0, length: int = 0) -> tuple[File, Request]:
    """Bob waits for a lock of alice."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, start, length)
    lab.world.wait(1)
    return db, lab.bob.wait_for(db, 7, start, length)


# -- grant-callback-unreachable -------------------------------------------------------------------


def test_grant_callback_unreachable__fires_when_lockd_is_not_registered(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.world.wait(5)
    lab.alice.unlock(db, 1)
    look = lab.server.getport(lab.bob, NLM, 0)
    lab.later(5)
    lab.fires(
        "grant-callback-unreachable",
        wait,
        look,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.bob,
        server=lab.server,
        path="/srv/db",
    )


def test_grant_callback_unreachable__fires_for_very_many_look_ups(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    looks = []
    for _ in range(100):
        looks.append(lab.server.getport(lab.bob, NLM, 0))
        lab.world.wait(0.1)
    lab.later(5)
    found = lab.fires("grant-callback-unreachable", wait, looks[0], looks[-1], client=lab.bob)
    assert "(64 or more look-ups)" in found.message


def test_grant_callback_unreachable__fires_when_lockd_refuses(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.bob.refuse(lab.bob.lockd)
    lab.server.granted(lab.bob, db, 7, transport="tcp")
    lab.later(5)
    lab.fires("grant-callback-unreachable", wait, severity=HIGH, confidence=DEFINITE, client=lab.bob)
    lab.silent("grant-callback-missing")


def test_grant_callback_unreachable__fires_when_syns_are_not_answered(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.bob.cut_from(lab.server, lab.bob.lockd)
    lab.server.granted(lab.bob, db, 7, transport="tcp")
    lab.later(20)
    found = lab.fires("grant-callback-unreachable", wait, severity=HIGH, confidence=PROBABLE, client=lab.bob)
    assert "5 SYNs" in found.message
    lab.silent("grant-callback-missing")


def test_grant_callback_unreachable__fires_when_rpcbind_is_silent(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    looks = []
    for _ in range(3):
        looks.append(lab.server.getport(lab.bob, NLM, None))
        lab.world.wait(3)
    lab.later(5)
    lab.fires("grant-callback-unreachable", wait, *looks, severity=HIGH, confidence=PROBABLE, client=lab.bob)


def test_grant_callback_unreachable__silent_when_a_syn_is_answered_at_the_third_try(linux: Lab) -> None:
    db, _ = waiting(linux)
    linux.alice.unlock(db, 1)
    linux.world.connect(linux.server.address, linux.bob.address, LOCKD, lost=2)
    linux.server.granted(linux.bob, db, 7)
    linux.world.wait(1)
    linux.bob.unlock(db, 7)
    linux.later(5)
    linux.clean("grant-callback-unreachable", "grant-callback-missing")


def test_grant_callback_unreachable__silent_when_a_lookup_is_asked_twice(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.getport(lab.bob, NLM, None)
    lab.world.wait(3)
    lab.server.getport(lab.bob, NLM, lab.bob.lockd)
    lab.server.granted(lab.bob, db, 7)
    lab.later(5)
    lab.clean("grant-callback-unreachable")


def test_grant_callback_unreachable__silent_when_nobody_waits(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    lab.bob.lock(db, 7)
    lab.bob.refuse(RPCBIND)
    lab.server.getport(lab.bob, NLM, 0)
    lab.server.ping(lab.bob, (NLM, 4), RPCBIND, transport="tcp")
    lab.later(20)
    lab.silent("grant-callback-unreachable")


# -- grant-callback-unanswered --------------------------------------------------------------------


@pytest.mark.parametrize("msg", [True, False], ids=["GRANTED_MSG", "GRANTED"])
def test_grant_callback_unanswered__fires_when_it_is_delivered(lab: Lab, msg: bool) -> None:
    db, wait = waiting(lab, 10, 10)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 7, 10, 10, reply=None, msg=msg)
    lab.later(15)
    lab.fires(
        "grant-callback-unanswered",
        wait,
        grant,
        severity=HIGH,
        confidence=PROBABLE,
        client=lab.bob,
        server=lab.server,
        path="/srv/db",
    )
    lab.silent("async-result-missing")


def test_grant_callback_unanswered__fires_when_tcp_does_not_deliver_it(linux: Lab) -> None:
    db, wait = waiting(linux)
    linux.world.connect(linux.server.address, linux.bob.address, LOCKD)
    linux.bob.cut_from(linux.server, LOCKD)
    linux.alice.unlock(db, 1)
    grant = linux.server.granted(linux.bob, db, 7)
    linux.later(16)
    found = linux.fires("grant-callback-unanswered", wait, grant, confidence=PROBABLE, client=linux.bob)
    assert "not even a TCP acknowledgement" in found.message


def test_grant_callback_unanswered__fires_softer_when_a_later_one_was_accepted(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    lost = lab.server.granted(lab.bob, db, 7, reply=None)
    lab.world.wait(12)
    lab.server.granted(lab.bob, db, 7)
    lab.later(600)
    found = lab.fires("grant-callback-unanswered", wait, lost, severity=MEDIUM, confidence=PROBABLE)
    assert "has no answer for 12 s; then a later one was accepted" in found.message


def test_grant_callback_unanswered__silent_when_one_soon_after_was_accepted(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7, reply=None)
    lab.world.wait(5)
    lab.server.granted(lab.bob, db, 7)
    lab.later(60)
    lab.silent("grant-callback-unanswered")


def test_the_callbacks_of_a_wait_are_looked_through_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 7)
    lab.alice.unlock(db, 1)
    for _ in range(4):
        lab.server.granted(lab.bob, db, 7, reply=None)
        lab.world.wait(15)
    last = lab.server.granted(lab.bob, db, 7)
    lab.later(20)
    looked: list[Wait] = []
    accepted = uncalled.accepted_places

    def counted(wait: Wait) -> list[tuple[int, Place]]:
        looked.append(wait)
        return accepted(wait)

    monkeypatch.setattr(callbacks, "accepted_places", counted)
    found = lab.fires("grant-callback-unanswered", severity=MEDIUM, count=4)
    assert last.result is not None
    assert f"(frame {last.result.calls[0].frame})" in found.message
    assert len(looked) == 1


def test_grant_callback_unanswered__silent_when_only_the_result_comes(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7, void=False)
    lab.later(30)
    lab.clean("grant-callback-unanswered", "async-result-missing")


def test_grant_callback_unanswered__silent_when_the_answer_takes_its_time(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 7, reply=None)
    lab.later(8)
    grant.answer("GRANTED")
    lab.later(30)
    lab.clean("grant-callback-unanswered")


def test_grant_callback_unanswered__silent_when_the_capture_ends(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7, reply=None)
    lab.later(1)
    lab.clean("grant-callback-unanswered")


# -- grant-callback-missing -----------------------------------------------------------------------


def test_grant_callback_missing__fires_when_a_poll_brings_it(lab: Lab) -> None:
    db, wait = waiting(lab, 5, 5)
    lab.world.wait(3)
    unlock = lab.alice.unlock(db, 1, 0, 0)
    lab.world.wait(26)
    poll = lab.bob.lock(db, 7, 5, 5, block=True)
    lab.later(1)
    lab.fires(
        "grant-callback-missing",
        wait,
        unlock,
        poll.replies[0],
        severity=MEDIUM,
        confidence=PROBABLE,
        client=lab.bob,
        server=lab.server,
        path="/srv/db",
    )


def test_grant_callback_missing__fires_when_it_still_waits(lab: Lab) -> None:
    db, wait = waiting(lab)
    unlock = lab.alice.unlock(db, 1)
    lab.later(45)
    lab.fires("grant-callback-missing", wait, unlock, severity=MEDIUM, confidence=PROBABLE, client=lab.bob)


def test_grant_callback_missing__fires_softly_when_the_waiter_gives_up(lab: Lab) -> None:
    db, wait = waiting(lab)
    unlock = lab.alice.unlock(db, 1)
    lab.world.wait(15)
    lab.bob.cancel(db, 7)
    lab.later(5)
    lab.fires("grant-callback-missing", wait, unlock, confidence=POSSIBLE, client=lab.bob)


def test_grant_callback_missing__silent_when_called_back(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.world.wait(2)
    lab.server.granted(lab.bob, db, 7)
    lab.later(60)
    lab.clean("grant-callback-missing")


def test_grant_callback_missing__silent_when_the_poll_is_quick(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.world.wait(28)
    lab.alice.unlock(db, 1)
    lab.world.wait(1)
    lab.bob.lock(db, 7, block=True)
    lab.later(60)
    lab.clean("grant-callback-missing")


def test_grant_callback_missing__silent_when_it_is_anothers_turn(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.carol.wait_for(db, 3)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.carol, db, 3)
    for _ in range(4):
        lab.world.wait(30)
        lab.bob.wait_for(db, 7)
        lab.carol.getattr(db)
    lab.clean("grant-callback-missing")


def test_grant_callback_missing__silent_while_another_lock_is_in_the_way(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, exclusive=False)
    lab.carol.lock(db, 1, exclusive=False)
    lab.bob.wait_for(db, 7)
    lab.alice.unlock(db, 1)
    for _ in range(2):
        lab.world.wait(20)
        lab.carol.getattr(db)
    lab.later(1)
    lab.clean("grant-callback-missing")


# -- grant-delivered-by-poll ----------------------------------------------------------------------


def _polled_wait(lab: Lab, db: File, svid: int) -> Request:
    lab.alice.lock(db, svid)
    lab.world.wait(1)
    lab.bob.wait_for(db, svid)
    lab.alice.unlock(db, svid)
    lab.world.wait(28)
    poll = lab.bob.lock(db, svid, block=True)
    lab.bob.unlock(db, svid)
    lab.world.wait(1)
    return poll


def test_grant_delivered_by_poll__fires_at_the_third(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    polls = [_polled_wait(lab, db, svid) for svid in (1, 2, 3)]
    lab.later(1)
    lab.fires(
        "grant-delivered-by-poll",
        *(poll.replies[0] for poll in polls),
        severity=MEDIUM,
        confidence=PROBABLE,
        client=lab.bob,
        server=lab.server,
    )


@pytest.mark.parametrize(("port", "sure"), [(0, DEFINITE), (None, PROBABLE)])
def test_grant_delivered_by_poll__fires_at_the_first_where_there_is_no_way_back(
    lab: Lab, port: int | None, sure: Confidence
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 9)
    wait = lab.bob.wait_for(db, 7)
    lab.alice.unlock(db, 9)
    lab.server.getport(lab.bob, NLM, port)
    lab.world.wait(25)
    poll = lab.bob.wait_for(db, 7, reply="GRANTED")
    lab.later(5)
    found = lab.fires(
        "grant-delivered-by-poll", wait.calls[0], poll.replies[0], confidence=sure, client=lab.bob
    )
    assert found.caused_by == (lab.fires("grant-callback-unreachable").id,)


def test_grant_delivered_by_poll__silent_for_two(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for svid in (1, 2):
        _polled_wait(lab, db, svid)
    lab.later(1)
    lab.silent("grant-delivered-by-poll")


def test_grant_delivered_by_poll__silent_when_a_callback_came_too(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for svid in (1, 2, 3):
        _polled_wait(lab, db, svid)
    lab.alice.lock(db, 9)
    lab.bob.wait_for(db, 9)
    lab.alice.unlock(db, 9)
    lab.server.granted(lab.bob, db, 9)
    lab.later(1)
    lab.silent("grant-delivered-by-poll")


# -- grant-unsolicited ----------------------------------------------------------------------------


def test_grant_unsolicited__fires_on_a_stranger(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 7, 0, 1)
    lab.world.wait(40)
    grant = lab.mallory.granted(lab.bob, db, 31, reply="DENIED")
    lab.later(1)
    lab.fires(
        "grant-unsolicited",
        grant,
        severity=HIGH,
        client=lab.bob,
        peer=lab.mallory,
        server=lab.server,
    )


def test_who_asks_others_for_locks_matters_not_for_a_callback(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    for client in (lab.alice, lab.bob, lab.carol):
        client.lock(db, 1, reply="DENIED")
    lab.world.wait(70)
    lab.mallory.granted(lab.alice, db, 7)
    s = View(lab).s
    alice = next(iter(s.ledger.offers)).operation.responder
    others: dict[int, Any] = dict.fromkeys(s.lock_servers.keys() - {alice})
    s.lock_servers.update(others)
    (found,) = evaluate(s, {"grant-unsolicited"})
    assert (found.server, found.peer) == (lab.server.address, lab.mallory.address)


def test_grant_unsolicited__fires_on_a_confused_server(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.bob.lock(db, 7, 0, 1)
    linux.world.wait(1)
    grant = linux.server.granted(linux.bob, db, 31, reply="DENIED")
    linux.later(5)
    linux.fires(
        "grant-unsolicited",
        grant,
        severity=MEDIUM,
        confidence=DEFINITE,
        client=linux.bob,
        server=linux.server,
    )


def test_grant_unsolicited__silent_when_it_overtakes_the_blocked(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(40)
    wait = lab.bob.wait_for(db, 7, reply=None)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7)
    wait.answer("BLOCKED")
    lab.later(2)
    lab.bob.unlock(db, 7)
    lab.later(40)
    lab.clean("grant-unsolicited", "grant-callback-missing", "lock-lost-silently")


def test_grant_unsolicited__silent_when_the_capture_ends_before_the_blocked(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(40)
    lab.bob.wait_for(db, 7, reply=None)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7)
    lab.clean("grant-unsolicited")


def test_grant_unsolicited__fires_when_the_unanswered_lock_is_another(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(40)
    lab.bob.wait_for(db, 7, reply=None)
    lab.server.granted(lab.bob, db, 8, 5, 5)
    lab.fires("grant-unsolicited", client=lab.bob)


@pytest.mark.parametrize("later", [True, False])
def test_grant_unsolicited__fires_less_sure_when_the_lock_may_have_been_lost(linux: Lab, later: bool) -> None:
    """Whether the connection is used again or not: the server acknowledged what was not captured."""
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.bob.lock(db, 7, 9, 1, "DENIED")
    linux.bob.wait_for(db, 7, captured=False, reply_captured=False)
    linux.alice.unlock(db, 1)
    linux.server.granted(linux.bob, db, 7)
    if later:
        linux.bob.unlock(db, 7)
    linux.later(5)
    linux.fires("grant-unsolicited", confidence=PROBABLE, client=linux.bob)


def test_grant_unsolicited__fires_less_sure_about_datagrams(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.bob.lock(db, 7, 9, 1, transport="udp")
    linux.later(40)
    linux.server.granted(linux.bob, db, 8, transport="udp")
    linux.later(5)
    linux.fires("grant-unsolicited", confidence=POSSIBLE, client=linux.bob)


def test_grant_unsolicited__fires_less_sure_when_the_sender_may_be_older(linux: Lab) -> None:
    """At the start a waiter of a server that is not in the capture yet looks just like this."""
    db = linux.mounted(linux.bob)
    linux.bob.lock(db, 7, 0, 1)
    linux.mallory.granted(linux.bob, db, 31, reply="DENIED")
    linux.later(1)
    linux.fires("grant-unsolicited", confidence=PROBABLE, client=linux.bob, peer=linux.mallory)


def test_grant_unsolicited__silent_when_it_repeats_an_accepted_one(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.world.wait(40)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7)
    lab.world.wait(60)
    lab.server.granted(lab.bob, db, 7)
    lab.later(5)
    lab.clean("grant-unsolicited")


def test_grant_unsolicited__silent_when_a_poll_had_won(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.world.wait(40)
    lab.alice.unlock(db, 1)
    lab.world.wait(5)
    lab.bob.lock(db, 7, block=True)
    lab.bob.unlock(db, 7)
    lab.world.wait(20)
    lab.server.granted(lab.bob, db, 7, reply="DENIED")
    lab.later(5)
    lab.clean("grant-unsolicited", "lock-leaked-by-refused-grant")


def test_grant_unsolicited__silent_for_a_waiter_older_than_the_capture(lab: Lab) -> None:
    db = lab.server.export("/srv").file("db")
    lab.bystander.ping(lab.server, (100000, 2), 111)
    lab.world.wait(20)
    lab.server.granted(lab.bob, db, 7)
    lab.later(60)
    lab.clean("grant-unsolicited")


# -- grant-mismatch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differs", "severity"),
    [
        pytest.param({"exclusive": False}, HIGH, id="mode"),
        pytest.param({"l_len": 6}, HIGH, id="length"),
        pytest.param({"l_offset": 11}, HIGH, id="offset"),
        pytest.param({"svid": 8}, HIGH, id="svid"),
        pytest.param({"fh": b"\1\0\6\1" + bytes(24)}, HIGH, id="handle"),
        pytest.param({"oh": b"7@eve"}, MEDIUM, id="oh"),
    ],
)
def test_grant_mismatch__fires_on_one_wrong_field(lab: Lab, differs: dict[str, Any], severity: int) -> None:
    db, wait = waiting(lab, 10, 5)
    lab.alice.unlock(db, 1)
    differs = {"oh": b"7@bob"} | differs
    grant = lab.server.granted(lab.bob, db, differs.pop("svid", 7), 10, 5, reply="DENIED", **differs)
    lab.later(5)
    lab.fires(
        "grant-mismatch",
        wait,
        grant,
        severity=severity,
        confidence=PROBABLE if lab.alice.transport == "udp" else DEFINITE,  # a lost datagram leaves no trace
        client=lab.bob,
        server=lab.server,
    )


def test_grant_mismatch__silent_when_the_end_of_the_file_is_written_otherwise(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7, 0, 2**63 - 1)
    lab.later(5)
    lab.clean("grant-mismatch", "grant-unsolicited")


def test_grant_mismatch__silent_about_padded_handles(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    for host in (linux.alice, linux.bob):
        host.version = 3
    linux.alice.lock(db, 1, 0, 10)
    linux.bob.wait_for(db, 7, 0, 10)
    linux.alice.unlock(db, 1, 0, 10)
    linux.server.granted(linux.bob, db, 7, 0, 10, version=3, fh=db.handle)
    linux.later(5)
    linux.silent("grant-mismatch", "grant-unsolicited", "grant-callback-missing")


# -- grant-wrong-destination ----------------------------------------------------------------------


def test_grant_wrong_destination__fires_on_another_address_of_the_server(lab: Lab) -> None:
    db, wait = waiting(lab)
    second = lab.world.host("server", lab.mallory.address, transport=lab.server.transport)
    lab.alice.unlock(db, 1)
    grant = second.granted(lab.bob, db, 7, reply="DENIED")
    lab.later(5)
    lab.fires(
        "grant-wrong-destination",
        wait,
        grant,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.bob,
        server=lab.server,
        peer=second,
        path="/srv/db",
    )
    lab.silent("grant-unsolicited")


def test_grant_wrong_destination__fires_when_it_goes_to_another_host(lab: Lab) -> None:
    db, wait = waiting(lab)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.carol, db, 7, oh=b"7@bob", reply="DENIED")
    lab.later(5)
    lab.fires(
        "grant-wrong-destination",
        wait,
        grant,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.bob,
        server=lab.server,
        peer=lab.carol,
        path="/srv/db",
    )
    lab.silent("grant-unsolicited")


@pytest.mark.parametrize("name", ["bob", "localhost"])
def test_grant_wrong_destination__silent_about_another_address_of_the_waiter(lab: Lab, name: str) -> None:
    lab.bob.name = name
    db, _ = waiting(lab)
    second = lab.world.host(name, lab.mallory.address, transport=lab.server.transport)
    second.mount(lab.server, "/srv")
    lab.alice.unlock(db, 1)
    lab.server.granted(second, db, 7, oh=f"7@{name}".encode())
    lab.later(5)
    if name == "bob":
        lab.silent("grant-wrong-destination")
    else:
        lab.fires("grant-wrong-destination", client=lab.bob, peer=second)  # a name that tells nothing


def test_grant_wrong_destination__silent_when_both_wait_for_the_same(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.mounted(lab.carol)
    lab.carol.wait_for(db, 7, oh=b"7@bob")
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.carol, db, 7, oh=b"7@bob")
    lab.later(5)
    lab.silent("grant-wrong-destination")


def test_grant_wrong_destination__silent_when_two_servers_each_grant_their_own(lab: Lab) -> None:
    db, _ = waiting(lab)
    kind = {"transport": lab.server.transport, "handles": lab.server.handles}
    other = lab.world.host("other", lab.mallory.address, **kind)
    mbox = lab.bob.lookup(lab.bob.mount(other, "/mail"), "mbox")
    lab.bob.wait_for(mbox, 8)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 7)
    other.granted(lab.bob, mbox, 8)
    lab.later(5)
    lab.clean("grant-wrong-destination", "grant-mismatch", "grant-unsolicited")


# -- async-result-missing -------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "severity"), [("lock", HIGH), ("unlock", HIGH), ("test", LOW)])
def test_async_result_missing__fires(lab: Lab, kind: str, severity: int) -> None:
    db = lab.mounted(lab.alice)
    message: Request = getattr(lab.alice, kind)(db, 5, msg=True, reply=None)
    message.void({})
    lab.later(15)
    lab.fires(
        "async-result-missing",
        message,
        severity=severity,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


def test_async_result_missing__fires_when_a_callback_gets_a_void_reply_only(lab: Lab) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 7, reply=None)
    grant.void({})
    lab.later(20)
    lab.fires("async-result-missing", grant, severity=HIGH, client=lab.bob, server=lab.server)
    lab.silent("grant-callback-unanswered")


@pytest.mark.parametrize(("then", "severity"), [("same", LOW), ("other range", HIGH), ("before", HIGH)])
def test_async_result_missing__fires_low_when_it_was_sent_anew(lab: Lab, then: str, severity: int) -> None:
    db = lab.mounted(lab.alice)
    if then == "before":
        lab.alice.unlock(db, 5, 0, 10, msg=True)
    lost = lab.alice.unlock(db, 5, 0, 10, msg=True, reply=None)
    lab.world.wait(12)
    if then != "before":
        lab.alice.unlock(db, 5, 0, 10 if then == "same" else 20, msg=True)
    lab.later(15)
    found = lab.fires("async-result-missing", lost, severity=severity, client=lab.alice)
    assert ("sent anew" in found.message) == (then == "same")


@pytest.mark.parametrize("then", [True, False])
def test_async_result_missing__fires_low_when_the_server_called_again(lab: Lab, then: bool) -> None:
    db, _ = waiting(lab)
    lab.alice.unlock(db, 1)
    lost = lab.server.granted(lab.bob, db, 7, reply=None)
    lost.void({})
    lab.world.wait(12)
    if then:
        lab.server.granted(lab.bob, db, 7)
    lab.later(30)
    lab.fires("async-result-missing", lost, severity=LOW if then else HIGH, client=lab.bob)


def test_async_result_missing__silent_when_the_result_comes(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 5, msg=True, reply=None)
    lab.world.wait(6)
    lock.answer("GRANTED", void=False)
    lab.alice.unlock(db, 5, msg=True)
    lab.later(30)
    lab.clean("async-result-missing", "async-result-orphan")


def test_async_result_missing__silent_when_an_empty_cookie_comes_back_as_zeros(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    lock = linux.alice.lock(db, 5, msg=True, reply=None, cookie=b"")
    lock.answer("GRANTED", cookie=bytes(4))
    linux.alice.unlock(db, 5, msg=True)
    linux.later(60)
    linux.clean("async-result-missing", "async-result-orphan")


def test_async_result_missing__silent_when_two_clients_use_one_cookie(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.world.wait(40)
    locks = [
        host.lock(db, 5, at, 1, msg=True, reply=None, cookie=b"\0\0\x12\x34")
        for at, host in enumerate((lab.alice, lab.bob))
    ]
    for lock in reversed(locks):
        lock.answer("GRANTED")
    lab.later(20)
    lab.clean("async-result-missing", "async-result-orphan")
    lab.fires("lock-open-at-capture-end", client=lab.alice, range=(0, 0))
    lab.fires("lock-open-at-capture-end", client=lab.bob, range=(1, 1))


# -- async-result-orphan --------------------------------------------------------------------------


def test_async_result_orphan__fires(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.later(40)
    lock = lab.alice.lock(db, 5, msg=True, reply=None)
    lock.answer("GRANTED", cookie=b"none")
    assert lock.result is not None
    lab.later(1)
    lab.fires(
        "async-result-orphan",
        lock.result.calls[0],
        severity=LOW,
        confidence=POSSIBLE,
        client=lab.alice,
        server=lab.server,
    )


def test_async_result_orphan__silent_at_the_start_of_the_capture(lab: Lab) -> None:
    lab.alice.getattr(lab.export.root)  # she was there before
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, msg=True, captured=False)
    lab.later(60)
    lab.clean("async-result-orphan")


def test_async_result_orphan__fires_at_the_start_for_a_client_that_was_seen_to_come(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, msg=True, captured=False)
    lab.later(1)
    lab.fires("async-result-orphan", severity=LOW, confidence=POSSIBLE, client=lab.alice)


def test_async_result_orphan__silent_about_a_second_copy(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.later(40)
    lock = lab.alice.lock(db, 5, msg=True)
    assert lock.result is not None
    lock.result.again()
    lab.alice.unlock(db, 5)
    lab.later(1)
    lab.clean("async-result-orphan")


def test_grant_callback_missing__fires_once_for_a_server_that_calls_nobody_back(lab: Lab) -> None:
    lab.mounted(lab.alice, lab.bob)
    for name in ("db", "log", "spool"):
        file = lab.alice.lookup(lab.export, name)
        lab.alice.lock(file, 1)
        lab.bob.wait_for(file, 2)
        lab.world.wait(1)
        lab.alice.unlock(file, 1)
        lab.world.wait(20)
        lab.bob.lock(file, 2, block=True)
        lab.world.wait(5)
    found = [f for f in lab.findings() if f.code == "grant-callback-missing"]
    assert [f.count for f in found] == [3]
