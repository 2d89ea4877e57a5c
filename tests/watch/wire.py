"""Two ends of a wire in a network of their own, and what happens on it.

In: nothing. Out: a network namespace with a pair of interfaces, `near` and `far`, and commands run there.

Theory. What one end sends the other receives. Neither has an address, so the kernel answers nothing: on the
wire is what a test puts there. Root may make such a network; others may where the kernel lets a user be root
of a namespace of his own.

Never: touches the network of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
NEAR, FAR = "near", "far"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MAKE = (
    f"ip link add {NEAR} type veth peer name {FAR} && "
    f"for end in {NEAR} {FAR}; do ip link set $end addrgenmode none && ip link set $end up; done && "
    "ip link set lo up && echo made && exec cat"
)
PRIVATE = (
    "mount --make-rprivate / && for place in /run /var/lib/nfs; do mount -t tmpfs none $place; done && "
    "mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/ganesha && "
)
NEEDED = ("unshare", "nsenter", "ip", "dumpcap", "tcpdump")


class Wire:
    """A network of two interfaces."""

    def __init__(
        self, process: subprocess.Popen[str], user: Sequence[str] = (), spaces: Sequence[str] = ()
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._spaces = ["--net", *(("--user", "--preserve-credentials") if user else ()), *spaces]

    def command(self, *command: str) -> list[str]:
        """A command that runs in this network."""
        return ["nsenter", "--target", str(self.pid), *self._spaces, "--", *command]

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Run a command while the test goes on."""
        return subprocess.Popen(self.command(*command), cwd=ROOT, text=True, **options)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self.command(*command), cwd=ROOT, text=True, check=True, **options)

    def replay(self, capture: Path, *options: str) -> None:
        """Send a capture from the near end."""
        self.run(
            sys.executable, "-m", "tests.watch.replay", str(capture), NEAR, *options, capture_output=True
        )

    def capturing(self) -> int:
        """How many sockets take packets from here."""
        lines = self.run("cat", "/proc/net/packet", capture_output=True).stdout.splitlines()[1:]
        return sum(line.split()[5] == "1" for line in lines)  # column `R`: it is bound and running

    def close(self) -> None:
        """Take it down."""
        self._process.kill()
        self._process.communicate()


def made(*programs: str) -> Iterator[Wire]:
    """A wire; the test is skipped where none can be made.

    With programs it is for a server: these must be installed, and `/run` and the state of NFS are its own.
    """
    missing = [name for name in (*NEEDED, *programs) if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
    if programs and os.geteuid() != 0:
        pytest.skip("only root can run an NFS server")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    spaces = ["--mount"] if programs else []
    process = subprocess.Popen(
        ["unshare", *user, "--net", *spaces, "sh", "-c", (PRIVATE if programs else "") + MAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    wire = Wire(process, user, spaces)
    if said != "made\n":
        wire.close()
        pytest.skip(f"a network namespace cannot be made here: {said.strip()}")
    yield wire
    wire.close()


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
