"""What sessions that go on for ever forget.

In: sessions, and the time. Out: the same sessions without what is over for longer than an age, or beyond a
number; how much was dropped before its age.

Theory. What stands is kept: a lock that is held, a wait, a mount, an UNLOCK without an answer. What is over
is history, and history is kept as long as rules may need it to judge what happens now, and a user to look
back; an hour is much more than any of their windows. Besides the age there is a number, for a storm can make
an hour's history too large: then the oldest goes first, and is counted. What is forgotten lets go of what it
refers to, or every lock would keep the one before it, which it waited for, and so all there ever were.

A capture that is read from files forgets nothing: its tables are whole.

Never: takes part in an analysis of files; forgets what stands, up to `MOST_STANDING` of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from itertools import takewhile
from typing import Any, TypeVar

from analyzer.sessions.conduct import Conduct
from analyzer.sessions.kept import Kept
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import File, Lock, Offer, Wait
from analyzer.sessions.mounts import FAR, Mount
from analyzer.sessions.operations import LATELY, Operation
from analyzer.sessions.pace import Meter
from analyzer.sessions.reboots import Reboots
from analyzer.sessions.settled import drop_unused
from analyzer.sessions.world import Sessions

MOST_PAST = 1 << 12  # locks, waits and callbacks that are over: rules look at all of them again and again
MOST_STANDING = 1 << 17  # ... and that stand; mount sessions, pairs of hosts
MOST_NAMED = 1 << 16  # hosts whose names are known
MOST_HANDLES = 1 << 16  # beyond that, those that are not used go
CROWDED = 3 << 16  # ... and soon: there is room for a third more
ROUNDS = 5  # in `LATELY`: how often it is asked which handles are in use
REPLIES_KEPT = 64  # of one kind, for one mount session, notice or stretch of grace
MOUNTS_KEPT = 2  # MNTs and UMNTs of a mount session that are old

K = TypeVar("K")
V = TypeVar("V")


class Retention:
    """Forgets, now and then."""

    def __init__(self, age: int, most: int = MOST_PAST) -> None:
        """`age` in ns; `most` of a kind that are over."""
        self.age = age
        self.most = most
        self.known_since = 0  # everything that ended later is still known
        self.dropped = 0  # before their age
        self._round = 0  # when it was last asked which handles are in use

    def forget(self, s: Sessions, now: int) -> None:
        """Forget what is over since `now - age` or longer."""
        limit = self.known_since = max(self.known_since, now - self.age)
        lately = max(limit, now - LATELY)
        self._history(s.ledger, limit)
        _requests(s, lately)
        self._ledger(s, s.ledger, limit, lately)
        self._mounts(s, limit, lately)
        _kept_lists(s, limit)
        s.connections.forget_ended(lately)
        s.connections.missing.forget_before(limit)
        s.drop_spans[:] = [(since, until) for since, until in s.drop_spans if until >= limit]
        self._pairs(s, limit, lately)
        self._names(s)
        self._handles(s, now)

    # -- ledgers ------------------------------------------------------------------------------

    def _history(self, ledger: Ledger, limit: int) -> None:
        """Locks, waits and callbacks that are over."""
        for kind, over, cut, leave in (
            (ledger.locks, lock_over, _cut_lock, _leave_lock),
            (ledger.waits, _wait_over, _cut_wait, ledger.leave_wait),
            (ledger.offers, _offer_over, _cut_offer, _cut_offer),
        ):
            self._trim(kind, over, cut, leave, limit)

    def _trim(
        self,
        items: list[Any],
        over: Callable[[Any], int | None],
        cut: Callable[[Any], None],
        leave: Callable[[Any], None],
        limit: int,
    ) -> None:
        """Drop the items that ended before the limit, and the oldest of those that are too many: what stands
        of these is left, as if it had never been."""
        ends = sorted(end for item in items if (end := over(item)) is not None and end >= limit)
        if len(ends) > self.most:
            self.dropped += len(ends) - self.most
            limit = ends[-self.most]
            self.known_since = max(self.known_since, limit)
        kept = []
        for item in items:
            end = over(item)
            if end is None or end >= limit:
                kept.append(item)
            else:
                cut(item)
        excess = max(0, len(kept) - MOST_STANDING)
        self.dropped += excess
        for item in kept[:excess]:
            leave(item)
            cut(item)
        items[:] = kept[excess:]

    def _ledger(self, s: Sessions, ledger: Ledger, limit: int, lately: int) -> None:
        """Files and owners that nothing is about any more."""
        for file in ledger.files.values():
            _forget_in_file(ledger, file, limit, lately)
        drop_unused(s)
        ledger.pairs = {(lock.client, lock.server) for lock in ledger.locks}
        ledger.waiting.forget(lately)
        for client, asked in list(ledger.asked_of.items()):
            while asked and asked[0].call.time < lately:
                asked.popleft()
            if not asked:
                del ledger.asked_of[client]

    # -- mounts, hosts ------------------------------------------------------------------------

    def _mounts(self, s: Sessions, limit: int, lately: int) -> None:
        """Mount sessions that ended, and what is old in the others."""
        mounts, pairs = s.mounts, {(lock.client, lock.server) for lock in s.ledger.locks}
        for key, mount in list(mounts.sessions.items()):
            if not mount.count and (mount.client, mount.server) not in pairs and _last(mount) < limit:
                mounts.forget(key)
            else:
                _forget_in_mount(mount, lately)
                if len(mount.paths) > REPLIES_KEPT:
                    mounts.forget_closed(mount)
        while len(mounts.sessions) > MOST_STANDING:
            mounts.forget(next(iter(mounts.sessions)))
            self.dropped += 1
        for first, copies in list(mounts.unheard.items()):
            if copies[-1].time < limit:
                del mounts.unheard[first]

    def _pairs(self, s: Sessions, limit: int, lately: int) -> None:
        """What is kept for each client and server."""
        for flow, calls in list(s.nlm_flows.items()):
            if calls[-1].time < lately:
                del s.nlm_flows[flow]
        locking = s.ledger.pairs | {(wait.client, wait.file.server) for wait in s.ledger.waits}
        for client, servers in list(s.lock_servers.items()):
            for server, firsts in list(servers.items()):
                if (client, server) not in locking:
                    servers[server] = {v: first for v, first in firsts.items() if first.call.time >= limit}
                    if not servers[server]:
                        del servers[server]
            if not servers:
                del s.lock_servers[client]
        for copies in s.pace.copies.values():
            copies.operations[:] = _since(copies.operations, limit)
        for pair in [pair for pair, resends in s.pace.resends.items() if resends.last.time < limit]:
            del s.pace.resends[pair]
        tables: tuple[dict[Any, Any], ...] = (s.pace.copies, s.ledger.states, s.rebirths.latest)
        self.dropped += sum(_bound(table, MOST_NAMED) for table in tables)

    def _names(self, s: Sessions) -> None:
        """Names of hosts: those that were named first go first."""
        hosts = s.hosts
        while len(hosts.names) > MOST_NAMED:
            hosts.forget(next(iter(hosts.names)))
            self.dropped += 1

    def _handles(self, s: Sessions, now: int) -> None:
        """Handles that nobody used for a while, and nothing that is kept refers to: at once those that have
        no name, for it was removed or never seen, and where there are many the others, too."""
        handles, table = s.handles, s.handles.table
        if now - self._round < LATELY // ROUNDS:
            return
        self._round = now
        table.next_round()
        crowd = set[int]()
        if table.used > MOST_HANDLES:
            crowd.update(table.unmet(1 if table.used > CROWDED else 2 * ROUNDS))
        directories = {directory for directory, _ in handles.parents.values()}
        gone = {one for one in table.unmet(1) if handles.nameless(one) and one not in directories} | crowd
        if gone:
            handles.give_up(gone - _pinned(s))


def _pinned(s: Sessions) -> set[int]:
    """The handles that something kept refers to, and the directories above them."""
    ledger, handles = s.ledger, s.handles
    pinned = {*handles.roots, *ledger.files, *(file.fh for file in ledger.files.values())}
    pinned.update(root for export in handles.exports for root in export.roots)
    about: list[Any] = [*ledger.locks, *ledger.waits, *ledger.offers, *s.operations.open.values()]
    for builder in _builders(s):
        about += (item for kept in vars(builder).values() if isinstance(kept, Kept) for item in kept)
    about += (call for calls in s.conduct.calls.values() for call in calls)
    for item in about:
        pinned.update(_handles_of(item))
    above = set(pinned)
    while above:
        above = {handles.parents[one][0] for one in above if one in handles.parents} - pinned
        pinned |= above
    return pinned


def _handles_of(item: Any) -> Iterator[int]:
    """The handles that a thing that is kept refers to."""
    if type(item) is tuple:
        item = item[0]
    for holder in (item, *(getattr(item, name, None) for name in ("request", "operation", "about", "lock"))):
        file = getattr(holder, "file", None)
        yield from (getattr(one, "fh", -1) for one in (holder, file) if one is not None)


def lock_over(lock: Lock) -> int | None:
    """When both sides were done with a lock; None where one is not."""
    if lock.server_end is None or (lock.believed is not None and lock.client_end is None):
        return None
    return max(lock.server_end.time, lock.client_end.time if lock.client_end is not None else 0)


def _wait_over(wait: Wait) -> int | None:
    return None if wait.ended is None else wait.ended.time


def _offer_over(offer: Offer) -> int | None:
    open_still = offer.wait is not None and offer.wait.ended is None
    return None if open_still else _latest_of(offer.operation)


def _cut_lock(lock: Lock) -> None:
    _cut_operation(lock.request)
    lock.unlock = lock.lost = lock.refusal = None
    lock.denials = lock.reclaimed = ()


def _leave_lock(lock: Lock) -> None:
    for page in (lock.file.held, lock.file.believed):  # perhaps the same one
        page.drop(lock)


def _cut_wait(wait: Wait) -> None:
    _cut_operation(wait.request)
    wait.lock = wait.freed_by = wait.tested = wait.cancelled = None
    wait.blockers = []
    wait.polls.clear()
    wait.offers.clear()
    wait.frees.clear()


def _cut_offer(offer: Offer) -> None:
    _cut_operation(offer.operation)
    offer.wait = offer.lock = None


def _cut_operation(operation: Operation) -> None:
    operation.lock = operation.wait = operation.offer = None
    operation.blockers = []
    operation.removed = []


def _forget_in_file(ledger: Ledger, file: File, limit: int, lately: int) -> None:
    for operation in [one for one in file.pending if _latest_of(one) < limit]:
        ledger.give_up(operation)
    for owner, unlocks in list(file.unlocks.items()):
        left = [unlock for unlock in unlocks if unlock.call.time >= lately]
        if left:
            unlocks[:] = left
        else:
            del file.unlocks[owner]
    file.unexplained[:] = _since(file.unexplained, limit)


def _last(mount: Mount) -> int:
    """When anything was last heard of a mount session."""
    places = [*mount.mnts[-1:], *mount.umnts[-1:], *((mount.last,) if mount.last is not None else ())]
    return max((place.time for place in places), default=0)


def _forget_in_mount(mount: Mount, limit: int) -> None:
    mount.flows = {flow: last for flow, last in mount.flows.items() if last.time >= limit}
    mount.goodbyes[:] = [one for one in mount.goodbyes if one.until == FAR or one.until >= limit]
    for replies in (mount.mnts, mount.umnts):
        old = sum(reply.time < limit for reply in replies)
        del replies[: max(0, old - MOUNTS_KEPT)]
        del replies[1:-REPLIES_KEPT]


# -- what is remarkable -----------------------------------------------------------------------------


def _kept_lists(s: Sessions, limit: int) -> None:
    """Every `Kept` of every builder: what is old makes room."""
    for builder in _builders(s):
        for value in vars(builder).values():
            if isinstance(value, Kept):
                value[:] = _since(value, limit)
    s.intrusions.forget(limit)
    s.fates.forget(limit)
    _reboots(s.reboots, limit)
    _conduct(s.conduct, limit)


def _builders(s: Sessions) -> Iterable[object]:
    yield s
    for value in vars(s).values():
        if type(value).__module__.startswith("analyzer.sessions"):
            yield value
    yield from (value for value in vars(s.pace).values() if isinstance(value, Meter))


def _reboots(reboots: Reboots, limit: int) -> None:
    reboots.forget_lookups(limit)
    reboots.active = {server: grace for server, grace in reboots.active.items() if grace in reboots.graces}
    for grace in reboots.graces:
        del grace.refusals[1:-REPLIES_KEPT]
    for notice in reboots.notices:
        del notice.calls[1:-REPLIES_KEPT]


def _conduct(conduct: Conduct, limit: int) -> None:
    for kind, calls in conduct.calls.items():
        conduct.calls[kind] = _since(calls, limit)
    conduct.refused[:] = _since(conduct.refused, limit)
    for key, port in list(conduct.open_ports.items()):
        if port.calls and port.calls[-1].time < limit:
            del conduct.open_ports[key]
    conduct.forget_answers()


def _requests(s: Sessions, limit: int) -> None:
    """Requests that nobody will answer any more."""
    operations = s.operations
    for serial, _ in list(takewhile(lambda one: _latest_of(one[1]) < limit, operations.open.items())):
        del operations.open[serial]
    for key, queue in list(operations.waiting.items()):
        while queue and queue[0].call.time < limit:
            queue.popleft()
        if not queue:
            del operations.waiting[key]


def _since(items: Iterable[V], limit: int) -> list[V]:
    return [item for item in items if when(item) >= limit]


def when(item: Any) -> int:
    """When something last happened to what is kept: whatever it is, it has a time or a place somewhere."""
    if isinstance(item, Operation):
        return _latest_of(item)
    if type(item) is tuple:  # an operation and its answer
        return when(item[-1])
    for name in ("time", "last", "place", "closed", "ended", "begin", "call"):
        value = getattr(item, name, None)
        if isinstance(value, int):
            return value
        if value is not None:
            return when(value)
    raise TypeError(f"{type(item).__name__} has no time")


def _latest_of(operation: Operation) -> int:
    return max(operation.calls[-1].time, operation.answers[-1].time if operation.answers else 0)


def _bound(table: MutableMapping[K, V], most: int) -> int:
    """Drop the first entries beyond `most`; how many."""
    over = max(0, len(table) - most)
    for key in [key for key, _ in zip(table, range(over), strict=False)]:
        del table[key]
    return over


def sizes(s: Sessions) -> dict[str, int]:
    """How much is kept, by kind."""
    kept = (value for builder in _builders(s) for value in vars(builder).values() if isinstance(value, Kept))
    return {
        "locks": len(s.ledger.locks),
        "waits": len(s.ledger.waits),
        "callbacks": len(s.ledger.offers),
        "files": len(s.ledger.files),
        "owners": len(s.ledger.owners),
        "requests": len(s.operations.open),
        "mounts": len(s.mounts.sessions),
        "connections": len(s.connections.order),
        "hosts": len(s.hosts.names),
        "handles": s.handles.table.used,
        "remarkable": sum(map(len, kept)),
    }
