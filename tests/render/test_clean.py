"""Text of the wire is harmless wherever it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.render.clean import cell, clean, code, markdown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"client1", "client1"),
        ("süd/nord", "süd/nord"),
        ("日本".encode(), "日本"),
        (b"", ""),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\x1b[31mb", "a\\x1b[31mb"),
        (b"a\nb\rc\td\0", "a\\x0ab\\x0dc\\x09d\\x00"),
        (b"\x7f", "\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
    ],
)
def test_clean(raw: str | bytes, shown: str) -> None:
    assert clean(raw) == shown


@given(st.binary() | st.text())
def test_clean_text_is_printable_and_stays_as_it_is(raw: str | bytes) -> None:
    shown = clean(raw)
    assert shown.isprintable()
    assert clean(shown) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain /export/a.dat", "plain /export/a.dat"),
        ("<script>&", "&lt;script&gt;&amp;"),
        ("[x](http://e)", "\\[x\\]\\(http://e\\)"),
        ("**b** _i_ `c` # | ~ !", "\\*\\*b\\*\\* \\_i\\_ \\`c\\` \\# \\| \\~ \\!"),
        ("a\n# b", "a\\\\x0a\\# b"),
    ],
)
def test_markdown(raw: str, shown: str) -> None:
    assert markdown(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"), [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a``b`c", "```a``b`c```")]
)
def test_code(raw: str, shown: str) -> None:
    assert code(raw) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@a", "'@a"),
        ("\tx", "'\tx"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_cell(text: str, shown: str) -> None:
    assert cell(text) == shown
