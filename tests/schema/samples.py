"""A declaration with every kind of node, for the tests of the walkers."""

from __future__ import annotations

from analyzer.schema.xdr import (
    I32,
    I64,
    U32,
    U64,
    Array,
    Bool,
    Field,
    LastInt,
    List,
    Opaque,
    Optional,
    Struct,
    Tail,
    Text,
    Union,
)

WORD = Struct(Field("n", U32(), "a number"))
PAIR = Struct(Field("sec", U32(), "seconds", "s"), Field("nsec", U32(), "nanoseconds", "ns"))
GROUPS = Field("groups", List(Struct(Field("name", Text(4), "a group"))), "who may")

EVERYTHING = Struct(
    Field("kind", U32({0: "NONE", 1: "SOME"}), "an enum"),
    Field("signed", I32(), "a signed word"),
    Field("big", U64(), "a hyper", "bytes"),
    Field("wide", I64(), "a signed hyper"),
    Field("flag", Bool(), "a bool"),
    Field("fixed", Opaque(5, fixed=True), "fixed bytes"),
    Field("time", Optional(PAIR), "a time that may be there"),
    Field(
        "",
        Union(
            Field("status", U32(), "which arm"),
            {0: Struct(Field("fh", Opaque(8), "bytes"), Field("attr", U32(), "in two arms"))},
            Struct(Field("attr", U32(), "in two arms")),
        ),
    ),
    Field("exports", List(Struct(Field("dir", Text(8), "a directory"), GROUPS)), "a list in a list"),
    Field("gids", Array(Struct(Field("gid", U32(), "a group")), 3), "a counted array"),
    Field("late", Tail(Bool()), "may be left out"),
)

BULK = Struct(Field("count", U32(), "asked for"), Field("data", Opaque(64), "payload", keep=False))
STATE = Struct(Field("name", Text(8), "a name"), Field("state", LastInt(), "a state"))
