"""Leaks and lost locks: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import CRITICAL, DEFINITE, HIGH, INFO, LOW, MEDIUM, POSSIBLE, PROBABLE, Confidence
from analyzer.sessions.ranges import EOF
from tests.findings.lab import Lab
from tests.frames.packets import ACK, FIN
from tests.world import LOCKD, NFSD, Exchange, File, Request

# -- lock-open-at-capture-end ---------------------------------------------------------------------


def test_lock_open_at_capture_end__fires_as_a_fact(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 5, 100, 50)
    lab.later(60)
    found = lab.fires(
        "lock-open-at-capture-end",
        lock,
        severity=INFO,
        confidence=DEFINITE,
        server=lab.server,
        client=lab.alice,
        path="/srv/db",
        export="/srv",
        range=(100, 149),
        fh=db.handle.hex(),
    )
    assert found.owner == (b"alice", 5, b"5@alice")
    lab.clean()


def test_lock_open_at_capture_end__silent_after_the_unlock(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, 100, 50)
    lab.alice.unlock(db, 5, 0, 0)
    lab.later(1)
    lab.clean("lock-open-at-capture-end")


@pytest.mark.parametrize("status", ["DENIED", "NOLOCKS", "STALE_FH", "FAILED"])
def test_lock_open_at_capture_end__silent_when_it_was_never_granted(linux: Lab, status: str) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 5, reply=status)
    linux.silent("lock-open-at-capture-end")


def test_lock_open_at_capture_end__silent_about_the_lock_that_an_upgrade_replaced(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, exclusive=False)
    upgrade = lab.alice.lock(db, 5, exclusive=True)
    lab.later(1)
    found = lab.fires("lock-open-at-capture-end", upgrade, range=(0, EOF))
    assert found.count == 1
    assert "exclusive" in found.message


# -- lock-held-after-umnt -------------------------------------------------------------------------


def test_lock_held_after_umnt__fires_when_the_lock_outlives_the_window(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 9)
    lab.later(5)
    umnt = lab.alice.umount(lab.export)
    lab.later(40)
    lab.fires(
        "lock-held-after-umnt",
        lock,
        umnt,
        lab.alice.mnt,
        severity=HIGH,
        confidence=PROBABLE,
        server=lab.server,
        client=lab.alice,
        export="/srv",
        path="/srv/db",
    )


def test_lock_held_after_umnt__fires_for_sure_when_another_is_denied(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 9, 10, 10)
    umnt = lab.alice.umount(lab.export)
    lab.later(5)
    denied = lab.bob.lock(db, 2, 15, 1, reply="DENIED")
    lab.later(1)
    lab.fires(
        "lock-held-after-umnt", lock, umnt, denied, severity=HIGH, confidence=DEFINITE, client=lab.alice
    )


@pytest.mark.parametrize(("terrain", "sure"), [("linux", DEFINITE), ("ganesha6", PROBABLE)])
@pytest.mark.parametrize("how", ["blocked", "denied behind a waiter", "polled"])
def test_lock_held_after_umnt__fires_less_sure_where_a_lost_unlock_leaves_no_trace(
    terrain: str, sure: Confidence, how: str
) -> None:
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lock = lab.alice.lock(db, 9)
    if how == "polled":
        lab.bob.wait_for(db, 2)
    umnt = lab.alice.umount(lab.export)
    lab.later(5)
    refused = lab.bob.wait_for(db, 2)
    if how == "denied behind a waiter":
        refused = lab.carol.lock(db, 3, reply="DENIED")
    lab.later(35)
    lab.fires("lock-held-after-umnt", lock, umnt, refused, severity=HIGH, confidence=sure, client=lab.alice)


def test_lock_held_after_umnt__fires_less_sure_when_the_capture_ends_early(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 9)
    lab.alice.umount(lab.export)
    lab.later(10)
    found = lab.fires("lock-held-after-umnt", severity=MEDIUM, confidence=POSSIBLE, client=lab.alice)
    assert "watched for 10 s" in found.message


def test_lock_held_after_umnt__fires_when_the_unlock_never_arrived(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    lock = linux.alice.lock(db, 9)
    linux.server.cut_from(linux.alice, LOCKD)
    unlock = linux.alice.unlock(db, 9)
    linux.world.wait(6)
    umnt = linux.alice.umount(linux.export)
    linux.later(3)
    linux.fires("lock-held-after-umnt", lock, unlock, umnt, severity=HIGH, confidence=PROBABLE)


def test_lock_held_after_umnt__silent_when_the_unlock_trails(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 9)
    lab.alice.umount(lab.export)
    lab.later(20)
    lab.alice.unlock(db, 9)
    lab.later(40)
    lab.clean("lock-held-after-umnt")


def test_lock_held_after_umnt__silent_with_a_second_mount(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.lock(db, 9)
    lab.alice.umount(lab.export)
    lab.later(60)
    lab.clean("lock-held-after-umnt", "export-pinned-by-locks")


def test_lock_held_after_umnt__silent_when_the_client_is_still_there(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 9)
    lab.alice.umount(lab.export)  # the system call behind it failed: busy
    lab.later(20)
    lab.alice.getattr(db)
    lab.later(40)
    lab.silent("lock-held-after-umnt", "export-pinned-by-locks")


def test_lock_held_after_umnt__silent_when_mounted_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 9)
    lab.alice.umount(lab.export)
    lab.later(3)
    lab.alice.mount(lab.server, "/srv")
    lab.later(60)
    lab.clean("lock-held-after-umnt")


def test_lock_held_after_umnt__silent_about_another_export(lab: Lab) -> None:
    lab.mounted(lab.alice)
    home = lab.alice.mount(lab.server, "/home")
    lab.alice.lock(lab.alice.lookup(home, "mbox"), 9)
    lab.alice.umount(lab.export)
    lab.later(60)
    lab.clean("lock-held-after-umnt")


def test_lock_held_after_umnt__silent_about_another_client(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 9)
    lab.bob.umount(lab.export)
    lab.later(60)
    lab.clean("lock-held-after-umnt", "export-pinned-by-locks")


def unmounts_with_a_share(lab: Lab) -> tuple[Request, Exchange]:
    """Alice leaves without closing what she has open."""
    db = lab.mounted(lab.alice)
    share = lab.alice.share(db, b"open 1", 2, 1)
    return share, lab.alice.umount(lab.export)


def test_lock_held_after_umnt__fires_for_a_share_reservation(lab: Lab) -> None:
    share, umnt = unmounts_with_a_share(lab)
    lab.later(45)
    lab.fires(
        "lock-held-after-umnt",
        share,
        umnt,
        severity=HIGH,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


def test_lock_held_after_umnt__fires_softly_for_a_share_soon_before_the_end(lab: Lab) -> None:
    unmounts_with_a_share(lab)
    lab.later(5)
    lab.fires("lock-held-after-umnt", severity=MEDIUM, confidence=POSSIBLE, client=lab.alice)


def test_lock_held_after_umnt__fires_for_a_share_that_others_run_into(lab: Lab) -> None:
    share, umnt = unmounts_with_a_share(lab)
    lab.later(10)
    lab.bob.mount(lab.server, "/srv")
    denied = lab.bob.share(lab.export.file("db"), b"open 2", 0, 2, "DENIED")
    lab.later(2)
    found = lab.fires("lock-held-after-umnt", share, umnt, denied, severity=HIGH, confidence=PROBABLE)
    assert lab.fires("share-reservation-leaked").caused_by == (found.id,)


@pytest.mark.parametrize("when", ["before", "after"])
def test_lock_held_after_umnt__silent_about_a_share_that_is_taken_back(lab: Lab, when: str) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.share(db, b"open 1", 2, 1)
    if when == "after":
        lab.alice.umount(lab.export)
    lab.alice.share(db, b"open 1", 2, 1, procedure=21)
    if when == "before":
        lab.alice.umount(lab.export)
    lab.later(45)
    lab.clean("lock-held-after-umnt", "export-pinned-by-locks")


@pytest.mark.parametrize("why", ["mounted twice", "goes on", "rebooted"])
def test_lock_held_after_umnt__silent_about_a_share_of_a_client_that_is_there(lab: Lab, why: str) -> None:
    if why == "mounted twice":
        lab.mounted(lab.alice)
    unmounts_with_a_share(lab)
    lab.world.wait(5)
    if why == "goes on":
        lab.alice.getattr(lab.export.file("db"))
    elif why == "rebooted":
        lab.alice.boot()
        lab.alice.notify(lab.server)
    lab.later(45)
    lab.silent("lock-held-after-umnt", "export-pinned-by-locks")


# -- lock-held-by-vanished-client -----------------------------------------------------------------


@pytest.mark.parametrize(("silence", "severity"), [(70, MEDIUM), (340, HIGH)])
def test_lock_held_by_vanished_client__fires(lab: Lab, silence: int, severity: int) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    lab.alice.die()
    wait = lab.bob.wait_for(db, 1)
    for _ in range(silence // 30):
        lab.world.wait(30)
        poll = lab.bob.wait_for(db, 1)
    lab.later(silence % 30)
    lab.fires(
        "lock-held-by-vanished-client",
        lock,
        wait,
        poll,
        severity=severity,
        confidence=POSSIBLE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


def test_lock_held_by_vanished_client__fires_when_others_are_denied_again_and_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    lab.alice.die()
    for _ in range(4):
        lab.world.wait(25)
        denied = lab.bob.lock(db, 1, reply="DENIED")
    lab.later(1)
    lab.fires(
        "lock-held-by-vanished-client", lock, denied, severity=MEDIUM, confidence=POSSIBLE, client=lab.alice
    )


def test_lock_held_by_vanished_client__silent_when_another_was_denied_once(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.bob.lock(db, 1, reply="DENIED")
    lab.later(200)
    lab.clean("lock-held-by-vanished-client")


def test_lock_held_by_vanished_client__fires_more_surely_when_a_router_says_so(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    lock = linux.alice.lock(db, 1)
    linux.alice.die()
    wait = linux.bob.wait_for(db, 1)
    linux.world.wait(5)
    probe = linux.server.ping(linux.alice, (100021, 4), LOCKD, transport="udp")
    notice = linux.world.unreachable("192.0.2.254", probe.calls[0], linux.server.address)
    linux.later(5)
    linux.fires(
        "lock-held-by-vanished-client",
        lock,
        wait,
        notice,
        severity=HIGH,
        confidence=PROBABLE,
        client=linux.alice,
    )


def test_lock_held_by_vanished_client__fires_more_surely_when_the_server_calls_it_in_vain(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    lock = linux.alice.lock(db, 1)
    linux.alice.die()
    linux.bob.wait_for(db, 1)
    call = linux.world.connect(linux.server.address, linux.alice.address, LOCKD)
    linux.later(60)
    assert not call.open
    linux.fires("lock-held-by-vanished-client", lock, client=linux.alice, severity=HIGH, confidence=PROBABLE)


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_lock_held_by_vanished_client__fires_more_surely_when_the_server_gives_it_up(
    linux: Lab, how: str
) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    lock = linux.alice.lock(db, 1)
    connection = linux.world.connections[linux.alice.address, linux.server.address, NFSD]
    linux.alice.die()
    linux.bob.wait_for(db, 1)
    linux.world.wait(40)
    end = connection.reset() if how == "RST" else connection.segment(1, FIN | ACK, at=connection.sent[1])
    linux.later(5)
    found = linux.fires(
        "lock-held-by-vanished-client", lock, end, client=linux.alice, severity=HIGH, confidence=PROBABLE
    )
    assert "closed its connection" in found.message


def test_lock_held_by_vanished_client__silent_when_the_holder_answers_a_close(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    connection = linux.world.connections[linux.alice.address, linux.server.address, NFSD]
    linux.bob.wait_for(db, 1)
    linux.world.wait(40)
    connection.close(1)
    linux.later(5)
    linux.silent("lock-held-by-vanished-client")


def test_lock_held_by_vanished_client__silent_while_a_call_may_still_be_answered(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.alice.die()
    linux.bob.wait_for(db, 1)
    linux.world.connect(linux.server.address, linux.alice.address, LOCKD)
    linux.later(8)
    linux.silent("lock-held-by-vanished-client")


def test_lock_held_by_vanished_client__silent_while_the_holder_is_heard(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    for _ in range(12):
        lab.world.wait(29)
        lab.bob.wait_for(db, 1)
        lab.alice.getattr(db)
    lab.later(5)
    lab.clean("lock-held-by-vanished-client")


def test_lock_held_by_vanished_client__silent_when_nobody_waits(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.die()
    lab.later(900)
    lab.silent("lock-held-by-vanished-client")


def test_lock_held_by_vanished_client__silent_when_the_wait_is_for_other_bytes(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, 0, 10)
    lab.alice.die()
    lab.bob.lock(db, 1, 10, 10)
    lab.carol.wait_for(db, 1, 10, 10)
    for _ in range(4):
        lab.world.wait(30)
        lab.carol.wait_for(db, 1, 10, 10)
        lab.bob.getattr(db)
    lab.clean("lock-held-by-vanished-client")


# -- unlock-unanswered ----------------------------------------------------------------------------


def test_unlock_unanswered__fires_when_tcp_never_delivered_it(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    lock = linux.alice.lock(db, 4)
    linux.server.cut_from(linux.alice, LOCKD)
    unlock = linux.alice.unlock(db, 4)
    linux.later(8)
    found = linux.fires(
        "unlock-unanswered",
        lock,
        unlock,
        severity=HIGH,
        confidence=PROBABLE,
        client=linux.alice,
        server=linux.server,
        path="/srv/db",
    )
    assert len(found.frames) >= 5  # with TCP's retransmissions


@pytest.mark.parametrize(("seen", "severity", "confidence"), [(30, MEDIUM, POSSIBLE), (150, HIGH, PROBABLE)])
def test_unlock_unanswered__fires_when_it_arrived(
    lab: Lab, seen: int, severity: int, confidence: int
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    unlock = lab.alice.unlock(db, 4, reply=None)
    lab.later(seen)
    lab.fires("unlock-unanswered", unlock, severity=severity, confidence=confidence, client=lab.alice)


def test_unlock_unanswered__silent_when_a_copy_is_answered(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    unlock = lab.alice.unlock(db, 4, reply=None)
    lab.later(12)
    unlock.again().answer("GRANTED")
    lab.later(100)
    lab.silent("unlock-unanswered", "lock-open-at-capture-end")


@pytest.mark.parametrize("shown", ["by a grant to another", "by a later release", "by a gap in the answers"])
def test_unlock_unanswered__silent_when_the_answer_was_lost_from_the_capture(linux: Lab, shown: str) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 4)
    linux.alice.unlock(db, 4, reply_captured=False)
    if shown == "by a grant to another":
        linux.alice.disconnect(linux.server)
        linux.bob.lock(db, 5)
    elif shown == "by a later release":
        linux.alice.disconnect(linux.server)
        linux.alice.lock(db, 4)
        linux.alice.unlock(db, 4)
    else:
        linux.alice.lock(linux.export.file("other"), 6)
    linux.later(130)
    linux.clean("unlock-unanswered")


@pytest.mark.parametrize("held", [True, False])
def test_unlock_unanswered__silent_when_it_was_sent_anew(lab: Lab, held: bool) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4, reply="GRANTED" if held else "NOLOCKS")
    lab.alice.unlock(db, 4, 10, 10, reply=None)
    lab.world.wait(30)
    lab.alice.unlock(db, 4)
    lab.later(130)
    lab.silent("unlock-unanswered")


def test_unlock_unanswered__fires_when_something_else_was_released_since(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    unlock = lab.alice.unlock(db, 4, 10, 10, reply=None)
    lab.world.wait(30)
    lab.alice.unlock(db, 4, 30, 10)
    lab.later(130)
    found = lab.fires("unlock-unanswered", unlock, client=lab.alice)
    assert ("over UDP" in found.message) == (lab.alice.transport == "udp")


def test_unlock_unanswered__silent_when_the_server_restarted_meanwhile(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    lab.alice.unlock(db, 4, reply=None)
    lab.world.wait(5)
    lab.server.boot()
    lab.server.notify(lab.alice, state=9)
    lab.later(100)
    lab.silent("unlock-unanswered")


def test_unlock_unanswered__silent_when_the_capture_ends_at_once(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    lab.alice.unlock(db, 4, reply=None)
    lab.later(3)
    lab.clean("unlock-unanswered")


# -- unlock-refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "severity"), [("DENIED", HIGH), ("NOLOCKS", HIGH), ("STALE_FH", LOW)])
def test_unlock_refused__fires(lab: Lab, status: str, severity: int) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    unlock = lab.alice.unlock(db, 4, reply=status)
    lab.later(1)
    lab.fires("unlock-refused", unlock, severity=severity, confidence=DEFINITE, client=lab.alice)
    lab.fires("lock-open-at-capture-end", client=lab.alice)


def test_unlock_refused__fires_as_a_fact_when_the_file_was_removed(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 4)
    lab.bob.remove(db)
    unlock = lab.alice.unlock(db, 4, reply="STALE_FH")
    found = lab.fires("unlock-refused", unlock, severity=INFO, confidence=DEFINITE, client=lab.alice)
    assert found.caused_by == (lab.fires("lock-on-stale-file").id,)


def put_off(lab: Lab) -> tuple[File, Request]:
    """The server restarts, alice reclaims, and her UNLOCK is put off."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 4)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.alice.lock(db, 4, reclaim=True)
    return db, lab.alice.unlock(db, 4, reply="GRACE")


