"""The way back: GRANTED callbacks that are missing, unanswered, unreachable, wrong or forged.

In: waits, offers, connections, port look-ups. Out: cases about the callback path.

Theory. A waiter is told of its turn by a call in the other direction: the server looks up the port of the
client's lockd, connects, sends GRANTED or GRANTED_MSG, and the client answers. Each step can fail by itself,
and where it fails decides whom to send to: nothing tried (server), no port (client's rpcbind), no connection
(firewall), no answer (client's lockd).

Never: takes a void RPC reply for an acceptance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    About,
    Case,
    Confidence,
    Watch,
    file_name,
    of_wait,
    rule,
    seconds,
)
from analyzer.findings.standing import LEAST_WATCHED, is_unacked, sent_frames
from analyzer.findings.uncalled import LOOKED_INTO, accepted_places, attempts, first_after, silence_after
from analyzer.parameters import threshold, window
from analyzer.records.events import Call
from analyzer.sessions.model import End, Offer, Place, Wait
from analyzer.sessions.operations import Operation
from analyzer.sessions.reboots import Lookup
from analyzer.sessions.world import Sessions
from analyzer.tables import UDP

ANSWER_WINDOW = window("callback-answer", 10, "lockd's RPC timeout: a Linux server tries again after it")
CONNECT_TIME = window("callback-connect", 3, "two SYN retries")
START_GATE = window(
    "capture-start-gate", 35, "a waiter older than the capture shows itself by its poll (30 s)"
)
POLLS = threshold("polled-waits", 3, "waits", "one or two waits ended by a poll may be coincidence")


class Wall(NamedTuple):
    """The step at which a server's way back to a waiter ends."""

    step: str
    frames: list[int]
    is_sure: bool
    last: Place  # where it showed last
    asked: list[Call]  # look-ups without an answer


def wall_before(s: Sessions, wait: Wait) -> Wall | None:
    """What keeps a server from calling a waiter back; None where nothing is seen to."""
    lookups, connections = attempts(s, wait, wait.since.time)
    unlisted = [look for look in lookups if look.answer is not None and not look.port]
    patience = s.settings[CONNECT_TIME]
    unheard = [look for look in lookups if look.answer is None and s.end - look.call.time > patience]
    refused = [c for c in connections if c.refused]
    silent = [c for c in connections if not c.answered and not c.refused and len(c.tries) > 1]
    filtered = [c for c in silent if s.end - c.since > patience]
    if any(c.answered for c in connections if c.since > max((f.since for f in filtered), default=0)):
        filtered = []
    if any(look.port for look in lookups[-1:]):
        unheard = []
    notices = [u for u in s.connections.unreachable if u.target == wait.file.server and u.host == wait.client]
    if unlisted:
        step = f"its rpcbind says that lockd is not registered ({_counted(unlisted)} look-ups)"
    elif refused:
        step = f"port {refused[0].port} refuses the connection"
    elif filtered:
        tries = sum(len(c.tries) for c in filtered)
        step = f"{tries} SYNs to port {filtered[0].port} are not answered"
    elif unheard:
        step = f"its rpcbind does not answer ({_counted(unheard)} look-ups)"
    else:
        return None
    places = [
        *(Place(look.call.frame, look.call.time) for look in unlisted + unheard),
        *(Place(look.answer.frame, look.answer.time) for look in unlisted if look.answer),
        *(Place(*tried) for c in filtered + refused for tried in c.tries),
        *(Place(*c.refused) for c in refused if c.refused),
        *(Place(u.frame, u.time) for u in notices),
    ]
    last = max(places, key=lambda place: place.time)
    return Wall(
        step,
        [place.frame for place in places],
        bool(unlisted or refused or notices),
        last,
        [look.call for look in unheard],
    )


def _counted(lookups: list[Lookup]) -> str:
    """How many there are; of very many the ones between the first and the last are not looked into."""
    return f"{len(lookups)} or more" if len(lookups) >= LOOKED_INTO else str(len(lookups))


