"""Refusals as proof: what a DENIED or BLOCKED says about locks that nobody shows.

In: the denials that the ledgers kept. Out: those that only one lock explains, and those that none does.

Theory. Nothing on the wire says that a lock was leaked; a later refusal does, where every other reason for
it can be ruled out: another holder, a waiter whose grant is under way, a callback that was not heard, a
restart of the server. Somebody's lock may be older than the capture, but not where an exclusive grant of the
same bytes was seen.

Never: yields a case.
"""

from __future__ import annotations

from analyzer.parameters import window
from analyzer.protocols.nlm import NLM
from analyzer.sessions import operations as op
from analyzer.sessions.model import File, Lock, Owner, Wait
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.world import Sessions
from analyzer.tables import UDP

UNDER_WAY = window(
    "grant-under-way", 5, "the first callback to a client needs a port lookup and a connection"
)

Refusal = tuple[Operation, Answer]


def because_of(lock: Lock, since: int) -> list[Refusal]:
    """Requests of others after `since` that were refused while no other lock stood in their way."""
    return [
        (operation, answer)
        for operation, answer in lock.denials
        if operation.call.time > since
        and operation.blockers == [lock]
        and operation.owner is not lock.owner
        and answer is operation.answers[-1]
    ]


def is_proof(s: Sessions, lock: Lock, refused: list[Refusal], since: int) -> bool:
    """Whether refusals that only this lock explains leave no doubt that it stands, `since` its client left.

    Over UDP its UNLOCK may be missing from the capture and leave no trace. Then the server may have given the
    lock to somebody in line, whom its callback does not reach, or answer BLOCKED because callbacks are under
    way. DENIED, while nobody was in line, it says because of a lock only.
    """
    if lock.request.call.transport != UDP:
        return bool(refused)
    return any(answer.status == op.DENIED for _, answer in refused) and not any(
        wait.file is lock.file and (wait.ended is None or wait.ended.time > since) for wait in s.ledger.waits
    )


class Refusals:
    """The refusals of a capture for which no reason was seen."""

    def __init__(self, s: Sessions) -> None:
        self.s = s
        files = {id(operation.file) for file in s.ledger.files.values() for operation, _ in file.unexplained}
        self.locks: dict[int, list[Lock]] = {key: [] for key in files}
        self.waits: dict[int, list[Wait]] = {key: [] for key in files}
        for lock in s.ledger.locks if files else ():
            if id(lock.file) in files:
                self.locks[id(lock.file)].append(lock)
        for wait in s.ledger.waits if files else ():
            if id(wait.file) in files:
                self.waits[id(wait.file)].append(wait)

    def after(self, file: File, owner: Owner, extent: tuple[int, int], since: int) -> list[Refusal]:
        """Requests of others than `owner` for bytes within `extent`, refused after `since`.

        None if somebody else got the bytes in between: what stood in the way before was gone by then.
        """
        found = [
            (operation, answer)
            for operation, answer in file.unexplained
            if operation.owner is not owner
            and operation.call.time > since + self.s.settings[UNDER_WAY]
            and operation.start >= extent[0]
            and operation.end <= extent[1]
        ]
        if not found or self._taken(file, owner, extent, since):
            return []
        return [
            (operation, answer)
            for operation, answer in found
            if not self._is_turn_of_another(operation, since)
            and not self._called_back(operation, since)
            and self.s.restarted(file.server, since, answer.time) is None
        ]

    def _taken(self, file: File, owner: Owner, extent: tuple[int, int], since: int) -> bool:
        return file.settled > since or any(
            lock.owner is not owner
            and lock.granted.time > since
            and lock.start <= extent[1]
            and lock.end >= extent[0]
            for lock in self.locks.get(id(file), ())
        )

    def _is_turn_of_another(self, operation: Operation, since: int) -> bool:
        """Whether another waiter may have been given the lock without our seeing it."""
        return any(
            wait.owner is not operation.owner
            and wait.since.time < operation.call.time
            and (wait.ended is None or wait.ended.time > since)
            and wait.start <= operation.end
            and wait.end >= operation.start
            for wait in self.waits.get(id(operation.file), ())
        )

    def _called_back(self, operation: Operation, since: int) -> bool:
        """Whether the server gave the lock to the very host that asks, and tries to say so."""
        if operation.wait is None:
            return False
        asked, asker, until = operation.responder, operation.requester, operation.call.time
        return bool(
            operation.wait.offers
            or self.s.reboots.lookups_between(asked, asker, NLM, since, until)
            or self.s.connections.attempts(asked, asker, since, until)
        )


def frames(refusals: list[Refusal]) -> list[int]:
    """Frames of these requests."""
    return [frame for operation, _ in refusals for frame in operation.frames]
