"""Habits of a lock server that its clients do not expect.

In: offers, refusals. Out: cases about servers that block or call back against the rules.

Theory. A request that does not ask to block is granted or denied at once, and an offer that was accepted is
done with. A server that does otherwise talks to programs that have gone.

Never: needs the end of the capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.overlaps import is_double_grant, restart_between, two_owners
from analyzer.findings.rule import CRITICAL, MEDIUM, Case, file_name, of_operation, of_wait, rule
from analyzer.parameters import threshold, window
from analyzer.sessions import operations as op
from analyzer.sessions.model import Lock, Offer, Place
from analyzer.sessions.world import Sessions

AFTERWARDS = window("grant-copies-under-way", 5, "copies that were under way when the client accepted")
REPEATS = threshold("grant-repeats", 2, "callbacks", "one more may have crossed the acceptance")


@rule("blocked-without-block", MEDIUM)
def blocked_without_block(s: Sessions) -> Iterator[Case]:
    """A server told a request to wait that did not ask to.

    ## What it is
    A LOCK without the block flag, or NM_LOCK, answered BLOCKED.

    ## Why it matters
    The program is told that it has no lock; a later grant is for nobody.

    ## What to do
    Update the server: this is a fault of its lock service.

    ## Evidence
    The request and its answer.

    ## When it is a false alarm
    None is known.
    """
    kept = [lock.denials for lock in s.ledger.locks if lock.denials]
    kept += [file.unexplained for file in s.ledger.files.values() if file.unexplained]
    seen: set[int] = set()
    for denials in kept:
        for operation, answer in denials:
            if answer.status != op.BLOCKED or operation.block or id(operation) in seen:
                continue
            seen.add(id(operation))
            yield Case(
                f"{s.hosts.address(operation.responder)} answered BLOCKED to a request of "
                f"{s.hosts.address(operation.requester)} on {file_name(s, operation.file)} that did not ask "
                f"to wait",
                operation.frames,
                Place(operation.call.frame, operation.call.time),
                subject=operation,
                **of_operation(s, operation),
            )


@rule("grant-accepted-twice", CRITICAL)
def grant_accepted_twice(s: Sessions) -> Iterator[Case]:
    """Two waiters were told that it is their turn, and both took the lock.

    ## What it is
    Two GRANTED callbacks for conflicting locks, accepted by two owners, and no release of the first one
    before the second.

    ## Why it matters
    Two programs work under a lock that each believes to be its own. The file can be damaged.

    ## What to do
    Stop one of the two writers and check the file. This is a fault of the server, or one of the callbacks was
    forged: look who sent them.

    ## Evidence
    Both waiting LOCKs, both callbacks with their acceptances, what the first holder did afterwards.

    ## When it is a false alarm
    An UNLOCK that was lost from the capture; copies of one callback are one.
    """
    for overlap in s.ledger.overlaps:
        if is_double_grant(overlap) and restart_between(s, overlap) is None:
            case = two_owners(s, overlap)
            offers = [offer for lock in (overlap.loser, overlap.winner) for offer in _offers(lock)]
            case.frames = [*case.frames, *(frame for offer in offers for frame in offer.operation.frames)]
            yield case


def _offers(lock: Lock) -> list[Offer]:
    """The callbacks by which a lock was given."""
    wait = lock.request.wait
    return [offer for offer in wait.offers if offer.lock is lock] if wait is not None else []


@rule("grant-repeated-after-acceptance", MEDIUM)
def grant_repeated_after_acceptance(s: Sessions) -> Iterator[Case]:
    """A server goes on offering a lock that its client has accepted.

    ## What it is
    Two or more new GRANTED callbacks for one waiting request after one of them was accepted.

    ## Why it matters
    The server does not register the answer: it may take the lock for one that nobody wants.

    ## What to do
    Check that the client is still in the export list and that its answers are not refused (`exportfs -v`);
    that no address translation maps them to another host.

    ## Evidence
    The accepted callback, the ones after it.

    ## When it is a false alarm
    None is known: copies of one callback are one.
    """
    for wait in s.ledger.waits:
        if len(wait.offers) <= s.settings[REPEATS]:
            continue
        taken = next((offer for offer in wait.offers if offer.accepted is not None), None)
        if taken is None or taken.accepted is None:
            continue
        since = taken.accepted.time + s.settings[AFTERWARDS]
        later = [offer.operation for offer in wait.offers if offer.operation.call.time > since]
        if len(later) >= s.settings[REPEATS]:
            yield Case(
                f"{s.hosts.address(wait.file.server)} offered {file_name(s, wait.file)} to "
                f"{s.hosts.address(wait.client)} {len(later)} more times after it was accepted in frame "
                f"{taken.accepted.frame}",
                [*taken.operation.frames, *(frame for operation in later for frame in operation.frames)],
                Place(later[0].call.frame, later[0].call.time),
                Place(later[-1].call.frame, later[-1].call.time),
                subject=wait,
                **of_wait(s, wait),
            )