@rule("grant-callback-unreachable", HIGH)
def grant_callback_unreachable(s: Sessions) -> Iterator[Case]:
    """The server cannot open the way back to a waiting client.

    ## What it is
    While a client waits for a lock the server looks up the port of the client's lockd and gets none, or
    connects to it and gets no answer.

    ## Why it matters
    The waiter learns of its lock only by its own poll, up to 30 s late, or never; meanwhile the server
    holds the lock for it and refuses everybody else.

    ## What to do
    Open the path from server to client: fix the client's ports (`[lockd] port=` and `udp-port=` in
    /etc/nfs.conf) and allow them and port 111 in its firewall; check from the server with `rpcinfo -p
    CLIENT`.

    If the client is the only user of the files, `local_lock=all` does without the server.

    ## Evidence
    The waiting LOCK, the look-ups with their answers, every SYN.

    ## When it is a false alarm
    A SYN that is answered at the second or third try is a lossy network, not a wall.
    """
    for wait in s.ledger.waits:
        wall = wall_before(s, wait)
        if wall is None:
            continue
        frames = [*wait.request.frames, *wall.frames]
        got = f"; it got the lock by polling in frame {end.frame}" if (end := _polled(wait)) else ""
        yield Case(
            f"{s.hosts.address(wait.file.server)} cannot call back {s.hosts.address(wait.client)}, which "
            f"waits for "
            f"{file_name(s, wait.file)}: {wall.step}{got}",
            frames,
            wait.since,
            Place(max(frames), wait.ended.time if wait.ended else s.end),
            confidence=DEFINITE if wall.is_sure else PROBABLE,
            watched=[] if wall.is_sure else [Watch(call, call.time, s.end) for call in wall.asked],
            subject=wait,
            **of_wait(s, wait),
        )


def _polled(wait: Wait) -> End | None:
    """How a wait ended, if that was by its own poll."""
    return wait.ended if wait.ended is not None and wait.ended.reason == "poll" else None


@rule("grant-callback-unanswered", HIGH)
def grant_callback_unanswered(s: Sessions) -> Iterator[Case]:
    """The server's "your turn" got no answer.

    ## What it is
    A GRANTED without a reply, or a GRANTED_MSG with neither a GRANTED_RES nor a reply, for 10 seconds. Medium
    where the server called again and was answered.

    ## Why it matters
    The waiter sleeps on until its own poll, or for ever; the server holds the lock for it.

    ## What to do
    On the client see whether lockd is alive and reachable from the server: `rpcinfo -t CLIENT nlockmgr
    4`; open its port in the firewall (`[lockd] port=` in /etc/nfs.conf).

    ## Evidence
    The GRANTED, its TCP retransmissions, the waiting LOCK.

    ## When it is a false alarm
    The answer may have taken a path that the capture does not see.
    """
    accepted: dict[Wait, list[tuple[int, Place]]] = {}
    for offer in s.ledger.offers:
        operation, wait = offer.operation, offer.wait
        if wait is None or offer.verdict not in ("match", "late", "mismatch"):
            continue
        if operation.answers or operation.void_reply or operation.failure:
            continue
        if wait not in accepted:
            accepted[wait] = accepted_places(wait)
        later = first_after(accepted[wait], operation.call.time)
        elapsed = (later.time if later is not None else s.end) - operation.call.time
        if elapsed < s.settings[LEAST_WATCHED if later is None else ANSWER_WINDOW]:
            continue
        call = operation.calls[-1]
        unacked = is_unacked(s, operation)
        frames = [*sent_frames(s, operation), *wait.request.frames]
        denied = [pair for pair in (offer.lock.denials if offer.lock else ()) if pair[1].time > call.time]
        frames += [frame for refusal, _ in denied for frame in refusal.frames]
        tail = f"; {len(denied)} requests of others were refused meanwhile" if denied else ""
        tail += f"; the waiter polled it in frame {end.frame}" if (end := _polled(wait)) else ""
        tail += f"; then a later one was accepted (frame {later.frame})" if later is not None else ""
        yield Case(
            f"the GRANTED callback of {s.hosts.address(operation.requester)} to "
            f"{s.hosts.address(operation.responder)} "
            f"for {file_name(s, wait.file)} has no answer for {seconds(elapsed)}"
            f"{', not even a TCP acknowledgement' if unacked else ''}{tail}",
            frames,
            Place(operation.call.frame, operation.call.time),
            Place(max(frames), min(s.end, operation.call.time + elapsed)),
            confidence=PROBABLE,
            watched=[Watch(call, call.time, s.end)],
            severity=HIGH if later is None else MEDIUM,
            due=operation.call.time + s.settings[ANSWER_WINDOW],
            subject=wait,
            **of_wait(s, wait),
        )


