"""Sessions: what the records of a capture mean, kept up to date block by block.

In: events and NFS activity of a block, in capture order. Out: ledgers, mounts, reboots, connections, hosts:
what the rules read.

Theory. Each builder knows one thing and is told what it needs here, in the order of the wire. Nothing here
looks ahead: a verdict that needs the end of the capture is a rule's.

Never: reads bytes; knows how records were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from analyzer.faults import Fault, new_faults
from analyzer.parameters import AUTO, DEFAULTS, Settings, threshold, window
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.protocols.portmap import PORTMAP
from analyzer.protocols.rpc import AUTH_SYS, AUTH_TLS
from analyzer.records.events import (
    Activity,
    Call,
    Control,
    Done,
    Event,
    Hole,
    Io,
    Naming,
    Renaming,
    Repeat,
    Reply,
    Resent,
    Stale,
    Unreachable,
    Verifier,
)
from analyzer.records.handles import HandleTable
from analyzer.sessions import operations as op
from analyzer.sessions.callbacks import Callbacks
from analyzer.sessions.circles import Circle, circle_of
from analyzer.sessions.conduct import Conduct
from analyzer.sessions.connections import Connections
from analyzer.sessions.fates import Fates
from analyzer.sessions.handles import Handles
from analyzer.sessions.hosts import Hosts, is_odd_name, is_other_name
from analyzer.sessions.intrusions import Intrusions
from analyzer.sessions.kept import Kept
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.losses import Losses
from analyzer.sessions.model import End, Lock, Place
from analyzer.sessions.mounts import Mounts
from analyzer.sessions.operations import Answer, Operation, Operations
from analyzer.sessions.pace import Meter, Pace
from analyzer.sessions.ranges import LARGEST_32, largest_of
from analyzer.sessions.rebirths import Rebirths
from analyzer.sessions.reboots import Grace, Notice, Reboots
from analyzer.sessions.servers import Servers
from analyzer.sessions.settled import Settled
from analyzer.sessions.shares import Shares
from analyzer.sessions.sides import OneWay, sides
from analyzer.sessions.usage import Usage
from analyzer.sessions.withheld import WITHHELD, Withheld
from analyzer.tables import UDP, Flows, Streams

SLOW = window("slow-answer", 2, "a lock server that is well answers in milliseconds")

ONE_WAY = window("one-way-after", 3, "TCP has sent again by then what was not acknowledged")
ONE_WAY_CALLS = threshold("one-way-calls", 3, "calls", "fewer may have been given up by killed programs")
ONE_WAY_WATCHED = window("one-way-watched", 20, "lockd sends again after 10 s what nobody answered over UDP")

CIRCLES_KEPT = 4096
GRANTS = ("LOCK", "NM_LOCK")
LESS_SURE, NOTES = "less sure", "less than possible"  # of `Sessions.doubted`
TEST_RES = 11  # Linux leaves the last 8 bytes of the holder out of it
MALFORMED = (
    Fault.XDR_SHORT,
    Fault.XDR_LIMIT,
    Fault.XDR_DEPTH,
    Fault.XDR_BOOL,
    Fault.XDR_PADDING,
    Fault.XDR_ENUM,
)


class Sessions:
    """Everything the rules may read."""

    def __init__(self, table: HandleTable, server_model: str = AUTO, settings: Settings = DEFAULTS) -> None:
        self.settings = settings
        self.slow_after = settings[SLOW]
        self.hosts = Hosts()
        self.connections = Connections()
        self.handles = Handles(table)
        self.servers = Servers(table, server_model)
        self.mounts = Mounts(self.handles, self.settings)
        self.ledger = Ledger(self.handles, self.servers, self.settings)
        self.callbacks = Callbacks(self.ledger)
        self.rebirths = Rebirths(self.mounts, self.settings)
        self.ledger.on_grant = self.rebirths.granted
        self.usage = Usage()
        self.shares = Shares()
        self.settled = Settled()
        self.withheld = Withheld(self)
        self.intrusions = Intrusions(self.ledger, self.settled, self.settings)
        self.fates = Fates(self.ledger)
        self.operations = Operations(self.servers)
        self.reboots = Reboots(self.settings)
        self.conduct = Conduct()
        self.pace = Pace(self.settings)
        self.circles: Kept[Circle] = Kept(CIRCLES_KEPT)
        self.verifiers: Kept[Verifier] = Kept()
        self.faults = new_faults()  # and the calls of every procedure: as the stages before count them
        self.counts: dict[tuple[int, int, int], int] = {}
        self.first_frames: dict[tuple[int, int, int], int] = {}
        self.doubted: dict[tuple[int, int] | str, Counter[str]] = {}  # see `findings.grading`
        self.start = 0
        self.end = 0
        self.last_frame = 0
        self.slow: Kept[tuple[Operation, Answer]] = Kept()
        self.asynchronous: Kept[Operation] = Kept()
        self.misnamed: Kept[Operation] = Kept()  # whose caller_name is not what its credentials say
        self.oversized: Kept[tuple[Operation, Answer]] = Kept()
        self.nlm_flows: dict[int, list[Call]] = {}  # first and last NLM call by connection
        self.lock_servers: dict[int, dict[int, dict[int, Operation]]] = {}  # see `asks`
        self.drop_spans: list[tuple[int, int]] = []  # in which the capturing program lost packets, ns
        self.losses = Losses(self.connections, self.nlm_flows)  # as of when the rules are asked

    # -- feeding ------------------------------------------------------------------------------

    def feed(self, events: Iterable[Event], activity: Activity) -> None:
        """Take in a block."""
        used = 0
        for event in events:
            kind = type(event)
            if kind is Call:
                self._call(event)  # type: ignore[arg-type]
            elif kind is Reply:
                if event.call.program == MOUNT:  # type: ignore[union-attr]
                    used = self._used(activity, used, int(np.searchsorted(activity.frame, event.frame)))
                self._reply(event)  # type: ignore[arg-type]
            else:
                self._other(event)
        self._used(activity, used, len(activity.frame))

    def _used(self, activity: Activity, since: int, until: int) -> int:
        """Tell of the NFS calls `since`..`until`: what MOUNT says is about mounts in use at its time."""
        if until <= since:
            return since
        rows = Activity._make(column[since:until] for column in activity)
        self.mounts.activity(rows)
        self.usage.activity(rows)
        return until

    def _other(self, event: Event) -> None:
        match event:
            case Control():
                self.connections.control(event)
            case Naming():
                self._naming(event)
            case Renaming():
                self._renaming(event)
            case Io():
                self.ledger.touched(event)
                self.intrusions.wrote(event)
            case Done():
                self.intrusions.done(event)
            case Stale():
                self.fates.stale(event)
            case Repeat():
                self.connections.repeats.append(event)
            case Hole():
                self.connections.hole(event)
            case Unreachable():
                self.connections.unreachable.append(event)
            case Resent():
                self.pace.resent(event)
            case Verifier():
                self.verifiers.append(event)

    def _naming(self, event: Naming) -> None:
        if event.fh >= 0:
            self.handles.named(event.directory, event.name, event.fh)
        else:
            self.fates.nameless(self.handles.unnamed(event.directory, event.name), event)

    def _renaming(self, event: Renaming) -> None:
        moved = self.handles.unnamed(event.directory, event.name)
        replaced = self.handles.unnamed(event.to_directory, event.to_name)
        if moved >= 0:
            self.handles.named(event.to_directory, event.to_name, moved)
        if replaced != moved:
            self.fates.nameless(replaced, event)

    # -- calls --------------------------------------------------------------------------------

    def _call(self, call: Call) -> None:
        self.hosts.name(call.src, call.machine)
        if call.fault >= 0:
            self._undecoded(call)
            if call.damage and call.fault == Fault.XDR_SHORT:
                self.connections.cut(call)
        if call.flavor == AUTH_TLS:
            self.conduct.call("tls", call)
        program = call.program
        if program == NLM:
            self._nlm_call(call)
        elif program == MOUNT:
            self.mounts.call(call)
            if call.procedure in (1, 3, 4):  # MNT, UMNT, UMNTALL: anybody may ask for lists
                self.conduct.sent(call)
        elif program == PORTMAP:
            self.reboots.lookup(call)
            if call.procedure in (1, 2, 5, 10):  # SET, UNSET, CALLIT or BCAST, INDIRECT (RFC 1833)
                self.conduct.call("portmap", call)
        elif program == NSM:
            self._nsm_call(call)
        elif program == NFS and call.version == 3 and call.procedure:
            self.conduct.call("nfs3-proc-22", call)

    def _nlm_call(self, call: Call) -> None:
        span = self.nlm_flows.get(call.flow)
        if span is None:
            self.nlm_flows[call.flow] = [call, call]
        else:
            span[1] = call
        if call.retransmit_of >= 0:
            self.withheld.recall(call.retransmit_of)
        operation, new = self.operations.request(call)
        if operation is None:
            self._no_request(call)
        elif operation.kind != "GRANTED":
            self.pace.asked(operation, call, new, self.connections.opened)
            if new:
                self._asked(operation, call)
        elif new:
            if operation.is_async:
                self.asynchronous.append(operation)
            self.callbacks.offered(operation)

    def _no_request(self, call: Call) -> None:
        """An NLM call that asks nothing: a result, or a notice of lockd's own statd."""
        if call.procedure == 16:
            self.conduct.call("nlm-sm-notify", call)
        elif call.procedure in op.RES:
            operation, answer = self.operations.result(call)
            if operation is not None and answer is not None:
                self._answered(operation, answer)

    def _asked(self, operation: Operation, call: Call) -> None:
        """A client asks something of its lock server, for the first time."""
        self.conduct.sent(call)
        if call.flavor != AUTH_SYS:
            self.conduct.call("odd-flavor", call)
        if operation.kind == "FREE_ALL":
            self.conduct.call("free-all", call)
            return
        caller = operation.caller
        if caller and caller != call.machine:
            self.hosts.name(call.src, caller)
            if is_other_name(call.machine, caller):
                self.misnamed.append(operation)
        if call.version not in self.asks(call.src, call.dst):
            servers = self.lock_servers.setdefault(call.src, {})
            servers.setdefault(call.dst, {})[call.version] = operation
        if operation.is_async:
            self.asynchronous.append(operation)
        self.ledger.asked(operation)
        if operation.kind == "UNSHARE":
            self.shares.asked(operation)

    def _undecoded(self, call: Call) -> None:
        """Keep a call whose body is not what is declared, though the capture has all of it."""
        wrong = call.fault in MALFORMED and not call.damage
        if wrong and call.program != NFS and (call.program, call.procedure) != (NLM, TEST_RES):
            self.conduct.call("undecoded", call)

    def _nsm_call(self, call: Call) -> None:
        if is_odd_name(call.args.get("mon_name", b"")):
            self.conduct.call("odd-name", call)
        if call.procedure in (2, 3, 4, 5):
            self.conduct.call("sm-mon", call)
        if call.procedure == 6 and call.fault < 0:
            self.conduct.sent(call)
            notice, new = self.reboots.notify(call)
            if new:
                self._weigh(notice)
                if notice.role == "server":  # it restarted, whether the notice is heard or not
                    end = End("server-restart", call.frame, call.time)
                    notice.freed = self._restart(notice.sender, end)

    def _restart(self, server: int, end: End) -> list[Lock]:
        """A server forgot everything; return the locks it held."""
        self.shares.freed(server, end)
        return self.ledger.restart(server, end)

    def _weigh(self, notice: Notice) -> None:
        """Whose reboot is it, and who is told?"""
        clients = self.ledger.pairs
        sender, receiver = notice.sender, notice.receiver
        named = self.hosts.named(notice.name)
        if (receiver, sender) in clients:
            notice.role, notice.victim = "server", sender
        elif sender in named or not named:
            notice.role, notice.victim = "client", sender
        elif any((host, receiver) in clients for host in named):
            notice.role = "forged"
            notice.victim = next(host for host in named if (host, receiver) in clients)
        else:
            notice.role, notice.victim = "other", sender

    # -- replies ------------------------------------------------------------------------------

    def _reply(self, reply: Reply) -> None:
        call = reply.call
        if reply.damage and (reply.status < 0 or reply.fault == Fault.XDR_SHORT):
            self.connections.cut(reply)
            if reply.status < 0:
                return  # there was an answer; what it says is not known
        program = call.program
        if reply.fault in MALFORMED and not reply.damage and program != NFS:
            self.conduct.call("undecoded-reply", call)
        self.conduct.reply(reply)
        if program == NLM:
            self._nlm_reply(reply)
        elif program == MOUNT:
            self.mounts.reply(reply)
        elif program == PORTMAP:
            self.reboots.looked_up(reply)
        elif program == NSM and call.procedure == 6:
            self._notified(reply)

    def _nlm_reply(self, reply: Reply) -> None:
        operation, answer = self.operations.reply(reply)
        if operation is None and reply.call.procedure in WITHHELD and self.withheld.recall(reply.call.serial):
            operation, answer = self.operations.reply(reply)
        if operation is None:
            return
        if operation.failure is reply:
            self.ledger.failed(operation)
            self.reboots.unserved(operation, reply)
        if answer is not None:
            if operation.kind == "FREE_ALL":
                self._free_all(reply)
            else:
                self._answered(operation, answer)

    def _free_all(self, reply: Reply) -> None:
        """Linux frees what the sender holds over this transport and version, whatever the name says."""
        call = reply.call
        end = End("free-all", reply.frame, reply.time)
        self.shares.freed(call.dst, end, call.src)
        self.ledger.free_client(call.dst, call.src, end, True, (call.transport, call.version))

    def _answered(self, operation: Operation, answer: Answer) -> None:
        kind, status = operation.kind, answer.status
        if kind == "GRANTED":
            self.callbacks.answered(operation, answer)
            return
        if answer.time - operation.call.time > self.slow_after:
            self.slow.append((operation, answer))
        if kind == "UNLOCK" and status == op.GRANTED:
            self.ledger.answered(operation, answer)  # to all others it is nothing
            return
        if status == op.FBIG or (status == op.GRANTED and kind in GRANTS and self._is_odd_range(operation)):
            self.oversized.append((operation, answer))
        if operation.reclaim:
            self.reboots.reclaim(operation, answer)
        elif status == op.DENIED_GRACE_PERIOD:
            self._refused_in_grace(operation, answer)
        elif self.reboots.active and kind in ("LOCK", "TEST") and status in op.DECIDED:
            self.reboots.served(operation, answer)
        if kind == "SHARE":
            self.shares.answered(operation, answer)
        self.ledger.answered(operation, answer)
        if status == op.DENIED:
            self.pace.refused(operation, answer)
        elif status == op.STALE_FH and not operation.reclaim:
            self.fates.refused(operation, answer)
        wait = operation.wait
        if wait is not None and wait.request is operation and wait.ended is None:
            circle = circle_of(self.ledger, wait, Place(answer.frame, answer.time))
            if circle is not None:
                self.circles.append(circle)

    def _refused_in_grace(self, operation: Operation, answer: Answer) -> None:
        """The first one refused says that its server restarted, and has forgotten what it held."""
        grace = self.reboots.refused_in_grace(operation, answer)
        if grace is not None:
            known = grace.notice.freed if grace.notice is not None else []
            grace.held = known or self._restart(operation.responder, End("grace", answer.frame, answer.time))

    def _is_odd_range(self, operation: Operation) -> bool:
        """Whether a LOCK is of bytes that its server may not count as its client does."""
        start, length, version = operation.start, operation.length, operation.call.version
        if not length or (start + length < LARGEST_32 and version >= 4):
            return False
        return start + length >= largest_of(version) or (version < 4 and operation.fh in self.handles.large)

    def _notified(self, reply: Reply) -> None:
        """A reboot notice was taken: what it frees is free now."""
        notice = self.reboots.notified(reply)
        if notice is None:
            return
        end = End("reboot-notice", reply.frame, reply.time)
        if notice.role != "other":
            self.shares.freed(notice.receiver, end, notice.victim)
        if notice.role in ("client", "server"):  # a lock server may be a client of its clients
            freed = self.ledger.free_client(notice.receiver, notice.victim, end, True)
            if notice.role == "client":
                notice.freed = freed
            for mount in self.mounts.of_client(notice.victim, notice.receiver):
                mount.rebooted = Place(reply.frame, reply.time)
        elif notice.role == "forged":
            notice.freed = self.ledger.free_client(notice.receiver, notice.victim, end, False)

    def tell(self, flows: Flows, streams: Streams, torn: dict[int, tuple[int, int]]) -> None:
        """What became of connections up to now, for rules that ask; `torn` of them lost records."""
        self.connections.sides = sides(flows, streams, self.settings[ONE_WAY])
        self.connections.torn = torn

    def finish(self) -> None:
        """End of the capture."""
        self.ledger.finish(Place(self.last_frame, self.end))

    def evicted(self) -> int:
        """What was forgotten to stay within limits, in all builders."""
        meters = (value for value in vars(self.pace).values() if isinstance(value, Meter))
        builders = (
            *(self, self.ledger, self.mounts, self.operations, self.reboots, self.rebirths, self.connections),
            *(self.fates, self.intrusions, self.shares, *meters),
        )
        lists = (value for builder in builders for value in vars(builder).values() if isinstance(value, Kept))
        others = self.connections.evicted + self.operations.evicted + self.reboots.evicted
        return others + sum(kept.dropped for kept in lists)

    # -- questions of the rules ----------------------------------------------------------------

    def restarted(self, server: int, since: int, until: int) -> Grace | Notice | None:
        """What shows that a lock server restarted in since..until."""
        for notice in self.reboots.notices:
            if notice.role == "server" and notice.sender == server and since <= notice.place.time <= until:
                return notice
        for grace in self.reboots.graces:
            if grace.server == server and since <= grace.begin.time <= until:
                return grace
        return None

    def restart_notice(self, server: int, client: int, until: int) -> Notice | None:
        """The last notice before `until` by which a server told a client that it restarted."""
        told = (
            n for n in self.reboots.notices if (n.role, n.sender, n.receiver) == ("server", server, client)
        )
        return max((n for n in told if n.place.time < until), key=lambda n: n.place.time, default=None)

    def notice_that_freed(self, lock: Lock) -> Notice | None:
        """The reboot notice that took a lock away."""
        return next((notice for notice in self.reboots.notices if lock in notice.freed), None)

    def is_new(self, client: int, server: int) -> bool:
        """Whether the capture saw a client come to a server.

        By its MNT, its first connection to the lock service, or a cookie from where Linux begins to count.
        """
        mounts = self.mounts.of_client(client, server)
        if mounts:
            return not any(mount.early for mount in mounts)
        firsts = self.asks(client, server).values()
        return bool(firsts) and all(
            self.connections.opened(first.call.flow) or self.rebirths.is_young(first) for first in firsts
        )

    def asks(self, client: int, server: int) -> Mapping[int, Operation]:
        """The first lock request of a client to a server, by version of NLM."""
        return self.lock_servers.get(client, {}).get(server, {})

    def one_way(self) -> list[OneWay]:
        """Where only one direction between two hosts was captured, as TCP or lock calls over UDP show."""
        return self.connections.sides.one_way + self._one_way_over_udp()

    def _one_way_over_udp(self) -> list[OneWay]:
        """Lock calls over UDP that nobody answered and nobody sent again, for longer than a client waits."""
        asked: dict[tuple[int, int], list[Operation]] = {}
        for operation in self.operations.open.values():
            if operation.call.transport == UDP and not operation.is_async:
                asked.setdefault((operation.requester, operation.responder), []).append(operation)
        found = []
        for (here, missing), requests in asked.items():
            first, last = requests[0].call, requests[-1].call
            many = len(requests) >= self.settings[ONE_WAY_CALLS]
            single = all(not one.answers and one.failure is None and len(one.calls) == 1 for one in requests)
            single &= not self.hosts.packets(missing)
            if many and single and last.time - first.time >= self.settings[ONE_WAY_WATCHED]:
                found.append(OneWay(first.flow, here, missing, first.frame, first.time))
        return found
