"""Who may do what: writes under somebody else's lock, and ports that anybody may use.

In: writes into locked files, source ports of calls. Out: cases about what nothing prevents.

Theory. Locks are advisory, and the only proof of identity in this world is that a port below 1024 takes root
to open. Neither stops a program that does not care.

Never: judges a range that a client may have written only to fill up a page.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
    LOW,
    MEDIUM,
    PROBABLE,
    About,
    Case,
    Watch,
    file_name,
    of_lock,
    rule,
)
from analyzer.protocols import program_label
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nsm import NSM
from analyzer.records.events import Call
from analyzer.sessions.intrusions import Intrusion
from analyzer.sessions.model import Place
from analyzer.sessions.world import Sessions
from analyzer.tables import UDP

MNT = 1


@rule("io-against-foreign-lock", MEDIUM)
def io_against_foreign_lock(s: Sessions) -> Iterator[Case]:
    """A client writes where another one holds an exclusive lock.

    ## What it is
    A WRITE, or a truncation, of bytes that another client has locked exclusively, done by the server while
    the lock stood. The writer had no lock there itself. High where the lock was given to somebody else, too.

    ## Why it matters
    NLM locks are advisory: only programs that ask are kept out. What the holder reads and writes back undoes
    the change, or the other way round.

    ## What to do
    Make the program lock before it writes. See whether that client is mounted with `nolock` or
    `local_lock=`: then its locks exclude only its own programs.

    ## Evidence
    The lock, the writes, the UNLOCK that shows that it was held.

    ## When it is a false alarm
    Programs that agree on something else, such as appending whole lines. Bytes of a page around the locked
    ones are not counted: a client may write them unchanged. A writer that is older than the capture may have
    a lock of its own, which was overruled by a restart.
    """
    for intrusion in s.intrusions.found:
        lock = intrusion.lock
        if s.hosts.share_a_name(lock.client, intrusion.client):
            continue
        end = lock.client_end
        released = lock.unlock is not None and end is not None and end.reason == "unlock"
        about = of_lock(s, lock)
        about["peer"] = intrusion.client
        kind = "truncated" if intrusion.first.kind == "SETATTR" else "wrote to"
        yield Case(
            f"{s.hosts.address(intrusion.client)} {kind} {file_name(s, lock.file)} (frame "
            f"{intrusion.first.frame}) while {s.hosts.address(lock.client)} held an exclusive lock on it"
            + (f", {intrusion.count} times" if intrusion.count > 1 else ""),
            [*lock.frames, *intrusion.frames, *(lock.unlock.frames if released and lock.unlock else ())],
            Place(intrusion.first.frame, intrusion.first.time),
            Place(intrusion.last.frame, intrusion.last.time),
            confidence=DEFINITE if released else PROBABLE,
            untraced=released and lock.request.call.transport == UDP,  # an UNLOCK before may be missing
            severity=MEDIUM if lock.lost is None else HIGH,
            watched=[Watch(lock.request.call, lock.granted.time, s.end)],
            stands=() if released else [lock],
            older=_is_older(s, intrusion),
            subject=intrusion,
            **about,
        )


def _is_older(s: Sessions, intrusion: Intrusion) -> bool:
    """Whether the writer was there before the capture: it may have a lock of its own."""
    file = intrusion.lock.file
    export = s.handles.export(file.fh)
    mount = s.mounts.sessions.get((intrusion.client, file.server, export.index)) if export else None
    return mount is None or mount.early


@rule("unprivileged-source-port", LOW)
def unprivileged_source_port(s: Sessions) -> Iterator[Case]:
    """Mount, lock or reboot messages come from a port that any user may open.

    ## What it is
    Calls of MOUNT (MNT, UMNT), NLM or SM_NOTIFY whose source port is 1024 or above.

    ## Why it matters
    A port below 1024 is the only sign that the system of a client speaks, and not one of its users. Who may
    send these calls can mount, lock and unlock as anyone, and drop the locks of a host.

    ## What to do
    Export without `insecure` and mount with `resvport`; let a program that must not be root use another
    way in.

    ## Evidence
    The first calls from such ports.

    ## When it is a false alarm
    Address translation gives every call a new port; containers and user-space clients without root use high
    ports by design. Callbacks of servers are not counted: Ganesha sends them from high ports.
    """
    for (client, server, program), port in s.conduct.open_ports.items():
        accepted = program == NSM or any(_is_mounted(s, call) for call in port.calls)
        first, last = port.calls[0], port.calls[-1]
        label = "SM_NOTIFY" if program == NSM else f"calls of {program_label(program, first.version)}"
        yield Case(
            f"{s.hosts.address(client)} sent {s.hosts.address(server)} {port.count} {label} from ports that "
            f"any user may open, first from {first.sport}" + (", and was let in" if accepted else ""),
            [call.frame for call in port.calls],
            Place(first.frame, first.time),
            Place(last.frame, last.time),
            severity=MEDIUM if accepted else LOW,
            group=program,
            **_roles(program, client, server),
        )


def _roles(program: int, sender: int, receiver: int) -> About:
    """Sender and receiver as client and server; a notice is about the host that is told."""
    return About(client=sender, server=receiver) if program != NSM else About(client=receiver, peer=sender)


def _is_mounted(s: Sessions, call: Call) -> bool:
    """Whether this is a MNT that was granted."""
    reply = s.conduct.answer(call)
    asked = (call.program, call.procedure) == (MOUNT, MNT)
    return asked and reply is not None and reply.status == 0 and reply.result.get("status") == 0
