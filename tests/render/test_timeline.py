"""Timelines: every step of a lock and of a mount is told, once, in order."""

from __future__ import annotations

from analyzer.render.timeline import timeline
from analyzer.render.times import parse
from tests.findings.lab import Lab
from tests.render.seen import cells, view


def told(lab: Lab, **filters: object) -> list[str]:
    """The events, with their clients' last address parts."""
    return [event for (event,) in cells(timeline(view(lab, **filters)), "event")]


def test_a_lock_from_request_to_unlock(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 10)
    lab.bob.wait_for(db, 2, 0, 5)
    lab.world.wait(30)
    lab.bob.wait_for(db, 2, 0, 5)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, 0, 5)
    lab.bob.unlock(db, 2)
    events = told(lab, file="db")
    assert events[:4] == [
        "lock 1 granted by reply: exclusive, bytes 0 to 9, svid 1",
        "LOCK bytes 0 to 4, svid 2: BLOCKED, waits behind lock 1",
        "asks again: bytes 0 to 4, svid 2: NLM4_BLOCKED",
        "UNLOCK whole file, svid 1: NLM4_GRANTED",
    ]
    assert set(events[4:6]) == {  # in one frame
        "GRANTED callback, svid 2: NLM4_GRANTED",
        "lock 2 granted by callback: exclusive, bytes 0 to 4, svid 2",
    }
    assert events[6].startswith("wait over after 30.")
    assert events[6].endswith(" s: callback")
    assert events[7:] == ["UNLOCK whole file, svid 2: NLM4_GRANTED"]


def test_an_unlock_without_an_answer(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, reply=None)
    lab.later(5)
    assert told(lab, file="db")[-1] == "UNLOCK whole file, svid 1: no answer"


def test_a_refused_unlock_and_a_denied_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.alice.unlock(db, 1, reply="NOLOCKS")
    assert told(lab, file="db")[1:] == [
        "LOCK whole file, svid 2: NLM4_DENIED, lock 1 is in the way",
        "UNLOCK whole file, svid 1: NLM4_DENIED_NOLOCKS",
    ]


def test_one_unlock_of_many_locks_is_one_event(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 1)
    lab.alice.lock(db, 1, 10, 1)
    lab.alice.unlock(db, 1)
    assert len(told(lab, file="db")) == 3


def test_what_ends_a_lock_without_an_unlock(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(1)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=5)
    lab.later(1)
    events = told(lab, client="alice")
    assert "lock 1 gone on the server: reboot-notice" in events
    assert "notice that alice rebooted, state 5: answered" in events


def test_a_client_is_told_of_with_its_mounts(lab: Lab) -> None:
    lab.mounted(lab.alice, lab.bob)
    lab.alice.umount(lab.export)
    assert told(lab, client="alice") == ["MNT /srv", "first NFS call", "last NFS call, of 2", "UMNT /srv"]
    assert len(told(lab)) == 7


def test_filters_choose(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    other = lab.alice.lookup(lab.export, "other")
    lab.later(10)
    lab.alice.lock(db, 1, 0, 10)
    lab.bob.lock(db, 2, 20, 10)
    lab.alice.lock(other, 1)
    assert len(told(lab, file="other")) == 1
    assert len(told(lab, file="db")) == 2
    assert len(told(lab, file="db", client="bob")) == 1
    assert len(told(lab, since=parse("+9"))) == 3
    assert told(lab, server="192.0.2.77") == []
    assert timeline(view(lab, server="192.0.2.77")).none
