"""What is left of locks of which a part was released.

In: the ledgers, when files were last used. Out: `Residue`s that their owner seems to have forgotten.

Theory. To release a part of a lock is legal, and databases do it all the time; they go on working in the
file. What is left of a lock is suspicious where its owner has nothing else on the file, has asked for nothing
since, and nobody reads or writes it any more. It is a fault only where it is in somebody's way, or where the
release was meant to be whole: up to the last byte that 32 bits can name (NLM 1 and 3), or the file removed.

Never: judges bytes that were released; `residual-range-after-unlock` has another form for these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

from analyzer.findings.refusals import Refusal, because_of
from analyzer.findings.standing import held_at_end
from analyzer.parameters import window
from analyzer.sessions import operations as op
from analyzer.sessions.model import Lock, Owner, Wait
from analyzer.sessions.operations import Operation
from analyzer.sessions.world import Sessions

UNUSED = window("residue-unused", 60, "a program that has a file open and locked reads or writes it")
LOOKED_INTO = 64  # locks and waits of one file: the first ones tell
LAST_OF_32_BITS = (2**31 - 2, 2**31 - 1, 2**32 - 2, 2**32 - 1)


class Residue(NamedTuple):
    """What is left of the locks of one owner on one file."""

    lock: Lock  # the first of them
    unlock: Operation  # that cut it
    pieces: list[tuple[int, int]]
    unused: int  # ns
    refused: list[Refusal]  # because of one of them alone
    waits: list[Wait]  # behind this owner alone
    removed: int  # the frame in which the owner's host removed the file, 0 if it did not

    @property
    def is_short(self) -> bool:
        """Whether the release ended where 32 bits end, short of the lock."""
        return self.unlock.start <= self.lock.start and self.unlock.end in LAST_OF_32_BITS


def residues(s: Sessions) -> Iterator[Residue]:
    """Locks that were cut short, of owners that were last heard of when they released something."""
    cut: dict[tuple[int, Owner], list[Lock]] = {}
    for lock in held_at_end(s):
        if _is_cut(lock):
            cut.setdefault((id(lock.file), lock.owner), []).append(lock)
    asked = _asked(s, cut)
    removed = {id(fate.lock): fate for fate in s.fates.seen if fate.name} if cut else {}
    for key, locks in cut.items():
        lock, owner, file = locks[0], locks[0].owner, locks[0].file
        pieces = file.held.of(owner)
        unlock = lock.unlock
        assert unlock is not None
        released = max(each.call.time for each in (*file.unlocks.get(owner, ()), unlock))
        if asked[key] > released or not all(_is_cut(one) for _, _, one in pieces):
            continue
        fate = removed.get(id(lock))
        gone = fate.place.frame if fate is not None and fate.client == lock.client else 0
        used = max(s.usage.last(file.fh), s.usage.last(unlock.fh), released)
        if s.end - used < s.settings[UNUSED] and not gone:
            continue
        refused = [each for one in locks[:LOOKED_INTO] for each in because_of(one, released)]
        waits = [wait for wait in islice(file.waits, LOOKED_INTO) if _is_behind(wait, owner)]
        extents = [(low, high) for low, high, _ in pieces]
        yield Residue(lock, unlock, extents, s.end - used, refused, waits, gone)


def _is_cut(lock: Lock) -> bool:
    """Whether an UNLOCK that was executed took a part of a lock away."""
    unlock = lock.unlock
    return (
        unlock is not None
        and unlock.status == op.GRANTED
        and any(one is lock for _, _, one in unlock.removed)
    )


def _asked(s: Sessions, cut: Collection[tuple[int, Owner]]) -> dict[tuple[int, Owner], int]:
    """When these owners last asked for anything of the file that they got, or waited for."""
    latest = dict.fromkeys(cut, 0)
    for kind in (s.ledger.locks, s.ledger.waits) if cut else ():
        each: Lock | Wait
        for each in kind:
            key = (id(each.file), each.owner)
            if key in latest:
                latest[key] = max(latest[key], each.request.call.time)
    return latest


def _is_behind(wait: Wait, owner: Owner) -> bool:
    """Whether nothing but what one owner has is in a waiter's way."""
    in_way = wait.file.held.conflicts(wait.owner, wait.start, wait.end, wait.exclusive)
    return bool(in_way) and all(lock.owner is owner for lock in in_way)
