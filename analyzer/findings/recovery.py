"""Restarts and what became of the locks: notices, grace, reclaims.

In: notices, grace windows, reclaims, ledgers. Out: cases about recovery.

Theory. After a restart of the lock service the clients must be told, and must reclaim in time. Who was
not told keeps believing in a lock that is gone.

Never: takes status 4 for grace without looking at the reclaim flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    INFO,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Watch,
    file_name,
    of_operation,
    rule,
    seconds,
)
from analyzer.parameters import threshold, window
from analyzer.protocols.nlm import STATUS4
from analyzer.protocols.nsm import NSM
from analyzer.records.events import Call
from analyzer.sessions import operations as op
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Lock, Place
from analyzer.sessions.mounts import FAR, Mount
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.reboots import SERIES, Grace, Lookup, Notice
from analyzer.sessions.world import Sessions
from analyzer.tables import TCP

LONG_GRACE = window("grace-long", 60, "lockd's own grace is 50 s by default: programs have noticed by then")
NOTICE_BEFORE = window("notice-before-grace", 120, "sm-notify runs at boot, before lockd's first refusal")
RETRY = window("reclaim-retry", 10, "two tries of a Linux client that reclaims")
ANSWER_TIME = window("notice-answer", 5, "two tries of sm-notify, at 2 and 4 s")
UNHEARD_LOOKUPS = threshold("notice-lookups", 2, "look-ups", "one may be a datagram that was lost")


@rule("grace-period-active", INFO)
def grace_period_active(s: Sessions) -> Iterator[Case]:
    """A server has just restarted its lock service and puts off ordinary locks.

    ## What it is
    Requests that are no reclaims answered DENIED_GRACE_PERIOD.

    ## Why it matters
    Programs that lock hang for the length of the window.

    ## What to do
    Wait. To change its length set `nlm_grace_period` and nfsd's `nfsv4gracetime` together.

    ## Evidence
    The refusals, the reclaims inside, the first request that was decided again.

    ## When it is a false alarm
    None is known: the same status to a reclaim means the opposite and is not counted.
    """
    for grace in s.reboots.graces:
        end = Place(grace.ended[1].frame, grace.ended[1].time) if grace.ended else Place(s.last_frame, s.end)
        length = end.time - grace.begin.time
        since = grace.notice.place.time if grace.notice else grace.begin.time
        reclaims = [
            operation
            for operation, answer in s.reboots.reclaims
            if operation.responder == grace.server and since <= answer.time <= end.time
        ]
        clients = sorted({s.hosts.address(operation.requester) for operation, _ in grace.refusals})
        yield Case(
            f"{s.hosts.address(grace.server)} was in grace for {seconds(length)} as seen: "
            f"{len(grace.refusals)} requests of "
            f"{', '.join(clients)} put off, {len(reclaims)} locks reclaimed",
            [
                *(frame for operation, _ in grace.refusals for frame in operation.frames),
                *(frame for operation in reclaims for frame in operation.frames),
                end.frame,
            ],
            grace.begin,
            end,
            severity=MEDIUM if length > s.settings[LONG_GRACE] else INFO,
            server=grace.server,
            client=grace.refusals[0][0].requester,
            subject=grace,
            cause=grace.notice,
        )


@rule("grace-without-notify", CRITICAL)
def grace_without_notify(s: Sessions) -> Iterator[Case]:
    """A lock service restarted and did not tell the clients whose locks it dropped.

    ## What it is
    A grace window at a server that had granted locks before, no SM_NOTIFY from it to their holders, and
    no reclaim.

    ## Why it matters
    The locks are gone and their holders do not know: the next one who asks gets them.

    ## What to do
    On the server `sm-notify -f`. Never `pkill -KILL lockd` alone; in a cluster first exports, then the
    address, then the notice.

    ## Evidence
    The locks held when the window began, the refusals, the absence of a notice up to the end of the window.

    ## When it is a false alarm
    The notice may take a path that the capture does not see.
    """
    for grace in s.reboots.graces:
        end = grace.ended[1].time if grace.ended else s.end
        for client in sorted({lock.client for lock in grace.held}):
            lost = [lock for lock in grace.held if lock.client == client and lock.client_end is None] or [
                lock for lock in grace.held if lock.client == client
            ]
            if _was_told(s, grace, client, end) or any(lock.reclaimed for lock in lost):
                continue
            if all(lock.client_end is not None and lock.client_end.time < grace.begin.time for lock in lost):
                continue
            files = ", ".join(sorted({file_name(s, lock.file) for lock in lost})[:4])
            yield Case(
                f"{s.hosts.address(grace.server)} restarted its lock service and did not tell "
                f"{s.hosts.address(client)}, which held {len(lost)} lock(s) on {files}",
                [
                    *(frame for operation, _ in grace.refusals for frame in operation.frames),
                    *(frame for lock in lost for frame in lock.frames),
                    *(grace.ended[0].frames if grace.ended else ()),
                ],
                grace.begin,
                Place(s.last_frame, end),
                confidence=PROBABLE,
                watched=[Watch(lock.request.call, grace.begin.time, end) for lock in lost],
                due=FAR if grace.ended is None else 0,
                server=grace.server,
                client=client,
                subject=grace,
            )


def _was_told(s: Sessions, grace: Grace, client: int, end: int) -> bool:
    """Whether a notice to this client, or an attempt at one, is on the wire."""
    since = grace.begin.time - s.settings[NOTICE_BEFORE]
    return any(
        notice.sender == grace.server and notice.receiver == client and since <= notice.place.time <= end
        for notice in s.reboots.notices
    ) or bool(s.reboots.lookups_between(grace.server, client, NSM, since, end))


@rule("reclaim-outside-grace", HIGH)
def reclaim_outside_grace(s: Sessions) -> Iterator[Case]:
    """A client tried to recover a lock too late.

    ## What it is
    A LOCK with the reclaim flag answered DENIED_GRACE_PERIOD: the server is not, or no longer, in grace. Or
    answered DENIED or DENIED_NOLOCKS, after the server had begun to decide ordinary requests again.

    ## Why it matters
    The lock is lost, and the program that held it is not told.

    ## What to do
    Make grace longer than it takes the notices to arrive (`nlm_grace_period`); see why this client was late.

    ## Evidence
    The reclaim and its answer; the notice of the restart, and the request that shows that grace was over.

    ## When it is a false alarm
    None is known.
    """
    late = [each for each in s.reboots.refused_reclaims if _is_late(s, *each)]
    for operation, answer in (*s.reboots.late_reclaims, *late):
        yield _reclaim(s, operation, answer, "too late: the server is not in grace")


def _is_late(s: Sessions, operation: Operation, answer: Answer) -> bool:
    """Whether a reclaim was refused after grace had ended."""
    grace = _grace_before(s, operation)
    over = grace is not None and grace.ended is not None and grace.ended[1].time < operation.call.time
    return over and answer.status in (op.DENIED, op.DENIED_NOLOCKS)


def _grace_before(s: Sessions, operation: Operation) -> Grace | None:
    """The last grace window of a server that had begun when it was asked."""
    asked = operation.call.time
    of_server = (g for g in s.reboots.graces if g.server == operation.responder and g.begin.time < asked)
    return max(of_server, key=lambda grace: grace.begin.time, default=None)


@rule("reclaim-refused", HIGH)
def reclaim_refused(s: Sessions) -> Iterator[Case]:
    """A client tried to recover a lock in time and was refused.

    ## What it is
    A LOCK with the reclaim flag answered with an error other than DENIED_GRACE_PERIOD, not after grace ended.

    ## Why it matters
    The lock is lost; with DENIED somebody else has it.

    ## What to do
    STALE_FH: bring up the exports before sm-notify runs. DENIED: look for the owner that was granted the
    range.

    ## Evidence
    The reclaim and its answer; the notice of the restart.

    ## When it is a false alarm
    The same call repeated later with success.
    """
    granted = {_what(operation): answer.time for operation, answer in s.reboots.reclaims}
    for operation, answer in s.reboots.refused_reclaims:
        if granted.get(_what(operation), 0) > answer.time or _is_late(s, operation, answer):
            continue
        case = _reclaim(s, operation, answer, f"refused with {STATUS4.get(answer.status, answer.status)}")
        case.due = answer.time + s.settings[RETRY]
        case.severity = CRITICAL if answer.status == 1 else HIGH
        yield case


def _what(operation: Operation) -> tuple[object, ...]:
    """What a reclaim asks for: the same in every try."""
    return operation.owner, operation.file, operation.start, operation.end, operation.exclusive


def _reclaim(s: Sessions, operation: Operation, answer: Answer, why: str) -> Case:
    asked, frames, told = operation.call.time, operation.frames, ""
    restart = s.restart_notice(operation.responder, operation.requester, asked)
    if restart is not None:
        frames = [restart.place.frame, *((restart.answer.frame,) if restart.answer else ()), *frames]
        told = f"; it was told of the restart {seconds(asked - restart.place.time)} before"
    grace = _grace_before(s, operation)
    if grace is not None and grace.ended is not None and grace.ended[1].time < asked:
        frames = [*grace.ended[0].frames, *frames]
        told += f"; grace was over {seconds(asked - grace.ended[1].time)} before"
    return Case(
        f"{s.hosts.address(operation.requester)} reclaimed its lock on {file_name(s, operation.file)}, "
        f"{why}{told}",
        frames,
        Place(operation.call.frame, operation.call.time),
        Place(answer.frame, answer.time),
        confidence=DEFINITE,
        **of_operation(s, operation),
    )


@rule("nsm-notify-unanswered", HIGH)
def nsm_notify_unanswered(s: Sessions) -> Iterator[Case]:
    """A reboot notice was not delivered.

    ## What it is
    SM_NOTIFY, or the look-up of statd's port before it, without an answer through its retries; or statd not
    registered at the receiver.

    ## Why it matters
    A server that is not told keeps the locks of a client that has lost them; a client that is not told
    does not reclaim.

    ## What to do
    See on the receiver that rpc-statd runs and is reachable over UDP (`systemctl status rpc-statd`,
    `rpcinfo -p`); fix its port with `[statd] port=` in /etc/nfs.conf and allow it.

    ## Evidence
    Every copy of the notice, the look-ups.

    ## When it is a false alarm
    sm-notify repeats for 15 minutes: it may be answered after the end of the capture.
    """
    for notice in s.reboots.notices:
        elapsed = s.end - notice.place.time
        if notice.answer is not None or elapsed < s.settings[ANSWER_TIME]:
            continue
        yield _unheard(s, notice)
    yield from _no_statd(s)


def _no_statd(s: Sessions) -> Iterator[Case]:
    """Look-ups of statd's port that came to nothing, and after which no notice was sent."""
    asked: dict[tuple[int, int], list[Lookup]] = {}
    for look in s.reboots.lookups:
        pair = look.call.src, look.call.dst
        if look.program == NSM and not s.hosts.are_one(*pair):
            asked.setdefault(pair, []).append(look)
    told = {(notice.sender, notice.receiver): notice.calls[-1].time for notice in s.reboots.notices}
    for (sender, receiver), lookups in asked.items():
        failed = list(takewhile(lambda look: not look.port, reversed(lookups)))[::-1]
        if not failed or told.get((sender, receiver), 0) > failed[0].call.time:
            continue
        unlisted = [look.answer.frame for look in failed if look.answer is not None and look.port == 0]
        elapsed = s.end - failed[0].call.time
        if not unlisted and (len(failed) < s.settings[UNHEARD_LOOKUPS] or elapsed < s.settings[ANSWER_TIME]):
            continue
        says = "says that statd is not registered" if unlisted else "does not answer"
        is_client = (sender, receiver) in s.ledger.pairs
        first, last = failed[0].call, failed[-1].call
        yield Case(
            f"{s.hosts.address(sender)} wanted to announce its reboot to {s.hosts.address(receiver)}, whose "
            f"rpcbind {says} ({len(failed)} look-ups)",
            [*(look.call.frame for look in failed), *unlisted],
            Place(first.frame, first.time),
            Place(last.frame, last.time),
            confidence=DEFINITE if unlisted else PROBABLE,
            watched=[] if unlisted else [Watch(first, first.time, s.end)],
            due=0 if unlisted else first.time + s.settings[SERIES],
            client=sender if is_client else receiver,
            server=receiver if is_client else sender,
        )