def test_unlock_refused__fires_when_grace_put_it_off_and_it_was_not_sent_again(lab: Lab) -> None:
    _, unlock = put_off(lab)
    lab.later(40)
    found = lab.fires("unlock-refused", unlock, severity=HIGH, confidence=PROBABLE, client=lab.alice)
    assert "not sent again" in found.message


@pytest.mark.parametrize("why", ["sent again", "capture ends", "server restarts"])
def test_unlock_refused__silent_after_grace(lab: Lab, why: str) -> None:
    db, _ = put_off(lab)
    lab.world.wait(5)
    if why == "sent again":
        lab.alice.unlock(db, 4)
    elif why == "server restarts":
        lab.server.boot()
        lab.server.notify(lab.alice, state=7)
    lab.later(5 if why == "capture ends" else 40)
    lab.silent("unlock-refused")


def test_unlock_refused__silent_when_grace_puts_it_off(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4)
    lab.alice.unlock(db, 4, reply="GRACE")
    lab.later(5)
    lab.alice.unlock(db, 4)
    lab.later(1)
    lab.silent("unlock-refused")


def test_unlock_refused__silent_when_nothing_was_held(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 4, reply="DENIED")
    lab.alice.unlock(db, 4, reply="DENIED")
    lab.later(1)
    lab.clean("unlock-refused")


