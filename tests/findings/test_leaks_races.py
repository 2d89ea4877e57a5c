"""Forgotten locks: each rule fires where a refusal proves the leak, and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, INFO, LOW, MEDIUM, POSSIBLE, PROBABLE, Confidence
from analyzer.sessions.ranges import EOF
from tests.findings.lab import Lab
from tests.world import File, Request

RACES = (
    "lock-survived-client-reboot",
    "lock-orphaned-by-duplicate",
    "lock-leaked-by-cancel-race",
    "unlock-owner-mismatch",
    "residual-range-after-unlock",
)

# -- lock-survived-client-reboot ------------------------------------------------------------------


def rebooted(lab: Lab) -> tuple[File, Request]:
    """Alice locks, reboots, and says so."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lab.world.wait(5)
    lab.alice.boot()
    lab.alice.notify(lab.server)
    return db, lock


def test_lock_survived_client_reboot__fires_when_the_notice_freed_nothing(lab: Lab) -> None:
    db, lock = rebooted(lab)
    lab.world.wait(8)
    denied = lab.bob.lock(db, 2, 10, 5, reply="DENIED")
    lab.later(1)
    lab.fires(
        "lock-survived-client-reboot",
        lock,
        denied,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
        severity=HIGH,
        confidence=DEFINITE,
    )


def test_lock_survived_client_reboot__fires_when_the_client_only_counts_anew(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, 0, 100)
    for svid in (6, 7, 8):
        lab.alice.lock(db, svid, 1000 * svid, 5)
        lab.alice.unlock(db, svid, 1000 * svid, 5)
    lab.world.wait(30)
    lab.alice.boot()
    lab.mounted(lab.alice)
    lab.alice.lock(db, 0, 9999, 1)
    lab.world.wait(10)
    denied = lab.bob.lock(db, 2, 0, 5, reply="DENIED")
    lab.fires("lock-survived-client-reboot", lock, denied, client=lab.alice, confidence=PROBABLE)


def test_lock_survived_client_reboot__silent_while_the_server_still_frees(lab: Lab) -> None:
    db, _ = rebooted(lab)
    lab.world.wait(2)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.world.wait(6)
    lab.bob.lock(db, 2)
    lab.silent(*RACES)


def test_lock_survived_client_reboot__silent_when_the_new_life_has_the_lock(lab: Lab) -> None:
    db, _ = rebooted(lab)
    lab.mounted(lab.alice)
    lab.alice.lock(db, 0)
    lab.world.wait(8)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_lock_survived_client_reboot__silent_when_another_waiter_may_have_it(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob, linux.carol)
    linux.alice.lock(db, 5)
    linux.carol.wait_for(db, 3)
    linux.alice.boot()
    linux.alice.notify(linux.server)
    linux.world.wait(20)
    linux.bob.lock(db, 2, reply="DENIED")
    linux.silent(*RACES)


def test_lock_survived_client_reboot__silent_beside_shared_locks_older_than_the_capture(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5, exclusive=False)
    lab.alice.boot()
    lab.alice.notify(lab.server)
    lab.world.wait(10)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_lock_survived_client_reboot__silent_when_the_client_left_and_came_back(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5, 0, 100)
    for svid in (6, 7, 8):
        lab.alice.lock(db, svid, 1000 * svid, 5)
        lab.alice.unlock(db, svid, 1000 * svid, 5)
    lab.alice.umount(lab.export)  # its lock module is unloaded, and counts anew
    lab.world.wait(5)
    lab.alice.boot()
    lab.mounted(lab.alice)
    lab.alice.lock(db, 0, 9999, 1)
    lab.world.wait(10)
    lab.bob.lock(db, 2, 0, 5, reply="DENIED")
    lab.silent(*RACES)


# -- lock-orphaned-by-duplicate -------------------------------------------------------------------


