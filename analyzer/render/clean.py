r"""Text from the wire, made harmless.

In: bytes or text that a capture holds. Out: text that a terminal, a Markdown page or a spreadsheet shows
as it is.

Theory. A caller's name or a path is written by whoever sends it. Control characters drive terminals,
bidirectional controls reorder a line, `=` at the head of a cell is a formula. Whatever does not print is
written as `\xNN` or `\uNNNN`; what a format gives a meaning to is escaped for that format. Every output
goes through here, so that no other module needs to think of it.

Never: drops a character; changes what is harmless.
"""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]()#|~!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def clean(raw: str | bytes) -> str:
    r"""One line of text: what does not print becomes `\xNN`, `\uNNNN` or `\UNNNNNNNN`."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def markdown(raw: str | bytes) -> str:
    """Text in a Markdown page, that is neither markup nor HTML."""
    return clean(raw).translate(MARKDOWN)


def code(raw: str | bytes) -> str:
    """A code span of Markdown, whatever backticks are inside."""
    text = clean(raw)
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(text: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
