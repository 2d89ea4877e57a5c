"""Hits, misses and false alarms by code.

In: an expectation and the findings of its capture, as often as there are captures. Out: a table of codes.

Theory. A `must` entry that any of several codes would meet counts for the code that met it, and where none
did for the one it names first. So every entry counts once, and the sums are right.

Never: decides what meets an entry or what is a false alarm; `expectations` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analyzer.score.expectations import Json, meets, why_wrong

HEAD = ("code", "must", "found", "missed", "false")


class Tally:
    """Counts by code over all captures taken in."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.false: Counter[str] = Counter()

    def take(self, expectation: Json, findings: list[Json]) -> None:
        """Count one capture."""
        for entry in expectation["must"]:
            codes = {finding["code"] for finding in findings if meets(entry, finding)}
            hit = next((code for code in entry["any_of"] if code in codes), None)
            if hit is not None:
                self.found[hit] += 1
            else:
                self.missed[entry["any_of"][0]] += 1
        self.false.update(f["code"] for f in findings if why_wrong(expectation, f) is not None)

    @property
    def recall(self) -> float:
        """The share of `must` entries that were met."""
        found, missed = self.found.total(), self.missed.total()
        return found / (found + missed) if found + missed else 1.0

    @property
    def is_perfect(self) -> bool:
        """Whether nothing was missed and nothing false."""
        return not self.missed and not self.false

    def lines(self) -> Iterator[str]:
        """A line per code, aligned under a head."""
        codes = sorted({*self.found, *self.missed, *self.false})
        width = max(map(len, (HEAD[0], *codes)))
        yield f"{HEAD[0]:<{width}}" + "".join(f"{word:>8}" for word in HEAD[1:])
        for code in codes:
            found, missed, false = self.found[code], self.missed[code], self.false[code]
            counts = (found + missed, found, missed, false)
            yield f"{code:<{width}}" + "".join(f"{count:>8}" for count in counts)
