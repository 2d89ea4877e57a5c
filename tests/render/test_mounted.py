"""Mounts at a time, and the server's list beside them. (`test_moment` compares times with cut captures.)"""

from __future__ import annotations

from typing import Any

from analyzer.render.moment import Moment
from analyzer.render.mounted import listed, mount_sessions
from tests.findings.lab import Lab
from tests.network import BEGIN, SECOND
from tests.render.seen import cells, now, view
from tests.world import MOUNTD


def states(lab: Lab, seconds: float | None = None) -> list[tuple[Any, ...]]:
    """Who had what mounted how often, then."""
    seen = view(lab)
    moment = Moment(seen, None if seconds is None else BEGIN + round(seconds * SECOND))
    return cells(mount_sessions(seen, moment), "client", "state", "open")


def test_a_mount_through_its_life(everywhere: Lab) -> None:
    lab = everywhere
    alice = lab.alice.address
    lab.bystander.ping(lab.server, (100000, 2), 111)
    lab.later(2)
    times = [now(lab)]

    def quiet() -> None:
        lab.later(5)
        times.append(now(lab))
        lab.later(5)

    db = lab.mounted(lab.alice)
    quiet()
    lab.alice.umount(lab.export)
    quiet()
    lab.alice.getattr(db)
    quiet()
    lab.alice.mount(lab.server, "/srv")
    quiet()
    assert [states(lab, time) for time in times] == [
        [],
        [(alice, "mounted", 1)],
        [(alice, "unmounted", 0)],
        [(alice, "used after unmount", 0)],
        [(alice, "mounted", 1)],
    ]
    assert states(lab) == [(alice, "mounted", 1)]


def test_a_umnt_tells_of_a_mount_older_than_the_capture(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    lab.alice.getattr(db)
    lab.later(5)
    before = now(lab)
    lab.later(5)
    lab.alice.umount(lab.export)
    lab.later(5)
    assert (lab.alice.address, "mounted", 1) in states(lab, before)
    assert (lab.alice.address, "unmounted", 0) in states(lab)


def test_use_without_mnt_or_umnt(lab: Lab) -> None:
    db = lab.mounted(lab.bob)
    lab.alice.getattr(db)
    assert (lab.alice.address, "in use", 0) in states(lab)


def test_calls_are_not_counted_up_to_a_time_in_the_middle(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.later(5)
    middle = now(lab)
    lab.later(5)
    lab.alice.getattr(db)
    seen = view(lab)
    at = Moment(seen, BEGIN + round(middle * SECOND))
    assert cells(mount_sessions(seen, at), "nfs_calls", "last_nfs_time") == [(None, None)]
    ((calls, last),) = cells(mount_sessions(seen, Moment(seen, None)), "nfs_calls", "last_nfs_time")
    assert calls > 0
    assert last > at.time


def test_the_servers_list(everywhere: Lab) -> None:
    lab = everywhere
    lab.mounted(lab.alice, lab.bob)
    lab.later(2)
    before = now(lab)
    lab.later(2)
    lab.alice.umount(lab.export)
    lab.later(2)
    lab.bystander.dump(lab.server, [("alice", "/srv"), ("bob", "/srv"), ("gone.example", "/srv")])
    seen = view(lab)
    assert cells(listed(seen, Moment(seen, None)), "hostname", "client", "state") == [
        (b"alice", lab.alice.address, "unmounted"),
        (b"bob", lab.bob.address, "mounted"),
        (b"gone.example", None, "not seen in this capture"),
    ]
    assert listed(seen, Moment(seen, BEGIN + round(before * SECOND))).rows == []


def test_a_umnt_whose_path_is_not_there_after_a_umntall(lab: Lab) -> None:
    """A frame cut off before the path: nothing to count, and nothing to fall over."""
    db = lab.mounted(lab.bob)
    lab.alice.getattr(db)
    lab.alice.umntall(lab.server)
    lab.alice.call(lab.server, (100005, 3), 3, {"dirpath": b""}, port=MOUNTD, reply={})
    assert (lab.alice.address, "unmounted", 0) in states(lab)
