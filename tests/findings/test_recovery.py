"""Restarts and reclaims: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.recovery import Lives
from analyzer.findings.rule import CRITICAL, DEFINITE, HIGH, INFO, MEDIUM, POSSIBLE, PROBABLE
from analyzer.protocols.nsm import NSM
from tests.findings.lab import Lab
from tests.sessions.view import View
from tests.world import Exchange, File, Host, Request

# -- grace-period-active --------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "severity"), [(20, INFO), (75, MEDIUM)])
def test_grace_period_active__fires_with_the_length_of_the_window(
    lab: Lab, length: int, severity: int
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    first = lab.alice.lock(db, 1, reply="GRACE")
    lab.world.wait(length - 5)
    last = lab.bob.lock(db, 1, 7, 1, reply="GRACE")
    lab.world.wait(5)
    served = lab.alice.lock(db, 1)
    lab.later(1)
    found = lab.fires(
        "grace-period-active",
        first,
        last,
        served.replies[0],
        severity=severity,
        confidence=DEFINITE,
        server=lab.server,
    )
    assert f"for {length} s" in found.message
    assert "2 requests" in found.message


def test_grace_period_active__fires_on_an_unlock_too(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    unlock = lab.alice.unlock(db, 1, reply="GRACE")
    lab.later(1)
    lab.fires("grace-period-active", unlock, severity=INFO, server=lab.server)


def test_grace_period_active__silent_when_only_a_reclaim_is_refused_so(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reclaim=True, reply="GRACE")
    lab.later(1)
    lab.silent("grace-period-active")


def test_grace_period_active__silent_without_a_restart(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.later(1)
    lab.clean("grace-period-active")


# -- grace-without-notify -------------------------------------------------------------------------


def restart_in_silence(lab: Lab) -> tuple[File, Exchange, Exchange]:
    """Alice's lock is dropped by a restart that bob notices."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1, 0, 50)
    lab.world.wait(20)
    refused = lab.bob.lock(db, 1, 60, 10, reply="GRACE")
    return db, lock, refused


def test_grace_without_notify__fires_when_the_holder_is_not_told(lab: Lab) -> None:
    db, lock, refused = restart_in_silence(lab)
    lab.world.wait(50)
    lab.bob.lock(db, 1, 60, 10)
    lab.later(1)
    lab.fires(
        "grace-without-notify",
        lock,
        refused,
        severity=CRITICAL,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
    )


def test_grace_without_notify__fires_less_sure_while_grace_lasts(lab: Lab) -> None:
    _, lock, refused = restart_in_silence(lab)
    lab.later(10)
    lab.fires("grace-without-notify", lock, refused, severity=HIGH, confidence=POSSIBLE, client=lab.alice)


