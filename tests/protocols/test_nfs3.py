from __future__ import annotations

import pytest

from analyzer.protocols.nfs3 import FILE_TYPE, NFS, NFS3, STATUS
from analyzer.schema.scalar import decode_one
from tests.protocols.checks import CALL, REPLY, assert_says, body, names, sizes

# Sizes on the wire (RFC 1813 2.6); a counted opaque of 5 bytes takes 12.
OPAQUE = 12
FATTR = 84
ATTR = 4 + FATTR
WCC = 4 + 24 + ATTR
SATTR = 3 * 8 + 12 + 2 * 12

TIMES = " ".join(f"{which}_{part}" for which in ("atime", "mtime", "ctime") for part in ("sec", "nsec"))
ATTRIBUTES = f"type mode nlink uid gid size used rdev_major rdev_minor fsid fileid {TIMES}".split()
BEFORE = ["size", "mtime_sec", "mtime_nsec", "ctime_sec", "ctime_nsec"]
SET = "set_mode set_uid set_gid set_size set_atime_how set_atime_sec set_atime_nsec set_mtime_how "
SET += "set_mtime_sec set_mtime_nsec"


def attr(prefix: str) -> str:
    return " ".join(f"{prefix}_{name}" for name in ATTRIBUTES)


def wcc(prefix: str) -> str:
    return " ".join([*(f"{prefix}before_{name}" for name in BEFORE), attr(f"{prefix}attr")])


LISTING = "entries.fileid entries.name entries.cookie"
FSINFO = (
    "rtmax rtpref rtmult wtmax wtpref wtmult dtpref maxfilesize time_delta_sec time_delta_nsec properties"
)
CREATED = f"status fh {attr('obj_attr')} {wcc('dir_')}"

COLUMNS = [
    (0, "NULL", "", ""),
    (1, "GETATTR", "fh", f"status {attr('attr')}"),
    (2, "SETATTR", f"fh {SET} guard_ctime_sec guard_ctime_nsec", f"status {wcc('')}"),
    (3, "LOOKUP", "dir_fh name", f"status fh {attr('obj_attr')} {attr('dir_attr')}"),
    (4, "ACCESS", "fh access", f"status {attr('attr')} access"),
    (5, "READLINK", "fh", f"status {attr('attr')} target"),
    (6, "READ", "fh offset count", f"status {attr('attr')} count eof data_length"),
    (7, "WRITE", "fh offset count stable data_length", f"status {wcc('')} count committed verf"),
    (8, "CREATE", f"dir_fh name mode {SET} verf", CREATED),
    (9, "MKDIR", f"dir_fh name {SET}", CREATED),
    (10, "SYMLINK", f"dir_fh name {SET} target", CREATED),
    (11, "MKNOD", f"dir_fh name type {SET} rdev_major rdev_minor", CREATED),
    (12, "REMOVE", "dir_fh name", f"status {wcc('dir_')}"),
    (13, "RMDIR", "dir_fh name", f"status {wcc('dir_')}"),
    (14, "RENAME", "from_dir_fh from_name to_dir_fh to_name", f"status {wcc('from_dir_')} {wcc('to_dir_')}"),
    (15, "LINK", "fh link_dir_fh link_name", f"status {attr('attr')} {wcc('link_dir_')}"),
    (
        16,
        "READDIR",
        "fh cookie cookieverf count",
        f"status {attr('dir_attr')} cookieverf {LISTING} eof",
    ),
    (
        17,
        "READDIRPLUS",
        "fh cookie cookieverf dircount maxcount",
        f"status {attr('dir_attr')} cookieverf {LISTING} {attr('entries.attr')} entries.fh eof",
    ),
    (18, "FSSTAT", "fh", f"status {attr('attr')} tbytes fbytes abytes tfiles ffiles afiles invarsec"),
    (
        19,
        "FSINFO",
        "fh",
        f"status {attr('attr')} {FSINFO}",
    ),
    (
        20,
        "PATHCONF",
        "fh",
        f"status {attr('attr')} linkmax name_max no_trunc chown_restricted case_insensitive case_preserving",
    ),
    (21, "COMMIT", "fh offset count", f"status {wcc('')} verf"),
    (22, "UMOUNT", "dummy", "status result"),
]


@pytest.mark.parametrize(("number", "name", "call", "reply"), COLUMNS)
def test_columns(number: int, name: str, call: str, reply: str) -> None:
    assert NFS3.procedures[number].name == name
    assert names((NFS, 3, number), CALL) == call
    assert names((NFS, 3, number), REPLY) == reply


