"""Lists that stop growing: what is remarkable is kept, up to a limit, and the rest counted.

In: things worth a finding. Out: the first `limit` of them, and how many were dropped.

Theory. A hostile capture can make any single kind of event as often as it likes; a thousand examples
prove what a million would.

Never: used for what a ledger needs to stay right.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

KEPT = 1 << 14


class Kept(list[T]):
    """A list of at most `limit` entries, filled by `append` only."""

    def __init__(self, limit: int = KEPT) -> None:
        super().__init__()
        self.limit = limit
        self.dropped = 0

    def append(self, item: T) -> None:
        """Keep an entry, or count it."""
        if len(self) < self.limit:
            super().append(item)
        else:
            self.dropped += 1
