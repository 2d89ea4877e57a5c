"""Locks that were leaked by a reboot, a race or a mistaken identity, proven by a later refusal.

In: the ledgers, notices, refusals. Out: cases of locks that the server keeps and their owner has forgotten.

Theory. See `refusals`: each of these faults is silent when it happens. It shows when somebody else is
refused and nothing but the forgotten lock explains it.

Never: reports the race without its effect.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.guessed import owners_are_guessed
from analyzer.findings.refusals import Refusal, Refusals, because_of, frames
from analyzer.findings.residues import Residue, residues
from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Confidence,
    Watch,
    file_name,
    of_lock,
    of_operation,
    of_wait,
    rule,
    seconds,
)
from analyzer.findings.standing import LEAST_WATCHED
from analyzer.parameters import window
from analyzer.protocols.nlm import STATUS4
from analyzer.sessions import operations as op
from analyzer.sessions.model import Lock, Offer, Place, Wait
from analyzer.sessions.operations import Operation
from analyzer.sessions.ranges import EOF
from analyzer.sessions.world import Sessions

FREEING = window(
    "freed-by-reboot", 5, "a server frees the locks of a rebooted client behind its answer to the notice"
)
CROSSING = window("cancel-crossing", 1, "a callback and a CANCEL that are further apart knew of each other")
GIVE_BACK = window("cancel-give-back", 10, "in which a client whose CANCEL came too late unlocks")
ERRORS = (op.DENIED_NOLOCKS, op.ROFS, op.STALE_FH, op.FBIG, op.FAILED)


@rule("lock-survived-client-reboot", HIGH)
def lock_survived_client_reboot(s: Sessions) -> Iterator[Case]:
    """A client restarted, and the server still honours its old locks.

    ## What it is
    A client whose reboot was announced and taken note of, or which began to count anew and mounted again
    without having unmounted; later a request of another owner is refused where only a lock of the
    client's former life stands in the way.

    ## Why it matters
    Nobody is left who could release the lock: whoever wants the file waits for ever.

    ## What to do
    Make the name that the client gives itself (`uname -n`) the one that name service returns for its
    address, fully qualified, forward and reverse alike; see that sm-notify runs at boot. Free the lock with
    `sm-notify -f` on the client, or on the server with `echo PATH > /proc/fs/nfsd/unlock_filesystem`.

    ## Evidence
    The lock of the former life, the notice or the signs of the restart, the refusals since.

    ## When it is a false alarm
    A process on the server itself that holds the file; several hosts behind one address.
    """
    refusals = Refusals(s)
    for notice in s.reboots.notices:
        if notice.role != "client" or notice.answer is None:
            continue
        for lock in notice.freed:
            extent = (lock.start, lock.end)
            refused = refusals.after(lock.file, lock.owner, extent, notice.answer.time)
            if refused and lock.exclusive:  # beside a shared one there may be others, older than the capture
                case = _survivor(s, lock, refused, f"its reboot was announced in frame {notice.place.frame}")
                case.frames = [*case.frames, notice.place.frame, notice.answer.frame]
                case.cause = notice
                yield case
    births = {(birth.client, birth.server): birth for birth in s.rebirths.found}
    for lock in s.ledger.locks:
        birth = births.get((lock.client, lock.server)) if lock.denials else None
        if birth is None or lock.number > birth.before.number:
            continue
        refused = because_of(lock, birth.after.granted.time + s.settings[FREEING])
        if refused:
            case = _survivor(s, lock, refused, birth.signs)
            case.frames = [*case.frames, *birth.frames]
            case.confidence = PROBABLE
            yield case


def _survivor(s: Sessions, lock: Lock, refused: list[Refusal], how: str) -> Case:
    other, answer = refused[0][0].requester, refused[-1][1]
    return Case(
        f"{s.hosts.address(lock.client)} restarted ({how}), yet {s.hosts.address(other)} was refused "
        f"{file_name(s, lock.file)} because of a lock of its former life (frame {lock.granted.frame})",
        [*lock.frames, *frames(refused)],
        lock.granted,
        Place(answer.frame, answer.time),
        stands=[lock],
        subject=lock,
        **of_lock(s, lock),
    )


@rule("lock-orphaned-by-duplicate", HIGH)
def lock_orphaned_by_duplicate(s: Sessions) -> Iterator[Case]:
    """A resent LOCK took effect after its sender had given it up: nobody knows that the lock is held.

    ## What it is
    A LOCK that was sent twice. One copy was answered with an error or DENIED, when the other was under way
    already, which was granted; or a copy was executed after the UNLOCK; later a request of another owner is
    refused where nothing but that copy explains it.

    ## Why it matters
    The owner has forgotten the lock, the server has not: it stays until the server restarts.

    ## What to do
    Free the lock on the server: `echo PATH > /proc/fs/nfsd/unlock_filesystem`; or copy the file and rename
    the copy over it.

    Then find out why the lock service took so long that the client asked again, and update the server.

    ## Evidence
    Every copy of the LOCK and every answer, the refusals since.

    ## When it is a false alarm
    A reply that the capture did not see; a process on the server itself that holds the file. A copy that was
    sent behind the answer to the first one shows that its client did not hear that answer: it has the lock.
    """
    for lock in s.ledger.locks:
        request = lock.request
        if len(request.calls) < 2 or len(request.answers) < 2:
            continue
        failed = _had_failed(request)
        late = lock.how == "duplicate" and not _unlocked_again(lock)
        refused = because_of(lock, lock.granted.time) if failed or late else []
        if not refused or (lock.server_end is not None and lock.server_end.reason == "unlock"):
            continue
        first = request.answers[0]
        how = f"answered with {STATUS4.get(first.status, first.status)}" if failed else "granted and unlocked"
        copy = next(answer for answer in request.answers[1:] if answer.status == op.GRANTED)
        yield _orphan(s, request, refused, f"was {how}, and a copy of it granted in frame {copy.frame}")
    refusals = Refusals(s)
    for request in {id(operation): operation for operation, _ in s.slow}.values():
        errors = request.kind == "LOCK" and all(answer.status in ERRORS for answer in request.answers)
        if not errors or len(request.calls) <= len(request.answers) or request.file is None:
            continue
        assert request.owner is not None
        extent = (request.start, request.end)
        if any(unlock.order > request.order for unlock in request.file.unlocks.get(request.owner, ())):
            continue
        refused = refusals.after(request.file, request.owner, extent, request.calls[-1].time)
        if refused:
            case = _orphan(s, request, refused, "failed, and a copy of it was never answered")
            case.confidence = POSSIBLE
            yield case


def _had_failed(request: Operation) -> bool:
    """Whether a client was told that it has no lock while the copy that got it was under way."""
    first, *others = request.answers
    return first.status in (*ERRORS, op.DENIED) and any(
        answer.status == op.GRANTED and answer.call.time < first.time for answer in others
    )


def _unlocked_again(lock: Lock) -> bool:
    """Whether a copy of the UNLOCK followed the copy of the LOCK."""
    copy = max(answer.call.serial for answer in lock.request.answers)
    return any(
        call.serial > copy
        for unlock in lock.file.unlocks.get(lock.owner, ())
        if unlock.start <= lock.start and unlock.end >= lock.end
        for call in unlock.calls
    )


def _orphan(s: Sessions, request: Operation, refused: list[Refusal], how: str) -> Case:
    answer = refused[-1][1]
    return Case(
        f"a LOCK of {s.hosts.address(request.requester)} on {file_name(s, request.file)}, sent "
        f"{len(request.calls)} times, {how}; since then {s.hosts.address(refused[0][0].requester)} is "
        f"refused",
        [*request.frames, *frames(refused)],
        Place(request.call.frame, request.call.time),
        Place(answer.frame, answer.time),
        watched=[Watch(request.call, request.call.time, answer.time)],
        subject=request,
        **of_operation(s, request),
    )


@rule("lock-leaked-by-cancel-race", HIGH)
def lock_leaked_by_cancel_race(s: Sessions) -> Iterator[Case]:
    """A waiter gave up just as the server gave it the lock.

    ## What it is
    A GRANTED callback and the CANCEL of the same request crossed; the CANCEL came too late (DENIED), or
    the callback was accepted all the same; and no UNLOCK of that owner followed within ten seconds. Surer
    where a request of another owner was refused because of the lock.

    ## Why it matters
    The program that waited has gone, and the lock stays.

    ## What to do
    Free the lock on the server: `echo PATH > /proc/fs/nfsd/unlock_filesystem`. Avoid timeouts and `alarm()`
    around blocking locks; run newer kernels on the clients.

    ## Evidence
    The callback with its answer and the CANCEL with its own, the refusals since.

    ## When it is a false alarm
    A client that takes DENIED for its CANCEL to mean that it has the lock, and works under it.
    """
    offers: dict[int, list[Offer]] = {}
    for offer in s.ledger.offers:
        if offer.wait is not None and offer.wait.cancel is not None and offer.verdict in ("match", "late"):
            offers.setdefault(id(offer.wait), []).append(offer)
    refusals = Refusals(s)
    for crossing in offers.values():
        case = _crossed(s, refusals, crossing[0])
        if case is not None:
            yield case


def _crossed(s: Sessions, refusals: Refusals, offer: Offer) -> Case | None:
    wait = offer.wait
    assert wait is not None
    cancel, granted = wait.cancel, offer.operation
    assert cancel is not None
    heard = min(answer.time for answer in granted.answers) if granted.answers else granted.call.time
    if (
        cancel.call.time > heard + s.settings[CROSSING]
        or granted.call.time > cancel.call.time + s.settings[CROSSING]
    ):
        return None
    if cancel.status != op.DENIED and not (cancel.status == op.GRANTED and offer.accepted is not None):
        return None
    since = min(cancel.order, granted.order)
    if any(unlock.order > since for unlock in wait.file.unlocks.get(wait.owner, ())):
        return None
    if any(lock.request.order > since for _, _, lock in wait.file.held.of(wait.owner)):
        return None  # it asked again, and has it
    crossed = max(cancel.call.time, granted.call.time)
    after = crossed + s.settings[GIVE_BACK]
    extent = (wait.start, wait.end)
    refused = refusals.after(wait.file, wait.owner, extent, after)
    if wait.lock is not None:
        refused = because_of(wait.lock, after) or refused
    watched = s.end - crossed >= s.settings[LEAST_WATCHED]
    if not refused and not (watched and offer.refused is None and _stands(wait)):
        return None
    until = Place(refused[-1][1].frame, refused[-1][1].time) if refused else Place(s.last_frame, s.end)
    sure = DEFINITE if refused else PROBABLE
    return Case(
        f"{s.hosts.address(wait.client)} gave up waiting for {file_name(s, wait.file)} (CANCEL in frame "
        f"{cancel.call.frame}) just as it was granted (frame {granted.call.frame}), and did not unlock"
        + (f"; {s.hosts.address(refused[0][0].requester)} is refused since" if refused else ""),
        [*wait.request.frames, *cancel.frames, *granted.frames, *frames(refused)],
        Place(granted.call.frame, min(granted.call.time, cancel.call.time)),
        until,
        confidence=Confidence(sure - 1) if offer.accepted is not None else sure,
        watched=[Watch(cancel.call, cancel.call.time, until.time)],
        due=0 if refused else after,
        subject=wait.lock,
        **of_wait(s, wait),
    )


def _stands(wait: Wait) -> bool:
    """Whether nothing shows that the lock of a wait that was given up is free again."""
    return wait.lock is not None and wait.lock.server_end is None


@rule("unlock-owner-mismatch", HIGH)
def unlock_owner_mismatch(s: Sessions) -> Iterator[Case]:
    """A lock was released under another identity than it was taken under: nothing was freed.

    ## What it is
    An UNLOCK of the holder's host and process for the whole range, answered GRANTED, that differs from the
    LOCK in transport, version of NLM or, where the server compares names, in the owner's name; later a
    request of another owner is refused because of the lock.

    ## Why it matters
    The client believes the file is free, the server keeps the lock.

    ## What to do
    Mount with one `proto=` and by one address of the server; do not rename a host that holds locks. Free the
    lock on the server: `echo PATH > /proc/fs/nfsd/unlock_filesystem`.

    ## Evidence
    The LOCK, the UNLOCK that missed it, the refusals since.

    ## When it is a false alarm
    Two mounts of one export over different transports, each with programs of its own.
    """
    for lock in s.ledger.locks:
        if lock.server_end is not None or not lock.denials:
            continue
        for owner, unlocks in lock.file.unlocks.items():
            if owner is lock.owner or (owner.client, owner.svid) != (lock.client, lock.owner.svid):
                continue
            for unlock in unlocks:
                if unlock.call.time < lock.granted.time or unlock.removed or unlock.status != op.GRANTED:
                    continue
                if unlock.start > lock.start or unlock.end < lock.end:
                    continue
                refused = because_of(lock, unlock.answers[0].time)
                if refused:
                    yield _missed(s, lock, unlock, refused)


def _missed(s: Sessions, lock: Lock, unlock: Operation, refused: list[Refusal]) -> Case:
    took, gave = lock.request.call, unlock.call
    different = [
        name
        for name, same in (
            ("transport", took.transport == gave.transport),
            ("version of NLM", took.version == gave.version),
            ("owner", lock.request.oh == unlock.oh),
            ("name", lock.request.caller == unlock.caller),
        )
        if not same
    ]
    return Case(
        f"the UNLOCK of {file_name(s, lock.file)} by {s.hosts.address(lock.client)} (frame {gave.frame}) "
        f"differs from its LOCK in {' and '.join(different) or 'identity'}: it freed nothing, and "
        f"{s.hosts.address(refused[0][0].requester)} is refused since",
        [*lock.frames, *unlock.frames, *frames(refused)],
        Place(gave.frame, gave.time),
        Place(refused[-1][1].frame, refused[-1][1].time),
        stands=[lock],
        guessed=owners_are_guessed(lock.request, unlock),
        subject=lock,
        **of_lock(s, lock),
    )


@rule("residual-range-after-unlock", MEDIUM)
def residual_range_after_unlock(s: Sessions) -> Iterator[Case]:
    """A part of the file stays locked after what was a release.

    ## What it is
    Bytes that were released: an UNLOCK, answered GRANTED, of a range that differs from that of the LOCK;
    seconds later a request of another owner within the bytes released is refused, and nobody else was given
    them.

    Bytes that were not (`possible`): UNLOCKs took a part of each lock that an owner had on the file, and were
    the last that was heard of it; nobody read or wrote the file for a minute up to the end, or the host of
    the owner removed it. The severity is medium where others are refused or wait because of what is left, or
    where the release ends at a limit of 32 bits short of the lock; low where the file was removed; and else
    info, for a program may mean it.

    ## Why it matters
    Part of the file stays locked after what was a release.

    ## What to do
    Where released bytes are refused, update the server: it frees only what matches a lock exactly; until then
    let the program unlock the ranges it has locked. Where bytes are left over, let it unlock the whole file
    (from 0, length 0).

    ## Evidence
    The LOCK, the UNLOCK, the refusals or waits since.

    ## When it is a false alarm
    A process on the server itself that holds the file. A database that keeps a part of its lock on purpose,
    and reads from the client's cache.
    """
    refusals = Refusals(s)
    for file in [file for file in s.ledger.files.values() if file.unexplained]:
        for owner, unlocks in file.unlocks.items():
            for unlock in unlocks:
                for low, high, lock in unlock.removed:
                    if unlock.status != op.GRANTED or not lock.exclusive:
                        continue
                    if (unlock.start, unlock.end) == (lock.start, lock.end):
                        continue
                    refused = refusals.after(file, owner, (low, high), unlock.call.time)
                    if refused:
                        yield _kept(s, lock, unlock, refused)
    for residue in residues(s):
        yield _left_over(s, residue)


def _kept(s: Sessions, lock: Lock, unlock: Operation, refused: list[Refusal]) -> Case:
    """The server keeps bytes that were released."""
    return Case(
        f"{s.hosts.address(lock.client)} released bytes of {file_name(s, lock.file)} in frame "
        f"{unlock.call.frame}, yet {s.hosts.address(lock.server)} refuses them to "
        f"{s.hosts.address(refused[0][0].requester)} with no other holder",
        [*lock.frames, *unlock.frames, *frames(refused)],
        Place(unlock.call.frame, unlock.call.time),
        Place(refused[-1][1].frame, refused[-1][1].time),
        confidence=PROBABLE,
        watched=[Watch(unlock.call, unlock.call.time, refused[-1][1].time)],
        guessed=owners_are_guessed(lock.request, unlock),
        subject=lock,
        **of_lock(s, lock),
    )


def _left_over(s: Sessions, residue: Residue) -> Case:
    """The client has forgotten bytes that it did not release."""
    lock, unlock, (low, high) = residue.lock, residue.unlock, residue.pieces[0]
    others = [operation for operation, _ in residue.refused] + [wait.request for wait in residue.waits]
    effect = ""
    if others:
        done = "waits for" if residue.waits else "is refused"
        effect = f"; {s.hosts.address(others[-1].requester)} {done} them"
    elif residue.is_short:
        effect = "; the UNLOCK ends where 32 bits do"
    how = f"nobody used the file for {seconds(residue.unused)} since"
    if residue.removed:
        how = f"the file was removed in frame {residue.removed}"
    return Case(
        f"{s.hosts.address(lock.client)} released a part of its lock on {file_name(s, lock.file)} in frame "
        f"{unlock.call.frame}; bytes {low} to {'the end' if high == EOF else high} stay locked, and "
        f"{how}{effect}",
        [*lock.frames, *unlock.frames, *(f for one in others for f in one.frames), residue.removed],
        Place(unlock.call.frame, unlock.call.time),
        Place(s.last_frame, s.end),
        confidence=POSSIBLE,
        severity=MEDIUM if others or residue.is_short else LOW if residue.removed else INFO,
        stands=[lock],
        subject=lock,
        **of_lock(s, lock) | {"range": (low, high)},
    )
