"""Hosts that began anew without saying so.

In: granted locks in order, MNT and UMNT. Out: `Rebirth`s of lock clients.

Theory. A Linux host counts the cookies of its NLM calls from 0x1234 since its lock module was loaded. A count
that begins again is a reboot, or an unload after the last unmount; a MNT without the UMNT of the mount before
it rules out the latter. One sign alone is none: a request that is put off is repeated with its old
cookie, and an automounter mounts what is mounted. The last lock of each client and server is all that must
be known to see the next one begin anew.

Never: takes the stamp of AUTH_SYS for a sign; it is the clock or 0.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from analyzer.parameters import DEFAULTS, Settings, threshold
from analyzer.records.events import Reply
from analyzer.sessions.kept import Kept
from analyzer.sessions.model import Lock
from analyzer.sessions.mounts import Mounts
from analyzer.sessions.operations import Operation

FIRST_COOKIE = 0x1234
YOUNG = threshold("young-lockd", 64, "calls", "of a lock module that was just loaded")
COOKIE_SIZE = 4
TRIES = 16  # falls of one count that are looked into: nobody reboots more often


@dataclass(slots=True, eq=False)
class Rebirth:
    """A lock client that counts from the beginning again."""

    client: int
    server: int
    before: Lock  # the last lock of the old life
    after: Lock  # the first one of the new
    mnt: Reply  # the mount that began it

    @property
    def time(self) -> int:
        """When it showed."""
        return self.after.granted.time

    @property
    def signs(self) -> str:
        """What shows it, in words."""
        after, before = cookie(self.after.request), cookie(self.before.request)
        return (
            f"its cookies begin again ({after:#x} after {before:#x}) and it mounted again without having "
            f"unmounted"
        )

    @property
    def frames(self) -> list[int]:
        """Frames that show it."""
        return [self.before.request.call.frame, *self.after.frames, self.mnt.call.frame, self.mnt.frame]


def cookie(operation: Operation) -> int:
    """The count in the cookie of a request of a Linux client, -1 if it has none."""
    raw = operation.cookie
    return int.from_bytes(raw, "little") if len(raw) == COOKIE_SIZE else -1


class Rebirths:
    """Told of every grant."""

    def __init__(self, mounts: Mounts, settings: Settings = DEFAULTS) -> None:
        self.found: Kept[Rebirth] = Kept()
        self.latest: dict[tuple[int, int], tuple[int, Lock]] = {}  # count and lock, by client and server
        self._falls: Counter[tuple[int, int]] = Counter()
        self._mounts = mounts
        self.youngest = FIRST_COOKIE + settings[YOUNG]

    def is_young(self, request: Operation) -> bool:
        """Whether a request is among the first of a Linux lock module."""
        return FIRST_COOKIE <= cookie(request) <= self.youngest

    def granted(self, lock: Lock) -> None:
        """A lock was granted by the answer to its request."""
        count = cookie(lock.request)
        if count < FIRST_COOKIE:
            return
        key = lock.owner.client, lock.file.server
        last, before = self.latest.get(key, (-1, lock))
        if count <= last and count <= self.youngest:
            self._falls[key] += 1
            mnt = self._mounted_again(before, lock) if self._falls[key] <= TRIES else None
            if mnt is not None:
                self.found.append(Rebirth(*key, before, lock, mnt))
            elif count < last:
                return  # an old request that was put off
        self.latest[key] = count, lock

    def _mounted_again(self, before: Lock, after: Lock) -> Reply | None:
        """The MNT between two locks of a client that no UMNT accounts for."""
        since, until = before.request.call.time, after.request.call.time
        sessions = self._mounts.of_client(after.client, after.server)
        if any(since < umnt.call.time < until for mount in sessions for umnt in mount.umnts):
            return None
        for mount in sessions:
            for mnt in mount.mnts:
                if since < mnt.call.time < until and mount.first is not None and mount.first.time < since:
                    return mnt
        return None
