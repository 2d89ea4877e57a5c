"""Whose lock is it? Owners that are mixed up, and doors that stand open to do so.

In: ledgers, overlaps, portmap calls. Out: cases about identity.

Theory. Nothing in NLM proves who asks. A Linux server knows owners by address and number alone, others by
the names they give; the port mapper tells everyone where to go and believes who may reach it.

Never: takes two addresses of one host for two hosts.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import (
    CRITICAL,
    HIGH,
    LOW,
    MEDIUM,
    PROBABLE,
    Case,
    file_name,
    of_lock,
    of_operation,
    rule,
)
from analyzer.parameters import window
from analyzer.protocols import procedure_label, program_label
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.sessions import operations as op
from analyzer.sessions.handles import printable
from analyzer.sessions.hosts import fold
from analyzer.sessions.model import Lock, Overlap, Place
from analyzer.sessions.operations import Operation
from analyzer.sessions.servers import LINUX
from analyzer.sessions.world import Sessions

SET, UNSET = 1, 2
OPEN = window("async-open", 10, "an asynchronous request without an answer is over after this long")


@rule("owner-collision", CRITICAL)
def owner_collision(s: Sessions) -> Iterator[Case]:
    """A server cannot tell two clients apart: they share a lock without knowing.

    ## What it is
    Two exclusive locks on the same bytes granted to one address and one owner number, under two host names
    which are both in use before and after. Or, by a server that goes by names, to two addresses under one
    name (two hosts called `localhost`) and one owner.

    ## Why it matters
    Two programs work under a lock that each believes to be its own. The file can be damaged.

    ## What to do
    No address translation and no shared address in front of NFSv3 clients that lock.

    ## Evidence
    Both grants.

    ## When it is a false alarm
    A host that changes its name back and forth.
    """
    last_lock = {(lock.client, lock.request.caller): lock.number for lock in s.ledger.locks}
    last_use: dict[tuple[int, bytes], int] = {}
    for (client, caller), number in last_lock.items():
        last_use[client, fold(caller)] = max(number, last_use.get((client, fold(caller)), 0))
    latest: dict[tuple[int, int], Lock] = {}
    for lock in s.ledger.locks:
        key = (id(lock.file), id(lock.owner))
        first = latest.get(key)
        latest[key] = lock
        if first is None or first.request.caller == lock.request.caller:
            continue
        if not (first.exclusive and lock.exclusive):
            continue
        name, other = fold(first.request.caller), fold(lock.request.caller)
        still = first.server_end is None or (
            first.server_end.reason == "replaced" and first.server_end.time >= lock.granted.time
        )
        if name == other or not still or first.start > lock.end or first.end < lock.start:
            continue
        if last_use[lock.client, name] > lock.number:
            yield Case(
                f"{s.hosts.address(lock.server)} granted {file_name(s, lock.file)} to {printable(name)} in "
                f"frame {first.granted.frame} and to {printable(other)} in frame {lock.granted.frame}: both "
                f"are {s.hosts.address(lock.client)}, owner {lock.owner.svid}, to it",
                [*first.frames, *lock.frames],
                lock.granted,
                subject=lock,
                **of_lock(s, lock),
            )
    yield from _namesakes(s)


def _namesakes(s: Sessions) -> Iterator[Case]:
    """Hosts of one name that both believe in a lock, at a server that goes by names."""
    for overlap in s.ledger.overlaps:
        loser, winner = overlap.loser, overlap.winner
        same = _identity(loser.request) == _identity(winner.request) and loser.client != winner.client
        if same and loser.file.model is not LINUX and loser.exclusive and winner.exclusive:
            about = of_lock(s, loser)
            about["peer"] = winner.client
            yield Case(
                f"{s.hosts.address(loser.client)} and {s.hosts.address(winner.client)} both call themselves "
                f"{printable(loser.request.caller)} and were both granted {file_name(s, loser.file)} as "
                f"owner {loser.owner.svid}",
                [*loser.frames, *winner.frames],
                overlap.place,
                confidence=PROBABLE,
                subject=overlap,
                **about,
            )


def _identity(operation: Operation) -> tuple[bytes, int, bytes]:
    """What an owner says of itself."""
    return operation.caller, operation.svid, operation.oh


@rule("foreign-unlock", CRITICAL)
def foreign_unlock(s: Sessions) -> Iterator[Case]:
    """A host released the lock of another host.

    ## What it is
    An UNLOCK with the name and owner of a lock that another address had taken; afterwards the server gave
    the lock to somebody else, while its holder had not released it.

    ## Why it matters
    Whoever reaches the lock service can take locks away from others.

    ## What to do
    Find out who sent it. Restrict the exports by address and update the server: it should compare
    addresses.

    ## Evidence
    The lock, the UNLOCK, the grant that shows that it worked.

    ## When it is a false alarm
    A host that moved to another address.
    """
    for overlap in s.ledger.overlaps:
        found = _released_by(overlap)
        if found is None:
            continue
        lock = overlap.loser
        about = of_lock(s, lock)
        about["peer"] = found.requester
        yield Case(
            f"{s.hosts.address(found.requester)} released (frame {found.call.frame}) the lock of "
            f"{s.hosts.address(lock.client)} on {file_name(s, lock.file)} as {printable(found.caller)}; it "
            f"was granted to {s.hosts.address(overlap.winner.client)} in frame {overlap.place.frame}",
            [*lock.frames, *found.frames, overlap.place.frame],
            Place(found.call.frame, found.call.time),
            overlap.place,
            subject=overlap,
            **about,
        )


def _released_by(overlap: Overlap) -> Operation | None:
    """The UNLOCK of another host that took a lock away."""
    lock = overlap.loser
    mine = lock.request
    for owner, unlocks in lock.file.unlocks.items():
        if owner.client == lock.client:
            continue
        for _, start, end, unlock in unlocks:
            same = _identity(unlock) == _identity(mine)
            in_time = lock.granted.time < unlock.call.time < overlap.place.time
            if same and in_time and start <= lock.start and end >= lock.end and unlock.status == op.GRANTED:
                if unlock.call.machine != mine.call.machine:
                    return unlock
    return None


@rule("unmonitored-lock", LOW, family="leaks")
def unmonitored_lock(s: Sessions) -> Iterator[Case]:
    """A lock was taken that no reboot will ever free.

    ## What it is
    NM_LOCK, granted: the client tells the server not to watch it.

    ## Why it matters
    The lock outlives a crash of its client, unless that sends FREE_ALL when it comes back.

    ## What to do
    Run rpc-statd on the client, and a lock client that uses LOCK.

    ## Evidence
    The request and its answer; refusals of others because of it.

    ## When it is a false alarm
    Clients without a statd that do send FREE_ALL at boot.
    """
    for lock in s.ledger.locks:
        if not lock.monitored:
            refused = [pair for pair in lock.denials if pair[0].blockers == [lock]]
            yield Case(
                f"{s.hosts.address(lock.client)} took an unmonitored lock (NM_LOCK) on "
                f"{file_name(s, lock.file)}" + ("; others were refused because of it" if refused else ""),
                [*lock.frames, *(frame for operation, _ in refused for frame in operation.frames)],
                lock.granted,
                subject=lock,
                **of_lock(s, lock),
            )


@rule("portmap-tamper", HIGH)
def portmap_tamper(s: Sessions) -> Iterator[Case]:
    """Somebody changes the port map of another host, or calls its services through it.

    ## What it is
    SET or UNSET from another host that was done; a lock, mount or status service called through CALLIT,
    BCAST or INDIRECT.

    ## Why it matters
    Clients are sent to a service of somebody's choice; calls through the port mapper look local to the
    service and pass its checks.

    ## What to do
    Run rpcbind without `-i`, let only NFS hosts reach port 111.

    ## Evidence
    The call and its answer.

    ## When it is a false alarm
    A tool that uses the host's own second address.
    """
    for call in s.conduct.calls.get("portmap", ()):
        reply, program = s.conduct.answer(call), int(call.args.get("prog") or 0)
        done = reply is not None and reply.status == 0
        if s.hosts.are_one(call.src, call.dst):
            continue
        if call.procedure in (SET, UNSET):
            if reply is None or not done or not reply.result.get("done"):
                continue
        elif program not in (NLM, NSM, MOUNT) or not call.args.get("proc"):
            continue
        called = program_label(program, int(call.args.get("vers") or 0))
        yield Case(
            f"{s.hosts.address(call.src)} sent {procedure_label(call.program, call.version, call.procedure)} "
            f"about {called} to the port mapper of {s.hosts.address(call.dst)}"
            + (", and it was done" if done else ""),
            [call.frame, *((reply.frame,) if reply is not None else ())],
            Place(call.frame, call.time),
            severity=HIGH if done else LOW,
            server=call.dst,
            client=call.src,
        )


@rule("cookie-reuse-conflict", MEDIUM)
def cookie_reuse_conflict(s: Sessions) -> Iterator[Case]:
    """One cookie stands for two requests at once: their results can be taken for each other's.

    ## What it is
    Two asynchronous requests of one kind between the same hosts with the same cookie, about different locks,
    the first without an answer when the second was sent.

    ## Why it matters
    Asynchronous results are told apart by the cookie alone: a denial may be read as a grant.

    ## What to do
    Update the host that sent them: this is a fault of its lock manager.

    ## Evidence
    Both requests and what came back.

    ## When it is a false alarm
    A host that restarted in between and counts anew.
    """
    latest: dict[tuple[int, int, str, bytes], Operation] = {}
    for operation in s.asynchronous:
        key = (operation.requester, operation.responder, operation.kind, operation.cookie)
        before = latest.get(key)
        latest[key] = operation
        if before is None or not operation.cookie or _about(before) == _about(operation):
            continue
        over = before.answers[0].time if before.answers else before.call.time + s.settings[OPEN]
        if operation.call.time < min(over, before.call.time + s.settings[OPEN]):
            yield Case(
                f"{s.hosts.address(operation.requester)} sent {operation.kind} requests about two locks with "
                f"one cookie (frames {before.call.frame} and {operation.call.frame}) before the first was "
                f"answered",
                [*before.frames, *operation.frames],
                Place(before.call.frame, before.call.time),
                Place(operation.call.frame, operation.call.time),
                subject=operation,
                **of_operation(s, operation),
            )


def _about(operation: Operation) -> tuple[object, ...]:
    return operation.fh, operation.svid, operation.start, operation.end
