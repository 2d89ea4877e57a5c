"""Who waits, and who did lately.

In: waits as they begin and end. Out: the open ones of a client or an owner, and those that a callback may
still be about.

Theory. A client may wait for thousands of locks in a minute, and hundreds at once; a callback is about one of
them, and nearly always names the process that waits (svid). So waits are found by client and svid, the open
ones by owner, too, and those that ended are forgotten after a while, in the order in which they ended. A
server that did not hear the answer calls back again: then the while begins anew.

Never: decides what a callback is about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from analyzer.sessions.model import Owner, Wait


class Waiting:
    """The waits that are open, or ended no longer ago than is `remembered` (ns)."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._open: dict[int, dict[Owner, list[Wait]]] = {}  # by client and owner
        self._ended: deque[tuple[int, Wait]] = deque()  # with when they were last called back, at least
        self._by_svid: dict[tuple[int, int], list[Wait]] = {}  # open or not, by client and svid, in order

    def __len__(self) -> int:
        return sum(map(len, self._by_svid.values()))

    def begins(self, wait: Wait) -> None:
        """Somebody waits."""
        self._open.setdefault(wait.client, {}).setdefault(wait.owner, []).append(wait)
        self._by_svid.setdefault(_svid(wait), []).append(wait)
        self.forget(wait.since.time - self._remembered)

    def ends(self, wait: Wait) -> None:
        """Nobody waits any more."""
        if self._taken(wait):
            self._ended.append((_latest(wait), wait))

    def leave(self, wait: Wait) -> None:
        """Forget a wait, though it goes on."""
        if self._taken(wait):
            self._forget(wait)

    def _taken(self, wait: Wait) -> bool:
        """Take a wait from the open ones; whether it was one."""
        owners = self._open.get(wait.client, {})
        waits = owners.get(wait.owner, [])
        if wait not in waits:
            return False
        waits.remove(wait)
        if not waits:
            del owners[wait.owner]
        if not owners:
            del self._open[wait.client]
        return True

    def of_owner(self, owner: Owner) -> list[Wait]:
        """What an owner waits for."""
        return self._open.get(owner.client, {}).get(owner, [])

    def of_client(self, client: int) -> Iterator[Wait]:
        """What a client waits for."""
        return chain.from_iterable(self._open.get(client, {}).values())

    def of_process(self, client: int, svid: int, time: int) -> Iterator[Wait]:
        """What a process waits for at a time, or waited for lately; the newest first."""
        for wait in reversed(self._by_svid.get((client, svid), ())):
            if wait.ended is None or time - _latest(wait) <= self._remembered:
                yield wait

    def forget(self, limit: int) -> None:
        """Forget the waits that ended before, and were not called back since."""
        ended = self._ended
        while ended and ended[0][0] < limit:
            _, wait = ended.popleft()
            latest = _latest(wait)
            if latest >= limit:
                ended.append((latest, wait))
                continue
            self._forget(wait)

    def _forget(self, wait: Wait) -> None:
        waits = self._by_svid[_svid(wait)]
        waits.remove(wait)
        if not waits:
            del self._by_svid[_svid(wait)]


def _svid(wait: Wait) -> tuple[int, int]:
    return wait.client, wait.request.svid


def _latest(wait: Wait) -> int:
    """When a wait ended, or was last called back."""
    ended = wait.ended.time if wait.ended is not None else 0
    return max(ended, wait.offers[-1].operation.call.time) if wait.offers else ended
