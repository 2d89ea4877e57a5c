"""What a portmapper has registered: the DUMP that `rpcinfo -p` makes.

In: a host. Out: ports and programs.

Theory. Version 2 (RFC 1833 3) knows all that can be said of ports, and everybody answers it, over UDP on port
111. So a lock server tells its ports before the first packet of theirs is seen.

Never: asks a host that the user did not name.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from analyzer.errors import AnalyzerError
from analyzer.protocols.portmap import PORTMAP, PORTMAP2
from analyzer.schema.scalar import decode_one
from analyzer.watch.ports import services

ADDRESS = 111
DUMP = PORTMAP2.procedures[4]
TRIES, PATIENCE = 3, 1.0  # seconds for each
MOST = 65535
CALL, RPC_VERSION = 0, 2
REPLY, ACCEPTED, SUCCESS = 1, 0, 0


def registered(host: str) -> Iterator[tuple[int, int]]:
    """Port and program of each service of a host."""
    xid = int.from_bytes(os.urandom(4), "big")
    try:
        reply = _asked(host, struct.pack(">10I", xid, CALL, RPC_VERSION, PORTMAP, 2, DUMP.number, 0, 0, 0, 0))
    except OSError as error:
        raise AnalyzerError(f"--ask {host}: no portmapper answers: {error.strerror or error}") from None
    assert DUMP.reply is not None
    return services(decode_one(DUMP.reply, _body(host, xid, reply)).values)


def _asked(host: str, call: bytes) -> bytes:
    family, kind, protocol, _, address = socket.getaddrinfo(host, ADDRESS, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(address)
        for _ in range(TRIES):
            asking.send(call)
            with suppress(TimeoutError):
                return asking.recv(MOST)
    raise TimeoutError("timed out")


def _body(host: str, xid: int, reply: bytes) -> bytes:
    """The results in an RPC reply (RFC 5531 9)."""
    if len(reply) >= 24:
        answered, kind, status, _, size = struct.unpack_from(">5I", reply)
        body = 24 + size + -size % 4
        if (answered, kind, status) == (xid, REPLY, ACCEPTED) and len(reply) >= body:
            if struct.unpack_from(">I", reply, body - 4)[0] == SUCCESS:
                return reply[body:]
    raise AnalyzerError(f"--ask {host}: the portmapper gives no list of services")
