from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from analyzer.schema.xdr import U32, VOID, Field, Struct, joined, padded


@pytest.mark.parametrize(
    ("path", "name", "column"),
    [("", "", ""), ("a", "", "a"), ("", "b", "b"), ("a", "b", "a_b"), ("a_b", "c", "a_b_c")],
)
def test_names_are_joined(path: str, name: str, column: str) -> None:
    assert joined(path, name) == column


@pytest.mark.parametrize(
    ("size", "whole"), [(0, 0), (1, 4), (3, 4), (4, 4), (5, 8), (2**32 - 1, 2**32), (2**31, 2**31)]
)
def test_sizes_are_padded_to_four(size: int, whole: int) -> None:
    assert padded(size) == whole


def test_a_struct_takes_its_fields_in_order() -> None:
    first, second = Field("a", U32()), Field("b", U32())
    assert Struct(first, second).fields == (first, second)
    assert VOID.fields == ()


if TYPE_CHECKING:  # nodes cannot be changed: if they could, the comments would be errors
    Struct().fields = ()  # type: ignore[misc]
    U32().names = {}  # type: ignore[misc]


def test_nodes_are_compared_by_identity() -> None:
    """Two lists of one shape in one message are two tables; decoders are kept per declaration."""
    one = U32()
    assert one != U32()
    assert len({one, U32(), one}) == 2
