"""A lock service that does not answer, or that nobody reaches.

In: requests without an answer, connections and look-ups that failed. Out: cases of one rule,
`nlm-server-stall`.

Theory. Whoever locks looks up lockd's port, connects, asks and waits. Each step can fail while the host is
well and serves files, and programs hang or get ENOLCK all the same. Where it fails decides whom to send to:
lockd is not registered, its port is refused or filtered, or it took the request and is stuck. Requests to
release a lock are `unlock-unanswered`.

Never: judges a server that was not heard of since.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
    POSSIBLE,
    PROBABLE,
    Case,
    Watch,
    file_name,
    of_operation,
    seconds,
)
from analyzer.findings.standing import LEAST_WATCHED, RESTART_MARGIN, is_unacked, sent_frames
from analyzer.parameters import window
from analyzer.protocols.nlm import NLM
from analyzer.sessions.connections import Connection
from analyzer.sessions.model import Place
from analyzer.sessions.operations import Operation
from analyzer.sessions.reboots import Lookup
from analyzer.sessions.world import Sessions

PATIENCE = window(
    "lock-service-patience", 10, "lockd's RPC timeout: what is not answered by then is sent again"
)
ALIVE = window("lock-service-alive", 2, "a host that still sends so long after is alive")
CONNECTING = window("lock-service-connect", 3, "two SYN retries")
AWAITED = ("LOCK", "NM_LOCK", "TEST", "CANCEL")


def silence(s: Sessions) -> Iterator[Case]:
    """Requests that a lock server took and never answered, nor any later one."""
    for operation in _unanswered(s):
        call, server = operation.call, operation.responder
        if s.end - call.time < s.settings[LEAST_WATCHED] or not _is_alive(s, server, call.time):
            continue
        if s.restarted(server, call.time - s.settings[RESTART_MARGIN], s.end) is not None:
            continue
        unacked = is_unacked(s, operation)
        yield Case(
            f"{s.hosts.address(server)} did not answer the {operation.kind} of "
            f"{s.hosts.address(operation.requester)} for {file_name(s, operation.file)} in "
            f"{seconds(s.end - call.time)} up to the end, though the host is alive"
            + ("; TCP did not acknowledge it either: rather the path than lockd" if unacked else ""),
            sent_frames(s, operation),
            Place(call.frame, call.time),
            Place(s.last_frame, s.end),
            confidence=POSSIBLE if s.connections.answer_lost(call, s.end) else PROBABLE,
            watched=[Watch(call, call.time, s.end)],
            due=call.time + s.settings[PATIENCE],
            severity=HIGH,
            **of_operation(s, operation),
        )


def _unanswered(s: Sessions) -> list[Operation]:
    """The requests without an answer after which their server answered none."""
    asked = s.operations.open.values()
    silent = {
        one.order: one
        for one in asked
        if not one.answers and one.kind in AWAITED and not one.is_async and one.failure is None
    }
    servers = {one.responder for one in silent.values()}
    answered = dict(s.operations.answered)
    for one in asked if servers else ():
        if one.answers and one.responder in servers:
            answered[one.responder] = max(one.answers[-1].time, answered.get(one.responder, 0))
    return [each for each in silent.values() if each.call.time > answered.get(each.responder, 0)]


def _is_alive(s: Sessions, server: int, since: int) -> bool:
    """Whether a host sent anything well after this."""
    return s.hosts.last_seen(server)[1] > since + s.settings[ALIVE]


def unreached(s: Sessions) -> Iterator[Case]:
    """Lock services that a client looked up, and could not reach."""
    asked: dict[tuple[int, int], list[Lookup]] = {}
    mounted = {(mount.client, mount.server) for mount in s.mounts.sessions.values()}
    for look in s.reboots.lookups:
        pair = (look.call.src, look.call.dst)
        if look.program == NLM and pair in mounted:
            asked.setdefault(pair, []).append(look)
    for (client, server), lookups in asked.items():
        last = lookups[-1]
        if all(look.answer is not None and not look.port for look in lookups):
            yield _case(
                s,
                client,
                server,
                [
                    frame
                    for look in lookups
                    for frame in (look.call.frame, look.answer.frame if look.answer else 0)
                ],
                lookups[0].call.time,
                "its rpcbind says that lockd is not registered",
            )
            continue
        failed = _failed(s, client, server, {look.port for look in lookups if look.port})
        if failed is not None and last.port and _is_alive(s, server, failed.since):
            how = "refuses the connection" if failed.refused else f"does not answer {len(failed.tries)} SYNs"
            frames = [last.call.frame, last.answer.frame if last.answer else 0, *(f for f, _ in failed.tries)]
            case = _case(s, client, server, frames, failed.since, f"port {failed.port} {how}")
            case.confidence = DEFINITE if failed.refused else PROBABLE
            yield case


def _failed(s: Sessions, client: int, server: int, ports: set[int | None]) -> Connection | None:
    """The last attempt of a client to connect to lockd, if it came to nothing."""
    tried = [c for c in s.connections.attempts(client, server, s.start, s.end) if c.port in ports]
    if not tried or tried[-1].answered or s.end - tried[-1].since < s.settings[CONNECTING]:
        return None
    return tried[-1] if tried[-1].refused or len(tried[-1].tries) > 1 else None


def _case(s: Sessions, client: int, server: int, frames: list[int], since: int, why: str) -> Case:
    return Case(
        f"{s.hosts.address(client)} cannot lock at {s.hosts.address(server)}: {why}",
        frames,
        Place(min(frame for frame in frames if frame), since),
        severity=HIGH,
        server=server,
        client=client,
        group="unreached",
    )
