"""Lock services that lack what they need: the statd beside them, their exports, their own port.

In: slow and refused requests, SM_MON, what happened between a reboot notice and the reclaims. Out: cases.

Theory. lockd has its clients watched by statd before it grants the first lock, and waits for it: where statd
is dead the client waits too. And a server that tells its clients to reclaim must be able to serve them by
then: with its exports, its lock service and its port. What fails first and is granted a little later shows
that it was told too early.

Never: takes one slow answer for a dead statd where others explain it as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings.recovery_peers import RECLAIM_WINDOW
from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
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
from analyzer.findings.standing import LEAST_WATCHED, RESTART_MARGIN
from analyzer.parameters import window
from analyzer.protocols.mount import STATUS3
from analyzer.protocols.nlm import NLM
from analyzer.records.events import Reply
from analyzer.sessions import operations as op
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Place
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.reboots import Notice
from analyzer.sessions.world import Sessions

STATD_ANSWER = window("statd-answer", 10, "lockd's patience with the statd beside it")
STATD_SERIES = window("statd-series", 25, "lockd asks a dead statd again and again for 30 to 60 s")
SM_MON, STAT_FAIL = 2, 1
PROG_UNAVAIL, SYSTEM_ERR = 1, 5
CANDIDATES = 64  # late first locks that are looked into: a dead statd shows by the first few


@rule("nsm-monitor-failed", HIGH)
def nsm_monitor_failed(s: Sessions) -> Iterator[Case]:
    """A lock service could not have a client watched by the statd beside it.

    ## What it is
    A LOCK that was answered DENIED_NOLOCKS after seconds of waiting: as long as a lock service waits for the
    statd beside it. Or the first request of a client, a LOCK, that TCP delivered and that was granted only
    after half a minute, while nobody held the range and later requests of that client were answered at once
    (medium). In a capture that has the loopback of a host: SM_MON that failed or was not answered.

    ## Why it matters
    Programs get ENOLCK, or hang for as long as lockd tries. A client that is not watched is not told when the
    server reboots.

    ## What to do
    On the server see that rpcbind and rpc-statd run (`systemctl status rpc-statd`), that the client's name
    can be looked up, and that /var/lib/nfs/sm holds no hosts that are long gone.

    ## Evidence
    The LOCK and its late answer; the SM_MON.

    ## When it is a false alarm
    DENIED_NOLOCKS also means that the server is short of memory; one late grant may have any other reason
    that keeps lockd busy. Where nothing but time speaks for it the finding is `possible`.
    """
    for operation, answer in s.slow:
        if operation.kind == "LOCK" and answer.status == op.DENIED_NOLOCKS and len(operation.answers) == 1:
            yield _slow(s, operation, answer, "refused", "with DENIED_NOLOCKS ")
    for operation, answer in _first_locks(s):
        case = _slow(s, operation, answer, "granted the first", "only ")
        case.severity = MEDIUM
        yield case
    for call in s.conduct.calls.get("sm-mon", ()):
        reply = s.conduct.answer(call)
        failed = reply is not None and (reply.status != 0 or reply.result.get("status") == STAT_FAIL)
        silent = reply is None and s.end - call.time >= s.settings[LEAST_WATCHED]
        if not s.hosts.are_one(call.src, call.dst) or call.procedure != SM_MON or not (failed or silent):
            continue
        name = call.args.get("mon_name", b"")
        yield Case(
            f"statd of {s.hosts.address(call.dst)} {'refused' if failed else 'did not answer a request'} to "
            f"watch {printable(name)}: lockd refuses its locks",
            [call.frame, *((reply.frame,) if reply is not None else ())],
            Place(call.frame, call.time),
            confidence=DEFINITE if failed else PROBABLE,
            watched=[Watch(call, call.time, s.end)],
            due=0 if failed else call.time + s.settings[STATD_ANSWER],
            server=call.dst,
            client=next(iter(s.hosts.named(name)), -1),
            group=name,
        )


def _slow(s: Sessions, operation: Operation, answer: Answer, did: str, how: str) -> Case:
    return Case(
        f"{s.hosts.address(operation.responder)} {did} lock of {s.hosts.address(operation.requester)} "
        f"{how}after {seconds(answer.time - operation.call.time)}: perhaps its statd does not answer",
        operation.frames,
        Place(operation.call.frame, operation.call.time),
        Place(answer.frame, answer.time),
        confidence=POSSIBLE,
        subject=operation,
        **of_operation(s, operation),
    )


def _first_locks(s: Sessions) -> Iterator[tuple[Operation, Answer]]:
    """First requests of clients, LOCKs that were granted very late, where nothing else explains it."""
    found = [
        (operation, answer)
        for operation, answer in s.slow
        if operation.kind == "LOCK"
        and answer.status == op.GRANTED
        and answer is operation.answers[0]
        and answer.time - operation.call.time >= s.settings[STATD_SERIES]
        and s.asks(operation.requester, operation.responder).get(operation.call.version) is operation
        and _is_new_here(s, operation)
        and not _was_resent(s, operation)
    ]
    for operation, answer in found[:CANDIDATES]:
        since, until = operation.call.time - s.settings[RESTART_MARGIN], answer.time
        if s.restarted(operation.responder, since, until) is None and not (
            _is_slow_anyway(s, operation, answer) or _is_contended(s, operation, answer)
        ):
            yield operation, answer


def _is_new_here(s: Sessions, operation: Operation) -> bool:
    """Whether the capture saw a client arrive at a server: its MNT, or its connection to the lock service."""
    return s.connections.opened(operation.call.flow) or any(
        mount.mnts and not mount.early
        for mount in s.mounts.of_client(operation.requester, operation.responder)
    )


def _was_resent(s: Sessions, operation: Operation) -> bool:
    """Whether TCP had to send a call again: then it was late to arrive."""
    call = operation.call
    return call.stream_end >= 0 and bool(s.connections.repeats_of(call.flow, call.side, call.stream_end))


def _is_slow_anyway(s: Sessions, operation: Operation, answer: Answer) -> bool:
    """Whether the server was stuck before, or is slow to this client afterwards too."""
    return any(
        other is not operation
        and other.responder == operation.responder
        and (
            other.call.time < operation.call.time < late.time
            or (other.requester == operation.requester and other.call.time > answer.time)
        )
        for other, late in s.slow
    )


def _is_contended(s: Sessions, operation: Operation, answer: Answer) -> bool:
    """Whether somebody else had a lock in the way while the request was open."""
    return any(
        lock.file is operation.file
        and lock.owner is not operation.owner
        and lock.start <= operation.end
        and lock.end >= operation.start
        and lock.granted.time < answer.time
        and (lock.server_end is None or lock.server_end.time > operation.call.time)
        for lock in s.ledger.locks
    )


@rule("notify-before-ready", HIGH)
def notify_before_ready(s: Sessions) -> Iterator[Case]:
    """A server told its clients to reclaim before it could serve them.

    ## What it is
    After a reboot notice of the server, and before a reclaim of a client was granted, one of these:

    - the same reclaim answered STALE_FH, or refused by RPC because the lock service was not there;
    - an NFS call of that client on the file answered NFS3ERR_STALE;
    - its look-up of lockd's port answered "not registered", or its connection to the very port that served
      the reclaim refused;

    or a MNT refused soon after the notice, and the same MNT accepted later.

    ## Why it matters
    A client that does not try again has lost its lock.

    ## What to do
    Start in this order: exports, lock service, address, notice. In a cluster make the notice depend on the
    exports.

    ## Evidence
    The notice, what failed, the reclaim (or MNT) that went well.

    ## When it is a false alarm
    One export that is slow to come up. Not counted: the first call into a connection that the restart killed,
    and a connection to the port that lockd had before.
    """
    failed: dict[object, list[Failure]] = {}
    for operation, answer in s.reboots.refused_reclaims:
        if answer.status == op.STALE_FH:
            what = f"did not know {file_name(s, operation.file)}"
            place = Place(answer.frame, answer.time)
            failed.setdefault(_what(operation), []).append(Failure(what, operation.frames, place))
    for operation, reply in s.reboots.unserved_reclaims:
        if reply.status in (PROG_UNAVAIL, SYSTEM_ERR):
            failure = Failure("did not serve locks", operation.frames, _place(reply))
            failed.setdefault(_what(operation), []).append(failure)
    for stale in s.fates.stale_calls:
        what = "answered NFS3ERR_STALE"
        key = (stale.client, s.handles.canonical(stale.fh))
        failed.setdefault(key, []).append(Failure(what, [stale.frame], Place(stale.frame, stale.time)))
    seen: set[tuple[int, int]] = set()
    for operation, answer in s.reboots.reclaims:
        client, server, asked = operation.requester, operation.responder, operation.call.time
        restart = s.restarted(server, asked - s.settings[RECLAIM_WINDOW], asked)
        if not isinstance(restart, Notice):
            continue
        file = operation.file.fh if operation.file is not None else operation.fh
        failures = failed.get(_what(operation), []) + failed.get((client, s.handles.canonical(file)), [])
        if (client, server) not in seen:
            seen.add((client, server))
            failures += _unreached(s, operation, restart.place.time)
        failures = [one for one in failures if restart.place.time < one.place.time < asked]
        if failures:
            yield _too_early(s, restart, operation, answer, failures)
    yield from _mounted_too_early(s)


class Failure(NamedTuple):
    """Something that a server could not do yet."""

    what: str
    frames: list[int]
    place: Place


def _what(operation: Operation) -> tuple[object, ...]:
    return operation.requester, operation.fh, operation.svid, operation.start, operation.end


def _unreached(s: Sessions, operation: Operation, since: int) -> list[Failure]:
    """Look-ups and connections of a client on the way to its reclaim that came to nothing."""
    client, server, call = operation.requester, operation.responder, operation.call
    found = [
        Failure("had not registered lockd", [look.call.frame, look.answer.frame], _place(look.answer))
        for look in s.reboots.lookups_between(client, server, NLM, since, call.time)
        if look.answer is not None and look.port == 0
    ]
    return found + [
        Failure(
            f"refused connections to port {one.port}", [one.tries[-1][0], one.refused[0]], Place(*one.refused)
        )
        for one in s.connections.attempts(client, server, since, call.time)
        if one.refused is not None and one.port == call.dport
    ]


def _place(reply: Reply) -> Place:
    return Place(reply.frame, reply.time)


def _too_early(
    s: Sessions, restart: Notice, operation: Operation, answer: Answer, failures: list[Failure]
) -> Case:
    first = min(failures, key=lambda one: one.place)
    return Case(
        f"{s.hosts.address(operation.responder)} announced its restart in frame {restart.place.frame}, yet "
        f"{first.what} when {s.hosts.address(operation.requester)} came to reclaim; "
        f"{seconds(answer.time - first.place.time)} later it granted the lock",
        [restart.place.frame, *(f for one in failures for f in one.frames), *operation.frames],
        first.place,
        Place(answer.frame, answer.time),
        cause=restart,
        **of_operation(s, operation),
    )


def _mounted_too_early(s: Sessions) -> Iterator[Case]:
    """MNTs refused soon after a notice, and accepted later."""
    accepted: dict[tuple[int, int, str], Reply] = {}
    for mount in s.mounts.sessions.values() if s.mounts.refused else ():
        for mnt in mount.mnts:
            accepted[mount.client, mount.server, printable(mnt.call.args.get("dirpath", b""))] = mnt
    for reply in s.mounts.refused:
        call = reply.call
        path = printable(call.args.get("dirpath", b""))
        if reply.status not in (0, PROG_UNAVAIL, SYSTEM_ERR):
            continue  # about versions and credentials
        later = accepted.get((call.src, call.dst, path))
        restart = s.restarted(call.dst, call.time - s.settings[RECLAIM_WINDOW], call.time)
        if later is None or later.call.time < call.time or not isinstance(restart, Notice):
            continue
        status = int(reply.result.get("status", -1))
        why = STATUS3.get(status, f"status {status}") if reply.status == 0 else "an error of RPC"
        yield Case(
            f"{s.hosts.address(call.dst)} announced its restart in frame {restart.place.frame}, yet answered "
            f"the MNT of {path} by {s.hosts.address(call.src)} with {why}; "
            f"{seconds(later.time - call.time)} later it accepted it",
            [restart.place.frame, call.frame, reply.frame, later.call.frame, later.frame],
            Place(call.frame, call.time),
            Place(later.frame, later.time),
            server=call.dst,
            client=call.src,
            export=path,
            cause=restart,
        )
