"""Hosts that mount, lock and reboot by script: captures that read as transcripts.

In: a script. Out: a capture (`World.write`), or what lockscope makes of it (`World.analyze`).

Theory. Messages are encoded from the declarations of `analyzer.protocols`, with AUTH_SYS as Linux sends it,
in record marking over TCP connections of `tests.network`, or over UDP. The default picture is Linux: NLM 4
over TCP, knfsd handles, cookies that count from 0x1234, `svid@host` as owner, GRANTED_MSG with void replies.
Every request returns its `Exchange`; one made with `reply=None` is answered later, or never. A request that
cannot reach its server is sent again by TCP and gets no answer.

Never: reads captures; takes anything from the code under test but its declarations.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.protocols.portmap import PORTMAP
from analyzer.protocols.rpc import AUTH_SYS_BODY
from analyzer.schema.encode import encode
from analyzer.schema.xdr import VOID
from tests.network import Network, Packet

NFSD, MOUNTD, RPCBIND, STATD, LOCKD = 2049, 20048, 111, 662, 4045
STATUSES = {
    name: number
    for number, name in enumerate(
        ("GRANTED", "DENIED", "NOLOCKS", "BLOCKED", "GRACE", "DEADLCK", "ROFS", "STALE_FH", "FBIG", "FAILED")
    )
}
AUTH_ERROR = 20
MISMATCH = 2
PATIENCE = 0.002  # seconds; no client sends a call again sooner
MSG = range(6, 11)  # asynchronous requests
Values = Mapping[str, Any]
EMPTY: Values = MappingProxyType({})  # a reply without columns


@dataclass(eq=False)
class Exchange:
    """A call, its copies, and the replies to it."""

    world: World
    source: Host
    target: Host
    program: tuple[int, int]
    procedure: int
    args: dict[str, Any]
    port: int
    sport: int
    transport: str
    message: bytes = b""
    ends: list[Any] = field(default_factory=list)  # connection or pair of UDP ends, one per copy
    calls: list[Packet] = field(default_factory=list)
    replies: list[Packet] = field(default_factory=list)

    @property
    def frame(self) -> int:
        """The first copy's frame."""
        return self.calls[0].frame

    @property
    def reply_frame(self) -> int:
        """The first reply's frame."""
        return self.replies[0].frame

    @property
    def frames(self) -> set[int]:
        """Frames of all copies and replies."""
        return {p.frame for p in self.calls + self.replies}

    @property
    def arrived(self) -> bool:
        """Whether the last copy reached its target."""
        source, target = (self.source.address, self.sport), (self.target.address, self.port)
        return bool(self.calls) and self.world.arrives(source, target)

    def again(self, captured: bool = True) -> Exchange:
        """Another copy: same xid, on a new connection where the old one is gone."""
        source, target = self.source.address, self.target.address
        if self.transport == "udp":
            if self.calls:
                self.world.wait(PATIENCE)
            self.sport = self.sport or 800
            self.ends.append(None)
            packet = self.world.datagram((source, self.sport), (target, self.port), self.message, captured)
            self.calls.append(packet)
            return self
        connection = self.world.connection(source, target, self.port, self.sport)
        if connection is not None:
            self.sport = connection.ends[0][1]
            self.ends.append(connection)
            self.calls.append(connection.send(0, _record(self.message), captured))
        return self

    def answer(
        self, result: Values | str | None = None, error: int = 0, copy: int = -1, captured: bool = True
    ) -> Exchange:
        """The reply to a copy: columns of the result, or an RPC status that is not SUCCESS."""
        values = _columns(result)
        if self._has_cookie:
            values.setdefault("cookie", self.args.get("cookie", b""))
        self.void(values, error, copy, captured)
        return self

    @property
    def _has_cookie(self) -> bool:
        return self.program[0] == NLM and self.procedure in (1, 2, 3, 4, 5, 20, 21, 22)

    def void(self, values: Values, error: int = 0, copy: int = -1, captured: bool = True) -> None:
        """The bare RPC reply."""
        body = (
            b"" if error else encode(REGISTRY[self.program].procedures[self.procedure].reply or VOID, values)
        )
        message = self.message[:4] + _reply_head(error) + body
        connection = self.ends[copy]
        if connection is None:
            ends = (self.target.address, self.port), (self.source.address, self.sport)
            self.replies.append(self.world.datagram(*ends, message, captured))
        else:
            self.replies.append(connection.send(1, _record(message), captured))


