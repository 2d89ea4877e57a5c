"""A declaration as a page of the reference: Markdown tables.

In: a program. Out: text, the same for the same declaration, so that it can be checked in.

Never: writes a file.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.schema.columns import Column, columns
from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import U32, Type


def page(program: Program) -> str:
    """All procedures of one version of a program."""
    lines = [f"## {program.label} version {program.version} (program {program.number})", ""]
    for procedure in program.procedures.values():
        lines += _procedure(procedure)
    return "\n".join(lines)


def table(declared: Type) -> str:
    """The columns of one message as a Markdown table."""
    rows = [
        f"| `{column.name}` | {_kind(column)} | {column.unit} | {column.meaning} |"
        for column in columns(declared)
    ]
    return "\n".join(["| column | type | unit | meaning |", "| --- | --- | --- | --- |", *rows])


def _procedure(procedure: Procedure) -> Iterator[str]:
    yield f"### {procedure.number} {procedure.name}"
    yield ""
    yield f"{procedure.source}; {ROLES[procedure.role]}."
    yield ""
    for title, body in (("Call", procedure.call), ("Reply", procedure.reply)):
        if body is None:
            yield f"{title}: not decoded."
        elif not columns(body):
            yield f"{title}: nothing."
        else:
            yield f"{title}:"
            yield ""
            yield table(body)
        yield ""


ROLES = {
    "call": "a call",
    "callback": "a callback, sent by the side that serves",
    "msg": "an asynchronous request, answered by a call",
    "res": "the answer to an asynchronous request",
}


def _row(column: Column) -> str:
    return f"| `{column.name}` | {_kind(column)} | {column.unit} | {column.meaning} |"


def _kind(column: Column) -> str:
    """`uint32?` may be absent; an enum says so, its numbers are in the declaration."""
    enum = " enum" if isinstance(column.type, U32) and column.type.names else ""
    return f"{column.dtype}{enum}{'?' if column.nullable else ''}"