@rule("grant-callback-missing", MEDIUM)
def grant_callback_missing(s: Sessions) -> Iterator[Case]:
    """A lock came free and nobody told the waiter.

    ## What it is
    The last conflicting lock was released and the server did not even try to call the waiter back: no
    GRANTED, no look-up of its port, no connection, for 10 seconds.

    ## Why it matters
    Waiters that poll get the lock up to 30 s late, others never.

    ## What to do
    This is the server's doing. Linux 6.12 (Debian 13) answers BLOCKED without queueing the request: use
    another kernel on the server.

    ## Evidence
    The waiting LOCK, the release, the poll or whatever shows that the range was free.

    ## When it is a false alarm
    A local process on the server, or an owner older than the capture, may hold the range.
    """
    called = {o.operation.requester for o in s.ledger.offers if o.verdict == "match"}
    for wait in s.ledger.waits:
        silence = silence_after(s, wait) if wait.frees else None
        if silence is None:
            continue
        free = silence.free
        yield Case(
            f"{file_name(s, wait.file)} came free in frame {free.place.frame} while "
            f"{s.hosts.address(wait.client)} waited for it, and the server did not even try to call back; "
            f"{silence.shown}",
            [*wait.request.frames, *silence.frames],
            free.place,
            free.end,
            confidence=silence.confidence,
            watched=[Watch(wait.request.call, wait.since.time, s.end)],
            due=silence.due(s),
            cause=wait.cancelled,
            subject=wait,
            one=None if wait.file.server in called else wait.file.server,
            **of_wait(s, wait),
        )


@rule("grant-delivered-by-poll", MEDIUM)
def grant_delivered_by_poll(s: Sessions) -> Iterator[Case]:
    """Locks reach their waiters only because these ask again.

    ## What it is
    Three or more waits of one client at one server ended by its own repeated LOCK, and none by a callback; or
    one, where the server cannot call back (see `grant-callback-unreachable`).

    ## Why it matters
    Every contended lock costs up to a poll period, 30 s on Linux.

    ## What to do
    Open the callback path from server to client: fix lockd's ports on the client (/etc/nfs.conf) and
    allow them in its firewall; check with `rpcinfo -p CLIENT` from the server.

    ## Evidence
    The waits with the polls that ended them.

    ## When it is a false alarm
    One or two such waits are coincidence; some clients poll faster than a server calls back.
    """
    by_pair: dict[tuple[int, int], list[Wait]] = {}
    for wait in s.ledger.waits:
        if wait.ended is not None and wait.ended.reason in ("poll", "callback"):
            by_pair.setdefault((wait.file.server, wait.client), []).append(wait)
    for (server, client), waits in by_pair.items():
        polled = [wait for wait in waits if _polled(wait) and not wait.offers]
        walled = [(wait, wall) for wait in polled if (wall := wall_before(s, wait)) is not None]
        if not walled and (len(polled) < s.settings[POLLS] or len(polled) < len(waits)):
            continue
        times = sorted(wait.ended.time - wait.since.time for wait in polled if wait.ended)
        why = f"as {s.hosts.address(server)} cannot call it back" if walled else "and none by a callback"
        yield Case(
            f"{len(polled)} of {len(waits)} waits of {s.hosts.address(client)} ended by its own poll, {why}; "
            f"median wait {seconds(times[len(times) // 2])}",
            [frame for wait in polled for frame in (wait.since.frame, wait.ended.frame if wait.ended else 0)],
            polled[0].since,
            Place(polled[-1].ended.frame, polled[-1].ended.time) if polled[-1].ended else None,
            confidence=DEFINITE if any(wall.is_sure for _, wall in walled) else PROBABLE,
            watched=[
                Watch(wait.request.call, wait.since.time, wait.ended.time)
                for wait in polled
                if wait.ended and not walled
            ],
            cause=walled[0][0] if walled else None,
            server=server,
            client=client,
        )


def _victim(s: Sessions, offer: Offer) -> About:
    """Whom a suspicious GRANTED is about: `client` is the one called, `peer` the caller."""
    operation = offer.operation
    if offer.wait is not None and "fh" not in offer.differs:
        about = of_wait(s, offer.wait)
    else:
        servers = s.lock_servers.get(operation.responder, {})
        own = operation.requester in servers or len(servers) != 1
        about = About(server=operation.requester if own else next(iter(servers)))
    about["client"] = operation.responder
    about["peer"] = operation.requester
    return about


def _complete(s: Sessions, client: int, sender: int) -> Confidence | None:
    """How sure it is that the capture has every LOCK of a client to a sender; None where it may well not."""
    if _opened(s, client, sender):
        return DEFINITE
    return PROBABLE if any(_opened(s, client, server) for server in s.lock_servers.get(client, ())) else None


def _opened(s: Sessions, client: int, server: int) -> bool:
    """Whether the capture has the beginning of a connection over which a client asks a server for locks."""
    return any(s.connections.opened(first.call.flow) for first in s.asks(client, server).values())


