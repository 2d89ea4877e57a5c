"""Too much of it: programs that spin, requests sent again, ports asked for, connections that churn.

In: bursts and copies of requests, port lookups. Out: cases about rates.

Theory. A rate is a count over a window, both chosen so that a program or a host that is well stays far
below: each constant has its reason beside it. Only what RPC repeats is looked at: TCP's own
retransmissions are the network's affair (`network-loss`).

Never: counts a copy that the capture made, or answers of a grace period.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from analyzer.findings.evictions import closers, crowded
from analyzer.findings.rule import LOW, MEDIUM, Case, file_name, of_operation, rule, seconds
from analyzer.findings.standing import RESTART_MARGIN
from analyzer.parameters import threshold, window
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.sessions.model import Place
from analyzer.sessions.operations import Operation
from analyzer.sessions.pace import MIRRORED, Burst
from analyzer.sessions.reboots import Lookup
from analyzer.sessions.world import Sessions

HOT = threshold(
    "denial-rate-hot",
    100,
    "denials a second",
    "a loop without any pause, which costs the server, not only the client",
)
COPIES = threshold("copies-of-one", 3, "copies", "lockd's patience for three timeouts, half a minute or more")
MANY_COPIES = threshold("copies-of-many", 20, "copies", "fewer are a bad moment, not a bad path")
SHARE = threshold(
    "copies-share", 5, "per cent", "of all requests of a client; less is a bad moment, not a bad path"
)
LOOKUPS = threshold(
    "lookup-storm", 10, "lookups", "a Linux client looks up again at most once a minute (NLM rebind)"
)
LOOKUP_WINDOW = window("lookup-storm-window", 60, "the rebind time of a Linux client")
NAMES = {NLM: "lockd", NSM: "statd"}


@rule("nonblocking-retry-storm", LOW)
def nonblocking_retry_storm(s: Sessions) -> Iterator[Case]:
    """A program asks for a lock again and again instead of waiting.

    ## What it is
    The same owner was denied the same range twenty times or more within ten seconds, without ever asking to
    wait.

    ## Why it matters
    Every try is a call that the one thread of the lock server serves. The program also never gets in line:
    whoever waits properly is served before it.

    ## What to do
    Let the program wait (`F_SETLKW`, `flock` without `LOCK_NB`), or pause between its tries.

    ## Evidence
    The first denials and the last one.

    ## When it is a false alarm
    It may be what the program is meant to do, for a short while.
    """
    yield from _spinning(s, "LOCK", "was denied the lock on")


@rule("test-polling", LOW)
def test_polling(s: Sessions) -> Iterator[Case]:
    """A program asks again and again whether a lock is free.

    ## What it is
    The same owner tested the same range twenty times or more within ten seconds, and was always told that
    somebody holds it.

    ## Why it matters
    Every test is a call that the one thread of the lock server serves, and its answer is old when it arrives.

    ## What to do
    Let the program ask for the lock itself and wait (`F_SETLKW` instead of `F_GETLK`).

    ## Evidence
    The first denials and the last one.

    ## When it is a false alarm
    A monitor may poll on purpose.
    """
    yield from _spinning(s, "TEST", "tested the lock on")


def _spinning(s: Sessions, kind: str, did: str) -> Iterator[Case]:
    for burst in s.pace.denied.bursts:
        operation = burst.about
        if operation.kind == kind:
            yield Case(
                f"{s.hosts.address(operation.requester)} (svid {operation.svid}) {did} "
                f"{file_name(s, operation.file)} {_rate(burst)}",
                _frames(burst),
                burst.places[0],
                burst.last,
                severity=MEDIUM if burst.rate >= s.settings[HOT] else LOW,
                **of_operation(s, operation),
            )


def _rate(burst: Burst) -> str:
    took = burst.last.time - burst.places[0].time
    return f"{burst.count} times in {seconds(took)}"


def _frames(burst: Burst) -> list[int]:
    return [place.frame for place in burst.places] + [burst.last.frame]


@rule("rpc-retransmit-storm", MEDIUM)
def rpc_retransmit_storm(s: Sessions) -> Iterator[Case]:
    """Requests are sent again for lack of an answer.

    ## What it is
    One lock request was sent four times or more, or more than one in twenty of a client's lock requests (and
    twenty at least) was a copy. Or the same share of its NFS calls.

    ## Why it matters
    Each copy may be executed: lock servers keep no record of what they have answered. The program waits all
    the while.

    ## What to do
    Look at the path between the two (a filter that drops idle connections, loss on UDP), then at the load of
    the server. Mount with `proto=tcp`.

    ## Evidence
    All copies of the lock requests, and their answers; the first copies of NFS calls, and how long their
    client had waited: a second or so is NFS over UDP, ten lockd, sixty NFS over TCP.

    ## When it is a false alarm
    A server that restarts is asked until it is back: such requests are left out. Copies that come within a
    tenth of a second are the capture's, which saw one packet at two points of its path. What TCP sends again
    is `network-loss`.
    """
    yield from _nfs_resends(s)
    margin, many, share = s.settings[RESTART_MARGIN], s.settings[MANY_COPIES], s.settings[SHARE]
    for (client, server), copies in s.pace.copies.items():
        worn = [
            operation
            for operation in copies.operations
            if s.restarted(server, operation.call.time - margin, operation.calls[-1].time) is None
        ]
        often = copies.copies >= many and 100 * copies.copies > share * copies.requests
        shown = worn if often else [one for one in worn if _sent(s, one) > s.settings[COPIES]]
        if not shown:
            continue
        most = max(shown, key=lambda one: _sent(s, one))
        took = seconds(most.calls[-1].time - most.call.time)
        yield Case(
            f"{s.hosts.address(client)} sent {copies.copies} of {copies.requests} lock requests to "
            f"{s.hosts.address(server)} again; one {most.kind} {_sent(s, most)} times in {took}",
            [frame for operation in shown for frame in operation.frames],
            Place(shown[0].call.frame, shown[0].call.time),
            Place(shown[-1].calls[-1].frame, shown[-1].calls[-1].time),
            severity=MEDIUM if often else LOW,
            server=server,
            client=client,
        )


def _nfs_resends(s: Sessions) -> Iterator[Case]:
    """Clients whose NFS calls are copies too often."""
    many, share = s.settings[MANY_COPIES], s.settings[SHARE]
    often = {pair: known for pair, known in s.pace.resends.items() if known.count >= many}
    calls: Counter[tuple[int, int]] = Counter()
    for mount in s.mounts.sessions.values() if often else ():
        calls[mount.client, mount.server] += mount.calls
    for (client, server), known in often.items():
        asked = max(calls[client, server], known.count)
        since = known.first - s.settings[RESTART_MARGIN]
        if 100 * known.count <= share * asked or s.restarted(server, since, known.last.time) is not None:
            continue
        waited = sorted(known.waited)[len(known.waited) // 2]
        yield Case(
            f"{s.hosts.address(client)} sent {known.count} of {asked} NFS calls to "
            f"{s.hosts.address(server)} again, most after {seconds(waited)} without an answer",
            [*known.frames, known.last.frame],
            Place(known.frames[0], known.first),
            known.last,
            server=server,
            client=client,
            group="nfs",
        )


def _sent(s: Sessions, operation: Operation) -> int:
    """How often a request was sent; what comes at once is the same packet seen twice."""
    times = [call.time for call in operation.calls]
    return 1 + sum(later - time > s.settings[MIRRORED] for time, later in pairwise(times))


@rule("port-lookup-storm", LOW)
def port_lookup_storm(s: Sessions) -> Iterator[Case]:
    """A host keeps asking for the port of the lock manager or of statd.

    ## What it is
    Ten or more port lookups for the same service within a minute, copies not counted.

    ## Why it matters
    The port it is told does not work, or it is told none: locks or callbacks between the two hang.

    ## What to do
    On the host that is asked: is the service registered (`rpcinfo -p`), does it run, does a filter let its
    port through? Fixed ports for lockd and statd make filters simpler.

    ## Evidence
    The lookups and their answers.

    ## When it is a false alarm
    Many mounts within seconds ask for mountd, which is not counted; several restarts of lockd in one minute.
    """
    asked: dict[tuple[int, int, int], list[Lookup]] = {}
    for lookup in s.reboots.lookups:
        if lookup.program in NAMES and lookup.call.retransmit_of < 0:
            asked.setdefault((lookup.call.src, lookup.call.dst, lookup.program), []).append(lookup)
    for (asker, host, program), lookups in asked.items():
        storm = _densest(lookups, s.settings[LOOKUP_WINDOW])
        if len(storm) < s.settings[LOOKUPS]:
            continue
        failed = sum(not lookup.port for lookup in storm)
        first, last = storm[0].call, storm[-1].call
        yield Case(
            f"{s.hosts.address(asker)} asked {s.hosts.address(host)} for the port of {NAMES[program]} "
            f"{len(storm)} times in {seconds(last.time - first.time)}; {failed} times it was told none",
            [frame for look in storm for frame in (look.call.frame, look.answer.frame if look.answer else 0)],
            Place(first.frame, first.time),
            Place(last.frame, last.time),
            server=host,
            client=asker,
            group=program,
        )


def _densest(lookups: list[Lookup], within: int) -> list[Lookup]:
    """The most lookups that fit into one window."""
    best: tuple[int, int] = (0, 0)
    low = 0
    for high, lookup in enumerate(lookups):
        while lookup.call.time - lookups[low].call.time > within:
            low += 1
        best = max(best, (high + 1 - low, -low))
    count, start = best[0], -best[1]
    return lookups[start : start + count]


@rule("nlm-connection-churn", LOW)
def nlm_connection_churn(s: Sessions) -> Iterator[Case]:
    """Connections to a lock server are opened again and again, or closed by it while they are in use.

    ## What it is
    A client opened more than ten TCP connections to a lock server within a minute, and used each for lock
    requests. Or a lock server that had seventy connections or more closed one that was in use, just as
    another was opened; medium where requests under way on it had to be sent again.

    ## Why it matters
    A Linux client keeps one for all its locks. Each new one costs a reserved port, which stays blocked for a
    minute, and requests that were under way on the old one are sent again.

    ## What to do
    See who closes them. If the server does: raise `nlm_max_connections`, or look for a filter between the two
    that resets idle connections. If the client does: what asks for the locks, and does it keep its
    connection?

    ## Evidence
    The first request on each connection, and who closed them; the last request on what the server closed.

    ## When it is a false alarm
    Tools that speak NLM themselves may open one connection for each request. Connections that are idle for
    five minutes or more, and all that end with a restart of the service, are not counted as closed by it.
    """
    closed = closers(s) if s.pace.connections.bursts else {}
    for burst in s.pace.connections.bursts:
        operation = burst.about
        client, server = operation.requester, operation.responder
        took = seconds(burst.last.time - burst.places[0].time)
        by = closed.get((client, server), Counter())
        yield Case(
            f"{s.hosts.address(client)} used {burst.count} new TCP connections to the lock "
            f"server {s.hosts.address(server)} in {took}; of all between them the client closed "
            f"{by[client]} and the server {by[server]} first",
            _frames(burst),
            burst.places[0],
            burst.last,
            server=server,
            client=client,
        )
    yield from crowded(s)
