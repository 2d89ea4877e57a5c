"""GRANTED callbacks: whose turn was it, and did they take it?

In: GRANTED and GRANTED_MSG operations, and their answers. Out: an `Offer` for each, matched with the wait it
is about, and grants in the ledger.

Theory. A callback is matched by file, svid, range and mode of a waiting request, and the server it was
asked of; never by cookie (XNFS C702, NLM_GRANTED: the server may use its own), nor by caller_name (Linux
puts the server's name there). It may come before the BLOCKED that it follows, on another connection, and
long after the waiter has got the lock by its own poll: then it says nothing new. oh is compared, for the
standard wants it equal, but a Linux client takes the grant whatever oh says, so such a grant counts.

Never: takes a void RPC reply for an acceptance.
"""

from __future__ import annotations

from typing import NamedTuple

from analyzer.sessions import operations as op
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import End, Offer, Place, Wait
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.ranges import LARGEST_32

EARLY = 16  # offers looked at when a wait begins: the callback that overtook its BLOCKED is among the last


class _Near(NamedTuple):
    """A wait that a callback may be about."""

    rank: tuple[int, bool]  # how many fields differ, and whether it ended
    wait: Wait
    differs: tuple[str, ...]


class Callbacks:
    """Matches offers with waits and tells the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        ledger.on_wait = self._overtaken

    def offered(self, operation: Operation) -> None:
        """A GRANTED was sent."""
        offer = operation.offer = Offer(operation, None, "unsolicited")
        self.ledger.offers.append(offer)
        nearest = self._nearest(operation)
        if nearest is None:
            self._astray(offer)
            return
        wait, differs = nearest.wait, nearest.differs
        open_still = wait.ended is None
        if not differs:
            if open_still or (wait.ended is not None and wait.ended.reason == "callback"):
                self._match(offer, wait)
            else:
                offer.wait, offer.verdict = wait, "late"
        elif differs in (("server",), ("server", "oh")):
            offer.wait, offer.verdict, offer.differs = wait, "wrong-sender", differs
        elif len(differs) == 1 and open_still:
            offer.differs = differs
            if differs == ("oh",):
                self._match(offer, wait)
            offer.wait, offer.verdict = wait, "mismatch"
        else:
            self._astray(offer)

    def _nearest(self, operation: Operation) -> _Near | None:
        """The wait that differs least from a callback: rather an open one than one that ended lately, and the
        newest of those."""
        waiting, client, call = self.ledger.waiting, operation.responder, operation.call
        found = []
        for wait in waiting.of_process(client, operation.svid, call.time):
            found.append(self._near(operation, wait))
            if not any(found[-1].rank):  # nearly always at once
                return found[-1]
        if not any(not near.differs for near in found):
            found += [self._near(operation, wait) for wait in waiting.of_client(client)]
        return min(found, key=_rank, default=None)

    def _near(self, operation: Operation, wait: Wait) -> _Near:
        differs = self._differences(operation, wait.request)
        return _Near((len(differs), wait.ended is not None), wait, differs)

    def _astray(self, offer: Offer) -> None:
        """Is it what somebody else waits for?"""
        operation, ledger = offer.operation, self.ledger
        file = ledger.files.get(ledger.handles.canonical(operation.fh)) if operation.fh >= 0 else None
        for wait in file.waits if file is not None else ():
            if wait.request.svid != operation.svid or wait.client == operation.responder:
                continue
            if not self._differences(operation, wait.request):
                offer.wait, offer.verdict = wait, "wrong-receiver"
                return

    def asked_for(self, offer: Offer) -> bool:
        """Whether a request that nobody answered, up to the end, asks for just this."""
        operation = offer.operation
        return any(
            not request.answers and not self._differences(operation, request)
            for request in self.ledger.asked_of.get(operation.responder, ())
        )

    def _differences(self, operation: Operation, request: Operation) -> tuple[str, ...]:
        """The fields in which a callback differs from a blocking request."""
        checks = (
            ("server", operation.requester == request.responder),
            ("fh", self._handle(operation) == self._handle(request)),
            ("svid", operation.svid == request.svid),
            ("start", operation.start == request.start),
            ("end", _same_end(operation, request)),
            ("exclusive", operation.exclusive == request.exclusive),
            ("oh", operation.oh == request.oh),
        )
        return tuple(name for name, same in checks if not same)

    def _handle(self, operation: Operation) -> bytes:
        """The handle, without the zeros that versions 1 and 3 pad it with."""
        return self.ledger.handles.table.data[operation.fh].rstrip(b"\0") if operation.fh >= 0 else b""

    def _match(self, offer: Offer, wait: Wait) -> None:
        operation = offer.operation
        offer.wait, offer.verdict = wait, "match"
        wait.offers.append(offer)
        operation.file, operation.owner = wait.file, wait.owner
        if wait.lock is None:
            place = Place(operation.call.frame, operation.call.time)
            lock = self.ledger.new_lock(wait.request, wait.file, wait.owner, "callback", place)
            wait.lock = operation.lock = lock
            in_way = wait.file.held.conflicts(wait.owner, wait.start, wait.end, wait.exclusive)
            if not offer.differs and not in_way:
                self.ledger.place(lock, operation.order, place, believes=False)
        offer.lock = wait.lock

    def _overtaken(self, wait: Wait) -> None:
        """A wait begins: was it called back already?"""
        for offer in self.ledger.offers[-EARLY:]:
            early = offer.wait is None and offer.operation.order > wait.request.order
            if early and not self._differences(offer.operation, wait.request):
                self._match(offer, wait)
                if offer.accepted is not None:
                    self._accept(offer, offer.accepted)

    def answered(self, operation: Operation, answer: Answer) -> None:
        """The client answered a callback."""
        offer = operation.offer
        if offer is None:
            return
        place = Place(answer.frame, answer.time)
        if answer.status == op.GRANTED:
            offer.accepted = offer.accepted or place
            if offer.lock is not None:
                self._accept(offer, place)
        elif answer.status != op.DENIED_GRACE_PERIOD:
            offer.refused = offer.refused or place
            lock, wait = offer.lock, offer.wait
            if offer.verdict == "match" and lock is not None and wait is not None and lock.believed is None:
                lock.refusal = offer
                self.ledger.end_wait(wait, End("refused", *place))

    def _accept(self, offer: Offer, place: Place) -> None:
        wait, lock = offer.wait, offer.lock
        if wait is None or lock is None or lock.believed is not None:
            return
        lock.believed = place
        self.ledger.end_wait(wait, End("callback", *place))
        if lock.server_end is None:
            self.ledger.place(lock, offer.operation.order, place, believes=True)
        else:
            lock.client_end = lock.client_end or lock.server_end


def _rank(near: _Near) -> tuple[int, bool, int]:
    return *near.rank, -near.wait.request.order


def _same_end(operation: Operation, request: Operation) -> bool:
    """Equal ends, or equal lengths: what is shifted differs in its start only.

    Versions 1 and 3 cannot say more than 32 bits: any end from there on is the end of the file.
    """
    if operation.end - operation.start == request.end - request.start:
        return True
    return operation.end == request.end or min(operation.end, request.end) >= LARGEST_32
