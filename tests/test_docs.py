"""The reference is what the program says of itself, and every link in the documentation leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analyzer.cli import parser
from analyzer.faults import Fault
from analyzer.findings.catalogue import RULES
from analyzer.parameters import DECLARED
from analyzer.protocols import PROGRAMS
from analyzer.render.columns import TABLES
from tests import regen

DOCS = sorted(regen.ROOT.glob("*.md")) + sorted((regen.ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("name", regen.PAGES)
def test_page_is_up_to_date(name: str) -> None:
    path = regen.REFERENCE / name
    assert path.read_text(encoding="utf-8") == regen.PAGES[name](), "run python -m tests.regen"


def test_pages_are_whole() -> None:
    assert all(f"### {code}\n" in regen.findings() for code in RULES)
    assert all(f"| `{name}` |" in regen.parameters() for name in DECLARED)
    assert all(f"## {table}\n" in regen.tables() for table in TABLES)
    assert all(f"`{column.name}`" in regen.tables() for columns in TABLES.values() for column in columns)
    assert all(f"## {verb}\n" in regen.commands() for verb in regen.verbs(parser()))
    assert all(f"`{fault.name.lower()}`" in regen.faults() for fault in Fault)
    assert all(f"## {p.label} version {p.version} " in regen.protocols() for p in PROGRAMS)


def test_the_pages_are_linked() -> None:
    index = (regen.ROOT / "docs" / "index.md").read_text()
    assert all(f"(reference/{name})" in index for name in regen.PAGES)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(regen.ROOT).as_posix())
def test_links(path: Path) -> None:
    targets = [target for target, _ in LINK.findall(path.read_text()) if "://" not in target]
    assert not [target for target in targets if not (path.parent / target).exists()]
