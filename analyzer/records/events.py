"""What the record stage hands to the sessions: calls, replies and what else happened, in order.

In: nothing (definitions). Out: small slotted objects.

Theory. NFS traffic stays in columns: a capture holds millions of NFS calls and their meaning for
locks and mounts is a handful of columns (`Activity`). What is rare and full of meaning becomes an
object: every NLM, NSM, MOUNT and portmap message, connections opening and closing, names given to
file handles, writes into locked files.

Hosts and file handles are row numbers of the host and handle tables. Times are ns since the epoch.

Never: interprets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzer.tables import I32, I64


@dataclass(slots=True, eq=False)
class Call:
    """One RPC call as sent: a retransmitted copy is a call of its own."""

    serial: int
    frame: int
    time: int
    src: int
    dst: int
    sport: int
    dport: int
    transport: int
    flow: int
    side: int
    stream_end: int
    xid: int
    flavor: int
    damage: int
    retransmit_of: int
    program: int
    version: int
    procedure: int
    args: dict[str, Any]
    fault: int = -1
    fh: int = -1
    uid: int | None = None
    machine: bytes | None = None


@dataclass(slots=True, eq=False)
class Reply:
    """One RPC reply. `status` is that of RPC: 0 SUCCESS, 1..5 accept_stat, 10 RPC_MISMATCH,
    20 + auth_stat for AUTH_ERROR."""

    frame: int
    time: int
    status: int
    damage: int
    low: int
    high: int
    call: Call
    result: dict[str, Any]
    fault: int = -1
    fh: int = -1


@dataclass(slots=True, eq=False)
class Control:
    """A TCP segment with SYN, FIN or RST."""

    frame: int
    time: int
    flow: int
    side: int
    flags: int
    src: int
    dst: int
    sport: int
    dport: int


@dataclass(slots=True, eq=False)
class Unreachable:
    """ICMP says that `host` (port `port`, -1 unknown) cannot be reached by `target`."""

    frame: int
    time: int
    source: int
    target: int
    kind: int
    host: int
    port: int
    transport: int


@dataclass(slots=True, eq=False)
class Naming:
    """A directory entry became known (`fh` >= 0) or went away (`fh` < 0)."""

    frame: int
    time: int
    client: int
    server: int
    directory: int
    name: bytes
    fh: int
    created: bool = False


@dataclass(slots=True, eq=False)
class Renaming:
    """A directory entry was moved (RENAME, RFC 1813 3.3.14)."""

    frame: int
    time: int
    client: int
    server: int
    directory: int
    name: bytes
    to_directory: int
    to_name: bytes


@dataclass(slots=True, eq=False)
class Io:
    """A WRITE, or SETATTR of the size, by one client to a file on which another one locks."""

    frame: int
    time: int
    client: int
    server: int
    fh: int
    kind: str
    offset: int
    count: int
    serial: int  # of the call


class Done(NamedTuple):
    """The answer to the call of an `Io`: `status` is that of NFS."""

    frame: int
    time: int
    serial: int
    status: int


class Stale(NamedTuple):
    """NFS answered NFS3ERR_STALE for a file that carries locks."""

    frame: int
    time: int
    client: int
    server: int
    fh: int


@dataclass(slots=True, eq=False)
class Resent:
    """NFS calls of a block that a client sent to a server once more."""

    frame: int
    time: int
    client: int
    server: int
    frames: list[int]  # of the copies
    waited: list[int]  # since the call that each is a copy of, ns; at least that if it is long ago


@dataclass(slots=True, eq=False)
class Verifier:
    """A WRITE or COMMIT verifier that differs from the server's last one (RFC 1813 3.3.7)."""

    frame: int
    time: int
    server: int
    before: bytes
    after: bytes


class Repeat(NamedTuple):
    """A TCP segment that carried bytes already seen: `start`..`end` of its stream."""

    frame: int
    time: int
    flow: int
    side: int
    start: int
    end: int


class Hole(NamedTuple):
    """Bytes of a TCP stream that were never captured; over UDP a call that was not, `size` -1."""

    frame: int
    time: int
    flow: int
    side: int
    size: int


class Activity(NamedTuple):
    """NFSv3 calls of a block: one row each, in capture order."""

    frame: I64
    time: I64
    client: I64
    server: I64
    flow: I64
    fh: I32  # handle row, -1 none
    procedure: I64


Event = (
    Call
    | Reply
    | Control
    | Unreachable
    | Naming
    | Renaming
    | Io
    | Done
    | Stale
    | Resent
    | Verifier
    | Repeat
    | Hole
)