def test_grace_without_notify__silent_when_the_notice_went_before(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.world.wait(20)
    lab.server.boot()
    lab.server.notify(lab.alice, state=11)
    lab.world.wait(10)
    lab.bob.lock(db, 1, reply="GRACE")
    lab.later(60)
    lab.silent("grace-without-notify")


def test_grace_without_notify__silent_when_an_attempt_is_on_the_wire(lab: Lab) -> None:
    db, _, _ = restart_in_silence(lab)
    lab.server.getport(lab.alice, NSM, None)
    lab.world.wait(50)
    lab.bob.lock(db, 1, 60, 10)
    lab.later(1)
    lab.silent("grace-without-notify")


def test_grace_without_notify__silent_when_the_holder_reclaims(lab: Lab) -> None:
    db, _, _ = restart_in_silence(lab)
    lab.alice.lock(db, 1, 0, 50, reclaim=True)
    lab.world.wait(50)
    lab.bob.lock(db, 1, 60, 10)
    lab.later(1)
    lab.silent("grace-without-notify")


def test_grace_without_notify__silent_when_nothing_was_held(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.world.wait(20)
    lab.bob.lock(db, 1, reply="GRACE")
    lab.world.wait(50)
    lab.bob.lock(db, 1)
    lab.later(1)
    lab.silent("grace-without-notify")


# -- reclaim-outside-grace ------------------------------------------------------------------------


def test_reclaim_outside_grace__fires(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    reclaim = lab.alice.lock(db, 1, reclaim=True, reply="GRACE")
    lab.later(1)
    lab.fires(
        "reclaim-outside-grace",
        reclaim,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


def in_grace(lab: Lab) -> tuple[File, Exchange, Request]:
    """The server restarts, tells alice, and puts bob off."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 4, 4)
    lab.server.boot()
    notice = lab.server.notify(lab.alice)
    lab.bob.lock(db, 2, 100, 1, reply="GRACE")
    lab.world.wait(5)
    return db, notice, lab.bob.lock(db, 2, 100, 1, reply="GRACE")


@pytest.mark.parametrize("status", ["DENIED", "NOLOCKS", "GRACE"])
def test_reclaim_outside_grace__fires_with_the_end_of_grace(lab: Lab, status: str) -> None:
    db, notice, _ = in_grace(lab)
    served = lab.bob.lock(db, 2, 100, 1)
    lab.world.wait(5)
    late = lab.alice.lock(db, 1, 4, 4, reclaim=True, reply=status)
    lab.later(15)
    found = lab.fires("reclaim-outside-grace", late, notice, served, severity=HIGH, client=lab.alice)
    assert "grace was over" in found.message
    assert "told of the restart" in found.message
    lab.silent("reclaim-refused")


def test_reclaim_outside_grace__silent_while_grace_lasts(lab: Lab) -> None:
    db, notice, _ = in_grace(lab)
    early = lab.alice.lock(db, 1, 4, 4, reclaim=True, reply="DENIED")
    lab.later(15)
    lab.fires("reclaim-refused", early, notice, severity=CRITICAL, client=lab.alice)
    lab.silent("reclaim-outside-grace")


def test_reclaim_outside_grace__silent_when_an_ordinary_lock_is_put_off(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reply="GRACE")
    lab.later(1)
    lab.clean("reclaim-outside-grace", "reclaim-refused")


# -- reclaim-refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "severity"), [("DENIED", CRITICAL), ("STALE_FH", HIGH), ("NOLOCKS", HIGH)]
)
def test_reclaim_refused__fires(lab: Lab, status: str, severity: int) -> None:
    db = lab.mounted(lab.alice)
    reclaim = lab.alice.lock(db, 1, 4, 4, reclaim=True, reply=status)
    lab.later(15)
    lab.fires(
        "reclaim-refused",
        reclaim,
        severity=severity,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        range=(4, 7),
    )


def test_reclaim_refused__fires_less_sure_while_it_may_be_tried_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reclaim=True, reply="STALE_FH")
    lab.later(3)
    lab.fires("reclaim-refused", severity=MEDIUM, confidence=POSSIBLE, client=lab.alice)


def test_reclaim_refused__silent_when_granted(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reclaim=True)
    lab.later(1)
    lab.clean("reclaim-refused")


def test_reclaim_refused__silent_when_a_copy_is_granted_later(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    reclaim = lab.alice.lock(db, 1, reclaim=True, reply="STALE_FH")
    lab.world.wait(3)
    reclaim.again().answer("GRANTED")
    lab.later(1)
    lab.clean("reclaim-refused")


def test_reclaim_refused__silent_when_the_same_reclaim_succeeds_later(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reclaim=True, reply="STALE_FH")
    lab.world.wait(5)
    lab.alice.lock(db, 1, reclaim=True)
    lab.later(1)
    lab.silent("reclaim-refused")


# -- nsm-notify-unanswered ------------------------------------------------------------------------


def silent_notices(sender: Host, receiver: Host, *pauses: float) -> list[Exchange]:
    """An SM_NOTIFY and its repetitions, with new xids, none answered."""
    sent = []
    for pause in (*pauses, 0):
        sent.append(sender.notify(receiver, reply=None))
        sender.world.wait(pause)
    return sent


def test_nsm_notify_unanswered__fires_for_a_client(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.boot()
    notices = silent_notices(lab.alice, lab.server, 2, 4, 8)
    lab.later(10)
    found = lab.fires(
        "nsm-notify-unanswered",
        *notices,
        severity=MEDIUM,
        confidence=POSSIBLE,
        client=lab.alice,
        server=lab.server,
    )
    assert "4 times" in found.message


def test_nsm_notify_unanswered__fires_in_earnest_after_the_whole_series(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.server.boot()
    silent_notices(lab.server, lab.alice, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120, 120)
    lab.later(100)
    lab.fires(
        "nsm-notify-unanswered", severity=HIGH, confidence=PROBABLE, client=lab.alice, server=lab.server
    )


def test_nsm_notify_unanswered__fires_when_statd_is_not_registered(lab: Lab) -> None:
    look = lab.alice.getport(lab.server, NSM, 0)
    lab.later(1)
    lab.fires("nsm-notify-unanswered", look, severity=HIGH, confidence=DEFINITE)


def test_nsm_notify_unanswered__fires_when_rpcbind_is_silent(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.boot()
    looks = []
    for pause in (2, 4, 8):
        looks.append(lab.alice.getport(lab.server, NSM, None))
        lab.world.wait(pause)
    lab.later(1)
    about: dict[str, Any] = {"client": lab.alice, "server": lab.server}
    found = lab.fires("nsm-notify-unanswered", *looks, severity=MEDIUM, confidence=POSSIBLE, **about)
    assert "does not answer (3 look-ups)" in found.message


@pytest.mark.parametrize("first", [0, None], ids=["not registered", "no answer"])
def test_nsm_notify_unanswered__silent_when_statd_came_up_later(lab: Lab, first: int | None) -> None:
    for _ in range(2):
        lab.alice.getport(lab.server, NSM, first)
        lab.world.wait(4)
    lab.alice.getport(lab.server, NSM, 662)
    lab.alice.notify(lab.server)
    lab.later(60)
    lab.silent("nsm-notify-unanswered")


def test_nsm_notify_unanswered__silent_about_one_lost_lookup_and_about_a_host_that_asks_itself(
    lab: Lab,
) -> None:
    lab.alice.getport(lab.server, NSM, None)
    here = lab.world.host("here", "127.0.0.1", transport="udp")
    here.getport(here, NSM, 0)
    lab.later(60)
    lab.silent("nsm-notify-unanswered")


def test_nsm_notify_unanswered__silent_when_a_repetition_is_answered(lab: Lab) -> None:
    silent_notices(lab.alice, lab.server, 2, 4)
    lab.alice.notify(lab.server)
    lab.later(60)
    lab.clean("nsm-notify-unanswered")


def test_nsm_notify_unanswered__silent_when_the_short_name_follows(lab: Lab) -> None:
    lab.alice.notify(lab.server, name="alice.example.net")
    lab.alice.notify(lab.server, name="alice", reply=None)
    lab.later(60)
    lab.clean("nsm-notify-unanswered")


# -- recovery-completed ---------------------------------------------------------------------------


def test_recovery_completed__fires_when_a_client_came_back(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.world.wait(30)
    lab.alice.boot()
    notice = lab.alice.notify(lab.server, state=7)
    lab.later(5)
    lab.fires(
        "recovery-completed",
        notice,
        severity=INFO,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
    )
    lab.silent("lock-open-at-capture-end", "false-reboot-notice")


def test_recovery_completed__fires_when_all_was_reclaimed(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 10)
    lab.alice.lock(db, 1, 20, 10)
    lab.world.wait(30)
    lab.server.boot()
    notice = lab.server.notify(lab.alice, state=7)
    again = [lab.alice.lock(db, 1, at, 10, reclaim=True) for at in (0, 20)]
    lab.later(5)
    lab.fires("recovery-completed", notice, *again, client=lab.alice, server=lab.server)
    lab.clean()


def test_recovery_completed__fires_whatever_another_server_lost(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    other = lab.alice.mount(lab.bob, "/home").file("db")
    lab.alice.lock(db, 1)
    lab.alice.lock(other, 1)
    lab.world.wait(30)
    for server in (lab.server, lab.bob):
        server.boot()
        server.notify(lab.alice, state=7)
    lab.alice.lock(db, 1, reclaim=True)
    lab.later(5)
    found = lab.fires("recovery-completed", client=lab.alice, server=lab.server)
    assert "1 lock(s)" in found.message


def test_whether_a_host_lives_on_is_asked_of_its_own_connections(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    for client in (lab.alice, lab.bob):
        client.lock(db, 1, reply="DENIED")
    lab.alice.notify(lab.server)
    lab.alice.lock(db, 1)
    s = View(lab).s
    (notice,) = s.reboots.notices
    lives = Lives(s)
    for by_host in (lives._lock_flows, lives._mounts):
        others: dict[int, Any] = dict.fromkeys(by_host.keys() - {notice.victim})
        by_host.update(others)
    assert (lives.on(notice) is not None) == (lab.terrain != "ganesha6")


def test_recovery_completed__silent_when_a_lock_was_not_reclaimed(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 10)
    lab.alice.lock(db, 1, 20, 10)
    lab.world.wait(30)
    lab.server.boot()
    lab.server.notify(lab.alice, state=7)
    lab.alice.lock(db, 1, 0, 10, reclaim=True)
    lab.later(5)
    lab.silent("recovery-completed")


def test_recovery_completed__silent_when_the_notice_is_not_answered(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.boot()
    lab.alice.notify(lab.server, reply=None)
    lab.later(5)
    lab.silent("recovery-completed")


# -- false-reboot-notice --------------------------------------------------------------------------


def test_false_reboot_notice__fires_when_a_connection_lives_on(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    lock = linux.alice.lock(db, 1)
    linux.world.wait(10)
    notice = linux.alice.notify(linux.server, state=21)
    linux.world.wait(2)
    unlock = linux.alice.unlock(db, 1)
    linux.later(5)
    linux.fires(
        "false-reboot-notice",
        lock.calls[0],
        notice,
        unlock.calls[0],
        severity=CRITICAL,
        confidence=DEFINITE,
        client=linux.alice,
        server=linux.server,
    )
    linux.silent("recovery-completed")


def test_false_reboot_notice__fires_when_only_nfs_lives_on(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.world.wait(10)
    notice = linux.alice.notify(linux.server, state=21)
    linux.world.wait(2)
    write = linux.alice.write(db)
    linux.later(5)
    linux.fires("false-reboot-notice", notice, write.calls[0], severity=CRITICAL, client=linux.alice)


def test_false_reboot_notice__silent_after_a_true_reboot(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=21)
    lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(5)
    lab.silent("false-reboot-notice", "nsm-notify-spoofed")


def test_false_reboot_notice__silent_when_ports_are_used_again(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.world.wait(60)
    linux.alice.boot()
    linux.world.sport[linux.alice.address] = 1023
    linux.alice.notify(linux.server, state=21)
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.later(5)
    linux.silent("false-reboot-notice")


def test_false_reboot_notice__silent_when_it_held_nothing(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.notify(linux.server, state=21)
    linux.world.wait(2)
    linux.alice.write(db)
    linux.later(5)
    linux.clean("false-reboot-notice")


# -- nsm-notify-spoofed ---------------------------------------------------------------------------


def test_nsm_notify_spoofed__fires_with_the_victim_alive_on_one_connection(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.world.wait(10)
    notice = linux.mallory.notify(linux.server, name="alice", state=2001)
    linux.world.wait(2)
    linux.alice.write(db)
    linux.later(5)
    linux.fires(
        "nsm-notify-spoofed",
        notice,
        severity=CRITICAL,
        confidence=DEFINITE,
        client=linux.alice,
        server=linux.server,
        peer=linux.mallory,
    )
    linux.silent("false-reboot-notice")


def test_nsm_notify_spoofed__fires_less_sure_when_the_victim_is_merely_heard(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.world.wait(10)
    lab.alice.disconnect(lab.server)
    notice = lab.mallory.notify(lab.server, name="Alice.example.net", state=2001)
    lab.world.wait(2)
    lab.alice.getport(lab.server, NSM, 662)
    lab.later(5)
    lab.fires(
        "nsm-notify-spoofed",
        notice,
        severity=CRITICAL,
        confidence=PROBABLE,
        client=lab.alice,
        peer=lab.mallory,
    )


def test_nsm_notify_spoofed__silent_about_ones_own_long_name(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.boot()
    lab.alice.notify(lab.server, name="alice.example.net", state=7)
    lab.later(5)
    lab.silent("nsm-notify-spoofed")


def test_nsm_notify_spoofed__silent_about_a_name_nobody_uses(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.boot()
    lab.alice.notify(lab.server, name="renamed", state=7)
    lab.later(5)
    lab.silent("nsm-notify-spoofed")


def test_nsm_notify_spoofed__silent_about_a_server_that_announces_itself(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.server.boot()
    lab.server.notify(lab.alice, state=7)
    lab.alice.lock(db, 1, reclaim=True)
    lab.later(5)
    lab.clean("nsm-notify-spoofed", "false-reboot-notice")


def test_lock_of_a_host_that_is_client_and_server_at_once_is_freed(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    home = lab.server.lookup(lab.server.mount(lab.alice, "/home"), "x")
    lab.server.lock(home, 1)
    lab.world.wait(30)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=7)
    lab.server.lock(home, 1, reclaim=True)
    lab.world.wait(5)
    lab.bob.lock(db, 1)
    lab.later(5)
    lab.silent("lock-lost-silently", "lock-taken-in-recovery", "nsm-notify-spoofed")
