"""Recovery that went wrong on the other side: each rule fires on its fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, INFO, LOW, MEDIUM, POSSIBLE, PROBABLE, Severity
from analyzer.parameters import settings
from tests.findings.lab import Lab
from tests.world import File, Request

# -- reclaim-missing ------------------------------------------------------------------------------


def restarted(lab: Lab) -> tuple[File, Request]:
    """The server restarts and tells Alice, who holds a lock."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lab.world.wait(5)
    lab.server.boot()
    lab.server.notify(lab.alice)
    return db, lock


def test_reclaim_missing__fires_when_the_client_was_told(lab: Lab) -> None:
    _, lock = restarted(lab)
    lab.later(120)
    lab.fires(
        "reclaim-missing", lock, client=lab.alice, server=lab.server, severity=HIGH, confidence=PROBABLE
    )


def test_reclaim_missing__fires_less_sure_at_the_end_of_the_capture(lab: Lab) -> None:
    restarted(lab)
    lab.later(20)
    lab.fires("reclaim-missing", client=lab.alice, severity=MEDIUM, confidence=POSSIBLE)


@pytest.mark.parametrize("reply", ["GRANTED", "DENIED", "GRACE"])
def test_reclaim_missing__silent_when_it_was_tried(lab: Lab, reply: str) -> None:
    db, _ = restarted(lab)
    lab.alice.lock(db, 5, reclaim=True, reply=reply)
    lab.later(120)
    lab.silent("reclaim-missing")


def test_reclaim_missing__silent_when_the_program_let_go(lab: Lab) -> None:
    db, _ = restarted(lab)
    lab.alice.unlock(db, 5)
    lab.later(120)
    lab.silent("reclaim-missing")


def test_reclaim_missing__silent_when_the_notice_was_not_heard(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5)
    lab.server.boot()
    lab.server.notify(lab.alice, reply=None)
    lab.later(120)
    lab.silent("reclaim-missing")


# -- peer-restarted-without-notify ----------------------------------------------------------------


def born_again(lab: Lab, said: bool = False, goodbye: bool = False) -> Request:
    """Alice locks, is gone, mounts and locks again with counters at their start."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 7, 500, 5)
    lab.alice.unlock(db, 7, 500, 5)
    held = lab.alice.lock(db, 5, 0, 100)
    lab.world.wait(20)
    if goodbye:
        lab.alice.unlock(db, 5, 0, 100)
        lab.alice.umount(lab.export)
    lab.alice.boot()
    if said:
        lab.alice.notify(lab.server)
    lab.mounted(lab.alice)
    lab.alice.lock(db, 0, 900, 1)
    lab.later(100)
    return held


def test_peer_restarted_without_notify__fires_for_a_client(lab: Lab) -> None:
    lock = born_again(lab)
    lab.fires(
        "peer-restarted-without-notify",
        lock,
        client=lab.alice,
        server=lab.server,
        confidence=PROBABLE,
        severity=HIGH,
    )


def test_peer_restarted_without_notify__silent_when_it_was_said(lab: Lab) -> None:
    born_again(lab, said=True)
    lab.silent("peer-restarted-without-notify")


def test_peer_restarted_without_notify__silent_after_an_orderly_unmount(lab: Lab) -> None:
    born_again(lab, goodbye=True)
    lab.silent("peer-restarted-without-notify")


def test_peer_restarted_without_notify__silent_when_a_host_that_lives_mounts_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, 0, 100)
    lab.mounted(lab.alice)
    lab.alice.lock(db, 6, 900, 1)
    lab.later(100)
    lab.silent("peer-restarted-without-notify")


def server_moved(lab: Lab, verf: bytes, port: int) -> Request:
    """Alice holds a lock and writes; later the verifier and the port of lockd are these."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5, 0, 10)
    lab.alice.write(db, verf=b"boot1234")
    lab.world.wait(30)
    lab.server.boot()
    lab.server.lockd = port
    lab.alice.write(db, verf=verf)
    lab.bob.lock(db, 2, 100, 10)
    return lock


def test_peer_restarted_without_notify__fires_for_a_server(lab: Lab) -> None:
    lock = server_moved(lab, b"boot5678", 40001)
    lab.later(200)
    lab.fires("peer-restarted-without-notify", lock, client=lab.alice, server=lab.server, confidence=PROBABLE)


@pytest.mark.parametrize(("verf", "port"), [(b"boot1234", 40001), (b"boot5678", 0)])
def test_peer_restarted_without_notify__silent_with_one_sign_only(lab: Lab, verf: bytes, port: int) -> None:
    server_moved(lab, verf, port or lab.server.lockd)
    lab.later(200)
    lab.silent("peer-restarted-without-notify")


def test_peer_restarted_without_notify__silent_when_the_server_said_so(lab: Lab) -> None:
    server_moved(lab, b"boot5678", 40001)
    lab.server.notify(lab.alice)
    lab.later(200)
    lab.silent("peer-restarted-without-notify")


# -- nsm-state-anomaly ----------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "severity"), [(4, LOW), (5, MEDIUM), (1_700_000_001, INFO), (2001, INFO)])
def test_nsm_state_anomaly__fires_when_it_does_not_fit_the_locks(
    lab: Lab, state: int, severity: Severity
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, state=7)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=state)
    lab.fires("nsm-state-anomaly", client=lab.alice, severity=severity, confidence=DEFINITE)


