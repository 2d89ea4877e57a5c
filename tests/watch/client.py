"""Clients that mount, lock, contend and leak: `python -m tests.watch.client SERVER EXPORT A B`.

In: a server's address, a path it exports, two addresses of this host. Out: what was done, as JSON lines.

Theory. Calls are encoded and answers decoded by the declarations of `analyzer.protocols` and sent over real
sockets, so a client is a few lines for each step. Each has an address, a portmapper and a lock manager of its
own, for a server calls back whom it let wait. Its name is its address, which needs no resolver.

Never: takes an answer for granted: a step that goes another way than told ends the script.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.portmap import PORTMAP
from analyzer.protocols.rpc import AUTH_SYS_BODY
from analyzer.schema.encode import encode
from analyzer.schema.scalar import decode_one

PATIENCE = 10.0  # seconds
LAST_FRAGMENT = 1 << 31
GRANTED, DENIED, BLOCKED = 0, 1, 3
GRANTED_MSG, GRANTED_RES = 10, 15
NLM4, MOUNT3, NFS3, PORTMAP2 = (NLM, 4), (MOUNT, 3), (NFS, 3), (PORTMAP, 2)

Program = tuple[int, int]
Values = Mapping[str, Any]


class Channel:
    """A TCP connection that carries calls."""

    def __init__(self, source: str, target: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        for port in range(1023, 600, -1):
            try:
                self.socket.bind((source, port))
                break
            except OSError:
                continue
        self.socket.connect(target)

    def call(self, message: bytes) -> bytes:
        """Send a call; its reply."""
        self.socket.sendall(struct.pack(">I", LAST_FRAGMENT | len(message)) + message)
        return record(self.socket)


def record(stream: socket.socket) -> bytes:
    """One RPC record of a single fragment; empty at the end."""
    head = _exactly(stream, 4)
    return _exactly(stream, struct.unpack(">I", head)[0] & ~LAST_FRAGMENT) if head else b""


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data


class Client:
    """One NFSv3 client."""

    def __init__(self, address: str, server: str) -> None:
        self.address, self.server = address, server
        self.granted = threading.Event()
        self._xids = count(int.from_bytes(socket.inet_aton(address), "big") << 4 & 0x7FFFFFFF)
        self._cookies = count(0x1234)
        self._channels: dict[Program, Channel] = {}
        self._ports: dict[Program, int] = {}
        self._serve()

    # -- calling --------------------------------------------------------------------------------

    def call(self, program: Program, procedure: int, args: Values) -> dict[str, Any]:
        """Call the server over TCP; the values of the result."""
        if program not in self._channels:
            self._channels[program] = Channel(self.address, (self.server, self._port(program)))
        reply = self._channels[program].call(self._message(program, procedure, args))
        return _result(program, procedure, reply)

    def _message(self, program: Program, procedure: int, args: Values) -> bytes:
        declared = REGISTRY[program].procedures[procedure]
        body = encode(declared.call, args) if declared.call is not None else b""
        cred = encode(AUTH_SYS_BODY, {"machinename": self.address, "uid": 0})
        head = struct.pack(">6I", next(self._xids), 0, 2, *program, procedure)
        return head + struct.pack(">II", 1, len(cred)) + cred + bytes(8) + body

    def _port(self, program: Program) -> int:
        """Ask the portmapper, over UDP."""
        if program not in self._ports:
            with socket.socket(type=socket.SOCK_DGRAM) as asking:
                asking.settimeout(PATIENCE)
                asking.bind((self.address, 0))
                args = {"prog": program[0], "vers": program[1], "prot": 6}
                asking.sendto(self._message(PORTMAP2, 3, args), (self.server, 111))
                self._ports[program] = int(_result(PORTMAP2, 3, asking.recv(65536))["port"])
        return self._ports[program]

    def hang_up(self, program: Program) -> None:
        """Close a connection."""
        self._channels.pop(program).socket.close()

    # -- MOUNT and NFS --------------------------------------------------------------------------

    def mount(self, path: str) -> bytes:
        """MNT; the root."""
        made = self.call(MOUNT3, 1, {"dirpath": path})
        self.call(NFS3, 19, {"fh": made["fh"]})
        return bytes(made["fh"])

    def umount(self, path: str) -> None:
        """UMNT, and the end of NFS."""
        self.hang_up(NFS3)
        self.call(MOUNT3, 3, {"dirpath": path})

    def create(self, root: bytes, name: str) -> None:
        """CREATE."""
        made = self.call(NFS3, 8, {"dir_fh": root, "name": name, "mode": 0})
        assert made["status"] == 0, made

    def lookup(self, root: bytes, name: str) -> bytes:
        """LOOKUP."""
        found = self.call(NFS3, 3, {"dir_fh": root, "name": name})
        assert found["status"] == 0, found
        return bytes(found["fh"])

    # -- NLM ------------------------------------------------------------------------------------

    def nlm(self, procedure: int, handle: bytes, expected: int, **more: Any) -> None:
        """A lock request about a whole file, and what it must be answered."""
        args = {
            "cookie": struct.pack("<I", next(self._cookies)),
            "caller_name": self.address,
            "fh": handle,
            "oh": f"1@{self.address}".encode(),
            "svid": 1,
            "exclusive": True,
        }
        if procedure == 4:
            del args["exclusive"]
        status = self.call(NLM4, procedure, args | more)["status"]
        assert status == expected, f"{self.address}: {procedure} answered {status}"

    def lock(self, handle: bytes, expected: int = GRANTED, block: bool = False) -> None:
        """LOCK."""
        self.nlm(2, handle, expected, block=block, state=3)

    def unlock(self, handle: bytes) -> None:
        """UNLOCK."""
        self.nlm(4, handle, GRANTED)

    # -- being called ---------------------------------------------------------------------------

    def _serve(self) -> None:
        """A portmapper and a lock manager, for callbacks."""
        for kind, port in (
            (socket.SOCK_STREAM, 111),
            (socket.SOCK_DGRAM, 111),
            (socket.SOCK_STREAM, 4045),
            (socket.SOCK_DGRAM, 4045),
        ):
            served = socket.socket(type=kind)
            served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            served.bind((self.address, port))
            work = self._listen if kind == socket.SOCK_STREAM else self._datagrams
            threading.Thread(target=work, args=(served,), daemon=True).start()

    def _listen(self, served: socket.socket) -> None:
        served.listen()
        while True:
            stream, _ = served.accept()
            threading.Thread(target=self._stream, args=(stream,), daemon=True).start()

    def _stream(self, stream: socket.socket) -> None:
        while message := record(stream):
            reply = self._answer(message)
            stream.sendall(struct.pack(">I", LAST_FRAGMENT | len(reply)) + reply)
            self._after(message)

    def _datagrams(self, served: socket.socket) -> None:
        while True:
            message, sender = served.recvfrom(65536)
            served.sendto(self._answer(message), sender)
            self._after(message)

    def _answer(self, message: bytes) -> bytes:
        """The RPC reply: a port, or nothing."""
        xid, program, version, procedure, _ = _head(message)
        body = b""
        if program == PORTMAP and procedure:
            values: dict[str, Any] = {"port": 4045} if version == 2 else {"addr": f"{self.address}.15.205"}
            reply = REGISTRY[program, version].procedures[procedure].reply
            body = encode(reply, values) if reply is not None else b""
        return struct.pack(">6I", xid, 1, 0, 0, 0, 0) + body

    def _after(self, message: bytes) -> None:
        """A callback is accepted by a call of our own."""
        _, program, version, procedure, at = _head(message)
        if program == NLM and procedure == GRANTED_MSG:
            declared = REGISTRY[program, version].procedures[procedure].call
            assert declared is not None
            cookie = decode_one(declared, message[at:]).values["cookie"]
            self.call(NLM4, GRANTED_RES, {"cookie": cookie, "status": GRANTED})
            self.granted.set()


def _head(message: bytes) -> tuple[int, int, int, int, int]:
    """xid, program, version, procedure of a call, and where its arguments begin."""
    xid, _, _, program, version, procedure, _, cred = struct.unpack_from(">8I", message)
    return xid, program, version, procedure, 32 + cred + -cred % 4 + 8


def _result(program: Program, procedure: int, reply: bytes) -> dict[str, Any]:
    _, is_reply, denied, _, size = struct.unpack_from(">5I", reply)
    assert (is_reply, denied) == (1, 0), reply.hex()
    at = 20 + size
    assert struct.unpack_from(">I", reply, at)[0] == 0, reply.hex()
    declared = REGISTRY[program].procedures[procedure].reply
    return decode_one(declared, reply[at + 4 :]).values if declared is not None else {}


def story(server: str, path: str, first: str, second: str) -> None:
    """What is done, step by step."""
    alice, bob = Client(first, server), Client(second, server)
    root = alice.mount(path)
    assert bob.mount(path) == root
    for name in ("db", "forgotten"):
        alice.create(root, name)
    db, forgotten = alice.lookup(root, "db"), alice.lookup(root, "forgotten")
    bob.lookup(root, "db")
    alice.lock(db)
    bob.lock(db, BLOCKED, block=True)
    time.sleep(0.5)
    alice.unlock(db)
    assert bob.granted.wait(PATIENCE), "no callback came"
    bob.unlock(db)
    _say(step="contended", handle=db.hex())
    alice.lock(forgotten)
    alice.umount(path)
    _say(step="leaked", handle=forgotten.hex(), client=first)
    bob.lock(bob.lookup(root, "forgotten"), DENIED)
    bob.umount(path)
    _say(step="done")


def _say(**what: str) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Play the story."""
    story(*argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
