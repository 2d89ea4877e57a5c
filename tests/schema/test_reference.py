from __future__ import annotations

from analyzer.protocols import PROGRAMS
from analyzer.schema.program import Procedure, Program
from analyzer.schema.reference import page, table
from analyzer.schema.xdr import U32, VOID, Field, Optional, Struct

DECLARED = Struct(
    Field("kind", U32({1: "ONE"}), "an enum"), Field("size", Optional(U32()), "how large", "bytes")
)

PAGE = """\
## TOY version 2 (program 7)

### 1 DO

RFC 1; a callback, sent by the side that serves.

Call:

| column | type | unit | meaning |
| --- | --- | --- | --- |
| `kind` | uint32 enum |  | an enum |
| `size` | uint32? | bytes | how large |

Reply: nothing.

### 2 NAMED

RFC 2; a call.

Call: not decoded.

Reply: not decoded.
"""


def test_a_page() -> None:
    procedures = {
        1: Procedure(1, "DO", "RFC 1", DECLARED, VOID, "callback"),
        2: Procedure(2, "NAMED", "RFC 2"),
    }
    assert page(Program(7, 2, "TOY", procedures)) == PAGE


def test_a_table_has_a_row_for_each_column() -> None:
    assert table(DECLARED).count("\n") == 3


def test_every_program_has_a_page() -> None:
    for program in PROGRAMS:
        text = page(program)
        assert all(f"### {each.number} {each.name}\n" in text for each in program.procedures.values())