def test_nsm_state_anomaly__fires_when_the_state_stands_still(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.notify(lab.server, state=7)
    lab.world.wait(1500)
    lab.alice.notify(lab.server, state=7)
    lab.fires("nsm-state-anomaly", client=lab.alice, severity=MEDIUM)


def test_nsm_state_anomaly__silent_about_long_and_short_names_and_the_next_reboots(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, state=7)
    for state in (9, 11, 17):
        lab.alice.boot()
        lab.alice.notify(lab.server, "alice.example.net", state=state)
        lab.alice.notify(lab.server, "alice", state=state)
        lab.world.wait(1500)
    lab.silent("nsm-state-anomaly")


def test_nsm_state_anomaly__silent_about_locks_without_a_state(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, state=0)
    lab.alice.notify(lab.server, state=2001)
    lab.silent("nsm-state-anomaly")


# -- nsm-name-mismatch ----------------------------------------------------------------------------


def announced_as(lab: Lab, name: str) -> File:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    lab.alice.boot()
    lab.alice.notify(lab.server, name)
    lab.world.wait(10)
    return db


def test_nsm_name_mismatch__fires_when_the_locks_stay(lab: Lab) -> None:
    db = announced_as(lab, "node7.example.net")
    denied = lab.bob.lock(db, 2, reply="DENIED")
    lab.fires("nsm-name-mismatch", denied, client=lab.alice, severity=HIGH, confidence=PROBABLE)


def test_nsm_name_mismatch__fires_when_only_the_domain_differs_and_the_locks_stay(lab: Lab) -> None:
    db = announced_as(lab, "alice.example.net")
    denied = lab.bob.lock(db, 2, reply="DENIED")
    mismatch = lab.fires("nsm-name-mismatch", denied, client=lab.alice, severity=HIGH, confidence=PROBABLE)
    assert mismatch.id in lab.fires("lock-survived-client-reboot").caused_by


def test_nsm_name_mismatch__silent_when_the_short_name_was_sent_too(lab: Lab) -> None:
    db = announced_as(lab, "alice.example.net")
    lab.alice.notify(lab.server, "alice")
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent("nsm-name-mismatch")


def test_nsm_name_mismatch__fires_low_when_nothing_came_of_it(lab: Lab) -> None:
    db = announced_as(lab, "localhost")
    lab.bob.lock(db, 2)
    lab.fires("nsm-name-mismatch", client=lab.alice, severity=LOW, confidence=POSSIBLE)


@pytest.mark.parametrize("name", ["alice", "ALICE.example.net", "bob"])
def test_nsm_name_mismatch__silent_about_its_own_names_and_those_of_others(lab: Lab, name: str) -> None:
    announced_as(lab, name)
    lab.silent("nsm-name-mismatch")


# -- grace-longer-than-expected -------------------------------------------------------------------


def grace(lab: Lab, *lengths: int) -> None:
    """As many windows, one behind the other, each begun by a restart."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 1)
    for number, length in enumerate(lengths):
        lab.server.boot()
        lab.server.notify(lab.alice, state=5 + 2 * number)
        for _ in range(length // 5):
            lab.bob.lock(db, 2, reply="GRACE")
            lab.world.wait(5)
    lab.bob.lock(db, 2)


def test_grace_longer_than_expected__fires_after_two_minutes(lab: Lab) -> None:
    grace(lab, 130)
    lab.fires("grace-longer-than-expected", server=lab.server, severity=MEDIUM, confidence=PROBABLE)


def test_grace_longer_than_expected__silent_with_the_defaults(lab: Lab) -> None:
    grace(lab, 90)
    lab.silent("grace-longer-than-expected")


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ({"nlm-grace-period": 140}, False),
        ({"nlm-grace-period": 115, "nfsv4-grace": 0}, True),  # rounded up to 120, and 10 more
        ({"nlm-grace-period": 121, "nfsv4-grace": 0}, False),  # rounded up to 130
        ({"nlm-timeout": 28}, False),  # five times that
        ({"nfsv4-grace": 130}, False),
        ({"grace-margin": 60}, False),
        ({"nfsv4-grace": 0, "nlm-timeout": 3}, True),
    ],
    ids=str,
)
def test_grace_longer_than_expected__by_the_settings_of_the_server(
    lab: Lab, said: dict[str, float], fires: bool
) -> None:
    grace(lab, 140)
    found = lab.world.analyze(settings=settings(said)).findings
    assert ("grace-longer-than-expected" in {finding.code for finding in found}) is fires


def test_grace_longer_than_expected__silent_when_the_server_restarted_again(lab: Lab) -> None:
    grace(lab, 70, 70)
    lab.silent("grace-longer-than-expected")


# -- reclaim-fabricated ---------------------------------------------------------------------------


def test_reclaim_fabricated__fires_when_the_whole_life_was_seen(lab: Lab) -> None:
    db, _ = restarted(lab)
    reclaim = lab.bob.lock(db, 9, 50, 5, reclaim=True)
    lab.fires("reclaim-fabricated", reclaim, client=lab.bob, severity=MEDIUM, confidence=PROBABLE)


def test_reclaim_fabricated__silent_about_locks_older_than_the_capture(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5)
    lab.bob.getattr(db)
    lab.world.wait(1)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.bob.lock(db, 9, 50, 5, reclaim=True)
    lab.silent("reclaim-fabricated")


def test_reclaim_fabricated__silent_when_ranges_were_merged(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, 0, 10)
    lab.alice.lock(db, 5, 10, 10)
    lab.server.boot()
    lab.server.notify(lab.alice)
    lab.alice.lock(db, 5, 0, 20, reclaim=True)
    lab.silent("reclaim-fabricated")
