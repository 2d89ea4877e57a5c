"""Times to text and back: RFC 3339 in UTC, or seconds from the start of the capture.

In: ns since the epoch; what a user typed. Out: text; an `Instant` that the start of a capture makes a time.

Theory. Whole ns are kept: 9 digits always, so that text sorts as time does. A user may be less exact: a
date, a time without a zone (UTC is meant), `+12.5` from the start.

Never: reads a clock; knows a time zone by name.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from analyzer.errors import AnalyzerError
from analyzer.frozen import frozen

SECOND = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 (the same, and older than 3.11)
OFFSET = re.compile(r"\+(\d+)(?:\.(\d{1,9}))?")
MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9})\d*)?)?\s*(Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)


@frozen
class Instant:
    """A point in time: ns since the epoch, or since the start of the capture."""

    ns: int
    relative: bool

    def at(self, start: int) -> int:
        """ns since the epoch, for a capture that starts at `start`."""
        return self.ns + start if self.relative else self.ns


def rfc3339(ns: int) -> str:
    """`2024-02-03T04:05:06.000000007Z`."""
    whole, rest = divmod(ns, SECOND)
    moment = EPOCH + timedelta(seconds=whole)
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{rest:09d}Z"


def clock(ns: int) -> str:
    """`2024-02-03 04:05:06.000007`, for reading."""
    text = rfc3339(ns)
    return f"{text[:10]} {text[11:26]}"


def period(first: int, last: int) -> str:
    """Two moments, the day said once where it is the same."""
    begin, end = clock(first), clock(last)
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"


def span(ns: int) -> str:
    """A stretch of time, exact enough to be read."""
    if ns < SECOND:
        return f"{ns / 1e6:.1f} ms"
    if ns < 600 * SECOND:
        return f"{ns / SECOND:.1f} s"
    minutes = ns // (60 * SECOND)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def parse(text: str) -> Instant:
    """What a user typed; raises `AnalyzerError`."""
    offset = OFFSET.fullmatch(text.strip())
    if offset:
        return Instant(int(offset[1]) * SECOND + _fraction(offset[2]), True)
    moment = MOMENT.fullmatch(text.strip())
    if moment:
        try:
            zone = "+00:00" if (moment[4] or "Z").upper() == "Z" else moment[4]
            found = datetime.fromisoformat(f"{moment[1]}T{moment[2] or '00:00'}{zone}")
            whole = (found - EPOCH) // timedelta(seconds=1)
            return Instant(whole * SECOND + _fraction(moment[3]), False)
        except ValueError:
            pass
    raise AnalyzerError(
        f"{text!r} is no time: give RFC 3339 (2024-02-03T04:05:06Z) or +SECONDS from the start of the capture"
    )


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))
