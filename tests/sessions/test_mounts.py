"""Mount sessions: what counts as a mount, what as a goodbye, and for whom."""

from typing import Any

import pytest

from analyzer.sessions.mounts import Goodbye, Mount, Mounts
from tests.findings.lab import Lab


def mounts(lab: Lab) -> list[Mount]:
    lab.findings()
    assert lab.analysis is not None
    return list(lab.analysis.sessions.mounts.sessions.values())


def counts(lab: Lab) -> list[tuple[str | None, int, int, int]]:
    """Path, open mounts, MNTs and UMNTs of each session that a MNT or UMNT speaks of."""
    return [(m.path, m.count, len(m.mnts), len(m.umnts)) for m in mounts(lab) if m.mnts or m.umnts]


def test_every_mnt_counts_and_every_umnt_takes_one_back(lab: Lab) -> None:
    lab.mounted(lab.alice, lab.alice)
    lab.alice.umount(lab.export)
    assert counts(lab) == [("/srv", 1, 2, 1)]


def test_a_retransmitted_mnt_counts_once(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", use=False)
    result = {"status": 0, "fh": lab.export.root.handle}
    lab.alice.mnt.again().answer(result)
    assert counts(lab) == [("/srv", 1, 1, 0)]


def test_a_mnt_answered_at_its_second_copy_only_counts(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", use=False, reply=None)
    lab.world.wait(2)
    lab.alice.mnt.again().answer({"status": 0, "fh": lab.export.root.handle})
    assert counts(lab) == [("/srv", 1, 1, 0)]


def test_a_umnt_answered_at_its_second_copy_only_counts(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export, reply=None)
    lab.world.wait(2)
    umnt.again().answer({})
    umnt.answer({}, copy=0)
    assert counts(lab) == [("/srv", 0, 1, 1)]


def test_umntall_closes_every_mount_of_the_client_at_that_server(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv")
    lab.alice.mount(lab.server, "/mail")
    lab.bob.mount(lab.server, "/srv")
    lab.alice.umntall(lab.server)
    assert sorted(counts(lab), key=str) == [("/mail", 0, 1, 1), ("/srv", 0, 1, 1), ("/srv", 1, 1, 0)]


def test_a_umnt_of_an_unknown_path_touches_nothing(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export, path="/elsewhere")
    assert counts(lab) == [("/srv", 1, 1, 0)]
    assert lab.analysis is not None
    assert len(lab.analysis.sessions.mounts.strangers) == 1


def test_a_umnt_of_a_mount_older_than_the_capture_is_a_goodbye(lab: Lab) -> None:
    lab.alice.getattr(lab.export.file("db"))
    lab.alice.umount(lab.export)
    ((path, count, mnts, umnts),) = counts(lab)
    assert (path, count, mnts, umnts) == ("/srv", 0, 0, 1)
    (mount,) = mounts(lab)
    assert mount.early
    assert len(mount.goodbyes) == 1


def test_more_umnts_than_mnts_do_not_make_the_next_mnt_vanish(lab: Lab) -> None:
    lab.mounted(lab.alice)
    for _ in range(3):
        lab.alice.umount(lab.export)
    lab.alice.mount(lab.server, "/srv")
    assert counts(lab) == [("/srv", 1, 2, 3)]


def test_traffic_between_goodbye_and_the_next_mount_is_counted(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(5)
    lab.alice.getattr(db)
    lab.alice.getattr(db)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.getattr(db)
    (mount,) = mounts(lab)
    (goodbye,) = mount.goodbyes
    assert goodbye.calls_after == 2
    assert goodbye.ended_by_mount


def test_a_refused_umnt_is_no_goodbye(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export, reply=None, error=20)
    assert counts(lab) == [("/srv", 1, 1, 0)]


def test_two_paths_of_one_file_system_are_two_mounts(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv")
    sub = lab.server.export("/srv/sub")
    sub.root.handle = lab.export.root.handle[:20] + b"\x09\0\0\0\7\0\0\0"
    lab.alice.mount(lab.server, "/srv/sub")
    lab.alice.umount(sub)
    (mount,) = mounts(lab)
    assert mount.count == 1
    assert mount.paths == {"/srv": 1, "/srv/sub": 0}
    assert not mount.goodbyes


def test_goodbyes_that_are_over_are_not_asked_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Goodbye] = []
    after = Mounts._after

    def counted(self: Mounts, goodbye: Goodbye, *rows: Any) -> None:
        asked.append(goodbye)
        after(self, goodbye, *rows)

    monkeypatch.setattr(Mounts, "_after", counted)
    for _ in range(6):
        db = lab.mounted(lab.alice)
        lab.alice.umount(lab.export)
        lab.world.wait(5)
        lab.alice.getattr(db)
    (mount,) = mounts(lab)
    assert [goodbye.calls_after for goodbye in mount.goodbyes] == [1] * 6
    assert len(asked) <= 2 * len(mount.goodbyes)


def test_a_umnt_is_not_compared_with_what_else_is_mounted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/srv", "/srv2"):
        lab.alice.mount(lab.server, path)
    lab.alice.umount(lab.export)
    lab.mounted(lab.alice)
    first, second = mounts(lab)
    assert lab.analysis is not None
    known = lab.analysis.sessions.mounts
    known._answered.clear()
    monkeypatch.setattr(known, "_of_client", None)
    known.reply(first.umnts[0])
    assert (first.count, second.count) == (0, 1)


def test_a_path_that_was_forgotten_is_a_strangers(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    (mount,) = mounts(lab)
    assert lab.analysis is not None
    known = lab.analysis.sessions.mounts
    known.forget_closed(mount)
    assert mount.paths == {}
    known._umnt(mount.umnts[0])
    assert len(known.strangers) == 1
