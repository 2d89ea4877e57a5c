from __future__ import annotations

from typing import Any

import pytest

from analyzer.schema.encode import encode
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import Field, Rest, Struct, Type
from tests.schema.samples import BULK, EVERYTHING, STATE
from tests.schema.test_scalar import WHOLE


def test_everything() -> None:
    assert encode(EVERYTHING, decode_one(EVERYTHING, WHOLE).values) == WHOLE


def test_what_is_not_given_is_zero_empty_or_absent() -> None:
    assert encode(EVERYTHING, {"status": 1}) == bytes(40) + b"\0\0\0\1" + bytes(12)


def test_an_optional_is_there_when_a_column_of_it_is_given() -> None:
    decoded = decode_one(EVERYTHING, encode(EVERYTHING, {"time_nsec": 5, "late": False}))
    assert decoded.fault is None
    assert (decoded.values["time_sec"], decoded.values["time_nsec"]) == (0, 5)
    assert decoded.values["late"] is False


def test_an_enum_may_be_a_symbol_and_text_a_string() -> None:
    made = encode(EVERYTHING, {"kind": "SOME", "exports": [{"dir": "/é"}]})
    values = decode_one(EVERYTHING, made).values
    assert values["kind"] == 1
    assert values["exports"][0]["dir"] == "/é".encode()


@pytest.mark.parametrize(
    ("declared", "values", "made"),
    [
        (BULK, {"data": b"abc"}, "00000000 00000003 61626300"),
        (BULK, {"data_length": 2}, "00000000 00000002 00000000"),
        (STATE, {"state": -1}, "00000000 ffffffff"),
        (STATE, {"state": 2**31}, "00000000 0000000080000000"),
        (Struct(Field("rest", Rest())), {"rest": b"abc"}, "616263"),
    ],
)
def test_what_is_special(declared: Type, values: dict[str, Any], made: str) -> None:
    assert encode(declared, values) == bytes.fromhex(made)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kindd": 1}, "no such columns: kindd"),
        ({"exports": [{"dirr": b""}]}, "no such columns: dirr"),
        ({"kind": "OTHER"}, "no such symbol: OTHER"),
        ({"big": "SOME"}, "no such symbol: SOME"),
    ],
)
def test_mistakes_are_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        encode(EVERYTHING, values)
