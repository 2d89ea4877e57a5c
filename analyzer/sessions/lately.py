"""A mapping that keeps what was put into it lately.

In: keys and values. Out: the same, until it is too long ago.

Theory. There are two generations. When the new one has as many entries as are to be kept, the old one goes
and the new one becomes old: so at least that many stay, those that were put in last, and it costs no more
than a dict. Whoever puts in many may do so in `new` itself, and turn when done.

Never: counts how often something is asked for.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lately(Generic[K, V]):
    """What was put in lately."""

    __slots__ = ("forgot", "new", "old")

    def __init__(self) -> None:
        self.new: dict[K, V] = {}
        self.old: dict[K, V] = {}
        self.forgot = False  # whether anything is not known any more

    def find(self, key: K) -> V | None:
        """What was put in last for a key, if that is not too long ago."""
        found = self.new.get(key)
        return self.old.get(key) if found is None else found

    def turn(self, least: int) -> None:
        """Let the old generation go, if the new one alone has at `least` so many."""
        if len(self.new) >= least:
            self.forgot = self.forgot or bool(self.old)
            self.old, self.new = self.new, {}
