"""File handles to paths and exports, and what a hostile capture may make of names."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from analyzer.faults import new_faults
from analyzer.records.handles import HandleTable
from analyzer.sessions.handles import LONGEST_PATH, MAX_DEPTH, Handles, is_knfsd, printable
from tests.findings.lab import Lab
from tests.sessions.view import View

SERVER = 4
FSID = bytes(range(16))
KNFSD_ROOT = bytes((1, 0, 6, 0)) + FSID


def knfsd(number: int) -> bytes:
    return bytes((1, 0, 6, 1)) + FSID + number.to_bytes(8, "little")


@pytest.fixture
def handles() -> Handles:
    return Handles(HandleTable(False, new_faults()))


def fh(handles: Handles, data: bytes, server: int = SERVER) -> int:
    row = handles.table.intern_one(server, data)
    handles.tell(handles.table.count, ())
    return row


# -- paths ----------------------------------------------------------------------------------------


def test_a_path_is_absolute_where_the_chain_reaches_a_mount(handles: Handles) -> None:
    root, home, file = (fh(handles, data) for data in (b"root", b"home", b"file"))
    handles.named(root, b"home", home)
    handles.named(home, b"db", file)
    assert handles.path(file) == ".../home/db"
    handles.mounted(root, b"/srv/")
    assert handles.path(file) == "/srv/home/db"
    assert handles.path(root) == "/srv"


def test_the_root_directory_itself(handles: Handles) -> None:
    root, file = fh(handles, b"root"), fh(handles, b"file")
    handles.mounted(root, b"/")
    handles.named(root, b"db", file)
    assert handles.path(root) == "/"
    assert handles.path(file) == "/db"


def test_no_name_no_path(handles: Handles) -> None:
    assert handles.path(fh(handles, b"file")) is None


def test_a_removed_name_is_kept_for_display_until_it_is_given_again(handles: Handles) -> None:
    root, old, new = (fh(handles, data) for data in (b"root", b"old", b"new"))
    handles.mounted(root, b"/srv")
    handles.named(root, b"db", old)
    assert handles.unnamed(root, b"db") == old
    assert handles.unnamed(root, b"db") == -1
    assert handles.path(old) == "/srv/db"
    handles.named(root, b"db", new)
    assert handles.path(new) == "/srv/db"


def test_a_name_that_leads_elsewhere_now_names_the_old_file_no_more(handles: Handles) -> None:
    root, old, new = (fh(handles, data) for data in (b"root", b"old", b"new"))
    handles.named(root, b"db", old)
    handles.named(root, b"db", new)
    assert handles.path(old) is None
    assert handles.path(new) == ".../db"


@pytest.mark.parametrize("name", [b".", b".."])
def test_dots_are_no_names(handles: Handles, name: bytes) -> None:
    root, file = fh(handles, b"root"), fh(handles, b"file")
    handles.named(root, name, file)
    assert handles.path(file) is None


def test_a_directory_that_is_its_own_child(handles: Handles) -> None:
    root = fh(handles, b"root")
    handles.named(root, b"loop", root)
    assert handles.path(root) is None


def test_names_that_go_in_a_circle_give_the_last_one_only(handles: Handles) -> None:
    one, two, leaf = (fh(handles, data) for data in (b"one", b"two", b"leaf"))
    handles.named(one, b"a", two)
    handles.named(two, b"b", one)
    handles.named(two, b"c", leaf)
    assert handles.path(one) == ".../b"
    assert handles.path(leaf) == ".../c"
    assert handles.export_index(one) == -1


def test_a_path_longer_than_any_system_takes_is_cut(handles: Handles) -> None:
    chain = [fh(handles, b"dir%d" % depth) for depth in range(LONGEST_PATH)]
    for above, below in pairwise(chain):
        handles.named(above, b"d", below)
    handles.mounted(chain[0], b"/srv")
    assert handles.path(chain[MAX_DEPTH]) == "/srv" + "/d" * MAX_DEPTH
    deep = handles.path(chain[-1])
    assert deep is not None
    assert deep.startswith(".../d")
    assert len(deep) <= LONGEST_PATH + 2


def test_paths_of_many_are_the_path_of_each(handles: Handles) -> None:
    chain = [fh(handles, b"dir%d" % depth) for depth in range(30)]
    for number, below in enumerate(chain[1:]):
        handles.named(chain[number // 3], b"n%d" % number, below)
    handles.mounted(chain[5], b"/srv")
    together = handles.paths(chain[::-1])
    assert {handle: together[handle] for handle in chain} == {h: handles.path(h) for h in chain}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("gr\u00fcn".encode(), "gr\u00fcn"),
        (b"bad\xff", "bad\\xff"),
        (b"esc\x1b[2J", "esc\\x1b[2J"),
        (b"new\nline\0", "new\\x0aline\\x00"),
        ("\u202eabc".encode(), "\\xe2\\x80\\xaeabc"),
    ],
)
def test_names_from_the_wire_are_made_printable(raw: bytes, text: str) -> None:
    """Trap 31."""
    assert printable(raw) == text


# -- exports --------------------------------------------------------------------------------------


def test_knfsd_handles_name_their_export(handles: Handles) -> None:
    root, file, other = fh(handles, KNFSD_ROOT), fh(handles, knfsd(7)), fh(handles, KNFSD_ROOT, SERVER + 1)
    export = handles.mounted(root, b"/srv")
    assert handles.export(file) is export
    assert handles.export(other) is not export
    assert export.path == "/srv"


def test_handles_nobody_knows_find_their_export_by_name(handles: Handles) -> None:
    root, home, file = (fh(handles, data) for data in (b"\xeeroot", b"\xeehome", b"\xeefile"))
    handles.named(root, b"home", home)
    handles.named(home, b"db", file)
    assert handles.export(file) is None
    export = handles.mounted(root, b"/srv")
    assert handles.export(file) is export


def test_handles_nobody_knows_find_their_export_by_fsid(handles: Handles) -> None:
    root, file, far = (fh(handles, data) for data in (b"\xeeroot", b"\xeefile", b"\xeefar"))
    handles.tell(handles.table.count, [(root, 77, 2, 1, 0), (file, 77, 30, 1, 0), (far, 78, 30, 1, 0)])
    export = handles.mounted(root, b"/srv")
    assert handles.export(file) is export
    assert handles.export(far) is None


def test_an_export_mounted_by_two_paths_keeps_both(handles: Handles) -> None:
    root, sub = fh(handles, KNFSD_ROOT), fh(handles, knfsd(9))
    export = handles.mounted(root, b"/srv")
    assert handles.mounted(sub, b"/srv/sub") is export
    assert export.paths == ["/srv", "/srv/sub"]
    assert handles.path(sub) == "/srv/sub"


def test_many_handles_at_once(handles: Handles) -> None:
    known = [fh(handles, knfsd(number)) for number in range(3000)]
    stranger = fh(handles, b"\xeefile")
    export = handles.mounted(fh(handles, KNFSD_ROOT), b"/srv")
    rows = np.array([*known, -1, stranger], np.int32)
    handles.absorb()
    assert handles.export_indices(rows).tolist() == [export.index] * 3000 + [-1, -1]


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (KNFSD_ROOT, True),
        (knfsd(1), True),
        (bytes((1, 0, 6, 0)) + FSID[:15], False),
        (bytes((1, 1, 6, 0)) + FSID, False),
        (bytes((1, 0, 8, 0)) + FSID, False),
        (bytes((2, 0, 6, 0)) + FSID, False),
        (bytes((1, 0, 1, 0)) + FSID[:4], True),
        (b"\x43\0\0\1\x14" + bytes(20), False),
        (b"", False),
    ],
)
def test_what_is_a_knfsd_handle(data: bytes, known: bool) -> None:
    assert is_knfsd(data) is known


# -- from the wire --------------------------------------------------------------------------------


def paths(lab: Lab) -> set[str | None]:
    """The paths of all locked files."""
    s = View(lab).s
    return {s.handles.path(file.fh) for file in s.ledger.files.values()}


def test_rename_moves_a_file(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    root = lab.export.root.handle
    lab.alice.nfs("RENAME", lab.export.root, from_dir_fh=root, from_name="db", to_dir_fh=root, to_name="old")
    assert paths(lab) == {"/srv/old"}


def test_a_refused_rename_moves_nothing(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    root = lab.export.root.handle
    names: dict[str, Any] = {"from_dir_fh": root, "from_name": "db", "to_dir_fh": root, "to_name": "old"}
    lab.alice.nfs("RENAME", lab.export.root, status=13, **names)
    assert paths(lab) == {"/srv/db"}


def test_a_name_given_again_after_remove_names_the_new_file(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.nfs("REMOVE", lab.export.root, dir_fh=lab.export.root.handle, name="db")
    fresh = lab.export.file("db2")
    lab.alice.nfs("CREATE", lab.export.root, {"fh": fresh.handle}, dir_fh=lab.export.root.handle, name="db")
    lab.alice.lock(fresh, 1)
    s = View(lab).s
    by_handle = {s.handles.table.data[file.fh]: s.handles.path(file.fh) for file in s.ledger.files.values()}
    assert by_handle[fresh.handle] == "/srv/db"


def test_handles_of_one_file_in_two_exports_are_one(handles: Handles) -> None:
    one, two = bytes((1, 0, 1, 0)) + b"fsA1file", bytes((1, 0, 1, 0)) + b"fsB2file"
    a, b = fh(handles, one), fh(handles, two)
    handles.tell(handles.table.count, [(a, 5, 50, 1, 0), (b, 5, 50, 1, 0), (a, 6, 60, 1, 0)])
    assert handles.fsid_of(a) == 5, "what was said first counts"
    assert handles.canonical(a) == a
    assert handles.canonical(b) == a


@pytest.mark.parametrize(
    ("server", "fsid", "fileid", "data"),
    [
        pytest.param(2, 5, 50, b"\1\0\1\0fsB2file", id="another server"),
        pytest.param(1, 6, 50, b"\1\0\1\0fsB2file", id="another file system"),
        pytest.param(1, 5, 51, b"\1\0\1\0fsB2file", id="another file"),
        pytest.param(1, 5, 50, b"\1\0\1\0fsA1next", id="another generation"),
    ],
)
def test_other_files_are_not_joined(
    handles: Handles, server: int, fsid: int, fileid: int, data: bytes
) -> None:
    a, b = fh(handles, b"\1\0\1\0fsA1file", 1), fh(handles, data, server)
    handles.tell(handles.table.count, [(a, 5, 50, 1, 0), (b, fsid, fileid, 1, 0)])
    assert (handles.canonical(a), handles.canonical(b)) == (a, b)
