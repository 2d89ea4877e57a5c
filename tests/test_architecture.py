"""The shape of the code holds: style, types, import direction, sizes, docstrings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "analyzer").rglob("*.py"))
TOOLS = Path(sys.executable).parent

# A path of one developer's machine in the project is of no use to anybody else.
FOREIGN = re.compile(r"(^|[^A-Za-z0-9_.])(/w[o]rk/|/h[o]me/[a-z]|/r[o]ot/|/t[m]p/w/|\.\./sh[a]red)")

MOST_LINES = 600


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--no-cache", "."),
        ("ruff", "format", "--no-cache", "--check", "."),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=" ".join,
)
def test_tool(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _tracked() -> Iterator[Path]:
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield path


def test_no_path_of_a_developers_machine() -> None:
    found = []
    for path in _tracked():
        data = path.read_bytes()
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if FOREIGN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("cd " + "/wo" + "rk/main", True),
        ("see ../sha" + "red/notes.md", True),
        ("/ho" + "me/ann/x", True),
        ("mount /export/work/x", False),
        ("a shared lock", False),
        ("shared/exclusive", False),
    ],
)
def test_what_a_foreign_path_is(line: str, foreign: bool) -> None:
    assert bool(FOREIGN.search(line)) is foreign


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    if not text.strip():
        return
    tree = ast.parse(text)
    head = ast.get_docstring(tree)
    assert head, "a module says at its head what it is"
    if path.name not in ("__init__.py", "__main__.py"):
        assert re.search(r"^(In:|Theory\.|Never:)", head, re.MULTILINE), "a head has In/Out, Theory, Never"
    silent = [
        f"{node.lineno} {node.name}"
        for node in _public(tree.body)
        if not ast.get_docstring(node, clean=False)
    ]
    assert not silent, "public, and without a docstring"


def _public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def a(): ...\ndef _b(): ...\nclass C:\n  def d(self): ...\n  def _e(self): ...", ["a", "C", "d"]),
        ("class _C:\n  def d(self): ...\ndef a():\n  def inner(): ...", ["a"]),
    ],
)
def test_what_is_public(text: str, names: list[str]) -> None:
    assert [node.name for node in _public(ast.parse(text).body)] == names
