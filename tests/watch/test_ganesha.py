"""A real server, real sockets, and lockscope beside them: it must say what was done, and nothing else.

NFS-Ganesha with rpcbind and statd runs in a network of its own. Clients (`tests.watch.client`) in another one
mount, lock, contend and leak. `lockscope live` watches the server's interface.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watch import wire as wires
from tests.watch.live import Live
from tests.watch.wire import FAR, NEAR, Wire, wait_for

SERVER, ALICE, BOB = "10.7.0.1", "10.7.0.21", "10.7.0.22"
PROGRAMS = ("rpcbind", "rpc.statd", "ganesha.nfsd", "rpcinfo")
CONFIGURATION = """
NFS_CORE_PARAM {{ Protocols = 3; Enable_NLM = true; NSM_Use_Caller_Name = true; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; }}
EXPORT {{
    Export_Id = 1; Path = {path}; Pseudo = /pseudo; Protocols = 3; Transports = TCP, UDP;
    Access_Type = RW; SecType = sys; Squash = No_Root_Squash; FSAL {{ Name = VFS; }}
}}
"""


class Network:
    """A server on the far end of a wire, and room for clients at the near end."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self.server = wire
        self.export = folder / "export"
        self.export.mkdir()
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []
        inner = wire.start(
            *("unshare", "--net", "sh", "-c", "echo made && exec cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert inner.stdout is not None
        inner.stdout.readline()
        self.clients = Wire(inner)
        self._running.append(inner)
        wire.run("ip", "link", "set", NEAR, "netns", str(inner.pid))
        wire.run("ip", "address", "add", f"{SERVER}/24", "dev", FAR)
        self.clients.run("ip", "link", "set", "lo", "up")
        self.clients.run("ip", "link", "set", NEAR, "up")
        for address in (ALICE, BOB):
            self.clients.run("ip", "address", "add", f"{address}/24", "dev", NEAR)

    def serve(self) -> None:
        """Start the server, and wait until its lock manager is registered."""
        configuration = self._folder / "ganesha.conf"
        configuration.write_text(CONFIGURATION.format(path=self.export))
        self._start("rpcbind", "-f")
        wait_for(lambda: self._registered("portmapper"))
        self._start("rpc.statd", "--no-notify", "--foreground")
        wait_for(lambda: self._registered("status"))
        log, lock = self._folder / "log", self._folder / "pid"
        self._start("ganesha.nfsd", "-F", "-L", str(log), "-f", str(configuration), "-p", str(lock))
        wait_for(lambda: self._registered("nlockmgr"), 60)

    def _start(self, *command: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._running.append(self.server.start(*command, **quiet))

    def _registered(self, service: str) -> bool:
        done = subprocess.run(
            self.server.command("rpcinfo", "-p", "127.0.0.1"), capture_output=True, text=True, check=False
        )
        return service in done.stdout

    def close(self) -> None:
        """End everything, the server first."""
        for process in reversed(self._running):
            process.kill()
            process.communicate()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    for wire in wires.made(*PROGRAMS):
        network = Network(wire, tmp_path)
        try:
            network.serve()
            yield network
        finally:
            network.close()


@pytest.mark.parametrize("options", [(), ("--filter", "auto"), ("--filter", "auto", "--ask", SERVER)])
def test_it_reports_what_was_done(network: Network, tmp_path: Path, options: tuple[str, ...]) -> None:
    live = Live(network.server, tmp_path, *options)
    done = network.clients.run(
        *(sys.executable, "-m", "tests.watch.client", SERVER, str(network.export), ALICE, BOB),
        capture_output=True,
    )
    steps = {entry["step"]: entry for entry in map(json.loads, done.stdout.splitlines())}
    wait_for(lambda: "lock-held-after-umnt" in live.out.read_text())
    assert live.end() == 0
    ports = {event["program"] for event in live.said("port")}
    assert ports >= ({"NLM", "MOUNT"} if options else set())
    assert live.err.read_text().count("\n") == len(live.said("port"))

    loud = [event for event in live.said("open") if event["severity"] != "info"]
    leak = next(event for event in loud if event["code"] == "lock-held-after-umnt")
    assert (leak["client"], leak["server"], leak["export"]) == (ALICE, SERVER, str(network.export))
    assert leak["path"] == f"{network.export}/forgotten"
    assert leak["fh"] == steps["leaked"]["handle"]
    assert {event["code"] for event in loud} <= {"lock-held-after-umnt", "export-pinned-by-locks"}
    assert not live.said("resolved")

    locks = list(csv.DictReader((live.tables / "locks.csv").open()))
    contended = [row for row in locks if row["fh"] == steps["contended"]["handle"]]
    assert [(row["client"], row["how"], row["ledger"]) for row in contended] == [
        (ALICE, "reply", "released"),
        (BOB, "callback", "released"),
    ]
    assert [row["ledger"] for row in locks if row["fh"] == steps["leaked"]["handle"]] == ["held"]
    waits = list(csv.DictReader((live.tables / "waits.csv").open()))
    assert [(row["client"], row["ended_reason"]) for row in waits] == [(BOB, "callback")]
    mounts = list(csv.DictReader((live.tables / "mounts.csv").open()))
    assert {(row["client"], row["state"]) for row in mounts} == {(ALICE, "unmounted"), (BOB, "unmounted")}
    (end,) = live.said("end")
    assert end["counts"]["by_procedure"]["NLM4 GRANTED_MSG"] == 1
