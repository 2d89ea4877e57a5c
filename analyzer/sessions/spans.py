"""When something was missing, by stream: as stretches of time.

In: times, nearly all in order. Out: whether one of them lies between two others.

Theory. What was not captured may have been anything, so that a stretch too long is on the safe side: times
close together are one stretch, and where a stream has many, the last one goes on.

Never: grows by more than a few numbers a stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

Stream = tuple[int, int]  # flow, side
Stretch = tuple[int, int]  # since and until, ns

NEAR = 1_000_000_000  # ns between two that are one stretch
MOST = 64  # stretches of one stream


def meet(stretches: Iterable[Stretch], since: int, until: int) -> bool:
    """Whether one of these stretches, in any order, reaches into since..until."""
    return any(first <= until and last >= since for first, last in stretches)


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same time as stretches in order, which are apart."""
    apart: list[Stretch] = []
    for since, until in sorted(stretches):
        if apart and since <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(until, apart[-1][1])
        else:
            apart.append((since, until))
    return apart


def meet_joined(stretches: Sequence[Stretch], since: int, until: int) -> bool:
    """Whether one of these, in order and apart, reaches into since..until."""
    at = bisect_right(stretches, until, key=itemgetter(0))
    return at > 0 and stretches[at - 1][1] >= since


class Spans:
    """Stretches of time by stream."""

    def __init__(self) -> None:
        self._of: dict[Stream, list[Stretch]] = {}

    def add(self, stream: Stream, time: int) -> None:
        """Something of this stream was missing then."""
        spans = self._of.setdefault(stream, [])
        if spans and (time - spans[-1][1] <= NEAR or len(spans) >= MOST):
            spans[-1] = min(time, spans[-1][0]), max(time, spans[-1][1])
        else:
            spans.append((time, time))

    def of(self, stream: Stream) -> Sequence[Stretch]:
        """The stretches of a stream."""
        return self._of.get(stream, ())

    def between(self, stream: Stream, since: int, until: int) -> bool:
        """Whether anything of a stream was missing in since..until."""
        return meet(self.of(stream), since, until)

    def flows(self) -> set[int]:
        """The flows of which something was missing at any time."""
        return {flow for flow, _ in self._of}

    def forget(self, flows: Iterable[int]) -> None:
        """These flows are no more."""
        for flow in flows:
            for side in (0, 1):
                self._of.pop((flow, side), None)

    def forget_before(self, limit: int) -> None:
        """Forget what was over before then."""
        kept = {stream: [span for span in spans if span[1] >= limit] for stream, spans in self._of.items()}
        self._of = {stream: spans for stream, spans in kept.items() if spans}
