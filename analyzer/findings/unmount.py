"""Unmounted but not released: what was said about mounts, and what contradicts it.

In: mount sessions, ledgers, connections. Out: cases about exports.

Theory. UMNT is a courtesy: it proves neither that a client has left nor, when it is missing, that it
stays. What counts is state that outlives activity, and activity that outlives a goodbye.

Never: blames a client for not saying goodbye while it may still be there.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.departures import departure, goes_on
from analyzer.findings.pins import counted, left_exports, pins
from analyzer.findings.rule import (
    DEFINITE,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Case,
    Watch,
    file_name,
    rule,
    seconds,
)
from analyzer.findings.standing import (
    LEAST_WATCHED,
    UMNT_WATCHED,
    UMNT_WINDOW,
    held_at_end,
)
from analyzer.parameters import threshold, window
from analyzer.protocols.mount import MOUNT, STATUS3
from analyzer.protocols.rpc import AUTH_ERROR, AUTH_FLAVORS
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Lock, Place, Wait
from analyzer.sessions.mounts import Mount
from analyzer.sessions.world import Sessions

UMNT_ANSWER = window("umnt-answer", 3, "umount.nfs waits about so long for its answer")
LEAVING = window("umnt-leaving", 2, "a client that goes on using an export longer has not left it")
DENIALS = threshold("mnt-denials", 3, "refusals", "one refused MNT is a typing error")
DENIAL_WINDOW = window("mnt-denials-window", 300, "refusals this close are one attempt to get in")


@rule("umnt-but-traffic-continues", MEDIUM)
def umnt_but_traffic_continues(s: Sessions) -> Iterator[Case]:
    """A client said it unmounted, and goes on using the export.

    ## What it is
    UMNT (or UMNTALL) was accepted and left no mount as far as was seen, and more than two seconds later
    the same client sends NFS calls on that export without a new MNT.

    ## Why it matters
    The server's list of mounts no longer shows a client that is there: `showmount -a` misleads whoever
    wants to take the export away.

    ## What to do
    On the client see what still uses it: `findmnt -t nfs`, `fuser -vm MOUNTPOINT`. The umount most likely
    failed because it was busy; unmount again when the program has ended.

    ## Evidence
    The UMNT, the first and last NFS call after it.

    ## When it is a false alarm
    A second mount of the export that is older than the capture; several hosts behind one address.
    """
    for mount in s.mounts.sessions.values():
        for goodbye in mount.goodbyes:
            first, last = goodbye.first_after, goodbye.last_after
            if first is None or last is None:
                continue
            what = "UMNTALL" if goodbye.call.procedure == 4 else "UMNT"
            yield Case(
                f"{s.hosts.address(mount.client)} sent {what} for {mount.path} in frame "
                f"{goodbye.call.frame}, yet "
                f"{goodbye.calls_after} NFS calls on it follow, from "
                f"{seconds(first.time - goodbye.call.time)} to "
                f"{seconds(last.time - goodbye.call.time)} after it, without a new MNT",
                [goodbye.call.frame, goodbye.reply.frame, first.frame, last.frame],
                Place(goodbye.call.frame, goodbye.call.time),
                last,
                confidence=PROBABLE,
                watched=[Watch(goodbye.call, goodbye.call.time, last.time)],
                older=mount.early,
                server=mount.server,
                client=mount.client,
                export=mount.path,
            )


@rule("export-pinned-by-locks", HIGH)
def export_pinned_by_locks(s: Sessions) -> Iterator[Case]:
    """Nobody has an export mounted any more, and locks keep it busy.

    ## What it is
    Every client that was seen to use the export has unmounted it, or vanished (see `mount-without-release`),
    and the server still has a lock, a share reservation or a waiting request on a file of it.

    ## Why it matters
    The server's own umount of the file system fails with "target is busy"; pulling the device damages it.

    ## What to do
    `exportfs -u CLIENT:/EXPORT`, then `echo /EXPORT > /proc/fs/nfsd/unlock_filesystem`, then umount.
    Never remove the device while locks stand.

    ## Evidence
    The locks with their owners, the UMNTs, or how a client vanished.

    ## When it is a false alarm
    A client whose mount is older than the capture and that kept silent in it. Where only a waiting request
    is left the finding is `possible` and of medium severity: not every server queues those whom it answers
    BLOCKED (Linux 6.12 does not).
    """
    exports = left_exports(s)
    for index, found in pins(s, exports).items():
        export, clients = s.handles.exports[index], exports[index]
        if any(pin.client not in clients or pin.asked > clients[pin.client].since for pin in found):
            continue  # a client that has not left
        lead = found[0]
        last = max(left.since for left in clients.values())
        since = min(clients[pin.client].since for pin in found)
        if s.end - last < s.settings[UMNT_WATCHED]:
            continue
        denied = any(pin.refused(last) for pin in found)
        proven = denied and any(pin.is_proven(s, last) for pin in found)
        vanished = [left.vanished for left in clients.values() if left.vanished is not None]
        sure = DEFINITE if proven else POSSIBLE if isinstance(lead.thing, Wait) else PROBABLE
        files = ", ".join(sorted({file_name(s, pin.file) for pin in found})[:4])
        yield Case(
            f"all clients have {'left' if vanished else 'unmounted'} {export.path}, and {counted(found)} "
            f"still pin it on the server: {files}",
            [
                *(frame for pin in found for frame in pin.frames),
                *(f for left in clients.values() for u in left.mount.umnts for f in (u.call.frame, u.frame)),
                *(frame for gone in vanished for frame in gone.frames),
            ],
            clients[lead.client].place,
            Place(s.last_frame, s.end),
            confidence=min([sure, *(gone.confidence for gone in vanished)]),
            severity=MEDIUM if isinstance(lead.thing, Wait) else HIGH,
            watched=[Watch(pin.request.call, pin.request.call.time, s.end) for pin in found],
            stands=[pin.thing for pin in found if isinstance(pin.thing, Lock)],
            due=0 if denied or lead.is_lost(s) else since + s.settings[UMNT_WINDOW],
            older=any(left.mount.early for left in clients.values()),  # it may be mounted twice
            server=export.server,
            client=lead.client,
            export=export.path,
            path=s.handles.path(lead.file.fh),
            file=lead.file,
            owner=lead.owner,
            range=lead.range,
            group=("export", index),
            cause=lead.thing,
        )


@rule("mount-without-release", LOW)
def mount_without_release(s: Sessions) -> Iterator[Case]:
    """A client that had mounted an export went without unmounting it.

    ## What it is
    A mount session with MNT and without UMNT, and then one of these:

    - a reboot notice of that client;
    - the server reset or closed its connection, and the client did not even acknowledge that;
    - nothing was heard of the client on any connection for a minute, and the server called it in vain, or a
      router said that it cannot be reached;
    - a Linux client (one that names lock owners as Linux does) was silent for ten minutes up to the end and
      left its connection open, which Linux closes after five idle minutes.

    ## Why it matters
    The server's list of mounts keeps an entry for a mount that is gone. Locks are another matter: see
    whether the notice freed them. Where locks of the client still stand, the finding is of medium severity.

    ## What to do
    Nothing on the wire can help: by design the server is never told. To tidy the list, stop nfs-mountd
    and edit /var/lib/nfs/rmtab.

    ## Evidence
    The MNT; the reboot notice, the RST or FIN, what called the client in vain; its last frame.

    ## When it is a false alarm
    A lazy unmount, or a program with its own NFS client, never sends UMNT. Ganesha keeps no such list.

    An idle mount is legal for weeks, and other clients than Linux may leave their connection open all that
    time: they are not judged by silence. Nor is anybody where the server fell silent too.
    """
    gone = [
        (mount, left)
        for mount in s.mounts.sessions.values()
        if mount.count and mount.mnts and (left := departure(s, mount)) is not None
    ]
    held: dict[tuple[int, int, int], Lock] = {}
    for one in held_at_end(s) if gone else ():
        held.setdefault((one.client, one.server, s.handles.export_index(one.file.fh)), one)
    for mount, left in gone:
        mnt = mount.mnts[0]
        lock = held.get((mount.client, mount.server, mount.export.index if mount.export else -1))
        if lock is not None and lock.request.call.time > left.place.time:
            lock = None  # it came back
        yield Case(
            f"{s.hosts.address(mount.client)} mounted {mount.path} in frame {mnt.call.frame} and {left.how} "
            f"without UMNT: its entry in the server's mount list stays",
            [mnt.call.frame, mnt.frame, *left.frames],
            Place(mnt.call.frame, mnt.call.time),
            left.place,
            confidence=left.confidence,
            watched=[Watch(mnt.call, mnt.time, left.place.time)],
            severity=LOW if lock is None else MEDIUM,
            due=0 if mount.rebooted is not None else left.place.time + s.settings[UMNT_WINDOW],
            server=mount.server,
            client=mount.client,
            export=mount.path,
            cause=lock,
            subject=mount,
        )


@rule("umnt-lost", LOW)
def umnt_lost(s: Sessions) -> Iterator[Case]:
    """A client tried to say goodbye and was not heard.

    ## What it is
    A UMNT without an answer or refused by RPC; or no UMNT at all, but a look-up of mountd's port that is
    answered "not registered", or followed by connections that nobody answers, and then the end of the
    client's NFS traffic.

    ## Why it matters
    The server's list of mounts keeps an entry for a mount that is gone.

    ## What to do
    Start mountd on the server, allow its port (`[mountd] port=` in /etc/nfs.conf); otherwise ignore it.

    ## Evidence
    The look-up, the UMNT or the SYNs towards mountd.

    ## When it is a false alarm
    umount.nfs waits only about three seconds on purpose, and ignores the outcome.
    """
    for copies in s.mounts.unheard.values():
        call = copies[0]
        if s.end - call.time < s.settings[LEAST_WATCHED]:
            continue
        yield Case(
            f"the UMNT of {printable(call.args.get('dirpath', b''))} by {s.hosts.address(call.src)} was "
            f"not answered",
            [copy.frame for copy in copies],
            Place(call.frame, call.time),
            confidence=PROBABLE,
            watched=[Watch(call, call.time, s.end)],
            due=call.time + s.settings[UMNT_ANSWER],
            server=call.dst,
            client=call.src,
            export=printable(call.args.get("dirpath", b"")),
        )
    for reply in s.mounts.failed_umnts:
        call = reply.call
        yield Case(
            f"the UMNT of {printable(call.args.get('dirpath', b''))} by {s.hosts.address(call.src)} was "
            f"refused by RPC",
            [call.frame, reply.frame],
            Place(call.frame, call.time),
            server=call.dst,
            client=call.src,
            export=printable(call.args.get("dirpath", b"")),
        )
    for mount in s.mounts.sessions.values():
        if mount.count and mount.mnts:
            yield from _unheard_contact(s, mount)


def _unheard_contact(s: Sessions, mount: Mount) -> Iterator[Case]:
    """The client cannot reach mountd, and then leaves."""
    client, server = mount.client, mount.server
    since = max(reply.time for reply in mount.mnts)
    lookups = s.reboots.lookups_between(client, server, MOUNT, since, s.end)
    ports = {look.port for look in lookups if look.port}
    failed = [
        c
        for c in s.connections.attempts(client, server, since, s.end)
        if c.port in ports and not c.answered and len(c.tries) > 1
    ]
    unasked = [look for look in lookups if look.answer is None]
    unlisted = [] if ports else [look for look in lookups if look.port == 0]
    if not failed and len(unasked) < 2 and not unlisted:
        return
    begin = min([c.since for c in failed] + [look.call.time for look in (*unasked, *unlisted)])
    if mount.last is not None and mount.last.time > begin + s.settings[LEAVING]:
        return
    if any(u.call.time > begin for u in mount.umnts) or s.end - begin < s.settings[UMNT_ANSWER]:
        return
    first = next(look for look in reversed(lookups) if look.call.time <= begin)
    frames = [
        *(look.call.frame for look in lookups if look.call.time >= first.call.time),
        *(look.answer.frame for look in lookups if look.answer and look.call.time >= first.call.time),
        *(frame for c in failed for frame, _ in c.tries),
    ]
    left = [
        c for flow in mount.flows if (c := s.connections.by_flow.get(flow)) is not None and client in c.fins
    ]
    left = [c for c in left if c.fins[client][1] > begin]
    if not left and not failed and len(unasked) < 2:
        return  # somebody asked for a port, that is all
    frames += [c.fins[client][0] for c in left]
    tries = sum(len(c.tries) for c in failed)
    why = "which is not registered" if unlisted else f"{tries} SYNs without an answer"
    yield Case(
        f"{s.hosts.address(client)} could not reach mountd of {s.hosts.address(server)} ({why}) "
        f"and then left {mount.path}: its UMNT was never heard",
        frames,
        Place(first.call.frame, first.call.time),
        Place(max(frames), s.end),
        confidence=PROBABLE if left else POSSIBLE,
        server=server,
        client=client,
        export=mount.path,
    )


@rule("mnt-denied", MEDIUM)
def mnt_denied(s: Sessions) -> Iterator[Case]:
    """A mount was refused.

    ## What it is
    MNT answered with a status other than OK, or refused by RPC for its credentials.

    ## Why it matters
    The client has no access to the export.

    ## What to do
    Compare the client's address and name with the export list: `exportfs -v`, `showmount -e`; check that the
    address resolves to the name that the list uses.

    ## Evidence
    The MNT and its answer.

    ## When it is a false alarm
    Probes by monitoring; a mount program that tries several versions.
    """
    groups: dict[tuple[int, int, bytes], list[int]] = {}
    for reply in s.mounts.refused:
        call = reply.call
        if reply.status == 0 or reply.status >= AUTH_ERROR:
            groups.setdefault((call.src, call.dst, call.args.get("dirpath", b"")), []).append(call.time)
    for reply in s.mounts.refused:
        call = reply.call
        path = call.args.get("dirpath", b"")
        times = groups.get((call.src, call.dst, path))
        if times is None or not (reply.status == 0 or reply.status >= AUTH_ERROR):
            continue
        many = (
            sum(1 for time in times if abs(time - call.time) <= s.settings[DENIAL_WINDOW])
            >= s.settings[DENIALS]
        )
        status = int(reply.result.get("status", -1))
        why = STATUS3.get(status, f"status {status}") if reply.status == 0 else "its credentials"
        yield Case(
            f"{s.hosts.address(call.dst)} refused the mount of {printable(path)} to "
            f"{s.hosts.address(call.src)} ({why})",
            [call.frame, reply.frame],
            Place(call.frame, call.time),
            severity=MEDIUM if many else LOW,
            server=call.dst,
            client=call.src,
            export=printable(path),
        )


@rule("nfs3-proc-22", LOW)
def nfs3_proc_22(s: Sessions) -> Iterator[Case]:
    """A client uses an NFSv3 procedure that does not exist.

    ## What it is
    NFSv3 with a procedure number of 22 or more. 22 is the UMOUNT of a patch of 2012 that was never merged.

    ## Why it matters
    A server with that patch flushes all its exports whenever any client unmounts. Others refuse it.

    ## What to do
    Remove the vendor's patch from the client; UMNT of the MOUNT protocol is what says goodbye.

    ## Evidence
    The call with its credentials (those of the patch are AUTH_NONE) and its answer.

    ## When it is a false alarm
    Fuzzers and scanners.
    """
    for call in s.conduct.calls.get("nfs3-proc-22", ()):
        reply = s.conduct.answer(call)
        accepted = reply is not None and reply.status == 0
        yield Case(
            f"{s.hosts.address(call.src)} called NFSv3 procedure {call.procedure}, which does not exist, "
            f"with {AUTH_FLAVORS.get(call.flavor, f'flavor {call.flavor}')}; it was "
            f"{'accepted' if accepted else 'refused' if reply else 'not answered'}",
            [call.frame, *((reply.frame,) if reply else ())],
            Place(call.frame, call.time),
            severity=MEDIUM if accepted else LOW,
            server=call.dst,
            client=call.src,
        )


@rule("mount-open-at-capture-end", INFO, at_end=True)
def mount_open_at_capture_end(s: Sessions) -> Iterator[Case]:
    """An export is mounted when the capture stops.

    ## What it is
    A MNT without an UMNT up to the last frame. A fact about the capture, not a fault.

    ## Why it matters
    It answers who has an export mounted at the end.

    ## What to do
    Capture longer, or look on the client: `findmnt -t nfs`.

    ## Evidence
    The MNT, the last NFS call.

    ## When it is a false alarm
    It is no alarm: idle mounts are legal for weeks.
    """
    for mount in s.mounts.sessions.values():
        if not mount.count or not mount.mnts or (mount.rebooted is not None and not goes_on(s, mount)):
            continue
        mnt = mount.mnts[-1]
        last = mount.last or Place(mnt.frame, mnt.time)
        yield Case(
            f"{s.hosts.address(mount.client)} has {mount.path} of {s.hosts.address(mount.server)} mounted; "
            f"last NFS call "
            f"{seconds(max(0, s.end - last.time))} before the end",
            [mnt.call.frame, mnt.frame, last.frame],
            Place(mnt.frame, mnt.time),
            last,
            server=mount.server,
            client=mount.client,
            export=mount.path,
        )
