"""Many times and durations as text at once.

In: int64 ns. Out: Arrow string arrays: `2024-02-03T04:05:06.000000007Z`, `0.000123456`.

Theory. Formatting half a million times one by one takes a second; digits looked up in tables of two and
three take a few hundredths. What does not have the common shape (a call that took over ten seconds, a clock
that was set back) is rare and formatted singly.

Never: rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyzer.render import buffers
from analyzer.render.times import SECOND, rfc3339

DAY = 86_400 * SECOND
TWO = np.array([list(f"{n:02d}".encode()) for n in range(100)], np.uint8)
THREE = np.array([list(f"{n:03d}".encode()) for n in range(1000)], np.uint8)
TIME_WIDTH, DURATION_WIDTH = 30, 11

Chars = NDArray[np.uint8]


def times(ns: NDArray[np.int64], missing: NDArray[np.bool_]) -> Any:
    """RFC 3339 in UTC."""
    out = np.empty((len(ns), TIME_WIDTH), np.uint8)
    day, rest = np.divmod(ns, DAY)
    unique, place = np.unique(day, return_inverse=True)
    days = np.array([list(rfc3339(int(d) * DAY)[:11].encode()) for d in unique], np.uint8).reshape(-1, 11)
    out[:, :11] = days[place]
    seconds, fraction = np.divmod(rest, SECOND)
    out[:, 11:13] = TWO[seconds // 3600]
    out[:, 14:16] = TWO[seconds // 60 % 60]
    out[:, 17:19] = TWO[seconds % 60]
    out[:, 13] = out[:, 16] = ord(":")
    out[:, 19] = ord(".")
    _nanoseconds(out, 20, fraction)
    out[:, 29] = ord("Z")
    return _strings(out, missing)


def durations(ns: NDArray[np.int64], missing: NDArray[np.bool_]) -> Any:
    """Seconds with nine digits behind the point."""
    common = (ns >= 0) & (ns < 10 * SECOND)
    shown = np.where(common, ns, 0)
    out = np.empty((len(ns), DURATION_WIDTH), np.uint8)
    seconds, fraction = np.divmod(shown, SECOND)
    out[:, 0] = seconds + ord("0")
    out[:, 1] = ord(".")
    _nanoseconds(out, 2, fraction)
    texts = _strings(out, missing)
    rare = ~common & ~missing
    if not rare.any():
        return texts
    values = texts.to_pylist()
    for i in np.flatnonzero(rare).tolist():
        whole, part = divmod(abs(int(ns[i])), SECOND)
        values[i] = f"{'-' if ns[i] < 0 else ''}{whole}.{part:09d}"
    return buffers.strings(values)


def _nanoseconds(out: Chars, at: int, fraction: NDArray[np.int64]) -> None:
    out[:, at : at + 3] = THREE[fraction // 1_000_000]
    out[:, at + 3 : at + 6] = THREE[fraction // 1000 % 1000]
    out[:, at + 6 : at + 9] = THREE[fraction % 1000]


def _strings(chars: Chars, missing: NDArray[np.bool_]) -> Any:
    """Rows of one width as strings."""
    rows, width = chars.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(
        rows, pa.py_buffer(offsets), pa.py_buffer(chars), buffers.validity(missing)
    )
