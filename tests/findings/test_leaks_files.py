"""Locks on files that are gone, share reservations: each rule fires, and spares its innocent twin."""

from collections.abc import Callable

import pytest

from analyzer.findings.rule import DEFINITE, LOW, MEDIUM, POSSIBLE, PROBABLE
from tests.findings.lab import Lab
from tests.world import Exchange, Request

# -- lock-on-stale-file ---------------------------------------------------------------------------


def test_lock_on_stale_file__fires_when_another_removes_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    gone = lab.bob.remove(db)
    lab.fires(
        "lock-on-stale-file",
        lock,
        gone.replies[0],
        client=lab.alice,
        severity=LOW,
        confidence=PROBABLE,
        path="/srv/db",
    )


def test_lock_on_stale_file__fires_when_another_file_is_renamed_over_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    fresh = lab.bob.lookup(lab.export, "db.new")
    lock = lab.alice.lock(db, 1)
    replaced = lab.bob.rename(fresh, "db")
    lab.fires("lock-on-stale-file", lock, replaced.replies[0], client=lab.alice, confidence=PROBABLE)


def test_lock_on_stale_file__fires_when_the_server_does_not_know_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1)
    stale = lab.alice.getattr(db, status=70)
    lab.fires("lock-on-stale-file", lock, stale.replies[0], client=lab.alice, confidence=DEFINITE)


@pytest.mark.parametrize("kind", ["LOCK", "TEST", "UNLOCK"])
def test_lock_on_stale_file__fires_when_the_lock_service_does_not_know_it(lab: Lab, kind: str) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    asks = {"LOCK": lab.bob.lock, "TEST": lab.bob.test, "UNLOCK": lab.alice.unlock}[kind]
    stale = asks(db, 1 if kind == "UNLOCK" else 2, reply="STALE_FH")
    found = lab.fires(
        "lock-on-stale-file", lock, stale.replies[0], client=lab.alice, severity=LOW, confidence=DEFINITE
    )
    assert "NLM4_STALE_FH" in found.message


def test_lock_on_stale_file__silent_when_nothing_was_locked_there(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.lock(db, 2, reply="STALE_FH")
    lab.alice.lock(lab.alice.lookup(lab.export, "other"), 1)
    lab.silent("lock-on-stale-file")


def test_lock_on_stale_file__silent_about_a_reclaim_that_comes_too_early(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.lock(db, 1, reclaim=True, reply="STALE_FH")
    lab.silent("lock-on-stale-file")


def test_lock_on_stale_file__silent_about_a_silly_rename(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.rename(db, ".nfs0001")
    lab.clean("lock-on-stale-file")


def test_lock_on_stale_file__silent_when_released_before(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.remove(db)
    lab.alice.getattr(db, status=70)
    lab.clean("lock-on-stale-file")


@pytest.mark.parametrize("known", ["by LINK", "by its attributes"])
def test_lock_on_stale_file__silent_when_a_further_link_remains(lab: Lab, known: str) -> None:
    lab.export.file("db").links = 2 if known == "by its attributes" else 1
    db = lab.mounted(lab.alice, lab.bob)
    if known == "by LINK":
        lab.alice.nfs("LINK", db, link_dir_fh=lab.export.root.handle, link_name="copy")
    lab.alice.lock(db, 1)
    lab.bob.remove(db)
    lab.clean("lock-on-stale-file")


def test_lock_on_stale_file__silent_about_an_export_that_is_not_there_yet(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.alice.lock(db, 1, reclaim=True)
    lab.alice.getattr(db, status=70)
    lab.silent("lock-on-stale-file")


def test_lock_on_stale_file__silent_when_the_server_told_another_that_it_restarted(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.server.boot()
    lab.server.notify(lab.bob)
    lab.alice.getattr(db, status=70)
    lab.silent("lock-on-stale-file")


# -- share-reservation-leaked ---------------------------------------------------------------------

DENY_WRITE, READ, WRITE = 2, 1, 2


def opened(lab: Lab) -> Request:
    """Alice opens db and denies others to write."""
    db = lab.mounted(lab.alice, lab.bob)
    return lab.alice.share(db, b"open 1", DENY_WRITE, READ)


def refused(lab: Lab) -> Request:
    """Bob may not open it for writing."""
    lab.later(10)
    return lab.bob.share(lab.export.file("db"), b"open 2", 0, WRITE, "DENIED")


def unmounts(lab: Lab) -> Exchange:
    return lab.alice.umount(lab.export)


def reboots(lab: Lab) -> Exchange:
    lab.alice.boot()
    return lab.alice.notify(lab.server)


@pytest.mark.parametrize("goes", [unmounts, reboots])
def test_share_reservation_leaked__fires_when_the_client_left(
    lab: Lab, goes: Callable[[Lab], Exchange]
) -> None:
    share = opened(lab)
    gone = goes(lab)
    denied = refused(lab)
    lab.fires(
        "share-reservation-leaked",
        share,
        denied,
        gone.replies[0],
        client=lab.alice,
        severity=MEDIUM,
        confidence=DEFINITE,
        path="/srv/db",
    )


def test_share_reservation_leaked__fires_softly_when_it_fell_silent(lab: Lab) -> None:
    share = opened(lab)
    lab.alice.die()
    lab.later(400)
    denied = refused(lab)
    lab.fires("share-reservation-leaked", share, denied, client=lab.alice, confidence=POSSIBLE)


@pytest.mark.parametrize("goes", [unmounts, reboots])
def test_share_reservation_leaked__silent_when_it_was_closed(
    lab: Lab, goes: Callable[[Lab], Exchange]
) -> None:
    opened(lab)
    lab.alice.share(lab.export.file("db"), b"open 1", DENY_WRITE, READ, procedure=21)
    goes(lab)
    refused(lab)
    lab.silent("share-reservation-leaked")


def test_share_reservation_leaked__silent_when_the_client_is_there(lab: Lab) -> None:
    opened(lab)
    refused(lab)
    lab.silent("share-reservation-leaked")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((b"open 3", DENY_WRITE, READ), id="another program denies it too"),
        pytest.param((b"open 3", 0, WRITE), id="a grant proves that it is gone"),
    ],
)
def test_share_reservation_leaked__silent_when_something_else_explains_it(
    lab: Lab, other: tuple[bytes, int, int]
) -> None:
    opened(lab)
    unmounts(lab)
    lab.carol.share(lab.export.file("db"), *other)
    refused(lab)
    lab.silent("share-reservation-leaked")


def test_share_reservation_leaked__silent_when_modes_do_not_meet(lab: Lab) -> None:
    opened(lab)
    unmounts(lab)
    lab.later(10)
    lab.bob.share(lab.export.file("db"), b"open 2", 0, READ, "DENIED")
    lab.silent("share-reservation-leaked")