def _asks_over_udp(s: Sessions, client: int, server: int) -> bool:
    """Whether a client sends lock requests as datagrams, whose loss nothing shows."""
    return any(first.call.transport == UDP for first in s.asks(client, server).values())


@rule("grant-unsolicited", HIGH)
def grant_unsolicited(s: Sessions) -> Iterator[Case]:
    """A lock was granted that nobody asked for.

    ## What it is
    A GRANTED callback to a client that has no waiting request for that file, owner and range.

    ## Why it matters
    A confused server, or a forgery: NLM callbacks carry no proof of who sent them.

    ## What to do
    Find out what the sender is. Filter lockd's port on the client so that only its servers reach it.

    ## Evidence
    The callback and its answer.

    ## When it is a false alarm
    A waiter that is older than the capture is not known until it polls; one whose LOCK was lost from the
    capture neither.
    """
    for offer in s.ledger.offers:
        operation = offer.operation
        if offer.verdict != "unsolicited" or s.callbacks.asked_for(offer):
            continue
        client, sender = operation.responder, operation.requester
        early = operation.call.time - s.start < s.settings[START_GATE]
        complete = _complete(s, client, sender)
        if complete is None and early:
            continue
        is_server = bool(s.asks(client, sender))
        who = "its lock server" if is_server else "a host that is not its lock server"
        answered = {0: "accepted", 1: "refused"}.get(
            operation.status if operation.status is not None else -1, "not answered"
        )
        yield Case(
            f"{s.hosts.address(sender)}, {who}, sent {s.hosts.address(client)} a GRANTED for a lock it "
            f"does not wait "
            f"for; it was {answered}",
            operation.frames,
            Place(operation.call.frame, operation.call.time),
            confidence=POSSIBLE if complete is None else complete if early else DEFINITE,
            watched=[Watch(operation.call, s.start, s.end)] if complete is not None else (),
            untraced=complete is not None and _asks_over_udp(s, client, sender),
            severity=MEDIUM if is_server else HIGH,
            **_victim(s, offer),
        )


@rule("grant-mismatch", HIGH)
def grant_mismatch(s: Sessions) -> Iterator[Case]:
    """A granted lock differs from the one that was asked for.

    ## What it is
    A GRANTED callback close to a waiting request but different in one field: file, owner, range or mode.

    ## Why it matters
    Client and server lock different things, or somebody guesses.

    ## What to do
    Compare the fields below with the server's log; report it as a fault of the server, or look for a forger.

    ## Evidence
    The waiting LOCK and the callback.

    ## When it is a false alarm
    Another LOCK of the same client that was lost from the capture. The standard asks for equal values;
    length 0 and the largest length are taken as one.
    """
    for offer in s.ledger.offers:
        if offer.verdict != "mismatch" or offer.wait is None:
            continue
        operation, request = offer.operation, offer.wait.request
        yield Case(
            f"the GRANTED of {s.hosts.address(operation.requester)} to "
            f"{s.hosts.address(operation.responder)} for "
            f"{file_name(s, offer.wait.file)} differs from the waiting LOCK in {', '.join(offer.differs)}",
            operation.frames + request.frames,
            Place(operation.call.frame, operation.call.time),
            severity=MEDIUM if offer.differs == ("oh",) else HIGH,
            watched=[Watch(request.call, s.start, s.end)],
            untraced=_asks_over_udp(s, operation.responder, operation.requester),
            **_victim(s, offer),
        )


@rule("grant-wrong-destination", HIGH)
def grant_wrong_destination(s: Sessions) -> Iterator[Case]:
    """A callback came from another address than the one the lock was asked of, or went to another one.

    ## What it is
    A GRANTED that matches a waiting request in everything but the address it comes from; or one that its own
    server sends to another host than the one that waits.

    ## Why it matters
    Linux clients refuse such a callback, and the waiter goes on sleeping; or it is a forgery.

    ## What to do
    Use one address per client and server; make names resolve to it on both sides (`uname -n`, DNS,
    /etc/hosts).

    ## Evidence
    The waiting LOCK, the callback, both addresses.

    ## When it is a false alarm
    An address that moved in a failover; NAT. A callback to another address of the host that waits, as its
    credentials show, is not counted.
    """
    yield from _astray(s)
    for offer in s.ledger.offers:
        if offer.verdict != "wrong-sender" or offer.wait is None:
            continue
        operation = offer.operation
        yield Case(
            f"{s.hosts.address(operation.responder)} waits for {file_name(s, offer.wait.file)} at "
            f"{s.hosts.address(offer.wait.file.server)}, but the GRANTED came from "
            f"{s.hosts.address(operation.requester)}",
            operation.frames + offer.wait.request.frames,
            Place(operation.call.frame, operation.call.time),
            **_victim(s, offer),
        )


