from __future__ import annotations

import struct

import numpy as np

from analyzer.schema.xdr import U32, U64, Field, Opaque, Optional, Struct
from tests.agreement import run

DECLARED = Struct(Field("big", U64(), "-"), Field("maybe", Optional(U32()), "-"), Field("fh", Opaque(8), "-"))
MESSAGES = [
    struct.pack(">QII", 2**64 - 1, 0, 0),
    struct.pack(">QIII", 5, 1, 7, 3) + b"abc\0",
    struct.pack(">QII", 6, 1, 8),
]


def test_columns() -> None:
    memory, _, batch = run(DECLARED, MESSAGES, compiled=False)
    assert batch.rows == 3
    assert batch.values["big"].tolist() == [-1, 5, 6]
    assert batch.unsigned("big").tolist() == [2**64 - 1, 5, 6]
    assert batch.values["maybe"].tolist() == [0, 7, 8]
    assert batch.valid["maybe"].tolist() == [False, True, True]
    assert batch.valid["fh"].tolist() == [True, True, False]
    assert (batch.stop["fh"] - batch.start["fh"]).tolist() == [0, 3, 0]
    assert memory[batch.start["fh"][1] : batch.stop["fh"][1]].tobytes() == b"abc"
    assert batch.values.keys() == {"big", "maybe"}
    assert batch.start.keys() == batch.stop.keys() == {"fh"}
    assert dict(batch.children) == {}


def test_valid_is_a_mapping_made_as_it_is_asked() -> None:
    _, _, batch = run(DECLARED, MESSAGES, compiled=False)
    assert list(batch.valid) == ["big", "maybe", "fh"]
    assert len(batch.valid) == 3
    assert "gone" not in batch.valid
    assert batch.valid["big"] is batch.valid["big"]
    assert batch.valid["big"].dtype == np.bool_