@pytest.mark.parametrize(
    ("number", "call", "reply"),
    [
        (1, OPAQUE, 4 + FATTR),
        (2, OPAQUE + SATTR + 12, 4 + WCC),
        (3, 2 * OPAQUE, 4 + OPAQUE + 2 * ATTR),
        (4, OPAQUE + 4, 4 + ATTR + 4),
        (5, OPAQUE, 4 + ATTR + OPAQUE),
        (6, OPAQUE + 12, 4 + ATTR + 8 + OPAQUE),
        (7, OPAQUE + 16 + OPAQUE, 4 + WCC + 16),
        (8, 2 * OPAQUE + 4 + SATTR, 4 + 4 + OPAQUE + ATTR + WCC),
        (9, 2 * OPAQUE + SATTR, 4 + 4 + OPAQUE + ATTR + WCC),
        (10, 2 * OPAQUE + SATTR + OPAQUE, 4 + 4 + OPAQUE + ATTR + WCC),
        (11, 2 * OPAQUE + 4 + SATTR + 8, 4 + 4 + OPAQUE + ATTR + WCC),
        (12, 2 * OPAQUE, 4 + WCC),
        (14, 4 * OPAQUE, 4 + 2 * WCC),
        (15, 3 * OPAQUE, 4 + ATTR + WCC),
        (16, OPAQUE + 20, 4 + ATTR + 8 + 2 * (4 + 16 + OPAQUE) + 8),
        (18, OPAQUE, 4 + ATTR + 52),
        (19, OPAQUE, 4 + ATTR + 48),
        (20, OPAQUE, 4 + ATTR + 24),
        (21, OPAQUE + 12, 4 + WCC + 8),
    ],
)
def test_the_longest_is_as_long_as_the_standard_says(number: int, call: int, reply: int) -> None:
    assert max(sizes((NFS, 3, number), CALL)) == call
    assert max(sizes((NFS, 3, number), REPLY)) == reply


def test_numbers() -> None:
    assert len(STATUS) == 29
    assert STATUS[70] == "NFS3ERR_STALE"
    assert list(FILE_TYPE) == list(range(1, 8))


def test_a_failed_look_up_of_linux_has_the_directory_and_no_handle() -> None:
    wire = """
        00000002 00000001
        00000002 000003ff 00000003 00000000 00000000 0000000000000400 0000000000000400 00000000 00000000
        5a4c5045ca5bbd20 0000000000000002 6b002eb3 00000000 6b002eb3 00000001 6b002efe 0affbf06"""
    values = {
        "status": 2,
        "dir_attr_type": 2,
        "dir_attr_mode": 0o1777,
        "dir_attr_nlink": 3,
        "dir_attr_uid": 0,
        "dir_attr_gid": 0,
        "dir_attr_size": 1024,
        "dir_attr_used": 1024,
        "dir_attr_rdev_major": 0,
        "dir_attr_rdev_minor": 0,
        "dir_attr_fsid": 0x5A4C5045CA5BBD20,
        "dir_attr_fileid": 2,
        "dir_attr_atime_sec": 0x6B002EB3,
        "dir_attr_atime_nsec": 0,
        "dir_attr_mtime_sec": 0x6B002EB3,
        "dir_attr_mtime_nsec": 1,
        "dir_attr_ctime_sec": 0x6B002EFE,
        "dir_attr_ctime_nsec": 0x0AFFBF06,
    }
    assert_says((NFS, 3, 3), REPLY, wire, values)


def test_a_time_follows_only_where_it_is_the_clients() -> None:
    wire = "00000000" + "00000000" * 4 + "00000001" + "00000002 00000007 00000008" + "00000000"
    values = {"fh": b"", "set_atime_how": 1, "set_mtime_how": 2, "set_mtime_sec": 7, "set_mtime_nsec": 8}
    assert_says((NFS, 3, 2), CALL, wire, values)


@pytest.mark.parametrize(
    ("how", "rest", "column"),
    [
        (0, "00000001 000001a4" + "00000000" * 5, "set_mode"),
        (1, "00000001 000001a4" + "00000000" * 5, "set_mode"),
        (2, "0102030405060708", "verf"),
    ],
)
def test_create_of_three_kinds(how: int, rest: str, column: str) -> None:
    wire = f"00000000 00000001 61000000 {how:08x} {rest}"
    decoded = decode_one(body((NFS, 3, 8), CALL), bytes.fromhex(wire))
    assert decoded.fault is None
    assert decoded.values["mode"] == how
    assert column in decoded.values


def test_data_is_a_length() -> None:
    head = "00000001 61000000 0000000000000010 00000004 00000002 00000004"
    declared = body((NFS, 3, 7), CALL)
    expected = {"fh": b"a", "offset": 16, "count": 4, "stable": 2, "data_length": 4}
    for data in ("", "61", "61626364"):
        decoded = decode_one(declared, bytes.fromhex(head + data), 36)
        assert (decoded.values, decoded.fault) == (expected, None)