def _unheard(s: Sessions, notice: Notice) -> Case:
    sender, receiver = notice.sender, notice.receiver
    told_by_server = notice.role == "server"
    return Case(
        f"the reboot notice of {s.hosts.address(sender)} (as {printable(notice.name)}, state "
        f"{notice.state}) to "
        f"{s.hosts.address(receiver)} was sent {len(notice.calls)} times and not answered",
        [call.frame for call in notice.calls],
        notice.place,
        Place(notice.calls[-1].frame, notice.calls[-1].time),
        confidence=PROBABLE,
        watched=[Watch(notice.calls[0], notice.place.time, s.end)],
        due=notice.place.time + s.settings[SERIES],
        server=sender if told_by_server else receiver,
        client=receiver if told_by_server else sender,
        subject=notice,
    )


@rule("recovery-completed", INFO)
def recovery_completed(s: Sessions) -> Iterator[Case]:
    """A host rebooted and its locks were recovered as designed.

    ## What it is
    A client's reboot notice was answered and freed its locks; or a server's was answered and every lock its
    client held was reclaimed.

    ## Why it matters
    It tells what an outage cost, and that nothing is left of it.

    ## What to do
    Nothing.

    ## Evidence
    The notice and its answer, the locks freed or reclaimed.

    ## When it is a false alarm
    It is no alarm.
    """
    freed: dict[tuple[int, int], list[Lock]] = {}
    for notice in s.reboots.notices:
        for lock in notice.freed:
            freed.setdefault((lock.server, lock.client), []).append(lock)
    lives = Lives(s)
    recovered = {pair for pair, locks in freed.items() if all(lock.reclaimed for lock in locks)}
    for notice in s.reboots.notices:
        pair = notice.sender, notice.receiver
        if notice.answer is None or lives.on(notice) is not None:
            continue
        if notice.role == "client" and notice.freed:
            yield _recovered(s, notice, notice.freed, "freed")
        elif notice.role == "server" and pair in recovered:
            yield _recovered(s, notice, freed[pair], "reclaimed")


