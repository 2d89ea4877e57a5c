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

from analyzer.findings.departures import Departure, departure, stayed_away
from analyzer.findings.rule import DEFINITE, INFO, LOW, POSSIBLE, PROBABLE, Case, Watch, rule, seconds
from analyzer.parameters import threshold, window
from analyzer.protocols.nfs3 import NFS
from analyzer.records.events import Call, Reply
from analyzer.sessions.handles import printable
from analyzer.sessions.hosts import fold
from analyzer.sessions.model import Place
from analyzer.sessions.mounts import Mount
from analyzer.sessions.servers import LINUX
from analyzer.sessions.world import Sessions
from analyzer.tables import UDP

IMBALANCE = threshold(
    "mount-imbalance", 3, "mounts", "MNTs without UMNT: one may be in use, one may be a repetition"
)
BEFORE_DUMP = window("umnt-before-dump", 1, "a DUMP that crosses a UMNT may still list its mount")
ABSENCE = window("rmtab-absence", 3600, "a mount that is used, or looked at by df, is so within an hour")
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
                watched=[Watch(call, s.start, call.time)],
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


class Books:
    """The hosts that an answer to DUMP may speak of, by each of their names."""

    def __init__(self, s: Sessions) -> None:
        self.by_name: dict[bytes, set[int]] = {}
        self.mounts: dict[tuple[int, int], list[Mount]] = {}
        for host, names in s.hosts.names.items():
            for name in (s.hosts.address(host).encode(), *names):
                self.by_name.setdefault(fold(name), set()).add(host)
        for mount in s.mounts.sessions.values():
            self.mounts.setdefault((mount.client, mount.server), []).append(mount)
            self.by_name.setdefault(s.hosts.address(mount.client).encode(), set()).add(mount.client)

    def entries(self, dump: Reply) -> Iterator[tuple[set[int], str]]:
        """The hosts that each entry means, with the path."""
        for entry in dump.result.get("mounts", ())[:ENTRIES]:
            hosts = self.by_name.get(fold(entry.get("hostname", b"")))
            if hosts:
                yield hosts, printable(entry.get("dirpath", b""))

    def listed(self, dump: Reply) -> Iterator[tuple[Mount, str]]:
        """The mount sessions that it lists, with the path."""
        for hosts, path in self.entries(dump):
            for host in sorted(hosts):
                for mount in self.mounts.get((host, dump.call.dst), ()):
                    if mount.mnts and path in mount.paths:
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


def _stale(s: Sessions, books: Books, procedure: int, how: str) -> Iterator[Case]:
    for dump in s.mounts.dumps[:CANDIDATES]:
        for mount, path in books.listed(dump):
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
                    watched=[Watch(umnt.call, umnt.call.time, dump.time)],
                    untraced=procedure == 4 and umnt.call.transport == UDP,  # a MNT may be missing
                    server=mount.server,
                    client=mount.client,
                    export=path,
                )


@rule("rmtab-stale-entry", LOW)
def rmtab_stale_entry(s: Sessions) -> Iterator[Case]:
    """The server's list of mounts shows a client that has left.

    ## What it is
    An answer to DUMP lists a mount whose UMNT was accepted before. Less sure: one whose client vanished
    before (see `mount-without-release`), or one of a host that was seen, but made no NFS call to that server
    in the whole capture, an hour or more.

    ## Why it matters
    `showmount -a` misleads whoever wants to take the export away.

    ## What to do
    Stop nfs-mountd, edit /var/lib/nfs/rmtab, start it again.

    ## Evidence
    The UMNT, or how the client vanished, or its last frame; the DUMP.

    ## When it is a false alarm
    Mounts that are older than the capture count too. A mount may be idle for hours, or in use over a path
    that the capture does not see. Ganesha's list is always empty.
    """
    if s.mounts.dumps:
        books = Books(s)
        yield from _stale(s, books, 3, "unmounted it")
        yield from _vanished(s, books)
        yield from _absent(s, books)


