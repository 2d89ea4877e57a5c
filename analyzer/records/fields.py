"""Which decoded fields the calls table has, and where each comes from.

In: the declarations. Out: `FIELDS`, the columns behind those that every call has; for a kind of message a
`Recipe`.

Theory. One wide table holds calls of all programs, so a column has one meaning and one type wherever it is
filled: a declared column goes into the column of its name if its type fits there. What the call says wins
over what the reply says by the same name, but where the reply is the answer asked for (a port).

Never: declares a field itself; its meaning and unit come from the declaration.
"""

from __future__ import annotations

from functools import lru_cache

from analyzer.frozen import frozen
from analyzer.protocols import PROGRAMS, REGISTRY
from analyzer.schema.columns import Column, own
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.xdr import U32

TEXT = (
    *("name", "from_name", "to_name", "link_name", "target", "caller_name", "mon_name", "my_name", "dirpath"),
    *("netid", "addr"),
)
HEX = ("fh", "dir_fh", "from_dir_fh", "to_dir_fh", "link_dir_fh", "oh", "cookie", "holder_oh", "priv", "verf")
UINT = ("offset", "set_size", "l_offset", "l_len", "holder_l_offset", "holder_l_len")
INT = (
    *("count", "data_length", "access", "svid", "state", "holder_svid", "my_prog", "my_vers", "my_proc"),
    *("prog", "vers", "port"),
)
BOOL = ("eof", "exclusive", "block", "reclaim", "holder_exclusive", "done")
CATEGORY = ("stable", "committed", "share_mode", "share_access", "prot")
KINDS = {"text": TEXT, "hex": HEX, "uint": UINT, "int": INT, "bool": BOOL, "category": CATEGORY}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
ORDER = (
    *("fh", "dir_fh", "name", "offset", "count", "data_length", "stable", "committed", "eof", "set_size"),
    *("access", "target", "from_dir_fh", "from_name", "to_dir_fh", "to_name", "link_dir_fh", "link_name"),
    *("verf", "caller_name", "svid", "oh", "cookie", "exclusive", "block", "reclaim", "l_offset", "l_len"),
    *("state", "holder_exclusive", "holder_svid", "holder_oh", "holder_l_offset", "holder_l_len"),
    *(
        "share_mode",
        "share_access",
        "mon_name",
        "my_name",
        "my_prog",
        "my_vers",
        "my_proc",
        "priv",
        "dirpath",
    ),
    *("prog", "vers", "prot", "port", "netid", "addr", "done"),
)
FITS = {
    "text": ("text",),
    "hex": ("bytes",),
    "uint": ("uint32", "uint64"),
    "int": ("uint32", "int32", "int64"),
    "bool": ("bool",),
    "category": ("uint32",),
}
RENAMED = {("NLM", "mode"): "share_mode", ("NLM", "access"): "share_access"}
ANSWERS = ("port", "addr")
NAMED_HANDLES = {"fh": "path", "dir_fh": "dir_path"}
"""Handles whose path is shown beside them."""

Kind = tuple[int, int, int]


@frozen
class Part:
    """A declared column and the column of the table it goes into ("status" has its own)."""

    wire: str
    column: str
    kind: str
    meaning: str
    unit: str
    names: tuple[tuple[int, str], ...] = ()


@frozen
class Field:
    """A column of the table."""

    name: str
    kind: str
    meaning: str
    unit: str


@lru_cache(4096)
def recipe(kind: Kind, direction: int) -> tuple[Part, ...]:
    """What to take from the messages of a kind; nothing where it is not declared."""
    program = REGISTRY.get(kind[:2])
    procedure = program.procedures.get(kind[2]) if program else None
    body = procedure.body(direction) if procedure else None
    if program is None or procedure is None or body is None:
        return ()
    taken: set[str] = set()
    if direction == REPLY:
        taken = {part.column for part in recipe(kind, CALL)}
    answered: set[str] = set()
    if direction == CALL and procedure.reply is not None:
        answered = {column.name for column in own(procedure.reply)} & set(ANSWERS)
    parts = (_part(program.label, column) for column in own(body))
    return tuple(part for part in parts if part and part.column not in taken and part.column not in answered)


def _part(label: str, column: Column) -> Part | None:
    names = tuple(column.type.names.items()) if isinstance(column.type, U32) else ()
    if column.name == "status":
        return Part("status", "status", "category", column.meaning, column.unit, names)
    name = RENAMED.get((label, column.name), column.name)
    kind = KIND_OF.get(name)
    if kind is None or column.dtype not in FITS[kind]:
        return None
    return Part(column.name, name, kind, column.meaning, column.unit, names)


def _fields() -> tuple[Field, ...]:
    meanings: dict[str, tuple[str, str]] = {}
    for program in PROGRAMS:
        for procedure in program.procedures.values():
            for direction in (CALL, REPLY):
                for part in recipe((program.number, program.version, procedure.number), direction):
                    meanings.setdefault(part.column, (part.meaning, part.unit))
    found = []
    for name in ORDER:
        found.append(Field(name, KIND_OF[name], *meanings[name]))
        if name in NAMED_HANDLES:
            of = "the directory" if name == "dir_fh" else "the object"
            found.append(Field(NAMED_HANDLES[name], "path", f"path of {of}, as far as names were seen", ""))
    return tuple(found)


FIELDS = _fields()
