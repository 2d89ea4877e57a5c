"""Paragraphs, tables and colours for a terminal, plain for a pipe.

In: clean text. Out: lines no wider than asked, words kept whole; escape sequences only where colour is on.

Never: asks the terminal (whoever makes a `Paint` says what it is); sees text that was not cleaned.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from analyzer.frozen import frozen

PLAIN_WIDTH = 110
NARROWEST = 40
COLOURS = {
    "critical": "1;35",
    "high": "1;31",
    "medium": "1;33",
    "low": "36",
    "info": "2",
    "head": "1",
    "dim": "2",
}


@frozen
class Paint:
    """How to write: in colour or not, how wide."""

    colour: bool = False
    width: int = PLAIN_WIDTH

    def ink(self, text: str, name: str) -> str:
        """Text in a colour."""
        return f"\x1b[{COLOURS[name]}m{text}\x1b[0m" if self.colour and name in COLOURS else text

    def wrap(self, text: str, indent: int = 0, hang: int = 0) -> Iterator[str]:
        """A paragraph, `indent` deep, further lines `hang` deeper."""
        first, rest = " " * indent, " " * (indent + hang)
        yield from textwrap.wrap(
            text,
            max(self.width, NARROWEST),
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 2) -> Iterator[str]:
        """Rows under their heads, each column as wide as it needs to be; numbers to the right."""
        table = [list(head), *[list(row) for row in rows]]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        right = [bool(rows) and all(row[i].replace(",", "").isdigit() or row[i] == "-" for row in rows)
                 for i in range(len(head))]  # fmt: skip
        for at, row in enumerate(table):
            cells = [
                text.rjust(width) if numeric else text.ljust(width)
                for text, width, numeric in zip(row, widths, right, strict=True)
            ]
            line = " " * indent + "  ".join(cells).rstrip()
            yield self.ink(line, "dim") if at == 0 else line

    def grid(self, cells: Sequence[tuple[str, str]], indent: int = 2) -> Iterator[str]:
        """Name and number pairs, in as many columns as the width has room for, read downwards."""
        if not cells:
            return
        left, right = max(len(name) for name, _ in cells), max(len(number) for _, number in cells)
        room = left + right + 4
        across = max(1, min(len(cells), (max(self.width, NARROWEST) - indent) // room))
        down = -(-len(cells) // across)
        for row in range(down):
            line = "  ".join(f"{name:<{left}}  {number:>{right}}" for name, number in cells[row::down])
            yield " " * indent + line.rstrip()
