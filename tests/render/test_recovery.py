"""The recovery report: who was told, who reclaimed, who lost."""

from __future__ import annotations

from analyzer.parameters import SECOND
from analyzer.render.recovery import recovery
from tests.findings.lab import Lab
from tests.render.seen import cells, view
from tests.world import File

RECLAIMS = ("client", "answered", "held", "reclaimed", "refused", "missing", "taken")


def restarted(lab: Lab) -> File:
    """Alice and Bob hold a lock each, Carol none, and the server restarts and tells the first two."""
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1, 0, 10)
    lab.bob.lock(db, 2, 20, 10)
    lab.later(5)
    lab.server.boot()
    lab.server.notify(lab.alice, state=5)
    lab.server.notify(lab.bob, state=5, reply=None)
    return db


def test_one_reclaims_one_does_not_and_one_is_put_off(everywhere: Lab) -> None:
    lab = everywhere
    db = restarted(lab)
    lab.alice.lock(db, 1, 0, 10, reclaim=True)
    lab.carol.lock(db, 3, 50, 10, reply="GRACE")
    lab.world.wait(5)
    lab.carol.lock(db, 3, 50, 10, reply="GRACE")
    lab.world.wait(5)
    lab.carol.lock(db, 3, 50, 10)
    restarts, graces, reboots = recovery(view(lab))
    assert cells(restarts, *RECLAIMS) == [
        (lab.alice.address, True, 1, 1, 0, 0, 0),
        (lab.bob.address, False, 1, 0, 0, 1, 0),
    ]
    assert restarts.rows[1]["missing_locks"] == [2]
    assert cells(graces, "client", "requests", "is_over") == [(lab.carol.address, 2, True)]
    assert round(graces.rows[0]["put_off"] / SECOND) == 10
    assert reboots.rows == []


def test_a_lock_that_another_took(lab: Lab) -> None:
    db = restarted(lab)
    lab.carol.lock(db, 3, 20, 10)
    (_, bob), *_ = [cells(sheet, *RECLAIMS) for sheet in recovery(view(lab))[:1]]
    assert bob == (lab.bob.address, False, 1, 0, 0, 0, 1)


def test_a_reclaim_that_is_refused(lab: Lab) -> None:
    db = restarted(lab)
    lab.alice.lock(db, 1, 0, 10, reclaim=True, reply="DENIED")
    alice = cells(recovery(view(lab))[0], *RECLAIMS)[0]
    assert alice == (lab.alice.address, True, 1, 0, 1, 1, 0)


def test_what_was_given_back_is_not_missing(lab: Lab) -> None:
    db = restarted(lab)
    lab.bob.unlock(db, 2, 20, 10)
    lab.carol.lock(db, 3, 50, 10, reply="GRACE")
    lab.world.wait(5)
    lab.carol.lock(db, 3, 50, 10)
    bob = cells(recovery(view(lab))[0], *RECLAIMS)[1]
    assert bob[5:] == (0, 0)


def test_grace_without_a_notice(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.later(5)
    lab.server.boot()
    lab.bob.lock(db, 2, reply="GRACE")
    lab.later(5)
    restarts, graces, _ = recovery(view(lab))
    assert cells(restarts, "client", "answered", "held", "missing") == [(lab.alice.address, None, 1, 1)]
    assert cells(graces, "client", "is_over") == [(lab.bob.address, False)]


def test_a_client_that_reboots(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.later(1)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=5)
    lab.bob.lock(db, 2)
    restarts, graces, reboots = recovery(view(lab))
    assert not restarts.rows
    assert not graces.rows
    names = ("client", "server", "role", "answered", "freed", "granted", "freed_locks", "granted_locks")
    assert cells(reboots, *names) == [(lab.alice.address, lab.server.address, "client", True, 1, 1, [1], [2])]


def test_nothing_restarts(lab: Lab) -> None:
    lab.mounted(lab.alice)
    restarts, graces, reboots = recovery(view(lab))
    assert [bool(sheet.rows) for sheet in (restarts, graces, reboots)] == [False] * 3
    assert restarts.none
    assert reboots.none
    assert not graces.none


def test_filters_choose(lab: Lab) -> None:
    restarted(lab)
    assert [row["client"] for row in recovery(view(lab, client="bob"))[0].rows] == [lab.bob.address]