@pytest.mark.parametrize("error", ["NOLOCKS", "DENIED"])
def test_lock_orphaned_by_duplicate__fires_when_one_copy_failed_and_the_other_was_granted(
    lab: Lab, error: str
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(12)
    lock.again()
    lab.world.wait(6)
    lock.answer(error, copy=0)
    lab.world.wait(0.1)
    lock.answer("GRANTED", copy=1)
    lab.world.wait(5)
    denied = lab.bob.lock(db, 2, reply="DENIED")
    lab.fires(
        "lock-orphaned-by-duplicate", lock, denied, client=lab.alice, confidence=DEFINITE, severity=HIGH
    )


def test_lock_orphaned_by_duplicate__fires_when_a_copy_was_executed_after_the_unlock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lab.alice.unlock(db, 5)
    lock.again().answer("GRANTED")
    lab.world.wait(5)
    denied = lab.bob.lock(db, 2, reply="DENIED")
    lab.fires("lock-orphaned-by-duplicate", lock, denied, client=lab.alice, confidence=DEFINITE)


def test_lock_orphaned_by_duplicate__fires_when_the_other_copy_has_no_answer(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(12)
    lock.again()
    lock.answer("NOLOCKS", copy=0)
    lab.world.wait(10)
    denied = lab.bob.lock(db, 2, reply="DENIED")
    lab.fires("lock-orphaned-by-duplicate", lock, denied, client=lab.alice, confidence=POSSIBLE)


@pytest.mark.parametrize("error", ["NOLOCKS", "DENIED"])
def test_lock_orphaned_by_duplicate__silent_when_the_client_did_not_hear_the_error(
    lab: Lab, error: str
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, reply=error)
    lab.world.wait(5)
    lock.again().answer("GRANTED")
    lab.world.wait(5)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_lock_orphaned_by_duplicate__silent_without_a_refusal(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lab.alice.unlock(db, 5)
    lock.again().answer("GRANTED")
    lab.later(30)
    lab.silent(*RACES)


def test_lock_orphaned_by_duplicate__silent_when_the_copy_was_unlocked_too(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    unlock = lab.alice.unlock(db, 5)
    lock.again().answer("GRANTED")
    unlock.again().answer("GRANTED")
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_lock_orphaned_by_duplicate__silent_when_both_copies_were_granted_and_it_is_held(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lock.again().answer("GRANTED")
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_lock_orphaned_by_duplicate__silent_when_the_grace_of_the_server_ended(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, reply="GRACE")
    lab.world.wait(12)
    lock.again().answer("GRANTED")
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


# -- lock-leaked-by-cancel-race -------------------------------------------------------------------


def crossed(lab: Lab, answer: str = "DENIED", accepted: str | None = None) -> tuple[File, Request, Request]:
    """Bob gives up waiting just as Alice's release gives him the lock."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 5)
    lab.bob.wait_for(db, 2)
    lab.world.wait(5)
    lab.alice.unlock(db, 5)
    granted = lab.server.granted(lab.bob, db, 2, reply=None)
    cancel = lab.bob.cancel(db, 2, reply=answer)
    if accepted:
        granted.answer(accepted)
    return db, granted, cancel


@pytest.mark.parametrize(
    ("answer", "accepted"), [("DENIED", None), ("DENIED", "GRANTED"), ("GRANTED", "GRANTED")]
)
def test_lock_leaked_by_cancel_race__fires_when_another_is_refused(
    lab: Lab, answer: str, accepted: str | None
) -> None:
    db, granted, cancel = crossed(lab, answer, accepted)
    lab.world.wait(20)
    denied = lab.carol.lock(db, 3, reply="DENIED")
    lab.fires(
        "lock-leaked-by-cancel-race",
        granted,
        cancel,
        denied,
        client=lab.bob,
        severity=HIGH,
        confidence=PROBABLE if accepted else DEFINITE,
    )


def test_lock_leaked_by_cancel_race__silent_when_the_client_gives_it_back(lab: Lab) -> None:
    db, _, _ = crossed(lab)
    lab.bob.unlock(db, 2)
    lab.world.wait(20)
    lab.carol.lock(db, 3, reply="DENIED")
    lab.silent(*RACES)


def test_lock_leaked_by_cancel_race__silent_when_the_cancel_was_in_time(lab: Lab) -> None:
    db, _, _ = crossed(lab, "GRANTED")
    lab.world.wait(20)
    lab.carol.lock(db, 3, reply="DENIED")
    lab.silent(*RACES)


def test_lock_leaked_by_cancel_race__silent_when_the_client_asked_again(lab: Lab) -> None:
    db, _, _ = crossed(lab)
    lab.bob.lock(db, 2)
    lab.world.wait(20)
    lab.carol.lock(db, 3, reply="DENIED")
    lab.silent(*RACES)


@pytest.mark.parametrize(
    ("answer", "accepted", "sure"),
    [("DENIED", None, PROBABLE), ("DENIED", "GRANTED", POSSIBLE), ("GRANTED", "GRANTED", POSSIBLE)],
)
def test_lock_leaked_by_cancel_race__fires_less_sure_when_nobody_asked_since(
    lab: Lab, answer: str, accepted: str | None, sure: Confidence
) -> None:
    _, granted, cancel = crossed(lab, answer, accepted)
    lab.later(20)
    lab.fires("lock-leaked-by-cancel-race", granted, cancel, client=lab.bob, severity=HIGH, confidence=sure)


@pytest.mark.parametrize("why", ["refused", "capture ends"])
def test_lock_leaked_by_cancel_race__silent_when_nobody_asked_since(lab: Lab, why: str) -> None:
    crossed(lab, "DENIED", "DENIED" if why == "refused" else None)
    lab.later(20 if why == "refused" else 1)
    lab.silent("lock-leaked-by-cancel-race")


def test_lock_leaked_by_cancel_race__silent_when_another_got_it(lab: Lab) -> None:
    db, _, _ = crossed(lab)
    lab.world.wait(20)
    lab.carol.lock(db, 3)
    lab.silent(*RACES)


# -- unlock-owner-mismatch ------------------------------------------------------------------------


@pytest.mark.parametrize("differs", [{"version": 3}, {"transport": "udp"}])
def test_unlock_owner_mismatch__fires_when_linux_tells_the_two_apart(
    linux: Lab, differs: dict[str, Any]
) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    lock = linux.alice.lock(db, 5)
    unlock = linux.alice.unlock(db, 5, **differs)
    linux.world.wait(5)
    denied = linux.bob.lock(db, 2, reply="DENIED")
    linux.fires("unlock-owner-mismatch", lock, unlock, denied, client=linux.alice, confidence=DEFINITE)


def test_unlock_owner_mismatch__fires_when_the_host_was_renamed() -> None:
    lab = Lab("opaque")
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    unlock = lab.alice.unlock(db, 5, caller_name="alicia", oh=b"5@alicia")
    denied = lab.bob.lock(db, 2, reply="DENIED")
    found = lab.fires("unlock-owner-mismatch", lock, unlock, denied, client=lab.alice, severity=HIGH)
    assert "differs from its LOCK in owner and name" in found.message


def test_unlock_owner_mismatch__silent_when_another_process_closes_the_file(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    lab.alice.unlock(db, 6)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent(*RACES)


def test_unlock_owner_mismatch__silent_without_a_refusal(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 5)
    linux.alice.unlock(db, 5, version=3)
    linux.later(20)
    linux.silent(*RACES)


def test_unlock_owner_mismatch__silent_when_the_right_unlock_follows(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 5)
    linux.alice.unlock(db, 5, version=3)
    linux.bob.lock(db, 2, reply="DENIED")
    linux.alice.unlock(db, 5)
    linux.silent(*RACES)


# -- residual-range-after-unlock ------------------------------------------------------------------


def test_residual_range_after_unlock__fires_when_the_bytes_released_are_refused(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, 0, 100)
    unlock = lab.alice.unlock(db, 5, 0, 50)
    lab.world.wait(10)
    denied = lab.bob.lock(db, 2, 10, 5, reply="DENIED")
    lab.fires(
        "residual-range-after-unlock",
        lock,
        unlock,
        denied,
        client=lab.alice,
        severity=MEDIUM,
        confidence=PROBABLE,
    )


def test_residual_range_after_unlock__silent_about_what_is_still_locked(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5, 0, 100)
    lab.alice.unlock(db, 5, 0, 50)
    lab.world.wait(10)
    lab.bob.lock(db, 2, 40, 20, reply="DENIED")
    lab.silent(*RACES)


def test_residual_range_after_unlock__silent_when_the_bytes_were_given_to_others(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 5, 0, 100)
    lab.alice.unlock(db, 5, 0, 50)
    lab.carol.lock(db, 3, 0, 50)
    lab.carol.unlock(db, 3, 0, 50)
    lab.world.wait(10)
    lab.bob.lock(db, 2, 10, 5, reply="DENIED")
    lab.silent(*RACES)


def test_residual_range_after_unlock__silent_after_a_restart(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5, 0, 100)
    lab.alice.unlock(db, 5, 0, 50)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.world.wait(10)
    lab.bob.lock(db, 2, 10, 5, reply="DENIED")
    lab.silent(*RACES)


def part(lab: Lab, start: int = 0, length: int = 50) -> tuple[File, Request, Request]:
    """Alice locks a hundred bytes, gives back the first fifty, and that is all."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, 0, 100)
    lab.world.wait(1)
    return db, lock, lab.alice.unlock(db, 5, start, length)


def test_residual_range_after_unlock__fires_as_a_fact_when_a_rest_is_not_used(lab: Lab) -> None:
    _, lock, unlock = part(lab)
    lab.later(70)
    lab.fires(
        "residual-range-after-unlock",
        lock,
        unlock,
        client=lab.alice,
        severity=INFO,
        confidence=POSSIBLE,
        range=(50, 99),
    )
    lab.clean()


@pytest.mark.parametrize("how", ["DENIED", "BLOCKED"])
def test_residual_range_after_unlock__fires_when_others_run_into_a_rest(lab: Lab, how: str) -> None:
    db, lock, unlock = part(lab)
    lab.world.wait(5)
    refused = lab.bob.lock(db, 2, 60, 10, reply=how, block=how == "BLOCKED")
    lab.later(70)
    lab.fires(
        "residual-range-after-unlock",
        lock,
        unlock,
        refused,
        client=lab.alice,
        severity=MEDIUM,
        confidence=POSSIBLE,
    )


def test_residual_range_after_unlock__fires_when_others_wait_for_a_rest(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5, 0, 100)
    wait = lab.bob.wait_for(db, 2, 60, 10)
    lab.world.wait(1)
    lab.alice.unlock(db, 5, 0, 50)
    lab.later(70)
    lab.fires("residual-range-after-unlock", wait, client=lab.alice, severity=MEDIUM, confidence=POSSIBLE)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1, 2**32])
def test_residual_range_after_unlock__fires_when_a_release_ends_where_32_bits_do(
    lab: Lab, length: int
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5)
    lab.alice.unlock(db, 5, 0, length)
    lab.later(70)
    found = lab.fires("residual-range-after-unlock", severity=MEDIUM, confidence=POSSIBLE)
    assert found.range == (length, EOF)


def test_residual_range_after_unlock__silent_when_the_lock_service_forgot_a_file_in_use(lab: Lab) -> None:
    db, _, _ = part(lab)
    lab.alice.test(db, 9, reply="STALE_FH")
    lab.later(5)
    lab.silent("residual-range-after-unlock")


def test_residual_range_after_unlock__fires_low_when_the_file_was_removed(lab: Lab) -> None:
    db, lock, unlock = part(lab)
    removed = lab.alice.remove(db)
    lab.later(5)
    lab.fires(
        "residual-range-after-unlock",
        lock,
        unlock,
        removed.replies[0],
        client=lab.alice,
        severity=LOW,
        confidence=POSSIBLE,
    )


@pytest.mark.parametrize(
    "does",
    [
        "writes",
        "reads",
        "locks again",
        "waits",
        "has another lock",
        "unlocks the rest",
        "is young",
        "removed",
    ],
)
def test_residual_range_after_unlock__silent_about_a_rest_that_is_meant(lab: Lab, does: str) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    if does == "has another lock":
        lab.alice.lock(db, 5, 200, 10)
    if does == "waits":
        lab.bob.lock(db, 2, 300, 10)
    part(lab)
    lab.world.wait(20)
    if does == "writes":
        for _ in range(5):
            lab.world.wait(30)
            lab.alice.write(db, 60)
    elif does == "reads":
        lab.world.wait(20)
        lab.alice.nfs("READ", db, {"count": 5, "data": bytes(5)}, offset=60, count=5)
    elif does == "locks again":
        lab.alice.lock(db, 5, 0, 50)
    elif does == "waits":
        lab.alice.wait_for(db, 5, 300, 10)
    elif does == "unlocks the rest":
        lab.alice.unlock(db, 5, 50, 50)
    elif does == "removed":
        lab.bob.remove(db)
    lab.later(30 if does in ("is young", "removed", "reads") else 70 if does != "writes" else 50)
    lab.silent("residual-range-after-unlock")


@pytest.mark.parametrize("answer", ["DENIED", None])
def test_residual_range_after_unlock__silent_when_the_release_did_not_work(
    lab: Lab, answer: str | None
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, 0, 100)
    lab.alice.unlock(db, 5, 0, 50, reply=answer)
    lab.later(70)
    lab.silent("residual-range-after-unlock")


def test_residual_range_after_unlock__silent_when_bytes_are_missing(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 5, 0, 100)
    linux.alice.unlock(db, 5, 0, 50)
    linux.alice.unlock(db, 5, 50, 50, captured=False)
    linux.alice.test(db, 6, 200, 10)
    linux.later(70)
    linux.silent("residual-range-after-unlock")
