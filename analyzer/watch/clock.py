"""What time it is where the packets were captured.

In: the time of the newest packet, as it comes. Out: the time now, by the clock of the capture.

Theory. Absences are judged when nothing arrives, so time must go on between packets; but packets carry the
clock of the machine that captured them, which need not be ours. So from each packet on time passes at the
pace of our own steady clock, less what a packet may take from there to here: nothing that is still under way
must seem missing.

Never: goes back; runs before the first packet.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

UNDER_WAY = 400_000_000  # ns from the wire to us: buffers of the kernel and of the capturing program


class Clock:
    """The capture's own time."""

    def __init__(self, steady: Callable[[], int] = monotonic_ns) -> None:
        self._steady = steady
        self._newest = 0
        self._seen = 0

    def packets(self, newest: int) -> None:
        """Packets came; `newest` is the largest time up to now, ns since the epoch."""
        if newest > self._newest:
            self._newest = newest
            self._seen = self._steady()

    def now(self) -> int:
        """ns since the epoch; 0 as long as nothing came."""
        if not self._newest:
            return 0
        return self._newest + max(0, self._steady() - self._seen - UNDER_WAY)
