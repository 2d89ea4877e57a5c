from __future__ import annotations

from analyzer.protocols import HEAD_ONLY, REGISTRY
from analyzer.schema.columns import columns, has_bulk, own
from analyzer.schema.xdr import U32, Array, Field, List, Opaque, Optional, Rest, Struct, Tail, Union
from tests.schema.samples import BULK, EVERYTHING, STATE


def test_the_columns_of_everything() -> None:
    assert [(c.name, c.dtype, c.nullable) for c in columns(EVERYTHING)] == [
        ("kind", "uint32", False),
        ("signed", "int32", False),
        ("big", "uint64", False),
        ("wide", "int64", False),
        ("flag", "bool", False),
        ("fixed", "bytes", False),
        ("time_sec", "uint32", True),
        ("time_nsec", "uint32", True),
        ("status", "uint32", False),
        ("fh", "bytes", True),
        ("attr", "uint32", True),
        ("exports.dir", "text", False),
        ("exports.groups.name", "text", False),
        ("gids.gid", "uint32", False),
        ("late", "bool", True),
    ]


def test_own_columns_leave_out_child_tables() -> None:
    assert [c.name for c in own(EVERYTHING)][-3:] == ["fh", "attr", "late"]


def test_bulk_data_is_a_length() -> None:
    count, data = columns(BULK)
    assert (count.name, count.kept) == ("count", True)
    assert (data.name, data.dtype, data.unit, data.kept) == ("data_length", "uint32", "bytes", False)


def test_the_rest_is_bytes_and_a_last_integer_is_64_bits() -> None:
    assert [c.dtype for c in columns(Struct(Field("rest", Rest())))] == ["bytes"]
    assert [c.dtype for c in columns(STATE)] == ["text", "int64"]


def test_a_type_without_a_name_takes_its_meaning_from_the_field_around_it() -> None:
    declared = Struct(Field("time", Struct(Field("", U32())), "a time", "s"))
    (column,) = columns(declared)
    assert (column.name, column.meaning, column.unit) == ("time", "a time", "s")


def test_where_bulk_data_can_hide() -> None:
    data = Struct(Field("data", Opaque(4), keep=False))
    tag = Field("tag", U32())
    for declared in (
        data,
        Optional(data),
        Tail(data),
        List(data),
        Array(data),
        Union(tag, {0: data}),
        Union(tag, {}, data),
        Struct(Field("a", Struct(Field("b", Optional(data))))),
    ):
        assert has_bulk(declared)
    assert not has_bulk(EVERYTHING)


def test_has_bulk_agrees_with_the_columns() -> None:
    for (number, version), program in REGISTRY.items():
        for procedure in program.procedures.values():
            for direction in (0, 1):
                body = procedure.body(direction)
                has = body is not None and any(not column.kept for column in columns(body))
                assert ((number, version, procedure.number, direction) in HEAD_ONLY) is has
