"""Whose lock is it? Owners that are mixed up, and doors that stand open to do so.

In: ledgers, overlaps, portmap calls. Out: cases about identity.

Theory. Nothing in NLM proves who asks. A Linux server knows owners by address and number alone, others by
the names they give; the port mapper tells everyone where to go and believes who may reach it.

Never: takes two addresses of one host for two hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analyzer.findings.guessed import owners_are_guessed
from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Watch,
    file_name,
    of_lock,
    of_operation,
    of_wait,
    rule,
)
from analyzer.findings.uncalled import silence_after
from analyzer.parameters import window
from analyzer.protocols import procedure_label, program_label
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.sessions import operations as op
from analyzer.sessions.handles import printable
from analyzer.sessions.hosts import fold
from analyzer.sessions.model import Lock, Overlap, Place, Wait
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
    for first, lock in _shared_locks(s):
        name, other = fold(first.request.caller), fold(lock.request.caller)
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


def shared_addresses(s: Sessions) -> set[tuple[int, int]]:
    """The clients, each with its server, of which several hosts use the address."""
    return {(lock.client, lock.server) for _, lock in _shared_locks(s)}


def _shared_locks(s: Sessions) -> Iterator[tuple[Lock, Lock]]:
    """Locks of one address, in the way of each other, that were granted to two hosts."""
    last_lock = dict(s.settled.last_use)
    for lock in s.ledger.locks:
        last_lock[lock.client, lock.request.caller] = max(
            lock.number, last_lock.get((lock.client, lock.request.caller), 0)
        )
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
            yield first, lock


def _namesakes(s: Sessions) -> Iterator[Case]:
    """Hosts of one name that both believe in a lock, at a server that goes by names."""
    for overlap in s.ledger.overlaps:
        loser, winner = overlap.loser, overlap.winner
        same = loser.request.identity == winner.request.identity and loser.client != winner.client
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
                watched=[Watch(loser.request.call, loser.granted.time, overlap.place.time)],
                guessed=owners_are_guessed(loser.request, winner.request),
                subject=overlap,
                **about,
            )


@rule("foreign-unlock", CRITICAL)
def foreign_unlock(s: Sessions) -> Iterator[Case]:
    """A host released the lock of another host, or gave up its wait.

    ## What it is
    An UNLOCK with the name and owner of a lock that another address had taken; afterwards the server gave
    the lock to somebody else, while its holder had not released it. Or a CANCEL with the name and owner of
    another address's waiting request, which was granted; afterwards the lock came free and nobody called that
    waiter. Where an UNLOCK was granted and nothing more was seen, it is possible.

    ## Why it matters
    Whoever reaches the lock service can take locks away from others, and let them wait in vain.

    ## What to do
    Find out who sent it. Restrict the exports by address and update the server: it should compare
    addresses.

    ## Evidence
    The lock, the UNLOCK, the grant that shows that it worked; the waiting LOCK, the CANCEL, the release after
    which no callback came.

    ## When it is a false alarm
    A host that moved to another address. Two addresses whose credentials carry one machine name are taken for
    one host. A Linux server compares addresses: what follows there has another reason, so the effect makes it
    possible only, and a CANCEL is not looked at. A waiter that asked again after the CANCEL is in line again.
    """
    released: set[int] = set()
    for overlap in s.ledger.overlaps:
        found = _released_by(overlap)
        if found is None:
            continue
        lock = overlap.loser
        released.add(lock.number)
        case = _unlocked(s, lock, found)
        winner, place = s.hosts.address(overlap.winner.client), overlap.place
        yield replace(
            case,
            message=f"{case.message}, and the lock to {winner} in frame {place.frame}",
            frames=[*case.frames, place.frame],
            last=place,
            confidence=POSSIBLE if lock.file.model is LINUX else DEFINITE,
            watched=[Watch(lock.request.call, lock.granted.time, place.time)],
            subject=overlap,
        )
    yield from _tried(s, released)
    yield from _cancelled(s)


def _released_by(overlap: Overlap) -> Operation | None:
    """The UNLOCK of another host that took a lock away."""
    lock = overlap.loser
    for unlocks in lock.file.unlocks.values():
        for unlock in unlocks:
            in_time = lock.granted.time < unlock.call.time < overlap.place.time
            covers = unlock.start <= lock.start and unlock.end >= lock.end
            if in_time and covers and _is_forged(unlock, lock.request):
                return unlock
    return None


def _is_forged(operation: Operation, request: Operation) -> bool:
    """Whether another host asked in the name of a request's owner, and was told that it is done."""
    return (
        operation.requester != request.requester
        and operation.identity == request.identity
        and operation.call.machine != request.call.machine
        and operation.status == op.GRANTED
    )


