"""NLM messages to operations: one request and everything that answered it.

In: NLM calls and replies in capture order. Out: `Operation`s, told apart from their copies, with
their answers whichever way these came.

Theory. A lock request is answered in one of two ways: by the RPC reply (procedures 1-5, 20-23), or, for
the `_MSG` procedures 6-10, by a `_RES` call in the other direction, matched by cookie, host pair and
procedure pair. (Cookie alone is not enough: every Linux host counts from 0x1234.) Some servers send a void
RPC reply to each `_MSG` besides, or fill an empty cookie: see `servers`. A retransmitted copy joins the
operation of the first one; every copy may be executed and answered.

Never: judges; keeps ledgers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from analyzer.records.events import Call, Reply
from analyzer.sessions.kept import Kept
from analyzer.sessions.ranges import extent
from analyzer.sessions.servers import UNKNOWN, Servers

if TYPE_CHECKING:
    from analyzer.sessions.model import File, Lock, Offer, Owner, Wait

GRANTED, DENIED, DENIED_NOLOCKS, BLOCKED, DENIED_GRACE_PERIOD = range(5)
DECIDED = (GRANTED, DENIED, BLOCKED)
DEADLCK, ROFS, STALE_FH, FBIG, FAILED = range(5, 10)

LATELY = 300 * 1_000_000_000  # ns in which answers, copies and late grants may still come
OPEN_KEPT = 1 << 17
EVICTED = OPEN_KEPT // 8  # at once: a dict is slow to find its first entry when the ones before it are gone
PLAIN = ("TEST", "LOCK", "NM_LOCK", "UNLOCK", "CANCEL", "GRANTED")
OF_LOCK = {"cookie": b"", "caller_name": b"", "oh": b"", "svid": 0, "l_offset": 0, "l_len": 0}
"""What all requests about locks say, an UNLOCK no more than that; and what it is where it is missing."""
OF_MODE = {"exclusive": 0, "block": 0, "reclaim": 0, "state": 0}
ABSENT = OF_LOCK | OF_MODE
of_unlock, of_others = itemgetter(*OF_LOCK), itemgetter(*ABSENT)
IN_OPERATION: dict[str, Any] = {}
"""Arguments of the calls in `PLAIN`: their `Operation` has them all, and a capture may hold millions."""

SYNC = {1: "TEST", 2: "LOCK", 3: "CANCEL", 4: "UNLOCK", 5: "GRANTED", 20: "SHARE", 21: "UNSHARE"}
SYNC |= {22: "NM_LOCK", 23: "FREE_ALL"}
MSG = {6: "TEST", 7: "LOCK", 8: "CANCEL", 9: "UNLOCK", 10: "GRANTED"}
RES = {11: "TEST", 12: "LOCK", 13: "CANCEL", 14: "UNLOCK", 15: "GRANTED"}
FORMS = {number: (kind, False, kind in PLAIN) for number, kind in SYNC.items()}
FORMS |= {number: (kind, True, kind in PLAIN) for number, kind in MSG.items()}
"""What each request asks, whether by `_MSG`, and whether its `Operation` has all of its arguments."""


T = TypeVar("T")


def with_one_more(items: Sequence[T], item: T) -> Sequence[T]:
    """`items` and one more. Nearly always it is the only one: a tuple is smaller than a list, and quicker."""
    if not items:
        return (item,)
    if isinstance(items, list):
        items.append(item)
        return items
    return [*items, item]


class Answer(NamedTuple):
    """A status that came back for an operation."""

    status: int
    frame: int
    time: int
    call: Call  # the copy it answers


@dataclass(slots=True, eq=False)
class Operation:
    """One NLM request: its copies, its answers, and what it asks for."""

    kind: str
    call: Call  # the first copy
    requester: int
    responder: int
    is_async: bool
    fh: int
    cookie: bytes
    caller: bytes
    oh: bytes
    svid: int
    start: int
    end: int
    length: int  # as asked for, 0 to the end of the file
    exclusive: bool = False
    block: bool = False
    reclaim: bool = False
    state: int = 0  # of the requester's NSM, 0 where it says none
    copies: Sequence[Call] = ()  # the others
    answers: Sequence[Answer] = ()
    void_reply: Reply | None = None
    failure: Reply | None = None  # refused by RPC itself: AUTH_ERROR, GARBAGE_ARGS, ...
    # what the ledger makes of it
    file: File | None = None
    owner: Owner | None = None
    lock: Lock | None = None
    wait: Wait | None = None
    offer: Offer | None = None
    removed: Sequence[tuple[int, int, Lock]] = ()
    blockers: Sequence[Lock] = ()

    @property
    def calls(self) -> Sequence[Call]:
        """All copies, in order."""
        return (self.call, *self.copies)

    @property
    def order(self) -> int:
        """Place in the order of calls."""
        return self.call.serial

    @property
    def status(self) -> int | None:
        """The first status that came back."""
        return self.answers[0].status if self.answers else None

    @property
    def identity(self) -> tuple[bytes, int, bytes]:
        """What it says of its owner."""
        return self.caller, self.svid, self.oh

    @property
    def frames(self) -> list[int]:
        """Frames of all copies and answers."""
        seen = [call.frame for call in self.calls] + [answer.frame for answer in self.answers]
        if self.failure is not None:
            seen.append(self.failure.frame)
        return sorted(set(seen))


class Operations:
    """Pairs requests with answers. Bounded: the oldest open operations are dropped first, and counted."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.open: dict[int, Operation] = {}  # by serial number of each copy, in order
        self.waiting: dict[tuple[str, int, int], deque[Operation]] = {}
        self.orphan_results: Kept[Call] = Kept()
        self.answered: dict[int, int] = {}  # last answer by server, of the requests that were closed
        self.requests = 0
        self.evicted = 0

    def close(self, most: int, since: int) -> tuple[int, list[Operation]]:
        """Await no more of answered requests, but for the last `most` as far as they were sent `since` then:
        the number of the first of these, and the UNLOCKs among the others that gave nothing back."""
        entries = iter(self.open.items())
        old = list(islice(entries, max(0, len(self.open) - most)))
        first = since
        for serial, operation in entries:
            if serial >= since:
                first = serial
                break
            old.append((serial, operation))
        idle = []
        for serial, operation in old:
            if operation.answers:
                last = operation.answers[-1].time
                if last > self.answered.get(operation.responder, 0):
                    self.answered[operation.responder] = last
            elif operation.failure is None:
                continue
            del self.open[serial]
            if not operation.removed and operation.kind == "UNLOCK":
                idle.append(operation)
        return first, idle

    def request(self, call: Call) -> tuple[Operation | None, bool]:
        """Take in a request call; return its operation and whether it is a new one."""
        if len(self.open) >= OPEN_KEPT:
            self._evict()
        first = self.open.get(call.retransmit_of) if call.retransmit_of >= 0 else None
        if first is not None:
            first.copies = with_one_more(first.copies, call)
            self.open[call.serial] = first
            return first, False
        form = FORMS.get(call.procedure)
        if form is None:
            return None, False
        kind, is_async, is_plain = form
        operation = _operation(kind, call, is_async)
        if is_plain:
            call.args = IN_OPERATION
        self.open[call.serial] = operation
        self.requests += 1
        if is_async:
            key = (kind, call.src, call.dst)
            self.waiting.setdefault(key, deque(maxlen=1024)).append(operation)
        return operation, True

    def reply(self, reply: Reply) -> tuple[Operation | None, Answer | None]:
        """Take in an RPC reply; return its operation, and the answer if the reply carries one."""
        operation = self.open.get(reply.call.serial)
        if operation is None:
            return None, None
        if reply.status != 0:
            operation.failure = reply
            return operation, None
        if operation.is_async:
            operation.void_reply = operation.void_reply or reply
            return operation, None
        status = reply.result.get("status")
        if status is None and operation.kind != "FREE_ALL":
            return operation, None
        answer = Answer(status or 0, reply.frame, reply.time, reply.call)
        operation.answers = with_one_more(operation.answers, answer)
        return operation, answer

    def result(self, call: Call) -> tuple[Operation | None, Answer | None]:
        """Take in a `_RES` call; return the operation it answers."""
        queue = self.waiting.get((RES[call.procedure], call.dst, call.src), deque())
        cookie = call.args.get("cookie", b"")
        for operation in queue:
            if self._is_same_cookie(operation, cookie) and operation.call.version == call.version:
                status = call.args.get("status")
                if call.retransmit_of < 0 and operation.answers:
                    continue
                if call.retransmit_of >= 0 and operation.answers:
                    return None, None
                answer = Answer(
                    -1 if status is None else int(status),
                    call.frame,
                    call.time,
                    operation.calls[-1],
                )
                operation.answers = with_one_more(operation.answers, answer)
                queue.remove(operation)
                return operation, answer
        if call.retransmit_of < 0:
            self.orphan_results.append(call)
        return None, None

    def _is_same_cookie(self, operation: Operation, cookie: bytes) -> bool:
        # a GRANTED is answered by a client, of which nothing is known
        model = UNKNOWN if operation.kind == "GRANTED" else self.servers.model(operation.fh)
        return model.same_cookie(operation.cookie, cookie)

    def _evict(self) -> None:
        """Await no more of the oldest requests."""
        for oldest in list(islice(self.open, EVICTED)):
            del self.open[oldest]
        self.evicted += EVICTED


def _operation(kind: str, call: Call, is_async: bool) -> Operation:
    of_kind = of_unlock if kind == "UNLOCK" else of_others
    try:
        said = of_kind(call.args)
    except KeyError:  # cut short, or less is said
        said = of_kind(ABSENT | call.args)
    cookie, caller, oh, svid, offset, length, *mode = said
    start, end = extent(offset, length)
    operation = Operation(
        kind, call, call.src, call.dst, is_async, call.fh, cookie, caller, oh, svid, start, end, length
    )
    if mode:
        exclusive, block, reclaim, operation.state = mode
        operation.exclusive, operation.block, operation.reclaim = exclusive != 0, block != 0, reclaim != 0
    return operation
