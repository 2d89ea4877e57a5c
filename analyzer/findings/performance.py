"""Stalls and knots: locks that work, but not as they should.

In: operations with their latencies, deadlock answers. Out: cases about time.

Theory. A lock server that is well answers in milliseconds. Late answers have three faces: the server is
slow (TCP acknowledges, RPC does not answer), the path to its port is filtered (TCP does not acknowledge
while other services answer), the host was gone (nothing answers, and it comes back restarted): the last
is no stall.

Never: calls a wait for a held lock a stall.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.lock_service import silence, unreached
from analyzer.findings.rule import (
    HIGH,
    LOW,
    MEDIUM,
    PROBABLE,
    Case,
    file_name,
    of_operation,
    of_wait,
    rule,
    seconds,
)
from analyzer.findings.standing import LEAST_WATCHED, RESTART_MARGIN, sent_frames
from analyzer.parameters import threshold, window
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import FAR
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.world import Sessions

ONE_IS_ENOUGH = window("stall-of-one", 10, "lockd's RPC timeout: the client has given up on the first copy")
SEVERAL = threshold("stall-requests", 3, "requests", "one or two slow answers are a bad moment")
STANDING = window(
    "circle-stands", 10, "a server that looks for circles answers at once; a thread may resolve one"
)


@rule("nlm-server-stall", HIGH)
def nlm_server_stall(s: Sessions) -> Iterator[Case]:
    """A lock server answered late, or not at all.

    ## What it is
    A lock request answered only after 10 seconds, or three after more than two, by a server that did not
    restart. A request that was never answered, nor any later one, by a host that is alive. A client that
    looked up lockd's port and found it not registered, refused or filtered.

    ## Why it matters
    One thread serves all of NLM on Linux: while it waits for statd, DNS or a slow file system,
    everybody's locks hang.

    ## What to do
    On the server look at rpc-statd (`systemctl status rpc-statd`), at the resolution of the client's
    name, at the file system; `rpcdebug -m nlm -s all`. If TCP did not even acknowledge, look for a filter
    on lockd's port: fix it (`[lockd] port=` and `udp-port=` in /etc/nfs.conf) and allow it, and port 111.
    `rpcinfo -p SERVER` from the client shows whether nlockmgr is registered.

    ## Evidence
    Each late request with its copies and its answer; the look-ups and SYNs.

    ## When it is a false alarm
    Cluster file systems put a lock off for 7 s on purpose.
    """
    by_server: dict[int, list[tuple[Operation, Answer]]] = {}
    margin = s.settings[RESTART_MARGIN]
    for operation, answer in s.slow:
        begin, end = operation.call.time - margin, answer.time + margin
        if s.restarted(operation.responder, begin, end) is None and not _moved(operation):
            by_server.setdefault(operation.responder, []).append((operation, answer))
    yield from silence(s)
    yield from unreached(s)
    for server, late in by_server.items():
        worst = max(answer.time - operation.call.time for operation, answer in late)
        distinct = {id(operation) for operation, _ in late}
        if worst < s.settings[ONE_IS_ENOUGH] and len(distinct) < s.settings[SEVERAL]:
            continue
        for operation, answer in late:
            latency = answer.time - operation.call.time
            filtered = _unheard_at_first(s, operation)
            yield Case(
                f"{s.hosts.address(server)} answered the {operation.kind} of "
                f"{s.hosts.address(operation.requester)}"
                + (f" for {file_name(s, operation.file)}" if operation.file else "")
                + f" after {seconds(latency)} and {len(operation.calls)} copies"
                + ("; TCP had not acknowledged it either: rather the path than lockd" if filtered else ""),
                sent_frames(s, operation),
                Place(operation.call.frame, operation.call.time),
                Place(answer.frame, answer.time),
                severity=LOW if filtered else HIGH if latency >= s.settings[ONE_IS_ENOUGH] else MEDIUM,
                server=server,
                client=operation.requester,
                file=operation.file,
                path=s.handles.path(operation.file.fh) if operation.file else None,
                cause=operation,
            )


def _moved(operation: Operation) -> bool:
    """Whether later copies went over another connection: the first one was dead."""
    return len({call.flow for call in operation.calls}) > 1


def _unheard_at_first(s: Sessions, operation: Operation) -> bool:
    """Whether TCP had to send the call again and again."""
    call = operation.calls[0]
    return call.stream_end >= 0 and len(s.connections.repeats_of(call.flow, call.side, call.stream_end)) >= 3


@rule("deadlock", HIGH)
def deadlock(s: Sessions) -> Iterator[Case]:
    """Lock owners wait for each other.

    ## What it is
    A lock request answered DEADLCK: granting the wait would close a circle. Or a circle that the server did
    not see: each owner waits for a lock of the next one, for ten seconds or more.

    ## Why it matters
    The program gets EDEADLK, which few expect. In a circle that nobody sees, all of them wait for ever.

    ## What to do
    Take locks in one order in all programs.

    To end a circle now, stop one of the programs in it.

    ## Evidence
    The request and its answer; or the requests that wait and the locks in their way.

    ## When it is a false alarm
    None is known for the status. Threads of one process count as one owner: one of them may release what
    another waits behind.
    """
    for operation, answer in s.ledger.deadlocks:
        yield Case(
            f"{s.hosts.address(operation.requester)} was refused a lock on "
            f"{file_name(s, operation.file)} because it would close a circle of waits",
            operation.frames,
            Place(operation.call.frame, operation.call.time),
            Place(answer.frame, answer.time),
            **of_operation(s, operation),
        )
    for circle in s.circles:
        stood = circle.stood(s.end)
        stands = circle.stood(FAR) == FAR - circle.closed.time
        if stood >= s.settings[LEAST_WATCHED if stands else STANDING]:
            names = " - ".join(s.hosts.address(wait.client) for wait in circle.waits)
            yield Case(
                f"{len(circle.waits)} owners waited for each other for {seconds(stood)}, and the server let "
                f"them: {names}",
                [
                    *(frame for wait in circle.waits for frame in wait.request.frames),
                    *(frame for lock in circle.locks for frame in lock.frames),
                ],
                circle.closed,
                Place(s.last_frame, circle.closed.time + stood),
                confidence=PROBABLE,
                stands=circle.locks,
                due=circle.closed.time + s.settings[STANDING] if stands else 0,
                **of_wait(s, circle.waits[0]),
            )
