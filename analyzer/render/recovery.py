"""What became of locks when hosts restarted: who was told, who reclaimed, who lost, what grace cost.

In: notices, stretches of grace, reclaims and locks of a `View`. Out: sheets of server restarts by client, of
grace, and of client reboots.

Theory. A restart of a lock server shows as notices (one to each client) or as grace, or both: those of one
server that belong together are one restart. Each lock that it held then was reclaimed by its client, or given
to somebody else, or neither. A client's reboot is a notice to each server, which frees what it held there.

Never: decides what is a fault.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.render.sheet import Cell, Sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.model import File, Lock
    from analyzer.sessions.operations import Answer, Operation
    from analyzer.sessions.reboots import Grace, Notice

MOST_RESTARTS = 500
LOOK_AHEAD = 1024  # grants behind a freed lock that are looked at

RECLAIMS = (
    Cell("server", "host"),
    Cell("restart_time", "time", "restart"),
    Cell("client", "host"),
    Cell("told_time", "time", "told"),
    Cell("answered", "bool"),
    Cell("held", "int"),
    Cell("reclaimed", "int"),
    Cell("refused", "int"),
    Cell("missing", "int"),
    Cell("taken", "int", "taken by others"),
)
RECLAIM_KEYS = (
    *RECLAIMS,
    Cell("told_frame", "int"),
    Cell("missing_locks", "list"),
    Cell("taken_locks", "list"),
)
GRACES = (
    Cell("server", "host"),
    Cell("begin_time", "time", "grace begins"),
    Cell("begin_frame", "int", "frame"),
    Cell("lasted", "duration", "as seen"),
    Cell("is_over", "bool", "over"),
    Cell("client", "host", "refused client"),
    Cell("requests", "int"),
    Cell("put_off", "duration", "put off for"),
)
REBOOTS = (
    Cell("client", "host"),
    Cell("server", "host"),
    Cell("told_time", "time", "told"),
    Cell("told_frame", "int", "frame"),
    Cell("role", "text"),
    Cell("answered", "bool"),
    Cell("freed", "int"),
    Cell("granted", "int", "then granted"),
)
REBOOT_KEYS = (*REBOOTS, Cell("freed_locks", "list"), Cell("granted_locks", "list"))


@dataclass(slots=True)
class Restart:
    """One restart of a lock server: its notices by receiver, its grace, what it held."""

    server: int
    time: int
    until: int
    notices: dict[int, Notice] = field(default_factory=dict)
    held: dict[int, list[Lock]] = field(default_factory=dict)  # by client
    _known: set[int] = field(default_factory=set)

    def add(self, locks: Iterable[Lock]) -> None:
        """It held these; a lock that a notice and a grace speak of counts once."""
        for lock in locks:
            if id(lock) not in self._known:
                self._known.add(id(lock))
                self.held.setdefault(lock.client, []).append(lock)


def recovery(view: View) -> list[Sheet]:
    """The recovery report."""
    restarts = list(_reclaims(view))
    graces = list(_graces(view))
    reboots = list(_reboots(view))
    none = "No server is seen to restart its lock service."
    return [
        Sheet("restarts", "Restarts of lock servers", RECLAIMS, restarts, none, keys=RECLAIM_KEYS),
        Sheet("graces", "Grace", GRACES, graces, "" if not restarts else "No request was refused in grace."),
        Sheet(
            "reboots",
            "Reboots of clients, as announced",
            REBOOTS,
            reboots,
            "No client announced a reboot.",
            keys=REBOOT_KEYS,
        ),
    ]


def _reclaims(view: View) -> Iterator[Row]:
    reboots = view.sessions.reboots
    everything = [*reboots.reclaims, *reboots.refused_reclaims, *reboots.late_reclaims]
    for restart in _restarts(view):
        asked: dict[int, list[tuple[Operation, Answer]]] = {}
        for operation, answer in everything:
            if operation.responder == restart.server and operation.call.time >= restart.time:
                asked.setdefault(operation.requester, []).append((operation, answer))
        for client in sorted({*restart.notices, *restart.held, *asked}, key=view.sessions.hosts.address):
            if view.shows(view.address(restart.server), view.address(client), restart.time, restart.until):
                yield _of_client(view, restart, client, asked.get(client, []))


def _of_client(view: View, restart: Restart, client: int, asked: list[tuple[Operation, Answer]]) -> Row:
    notice = restart.notices.get(client)
    held = restart.held.get(client, [])
    back = {id(lock) for lock in held for one in lock.reclaimed if one.call.time >= restart.time}
    taken = [lock for lock in held if lock.lost is not None and id(lock) not in back]
    missing = [
        lock for lock in held if id(lock) not in back and lock.lost is None and _was_wanted(lock, restart)
    ]
    granted = {id(operation) for operation, answer in asked if answer.status == 0}
    return {
        "server": view.address(restart.server),
        "restart_time": restart.time,
        "client": view.address(client),
        "told_time": notice.place.time if notice is not None else None,
        "told_frame": notice.place.frame if notice is not None else None,
        "answered": None if notice is None else notice.answer is not None,
        "held": len(held),
        "reclaimed": len(granted),
        "refused": len({id(operation) for operation, _ in asked} - granted),
        "missing": len(missing),
        "missing_locks": [lock.number for lock in missing],
        "taken": len(taken),
        "taken_locks": [lock.number for lock in taken],
    }


def _was_wanted(lock: Lock, restart: Restart) -> bool:
    """Whether its client still believed in it when the restart was over."""
    return lock.client_end is None or lock.client_end.time > restart.until


def _restarts(view: View) -> list[Restart]:
    """Notices and grace of one server, put together where they belong together."""
    reboots = view.sessions.reboots
    found: dict[tuple[int, int], Restart] = {}
    for notice in reboots.notices:
        if notice.role == "server":
            time = notice.place.time
            restart = found.setdefault((notice.sender, notice.state), Restart(notice.sender, time, time))
            restart.notices.setdefault(notice.receiver, notice)
            restart.add(notice.freed)
    for grace in reboots.graces:
        begin, until = grace.begin.time, _end_of(view, grace)
        state = grace.notice.state if grace.notice is not None else -grace.begin.frame
        restart = found.setdefault((grace.server, state), Restart(grace.server, begin, until))
        restart.until = max(restart.until, until)
        restart.add(grace.held)
    return sorted(found.values(), key=lambda restart: restart.time)[:MOST_RESTARTS]


def _end_of(view: View, grace: Grace) -> int:
    return grace.ended[1].time if grace.ended is not None else view.sessions.end


def _graces(view: View) -> Iterator[Row]:
    for grace in view.sessions.reboots.graces:
        until = _end_of(view, grace)
        refused: dict[int, list[Operation]] = {}
        for operation, _ in grace.refusals:
            refused.setdefault(operation.requester, []).append(operation)
        for client, requests in refused.items():
            if view.shows(view.address(grace.server), view.address(client), grace.begin.time, until):
                yield {
                    "server": view.address(grace.server),
                    "begin_time": grace.begin.time,
                    "begin_frame": grace.begin.frame,
                    "lasted": until - grace.begin.time,
                    "is_over": grace.ended is not None,
                    "client": view.address(client),
                    "requests": len(requests),
                    "put_off": until - requests[0].call.time,
                }


def _reboots(view: View) -> Iterator[Row]:
    by_file: dict[File, list[Lock]] = {}
    for lock in view.sessions.ledger.locks:
        by_file.setdefault(lock.file, []).append(lock)
    for notice in view.sessions.reboots.notices:
        if notice.role == "server":
            continue
        server, client = view.address(notice.receiver), view.address(notice.victim)
        if not view.shows(server, client, notice.place.time, notice.calls[-1].time):
            continue
        after = _followers(by_file, notice)
        yield {
            "client": client,
            "server": server,
            "told_time": notice.place.time,
            "told_frame": notice.place.frame,
            "role": notice.role,
            "answered": notice.answer is not None,
            "freed": len(notice.freed),
            "freed_locks": [lock.number for lock in notice.freed],
            "granted": len(after),
            "granted_locks": [lock.number for lock in after],
        }


def _followers(by_file: dict[File, list[Lock]], notice: Notice) -> list[Lock]:
    """The next grant of bytes that a notice freed, for each lock that it freed."""
    found: dict[int, Lock] = {}
    for freed in notice.freed:
        locks = by_file.get(freed.file, [])
        begin = bisect_left(locks, freed.number, key=lambda lock: lock.number) + 1
        for lock in locks[begin : begin + LOOK_AHEAD]:
            after = lock.granted.time > notice.place.time
            if after and lock.start <= freed.end and lock.end >= freed.start:
                found[lock.number] = lock
                break
    return [found[number] for number in sorted(found)]
