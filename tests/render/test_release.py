"""What pins an export: each kind of pin is told, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import AnalyzerError
from analyzer.render.release import pins
from tests.findings.lab import Lab
from tests.network import BEGIN, SECOND
from tests.render.seen import cells, now, view


def pinned(lab: Lab, export: str = "/srv", seconds: float | None = None, **filters: Any) -> list[Any]:
    """Kind and client of each pin."""
    at = None if seconds is None else BEGIN + round(seconds * SECOND)
    return cells(pins(view(lab, **filters), export, at), "kind", "client")


def test_nothing(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.alice.umount(lab.export)
    assert pinned(lab) == pinned(lab, "/srv/") == []
    assert pins(view(lab), "/srv").none == "nothing pins /srv"


def test_a_mount(everywhere: Lab) -> None:
    everywhere.mounted(everywhere.alice)
    assert pinned(everywhere) == [("mount", everywhere.alice.address)]


def test_a_lock_behind_its_unmount(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.umount(lab.export)
    assert pinned(lab) == [("lock", lab.alice.address)]


def test_an_unlock_that_never_arrived(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, reply=None)
    lab.alice.umount(lab.export)
    lab.later(5)
    assert pinned(lab) == [("lock", lab.alice.address)]


@pytest.mark.parametrize("ends", ["never", "by UNSHARE", "by a reboot"])
def test_a_share_reservation(lab: Lab, ends: str) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.share(db, b"open 1", 2, 1)
    lab.alice.umount(lab.export)
    lab.later(5)
    middle = now(lab)
    if ends == "by UNSHARE":
        lab.alice.share(db, b"open 1", 2, 1, procedure=21)
    elif ends == "by a reboot":
        lab.alice.boot()
        lab.alice.notify(lab.server)
    lab.later(5)
    share = [("share", lab.alice.address)]
    assert pinned(lab) == (share if ends == "never" else [])
    assert pinned(lab, seconds=middle) == share
    assert pinned(lab, seconds=0.2) == [("mount", lab.alice.address)]
    assert pinned(lab, client="bystander") == []


def test_a_wait(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.alice.umount(lab.export)
    lab.bob.umount(lab.export)
    assert pinned(lab) == [("wait", lab.bob.address)]


def test_traffic_after_the_unmount(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.later(5)
    lab.alice.getattr(db)
    assert pinned(lab) == [("mount", lab.alice.address)]
    lab.alice.mount(lab.server, "/srv")
    lab.later(1)
    lab.alice.umount(lab.export)
    assert pinned(lab) == []


def test_an_entry_of_the_servers_list(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.bystander.dump(lab.server, [("alice", "/srv"), ("alice", "/other")])
    assert pinned(lab) == [("list", lab.alice.address)]


def test_another_export_does_not_count(everywhere: Lab) -> None:
    lab = everywhere
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    other = lab.server.export("/other")
    lab.bob.mount(lab.server, "/other")
    lab.bob.lock(lab.bob.lookup(other, "x"), 1)
    assert pinned(lab) == []
    assert pinned(lab, "/other") == [("mount", lab.bob.address), ("lock", lab.bob.address)]


def test_a_lock_on_a_file_nobody_named_may_be_on_it() -> None:
    lab = Lab("opaque")
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.bob.lock(lab.export.file("unseen"), 1)
    assert pinned(lab) == [("lock", lab.bob.address)]


def test_at_a_time(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.later(5)
    middle = now(lab)
    lab.later(5)
    lab.alice.unlock(db, 1)
    lab.alice.umount(lab.export)
    lab.later(5)
    alice = lab.alice.address
    assert pinned(lab, seconds=middle) == [("mount", alice), ("lock", alice)]
    assert pinned(lab) == pinned(lab, seconds=now(lab)) == []
    assert "at 2023-" in pins(view(lab), "/srv", lab.world.clock).none


def test_filters_choose(lab: Lab) -> None:
    lab.mounted(lab.alice, lab.bob)
    assert pinned(lab, client="bob") == [("mount", lab.bob.address)]


def test_an_export_that_is_not_there(lab: Lab) -> None:
    lab.mounted(lab.alice)
    with pytest.raises(AnalyzerError, match=r"no export /nowhere .*\(exports seen: /srv\)"):
        pins(view(lab), "/nowhere")
