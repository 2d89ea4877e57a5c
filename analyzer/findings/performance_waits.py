"""Waiting: how long, behind whom, in what company, and who comes first.

In: locks and waits of the ledger. Out: cases about queues.

Theory. A lock that is held makes others wait; that is what it is for. So a long wait behind a holder that the
capture shows is a fact (`info`) until it is longer than any program that was written to wait would bear.
What is measured is what requests and answers say: a wait lasts from its request to its grant or its end.

Never: calls a wait a fault because it is inconvenient.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from analyzer.findings.rule import (
    DEFINITE,
    INFO,
    LOW,
    MEDIUM,
    PROBABLE,
    Case,
    Watch,
    file_name,
    of_lock,
    of_wait,
    rule,
    seconds,
)
from analyzer.parameters import threshold, window
from analyzer.sessions.model import File, Lock, Owner, Place, Wait
from analyzer.sessions.world import Sessions

WORTH_A_WORD = window("long-wait", 60, "two polls of a Linux client: a person has noticed by then")
TOO_LONG = window(
    "stuck-wait", 900, "jobs that queue on purpose wait for minutes; a quarter of an hour is a stuck one"
)
USUAL_FACTOR = threshold(
    "hold-factor", 10, "times", "the median hold of the same file: what is usual there is no fault"
)
POLLED = window("waited-in-earnest", 30, "how often a Linux waiter asks again: it has waited in earnest")
QUEUE = threshold(
    "convoy-owners",
    5,
    "owners",
    "that wait for one range at once: more than a few programs that cooperate",
)
QUEUE_LASTS = window("convoy-lasts", 10, "a shorter queue is a burst of work")
OVERTAKEN = threshold(
    "overtaken", 5, "times", "once is chance; locks that are cancelled and timed out explain two or three"
)
STARVED = window("starved-wait", 10, "who waited less was not starved, whoever was served before")
TURNS = threshold("ping-pong-turns", 20, "turns", "fewer are two programs that take turns for once")
TURNS_WITHIN = window("ping-pong-window", 60, "as many turns in a longer time cost little")


@rule("long-hold", MEDIUM)
def long_hold(s: Sessions) -> Iterator[Case]:
    """An exclusive lock was held for long while others waited for it.

    ## What it is
    Held for more than a minute, and more than ten times as long as is usual for this file, with somebody
    waiting behind it for half a minute or more. A fact up to a quarter of an hour.

    ## Why it matters
    Everybody behind it stands still.

    ## What to do
    Find the holder on its client (`cat /proc/locks`, `lsof`, `fuser -vm`) and see what it does with the lock;
    stop it cleanly if it hangs.

    ## Evidence
    The request that was granted, the requests behind it, the release.

    ## When it is a false alarm
    Daemons hold a lock for as long as they run, and others may wait for the day they stop.
    """
    behind: dict[Lock, list[Wait]] = {}
    for wait in s.ledger.waits:
        for lock in wait.blockers:
            if lock.exclusive and _until(s, lock) - lock.granted.time > s.settings[WORTH_A_WORD]:
                behind.setdefault(lock, []).append(wait)
    usual = _usual_holds(s, {lock.file for lock in behind})
    for lock, waits in behind.items():
        held = _until(s, lock) - lock.granted.time
        longest = max(_together(s, lock, wait) for wait in waits)
        if longest < s.settings[POLLED] or held <= s.settings[USUAL_FACTOR] * usual.get(lock.file, 0):
            continue
        ended = lock.server_end
        yield Case(
            f"{s.hosts.address(lock.client)} (svid {lock.owner.svid}) held {file_name(s, lock.file)} for "
            f"{seconds(held)}{'' if ended else ' so far'}; {len(waits)} waited behind it, one for "
            f"{seconds(longest)}",
            [*lock.frames, *(frame for wait in waits for frame in wait.request.frames)],
            lock.granted,
            Place(ended.frame, ended.time) if ended else Place(s.last_frame, s.end),
            severity=MEDIUM if longest >= s.settings[TOO_LONG] else INFO,
            stands=() if ended else [lock],
            cause=lock,
            **of_lock(s, lock),
        )


def _until(s: Sessions, what: Lock | Wait) -> int:
    """When a lock or a wait ended, the end of the capture if it did not."""
    end = what.server_end if isinstance(what, Lock) else what.ended
    return end.time if end is not None else s.end


def _together(s: Sessions, lock: Lock, wait: Wait) -> int:
    return min(_until(s, lock), _until(s, wait)) - max(lock.granted.time, wait.since.time)


def _usual_holds(s: Sessions, files: set[File]) -> dict[File, float]:
    """The median of the holds that ended, by file."""
    holds = {file: s.settled.holds(file) for file in files}
    for lock in s.ledger.locks:
        if lock.file in files and lock.server_end is not None:
            holds[lock.file].append(lock.server_end.time - lock.granted.time)
    told = {file: known for file, known in holds.items() if len(known) > 2}  # two tell no norm
    return {file: float(np.median(known)) for file, known in told.items()}


@rule("blocked-too-long", MEDIUM)
def blocked_too_long(s: Sessions) -> Iterator[Case]:
    """A lock request waited for longer than a minute.

    ## What it is
    A blocking request that was neither granted nor given up for more than a minute. A fact, if the capture
    shows the lock in its way, up to a quarter of an hour.

    ## Why it matters
    A program hangs, and often a person before it.

    ## What to do
    Look at what it waits for: the holder, if the message names one (`cat /proc/locks` on its client). If
    nothing is known to hold the file, look for a lock older than the capture or one of the server's own
    programs (`cat /proc/locks` on the server).

    ## Evidence
    The request, its repetitions, and what was in its way.

    ## When it is a false alarm
    Job queues wait by design.
    """
    for wait in s.ledger.waits:
        waited = _until(s, wait) - wait.since.time
        if waited <= s.settings[WORTH_A_WORD]:
            continue
        yield Case(
            f"{s.hosts.address(wait.client)} (svid {wait.owner.svid}) waited for {file_name(s, wait.file)} "
            f"for {seconds(waited)}{'' if wait.ended else ' so far'}, {_behind(s, wait)}",
            [
                *wait.request.frames,
                *(frame for poll in wait.polls for frame in poll.frames),
                *(frame for lock in wait.blockers for frame in lock.frames),
            ],
            wait.since,
            Place(wait.ended.frame, wait.ended.time) if wait.ended else Place(s.last_frame, s.end),
            confidence=DEFINITE if wait.blockers else PROBABLE,
            watched=[] if wait.ended else [Watch(wait.request.call, wait.since.time, s.end)],
            severity=MEDIUM if waited >= s.settings[TOO_LONG] else INFO if wait.blockers else LOW,
            cause=wait.blockers[0] if wait.blockers else None,
            **of_wait(s, wait),
        )


def _behind(s: Sessions, wait: Wait) -> str:
    """What kept it waiting: a grant it did not take, holders and whether they live, or something unseen."""
    if wait.offers and wait.lock is not None and wait.lock.believed is None:
        return f"though it was called back in frame {wait.offers[0].operation.call.frame}"
    if not wait.blockers:
        return "behind something that the capture does not show"
    until = _until(s, wait)
    holders = {}
    for lock in wait.blockers:
        silent = until - s.hosts.last_seen(lock.client)[1]
        idle = f" (silent for the last {seconds(silent)} of it)" if silent > s.settings[WORTH_A_WORD] else ""
        holders[s.hosts.address(lock.client)] = idle
    return "behind a lock of " + ", ".join(f"{host}{idle}" for host, idle in sorted(holders.items())[:3])


@rule("lock-convoy", MEDIUM)
def lock_convoy(s: Sessions) -> Iterator[Case]:
    """Many programs queue for one lock.

    ## What it is
    Five owners or more waited for the same range at the same time, exclusively, for more than ten seconds.

    ## Why it matters
    They all run one after the other, whatever the number of machines.

    ## What to do
    Hold the lock for less work at a time, or split what it protects into several files or ranges.

    ## Evidence
    The requests of the longest queue.

    ## When it is a false alarm
    A work queue that is built on a lock looks like this on purpose.
    """
    for waits in _by_range(s).values():
        if len(waits) < s.settings[QUEUE]:
            continue
        steps = [(wait.since.time, True, wait) for wait in waits]
        steps += [(_until(s, wait), False, wait) for wait in waits]
        steps.sort(key=lambda step: (step[0], not step[1]))
        queue: dict[Owner, Wait] = {}
        since: Place | None = None
        most: list[Wait] = []
        for time, begins, wait in steps:
            if begins:
                queue[wait.owner] = wait
                if len(queue) >= s.settings[QUEUE] and since is None:
                    since, most = wait.since, []
                if len(queue) > len(most):
                    most = list(queue.values())
                continue
            queue.pop(wait.owner, None)
            if since is not None and len(queue) < s.settings[QUEUE]:
                if time - since.time > s.settings[QUEUE_LASTS]:
                    yield _convoy(s, most, since, time)
                since = None


def _by_range(s: Sessions) -> dict[tuple[File, int, int], list[Wait]]:
    """Exclusive waits by what they wait for."""
    found: dict[tuple[File, int, int], list[Wait]] = {}
    for wait in s.ledger.waits:
        if wait.exclusive:
            found.setdefault((wait.file, wait.start, wait.end), []).append(wait)
    return found


def _convoy(s: Sessions, queue: list[Wait], since: Place, until: int) -> Case:
    hosts = {wait.client for wait in queue}
    file = queue[0].file
    return Case(
        f"up to {len(queue)} owners on {len(hosts)} hosts waited at once for {file_name(s, file)}, at least "
        f"{s.settings[QUEUE]} of them for {seconds(until - since.time)}",
        [frame for wait in queue for frame in wait.request.frames],
        since,
        Place(queue[-1].since.frame, until),
        server=file.server,
        file=file,
        path=s.handles.path(file.fh),
        range=(queue[0].start, queue[0].end),
    )


@rule("lock-starvation", MEDIUM)
def lock_starvation(s: Sessions) -> Iterator[Case]:
    """A waiting request was passed over again and again.

    ## What it is
    While a request waited for ten seconds or more, five or more later requests of other owners were granted
    exclusive locks on all it waits for.

    ## Why it matters
    Nothing guarantees that its turn ever comes.

    ## What to do
    See whether callbacks reach the waiter (port lookups, filters): who is not called back must ask at the
    right moment. Let the others wait as well, instead of asking again and again.

    ## Evidence
    The request that waits, and the grants that passed it.

    ## When it is a false alarm
    No standard promises that locks are fair.
    """
    wanted = {wait.file for wait in s.ledger.waits if _until(s, wait) - wait.since.time > s.settings[STARVED]}
    granted: dict[File, list[Lock]] = {}
    for lock in s.ledger.locks:
        if lock.exclusive and lock.file in wanted and not lock.reclaimed:
            granted.setdefault(lock.file, []).append(lock)
    for wait in s.ledger.waits:
        if _until(s, wait) - wait.since.time <= s.settings[STARVED]:
            continue
        passed = _passed(granted.get(wait.file, []), wait)
        fresh = passed[:1] + [lock for before, lock in pairwise(passed) if not _goes_on(before, lock)]
        if len(fresh) >= s.settings[OVERTAKEN]:
            yield Case(
                f"{s.hosts.address(wait.client)} (svid {wait.owner.svid}) waited for "
                f"{file_name(s, wait.file)} while {len(fresh)} later requests were granted",
                [*wait.request.frames, *(frame for lock in fresh for frame in lock.frames)],
                wait.since,
                fresh[-1].granted,
                confidence=PROBABLE,  # its own turns and ends may have been missed
                **of_wait(s, wait),
            )


def _passed(granted: list[Lock], wait: Wait) -> list[Lock]:
    """The grants to other owners between a wait and the last sign that it still waits: a poll, its turn."""
    shown = [answer.time for poll in wait.polls for answer in poll.answers]
    if wait.ended is not None and wait.ended.reason in ("callback", "poll"):
        shown.append(wait.ended.time)
    low = bisect_right(granted, wait.since.time, key=_when)
    high = bisect_left(granted, max(shown, default=0), key=_when)
    return [
        lock
        for lock in granted[low:high]
        if lock.owner is not wait.owner
        and lock.request.order > wait.request.order
        and lock.start <= wait.start
        and lock.end >= wait.end
    ]


def _when(lock: Lock) -> int:
    return lock.granted.time


def _goes_on(before: Lock, lock: Lock) -> bool:
    """Whether an owner only asked again for what it had."""
    return before.owner is lock.owner and (
        before.server_end is None or before.server_end.reason == "replaced"
    )


@rule("lock-ping-pong", LOW)
def lock_ping_pong(s: Sessions) -> Iterator[Case]:
    """A lock goes to and fro between hosts, and most of the time is spent on handing it over.

    ## What it is
    Twenty turns or more within a minute, each from one host to another that was waiting, and together the
    lock was free for longer, between release and grant, than it was held.

    ## Why it matters
    Locks over a network cost round trips; here they cost more than the work they protect.

    ## What to do
    Do more work under one lock, or let one host do it all.

    ## Evidence
    The grants.

    ## When it is a false alarm
    A shared counter is used like this, and may be meant to be.
    """
    ranges: dict[tuple[File, int, int], list[Lock]] = {}
    awaited = {wait.file for wait in s.ledger.waits}
    for lock in s.ledger.locks if awaited else ():
        if lock.exclusive and lock.file in awaited:
            ranges.setdefault((lock.file, lock.start, lock.end), []).append(lock)
    for locks in ranges.values():
        streak: list[Lock] = []
        for before, lock in pairwise(locks):
            if _handed_over(before, lock):
                streak.append(lock)
                continue
            yield from _ping_pong(s, streak)
            streak = []
        yield from _ping_pong(s, streak)


def _handed_over(before: Lock, lock: Lock) -> bool:
    """Whether a lock went from one host to the next that waited."""
    end = before.server_end
    waited = lock.how in ("callback", "poll")
    return waited and before.client != lock.client and end is not None and end.reason == "unlock"


def _ping_pong(s: Sessions, streak: list[Lock]) -> Iterator[Case]:
    turns = [lock for lock in streak if lock.server_end is not None]
    if len(turns) < s.settings[TURNS]:
        return
    first, last = turns[0], turns[-1]
    took = last.granted.time - first.granted.time
    held = sum(_until(s, lock) - lock.granted.time for lock in turns[:-1])
    if took * s.settings[TURNS] > s.settings[TURNS_WITHIN] * len(turns) or 2 * held > took:
        return
    yield Case(
        f"{file_name(s, first.file)} changed hands {len(turns)} times in {seconds(took)} and was held for "
        f"{seconds(held)} of them",
        [lock.granted.frame for lock in turns],
        first.granted,
        last.granted,
        server=first.server,
        file=first.file,
        path=s.handles.path(first.file.fh),
        range=(first.start, first.end),
    )
