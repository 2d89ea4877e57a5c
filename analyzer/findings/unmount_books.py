"""The books that mountd keeps, and why they do not add up.

In: mount sessions, answers to DUMP. Out: cases about the list of mounts.

Theory. mountd counts: MNT adds, UMNT of just that path from just that address takes off. Nothing else does,
not even UMNTALL on Linux. So the list grows with every goodbye that was not said, or said in other words, and
`showmount -a` shows what is long gone.

Never: blames a mount that is older than the capture.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from analyzer.findings.rule import DEFINITE, INFO, LOW, PROBABLE, Case, rule, seconds
from analyzer.parameters import threshold, window
from analyzer.records.events import Call, Reply
from analyzer.sessions.handles import printable
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import Mount
from analyzer.sessions.world import Sessions

IMBALANCE = threshold(
    "mount-imbalance", 3, "mounts", "MNTs without UMNT: one may be in use, one may be a repetition"
)
BEFORE_DUMP = window("umnt-before-dump", 1, "a DUMP that crosses a UMNT may still list its mount")
UNUSED = window("mnt-first-use", 60, "a mount program asks for FSINFO at once")
CANDIDATES = 64  # answers to DUMP and odd UMNTs that are looked into
ENTRIES = 4096  # of one DUMP


@rule("mount-count-imbalance", LOW)
def mount_count_imbalance(s: Sessions) -> Iterator[Case]:
    """A client mounts again and again and never says goodbye.

    ## What it is
    Three or more accepted MNTs of a path without an UMNT, while the connections of all but one of those
    mounts are closed.

    ## Why it matters
    The entry in the server's list of mounts can never come to zero.

    ## What to do
    Look at what mounts there: an automounter with a short timeout, a container runtime that unmounts without
    `umount.nfs`.

    ## Evidence
    Every MNT.

    ## When it is a false alarm
    Containers with mounts of their own; UMNTs that took a path the capture does not see.
    """
    for mount in s.mounts.sessions.values():
        if mount.rebooted is not None or not any(
            count >= s.settings[IMBALANCE] for count in mount.paths.values()
        ):
            continue
        closed = 0
        for flow in mount.flows:
            connection = s.connections.by_flow.get(flow)
            closed += connection is not None and bool(connection.fins or connection.reset)
        if closed + 1 < max(s.settings[IMBALANCE], len(mount.flows)):
            continue
        last = mount.mnts[-1]
        yield Case(
            f"{s.hosts.address(mount.client)} mounted {mount.path} {len(mount.mnts)} times and unmounted it "
            f"{len(mount.umnts)} times, while {closed} of its connections were closed",
            [reply.call.frame for reply in mount.mnts],
            Place(mount.mnts[0].call.frame, mount.mnts[0].call.time),
            Place(last.frame, last.time),
            server=mount.server,
            client=mount.client,
            export=mount.path,
        )


@rule("umnt-mismatch", LOW)
def umnt_mismatch(s: Sessions) -> Iterator[Case]:
    """A goodbye was said in words that mountd does not understand: the entry stays.

    ## What it is
    UMNT of a path that this address has not mounted, while it has mounted the same directory in another
    spelling, or another address of the same host has mounted it.

    ## Why it matters
    The server's list of mounts keeps the entry: `showmount -a` misleads.

    ## What to do
    Mount by one spelling of the path and over one address of the client.

    ## Evidence
    The UMNT, the MNT it was meant for.

    ## When it is a false alarm
    Two hosts of one name; a mount that is older than the capture.
    """
    for reply in s.mounts.strangers[:CANDIDATES]:
        call = reply.call
        path = printable(call.args.get("dirpath", b""))
        for mount in _meant(s, call, path):
            mnt = mount.mnts[-1]
            yield Case(
                f"{s.hosts.address(call.src)} sent UMNT for {path}, which it has not mounted; "
                f"{s.hosts.address(mount.client)} has {mount.path} mounted since frame {mnt.call.frame}",
                [call.frame, reply.frame, mnt.call.frame, mnt.frame],
                Place(call.frame, call.time),
                confidence=PROBABLE,
                server=call.dst,
                client=call.src,
                export=path,
            )
            break


def _meant(s: Sessions, call: Call, path: str) -> Iterator[Mount]:
    """The open mounts that a UMNT may have been meant for."""
    for mount in s.mounts.of_client(call.src, call.dst):
        spelt = [known for known, count in mount.paths.items() if count > 0 and known != path.rstrip("/")]
        if mount.mnts and any(
            _spelt_out(known) == _spelt_out(path) and known.rstrip("/") != path.rstrip("/") for known in spelt
        ):
            yield mount
    for host in s.hosts.named(call.machine) if call.machine else ():
        if host != call.src:
            for mount in s.mounts.of_client(host, call.dst):
                if mount.mnts and mount.paths.get(path, 0) > 0:
                    yield mount


def _spelt_out(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _listed(s: Sessions, dump: Reply) -> Iterator[tuple[Mount, str]]:
    """The mount sessions that an answer to DUMP lists, with the path."""
    by_client: dict[int, list[Mount]] = {}
    for mount in s.mounts.sessions.values():
        if mount.server == dump.call.dst and mount.mnts:
            by_client.setdefault(mount.client, []).append(mount)
    for entry in dump.result.get("mounts", ())[:ENTRIES]:
        name, path = entry.get("hostname", b""), printable(entry.get("dirpath", b""))
        for client, mounts in by_client.items():
            if s.hosts.is_named(client, name):
                for mount in mounts:
                    if path in mount.paths:
                        yield mount, path


def _last_umnt(s: Sessions, mount: Mount, path: str, dump: Reply) -> Reply | None:
    """The goodbye that left nothing mounted before a DUMP, if there was one."""
    before = dump.call.time - s.settings[BEFORE_DUMP]
    mnts = [r for r in mount.mnts if r.call.time < dump.time and _path(r) == path]
    umnts = [r for r in mount.umnts if r.time < before and (r.call.procedure == 4 or _path(r) == path)]
    if mount.early or not umnts or not mnts or umnts[-1].call.time < mnts[-1].time:
        return None
    return umnts[-1] if umnts[-1].call.procedure == 4 or len(umnts) >= len(mnts) else None


def _path(reply: Reply) -> str:
    return printable(reply.call.args.get("dirpath", b""))


def _stale(s: Sessions, procedure: int, how: str) -> Iterator[Case]:
    for dump in s.mounts.dumps[:CANDIDATES]:
        for mount, path in _listed(s, dump):
            umnt = _last_umnt(s, mount, path, dump)
            if umnt is not None and umnt.call.procedure == procedure:
                yield Case(
                    f"the list of mounts of {s.hosts.address(mount.server)} shows {path} for "
                    f"{s.hosts.address(mount.client)}, which {how} {seconds(dump.call.time - umnt.time)} "
                    f"before",
                    [umnt.call.frame, umnt.frame, dump.call.frame, dump.frame],
                    Place(umnt.call.frame, umnt.call.time),
                    Place(dump.frame, dump.time),
                    confidence=DEFINITE if procedure == 4 else PROBABLE,
                    server=mount.server,
                    client=mount.client,
                    export=path,
                )


@rule("rmtab-stale-entry", LOW)
def rmtab_stale_entry(s: Sessions) -> Iterator[Case]:
    """The server's list of mounts shows a client that has left.

    ## What it is
    An answer to DUMP lists a mount whose UMNT was accepted before.

    ## Why it matters
    `showmount -a` misleads whoever wants to take the export away.

    ## What to do
    Stop nfs-mountd, edit /var/lib/nfs/rmtab, start it again.

    ## Evidence
    The UMNT, the DUMP.

    ## When it is a false alarm
    Mounts that are older than the capture count too.
    """
    yield from _stale(s, 3, "unmounted it")


@rule("umntall-ineffective", LOW)
def umntall_ineffective(s: Sessions) -> Iterator[Case]:
    """A client asked to be forgotten, and was not.

    ## What it is
    UMNTALL was accepted, and an answer to DUMP lists a mount of that client all the same, without a new MNT.

    ## Why it matters
    The server's list of mounts shows what is gone.

    ## What to do
    Make the client's address resolve to its name and back: mountd looks for the name, and its list holds
    addresses.

    ## Evidence
    The UMNTALL, the DUMP.

    ## When it is a false alarm
    None is known.
    """
    yield from _stale(s, 4, "asked to be forgotten by UMNTALL")


@rule("mnt-unused", INFO)
def mnt_unused(s: Sessions) -> Iterator[Case]:
    """An export was mounted and never used.

    ## What it is
    An accepted MNT with no NFS call on that export, and no UMNT, for a minute.

    ## Why it matters
    It is a probe, or the NFS traffic takes a path that the capture does not see.

    ## What to do
    If it should be in use, look on the client whether the mount hangs: `findmnt -t nfs`, `rpcinfo -p SERVER`.

    ## Evidence
    The MNT and its answer.

    ## When it is a false alarm
    Probes by monitoring.
    """
    for mount in s.mounts.sessions.values():
        if (
            not mount.mnts
            or mount.calls
            or mount.umnts
            or (mount.client, mount.server, -1) in s.mounts.sessions
        ):
            continue
        mnt = mount.mnts[-1]
        if s.end - mnt.time >= s.settings[UNUSED]:
            yield Case(
                f"{s.hosts.address(mount.client)} mounted {mount.path} and did not use it for "
                f"{seconds(s.end - mnt.time)}",
                [mnt.call.frame, mnt.frame],
                Place(mnt.call.frame, mnt.call.time),
                Place(s.last_frame, s.end),
                confidence=PROBABLE,
                server=mount.server,
                client=mount.client,
                export=mount.path,
            )
