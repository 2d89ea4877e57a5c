"""The tables that cross the borders of the kernel stages: named tuples of NumPy columns.

    bytes -> Packets -> Segments (+ Controls, Notices) -> Messages

All tables of a border have a fixed capacity and are reused for every block; the stage that
fills one returns how many rows are valid. Positions (`start`, `body`, ...) are offsets into
`memory`, one uint8 array `[arena | block]`: the block part is overwritten by the next read,
the arena (owned by `messages`) keeps what must outlive a block. Frame numbers start at 1 and
count the whole logical capture. Times are ns since the epoch.

Persistent tables (`Hosts`, `Flows`) keep their rows over the whole run.

Never: holds behaviour.
"""

from typing import NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
I16 = NDArray[np.int16]
I8 = NDArray[np.int8]

TCP, UDP = 6, 17

# TCP flags as in the header (RFC 9293 3.1)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Packets(NamedTuple):
    """One row per captured packet of a block."""

    time: I64
    start: I64  # first captured byte, offset into memory
    stop: I64  # one past the last captured byte
    wire: I64  # bytes on the wire
    link: I32  # LINKTYPE_ of the interface it was captured on
    frame: I64
    file: I32  # of several captures the one it is of


class Segments(NamedTuple):
    """One row per TCP segment (with or without payload) or UDP datagram of a block."""

    frame: I64
    time: I64
    flow: I32  # row of Flows
    side: I8  # which endpoint of the flow sent it: 0 or 1
    flags: I16  # TCP flags; -1 for a UDP datagram
    seq: I64  # TCP sequence number, 0..2^32-1
    ack: I64  # TCP acknowledgement number, meaningful with the ACK flag
    start: I64  # first payload byte, offset into memory
    kept: I64  # payload bytes captured
    size: I64  # payload bytes on the wire (by the IP and UDP lengths)


class Controls(NamedTuple):
    """One row per TCP segment with SYN, FIN or RST: the life of connections."""

    frame: I64
    time: I64
    flow: I32
    side: I8  # who sent it
    flags: I16


class Notices(NamedTuple):
    """One row per ICMP/ICMPv6 unreachable message: somebody says a packet could not be delivered."""

    frame: I64
    time: I64
    source: I32  # host that says so
    target: I32  # host it tells
    kind: I16  # ICMP code 0..15 (v4), 100 + code (v6)
    host: I32  # destination host of the quoted packet: who is unreachable
    port: I32  # destination port of the quoted packet, -1 unknown
    transport: I16  # 6 or 17


class Hosts(NamedTuple):
    """One row per IP address, in order of appearance. IPv4 is kept as IPv4-mapped IPv6."""

    high: I64  # first 8 bytes of the 16-byte address, big-endian, as signed
    low: I64  # last 8 bytes
    first_frame: I64
    first_time: I64
    last_frame: I64  # last frame sent by this address
    last_time: I64
    packets: I64  # frames sent by this address


class Flows(NamedTuple):
    """One row per TCP connection (a new SYN with a new ISN on the same ports is a new one) or
    UDP pair of endpoints. Side 0 is the endpoint that sent the first packet seen."""

    host0: I32
    host1: I32
    port0: I32
    port1: I32
    transport: I16
    first_frame: I64
    first_time: I64
    last_frame: I64
    last_time: I64
    isn: I64  # sequence number of the opening SYN, -1 where the start was not captured
    state: I16  # bit set: 1 SYN seen, 2 SYN+ACK seen, 4/8 FIN by side 0/1, 16 RST, 32/64 payload by side 0/1


class Streams(NamedTuple):
    """One row per flow and side (row * 2 + side): what became of its TCP segments. Offsets count
    payload bytes from the SYN, or from the first byte seen where that was not captured."""

    next: I64  # offset of the first byte not yet seen in order
    acked: I64  # highest offset that the other side acknowledged, -1 none seen
    segments: I64  # with payload
    repeated: I64  # of them, those with bytes seen before: retransmissions
    reordered: I64  # of them, those that came ahead of a hole
    gaps: I64  # holes never filled
    gap_bytes: I64


class Repeats(NamedTuple):
    """One row per TCP segment of a block that carries bytes seen before."""

    frame: I64
    time: I64
    flow: I32
    side: I8
    start: I64  # stream offset of its first byte
    end: I64  # one past its last


class Holes(NamedTuple):
    """One row per gap that a block brought to light: bytes that were sent and not captured."""

    frame: I64  # first frame after the hole
    time: I64
    flow: I32
    side: I8
    bytes: I64  # -1 where the connection went on somewhere else altogether


class Messages(NamedTuple):
    """One row per RPC message completed in a block, in the order of completion. All columns are int64:
    views of one matrix (`messages.row`)."""

    frame: I64  # frame in which the message became complete
    first_frame: I64
    time: I64  # of `frame`
    flow: I64
    side: I64
    src: I64  # sending host
    dst: I64
    sport: I64
    dport: I64
    transport: I64
    xid: I64
    reply: I64  # 0 call, 1 reply
    start: I64  # first byte of the RPC message, offset into memory
    kept: I64  # contiguous bytes available from there
    size: I64  # bytes of the whole message (without record marks)
    stream_end: I64  # TCP: stream offset just past the message, comparable with Streams.acked; UDP: -1
    damage: I64  # bit set: 1 captured only in part, 2 bytes lost in a TCP gap, 4 kept at its head only
    call: I64  # call: its serial number (every copy counts, from 0); reply: that of its call, -1 orphan
    retransmit_of: I64  # call: serial number of the first copy, -1 if this is the first; reply: -1
    program: I64  # reply: as of its call; -1 unknown
    version: I64
    procedure: I64
    rpcvers: I64  # of the call
    flavor: I64  # credential flavor of the call (RFC 5531); reply: flavor of the verifier
    cred: I64  # call: first byte of the credential body, offset into memory; reply: -1
    cred_size: I64
    gss: I64  # RPCSEC_GSS: 0 not GSS, 1 plain (DATA/none), 2 integrity, 3 privacy, 4 INIT/CONTINUE/DESTROY
    status: I64  # reply: 0 SUCCESS, 1..5 accept_stat, 10 RPC_MISMATCH, 20 + auth_stat; -1 call, unreadable
    low: I64  # reply: low and high of PROG_MISMATCH or RPC_MISMATCH, else -1
    high: I64
    body: I64  # first byte of the arguments or results, offset into memory
    body_kept: I64  # bytes of it available
    body_size: I64  # bytes of it on the wire
    call_frame: I64  # reply: frame and time of its call, -1 orphan
    call_time: I64
    call_body: I64  # reply: the call's argument bytes where they are kept, else -1
    call_body_kept: I64


T = TypeVar("T", bound=NamedTuple)


def new_table(kind: type[T], capacity: int) -> T:
    """A table of `capacity` zeroed rows."""
    return kind._make(np.zeros(capacity, dtype_of(hint)) for hint in kind.__annotations__.values())


def dtype_of(hint: object) -> "np.dtype[np.generic]":
    """The NumPy dtype that a column's annotation names."""
    scalar: type[np.generic] = get_args(get_args(hint)[1])[0]
    return np.dtype(scalar)


def grown(table: T, capacity: int) -> T:
    """A copy of `table` with room for `capacity` rows."""
    bigger = new_table(type(table), capacity)
    for old, new in zip(table, bigger, strict=True):
        new[: len(old)] = old
    return bigger


def first_rows(table: T, count: int) -> T:
    """The first `count` rows of a table, as views."""
    return type(table)(*(column[:count] for column in table))
