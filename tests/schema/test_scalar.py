from __future__ import annotations

import struct

import pytest

from analyzer.faults import Fault
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import MOST_ENTRIES, U32, Bool, Field, List, Opaque, Rest, Struct, Text, Type
from tests.schema.samples import BULK, EVERYTHING, PAIR, STATE, WORD

WHOLE = (
    struct.pack(">IiQqI", 1, -2, 2**64 - 1, -3, 1)
    + b"fixed\0\0\0"
    + struct.pack(">III", 1, 10, 20)
    + struct.pack(">II", 0, 3)
    + b"abc\0"
    + struct.pack(">I", 9)
    + struct.pack(">II", 1, 2)
    + b"/a\0\0"
    + struct.pack(">II", 1, 1)
    + b"g\0\0\0"
    + struct.pack(">III", 0, 1, 0)
    + struct.pack(">II", 0, 0)
    + struct.pack(">III", 2, 7, 8)
    + struct.pack(">I", 1)
)


def test_everything() -> None:
    decoded = decode_one(EVERYTHING, WHOLE)
    assert decoded.fault is None
    assert decoded.end == len(WHOLE)
    assert decoded.breadcrumbs == ()
    assert decoded.values == {
        "kind": 1,
        "signed": -2,
        "big": 2**64 - 1,
        "wide": -3,
        "flag": True,
        "fixed": b"fixed",
        "time_sec": 10,
        "time_nsec": 20,
        "status": 0,
        "fh": b"abc",
        "attr": 9,
        "exports": [{"dir": b"/a", "groups": [{"name": b"g"}]}, {"dir": b"", "groups": []}],
        "gids": [{"gid": 7}, {"gid": 8}],
        "late": True,
    }


NAME = Struct(Field("name", Text(8)), Field("next", U32()))
FLAG = Struct(Field("flag", Bool()))
OUTER = Struct(Field("outer", Struct(Field("n", U32()), Field("inner", Opaque(4)))))
LIST = Struct(Field("entries", List(NAME)))


@pytest.mark.parametrize(
    ("declared", "data", "fault", "end", "breadcrumbs"),
    [
        (NAME, b"", Fault.XDR_SHORT, 0, (("name", 0),)),
        (NAME, b"\0\0\0\3abc", Fault.XDR_SHORT, 0, (("name", 0),)),
        (NAME, b"\0\0\0\3abc\0", Fault.XDR_SHORT, 8, (("next", 8),)),
        (NAME, b"\0\0\0\x09" + bytes(30), Fault.XDR_LIMIT, 0, (("name", 0),)),
        (NAME, b"\0\0\0\3abc\1" + bytes(4), Fault.XDR_PADDING, 12, (("name", 7),)),
        (FLAG, b"\0\0\0\2", Fault.XDR_BOOL, 4, (("flag", 0),)),
        (FLAG, b"\0\0\0\1!", Fault.XDR_TRAILING, 4, (("", 4),)),
        (FLAG, b"\0\0\0\2!", Fault.XDR_BOOL, 4, (("flag", 0),)),
        (OUTER, b"\0\0\0\1\0\0\0\5", Fault.XDR_LIMIT, 4, (("outer", 0), ("inner", 4))),
        (LIST, b"\0\0\0\1\0\0\0\x09", Fault.XDR_LIMIT, 4, (("entries", 0), ("[0]", 4), ("name", 4))),
        (LIST, b"\0\0\0\2" + bytes(8), Fault.XDR_SHORT, 12, (("entries", 12),)),
    ],
)
def test_faults(
    declared: Type, data: bytes, fault: Fault, end: int, breadcrumbs: tuple[tuple[str, int], ...]
) -> None:
    """Traps 32 and 33."""
    decoded = decode_one(declared, data)
    assert (decoded.fault, decoded.end, decoded.breadcrumbs) == (fault, end, breadcrumbs)


def test_what_came_before_a_fault_stands() -> None:
    decoded = decode_one(LIST, b"\0\0\0\1" + b"\0\0\0\3abc\0" + b"\0\0\0\7" + b"\0\0\0\1" + b"\0\0")
    assert decoded.fault is Fault.XDR_SHORT
    assert decoded.values == {"entries": [{"name": b"abc", "next": 7}, {}]}


def test_a_bool_over_one_is_true() -> None:
    """Trap 32."""
    assert decode_one(FLAG, b"\0\0\1\0").values == {"flag": True}


@pytest.mark.parametrize(
    ("entries", "fault"), [(MOST_ENTRIES, None), (MOST_ENTRIES + 1, Fault.XDR_DEPTH)], ids=["most", "more"]
)
def test_a_list_has_an_end(entries: int, fault: Fault | None) -> None:
    """Trap 24."""
    decoded = decode_one(Struct(Field("entries", List(WORD))), b"\0\0\0\1\0\0\0\2" * entries + bytes(4))
    assert decoded.fault is fault
    assert len(decoded.values["entries"]) == MOST_ENTRIES


@pytest.mark.parametrize(
    ("captured", "wire", "fault", "end"),
    [
        (28, 28, None, 28),  # the whole of it
        (20, 28, None, 20),  # cut in the data
        (8, 28, None, 8),  # cut before the data
        (20, None, None, 20),  # nothing known of the wire
        (20, 27, Fault.XDR_SHORT, 4),  # the wire itself had too little
        (7, 28, Fault.XDR_SHORT, 4),  # cut in the length
        (32, 32, Fault.XDR_TRAILING, 28),
        (28, 32, None, 28),  # what is left over was not captured
    ],
)
def test_bulk_data_may_be_missing(captured: int, wire: int | None, fault: Fault | None, end: int) -> None:
    data = struct.pack(">II", 5, 20) + bytes(24)
    decoded = decode_one(BULK, data[:captured], wire)
    assert (decoded.fault, decoded.end) == (fault, end)
    if captured >= 8 and fault is not Fault.XDR_SHORT:
        assert decoded.values == {"count": 5, "data_length": 20}


@pytest.mark.parametrize(
    ("tail", "state", "fault"),
    [
        (struct.pack(">i", -3), -3, None),
        (struct.pack(">q", -3), -3, None),
        (struct.pack(">q", 2**40), 2**40, None),
        (struct.pack(">iH", 5, 0), 5, Fault.XDR_TRAILING),
        (b"\0\0", None, Fault.XDR_SHORT),
    ],
)
def test_an_integer_as_wide_as_what_is_left(tail: bytes, state: int | None, fault: Fault | None) -> None:
    decoded = decode_one(STATE, b"\0\0\0\1n\0\0\0" + tail)
    assert (decoded.values.get("state"), decoded.fault) == (state, fault)


def test_the_rest_is_everything() -> None:
    declared = Struct(Field("n", U32()), Field("rest", Rest()))
    assert decode_one(declared, b"\0\0\0\1abc").values == {"n": 1, "rest": b"abc"}
    assert decode_one(declared, b"\0\0\0\1").values == {"n": 1, "rest": b""}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_will_do(kind: type) -> None:
    assert decode_one(PAIR, kind(bytes(8))).values == {"sec": 0, "nsec": 0}