def _vanished(s: Sessions, books: Books) -> Iterator[Case]:
    """Entries of clients that went without a word."""
    known: dict[int, Departure | None] = {}
    for dump in s.mounts.dumps[:CANDIDATES]:
        for mount, path in books.listed(dump):
            if mount.count and id(mount) not in known:
                known[id(mount)] = departure(s, mount)
            gone = known.get(id(mount))
            until = dump.call.time - s.settings[BEFORE_DUMP]
            if gone is not None and gone.place.time < until and stayed_away(mount, gone):
                how = f"which left without UMNT (frame {gone.place.frame})"
                yield _entry(s, dump, mount.client, path, how, gone.frames, mount)


def _absent(s: Sessions, books: Books) -> Iterator[Case]:
    """Entries of hosts that are there, but do not use the server."""
    served = {mount.server for mount in s.mounts.sessions.values() if mount.calls}
    if any(program == NFS and version == 2 for program, version, _ in s.counts):
        return  # calls of NFSv2 are not followed
    for dump in s.mounts.dumps[:CANDIDATES]:
        server, length = dump.call.dst, dump.call.time - s.start
        if server not in served or length < s.settings[ABSENCE]:
            continue
        for hosts, path in books.entries(dump):
            host = min(hosts)
            if server in hosts or len(hosts) > 1 or (host, server) in books.mounts:
                continue
            seen = s.hosts.last_seen(host)[0]
            how = f"which made no NFS call to it in {seconds(s.end - s.start)} of capture"
            if seen:
                yield _entry(s, dump, host, path, how, [seen])


def _entry(
    s: Sessions, dump: Reply, client: int, path: str, why: str, frames: list[int], cause: object = None
) -> Case:
    """An entry of the list that is probably nobody's any more."""
    return Case(
        f"the list of mounts of {s.hosts.address(dump.call.dst)} shows {path} for {s.hosts.address(client)}, "
        f"{why}",
        [*frames, dump.call.frame, dump.frame],
        Place(dump.call.frame, dump.call.time),
        Place(dump.frame, dump.time),
        confidence=POSSIBLE,
        server=dump.call.dst,
        client=client,
        export=path,
        cause=cause,
    )


@rule("umntall-ineffective", LOW)
def umntall_ineffective(s: Sessions) -> Iterator[Case]:
    """A client asked to be forgotten, and was not.

    ## What it is
    UMNTALL was accepted, and an answer to DUMP lists a mount of that client all the same, without a new MNT.
    As a fact (info): UMNTALL was accepted by a Linux server, whose mountd takes nothing off its list for it,
    and no DUMP shows what became of it.

    ## Why it matters
    The server's list of mounts shows what is gone.

    ## What to do
    Make the client's address resolve to its name and back: mountd looks for the name, and its list holds
    addresses.

    ## Evidence
    The UMNTALL, the DUMP.

    ## When it is a false alarm
    A server is taken for Linux by its file handles; its mountd may be another one.
    """
    if not s.mounts.umntalls:
        return
    yield from _stale(s, Books(s), 4, "asked to be forgotten by UMNTALL")
    linux = _linux_servers(s)
    for reply in s.mounts.umntalls:
        call = reply.call
        shown = any(dump.call.dst == call.dst and dump.time > reply.time for dump in s.mounts.dumps)
        if call.dst in linux and not shown:
            yield Case(
                f"{s.hosts.address(call.src)} asked {s.hosts.address(call.dst)} by UMNTALL to forget all its "
                f"mounts; mountd of Linux looks for a host name in a list of addresses, and forgets none",
                [call.frame, reply.frame],
                Place(call.frame, call.time),
                confidence=PROBABLE,
                severity=INFO,
                server=call.dst,
                client=call.src,
            )


def _linux_servers(s: Sessions) -> set[int]:
    """The servers whose exports have handles of Linux, or that the user says are."""
    return {
        export.server
        for export in s.handles.exports
        for root in export.roots
        if s.servers.model(root) is LINUX
    }


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
