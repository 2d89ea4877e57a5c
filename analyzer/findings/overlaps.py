"""Two owners of one lock: what several families have to say of it.

In: an overlap of the ledgers. Out: whether a restart or two callbacks made it, and the case that it is.

Theory. A lock was given away while another client still believed in its own. Whether that is a lost lock, a
recovery without the holder, or one callback too many depends on what happened in between; that two programs
now work under one lock does not.

Never: is a rule itself.
"""

from __future__ import annotations

from analyzer.findings.guessed import owners_are_guessed
from analyzer.findings.rule import CRITICAL, DEFINITE, MEDIUM, PROBABLE, Case, Watch, file_name, of_lock
from analyzer.sessions.model import Overlap
from analyzer.sessions.reboots import Grace, Notice
from analyzer.sessions.world import Sessions
from analyzer.tables import UDP


def restart_between(s: Sessions, overlap: Overlap) -> Grace | Notice | None:
    """What shows that the server restarted between the two grants."""
    return s.restarted(overlap.loser.server, overlap.loser.granted.time, overlap.place.time)


def is_double_grant(overlap: Overlap) -> bool:
    """Whether two waiters were told that it is their turn, and both took it."""
    return overlap.loser.how == overlap.winner.how == "callback"


def two_owners(s: Sessions, overlap: Overlap) -> Case:
    """A lock was given away while its holder believed in it."""
    loser, winner = overlap.loser, overlap.winner
    proof = overlap.proof
    _, heard = s.hosts.last_seen(loser.client)
    alive = heard > overlap.place.time
    # A hole shows only when the connection is used again: one after the grant may hide an UNLOCK before it.
    believed = Watch(loser.request.call, loser.granted.time, s.end)
    whole = not s.losses.missed(*believed)
    # An UNLOCK proves less where one before it may be missing without a trace.
    sure = proof is not None and not (overlap.proof_kind == "UNLOCK" and loser.request.call.transport == UDP)
    acted = (
        f"; it still acted as holder afterwards ({overlap.proof_kind}, frame {proof.frame})" if proof else ""
    )
    again = overlap.asked_again
    if again is not None:
        acted = f"; it asked for it anew in frame {again.frame}: perhaps its UNLOCK was not captured"
    elif proof is None and not whole:
        acted = "; bytes of its connection are missing from the capture: perhaps its UNLOCK was among them"
    if not alive:
        acted = "; it was silent by then: perhaps an administrator freed the lock of a dead client"
    about = of_lock(s, loser)
    about["peer"] = winner.client
    return Case(
        f"{s.hosts.address(loser.client)} holds {file_name(s, loser.file)} since frame "
        f"{loser.granted.frame}, yet the "
        f"server gave it to {s.hosts.address(winner.client)} in frame {overlap.place.frame}: two "
        f"owners{acted}",
        [
            *loser.frames,
            *winner.frames,
            overlap.place.frame,
            *(place.frame for place in (proof, again) if place is not None),
        ],
        overlap.place,
        proof or overlap.place,
        confidence=DEFINITE if sure else PROBABLE,
        severity=CRITICAL if alive and (proof is not None or (whole and again is None)) else MEDIUM,
        watched=[believed],
        demote=(not alive) + (again is not None),
        guessed=owners_are_guessed(loser.request, winner.request),
        subject=overlap,
        cause=s.notice_that_freed(loser) or overlap,
        **about,
    )
