from __future__ import annotations

import subprocess
import sys

import pytest

from analyzer.protocols import HEAD_ONLY, PROGRAMS, REGISTRY, find, procedure_label, program_label
from analyzer.schema.columns import columns
from analyzer.schema.program import REPLY

COUNTS = {
    (100000, 2): 6,
    (100000, 3): 9,
    (100000, 4): 13,
    (100003, 2): 18,
    (100003, 3): 23,
    (100003, 4): 2,
    (100005, 1): 7,
    (100005, 2): 8,
    (100005, 3): 6,
    (100011, 1): 3,
    (100011, 2): 5,
    (100020, 1): 5,
    (100021, 1): 17,
    (100021, 3): 21,
    (100021, 4): 21,
    (100024, 1): 7,
    (100227, 2): 6,
    (100227, 3): 4,
    (200048, 1): 2,
}


def test_every_program_has_all_its_procedures() -> None:
    assert {key: len(program.procedures) for key, program in REGISTRY.items()} == COUNTS
    assert len(PROGRAMS) == len(REGISTRY)


def test_procedures_stand_under_their_own_number_and_say_where_they_are_from() -> None:
    for program in PROGRAMS:
        assert list(program.procedures) == [each.number for each in program.procedures.values()]
        for each in program.procedures.values():
            assert each.source
            assert each.role in {"call", "callback", "msg", "res"}
        names = [each.name for each in program.procedures.values()]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ((100021, 4, 2), "NLM4 LOCK"),
        ((100021, 1, 5), "NLM1 GRANTED"),
        ((100021, 3, 23), "NLM3 FREE_ALL"),
        ((100021, 4, 16), "NLM4 SM_NOTIFY"),
        ((100024, 1, 6), "NSM1 SM_NOTIFY"),
        ((100005, 3, 3), "MOUNT3 UMNT"),
        ((100003, 3, 6), "NFS3 READ"),
        ((100003, 3, 22), "NFS3 UMOUNT"),
        ((100003, 2, 4), "NFS2 LOOKUP"),
        ((100003, 4, 1), "NFS4 COMPOUND"),
        ((100227, 3, 1), "NFS_ACL3 GETACL"),
        ((100000, 2, 3), "PORTMAP2 GETPORT"),
        ((100000, 3, 5), "RPCBIND3 CALLIT"),
        ((100000, 4, 3), "RPCBIND4 GETADDR"),
        ((100021, 4, 17), "NLM4 proc-17"),
        ((100021, 1, 20), "NLM1 proc-20"),
        ((100021, 2, 0), "NLM2 proc-0"),
        ((100000, 9, 0), "PORTMAP9 proc-0"),
        ((100232, 10, 1), "100232v10 proc-1"),
        ((-1, -1, -1), "-1v-1 proc--1"),
    ],
)
def test_labels(key: tuple[int, int, int], label: str) -> None:
    assert procedure_label(*key) == label
    assert program_label(*key[:2]) == label.split(maxsplit=1)[0]


def test_find() -> None:
    found = find(100021, 4, 2)
    assert found is not None
    assert found.name == "LOCK"
    assert find(100021, 4, 18) is None
    assert find(100021, 7, 2) is None


def test_the_messages_whose_data_is_not_kept() -> None:
    assert HEAD_ONLY == ((100003, 3, 6, 1), (100003, 3, 7, 0))


def test_every_status_is_called_status() -> None:
    """Tables have one column for the outcome, whatever the program calls it."""
    for program in PROGRAMS:
        for each in program.procedures.values():
            body = each.body(REPLY)
            names = [column.name for column in columns(body)] if body else []
            assert not {"stat", "stat_res"} & set(names)
            if "status" in names:
                assert names.index("status") <= 1


def test_importing_the_protocols_is_light() -> None:
    heavy = "{'numpy', 'numba', 'pandas'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, analyzer.protocols; sys.exit(bool({heavy}))"], check=False
    )
    assert done.returncode == 0