def _tried(s: Sessions, released: set[int]) -> Iterator[Case]:
    """UNLOCKs in the name of a holder that were granted, by servers that go by names; no effect was seen."""
    forged = [one for one in s.misnamed if one.kind == "UNLOCK" and one.status == op.GRANTED]
    by_name: dict[object, list[Operation]] = {}
    for unlock in forged:
        if unlock.file is not None and unlock.file.model is not LINUX:
            by_name.setdefault((id(unlock.file), unlock.identity), []).append(unlock)
    for lock in s.ledger.locks if by_name else ():
        for unlock in by_name.get((id(lock.file), lock.request.identity), ()):
            time = unlock.call.time
            stood = lock.granted.time < time and (lock.client_end is None or lock.client_end.time > time)
            still = any(answer.time > time for _, answer in lock.denials)
            within = unlock.start <= lock.start and unlock.end >= lock.end
            if lock.number in released or not stood or still or not within:
                continue
            if _is_forged(unlock, lock.request):
                yield _unlocked(s, lock, unlock)


def _unlocked(s: Sessions, lock: Lock, unlock: Operation) -> Case:
    """An UNLOCK of another host's lock was granted; whether it had an effect is not known."""
    return Case(
        f"{s.hosts.address(unlock.requester)} sent an UNLOCK (frame {unlock.call.frame}) of the lock of "
        f"{s.hosts.address(lock.client)} on {file_name(s, lock.file)} as {printable(unlock.caller)}, and the "
        f"server granted it",
        [*lock.frames, *unlock.frames],
        Place(unlock.call.frame, unlock.call.time),
        confidence=POSSIBLE,
        guessed=owners_are_guessed(lock.request, unlock),
        subject=unlock,
        **of_lock(s, lock) | {"peer": unlock.requester},
    )


def _cancelled(s: Sessions) -> Iterator[Case]:
    """CANCELs in the name of a waiter, after which its server forgot to call it."""
    called = {o.operation.requester for o in s.ledger.offers if o.verdict == "match"}
    for wait in s.ledger.waits:
        cancel = wait.cancelled
        if cancel is None or wait.file.model is LINUX or not _is_forged(cancel, wait.request):
            continue
        silence = silence_after(s, wait, cancel.call.time)
        if silence is None or _polled_between(wait, cancel.call.time, silence.free.place.time):
            continue
        yield Case(
            f"{s.hosts.address(cancel.requester)} cancelled (frame {cancel.call.frame}) the request of "
            f"{s.hosts.address(wait.client)} that waits for {file_name(s, wait.file)}, as "
            f"{printable(cancel.caller)}; it came free in frame {silence.free.place.frame} and the server "
            f"did not even try to call back; {silence.shown}",
            [*wait.request.frames, *cancel.frames, *silence.frames],
            Place(cancel.call.frame, cancel.call.time),
            silence.free.end,
            confidence=silence.confidence if wait.file.server in called else POSSIBLE,
            watched=[Watch(wait.request.call, wait.since.time, s.end)],
            due=silence.due(s),
            guessed=owners_are_guessed(wait.request, cancel),
            subject=cancel,
            **of_wait(s, wait) | {"peer": cancel.requester},
        )


def _polled_between(wait: Wait, since: int, until: int) -> bool:
    """Whether a waiter asked again, and so stood in line again whatever had been cancelled."""
    return any(since < poll.call.time < until for poll in wait.polls)


@rule("unmonitored-lock", LOW, family="leaks")
def unmonitored_lock(s: Sessions) -> Iterator[Case]:
    """A lock was taken that no reboot will ever free.

    ## What it is
    NM_LOCK, granted: the client tells the server not to watch it. High where others were refused because of
    it and it was not given back.

    ## Why it matters
    The lock outlives a crash of its client, unless that sends FREE_ALL when it comes back.

    ## What to do
    Run rpc-statd on the client, and a lock client that uses LOCK. If the client has forgotten the lock, free
    it on the server: `echo PATH > /proc/fs/nfsd/unlock_filesystem`.

    ## Evidence
    The request and its answer; refusals of others because of it; the MNT by which the client came back.

    ## When it is a false alarm
    Clients without a statd that do send FREE_ALL at boot. Its holder may be alive and work under the lock.
    """
    for lock in s.ledger.locks:
        if not lock.monitored:
            refused = [pair for pair in lock.denials if pair[0].blockers == [lock]]
            stands = bool(refused) and lock.server_end is None
            back = _came_back(s, lock) if stands else None
            yield Case(
                f"{s.hosts.address(lock.client)} took an unmonitored lock (NM_LOCK) on "
                f"{file_name(s, lock.file)}"
                + ("; others were refused because of it" if refused else "")
                + (f"; it mounted again in frame {back.frame} and sent no FREE_ALL" if back else ""),
                [
                    *lock.frames,
                    *(frame for operation, _ in refused for frame in operation.frames),
                    *([back.frame] if back else ()),
                ],
                lock.granted,
                severity=HIGH if stands else LOW,
                subject=lock,
                **of_lock(s, lock),
            )


def _came_back(s: Sessions, lock: Lock) -> Place | None:
    """Where the client of a lock mounted from its server again."""
    mnts = (mnt for mount in s.mounts.of_client(lock.client, lock.server) for mnt in mount.mnts)
    again = (Place(mnt.call.frame, mnt.call.time) for mnt in mnts if mnt.call.time > lock.granted.time)
    return min(again, default=None)


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
