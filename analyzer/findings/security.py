"""Protocol violations and what anyone could do.

In: remarkable calls and replies. Out: cases about single messages.

Theory. Lock traffic has no real authentication: who sent a call, from where, and whether it was accepted
is the whole story.

Never: counts a probe of the NULL procedure as a violation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from analyzer.faults import MEANING, Fault
from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Severity,
    file_name,
    of_operation,
    rule,
)
from analyzer.protocols import procedure_label, program_label
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.rpc import AUTH_ERROR, AUTH_FLAVORS, RPC_STATUS
from analyzer.records.events import Call, Reply
from analyzer.sessions import operations as op
from analyzer.sessions.conduct import FIRST_OPEN_PORT
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Lock, Place
from analyzer.sessions.operations import Answer, Operation
from analyzer.sessions.ranges import largest_of
from analyzer.sessions.world import Sessions

PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS = 1, 2, 3, 4
SM_MON = 2
NO_VERSION = 2  # of NLM: Linux says that it serves 1 to 4, and does not mean this one


def _label(call: Call) -> str:
    return procedure_label(call.program, call.version, call.procedure)


class Exchange(TypedDict):
    """The fields of a case about one call and its reply."""

    frames: list[int]
    first: Place
    server: int
    client: int


def _exchange(call: Call, reply: Reply | Answer | None) -> Exchange:
    return Exchange(
        frames=[call.frame, *((reply.frame,) if reply else ())],
        first=Place(call.frame, call.time),
        server=call.dst,
        client=call.src,
    )


@rule("nlm-auth-anomaly", MEDIUM)
def nlm_auth_anomaly(s: Sessions) -> Iterator[Case]:
    """Lock calls were refused for their credentials, or had none.

    ## What it is
    NLM calls answered with AUTH_ERROR. Lock requests with other credentials than AUTH_SYS that were taken.
    Lock requests whose `caller_name` is another name than the machine name of their credentials: low where
    another host is known by that name, else a fact.

    ## Why it matters
    The caller cannot lock, or somebody tries what gets through. Servers that go by names take a lock in a
    foreign name for that host's: its reboot frees the lock, and its UNLOCK does.

    ## What to do
    Compare with the export list (`exportfs -v`); lockd takes AUTH_NONE and AUTH_SYS only.

    Where names differ, let a host have one, and do not change that while it has mounts.

    ## Evidence
    Each call with its flavor, and the refusal; the first and the last request in another name.

    ## When it is a false alarm
    A scanner. A host that was renamed while it had mounts, or a container with a name of its own, whose
    credentials still carry the old name. Short and qualified forms, and names cut off, are one name.
    """
    for reply in s.conduct.refused:
        call = reply.call
        if call.program == NLM and reply.status >= AUTH_ERROR:
            flavor = AUTH_FLAVORS.get(call.flavor, f"flavor {call.flavor}")
            yield Case(
                f"{s.hosts.address(call.dst)} refused lock calls of {s.hosts.address(call.src)}, first "
                f"{_label(call)} with "
                f"{flavor}: {RPC_STATUS.get(reply.status, reply.status)}",
                **_exchange(call, reply),
            )
    for call in s.conduct.calls.get("odd-flavor", ()):
        answer = s.conduct.answer(call)
        if answer is not None and answer.status == 0:
            yield Case(
                f"{s.hosts.address(call.src)} asked {s.hosts.address(call.dst)} for locks with "
                f"{AUTH_FLAVORS.get(call.flavor, f'flavor {call.flavor}')} and was served, first "
                f"{_label(call)}",
                severity=LOW,
                group="flavor",
                **_exchange(call, answer),
            )
    yield from _misnamed(s)


def _misnamed(s: Sessions) -> Iterator[Case]:
    """Lock requests in another name than that of their credentials."""
    groups: dict[tuple[int, int, bytes, bytes], list[Operation]] = {}
    for operation in s.misnamed:
        call = operation.call
        if call.machine is not None and not s.hosts.spells(call.src, operation.caller):
            key = (call.src, call.dst, call.machine, operation.caller)
            groups.setdefault(key, []).append(operation)
    for (client, server, machine, caller), requests in groups.items():
        others = [host for host in s.hosts.named(caller) if host != client and s.hosts.is_first(host, caller)]
        whose = f", by which {s.hosts.address(others[0])} is known" if others else ""
        first, last = requests[0].call, requests[-1].call
        yield Case(
            f"{s.hosts.address(client)} asked {s.hosts.address(server)} for locks in the name of "
            f"{printable(caller)}{whose}, with credentials of {printable(machine)} ({len(requests)} of its "
            f"requests)",
            [first.frame, last.frame],
            Place(first.frame, first.time),
            Place(last.frame, last.time),
            severity=LOW if others else INFO,
            remedy="Let a host have one name, and do not change that while it has mounts.",
            server=server,
            client=client,
            peer=others[0] if others else -1,
            group=(machine, caller),
        )


@rule("malformed-xdr", LOW)
def malformed_xdr(s: Sessions) -> Iterator[Case]:
    """Messages do not decode.

    ## What it is
    Calls answered GARBAGE_ARGS. Calls and replies about locks and mounts whose body ends early, or has a
    length beyond its limit, padding that is not zero, or a number that its enum or boolean does not have.
    Names of hosts in messages to statd that are paths or format strings.

    ## Why it matters
    A bug of the sender, or somebody who probes for one of the receiver: statd makes files of the names it is
    told, and was once taken over by way of its log.

    ## What to do
    Find out what the sender is; update it, or filter it.

    ## Evidence
    The call and its reply; `lockscope dissect` shows them byte for byte.

    ## When it is a false alarm
    NLM 1 and 3 on Linux refuse handles that are not 32 bytes long. Messages of which the capture has a part
    only are not counted, nor is the TEST_RES that Linux cuts short.
    """
    for reply in s.conduct.refused:
        call = reply.call
        if reply.status == GARBAGE_ARGS:
            yield Case(
                f"{s.hosts.address(call.dst)} could not decode calls of {s.hosts.address(call.src)} "
                f"(GARBAGE_ARGS), first "
                f"{_label(call)}",
                **_exchange(call, reply),
            )
    for call in s.conduct.calls.get("undecoded", ()):
        answer = s.conduct.answer(call)
        if answer is None or answer.status != GARBAGE_ARGS:
            yield Case(
                f"{s.hosts.address(call.src)} sent {s.hosts.address(call.dst)} malformed calls, first "
                f"{_label(call)}: {MEANING[Fault(call.fault)]}",
                **_exchange(call, answer),
            )
    for call in s.conduct.calls.get("undecoded-reply", ()):
        answer = s.conduct.answer(call)
        if answer is not None and answer.fault >= 0:
            yield Case(
                f"{s.hosts.address(call.dst)} sent {s.hosts.address(call.src)} malformed replies, first to "
                f"{_label(call)}: {MEANING[Fault(answer.fault)]}",
                group="reply",
                **_exchange(call, answer),
            )
    for call in s.conduct.calls.get("odd-name", ()):
        yield Case(
            f"{s.hosts.address(call.src)} sent statd of {s.hosts.address(call.dst)} the name "
            f"{printable(call.args['mon_name'])[:64]!r} in {_label(call)}",
            severity=HIGH,
            group="name",
            **_exchange(call, s.conduct.answer(call)),
        )


@rule("version-or-proc-mismatch", MEDIUM)
def version_or_proc_mismatch(s: Sessions) -> Iterator[Case]:
    """Two hosts disagree on the version or the procedures of a lock or mount protocol.

    ## What it is
    Calls of NLM, MOUNT, NSM or portmap answered PROG_UNAVAIL, PROG_MISMATCH or PROC_UNAVAIL; NLM 1 or 3
    used by a client that mounts with version 3; NLM 2.

    ## Why it matters
    Locking falls back to 32-bit ranges, or fails.

    ## What to do
    Mount with `vers=3`, enable lockd on the server (`rpcinfo -p SERVER`).

    ## Evidence
    What was asked, what the server offers.

    ## When it is a false alarm
    One NULL probe at mount time is normal and not counted.
    """
    for reply in s.conduct.refused:
        call = reply.call
        if call.program == NFS or reply.status not in (PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL):
            continue
        if call.procedure == 0 and reply.status != PROC_UNAVAIL:
            continue
        offers = f", which offers versions {reply.low} to {reply.high}" if reply.low >= 0 else ""
        yield Case(
            f"{s.hosts.address(call.src)} called {_label(call)} at {s.hosts.address(call.dst)}{offers}: "
            f"{RPC_STATUS[reply.status]}",
            **_exchange(call, reply),
        )
    for client, server, version, operation in _versions(s):
        is_old = version < 4 and _mounts_with_version_3(s, client, server)
        is_none = version == NO_VERSION and operation.failure is None  # a refusal is told above
        if not is_old and not is_none:
            continue
        how = (
            "a version that no standard has"
            if is_none
            else "though it mounts with MOUNT 3: ranges of 32 bits"
        )
        yield Case(
            f"{s.hosts.address(client)} locks with {program_label(NLM, version)}, {how}",
            confidence=DEFINITE if is_none else PROBABLE,
            group="nlm version",
            **_exchange(operation.call, next(iter(operation.answers), operation.failure)),
        )


def _versions(s: Sessions) -> Iterator[tuple[int, int, int, Operation]]:
    """Who asks whom for locks in which version of NLM, with the first request."""
    for client, servers in s.lock_servers.items():
        for server, firsts in servers.items():
            for version, first in firsts.items():
                yield client, server, version, first


def _mounts_with_version_3(s: Sessions, client: int, server: int) -> bool:
    mounts = s.mounts.of_client(client, server)
    return any(mount.calls or any(mnt.call.version == 3 for mnt in mount.mnts) for mount in mounts)


@rule("range-suspicious", MEDIUM)
def range_suspicious(s: Sessions) -> Iterator[Case]:
    """A lock range is one that the server cannot have, or does not count as its client does.

    ## What it is
    A lock request answered FBIG. One that was granted though it goes beyond the largest offset: 2^63 - 1, or
    2^31 - 1 with NLM 1 and 3. A range granted with NLM 1 or 3 in a file that is larger than 2 GiB. Low: a
    length of the largest number, signed or not, where 0 is what says "to the end of the file".

    ## Why it matters
    The program believes in a range that nobody locks, or that ends elsewhere for the server: some cut it off,
    some take it to the end of the file, some to nothing.

    ## What to do
    Fix the caller: offset plus length must stay below 2^63. Mount with `vers=3`, which brings NLM 4 and 64
    bits.

    ## Evidence
    The request with its offset and length, and the answer.

    ## When it is a false alarm
    Databases lock single bytes far behind the end of the file on purpose, such as 2^30 or 2^62; those are
    granted, and not counted. The size of a file is the one it had when the capture first showed it.
    """
    for operation, answer in s.oversized:
        odd = _oddity(s, operation, answer)
        if odd is not None:
            yield Case(
                f"{s.hosts.address(operation.requester)} asked for offset {operation.start:#x} length "
                f"{operation.length:#x} of {file_name(s, operation.file)}: {odd[0]}",
                operation.frames,
                Place(operation.call.frame, operation.call.time),
                Place(answer.frame, answer.time),
                severity=odd[1],
                **of_operation(s, operation),
            )


def _oddity(s: Sessions, operation: Operation, answer: Answer) -> tuple[str, Severity] | None:
    """What is wrong with a range, in words, and how bad that is."""
    if answer.status == op.FBIG:
        return "FBIG", MEDIUM
    version, length = operation.call.version, operation.length
    largest = largest_of(version)
    granted = f"granted by {program_label(NLM, version)}, "
    if length in (largest, 2 * largest + 1):
        return f"{granted}where a length of 0 would say to the end of the file", LOW
    if operation.start > largest:
        return f"{granted}though it begins beyond {largest:#x}, the largest offset", MEDIUM
    if operation.start + length - 1 > largest:
        return f"{granted}though it ends beyond {largest:#x}, the largest offset", MEDIUM
    if operation.fh in s.handles.large and version < 4:
        return f"{granted}whose offsets do not reach the end of a file of more than 2 GiB", MEDIUM
    return None


@rule("nlm-smnotify-remote", CRITICAL)
def nlm_smnotify_remote(s: Sessions) -> Iterator[Case]:
    """The private call from statd to lockd came over the network.

    ## What it is
    NLM procedure 16 from another host, or from a port that any user may open. It is meant for statd and lockd
    of one machine.

    ## Why it matters
    If it is accepted, anyone can drop anyone's locks.

    ## What to do
    Let only NFS clients reach lockd's port; update the server if it accepted the call.

    ## Evidence
    The call and its answer.

    ## When it is a false alarm
    Containers whose loopback is a bridge.
    """
    for call in s.conduct.calls.get("nlm-sm-notify", ()):
        if s.hosts.are_one(call.src, call.dst) and call.sport < FIRST_OPEN_PORT:
            continue
        reply = s.conduct.answer(call)
        accepted = reply is not None and reply.status == 0
        yield Case(
            f"{s.hosts.address(call.src)} (port {call.sport}) sent lockd of {s.hosts.address(call.dst)} the "
            f"private procedure 16 (for {printable(call.args.get('mon_name', b''))}, priv "
            f"{call.args.get('priv', b'').hex()}); it was {'accepted' if accepted else 'not accepted'}",
            severity=CRITICAL if accepted else MEDIUM,
            **_exchange(call, s.conduct.answer(call)),
        )


@rule("sm-mon-remote", HIGH)
def sm_mon_remote(s: Sessions) -> Iterator[Case]:
    """Somebody outside asked statd to monitor, to forget, or to simulate a crash.

    ## What it is
    SM_MON, SM_UNMON, SM_UNMON_ALL or SM_SIMU_CRASH from another host.

    ## Why it matters
    statd can be made to call third parties, or to forget whom to tell after a reboot.

    ## What to do
    Let only NFS hosts reach statd's port; update statd if it accepted the call. Where it did, see what it
    now watches (`/var/lib/nfs/sm`), and look at the host that it is to call.

    ## Evidence
    The call, which says whom statd is to call (program, version, procedure, host), and its answer.

    ## When it is a false alarm
    User-space servers in containers with an address of their own.
    """
    for call in s.conduct.calls.get("sm-mon", ()):
        if s.hosts.are_one(call.src, call.dst):
            continue
        reply = s.conduct.answer(call)
        accepted = reply is not None and reply.status == 0 and reply.result.get("status", 0) == 0
        yield Case(
            f"{s.hosts.address(call.src)} sent {_label(call)} to statd of {s.hosts.address(call.dst)}"
            f"{_bounce(call)}; it was {'accepted' if accepted else 'not accepted'}",
            severity=HIGH if accepted else MEDIUM,
            **_exchange(call, reply),
        )


def _bounce(call: Call) -> str:
    """Whom statd is told to call (or not any more), and of which host's reboot."""
    args = call.args
    if "my_proc" not in args:
        return ""
    target = procedure_label(args["my_prog"], args["my_vers"], args["my_proc"])
    watched = f" of {printable(args['mon_name'])[:64]}" if args.get("mon_name") else ""
    order = "is to" if call.procedure == SM_MON else "is no longer to"
    return f", which {order} tell of reboots{watched} by {target} at {printable(args['my_name'])[:64]}"