def _recovered(s: Sessions, notice: Notice, locks: list[Lock], how: str) -> Case:
    assert notice.answer is not None
    requests = [request for lock in locks for request in lock.reclaimed]
    said = [Place(answer.frame, answer.time) for request in requests for answer in request.answers]
    end = max([Place(notice.answer.frame, notice.answer.time), *said], key=lambda place: place.time)
    is_client = notice.role == "client"
    return Case(
        f"{s.hosts.address(notice.sender)} rebooted (state {notice.state}); {len(locks)} lock(s) of "
        f"{s.hosts.address(locks[0].client)} were {how}, within {seconds(end.time - notice.place.time)} of "
        "the notice",
        [notice.place.frame, notice.answer.frame, *(f for request in requests for f in request.frames)],
        notice.place,
        end,
        server=notice.receiver if is_client else notice.sender,
        client=notice.sender if is_client else notice.receiver,
        subject=notice,
    )


class Lives:
    """Which hosts go on over the same connection though a notice says that they rebooted."""

    def __init__(self, s: Sessions) -> None:
        self.connections = s.connections
        self._lock_flows: dict[int, list[tuple[Call, Call]]] = {}  # first and last call, by client
        self._mounts: dict[int, list[Mount]] = {}
        for first, last in s.nlm_flows.values() if s.reboots.notices else ():
            if first.transport == TCP:
                self._lock_flows.setdefault(first.src, []).append((first, last))
        for mount in s.mounts.sessions.values() if s.reboots.notices else ():
            self._mounts.setdefault(mount.client, []).append(mount)

    def on(self, notice: Notice) -> tuple[int, int] | None:
        """Frames before and after a notice on one connection of the host it speaks of."""
        told = notice.place.time
        for first, last in self._lock_flows.get(notice.victim, ()):
            if first.time < told < last.time:
                return first.frame, last.frame
        for mount in self._mounts.get(notice.victim, ()):
            for flow, last_call in mount.flows.items():
                connection = self.connections.by_flow.get(flow)
                if connection and connection.tries and connection.since < told < last_call.time:
                    return connection.tries[0][0], last_call.frame
        return None


