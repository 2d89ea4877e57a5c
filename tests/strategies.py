"""Messages made from declarations: random ones, the fullest ones, and ones at each limit.

Random messages alone are not enough: off-by-one limits and faulty rows that go on decoding slip
through them. The fullest messages cut at every byte, and every length at its limit, do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from hypothesis import strategies as st

from analyzer.schema.xdr import (
    I32,
    I64,
    U32,
    U64,
    Array,
    Bool,
    LastInt,
    List,
    Opaque,
    Optional,
    Rest,
    Struct,
    Tail,
    Text,
    Type,
    Union,
)

NUMBER, TRUTH, LENGTH, CONTENT, PADDING, COUNT = "number", "truth", "length", "content", "padding", "count"
AS_MADE = 0x80000000


@dataclass(frozen=True)
class Token:
    """Some bytes of a message and what they are there for; `limit` is of a length or a count."""

    data: bytes
    kind: str
    limit: int = 0


Tokens = list[Token]


def joined_bytes(tokens: Sequence[Token]) -> bytes:
    return b"".join(token.data for token in tokens)


def _word(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _counted(data: bytes, limit: int) -> Tokens:
    return [Token(_word(len(data)), LENGTH, limit), *_opaque(data)]


def _opaque(data: bytes) -> Tokens:
    return [Token(data, CONTENT), Token(bytes(-len(data) % 4), PADDING)]


def fullest(declared: Type) -> list[Tokens]:
    """For each union arm a message in which everything optional is there, each number different."""
    return [list(tokens) for tokens in _fullest(declared, count(0x81))]


def _fullest(declared: Type, fresh: Iterator[int]) -> list[Tokens]:
    match declared:
        case Struct(fields=fields):
            parts = [_fullest(inner.type, fresh) for inner in fields]
            widest = max((len(part) for part in parts), default=1)
            return [[token for part in parts for token in part[i % len(part)]] for i in range(widest)]
        case Optional(of=of):
            present = [[Token(_word(1), TRUTH), *tokens] for tokens in _fullest(of, fresh)]
            return [*present, [Token(_word(0), TRUTH)]]
        case Tail(of=of):
            return _fullest(of, fresh)
        case Union(arms=arms, default=default):
            other = next(number for number in range(99) if number not in arms)
            every = {**arms, other: default}
            return [
                [Token(_word(number), NUMBER), *tokens]
                for number, arm in every.items()
                for tokens in _fullest(arm, fresh)
            ]
        case List(of=of):
            entries = [[Token(_word(1), TRUTH), *tokens] for tokens in _fullest(of, fresh)]
            return [[*chain(*entries, *entries), Token(_word(0), TRUTH)], [Token(_word(0), TRUTH)]]
        case Array(of=of, limit=limit):
            elements = _fullest(of, fresh) * 2
            return [[Token(_word(len(elements)), COUNT, limit), *chain(*elements)]]
        case Bool():
            return [[Token(_word(next(fresh) & 1), TRUTH)]]
        case U32() | I32():
            return [[Token(_word(AS_MADE + next(fresh)), NUMBER)]]
        case U64() | I64() | LastInt():
            return [[Token(_word(AS_MADE + next(fresh)) + _word(AS_MADE + next(fresh)), NUMBER)]]
        case Rest():
            return [[Token(b"to the end", CONTENT)]]
        case Opaque(limit=limit, fixed=True):
            return [_opaque(bytes([next(fresh) & 0xFF]) * limit)]
        case Opaque(limit=limit) | Text(limit=limit):
            return [_counted(bytes([next(fresh) & 0xFF]) * min(limit, 5), limit)]
    raise TypeError(declared)


def at_limits(tokens: Tokens, largest: int = 70_000) -> Iterator[bytes]:
    """The message with each length and count in turn at its limit, around it and far beyond."""
    for i, token in enumerate(tokens):
        if token.kind not in (LENGTH, COUNT):
            continue
        for size in (0, token.limit - 1, token.limit, token.limit + 1, 2**31, 2**32 - 1):
            changed = list(tokens)
            changed[i] = replace(token, data=_word(size))
            yield joined_bytes(changed)
            if token.kind == LENGTH and size <= largest:
                changed[i + 1 : i + 3] = _opaque(b"z" * size)
                yield joined_bytes(changed)


def not_canonical(tokens: Tokens) -> Iterator[bytes]:
    """The message with each bool in turn over 1, and each byte of padding not zero."""
    for i, token in enumerate(tokens):
        changed = list(tokens)
        if token.kind == TRUTH:
            for value in (2, 0x100, 1 << 31, 2**32 - 1):
                changed[i] = replace(token, data=_word(value))
                yield joined_bytes(changed)
        if token.kind == PADDING:
            for at in range(len(token.data)):
                padding = bytearray(token.data)
                padding[at] = 0x80
                changed[i] = replace(token, data=bytes(padding))
                yield joined_bytes(changed)


def messages(declared: Type) -> st.SearchStrategy[bytes]:
    """Canonical messages with random contents."""
    match declared:
        case Struct(fields=fields):
            return st.tuples(*(messages(inner.type) for inner in fields)).map(b"".join)
        case Optional(of=of):
            return st.one_of(st.just(_word(0)), messages(of).map(lambda data: _word(1) + data))
        case Tail(of=of):
            return st.one_of(st.just(b""), messages(of))
        case Union(arms=arms, default=default):
            known = [_arm(number, arm) for number, arm in arms.items()]
            other = st.integers(0, 2**32 - 1).filter(lambda number: number not in arms)
            rest = st.tuples(other.map(_word), messages(default)).map(b"".join)
            return st.one_of(*known, rest)
        case List(of=of):
            some = st.lists(messages(of), max_size=3)
            return some.map(lambda parts: b"".join(_word(1) + part for part in parts) + _word(0))
        case Array(of=of, limit=limit):
            some = st.lists(messages(of), max_size=min(limit, 3))
            return some.map(lambda parts: _word(len(parts)) + b"".join(parts))
        case Bool():
            return st.integers(0, 1).map(_word)
        case U32() | I32():
            return st.binary(min_size=4, max_size=4)
        case U64() | I64() | LastInt():
            return st.binary(min_size=8, max_size=8)
        case Rest():
            return st.binary(max_size=20)
        case Opaque(limit=limit, fixed=True):
            return st.binary(min_size=limit, max_size=limit).map(lambda data: joined_bytes(_opaque(data)))
        case Opaque(limit=limit) | Text(limit=limit):
            contents = st.binary(max_size=min(limit, 9))
            return contents.map(lambda data: joined_bytes(_counted(data, limit)))
    raise TypeError(declared)


def _arm(number: int, arm: Struct) -> st.SearchStrategy[bytes]:
    return messages(arm).map(lambda data: _word(number) + data)


def nodes(declared: Type) -> Iterator[Type]:
    """Every node of a declaration."""
    yield declared
    match declared:
        case Struct(fields=fields):
            for inner in fields:
                yield from nodes(inner.type)
        case Union(tag=tag, arms=arms, default=default):
            yield tag.type
            for arm in (*arms.values(), default):
                yield from nodes(arm)
        case Optional(of=of) | Tail(of=of) | List(of=of) | Array(of=of):
            yield from nodes(of)
