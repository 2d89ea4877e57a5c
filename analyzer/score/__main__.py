"""The command line of the scorer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analyzer.errors import AnalyzerError
from analyzer.render.clean import clean
from analyzer.score.expectations import shortcomings
from analyzer.score.labelled import expectation, findings_of, pairs
from analyzer.score.tally import Tally


def main(argv: Sequence[str] | None = None) -> int:
    """Score all captures and print: 0 nothing missed and nothing false, 1 not so, 2 could not do it."""
    options = _parser().parse_args(argv)
    tally, scored = Tally(), 0
    try:
        labelled = {path: capture for folder in options.folders for path, capture in pairs(folder).items()}
        for path, capture in labelled.items():
            expected, findings = expectation(path), findings_of(capture)
            tally.take(expected, findings)
            _say(f"{capture}: {wrong}" for wrong in shortcomings(expected, findings))
            scored += 1
    except (AnalyzerError, OSError) as problem:
        sys.stderr.write(f"score: {clean(str(problem))}\n")
        return 2
    _say(tally.lines())
    _say([_verdict(tally, scored)])
    return 0 if tally.is_perfect else 1


def _verdict(tally: Tally, captures: int) -> str:
    found, missed, false = tally.found.total(), tally.missed.total(), tally.false.total()
    recall = f"{tally.recall:.3f} ({found} of {found + missed})"
    return f"captures: {captures}, recall: {recall}, false alarms: {false}"


def _say(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{clean(line)}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analyzer.score",
        description="Recall and false alarms, by code, on captures whose truth is known.",
        epilog="Exit status: 0 nothing missed and no false alarm, 1 otherwise, 2 could not do it.",
    )
    help_ = "captures with NAME.expect.json beside each; folders below it count as well"
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help=help_)
    return parser


if __name__ == "__main__":
    sys.exit(main())
