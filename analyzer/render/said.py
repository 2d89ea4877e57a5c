"""What a row means, in words.

In: rows of locks and waits. Out: cells that say it for a person.

Never: formats a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.render import rows
from analyzer.render.clean import clean

if TYPE_CHECKING:
    from analyzer.render.rows import Row


def said(row: Row) -> Row:
    """A row with the cells that say it for a person."""
    return row | {
        "owner": f"svid {row['svid']}",
        "file": file_of(row),
        "range": extent(row["start"], row["end"]).removeprefix("bytes "),
        "mode": "exclusive" if row["exclusive"] else "shared",
    }


def extent(start: int, end: int | None) -> str:
    """A byte range in words."""
    last = "end of file" if end is None or end == rows.EOF_OFFSET else str(end)
    return "whole file" if start == 0 and last == "end of file" else f"bytes {start} to {last}"


def file_of(row: Row) -> str:
    """A file by its path, or by the head of its handle."""
    if row["path"] is not None:
        return clean(row["path"])
    return "(unknown)" if row["fh"] is None else f"fh {row['fh'].hex()[:16]}…"