# -- lock-leaked-by-refused-grant -----------------------------------------------------------------


def _refused_grant(lab: Lab) -> tuple[File, Request, Request]:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    wait = lab.bob.wait_for(db, 7)
    lab.world.wait(2)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 7, reply="DENIED")
    return db, wait, grant


def test_lock_leaked_by_refused_grant__fires_when_another_is_denied(lab: Lab) -> None:
    db, wait, grant = _refused_grant(lab)
    lab.world.wait(2)
    denied = lab.carol.lock(db, 1, reply="DENIED")
    lab.later(1)
    lab.fires(
        "lock-leaked-by-refused-grant",
        wait,
        grant,
        denied,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.bob,
        server=lab.server,
        path="/srv/db",
    )


def test_lock_leaked_by_refused_grant__fires_less_sure_when_nobody_asked(lab: Lab) -> None:
    _, wait, grant = _refused_grant(lab)
    lab.later(20)
    lab.fires("lock-leaked-by-refused-grant", wait, grant, severity=MEDIUM, confidence=POSSIBLE)


def test_lock_leaked_by_refused_grant__silent_when_the_server_took_it_back(lab: Lab) -> None:
    db, _, _ = _refused_grant(lab)
    lab.world.wait(2)
    lab.carol.lock(db, 1)
    lab.carol.unlock(db, 1)
    lab.later(1)
    lab.clean("lock-leaked-by-refused-grant", "lock-lost-silently")