@dataclass(eq=False)
class Request(Exchange):
    """An NLM request; an asynchronous one is answered by a call the other way."""

    result: Exchange | None = None  # the _RES call

    @property
    def frames(self) -> set[int]:
        """Frames of all copies and of the answers that say something: a void reply does not."""
        said = self.replies if self.procedure not in MSG else self.result.calls if self.result else []
        return {p.frame for p in self.calls + said}

    def answer(
        self,
        result: Values | str | None = None,
        error: int = 0,
        copy: int = -1,
        captured: bool = True,
        void: bool = True,
        cookie: bytes | None = None,
    ) -> Exchange:
        """The answer, whichever way it goes; `void` is the empty RPC reply to a _MSG call and to its _RES."""
        if self.procedure not in MSG or error:
            return super().answer(result, error, copy, captured)
        if void:
            self.void({}, 0, copy)
        values = _columns(result)
        values.setdefault("cookie", self.args["cookie"] if cookie is None else cookie)
        self.result = self.target.call(
            self.source,
            self.program,
            self.procedure + 5,
            values,
            port=self.source.lockd,
            transport=self.transport,
            reply={} if void else None,
            captured=captured,
        )
        return self


@dataclass(eq=False)
class File:
    """A file on a server."""

    export: Export
    name: str
    handle: bytes
    fileid: int
    links: int = 1

    @property
    def server(self) -> Host:
        """Where it lies."""
        return self.export.server

    @property
    def path(self) -> str:
        """Absolute path on the server."""
        return f"{self.export.path}/{self.name}" if self.name else self.export.path


class Export:
    """A directory that a server exports, and the files in it."""

    def __init__(self, server: Host, path: str, number: int) -> None:
        self.server, self.path, self.number = server, path, number
        self.files: dict[str, File] = {}
        self.root = self.file("")

    def file(self, name: str) -> File:
        """The file of this name; no packet."""
        if name not in self.files:
            fileid = 100 * self.number + len(self.files)
            self.files[name] = File(self, name, self._handle(name, fileid), fileid)
        return self.files[name]

    def _handle(self, name: str, fileid: int) -> bytes:
        digest = hashlib.sha256(f"{self.server.name}{self.path}".encode()).digest()
        if self.server.handles == "linux":
            return (
                bytes((1, 0, 6, bool(name))) + digest[:16] + (struct.pack("<II", fileid, 7) if name else b"")
            )
        if self.server.handles == "ganesha":
            return bytes((0x43, 0, 0, self.number, 20)) + struct.pack(">QQI", self.number, fileid, 7)
        return b"\xee" + hashlib.sha256(digest + name.encode()).digest()[:31]


