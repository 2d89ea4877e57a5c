"""What a verdict owes to a guess about the server.

In: requests and locks. Out: whether servers of different kinds would disagree on them, and nothing shows of
which kind this one is.

Theory. Servers tell owners apart by different marks (`sessions.servers`). Handles tell knfsd and Ganesha, and
a user may name a model; every other server is taken for one that goes by address and names. Mostly that does
not matter: two owners differ by every mark, or by none. Where the known kinds disagree, the verdict stands on
the guess, and is worth one step of confidence less.

Never: yields a case.
"""

from __future__ import annotations

from analyzer.sessions import operations as op
from analyzer.sessions.model import Lock
from analyzer.sessions.operations import Operation
from analyzer.sessions.servers import MODELS, UNKNOWN

GUESS = "nothing shows of which kind this server is: it is taken to tell owners apart by address and names"


def owners_are_guessed(one: Operation, other: Operation) -> bool:
    """Whether some servers take two requests for one owner's and others do not, and this may be either."""
    if one.file is None or one.file.model is not UNKNOWN:
        return False
    verdicts = {
        model.owner(one.responder, one.requester, one) == model.owner(one.responder, other.requester, other)
        for model in MODELS.values()
    }
    return len(verdicts) > 1


def standing_is_guessed(lock: Lock) -> bool:
    """Whether a lock stands by the guess only: another kind of server would have freed it, or what is
    left of it, at an UNLOCK."""
    if lock.file.model is not UNKNOWN:
        return False
    left = lock.file.pieces(lock) or [(lock.start, lock.end)]
    return any(
        unlock.order > lock.request.order
        and unlock.status in (None, op.GRANTED)
        and any(unlock.start <= low and unlock.end >= high for low, high in left)
        and owners_are_guessed(lock.request, unlock)
        for owner, unlocks in lock.file.unlocks.items()
        if owner is not lock.owner and owner.svid == lock.owner.svid
        for unlock in unlocks
    )