def test_lock_leaked_by_refused_grant__silent_when_the_waiter_unlocks(lab: Lab) -> None:
    db, _, _ = _refused_grant(lab)
    lab.bob.unlock(db, 7)
    lab.later(30)
    lab.clean("lock-leaked-by-refused-grant")


def test_lock_leaked_by_refused_grant__silent_when_a_poll_had_won_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 7)
    lab.world.wait(2)
    lab.alice.unlock(db, 1)
    grant = lab.server.granted(lab.bob, db, 7, reply=None)
    lab.world.wait(28)
    lab.bob.lock(db, 7, block=True)
    lab.world.wait(5)
    grant.answer("DENIED")
    lab.carol.lock(db, 1, reply="DENIED")
    lab.later(10)
    lab.bob.unlock(db, 7)
    lab.later(1)
    lab.silent("lock-leaked-by-refused-grant")


def test_lock_leaked_by_refused_grant__silent_about_a_forged_grant(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 2, 50, 1)
    lab.mallory.granted(lab.bob, db, 7, reply="DENIED")
    lab.alice.lock(db, 1, reply="DENIED")
    lab.later(10)
    lab.silent("lock-leaked-by-refused-grant")


# -- lock-lost-silently ---------------------------------------------------------------------------


def test_lock_lost_silently__fires_when_the_loser_writes_on(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    first = lab.alice.lock(db, 1, 0, 100)
    lab.world.wait(5)
    second = lab.bob.lock(db, 1, 50, 10)
    write = lab.alice.write(db, 0, 60)
    lab.later(1)
    lab.fires(
        "lock-lost-silently",
        first,
        second,
        write.calls[0],
        severity=CRITICAL,
        confidence=DEFINITE,
        client=lab.alice,
        peer=lab.bob,
        server=lab.server,
        path="/srv/db",
    )


def test_lock_lost_silently__fires_less_sure_before_the_loser_acts(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.lock(db, 1)
    lab.alice.getattr(db)
    lab.later(1)
    lab.fires("lock-lost-silently", severity=CRITICAL, confidence=PROBABLE, client=lab.alice, peer=lab.bob)


def test_lock_lost_silently__fires_less_sure_when_the_capture_may_have_lost_the_unlock(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1, 0, 10)
    linux.alice.unlock(db, 1, 0, 10, captured=False, reply_captured=False)
    linux.bob.lock(db, 1)
    linux.alice.test(db, 1, 20, 1, reply="DENIED")  # shows the hole
    linux.later(1)
    linux.fires("lock-lost-silently", confidence=POSSIBLE, client=linux.alice)


def test_lock_lost_silently__fires_softly_when_the_loser_is_silent(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.die()
    lab.later(60)
    lab.bob.lock(db, 1)
    lab.later(1)
    lab.fires("lock-lost-silently", severity=MEDIUM, confidence=POSSIBLE, client=lab.alice, peer=lab.bob)


def test_lock_lost_silently__fires_softly_when_its_unlock_may_have_been_lost(linux: Lab) -> None:
    """The capture missed alice's UNLOCK; what she does later is about locks of a later time."""
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.alice.unlock(db, 1, captured=False, reply_captured=False)
    linux.bob.lock(db, 2)
    linux.alice.lock(linux.export.file("other"), 3)
    linux.later(1)
    linux.fires("lock-lost-silently", severity=MEDIUM, confidence=POSSIBLE, client=linux.alice)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_lock_lost_silently__fires_at_most_softly_when_the_loser_asks_for_it_anew(transport: str) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    how: dict[str, Any] = {"transport": transport}
    lab.alice.lock(db, 1, **how)
    lab.alice.unlock(db, 1, captured=False, reply_captured=False, **how)
    lab.bob.lock(db, 2, **how)
    lab.alice.wait_for(db, 1, **how)
    lab.alice.cancel(db, 1, **how)
    lab.alice.unlock(db, 1, **how)
    lab.later(1)
    if transport == "udp":
        lab.fires("lock-lost-silently", severity=MEDIUM, confidence=POSSIBLE, client=lab.alice)
    else:
        lab.silent("lock-lost-silently")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"exclusive": False}, {"exclusive": False}, id="both shared"),
        pytest.param({"length": 10}, {"start": 10, "length": 10}, id="adjacent"),
        pytest.param({"start": 2**62, "length": 1}, {"length": 2**62}, id="far apart"),
    ],
)
def test_lock_lost_silently__silent_without_a_conflict(
    lab: Lab, first: dict[str, Any], second: dict[str, Any]
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, **first)
    lab.bob.lock(db, 1, **second)
    lab.alice.write(db, first.get("start", 0), 5)
    lab.later(1)
    lab.clean("lock-lost-silently")


