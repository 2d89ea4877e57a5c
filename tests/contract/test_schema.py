"""What holds for every message of every protocol, derived from its declaration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.protocols import PROGRAMS, rpc
from analyzer.schema.columns import columns, has_bulk
from analyzer.schema.encode import encode
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import LastInt, Type
from tests.agreement import assert_agree
from tests.strategies import at_limits, fullest, joined_bytes, messages, nodes, not_canonical

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


def _bodies() -> dict[str, Type]:
    """Each declared body once, by the first procedure that has it."""
    found: dict[Type, str] = {
        rpc.AUTH_SYS_BODY: "AUTH_SYS",
        rpc.GSS_BODY: "RPCSEC_GSS",
        rpc.GSS_INIT_REPLY: "RPCSEC_GSS_INIT",
    }
    for program in PROGRAMS:
        for procedure in program.procedures.values():
            for direction, word in ((CALL, "call"), (REPLY, "reply")):
                body = procedure.body(direction)
                if body is not None:
                    found.setdefault(body, f"{program.label}{program.version} {procedure.name} {word}")
    return {name: body for body, name in found.items()}


BODIES = _bodies()
EVERY = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())


def _some_columns(body: Type) -> Iterator[list[str]]:
    """Projections: every other column, the others, and only the last."""
    names = [column.name for column in columns(body)]
    yield from filter(None, (names[::2], names[1::2], names[-1:]))


@EVERY
@MODES
def test_every_prefix(body: Type, compiled: bool) -> None:
    for tokens in fullest(body):
        whole = joined_bytes(tokens)
        prefixes = [whole[:length] for length in range(len(whole) + 1)]
        assert_agree(body, prefixes, compiled)
        assert_agree(body, prefixes, compiled, sizes=[len(whole)] * len(prefixes))


@EVERY
def test_the_fullest_messages_have_every_column(body: Type) -> None:
    seen = set()
    for tokens in fullest(body):
        decoded = decode_one(body, joined_bytes(tokens))
        assert decoded.fault is None
        seen |= set(_paths(decoded.values))
    assert seen == {column.name for column in columns(body)}


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, list):
            for entry in value:
                yield from _paths(entry, f"{prefix}{name}.")
        else:
            yield prefix + name


@EVERY
@MODES
def test_every_limit(body: Type, compiled: bool) -> None:
    assert_agree(body, [m for tokens in fullest(body) for m in at_limits(tokens)], compiled)


@EVERY
@MODES
def test_what_is_not_canonical(body: Type, compiled: bool) -> None:
    assert_agree(body, [m for tokens in fullest(body) for m in not_canonical(tokens)], compiled)


@EVERY
@MODES
def test_bytes_left_over(body: Type, compiled: bool) -> None:
    wholes = [joined_bytes(tokens) + bytes(extra) for tokens in fullest(body) for extra in (1, 4, 9)]
    assert_agree(body, wholes, compiled)
    assert_agree(body, wholes, compiled, sizes=[len(whole) + 1 for whole in wholes])


@EVERY
def test_a_projection_says_the_same_of_what_is_wanted(body: Type) -> None:
    wholes = [joined_bytes(tokens) for tokens in fullest(body)]
    odd = [m for tokens in fullest(body) for m in (*at_limits(tokens, 1100), *not_canonical(tokens))]
    cut = [whole[:length] for whole in wholes for length in range(0, len(whole) + 1, 3)]
    for wanted in _some_columns(body):
        assert_agree(body, wholes + odd + cut, compiled=True, wanted=wanted)
        assert_agree(body, wholes, compiled=False, wanted=wanted)


@EVERY
@settings(max_examples=5)
@given(data=st.data())
def test_random_messages_cut_anywhere(body: Type, data: st.DataObject) -> None:
    whole = data.draw(st.lists(messages(body), min_size=1, max_size=4))
    cut = [m[: data.draw(st.integers(0, len(m)))] for m in whole]
    batch = [*whole, *cut, data.draw(st.binary(max_size=200))]
    assert_agree(body, batch, compiled=True)
    assert_agree(body, batch, compiled=False)


@EVERY
def test_encode_is_the_inverse_of_decode(body: Type) -> None:
    for tokens in fullest(body):
        whole = joined_bytes(tokens)
        decoded = decode_one(body, whole)
        again = encode(body, decoded.values)
        assert decode_one(body, again) == decoded
        if not has_bulk(body) and not any(isinstance(node, LastInt) for node in nodes(body)):
            assert again == whole


@EVERY
def test_nodes_are_data(body: Type) -> None:
    for node in nodes(body):
        assert dataclasses.is_dataclass(node)
        held = [getattr(node, field.name) for field in dataclasses.fields(node)]
        assert not [value for value in held if callable(value)]


@EVERY
def test_every_column_has_a_meaning_and_its_own_name(body: Type) -> None:
    listed = columns(body)
    assert all(column.meaning for column in listed)
    assert len({column.name for column in listed}) == len(listed)
    assert all(column.name.replace("_", "").replace(".", "").isalnum() for column in listed)
