from __future__ import annotations

from analyzer.schema.program import CALL, REPLY, Procedure
from analyzer.schema.xdr import U32, VOID, Field, Struct


def test_a_procedure_has_a_body_for_each_direction() -> None:
    call = Struct(Field("a", U32()))
    procedure = Procedure(1, "DO", "a source", call, VOID)
    assert procedure.body(CALL) is call
    assert procedure.body(REPLY) is VOID
    assert procedure.role == "call"


def test_a_procedure_may_be_but_a_name() -> None:
    procedure = Procedure(1, "DO", "a source")
    assert procedure.body(CALL) is None
    assert procedure.body(REPLY) is None