@rule("free-all-unexpected", HIGH)
def free_all_unexpected(s: Sessions) -> Iterator[Case]:
    """A host asked a server to free all locks of another host.

    ## What it is
    FREE_ALL with a name that the sender does not use for itself.

    ## Why it matters
    FREE_ALL has no authentication beyond the export list. Linux frees the sender's locks, other servers
    those of the name.

    ## What to do
    Find the sender; restrict exports by address.

    ## Evidence
    The call; the name under which the sender is known.

    ## When it is a false alarm
    A client without NSM that was renamed; one that never gave a name before is only possible.
    """
    calls = s.conduct.calls.get("free-all", ())
    held = _held_by(s) if calls else {}
    for call in calls:
        name = call.args.get("name", b"")
        if not name or s.hosts.is_named(call.src, name):
            continue
        owners = [host for host in s.hosts.named(name) if host != call.src]
        whose = f", which is {s.hosts.address(owners[0])}" if owners else ""
        victim = any(_lives_on(s, call, lock) for host in owners for lock in held.get((host, call.dst), ()))
        yield Case(
            f"{s.hosts.address(call.src)} sent FREE_ALL in the name of {printable(name)}{whose}",
            confidence=DEFINITE if owners or call.src in s.hosts.names else POSSIBLE,
            severity=CRITICAL if victim else HIGH,
            peer=owners[0] if owners else -1,
            group=name,
            **_exchange(call, s.conduct.answer(call)),
        )


def _held_by(s: Sessions) -> dict[tuple[int, int], list[Lock]]:
    """The locks of each client at each server."""
    found: dict[tuple[int, int], list[Lock]] = {}
    for lock in s.ledger.locks:
        found.setdefault((lock.client, lock.server), []).append(lock)
    return found


def _lives_on(s: Sessions, call: Call, lock: Lock) -> bool:
    """Whether a lock stood at this call, and its holder was heard of afterwards."""
    stood = lock.granted.time < call.time and (lock.server_end is None or lock.server_end.time > call.time)
    return stood and s.hosts.last_seen(lock.client)[1] > call.time