class Host:
    """A host: what it calls itself, how its lock manager speaks, and what it does."""

    def __init__(self, world: World, name: str, address: str, **kind: Any) -> None:
        self.world, self.name, self.address = world, name, address
        self.transport: str = kind.pop("transport", "tcp")
        self.version: int = kind.pop("version", 4)  # of NLM
        self.handles: str = kind.pop("handles", "linux")  # linux, ganesha, opaque
        self.lockd: int = kind.pop("lockd", LOCKD)
        assert not kind, f"no such traits: {kind}"
        self.exports: dict[str, Export] = {}
        self._xid = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") & 0x3FFFFFFF
        self._cookie = 0x1234

    # -- RPC ------------------------------------------------------------------------------------

    def call(
        self,
        target: Host,
        program: tuple[int, int],
        procedure: int,
        args: Values,
        *,
        port: int,
        sport: int = 0,
        transport: str | None = None,
        reply: Values | str | None = None,
        error: int = 0,
        captured: bool = True,
        reply_captured: bool = True,
        body: bytes | None = None,
        flavor: int = 1,
        kind: type[Exchange] = Exchange,
    ) -> Any:
        """Send a call; answer it at once with `reply` or `error` if it arrives and either is given."""
        self._xid += 1
        declared = REGISTRY[program].procedures.get(procedure) if program in REGISTRY else None
        if body is None:
            body = encode(declared.call, args) if declared and declared.call is not None else b""
        transport = transport or self.transport
        if not sport and transport == "udp":
            sport = 800 + program[0] % 100
        exchange = kind(self.world, self, target, program, procedure, dict(args), port, sport, transport)
        exchange.message = self._head(program, procedure, flavor) + body
        exchange.again(captured)
        if (reply is not None or error) and exchange.arrived:
            exchange.answer(reply, error, captured=reply_captured)
        return exchange

    def _head(self, program: tuple[int, int], procedure: int, flavor: int) -> bytes:
        cred = b"" if not flavor else encode(AUTH_SYS_BODY, {"machinename": self.name, "uid": 0})
        head = struct.pack(">6I", self._xid & 0xFFFFFFFF, 0, 2, *program, procedure)
        return head + struct.pack(">II", flavor, len(cred)) + cred + bytes(8)

    def ping(self, target: Host, program: tuple[int, int], port: int, error: int = 0, **how: Any) -> Exchange:
        """NULL."""
        return self.call(target, program, 0, {}, port=port, reply={}, error=error, **how)

    # -- MOUNT and portmap ----------------------------------------------------------------------

    def export(self, path: str) -> Export:
        """A directory this host exports; no packet."""
        if path not in self.exports:
            self.exports[path] = Export(self, path, len(self.exports) + 1)
        return self.exports[path]

    def mount(self, server: Host, path: str, status: int = 0, use: bool = True, **how: Any) -> Export:
        """MNT, and FSINFO of the root unless `use` is false."""
        export = server.export(path)
        result = {"status": status} | (
            {} if status else {"fh": export.root.handle, "auth_flavors": [{"flavor": 1}]}
        )
        how = {"reply": result} | how
        self.mnt = self.call(server, (MOUNT, 3), 1, {"dirpath": path}, port=MOUNTD, **how)
        if use and not status:
            self.nfs("FSINFO", export.root)
        return export

    def umount(self, export: Export, reply: Values | None = EMPTY, **how: Any) -> Exchange:
        """UMNT."""
        args = {"dirpath": how.pop("path", export.path)}
        return self.call(export.server, (MOUNT, 3), 3, args, port=MOUNTD, reply=reply, **how)

    def umntall(self, server: Host) -> Exchange:
        """UMNTALL."""
        return self.call(server, (MOUNT, 3), 4, {}, port=MOUNTD, reply={})

    def dump(self, server: Host, entries: Iterable[tuple[str, str]]) -> Exchange:
        """DUMP, answered with (host, directory) pairs."""
        mounts = [{"hostname": host, "dirpath": path} for host, path in entries]
        return self.call(server, (MOUNT, 3), 2, {}, port=MOUNTD, reply={"mounts": mounts})

    def getport(self, server: Host, program: int, port: int | None, transport: str = "udp") -> Exchange:
        """GETPORT, answered with `port` (0: not registered), or not at all."""
        args = {"prog": program, "vers": 1, "prot": 17}
        reply = None if port is None else {"port": port}
        return self.call(server, (PORTMAP, 2), 3, args, port=RPCBIND, transport=transport, reply=reply)

    # -- NFS ------------------------------------------------------------------------------------

    def nfs(
        self, called: str, file: File, /, reply: Values | None = EMPTY, status: int = 0, **args: Any
    ) -> Exchange:
        """An NFSv3 call on a file; an answer by default. Columns of the result go into `reply`."""
        procedure = next(p for p in REGISTRY[NFS, 3].procedures.values() if p.name == called)
        how = {key: args.pop(key) for key in ("captured", "reply_captured", "error") if key in args}
        if called not in ("RENAME", "LOOKUP", "CREATE", "REMOVE", "MKDIR"):
            args["fh"] = file.handle
        result = None if reply is None else {"status": status} | dict(reply)
        return self.call(
            file.server, (NFS, 3), procedure.number, args, port=NFSD, reply=result, transport="tcp", **how
        )

    def lookup(self, export: Export, name: str, attributes: bool = True) -> File:
        """LOOKUP in the root of an export."""
        file = export.file(name)
        about = {"obj_attr_fileid": file.fileid, "obj_attr_fsid": export.number, "obj_attr_type": 1}
        about |= {"obj_attr_nlink": file.links}
        reply = {"fh": file.handle} | (about if attributes else {})
        self.nfs("LOOKUP", export.root, reply, dir_fh=export.root.handle, name=name)
        return file

    def write(self, file: File, offset: int = 0, count: int = 10, verf: bytes = b"boot") -> Exchange:
        """WRITE."""
        reply = {"count": count, "verf": verf}
        return self.nfs("WRITE", file, reply, offset=offset, count=count, data=bytes(count))

    def remove(self, file: File) -> Exchange:
        """REMOVE from the root of its export."""
        return self.nfs("REMOVE", file, dir_fh=file.export.root.handle, name=file.name)

    def rename(self, file: File, to: str) -> Exchange:
        """RENAME within the root of its export."""
        root = file.export.root.handle
        return self.nfs("RENAME", file, from_dir_fh=root, from_name=file.name, to_dir_fh=root, to_name=to)

    def getattr(self, file: File, **how: Any) -> Exchange:
        """GETATTR."""
        reply = {"attr_fileid": file.fileid, "attr_fsid": file.export.number, "attr_type": 1}
        reply["attr_size"] = how.pop("size", 0)
        return self.nfs("GETATTR", file, reply, **how)

    # -- NLM ------------------------------------------------------------------------------------

    def nlm(
        self,
        procedure: int,
        file: File,
        svid: int,
        start: int,
        length: int,
        reply: Values | str | None = "GRANTED",
        *,
        server: Host | None = None,
        msg: bool = False,
        **more: Any,
    ) -> Request:
        """An NLM request about a range; `msg` makes it asynchronous."""
        options = ("transport", "error", "captured", "reply_captured", "flavor", "void", "sport")
        how = {name: more.pop(name) for name in options if name in more}
        void = how.pop("void", True)
        self._cookie += 1
        version = more.pop("version", self.version)
        args = {
            "cookie": struct.pack("<I", self._cookie),
            "caller_name": self.name,
            "fh": file.handle.ljust(32, b"\0") if version < 4 else file.handle,
            "oh": f"{svid}@{self.name}".encode(),
            "svid": svid,
            "l_offset": start,
            "l_len": length,
        } | more
        server = server or file.server
        number = procedure + 5 if msg else procedure
        program = (NLM, version)
        made: Request = self.call(server, program, number, args, port=server.lockd, kind=Request, **how)
        if reply is not None and "error" not in how and made.arrived:
            captured = how.get("reply_captured", True)
            if msg:
                made.answer(reply, captured=captured, void=void)
            else:
                made.answer(reply, captured=captured)
        return made

    def lock(
        self,
        file: File,
        svid: int,
        start: int = 0,
        length: int = 0,
        reply: Values | str | None = "GRANTED",
        *,
        exclusive: bool = True,
        block: bool = False,
        reclaim: bool = False,
        state: int = 3,
        **how: Any,
    ) -> Request:
        """LOCK."""
        flags: dict[str, Any] = {"exclusive": exclusive, "block": block, "reclaim": reclaim, "state": state}
        return self.nlm(2, file, svid, start, length, reply, **flags, **how)

    def wait_for(self, file: File, svid: int, start: int = 0, length: int = 0, **how: Any) -> Request:
        """LOCK with block, answered BLOCKED."""
        return self.lock(file, svid, start, length, how.pop("reply", "BLOCKED"), block=True, **how)

    def unlock(
        self,
        file: File,
        svid: int,
        start: int = 0,
        length: int = 0,
        reply: str | None = "GRANTED",
        **how: Any,
    ) -> Request:
        """UNLOCK."""
        return self.nlm(4, file, svid, start, length, reply, **how)

    def cancel(
        self,
        file: File,
        svid: int,
        start: int = 0,
        length: int = 0,
        reply: str | None = "GRANTED",
        **how: Any,
    ) -> Request:
        """CANCEL of a waiting LOCK."""
        how = {"block": True, "exclusive": True} | how
        return self.nlm(3, file, svid, start, length, reply, **how)

    def test(
        self,
        file: File,
        svid: int,
        start: int = 0,
        length: int = 0,
        reply: Values | str | None = "GRANTED",
        holder: int = 0,
        **how: Any,
    ) -> Request:
        """TEST; DENIED names a holder."""
        if reply == "DENIED":
            reply = {
                "status": 1,
                "holder_exclusive": 1,
                "holder_svid": holder,
                "holder_l_offset": start,
                "holder_l_len": length,
            }
        how = {"exclusive": True} | how
        return self.nlm(1, file, svid, start, length, reply, **how)

    def granted(
        self,
        client: Host,
        file: File,
        svid: int,
        start: int = 0,
        length: int = 0,
        reply: str | None = "GRANTED",
        *,
        msg: bool = True,
        **differs: Any,
    ) -> Request:
        """GRANTED to a client, as GRANTED_MSG and GRANTED_RES unless `msg` is false."""
        about = {"exclusive": True, "oh": f"{svid}@{client.name}".encode()} | differs
        return self.nlm(5, file, svid, start, length, reply, server=client, msg=msg, **about)

    def share(
        self, file: File, oh: bytes, mode: int, access: int, reply: str = "GRANTED", procedure: int = 20
    ) -> Request:
        """SHARE, or UNSHARE as procedure 21."""
        args = {"caller_name": self.name, "fh": file.handle, "oh": oh, "mode": mode, "access": access}
        made: Request = self.call(
            file.server, (NLM, 4), procedure, args, port=file.server.lockd, kind=Request, reply=reply
        )
        return made

    def free_all(
        self, server: Host, name: str | None = None, reply: Values | None = EMPTY, flavor: int = 1
    ) -> Exchange:
        """FREE_ALL."""
        args = {"name": self.name if name is None else name, "state": 3}
        program = (NLM, self.version)
        return self.call(server, program, 23, args, port=server.lockd, reply=reply, flavor=flavor)

    # -- NSM ------------------------------------------------------------------------------------

    def notify(
        self,
        receiver: Host,
        name: str | None = None,
        state: int = 5,
        reply: Values | None = EMPTY,
        **how: Any,
    ) -> Exchange:
        """SM_NOTIFY over UDP."""
        args = {"mon_name": self.name if name is None else name, "state": state}
        how.setdefault("transport", "udp")
        return self.call(receiver, (NSM, 1), 6, args, port=STATD, reply=reply, flavor=0, **how)

    # -- life -----------------------------------------------------------------------------------

    def die(self) -> None:
        """Power off: it neither sends nor answers."""
        self.world.dead.add(self.address)

    def boot(self, *, forget: bool = True) -> None:
        """Power on: connections are gone, counters start again."""
        self.world.dead.discard(self.address)
        for key, connection in self.world.connections.items():
            if self.address in key[:2]:
                connection.open = False
        if forget:
            self._cookie = 0x1234

    def cut_from(self, other: Host, port: int = 0) -> None:
        """From now on nothing arrives from `other` (on this port, if given)."""
        self.world.cuts.add((other.address, self.address, port))

    def mend(self, other: Host, port: int = 0) -> None:
        """The end of `cut_from`."""
        self.world.cuts.discard((other.address, self.address, port))

    def refuse(self, port: int) -> None:
        """SYNs to this port are answered by RST."""
        self.world.refused.add((self.address, port))

    def disconnect(self, other: Host) -> None:
        """Close all connections to `other` in order."""
        for (source, target, _), connection in self.world.connections.items():
            if connection.open and {source, target} == {self.address, other.address}:
                connection.close(0 if source == self.address else 1)


class World(Network):
    """A network of hosts."""

    def host(self, name: str, address: str, **kind: Any) -> Host:
        """A host; `kind`: transport, version (of NLM), handles (linux, ganesha, opaque), lockd (port)."""
        return Host(self, name, address, **kind)


def _columns(result: Values | str | None) -> dict[str, Any]:
    return {"status": STATUSES[result]} if isinstance(result, str) else dict(result or {})


def _record(message: bytes) -> bytes:
    return struct.pack(">I", 0x80000000 | len(message)) + message


def _reply_head(error: int) -> bytes:
    if error >= AUTH_ERROR:
        return struct.pack(">4I", 1, 1, 1, error - AUTH_ERROR)
    head = struct.pack(">5I", 1, 0, 0, 0, error)
    return head + struct.pack(">II", 3, 4) if error == MISMATCH else head
