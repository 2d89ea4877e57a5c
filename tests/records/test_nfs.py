"""NFSv3 in columns: activity, names where they are news, writes into locked files, verifiers that change."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.records import nfs
from analyzer.records.events import Done, Io, Naming, Renaming, Resent, Stale, Verifier
from tests.findings.lab import Lab
from tests.records.stream import Stream
from tests.world import File


@pytest.fixture(params=["linux", "opaque"])
def lab(request: pytest.FixtureRequest) -> Lab:
    return Lab(request.param)


def names(stream: Stream) -> list[tuple[bytes, bytes, bytes | None]]:
    """(directory, name, handle or None) of each naming."""
    return [
        (stream.handle(n.directory), n.name, stream.handle(n.fh) if n.fh >= 0 else None)
        for n in stream.of(Naming)
    ]


def entry(lab: Lab, name: str) -> dict[str, Any]:
    return {"dir_fh": lab.export.root.handle, "name": name}


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", ["LOOKUP", "CREATE", "MKDIR", "SYMLINK", "MKNOD"])
def test_what_gives_names(lab: Lab, procedure: str) -> None:
    file = lab.export.file("new")
    lab.alice.call(
        lab.server,
        (100003, 3),
        {"LOOKUP": 3, "CREATE": 8, "MKDIR": 9, "SYMLINK": 10, "MKNOD": 11}[procedure],
        entry(lab, "new"),
        port=2049,
        transport="tcp",
        reply={"fh": file.handle},
    )
    stream = Stream(lab)
    assert names(stream) == [(lab.export.root.handle, b"new", file.handle)]
    assert stream.of(Naming)[0].created == (procedure != "LOOKUP")


def test_a_name_is_news_once(lab: Lab) -> None:
    for _ in range(3):
        lab.alice.lookup(lab.export, "db")
        lab.bob.lookup(lab.export, "db")
    assert len(names(Stream(lab))) == 1
    assert len(names(Stream(lab, rows=1))) == 1


def test_a_name_that_leads_elsewhere_is_news(lab: Lab) -> None:
    first, second = lab.export.file("a"), lab.export.file("b")
    for file in (first, second, second, first):
        lab.alice.nfs("LOOKUP", lab.export.root, {"fh": file.handle}, **entry(lab, "x"))
    assert [fh for _, _, fh in names(Stream(lab))] == [first.handle, second.handle, first.handle]


@pytest.mark.parametrize("rows", [1, 1 << 16])
def test_a_failed_lookup_names_nothing(lab: Lab, rows: int) -> None:
    lab.alice.nfs("LOOKUP", lab.export.root, status=2, **entry(lab, "x"))
    lab.alice.nfs("LOOKUP", lab.export.root, None, error=21, **entry(lab, "x"))
    lab.alice.nfs("LOOKUP", lab.export.root, None, **entry(lab, "x"))
    assert names(Stream(lab, rows)) == []


def test_a_listing_names_what_has_a_handle(lab: Lab) -> None:
    files = [lab.export.file(name) for name in ("one", "two")]
    entries = [{"name": file.name, "fh": file.handle} for file in files] + [{"name": "bare"}]
    lab.alice.nfs("READDIRPLUS", lab.export.root, {"entries": entries})
    assert names(Stream(lab)) == [(lab.export.root.handle, file.name.encode(), file.handle) for file in files]


@pytest.mark.parametrize(("procedure", "status", "gone"), [("REMOVE", 0, 1), ("REMOVE", 2, 0)])
def test_removals(lab: Lab, procedure: str, status: int, gone: int) -> None:
    lab.alice.nfs(procedure, lab.export.root, status=status, **entry(lab, "x"))
    assert names(Stream(lab)) == [(lab.export.root.handle, b"x", None)] * gone


def test_a_name_given_again_after_its_removal_is_news(lab: Lab) -> None:
    lab.alice.lookup(lab.export, "db")
    lab.alice.nfs("REMOVE", lab.export.root, **entry(lab, "db"))
    lab.world.wait(1)
    lab.alice.lookup(lab.export, "db")
    assert [fh is None for _, _, fh in names(Stream(lab, rows=1))] == [False, True, False]


def test_a_rename(lab: Lab) -> None:
    root = lab.export.root.handle
    moved: dict[str, Any] = {"from_dir_fh": root, "from_name": "a", "to_dir_fh": root, "to_name": "b"}
    lab.alice.nfs("RENAME", lab.export.root, **moved)
    stream = Stream(lab)
    (event,) = stream.of(Renaming)
    assert (event.name, event.to_name) == (b"a", b"b")
    assert stream.handle(event.directory) == stream.handle(event.to_directory) == root
    assert stream.address(event.client) == lab.alice.address


def test_a_hard_link_is_a_further_name(lab: Lab) -> None:
    db = lab.export.file("db")
    lab.alice.nfs("LINK", db, link_dir_fh=lab.export.root.handle, link_name="copy")
    assert names(Stream(lab)) == [(lab.export.root.handle, b"copy", db.handle)]


def test_attributes_describe_handles(lab: Lab) -> None:
    one, two = lab.export.file("one"), lab.export.file("two")
    lab.alice.lookup(lab.export, "one")
    lab.alice.getattr(two)
    handles = Stream(lab).engine.sessions.handles
    fsids = {handles.table.data[row]: handles.fsid_of(row) for row in range(handles.table.count)}
    assert (fsids[one.handle], fsids[two.handle]) == (1, 1)
    assert fsids[lab.export.root.handle] is None


# -- activity -------------------------------------------------------------------------------------


def test_activity_is_one_row_per_call(lab: Lab) -> None:
    db = lab.export.file("db")
    calls = [lab.alice.getattr(db), lab.bob.write(db), lab.alice.getattr(db, error=21)]
    lab.alice.ping(lab.server, (100003, 3), 2049, transport="tcp")
    stream = Stream(lab)
    rows = stream.activity
    assert [row[0] for row in rows] == [call.frame for call in calls]
    assert [stream.address(row[2]) for row in rows] == [call.source.address for call in calls]
    assert {stream.address(row[3]) for row in rows} == {lab.server.address}
    assert {stream.handle(row[5]) for row in rows} == {db.handle}
    assert [row[6] for row in rows] == [1, 7, 1]


def test_an_absurd_handle_is_no_handle(lab: Lab) -> None:
    lab.alice.call(lab.server, (100003, 3), 1, {}, port=2049, transport="tcp", body=b"\0\0\1\0" + bytes(256))
    assert [row[5] for row in Stream(lab).activity] == [-1]


# -- writes into locked files ---------------------------------------------------------------------


def written(lab: Lab, rows: int = 1 << 16) -> list[tuple[str, int, int, list[int]]]:
    """The writes told, with the statuses of their answers."""
    stream = Stream(lab, rows)
    done = stream.of(Done)
    return [
        (io.kind, io.offset, io.count, [answer.status for answer in done if answer.serial == io.serial])
        for io in stream.of(Io)
    ]


@pytest.mark.parametrize("rows", [1, 1 << 16])
def test_writes_into_files_that_others_lock_are_told(lab: Lab, rows: int) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 1)
    lab.alice.write(db, 2**40, 700)
    lab.alice.nfs("SETATTR", db, set_size=5)
    lab.alice.nfs("SETATTR", db, set_mode=0o600)
    lab.alice.nfs("WRITE", db, status=28, offset=9, count=1, data=b"x")
    lab.alice.nfs("WRITE", db, None, offset=8, count=1, data=b"x")
    lab.alice.getattr(db)
    assert written(lab, rows) == [
        ("WRITE", 2**40, 700, [0]),
        ("SETATTR", 5, 0, [0]),
        ("WRITE", 9, 1, [28]),
        ("WRITE", 8, 1, []),
    ]


def test_writes_into_ones_own_are_not(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.write(db)
    assert written(lab) == []
    lab.bob.test(db, 1)
    lab.alice.write(db)
    assert written(lab, rows=1) == [("WRITE", 0, 10, [0])]


@pytest.mark.parametrize("rows", [1, 1 << 16])
def test_stale_answers_about_locked_files_are_told(lab: Lab, rows: int) -> None:
    db, other = lab.mounted(lab.alice), lab.export.file("other")
    lab.alice.lock(db, 1)
    lab.alice.getattr(other, status=70)
    stale = lab.alice.getattr(db, status=70)
    lab.alice.getattr(db, status=13)
    stream = Stream(lab, rows)
    (event,) = stream.of(Stale)
    assert (event.frame, stream.handle(event.fh)) == (stale.reply_frame, db.handle)
    assert stream.address(event.client) == lab.alice.address


def test_writes_into_other_files_are_not(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    other: File = lab.export.file("other")
    lab.alice.lock(db, 1)
    lab.alice.write(other)
    assert written(lab) == []


def test_writes_before_the_first_lock_call_are_not(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.write(db)
    lab.bob.lock(db, 1)
    lab.alice.write(db)
    assert len(written(lab, rows=1)) == 1


# -- verifiers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 1 << 16])
def test_a_verifier_that_changes_is_told_once(lab: Lab, rows: int) -> None:
    db = lab.export.file("db")
    for verf in (b"first", b"first", b"second", b"second"):
        write = lab.alice.write(db, verf=verf)
        if verf == b"first":
            last = write
    lab.alice.nfs("COMMIT", db, {"verf": b"second"})
    (event,) = Stream(lab, rows).of(Verifier)
    assert (event.before, event.after) == (b"first\0\0\0", b"second\0\0")
    assert event.frame > last.frame


def test_every_server_has_its_own_verifier(lab: Lab) -> None:
    other = lab.world.host("other", lab.mallory.address)
    for export, verf in ((lab.export, b"a"), (other.export("/x"), b"b")) * 2:
        lab.alice.write(export.file("db"), verf=verf)
    assert Stream(lab).of(Verifier) == []


# -- both modes, all blocks -----------------------------------------------------------------------


def test_every_mode_and_block_size_says_the_same(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.alice.write(db)
    lab.alice.nfs("READDIRPLUS", lab.export.root, {"entries": [{"name": "z", "fh": b"zzzz"}]})
    lab.alice.nfs("REMOVE", lab.export.root, **entry(lab, "db"))
    lab.alice.umount(lab.export)
    plain = Stream(lab).plain()
    assert Stream(lab, compiled=True).plain() == plain
    assert sorted(map(repr, Stream(lab, rows=2).plain())) == sorted(map(repr, plain))


@pytest.mark.parametrize("rows", [1, 7, 1 << 16])
def test_a_copy_knows_how_long_it_was_waited_for(lab: Lab, rows: int) -> None:
    """However a capture is cut into blocks."""
    db = lab.mounted(lab.alice)
    asked = lab.alice.nfs("GETATTR", db, None)
    for _ in range(30):
        lab.world.wait(0.1)
        lab.alice.getattr(db)
    asked.again()
    waited = [ns for event in Stream(lab, rows).of(Resent) for ns in event.waited]
    assert waited == [asked.calls[1].time - asked.calls[0].time]


@pytest.mark.parametrize("rows", [1, 1 << 16])
def test_a_copy_of_a_call_long_ago_was_waited_for_as_long_as_is_known(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfs, "SENT_REMEMBERED", 4)
    lab = Lab()
    db = lab.mounted(lab.alice)
    asked = lab.alice.nfs("GETATTR", db, None)
    for _ in range(9):
        lab.world.wait(0.1)
        lab.alice.getattr(db)
    asked.again()
    (waited,) = (ns for event in Stream(lab, rows).of(Resent) for ns in event.waited)
    assert 300_000_000 <= waited <= asked.calls[1].time - asked.calls[0].time
