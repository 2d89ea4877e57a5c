"""The two questions this project began with, played out and answered.

One is from 2012: a client unmounts, and the disk of the server stays busy. The other is the Linux lock
daemon: whatever it does on the wire when all is well must pass in silence. (The arithmetic of its grace
period is in `tests/findings/test_recovery_peers.py`.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.cli import main
from analyzer.findings.rule import HIGH
from tests.findings.lab import Lab

SECONDS = 60  # more than any window of the rules


@pytest.fixture
def lab() -> Lab:
    return Lab("linux")


def release_check(lab: Lab, folder: Path) -> int:
    path = folder / "capture.pcap"
    lab.world.write(path)
    return main(["mounts", "--release-check", "/srv", str(path)])


def test_the_client_unmounted_and_the_disk_stays_busy(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 7)
    umnt = lab.alice.umount(lab.export)
    lab.later(SECONDS)
    found = lab.fires("lock-held-after-umnt", lock, umnt, client=lab.alice, server=lab.server, path="/srv/db")
    assert found.severity >= HIGH
    assert found.remedy
    assert release_check(lab, tmp_path) == 1
    said = capsys.readouterr().out
    assert lab.alice.address in said
    assert "/srv/db" in said


def test_the_client_unlocked_and_unmounted_and_the_disk_is_free(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 7)
    lab.alice.unlock(db, 7)
    lab.alice.umount(lab.export)
    lab.later(SECONDS)
    lab.clean()
    assert release_check(lab, tmp_path) == 0
    assert lab.alice.address not in capsys.readouterr().out


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("version", [1, 3, 4])
@pytest.mark.parametrize("msg", [False, True], ids=["procedures", "messages"])
def test_lockd_locks_waits_calls_back_and_unlocks(version: int, transport: str, msg: bool) -> None:
    """In every version, over both transports, with answers as replies or as messages of their own."""
    lab = Lab("linux")
    for host in (lab.alice, lab.bob, lab.server):
        host.version, host.transport = version, transport
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 100, msg=msg)
    lab.bob.wait_for(db, 2, 0, 100, msg=msg)
    lab.world.wait(3)
    lab.alice.unlock(db, 1, 0, 100, msg=msg)
    lab.server.granted(lab.bob, db, 2, 0, 100)
    lab.world.wait(2)
    lab.bob.unlock(db, 2, 0, 100, msg=msg)
    lab.later(SECONDS)
    lab.silent(
        *("lock-open-at-capture-end", "grant-callback-missing", "grant-unsolicited", "grant-mismatch"),
        *("async-result-missing", "unlock-unanswered", "blocked-too-long", "lock-leaked-by-cancel-race"),
    )
    assert [lock.server_end is not None for lock in lab.world.analyze().sessions.ledger.locks] == [True, True]


def test_a_waiter_that_is_killed_cancels_and_unlocks(lab: Lab) -> None:
    """SIGKILL: Linux sends CANCEL for what waits, and UNLOCK for what the process may hold."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.world.wait(3)
    lab.bob.cancel(db, 2)
    lab.bob.unlock(db, 2)
    lab.world.wait(3)
    lab.alice.unlock(db, 1)
    lab.later(SECONDS)
    lab.clean("lock-leaked-by-cancel-race", "cancel-ignored", "grant-callback-missing")


def test_a_holder_that_is_killed_unlocks_all_it_has(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 10)
    lab.alice.lock(db, 1, 100, 10)
    lab.alice.unlock(db, 1, 0, 0)
    lab.later(SECONDS)
    lab.clean("lock-open-at-capture-end", "residual-range-after-unlock")


def test_credentials_that_lockd_refuses(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    refused = lab.alice.lock(db, 1, flavor=0, error=25)  # 20 + AUTH_TOOWEAK
    lab.later(1)
    lab.fires("nlm-auth-anomaly", refused, client=lab.alice, server=lab.server)
