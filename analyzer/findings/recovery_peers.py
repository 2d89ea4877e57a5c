"""Restarts that were not announced, not understood, or not followed by what is due.

In: notices, reclaims, the ledgers, signs of new lives. Out: cases about both sides of a recovery.

Theory. NSM is a chain of courtesies: the host that boots must say so, under the name by which it is
known and with a state that is odd and higher than before; the one that hears it must reclaim, or free. Each
link breaks silently, so each rule here asks for the link before: an answered notice before a missing reclaim,
locks held before a missing notice.

Never: judges a host whose earlier life the capture did not see.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.refusals import Refusals, frames
from analyzer.findings.rule import (
    CRITICAL,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Severity,
    Watch,
    file_name,
    of_lock,
    rule,
    seconds,
)
from analyzer.parameters import threshold, window
from analyzer.records.events import Call, Verifier
from analyzer.sessions import operations as op
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Lock, Place
from analyzer.sessions.reboots import Grace, Notice
from analyzer.sessions.world import Sessions

RECLAIM_WINDOW = window(
    "reclaim-after-notice", 60, "a client reclaims at once; a dead connection costs it some retries"
)
NOTICE_WINDOW = window("notice-after-restart", 120, "sm-notify runs at boot")
NLM_GRACE = window("nlm-grace-period", 0, "lockd's setting; 0 stands for five times nlm-timeout")
NLM_TIMEOUT = window("nlm-timeout", 10, "lockd's setting: its grace is a multiple of it", least=1)
NFSV4_GRACE = window("nfsv4-grace", 90, "nfsd's setting: lockd's grace ends when nfsd's does")
GRACE_MARGIN = window("grace-margin", 10, "for a request that was decided late")
REPEATED = window(
    "notice-repeated", 1200, "sm-notify gives up after 15 minutes; five more are another sender"
)
UNSEEN_REBOOTS = threshold(
    "state-jump", 100, "steps", "of the NSM state: fifty reboots that nobody was told of"
)
EPOCH_LIKE = 10**9
VERIFIERS = 64  # changes looked into: a server that restarts more often is another problem
RESTART_GAP = window("restart-signs", 600, "signs of one restart are this close")


@rule("reclaim-missing", HIGH)
def reclaim_missing(s: Sessions) -> Iterator[Case]:
    """A client was told that the server restarted, and did not reclaim its lock.

    ## What it is
    An answered reboot notice of the server to a client that held a lock, no reclaim of that lock, and no
    UNLOCK, within a minute.

    ## Why it matters
    The server has forgotten the lock, the program believes in it: the next one who asks gets it too.

    ## What to do
    See on the client that rpc.statd handed the notice to the kernel: the name in it must be the one the
    client knows the server by (`fs.nfs.nsm_use_hostnames`, `rpc.statd -n`).

    ## Evidence
    The lock, the notice and its answer, the absence of a reclaim.

    ## When it is a false alarm
    A release or a reclaim that was lost from the capture, or took a path it does not see.
    """
    tried = {
        (operation.requester, id(operation.file))
        for kept in (s.reboots.reclaims, s.reboots.late_reclaims, s.reboots.refused_reclaims)
        for operation, _ in kept
    }
    for notice in s.reboots.notices:
        if notice.role != "server" or notice.answer is None:
            continue
        until = notice.answer.time + s.settings[RECLAIM_WINDOW]
        for lock in notice.freed:
            gone = lock.client_end is not None and lock.client_end.time < until
            if lock.client != notice.receiver or gone or (lock.client, id(lock.file)) in tried:
                continue
            yield Case(
                f"{s.hosts.address(lock.client)} was told that {s.hosts.address(lock.server)} restarted "
                f"(frame {notice.place.frame}) and did not reclaim its lock on {file_name(s, lock.file)}",
                [*lock.frames, notice.place.frame, notice.answer.frame],
                notice.place,
                Place(s.last_frame, s.end),
                confidence=PROBABLE,
                severity=CRITICAL if lock.lost is not None else HIGH,
                stands=[lock],
                due=until,
                cause=notice,
                subject=lock,
                **of_lock(s, lock),
            )


@rule("peer-restarted-without-notify", HIGH)
def peer_restarted_without_notify(s: Sessions) -> Iterator[Case]:
    """A lock client or a lock server restarted while locks were held, and NSM never said so.

    ## What it is
    Of a client: cookies that begin again, and a MNT without the UMNT of the mount before it. Of a server:
    another write verifier and another port of its lock service. In both cases locks were held, and no
    reboot notice came.

    ## Why it matters
    The locks of a client that restarted stay for ever; those of a server that restarted are gone, and
    their holders do not know.

    ## What to do
    Enable what sends the notices at boot: `systemctl enable rpc-statd-notify`, and see that
    /var/lib/nfs/sm is on stable storage. For the moment run `sm-notify -f` on the host that restarted.

    ## Evidence
    The signs before and after; the locks held.

    ## When it is a false alarm
    Several hosts behind one address; a notice that took a path the capture does not see.
    """
    births = {(birth.client, birth.server): birth for birth in s.rebirths.found}
    left: dict[int, list[Lock]] = {}
    for lock in s.ledger.locks if births else ():
        birth = births.get((lock.client, lock.server))
        if birth is None or lock.number > birth.before.number:
            continue
        if lock.server_end is None or lock.server_end.time > birth.mnt.call.time:
            left.setdefault(id(birth), []).append(lock)
    for birth in births.values():
        held = left.get(id(birth), [])
        since, until = birth.before.granted.time, birth.after.granted.time + s.settings[NOTICE_WINDOW]
        known = any(lock.client_end is not None and lock.client_end.reason == "unlock" for lock in held)
        if held and not known and not _announced(s, birth.client, since, until):
            about = of_lock(s, held[0])
            yield Case(
                f"{s.hosts.address(birth.client)} restarted while it held {len(held)} lock(s) on "
                f"{file_name(s, held[0].file)} and told nobody: {birth.signs}",
                [*birth.frames, *(frame for lock in held for frame in lock.frames)],
                Place(birth.mnt.call.frame, birth.mnt.call.time),
                confidence=PROBABLE,
                watched=[Watch(lock.request.call, lock.granted.time, birth.mnt.call.time) for lock in held],
                due=birth.after.granted.time + s.settings[RECLAIM_WINDOW],
                subject=birth,
                **about,
            )
    for verifier in s.verifiers[:VERIFIERS]:
        ports = _lock_ports(s, verifier)
        lost = _held_at(s, verifier.server, verifier.time) if ports else []
        since, until = verifier.time - s.settings[RESTART_GAP], verifier.time + s.settings[NOTICE_WINDOW]
        if not lost or _announced(s, verifier.server, since, until):
            continue
        if ports is None or s.restarted(verifier.server, since, until) is not None:
            continue
        before, after = ports
        yield Case(
            f"{s.hosts.address(verifier.server)} restarted while it held {len(lost)} lock(s) and told "
            f"nobody: its write verifier changed and its lock service moved from port {before.dport} to "
            f"{after.dport}",
            [verifier.frame, before.frame, after.frame, *(f for lock in lost for f in lock.frames)],
            Place(verifier.frame, verifier.time),
            confidence=PROBABLE,
            due=until,
            server=verifier.server,
            client=lost[0].client,
            subject=verifier,
        )


def _announced(s: Sessions, host: int, since: int, until: int) -> bool:
    """Whether a notice of this host is on the wire, to anybody."""
    return any(
        host in (notice.sender, notice.victim) and since <= notice.place.time <= until
        for notice in s.reboots.notices
    )


def _held_at(s: Sessions, server: int, time: int) -> list[Lock]:
    """The locks that a server held then."""
    return [
        lock
        for lock in s.ledger.locks
        if lock.server == server
        and lock.granted.time < time
        and (lock.server_end is None or lock.server_end.time > time)
    ]


def _lock_ports(s: Sessions, verifier: Verifier) -> tuple[Call, Call] | None:
    """Lock calls to two ports of a server over one transport: the last before, the first after."""
    server, time = verifier.server, verifier.time
    calls = [
        (first, last)
        for first, last in s.nlm_flows.values()
        if first.dst == server and first.procedure not in op.RES and first.procedure not in (5, 10)
    ]
    before = [last for first, last in calls if first.time < time]
    after = [first for first, _ in calls if first.time > time - s.settings[RESTART_GAP]]
    old = max(before, key=lambda call: call.time, default=None)
    if old is None:
        return None
    moved = [c for c in after if c.time > old.time and c.transport == old.transport and c.dport != old.dport]
    return (old, min(moved, key=lambda call: call.time)) if moved else None


@rule("nsm-state-anomaly", MEDIUM)
def nsm_state_anomaly(s: Sessions) -> Iterator[Case]:
    """The state in a reboot notice is not what a reboot makes of it.

    ## What it is
    A state that is even, lower than the one before, the same as one that was answered twenty minutes
    ago, or far from the one before. The state of a client's LOCK requests counts as one before.

    ## Why it matters
    A receiver that compares states takes no notice: locks stay, or are not reclaimed.

    ## What to do
    Keep /var/lib/nfs on storage that survives a reboot, owned by the user of statd; one directory for each
    node of a cluster.

    ## Evidence
    The notice, the state before it.

    ## When it is a false alarm
    Nodes of a cluster that share a name; an administrator who frees locks by hand.
    """
    said: dict[tuple[int, int, bytes], Notice] = {}
    for notice in s.reboots.notices:
        if notice.role == "forged":
            continue
        before = said.get((notice.sender, notice.receiver, notice.name))
        said[notice.sender, notice.receiver, notice.name] = notice
        own = [known for known in s.ledger.states.get(notice.sender, ()) if known[0] < notice.place.time]
        place, last = (own[-1][:2], own[-1][2]) if own else ((0, 0), 0)
        if before is not None and before.place.time > place[0]:
            place, last = (before.place.time, before.place.frame), before.state
        found = _odd_state(s, notice, last, before)
        if found is not None:
            why, severity = found
            yield Case(
                f"{s.hosts.address(notice.sender)} announced a reboot of {printable(notice.name)} with state "
                f"{notice.state}, {why}",
                [notice.place.frame, place[1]],
                notice.place,
                severity=severity,
                server=notice.receiver,
                client=notice.sender,
                subject=notice,
            )


def _odd_state(s: Sessions, notice: Notice, last: int, before: Notice | None) -> tuple[str, Severity] | None:
    """What is wrong with the state of a notice after state `last` (0 unknown)."""
    state = notice.state & 0xFFFFFFFF
    if state > EPOCH_LIKE:
        return "which looks like a time", INFO
    if state % 2 == 0:
        return "which is even: the host is down, not up", LOW
    if last and state < last:
        return f"lower than {last} before", MEDIUM
    if last and state - last > s.settings[UNSEEN_REBOOTS]:
        return f"far from {last} before", INFO
    if before is not None and before.answer is not None and state == before.state:
        if notice.place.time - before.answer.time > s.settings[REPEATED]:
            return f"the same as {seconds(notice.place.time - before.answer.time)} before", MEDIUM
    return None


@rule("nsm-name-mismatch", HIGH)
def nsm_name_mismatch(s: Sessions) -> Iterator[Case]:
    """A host announced its reboot under a name by which its locks are not known.

    ## What it is
    A reboot notice of a lock client whose name differs in its first label from every name the client
    gave itself with its locks; worse where the server still refuses others because of such a lock. Names that
    differ only in their domain (`db1` and `db1.example.net`) are reported only then.

    ## Why it matters
    A server that looks the name up finds no such client: its locks stay.

    ## What to do
    Make `uname -n` on the client the name that name service returns for its address, fully qualified, forward
    and reverse alike; `rpc.statd -n` on hosts with several.

    ## Evidence
    The notice, the names used with locks, the refusals since.

    ## When it is a false alarm
    A Linux server compares addresses too, so that a name that differs does no harm.
    """
    refusals = Refusals(s)
    for notice in s.reboots.notices:
        names = {call.args.get("mon_name", b"").lower() for call in notice.calls}
        locks = [lock for lock in notice.freed if lock.client == notice.sender]
        if notice.role != "client" or not locks or names & _callers(locks):
            continue
        qualified = any(s.hosts.is_named(notice.sender, name) for name in names)
        if not qualified and any(s.hosts.named(name) for name in names):
            continue  # the name is somebody else's: that is another fault
        since = notice.answer.time if notice.answer is not None else notice.place.time
        refused = [
            refusal
            for lock in locks
            if lock.exclusive
            for refusal in refusals.after(lock.file, lock.owner, (lock.start, lock.end), since)
        ]
        if qualified and not refused:
            continue
        yield Case(
            f"{s.hosts.address(notice.sender)} announced its reboot as {printable(notice.name)}, but locks "
            f"as {printable(locks[0].request.caller)}"
            + ("; others are still refused because of its locks" if refused else ""),
            [notice.place.frame, *locks[0].frames, *frames(refused)],
            notice.place,
            confidence=PROBABLE if refused else POSSIBLE,
            severity=HIGH if refused else LOW,
            server=notice.receiver,
            client=notice.sender,
            subject=notice,
        )


def _callers(locks: list[Lock]) -> set[bytes]:
    """The names under which locks were asked for."""
    return {lock.request.caller.lower() for lock in locks}


@rule("grace-longer-than-expected", MEDIUM)
def grace_longer_than_expected(s: Sessions) -> Iterator[Case]:
    """A server puts off locks for longer than the usual settings say.

    ## What it is
    Ordinary requests answered DENIED_GRACE_PERIOD for more than 100 seconds, and no restart in between.

    ## Why it matters
    Programs that lock hang for all that time.

    ## What to do
    Read `nlm_grace_period`, `nlm_timeout` and nfsd's `nfsv4gracetime`; look for a service that
    restarts again and again; end grace by `echo Y > /proc/fs/lockd/nlm_end_grace` when all have reclaimed.

    ## Evidence
    The first and the last refusal.

    ## When it is a false alarm
    Settings that are longer on purpose; a cluster that puts all its nodes into grace.
    """
    for grace in s.reboots.graces:
        first, (operation, last) = grace.begin, grace.refusals[-1]
        expected = _expected_grace(s)
        if last.time - first.time <= expected or _restarted_within(s, grace, last.time):
            continue
        yield Case(
            f"{s.hosts.address(grace.server)} refused locks as in grace for "
            f"{seconds(last.time - first.time)}, longer than its settings should allow ({seconds(expected)})",
            [*grace.refusals[0][0].frames, *operation.frames],
            first,
            Place(last.frame, last.time),
            confidence=PROBABLE,
            server=grace.server,
            client=operation.requester,
            subject=grace,
        )


def _expected_grace(s: Sessions) -> int:
    """How long the settings let a server refuse locks: lockd's grace (rounded up as it does), or nfsd's."""
    period, timeout = s.settings[NLM_GRACE], s.settings[NLM_TIMEOUT]
    lockd = -(-period // timeout) * timeout if period else 5 * timeout
    return max(lockd, s.settings[NFSV4_GRACE]) + s.settings[GRACE_MARGIN]


def _restarted_within(s: Sessions, grace: Grace, until: int) -> bool:
    return any(
        notice.sender == grace.server and grace.begin.time < notice.place.time < until
        for notice in s.reboots.notices
    )


@rule("reclaim-fabricated", MEDIUM)
def reclaim_fabricated(s: Sessions) -> Iterator[Case]:
    """A client reclaimed a lock that it never had.

    ## What it is
    A granted reclaim of a client whose mount, and all its locks, the capture saw before the restart of the
    server; none of them is this one.

    ## Why it matters
    A reclaim goes before all others in grace: whoever invents one gets what belongs to somebody else.

    ## What to do
    Look on the client for what sent it. A Linux server keeps no list that could tell.

    ## Evidence
    The reclaim and its grant, the MNT, the restart.

    ## When it is a false alarm
    A lock that was granted on a path the capture does not see.
    """
    seen: set[tuple[int, int]] = set()
    for lock in s.ledger.locks if s.reboots.reclaims else ():
        what = lock.client, id(lock.file)
        known = what in seen or s.settled.had(lock.client, lock.file)
        seen.add(what)
        if not lock.request.reclaim or known:
            continue
        mounts = [m for m in s.mounts.of_client(lock.client, lock.server) if m.mnts]
        if not mounts or any(mount.early for mount in s.mounts.of_client(lock.client, lock.server)):
            continue
        mnt = min((mount.mnts[0] for mount in mounts), key=lambda reply: reply.call.time)
        if s.restarted(lock.server, mnt.call.time, lock.granted.time) is None:
            continue
        yield Case(
            f"{s.hosts.address(lock.client)} reclaimed a lock on {file_name(s, lock.file)} that it never had "
            f"since it mounted in frame {mnt.call.frame}",
            [*lock.frames, mnt.call.frame],
            lock.granted,
            confidence=PROBABLE,
            watched=[Watch(lock.request.call, mnt.call.time, lock.granted.time)],
            subject=lock,
            **of_lock(s, lock),
        )