@rule("false-reboot-notice", CRITICAL)
def false_reboot_notice(s: Sessions) -> Iterator[Case]:
    """A client that is alive was declared rebooted: the server drops locks that it still uses.

    ## What it is
    A reboot notice from a client's own address while its connections carry calls before and after it.

    ## Why it matters
    The server gives the client's locks to others while the client works under them.

    ## What to do
    Run one statd per host: no rpc.statd or sm-notify in containers that restart; `rpc.statd -L` where two are
    needed.

    ## Evidence
    The notice; calls on one connection before and after it.

    ## When it is a false alarm
    Another host behind the same address rebooted; an address that moved; an administrator who meant it.
    """
    lives = Lives(s)
    for notice in s.reboots.notices:
        if notice.role != "client" or not notice.freed:
            continue
        found = lives.on(notice)
        if found is None:
            continue
        yield Case(
            f"{s.hosts.address(notice.sender)} announced its own reboot (state {notice.state}), yet one of "
            f"its connections "
            f"carries calls before and after (frames {found[0]} and {found[1]}); {len(notice.freed)} "
            f"lock(s) dropped",
            [notice.place.frame, *found, *((notice.answer.frame,) if notice.answer else ())],
            notice.place,
            confidence=DEFINITE,
            server=notice.receiver,
            client=notice.sender,
            subject=notice,
        )


