"""Captures for tests of what is shown: an ordinary one, a hostile one, an empty one."""

from __future__ import annotations

from pathlib import Path

from analyzer.protocols.nlm import NLM
from tests.capture.files import pcap_header
from tests.world import World

HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(A1)",
    "a\x1b]0;owned\x07b",
    "\u202egnp.exe",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:1)`|`",
    'quote"comma,\r\nnewline',
    "\x9b2J\udcff",
)


def ordinary(path: Path) -> Path:
    """alice holds a lock on /srv/db, bob waits behind it, carol held one and went."""
    world = World()
    server = world.host("server", "192.0.2.1")
    alice, bob, carol = (
        world.host(name, f"192.0.2.{n}") for n, name in ((21, "alice"), (22, "bob"), (23, "carol"))
    )
    for client in (alice, bob, carol):
        export = client.mount(server, "/srv")
        file = client.lookup(export, "db")
    carol.lock(file, 3, 1000, 10)
    world.wait(1)
    alice.lock(file, 1, 0, 100)
    world.wait(1)
    bob.wait_for(file, 2, 0, 100)
    world.wait(1)
    carol.unlock(file, 3, 1000, 10)
    carol.umount(export)
    world.wait(1)
    bob.getattr(file)
    world.write(path)
    return path


def hostile(path: Path) -> Path:
    """Names that drive terminals, spreadsheets and browsers, wherever a protocol takes a name."""
    world = World()
    server = world.host("server", "192.0.2.1")
    for number, name in enumerate(HOSTILE):
        raw = name.encode("utf-8", "surrogateescape")
        client = world.host(f"host{number}", f"192.0.2.{21 + number}")
        client.name = raw  # type: ignore[assignment]  # encoded as it is
        client.call(
            server,
            (100005, 3),
            1,
            {"dirpath": b"/" + raw},
            port=20048,
            reply={"status": 0, "fh": server.export(f"/{number}").root.handle},
        )
        export = server.export(f"/{number}")
        file = client.lookup(export, "x")
        client.nfs("LOOKUP", export.root, {"fh": file.handle}, dir_fh=export.root.handle, name=raw)
        args = {
            "caller_name": raw,
            "oh": raw,
            "svid": 1,
            "fh": file.handle,
            "cookie": b"\1\2",
            "exclusive": 1,
        }
        client.call(server, (NLM, 4), 2, args, port=server.lockd, reply={"status": 0, "cookie": b"\1\2"})
        world.wait(1)
    world.write(path)
    return path


def empty(path: Path) -> Path:
    """A capture with a header and no packets."""
    path.write_bytes(pcap_header())
    return path
