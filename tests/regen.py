"""Everything that is generated and checked in: `python -m tests.regen` writes it, `--check` compares.

In: the captures, the rules, the declarations, the columns, the command line. Out: `reports/` (what
lockscope says of every capture), `docs/reference/`, `docs/questions.md` and what
the code in `docs/guide.md` prints and draws.

Theory. Text that the program can write is written by the program and reviewed as a diff. Reports name
captures by their path in the project and nothing that differs between machines, so that the same sources
give the same bytes.

Never: is the only witness that a report is right; the labels of the captures are.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from unittest import mock

from tests import guide, questions, traps
from tests.expectations import expectations

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "reports"
REFERENCE = ROOT / "docs" / "reference"
HELP_WIDTH = "100"


def reports() -> Iterator[tuple[Path, str]]:
    """Path and text of every report."""
    for name, capture in expectations().items():
        text, document = report(capture)
        yield REPORTS / f"{name}.txt", text
        yield REPORTS / f"{name}.json", document


def report(capture: Path) -> tuple[str, str]:
    """The text and the JSON document of a capture."""
    from analyzer.engine import analyze
    from analyzer.render import document
    from analyzer.render.paint import Paint
    from analyzer.render.text import summary
    from analyzer.render.view import View

    with chdir(ROOT):
        view = View(analyze([capture.relative_to(ROOT).as_posix()]))
    return "".join(f"{line}\n" for line in summary(view, Paint())), document.text(view)


def findings() -> str:
    """The catalogue."""
    from analyzer.findings.catalogue import RULES
    from analyzer.render.pages import reference

    return _text(reference(RULES.values()))


def parameters() -> str:
    """The windows and thresholds."""
    from analyzer.render.parameters import reference

    return _text(reference())


def answers() -> str:
    """The keys of the JSON that `locks` and `mounts` print."""
    from analyzer.engine import analyze
    from analyzer.render.answers import reference
    from analyzer.render.view import View

    return _text(reference(View(analyze([str(next(iter(expectations().values())))]))))


def tables() -> str:
    """The columns of every table."""
    from analyzer.render.columns import reference

    return _text(reference())


def commands() -> str:
    """The help of every verb."""
    from analyzer.cli import parser

    with mock.patch.dict(os.environ, {"COLUMNS": HELP_WIDTH}):
        top = parser()
        lines = ["# Commands", "", "```", top.format_help().rstrip(), "```"]
        for name, verb in verbs(top).items():
            lines += ["", f"## {name}", "", "```", verb.format_help().rstrip(), "```"]
    return _text(lines)


def verbs(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the verbs."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def protocols() -> str:
    """Every message of every protocol."""
    from analyzer.protocols import PROGRAMS
    from analyzer.schema.reference import page

    head = "# Protocols\n\nWhat is decoded, generated from the declarations in `analyzer/protocols`.\n\n"
    return head + "\n\n".join(page(program).rstrip() for program in PROGRAMS) + "\n"


def faults() -> str:
    """Every way a capture can be wrong."""
    from analyzer.faults import MEANING

    lines = [
        "# Faults",
        "",
        "What can be wrong with a capture, as `health` counts it. None of it stops an analysis.",
        "",
        "| fault | meaning |",
        "| --- | --- |",
        *(f"| `{fault.name.lower()}` | {meaning} |" for fault, meaning in MEANING.items()),
    ]
    return _text(lines)


PAGES: dict[str, Callable[[], str]] = {
    "findings.md": findings,
    "parameters.md": parameters,
    "answers.md": answers,
    "tables.md": tables,
    "commands.md": commands,
    "protocols.md": protocols,
    "faults.md": faults,
    "encodings.md": traps.page,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Path and text of every page of the reference, and of the questions."""
    for name, made in PAGES.items():
        yield REFERENCE / name, made()
    yield questions.PAGE, questions.page()


def _text(lines: Iterator[str] | list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def stale(wanted: Iterator[tuple[Path, str]]) -> list[str]:
    """The files that are not as they would be written now."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in wanted
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def strays() -> list[str]:
    """Files in the generated folders that nothing writes."""
    known = {REPORTS / f"{name}{ending}" for name in expectations() for ending in (".txt", ".json")}
    known |= {REFERENCE / name for name in PAGES}
    found = (path for top in (REPORTS, REFERENCE) for path in top.rglob("*") if path.is_file())
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path not in known)


def main(argv: list[str]) -> int:
    """Write all, or with `--check` say what is not up to date."""
    if "--check" in argv:
        wrong = [*stale(pages()), *stale(reports()), *strays()]
        sys.stdout.write("".join(f"not up to date: {path}\n" for path in wrong))
        return 1 if wrong else 0
    for stray in strays():
        (ROOT / stray).unlink()
    written = guide.write()
    for made in (pages(), reports()):
        for path, text in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written += 1
    sys.stdout.write(f"{written} files written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
