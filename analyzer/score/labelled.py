"""Labelled captures on disk, and what lockscope finds in them.

In: folders. Out: each expectation there with its capture; an expectation read and looked over; the findings
of a capture.

Theory. A capture and its expectation lie side by side: `NAME.pcap.zst` and `NAME.expect.json`.

Never: judges.
"""

from __future__ import annotations

import json
from pathlib import Path

from analyzer.engine import analyze
from analyzer.errors import AnalyzerError
from analyzer.render import document
from analyzer.render.view import View
from analyzer.score.expectations import CONFIDENCE, Json

SUFFIX = ".expect.json"
ENDINGS = tuple(kind + packing for kind in (".pcap", ".pcapng") for packing in ("", ".gz", ".zst", ".xz"))


def pairs(folder: Path) -> dict[Path, Path]:
    """The expectations in a folder and below it, each with its capture; raises where there is none."""
    if not folder.is_dir():
        raise AnalyzerError(f"{folder}: is no directory")
    found = {path: _beside(path) for path in sorted(folder.rglob(f"*{SUFFIX}"))}
    if not found:
        raise AnalyzerError(f"{folder}: no {SUFFIX} in this directory or below it")
    return found


def _beside(expectation: Path) -> Path:
    stem = expectation.name.removesuffix(SUFFIX)
    for ending in ENDINGS:
        capture = expectation.with_name(stem + ending)
        if capture.is_file():
            return capture
    raise AnalyzerError(f"{expectation}: there is no capture beside it")


def expectation(path: Path) -> Json:
    """What an expectation says; raises where it is none."""
    try:
        said: Json = json.loads(path.read_text(encoding="utf-8"))
        lists = [said["may"], said["never"], *(entry["any_of"] for entry in said["must"])]
        sure = [entry.get("min_confidence", CONFIDENCE[0]) for entry in said["must"]]
        well = isinstance(said["clean"], bool) and all(isinstance(codes, list) for codes in lists)
        well &= all(entry["any_of"] for entry in said["must"])
    except (ValueError, LookupError, TypeError, AttributeError):
        well = False
    if not well or not set(sure) <= set(CONFIDENCE):
        raise AnalyzerError(f"{path}: is no expectation (clean, must with any_of, may, never)")
    return said


def findings_of(capture: Path) -> list[Json]:
    """What an analysis finds in a capture, as its JSON document has it."""
    return [document.finding(found) for found in View(analyze([str(capture)])).findings]
