"""Reboots, grace and reclaim: what NSM said, and what lock servers did.

In: NSM and portmap calls, lock answers with status 4. Out: `Notice`s (one per announced reboot), `Grace`
windows, `Lookup`s (who asked whom for which port).

Theory. A reboot notice (SM_NOTIFY) is repeated with new xids until answered, and sm-notify says the short
name after the long one with the same state: one notice per sender, receiver and state. It means different
things by who sends it: a lock client's notice frees its locks, a lock server's asks for reclaims, one in the
name of another host is either. Status 4 means grace only if the request was not a reclaim; to a reclaim it
means the opposite. A grace window opens with the first such refusal and ends with the first ordinary lock
request that is answered otherwise.

Never: believes a notice; the ledger is told who sent it, findings weigh it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from analyzer.parameters import DEFAULTS, Settings, window
from analyzer.records.events import Call, Reply
from analyzer.sessions import operations as op
from analyzer.sessions.kept import KEPT, Kept
from analyzer.sessions.model import Lock, Place
from analyzer.sessions.operations import Answer, Operation

LOOKUPS = ((2, 3), (3, 3), (4, 3), (4, 9))  # GETPORT, GETADDR, GETVERSADDR (RFC 1833)
LOOKUPS_KEPT = 65536
SERIES = window("notice-series", 900, "sm-notify gives up after 15 minutes: later copies are a new notice")


@dataclass(slots=True, eq=False)
class Notice:
    """One announced reboot: every copy of it, and the answer."""

    sender: int
    receiver: int
    name: bytes
    state: int
    calls: list[Call] = field(default_factory=list)
    answer: Reply | None = None
    role: str = ""  # client, server, forged, other
    victim: int = -1  # the host it speaks of
    freed: list[Lock] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """Where it was first sent."""
        return Place(self.calls[0].frame, self.calls[0].time)


@dataclass(slots=True, eq=False)
class Grace:
    """A stretch in which a server refused ordinary lock requests."""

    server: int
    refusals: list[tuple[Operation, Answer]]
    held: list[Lock]  # what the server held when it began
    ended: tuple[Operation, Answer] | None = None
    notice: Notice | None = None

    @property
    def begin(self) -> Place:
        """The first refusal."""
        return Place(self.refusals[0][1].frame, self.refusals[0][1].time)


@dataclass(slots=True, eq=False)
class Lookup:
    """One question for a port: GETPORT or GETADDR."""

    call: Call
    program: int
    answer: Reply | None = None
    port: int | None = None


class Reboots:
    """Everything about restarts."""

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self.series = settings[SERIES]
        self.notices: Kept[Notice] = Kept()
        self.graces: Kept[Grace] = Kept()
        self.active: dict[int, Grace] = {}
        self.reclaims: Kept[tuple[Operation, Answer]] = Kept()
        self.late_reclaims: Kept[tuple[Operation, Answer]] = Kept()
        self.refused_reclaims: Kept[tuple[Operation, Answer]] = Kept()
        self.unserved_reclaims: Kept[tuple[Operation, Reply]] = Kept()  # refused by RPC
        self.lookups: list[Lookup] = []
        self._between: dict[tuple[int, int, int], list[Lookup]] = {}  # by who asks whom, and program
        self._open: dict[int, Lookup] = {}
        self._notice_by_key: dict[tuple[int, int, int], Notice] = {}
        self._notice_by_call: dict[int, Notice] = {}
        self.evicted = 0

    # -- portmap ------------------------------------------------------------------------------

    def lookup(self, call: Call) -> None:
        """Take in a question for a port."""
        program = call.args.get("prog")
        if (call.version, call.procedure) not in LOOKUPS or program is None:
            return
        lookup = Lookup(call, int(program))
        self._open[call.serial] = lookup
        self.lookups.append(lookup)
        self._between.setdefault(_ends(lookup), []).append(lookup)
        if len(self.lookups) > LOOKUPS_KEPT:
            old = self.lookups.pop(0)
            looks = self._between[_ends(old)]
            del looks[0]
            if not looks:
                del self._between[_ends(old)]
            self._open.pop(old.call.serial, None)
            self.evicted += 1

    def looked_up(self, reply: Reply) -> None:
        """Take in the answer to one."""
        lookup = self._open.pop(reply.call.serial, None)
        if lookup is not None:
            lookup.answer = reply
            lookup.port = _port(reply)

    def lookups_between(self, asker: int, asked: int, program: int, since: int, until: int) -> list[Lookup]:
        """Questions of `asker` to `asked` for a program in since..until."""
        looks = self._between.get((asker, asked, program), [])
        return looks[bisect_left(looks, since, key=_time) : bisect_right(looks, until, key=_time)]

    def forget_lookups(self, limit: int) -> None:
        """Questions from before `limit` (ns) matter no more."""
        self.lookups = [look for look in self.lookups if look.call.time >= limit]
        self._between = {}
        for look in self.lookups:
            self._between.setdefault(_ends(look), []).append(look)

    # -- NSM ----------------------------------------------------------------------------------

    def notify(self, call: Call) -> tuple[Notice, bool]:
        """Take in an SM_NOTIFY; return its notice and whether it is a new one."""
        name, state = call.args.get("mon_name", b""), int(call.args.get("state", 0))
        key = (call.src, call.dst, state)
        notice = self._notice_by_key.get(key)
        new = notice is None or call.time - notice.calls[-1].time >= self.series
        if notice is None or new:
            notice = Notice(call.src, call.dst, name, state, [])
            self.notices.append(notice)
            if len(self._notice_by_key) >= KEPT:
                self._notice_by_key.clear()
            self._notice_by_key[key] = notice
        notice.calls.append(call)
        if len(self._notice_by_call) >= KEPT:
            self._notice_by_call.clear()
        self._notice_by_call[call.serial] = notice
        return notice, new

    def notified(self, reply: Reply) -> Notice | None:
        """Take in the answer to an SM_NOTIFY; return the notice that is answered by it for the first time."""
        notice = self._notice_by_call.get(reply.call.serial)
        if notice is None or notice.answer is not None or reply.status != 0:
            return None
        notice.answer = reply
        return notice

    # -- grace --------------------------------------------------------------------------------

    def refused_in_grace(self, operation: Operation, answer: Answer) -> Grace | None:
        """An ordinary request was answered DENIED_GRACE_PERIOD; return the window if it is a new one."""
        server = operation.responder
        grace = self.active.get(server)
        if grace is not None:
            grace.refusals.append((operation, answer))
            return None
        grace = Grace(server, [(operation, answer)], [])
        for notice in reversed(self.notices):
            if notice.sender == server and notice.role == "server":
                grace.notice = notice
                break
        self.graces.append(grace)
        self.active[server] = grace
        return grace

    def served(self, operation: Operation, answer: Answer) -> None:
        """An ordinary lock request was decided: grace, if there was one, is over."""
        grace = self.active.get(operation.responder)
        if grace is not None and answer.call.time >= grace.begin.time:
            grace.ended = (operation, answer)
            del self.active[operation.responder]

    def reclaim(self, operation: Operation, answer: Answer) -> None:
        """A reclaim was answered."""
        if answer.status == op.GRANTED:
            self.reclaims.append((operation, answer))
        elif answer.status == op.DENIED_GRACE_PERIOD:
            self.late_reclaims.append((operation, answer))
        else:
            self.refused_reclaims.append((operation, answer))

    def unserved(self, operation: Operation, reply: Reply) -> None:
        """A request was refused by RPC itself."""
        if operation.reclaim:
            self.unserved_reclaims.append((operation, reply))


def _ends(look: Lookup) -> tuple[int, int, int]:
    return look.call.src, look.call.dst, look.program


def _time(look: Lookup) -> int:
    return look.call.time


def _port(reply: Reply) -> int | None:
    """The port in an answer to GETPORT (a number) or GETADDR (a universal address, RFC 5665 5.2.3)."""
    if reply.status != 0:
        return None
    port = reply.result.get("port")
    if port is not None:
        return int(port)
    address = reply.result.get("addr")
    return None if address is None else port_of_address(bytes(address))


def port_of_address(address: bytes) -> int:
    """The port in a universal address, 0 where there is none."""
    parts = address.rsplit(b".", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return int(parts[1]) * 256 + int(parts[2])
    return 0
