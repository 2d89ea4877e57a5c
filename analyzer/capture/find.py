"""The captures among what the user named, in time order.

In: paths of files and directories. Out: the captures to read, in the order of their first
packets, and what a directory holds besides.

Theory. Several files are one logical capture (a ring buffer, two taps), so their order
is that of time, not of names. A file that was named must be a capture; one that merely
lies in a directory may be anything. What can be read once only (standard input, a pipe)
is neither sniffed nor ordered: it comes last.

Never: descends into subdirectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import STDIN, open_source
from analyzer.errors import AnalyzerError
from analyzer.faults import new_faults
from analyzer.tables import Bytes, Packets, new_table

NO_PACKETS = float("inf")


def find_captures(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Captures in time order, and files of directories that are none."""
    memory = np.empty(LEAST_REGION, np.uint8)
    found: list[tuple[float, str]] = []
    skipped: list[str] = []
    for path in paths:
        if path != STDIN and Path(path).is_dir():
            here = len(found)
            for entry in _files(path):
                try:
                    found.append((first_time(entry, memory, convert=False), entry))
                except AnalyzerError:
                    skipped.append(entry)
            if len(found) == here:
                raise AnalyzerError(f"{path}: no captures in this directory")
        elif path == STDIN or is_read_once(path):
            found.append((NO_PACKETS, path))
        else:
            found.append((first_time(path, memory), path))
    found.sort(key=lambda item: item[0])
    return [path for _, path in found], skipped


def _files(directory: str) -> list[str]:
    """The regular files of a directory, by name."""
    try:
        return sorted(str(entry) for entry in Path(directory).iterdir() if entry.is_file())
    except OSError as error:
        raise AnalyzerError(f"{directory}: {error.strerror}") from None


def is_read_once(path: str) -> bool:
    """Whether sniffing would take bytes away from the reading that follows."""
    where = Path(path)
    return where.is_fifo() or where.is_char_device() or where.is_socket()


def first_time(path: str, memory: Bytes, convert: bool = True) -> float:
    """The time of the first packet; raises where the file is no capture."""
    with open_source(path, convert) as source:
        reader = Reader(source, memory, 0, False, new_faults())
        reader.read_block(new_table(Packets, 1))
        return NO_PACKETS if reader.first_time is None else reader.first_time
