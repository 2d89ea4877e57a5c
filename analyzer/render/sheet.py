"""Answers: small tables that are text for a person and JSON for a program.

In: rows of plain values, and the columns to show. Out: lines for a terminal; a JSON document.

Theory. An answer is one or more sheets. A sheet has columns with kinds (those of `columns`, and a few more),
so that both renderings follow from one declaration: a time is an offset from the start of the capture to a
person and RFC 3339 to a program. A sheet without rows says so in a sentence.

Never: chooses rows; shows text of the wire that was not cleaned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.frozen import frozen
from analyzer.render.clean import clean
from analyzer.render.columns import TABLES
from analyzer.render.times import SECOND, rfc3339, span

if TYPE_CHECKING:
    from analyzer.render.paint import Paint
    from analyzer.render.rows import Row
    from analyzer.render.view import View


@frozen
class Cell:
    """One column of a sheet: its key in a row, its kind, and its head where the key would read badly."""

    name: str
    kind: str
    head: str = ""


@frozen
class Sheet:
    """One table of an answer."""

    name: str  # key in the JSON document
    title: str
    cells: Sequence[Cell]
    rows: Sequence[Row]
    none: str  # what it means that there are no rows
    note: str = ""  # a sentence behind the rows
    keys: Sequence[Cell] = ()  # what a program gets, where it is not the same


def text(view: View, paint: Paint, sheets: Iterable[Sheet], most: int | None = None) -> Iterator[str]:
    """The sheets for a terminal, at most `most` rows of each."""
    for number, sheet in enumerate(sheet for sheet in sheets if sheet.rows or sheet.none):
        if number:
            yield ""
        if not sheet.rows:
            yield from paint.wrap(sheet.none)
            continue
        yield paint.ink(sheet.title, "head")
        head = [cell.head or cell.name.replace("_", " ") for cell in sheet.cells]
        lines = [
            [shown(view, cell.kind, row[cell.name]) for cell in sheet.cells] for row in sheet.rows[:most]
        ]
        yield from paint.table(head, lines)
        if len(lines) < len(sheet.rows):
            yield f"  and {len(sheet.rows) - len(lines)} more"
        if sheet.note:
            yield from paint.wrap(sheet.note, 2)


def document(schema: str, sheets: Iterable[Sheet], **more: Any) -> str:
    """The sheets as one JSON document."""
    import json

    made = {s.name: [_plain_row(row, s.keys or s.cells) for row in s.rows] for s in sheets}
    whole = {"schema": schema} | more | made
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _plain_row(row: Row, cells: Sequence[Cell]) -> Row:
    return {cell.name: _plain(cell.kind, row[cell.name]) for cell in cells}


OF_RANGE = (
    Cell("server", "category"),
    Cell("file", "text"),
    Cell("range", "text"),
    Cell("mode", "text"),
)
"""What a lock or a wait is on."""


def of_table(name: str) -> tuple[Cell, ...]:
    """The columns of an exported table, for a sheet."""
    return tuple(Cell(column.name, column.kind) for column in TABLES[name])


def _plain(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "time":
        return rfc3339(value)
    if kind == "duration":
        return value / SECOND
    if kind == "hex":
        return value.hex()
    return clean(value) if isinstance(value, str | bytes) else value


def shown(view: View, kind: str, value: Any) -> str:
    """A value for a person."""
    if value is None or value in ("", []):
        return "-"
    if kind == "time":
        return offset(view, value)
    if kind == "duration":
        return span(value)
    if kind == "host":
        return host(view, value)
    if kind == "list":
        return " ".join(map(str, value))
    if kind == "bool":
        return "yes" if value else "no"
    return clean(value) if isinstance(value, str | bytes) else str(value)


def offset(view: View, time: int) -> str:
    """A time as seconds from the start of the capture."""
    return f"+{(time - view.sessions.start) / SECOND:.3f}s"


def host(view: View, address: str) -> str:
    """An address with the name that its host gave itself."""
    name = view.known_as().get(address)
    return f"{address} ({name})" if name and name != address else address
