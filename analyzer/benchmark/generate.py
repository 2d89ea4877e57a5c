"""The captures of the benchmark: small calls, large ones, and locks.

In: how many packets, bytes or lock requests. Out: a pcap file, the same byte for byte every time.

Theory. Eight clients look up the ports, mount an export and work on it. `metadata` is the
load that costs most per byte, GETATTR, LOOKUP and ACCESS, with one call in fifty to the lock
manager; `bulk` is READ and WRITE of 64 KiB, with a lock or unlock per thousand packets;
`locks` is LOCK and UNLOCK of fifty clients, with five other calls to two hundred of them. At
the end all is unlocked and unmounted: there is nothing to find, only to read.

Only `random()` and `getrandbits()` are drawn: their sequences do not depend on the version
of Python.

Never: reads a clock.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analyzer.benchmark.wire import CaptureFile, Connection, Datagrams

CLIENTS, LOCKING = 8, 50
PORTS = 9  # of clients: one more than `CLIENTS`, which count from 1
FILES = 1000  # the first is the root of the export,
DIRECTORIES = 50  # so many are directories in it, the others files in these
BLOCK = 65536

_PORTMAP, _NFS, _MOUNT, _NLM = (100000, 2), (100003, 3), (100005, 3), (100021, 4)
_NFS_PORT, _MOUNT_PORT, _NLM_PORT = 2049, 20048, 40001
# Client ports start here: reserved ones, as of a kernel, of which Wireshark claims none for
# another protocol (it takes 802 for TLS, and then the RPC on it is not counted).
_NFS_FROM, _NLM_FROM, _PORTMAP_FROM, _MNT_FROM, _UMNT_FROM = 930, 940, 950, 960, 970
_EXPORT = b"/export/data"

_U32 = struct.Struct("!I").pack
_U64 = struct.Struct("!Q").pack
_CALL = struct.Struct("!6I").pack
_ACCEPTED = struct.Struct("!6I").pack
_FATTR = struct.Struct("!5I2Q2IQQ6I").pack
_NO_CREDENTIALS = bytes(16)


def metadata(path: Path, packets: int) -> None:
    """Small NFS calls over eight connections, 2 % of the calls to the lock manager."""
    with _capture(path, step=20) as capture:
        load = _Load(capture)
        while capture.packets + load.closing() + 2 <= packets:
            if load.draw(50) == 0:
                load.lock_or_unlock()
            else:
                load.small_call()
        load.end()


def bulk(path: Path, size: int) -> None:
    """READ and WRITE of 64 KiB up to about `size` bytes, 0.1 % of the packets NLM."""
    with _capture(path, step=5) as capture:
        load = _Load(capture)
        blocks = [load.noise(BLOCK) for _ in range(16)]
        locking = 0
        while capture.size < size:
            if locking * 1000 < capture.packets:
                load.lock_or_unlock()
                locking += 2
            load.large_call(blocks)
        load.end()


def locks(path: Path, requests: int) -> None:
    """So many LOCK and UNLOCK of fifty clients, ten thousand a second."""
    with _capture(path, step=50) as capture:
        load = _Load(capture, LOCKING)
        for number in range(requests):
            if number % 200 == 0:
                for _ in range(5):
                    load.small_call()
            load.lock_or_unlock()
        load.end()


@contextmanager
def _capture(path: Path, step: int) -> Iterator[CaptureFile]:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb", buffering=1 << 20) as stream:
        yield CaptureFile(stream, step)
    partial.replace(path)


def _opaque(data: bytes) -> bytes:
    return _U32(len(data)) + data + bytes(-len(data) % 4)


def _credentials(client: int) -> bytes:
    """AUTH_SYS of one client (RFC 5531 8.2), and no verifier."""
    body = _U32(client) + _opaque(_name(client)) + struct.pack("!6I", 1000, 1000, 3, 10, 100, 1000)
    return _U32(1) + _opaque(body) + bytes(8)


def _name(client: int) -> bytes:
    return b"client%02d" % client


def _attributes(number: int) -> bytes:
    """fattr3 of a regular file (RFC 1813 2.6)."""
    size, time = 4096 * number, 1_699_000_000 + number
    kind, mode = (2, 0o755) if number < DIRECTORIES else (1, 0o644)
    return _FATTR(kind, mode, 1, 1000, 1000, size, size, 0, 0, 1, 1000 + number, time, 0, time, 0, time, 0)


def _handle(file_system: bytes, number: int) -> bytes:
    """A handle as Linux makes them: head, file system, and but for the root inode and generation."""
    if number == 0:
        return b"\1\0\6\0" + file_system
    return b"\1\0\6\1" + file_system + struct.pack("<2I", 1000 + number, 1_699_000_000 + number)


class _Load:
    """Clients at work on one server."""

    def __init__(self, capture: CaptureFile, clients: int = CLIENTS) -> None:
        self._capture = capture
        self._clients = clients
        self._random = random.Random(1813)
        self._xid = 0x10000000
        file_system = self.noise(16)
        self._handles = [_opaque(_handle(file_system, number)) for number in range(FILES)]
        self._attributes = [_attributes(number) for number in range(FILES)]
        self._credentials = [_credentials(client) for client in range(clients + 1)]
        self._locks: list[tuple[int, bytes]] = []
        self._locked = 0
        for client in range(1, clients + 1):
            self._look_up_ports(client)
            mounted = _U32(0) + self._handles[0] + _U32(1) + _U32(1)
            self._mount(client, _MNT_FROM, 1, mounted)
        self._nfs = self._connections(_NFS_FROM, _NFS_PORT)
        self._nlm = self._connections(_NLM_FROM, _NLM_PORT)

    def _connections(self, port: int, server_port: int) -> list[Connection]:
        return [
            Connection(
                self._capture, client, port + client % PORTS, server_port, self._random.getrandbits(32)
            )
            for client in range(1, self._clients + 1)
        ]

    def draw(self, below: int) -> int:
        """A random number from 0 up to but not including `below`."""
        return int(self._random.random() * below)

    def noise(self, count: int) -> bytes:
        """Random bytes."""
        return self._random.getrandbits(8 * count).to_bytes(count, "little")

    def _exchange(
        self,
        link: Connection | Datagrams,
        client: int,
        program: tuple[int, int],
        procedure: int,
        arguments: bytes,
        results: bytes,
    ) -> None:
        self._xid = (self._xid + 1) & 0xFFFFFFFF
        credentials = _NO_CREDENTIALS if program is _PORTMAP else self._credentials[client]
        link.send(0, _CALL(self._xid, 0, 2, *program, procedure) + credentials + arguments)
        link.send(1, _ACCEPTED(self._xid, 1, 0, 0, 0, 0) + results)

    def _look_up_ports(self, client: int) -> None:
        link = Datagrams(self._capture, client, _PORTMAP_FROM + client % PORTS, 111)
        for program, port in ((_MOUNT, _MOUNT_PORT), (_NFS, _NFS_PORT), (_NLM, _NLM_PORT)):
            asked = struct.pack("!4I", *program, 6, 0)
            self._exchange(link, client, _PORTMAP, 3, asked, _U32(port))

    def _mount(self, client: int, port: int, procedure: int, results: bytes) -> None:
        isn = self._random.getrandbits(32)
        link = Connection(self._capture, client, port + client % PORTS, _MOUNT_PORT, isn)
        self._exchange(link, client, _MOUNT, procedure, _opaque(_EXPORT), results)
        link.close()

    def small_call(self) -> None:
        """GETATTR in half of the cases, else LOOKUP or ACCESS."""
        kind, client, number = self.draw(4), self.draw(self._clients), self.draw(FILES)
        handle, attributes = self._handles[number], self._attributes[number]
        if kind < 2:
            procedure, arguments, results = 1, handle, _U32(0) + attributes
        elif kind == 2:
            number = number or 1  # the root has no name
            parent = number % DIRECTORIES if number >= DIRECTORIES else 0
            procedure, arguments = 3, self._handles[parent] + _opaque(b"entry%05d.dat" % number)
            found = _U32(0) + self._handles[number] + _U32(1) + self._attributes[number]
            results = found + _U32(1) + self._attributes[parent]
        else:
            procedure, arguments = 4, handle + _U32(0x1F)
            results = _U32(0) + _U32(1) + attributes + _U32(0x1F)
        self._exchange(self._nfs[client], client + 1, _NFS, procedure, arguments, results)

    def large_call(self, blocks: list[bytes]) -> None:
        """READ or WRITE of one block."""
        client, number, block = self.draw(self._clients), self.draw(FILES), blocks[self.draw(len(blocks))]
        place = self._handles[number] + _U64(self.draw(1 << 14) * BLOCK) + _U32(BLOCK)
        attributes = self._attributes[number]
        if self.draw(2):
            procedure, arguments = 6, place
            results = b"".join((_U32(0), _U32(1), attributes, _U32(BLOCK), _U32(0), _U32(BLOCK), block))
        else:
            procedure, arguments = 7, place + _U32(0) + _U32(BLOCK) + block
            results = b"".join((bytes(8), _U32(1), attributes, _U32(BLOCK), _U32(0), b"verifier"))
        self._exchange(self._nfs[client], client + 1, _NFS, procedure, arguments, results)

    def lock_or_unlock(self) -> None:
        """LOCK a range that nobody else asks for, or UNLOCK one that is held."""
        if len(self._locks) >= self._clients and self.draw(2):
            self._unlock(self._locks.pop(self.draw(len(self._locks))))
            return
        client = self.draw(self._clients)
        self._locked += 1
        owner = _opaque(b"%d@%s" % (self._locked, _name(client + 1)))
        lock = (
            _opaque(_name(client + 1))
            + self._handles[1 + self._locked % (FILES - 1)]
            + owner
            + _U32(self._locked)
            + _U64(4096 * self._locked)
            + _U64(4096)
        )
        cookie = _opaque(_U32(self._locked))
        asked = cookie + _U32(0) + _U32(1) + lock + _U32(0) + _U32(1)
        self._exchange(self._nlm[client], client + 1, _NLM, 2, asked, cookie + _U32(0))
        self._locks.append((client, lock))

    def _unlock(self, held: tuple[int, bytes]) -> None:
        client, lock = held
        cookie = _opaque(_U32(0x80000000 + self._xid))
        self._exchange(self._nlm[client], client + 1, _NLM, 4, cookie + lock, cookie + _U32(0))

    def closing(self) -> int:
        """How many packets `end` will write."""
        return 2 * len(self._locks) + self._clients * (3 + 3 + 8)

    def end(self) -> None:
        """Release every lock, unmount everywhere, close every connection."""
        for held in self._locks:
            self._unlock(held)
        for client in range(1, self._clients + 1):
            self._mount(client, _UMNT_FROM, 3, b"")
        for link in self._nfs + self._nlm:
            link.close()