@rule("nsm-notify-spoofed", CRITICAL, family="security")
def nsm_notify_spoofed(s: Sessions) -> Iterator[Case]:
    """A host announced somebody else's reboot.

    ## What it is
    An SM_NOTIFY with a name that another host uses for itself, sent from an address that never used it.

    ## Why it matters
    The server drops the locks of the host that is named, which goes on working under them.

    ## What to do
    Find out who sent it; perhaps an administrator freeing locks by hand. Let only NFS hosts reach statd's
    port.

    ## Evidence
    The notice; the address at which the name is known; calls of that host before and after on one connection.

    ## When it is a false alarm
    A host with several addresses; a takeover in a cluster.
    """
    lives = Lives(s)
    for notice in s.reboots.notices:
        if notice.role != "forged":
            continue
        found = lives.on(notice)
        heard = s.hosts.last_seen(notice.victim)[1] > notice.place.time
        alive = f", which is alive (frames {found[0]} and {found[1]} on one connection)" if found else ""
        yield Case(
            f"{s.hosts.address(notice.sender)} announced a reboot of {printable(notice.name)} (state "
            f"{notice.state}); that is "
            f"{s.hosts.address(notice.victim)}{alive}",
            [
                *(call.frame for call in notice.calls),
                *((notice.answer.frame,) if notice.answer else ()),
                *(found or ()),
            ],
            notice.place,
            confidence=DEFINITE if found else PROBABLE if heard else POSSIBLE,
            severity=CRITICAL if found or heard else MEDIUM,
            server=notice.receiver,
            client=notice.victim,
            peer=notice.sender,
            subject=notice,
        )
