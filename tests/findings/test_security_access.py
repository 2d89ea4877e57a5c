"""Writes under a foreign lock, open ports: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, LOW, MEDIUM, PROBABLE, Confidence
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nlm import NLM
from tests.findings.lab import Lab
from tests.world import LOCKD, MOUNTD

# -- io-against-foreign-lock ----------------------------------------------------------------------


def sure(lab: Lab) -> Confidence:
    """Over UDP an UNLOCK before the write may be missing without a trace."""
    return PROBABLE if lab.alice.transport == "udp" else DEFINITE


def test_io_against_foreign_lock__fires_for_a_write_under_a_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    write = lab.bob.write(db, 100, 10)
    unlock = lab.alice.unlock(db, 1)
    lab.fires(
        "io-against-foreign-lock",
        lock,
        write,
        unlock,
        client=lab.alice,
        peer=lab.bob,
        severity=MEDIUM,
        confidence=sure(lab),
        path="/srv/db",
    )


def test_io_against_foreign_lock__fires_high_when_the_lock_was_given_to_somebody_else_too(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.carol.write(db, 100, 10)
    lab.bob.lock(db, 2)
    lab.alice.write(db, 100, 10)
    lab.fires("lock-lost-silently", client=lab.alice)
    lab.fires("io-against-foreign-lock", client=lab.alice, peer=lab.carol, severity=HIGH)


def test_io_against_foreign_lock__fires_softly_while_the_lock_is_open(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.write(db, 100, 10)
    assert lab.fires("io-against-foreign-lock", peer=lab.bob, confidence=PROBABLE).count == 1


def test_io_against_foreign_lock__fires_softly_when_the_writer_is_older_than_the_capture(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.bob.write(db, 100, 10)
    lab.alice.unlock(db, 1)
    lab.fires("io-against-foreign-lock", peer=lab.bob, confidence=Confidence(sure(lab) - 1))


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param({"offset": 0, "count": 20_000}, id="much more than the lock"),
        pytest.param({"offset": 9000, "count": 5}, id="less than the lock"),
    ],
)
def test_io_against_foreign_lock__fires_for_bytes_that_were_surely_written(
    lab: Lab, touch: dict[str, Any]
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 9000, 1000)
    lab.bob.write(db, **touch)
    lab.fires("io-against-foreign-lock", peer=lab.bob)


def test_io_against_foreign_lock__fires_for_a_truncation(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 100, 10)
    lab.bob.nfs("SETATTR", db, set_size=50)
    lab.fires("io-against-foreign-lock", peer=lab.bob)


@pytest.mark.parametrize(
    "touch",
    [
        pytest.param({"offset": 0, "count": 4096}, id="a page that was filled up"),
        pytest.param({"offset": 9000, "count": 5}, id="elsewhere"),
    ],
)
def test_io_against_foreign_lock__silent_about_bytes_around_the_lock(lab: Lab, touch: dict[str, Any]) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 10, 20)
    lab.bob.write(db, **touch)
    lab.bob.nfs("SETATTR", db, set_size=30)
    lab.clean("io-against-foreign-lock")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"status": 13}, id="refused"),
        pytest.param({"reply": None}, id="not answered"),
    ],
)
def test_io_against_foreign_lock__silent_about_a_write_that_was_not_done(
    lab: Lab, how: dict[str, Any]
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.nfs("WRITE", db, offset=0, count=1, data=b"x", **how)
    lab.silent("io-against-foreign-lock")


def test_io_against_foreign_lock__silent_about_the_own_lock_and_shared_ones(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, exclusive=False)
    lab.bob.write(db)
    lab.alice.unlock(db, 1)
    lab.alice.lock(db, 2)
    lab.alice.write(db)
    lab.clean("io-against-foreign-lock")


def test_io_against_foreign_lock__silent_about_a_cache_that_is_late(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 1)
    lab.bob.unlock(db, 1)
    lab.alice.lock(db, 2)
    lab.bob.write(db)
    lab.clean("io-against-foreign-lock")


def test_io_against_foreign_lock__silent_when_it_was_released_before_the_write_was_done(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    write = lab.bob.nfs("WRITE", db, None, offset=0, count=1, data=b"x")
    lab.alice.unlock(db, 1)
    write.answer({"status": 0, "count": 1, "verf": b"boot"})
    lab.clean("io-against-foreign-lock")


def test_io_against_foreign_lock__silent_about_one_host_with_two_addresses(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    second = lab.world.host("alice", lab.mallory.address, transport=lab.alice.transport)
    second.write(db)
    lab.clean("io-against-foreign-lock")


def test_io_against_foreign_lock__silent_about_a_lock_that_was_given_to_the_writer(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.lock(db, 2)
    lab.bob.write(db)
    lab.alice.write(db)
    lab.silent("io-against-foreign-lock")


# -- unprivileged-source-port ---------------------------------------------------------------------

OPEN = 40_000


def test_unprivileged_source_port__fires_for_locks(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, transport="udp", sport=OPEN)
    found = lab.fires("unprivileged-source-port", lock.calls[0], client=lab.alice, severity=LOW)
    assert found.confidence == DEFINITE


def test_unprivileged_source_port__fires_for_mounts_that_are_let_in(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", transport="udp", sport=OPEN)
    lab.fires("unprivileged-source-port", client=lab.alice, server=lab.server, severity=MEDIUM)


def test_unprivileged_source_port__fires_for_a_mount_that_is_refused(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", status=13, transport="udp", sport=OPEN)
    lab.fires("unprivileged-source-port", client=lab.alice, server=lab.server, severity=LOW)


def test_unprivileged_source_port__fires_for_reboot_notices(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.mallory.notify(lab.server, "alice", sport=OPEN)
    lab.fires("unprivileged-source-port", client=lab.server, peer=lab.mallory, severity=MEDIUM)


def test_unprivileged_source_port__silent_about_pings_lists_and_callbacks(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.ping(lab.server, (MOUNT, 3), MOUNTD, transport="udp", sport=OPEN)
    lab.alice.ping(lab.server, (NLM, 4), LOCKD, transport="udp", sport=OPEN)
    lab.alice.call(lab.server, (MOUNT, 3), 2, {}, port=MOUNTD, transport="udp", sport=OPEN, reply={})
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, transport="udp", sport=OPEN)
    lab.silent("unprivileged-source-port")
