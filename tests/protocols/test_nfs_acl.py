from __future__ import annotations

import pytest

from analyzer.protocols.nfs_acl import NFS_ACL
from tests.protocols.checks import CALL, REPLY, assert_says, names, sizes

LISTS = "mask acl_count acl.type acl.id acl.perm dfacl_count dfacl.type dfacl.id dfacl.perm"
FATTR2 = 68
LISTS_SIZE = 4 + 2 * (8 + 2 * 12)
HANDLE3 = 12
ATTR3 = 88


@pytest.mark.parametrize(
    ("version", "number", "call", "reply"),
    [
        (2, 1, 32 + 4, 4 + FATTR2 + LISTS_SIZE),
        (2, 2, 32 + LISTS_SIZE, 4 + FATTR2),
        (2, 3, 32, 4 + FATTR2),
        (2, 4, 32 + 4, 4 + FATTR2 + 4),
        (2, 5, 32 + 4, 4 + 32 + FATTR2),
        (3, 1, HANDLE3 + 4, 4 + ATTR3 + LISTS_SIZE),
        (3, 2, HANDLE3 + LISTS_SIZE, 4 + ATTR3),
        (3, 3, HANDLE3 + 4, 4 + HANDLE3 + ATTR3),
    ],
)
def test_sizes(version: int, number: int, call: int, reply: int) -> None:
    assert max(sizes((NFS_ACL, version, number), CALL)) == call
    assert max(sizes((NFS_ACL, version, number), REPLY)) == reply


def test_columns() -> None:
    assert names((NFS_ACL, 3, 1), CALL) == "fh mask"
    assert names((NFS_ACL, 3, 2), CALL) == f"fh {LISTS}"
    assert names((NFS_ACL, 3, 1), REPLY).endswith(LISTS)
    assert names((NFS_ACL, 2, 1), REPLY).endswith(LISTS)


def test_lists() -> None:
    wire = "00000001 61000000 00000003 00000001 00000001 00000001 00000000 00000007 00000000 00000000"
    values = {
        "fh": b"a",
        "mask": 3,
        "acl_count": 1,
        "acl": [{"type": 1, "id": 0, "perm": 7}],
        "dfacl_count": 0,
        "dfacl": [],
    }
    assert_says((NFS_ACL, 3, 2), CALL, wire, values)
