"""Habits of a lock server that its clients do not expect.

In: offers, refusals. Out: cases about servers that block or call back against the rules.

Theory. A request that does not ask to block is granted or denied at once, and an offer that was accepted is
done with. A server that does otherwise talks to programs that have gone.

Never: needs the end of the capture.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import MEDIUM, Case, file_name, of_operation, of_wait, rule
from analyzer.parameters import threshold, window
from analyzer.sessions import operations as op
from analyzer.sessions.model import Place
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
