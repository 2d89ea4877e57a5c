from __future__ import annotations

import pytest

from analyzer.schema import plan as p
from analyzer.schema.plan import MOST_COLUMNS, Slot, flatten
from analyzer.schema.xdr import U32, U64, Field, Opaque, Optional, Struct, Text, Type, Union
from tests.agreement import assert_agree
from tests.schema.samples import BULK, EVERYTHING


def code(declared: Type, wanted: list[str] | None = None) -> list[list[int]]:
    return [list(map(int, row)) for row in flatten(declared, wanted).code]


NUMBERS = Struct(
    Field("a", U32()),
    Field("b", U32()),
    Field("c", U64()),
    Field("d", U64()),
    Field("e", U32()),
)


def test_neighbours_of_one_width_are_one_instruction() -> None:
    assert code(NUMBERS) == [[p.WORDS, 1, 0, 2], [p.HYPERS, 3, 2, 2], [p.WORDS, 5, 4, 1], [p.END, 0, 0, 0]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], [[p.SKIP, 28, 0, 0]]),
        (["a"], [[p.WORDS, 1, 0, 1], [p.SKIP, 24, 0, 0]]),
        (["c"], [[p.SKIP, 8, 0, 0], [p.HYPERS, 1, 0, 1], [p.SKIP, 12, 0, 0]]),
        (["a", "e"], [[p.WORDS, 1, 0, 1], [p.SKIP, 20, 0, 0], [p.WORDS, 2, 1, 1]]),
        (["a", "b"], [[p.WORDS, 1, 0, 2], [p.SKIP, 20, 0, 0]]),
    ],
)
def test_what_is_not_wanted_is_skipped_in_one_go(wanted: list[str], expected: list[list[int]]) -> None:
    assert code(NUMBERS, wanted) == [*expected, [p.END, 0, 0, 0]]


def test_a_jump_ends_a_run_and_a_skip() -> None:
    declared = Struct(Field("a", U32()), Field("o", Optional(U32())), Field("b", U32()))
    assert code(declared) == [
        [p.WORDS, 1, 0, 1],
        [p.IF, 3, 0, 0],
        [p.WORDS, 2, 1, 1],
        [p.WORDS, 3, 2, 1],
        [p.END, 0, 0, 0],
    ]
    assert code(declared, []) == [
        [p.SKIP, 4, 0, 0],
        [p.IF, 3, 0, 0],
        [p.SKIP, 4, 0, 0],
        [p.SKIP, 4, 0, 0],
        [p.END, 0, 0, 0],
    ]


def test_neighbours_whose_cells_are_apart_are_not_merged() -> None:
    """Arms that share columns in another order: the cells stand where the first arm put them."""
    first, second, third = (Field(name, U32(), "-") for name in "abc")
    declared = Union(
        Field("tag", U32(), "-"), {0: Struct(first, second, third)}, Struct(third, first, second)
    )
    assert [row for row in code(declared) if row[0] == p.WORDS] == [
        [p.WORDS, 2, 1, 3],
        [p.WORDS, 4, 3, 1],
        [p.WORDS, 2, 1, 2],
    ]
    numbers = bytes.fromhex("00000007 00000008 00000009")
    assert_agree(declared, [bytes(4) + numbers, b"\0\0\0\1" + numbers], compiled=False)


def test_lengths_and_limits_are_kept_when_nobody_wants_the_bytes() -> None:
    declared = Struct(Field("name", Text(9)), Field("raw", Opaque(7, fixed=True)))
    assert code(declared, []) == [[p.OVER, 9, 0, 0], [p.SKIP, 8, 0, 0], [p.END, 0, 0, 0]]
    assert code(BULK, []) == [[p.SKIP, 4, 0, 0], [p.BULK, -1, 0, 64], [p.END, 0, 0, 0]]


def test_arms_that_share_a_column_share_its_slot() -> None:
    layout = flatten(EVERYTHING, ["fh", "attr"]).layouts[0]
    assert layout.slots == {"fh": Slot(1, 0, True), "attr": Slot(3, 1, False)}
    assert layout.width == 4


def test_each_list_is_a_table_of_its_own() -> None:
    tables = [(layout.name, layout.parent, list(layout.slots)) for layout in flatten(EVERYTHING).layouts[1:]]
    assert tables == [("exports", 0, ["dir"]), ("groups", 1, ["name"]), ("gids", 0, ["gid"])]


@pytest.mark.parametrize(
    ("wanted", "tables"),
    [
        (["kind"], []),
        (["exports"], ["exports", "groups"]),
        (["exports.groups.name"], ["exports", "groups"]),
        (["exports.dir"], ["exports"]),
        (["gids.gid"], ["gids"]),
    ],
)
def test_a_list_is_stored_where_a_column_of_it_is_wanted(wanted: list[str], tables: list[str]) -> None:
    assert [layout.name for layout in flatten(EVERYTHING, wanted).layouts[1:]] == tables


def test_levels_are_the_depth_of_lists_in_lists() -> None:
    assert flatten(NUMBERS).levels == 1
    assert flatten(EVERYTHING).levels == 2


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no column 'f' here: there are a, b, c, d, e"):
        flatten(NUMBERS, ["f"])


def test_too_many_columns_are_refused_unless_fewer_are_wanted() -> None:
    wide = Struct(*(Field(f"f{n}", U32()) for n in range(MOST_COLUMNS + 1)))
    with pytest.raises(ValueError, match="choose fewer"):
        flatten(wide)
    assert len(flatten(wide, ["f0"]).layouts[0].slots) == 1