def _astray(s: Sessions) -> Iterator[Case]:
    """Callbacks that went to another host than the one that waits."""
    for offer in s.ledger.offers:
        if offer.verdict != "wrong-receiver" or offer.wait is None:
            continue
        operation, wait = offer.operation, offer.wait
        if s.hosts.share_a_name(wait.client, operation.responder):
            continue
        about = of_wait(s, wait)
        about["peer"] = operation.responder
        yield Case(
            f"{s.hosts.address(wait.client)} waits for {file_name(s, wait.file)}, but the GRANTED of "
            f"{s.hosts.address(operation.requester)} went to {s.hosts.address(operation.responder)}",
            operation.frames + wait.request.frames,
            Place(operation.call.frame, operation.call.time),
            **about,
        )


@rule("async-result-missing", HIGH)
def async_result_missing(s: Sessions) -> Iterator[Case]:
    """An asynchronous lock request never got its result.

    ## What it is
    A `_MSG` call without the `_RES` call that answers it, for 10 seconds. Low for TEST, and where the request
    was sent anew and answered.

    ## Why it matters
    The asker waits, or repeats; for UNLOCK and GRANTED the two sides may now disagree.

    ## What to do
    Results come as calls to the asker's lockd: open its port in the firewall and register it with rpcbind.

    ## Evidence
    The `_MSG`, and the void reply where there was one.

    ## When it is a false alarm
    UDP packets that the capture lost.
    """
    answered = {_asked(one): one.call for one in s.asynchronous if one.answers}  # the last of each
    for operation in s.asynchronous:
        sent = operation.calls[-1].time
        elapsed = s.end - sent
        if operation.answers or operation.failure or elapsed < s.settings[LEAST_WATCHED]:
            continue
        if operation.kind == "GRANTED":
            offer = operation.offer
            if offer is None or offer.verdict == "unsolicited" or operation.void_reply is None:
                continue  # forged, or `grant-callback-unanswered`
            if (
                offer.wait is not None
                and offer.wait.ended is not None
                and offer.wait.ended.reason == "unlock"
            ):
                continue
        again = answered.get(_asked(operation))
        if again is not None and again.time < sent:
            again = None
        yield Case(
            f"the {operation.kind}_MSG of {s.hosts.address(operation.requester)} to "
            f"{s.hosts.address(operation.responder)} has no {operation.kind}_RES for {seconds(elapsed)}"
            f"{_unheard(s, operation)}"
            + (f"; it was sent anew in frame {again.frame}, and answered" if again is not None else ""),
            operation.frames,
            Place(operation.call.frame, operation.call.time),
            confidence=PROBABLE,
            watched=[Watch(operation.call, operation.call.time, s.end)],
            due=sent + s.settings[ANSWER_WINDOW],
            severity=HIGH if again is None and operation.kind != "TEST" else LOW,
            server=operation.requester if operation.kind == "GRANTED" else operation.responder,
            client=operation.responder if operation.kind == "GRANTED" else operation.requester,
            file=operation.file,
            path=s.handles.path(operation.file.fh) if operation.file else None,
        )


def _asked(operation: Operation) -> tuple[object, ...]:
    """What a request asks: the same when it is sent anew."""
    ends = operation.requester, operation.responder
    return operation.kind, *ends, operation.fh, operation.svid, operation.start, operation.end


def _unheard(s: Sessions, operation: Operation) -> str:
    """Whether the request itself may not have arrived, where a server would have confirmed it."""
    confirms = operation.kind != "GRANTED" and s.servers.model(operation.fh).replies_to_msg
    return ", nor the RPC reply of a Linux server" if confirms and operation.void_reply is None else ""


@rule("async-result-orphan", LOW)
def async_result_orphan(s: Sessions) -> Iterator[Case]:
    """A result came for a request that nobody made.

    ## What it is
    A `_RES` call without an open `_MSG` of that kind and cookie between the two hosts.

    ## Why it matters
    The request was lost from the capture, or the result goes to the wrong host.

    ## What to do
    Start the capture earlier; otherwise look whether two clients share an address.

    ## Evidence
    The `_RES` call.

    ## When it is a false alarm
    At the start of a capture its request is simply not in it.
    """
    for call in s.operations.orphan_results:
        yield Case(
            f"{s.hosts.address(call.src)} sent {s.hosts.address(call.dst)} a result for no request that "
            f"was seen",
            [call.frame],
            Place(call.frame, call.time),
            confidence=POSSIBLE,
            unheralded=True,
            server=call.src,
            client=call.dst,
        )
