"""Messages of a block by program, version and procedure."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.records.kinds import PLACES, Kind, Kinds
from analyzer.tables import Messages, new_table

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
NFS, NLM, UNKNOWN = (100003, 3, 1), (100021, 4, 2), (-1, -1, -1)
BEYOND = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def block(kinds: list[Kind]) -> Messages:
    """Messages of these kinds."""
    made = new_table(Messages, len(kinds))
    for column, values in zip((made.program, made.version, made.procedure), np.array(kinds).T, strict=True):
        column[:] = values
    return made


@MODES
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [5, 3, 1], [2], []], ids=str)
def test_groups_of_rows(compiled: bool, rows: list[int]) -> None:
    kinds = [NLM, NFS, UNKNOWN, NFS, BEYOND, NLM]
    found = list(Kinds(block(kinds), compiled).groups(np.array(rows, np.intp)))
    assert [kind for kind, _ in found] == sorted({kinds[row] for row in rows})
    for kind, group in found:
        assert group.tolist() == [i for i, row in enumerate(rows) if kinds[row] == kind]


@MODES
def test_kinds_that_want_the_same_place(compiled: bool) -> None:
    """They may make several groups, but each row is in one, and of its kind."""
    kinds = [(100003, 3, procedure) for procedure in (1, 1 + PLACES, 1, 1, 1 + PLACES, 1)]
    found = list(Kinds(block(kinds), compiled).groups(np.arange(len(kinds))))
    assert sorted(row for _, group in found for row in group.tolist()) == list(range(len(kinds)))
    assert all(kinds[row] == kind for kind, group in found for row in group.tolist())