def test_lock_lost_silently__silent_when_replies_are_swapped(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    unlock = linux.alice.unlock(db, 1, reply=None)
    linux.bob.lock(db, 1)  # granted before the UNLOCK's own answer is on the wire
    unlock.answer("GRANTED")
    linux.later(1)
    linux.clean("lock-lost-silently")


def test_lock_lost_silently__silent_after_a_reboot_notice_of_the_holder(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=7)
    lab.world.wait(1)
    lab.bob.lock(db, 1)
    lab.later(1)
    lab.silent("lock-lost-silently", "false-reboot-notice")


def test_lock_lost_silently__silent_about_two_files_of_one_name(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    other = lab.bob.lookup(lab.bob.mount(lab.server, "/home"), "db")
    lab.alice.lock(db, 1)
    lab.bob.lock(other, 1)
    lab.later(1)
    lab.clean("lock-lost-silently")


# -- lock-taken-in-recovery -----------------------------------------------------------------------


def test_lock_taken_in_recovery__fires_after_grace_without_a_reclaim(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    first = lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.bob.lock(db, 1, reply="GRACE")  # lockd was killed; nobody was told
    lab.world.wait(50)
    second = lab.bob.lock(db, 1)
    write = lab.alice.write(db)
    lab.later(1)
    lab.fires(
        "lock-taken-in-recovery",
        first,
        second,
        write.calls[0],
        severity=CRITICAL,
        confidence=DEFINITE,
        client=lab.alice,
        peer=lab.bob,
    )
    lab.silent("lock-lost-silently")


def test_lock_taken_in_recovery__silent_when_the_holder_reclaims(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.server.boot()
    lab.server.notify(lab.alice, state=9)
    lab.alice.lock(db, 1, reclaim=True, state=0)
    lab.bob.lock(db, 1, reply="GRACE")
    lab.world.wait(50)
    lab.bob.lock(db, 1, reply="DENIED")
    lab.alice.write(db)
    lab.later(1)
    lab.clean("lock-taken-in-recovery")


def test_lock_taken_in_recovery__silent_when_the_holder_let_go_in_time(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.lock(db, 1, reply="GRACE")
    lab.world.wait(50)
    lab.bob.lock(db, 1)
    lab.later(1)
    lab.clean("lock-taken-in-recovery", "lock-lost-silently")
