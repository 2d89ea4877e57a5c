"""The programs that capture: dumpcap and tcpdump, run as children.

In: an interface, a filter. Out: a `Child`, whose standard output is a capture, and its last words.

Theory. Capturing needs rights that an analyzer should not have, and buffers in the kernel that it need not
manage: both are what these programs are for. dumpcap comes first, for it can have its rights by itself
(capabilities of the file, or a group) and hands packets over several times a second. A child is asked to
stop as Ctrl-C would, and then read to its end: what was captured is analysed. It runs in a process group of
its own, so that the Ctrl-C of a terminal does not reach it before us.

Never: opens a packet socket itself.
"""

from __future__ import annotations

import re
import select
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO

from analyzer.capture.pcap import HEADER
from analyzer.capture.source import Source, widen
from analyzer.errors import AnalyzerError
from analyzer.frozen import frozen
from analyzer.watch.counters import dropped

BUFFER = 128  # MiB in the kernel: some seconds of heavy traffic while others have the processor
LINES_KEPT = 50
STARTED = 30.0  # seconds in which one begins to capture, however busy the machine is
PATIENCE = 5.0  # seconds in which a child that was asked to stop does

DENIED = re.compile(r"permission|not permitted|Operation not allowed", re.IGNORECASE)
ABSENT = re.compile(r"no such device|there is no device|no such interface|doesn't exist", re.IGNORECASE)
DROPPED = re.compile(r"received/dropped on (?P<who>interface) .*?: \d+/(?P<count>\d+)")
DROPPED_BY = re.compile(r"(?P<count>\d+) packets? dropped by (?P<who>kernel|interface)")
CHATTER = re.compile(
    r"^(Capturing on|File: |Packets captured|Packets: |Packets received|tcpdump: listening|"
    r"(tcpdump: )?\d+ packets? (captured|received|dropped))"
)
ASKED_EVERY = 1.0  # seconds


@frozen
class Tool:
    """A program that captures."""

    name: str
    package: str  # of Debian
    arguments: tuple[str, ...]
    listing: tuple[str, ...]
    header: int = 0  # bytes with which its output begins, and which a second output behind it must not have
    says_when_asked: bool = False  # how many packets were dropped up to now, on SIGUSR1

    @property
    def path(self) -> str | None:
        """Where it is installed."""
        return shutil.which(self.name) or shutil.which(self.name, path="/usr/sbin:/usr/bin:/sbin")

    def command(self, interface: str, capture_filter: str | None, output: Sequence[str] = ()) -> list[str]:
        """What to run to have packets of an interface on standard output, or where `output` says."""
        command = [self.path or self.name, *self.arguments, "-i", interface, *(output or ("-w", "-"))]
        if capture_filter:
            command += ["-f", capture_filter] if self.name == "dumpcap" else [capture_filter]
        return command


DUMPCAP = Tool("dumpcap", "wireshark-common", ("-q", "-B", str(BUFFER)), ("-D",))
TCPDUMP = Tool(
    "tcpdump",
    "tcpdump",
    ("-n", "-U", "--nano", "--immediate-mode", "-B", str(BUFFER << 10)),
    ("-D",),
    HEADER,
    says_when_asked=True,
)
TOOLS = (DUMPCAP, TCPDUMP)


def installed(name: str | None = None) -> Tool:
    """The program to capture with, the one of this name if given; raises where there is none."""
    wanted = [tool for tool in TOOLS if name in (None, tool.name)]
    for tool in wanted:
        if tool.path is not None:
            return tool
    raise AnalyzerError(
        f"not installed: {' and '.join(tool.name for tool in wanted)}; install one: apt install "
        + ", or: apt install ".join(tool.package for tool in wanted)
    )


def interfaces() -> str:
    """The interfaces that can be captured from, one a line."""
    tool = installed()
    done = subprocess.run(
        [tool.path or tool.name, *tool.listing], capture_output=True, text=True, check=False, errors="replace"
    )
    if done.returncode:
        raise AnalyzerError(complaint(tool, "any interface", done.stderr.splitlines()))
    return done.stdout


def complaint(tool: Tool, interface: str, lines: Sequence[str]) -> str:
    """What a program that could not capture said, on one line, with what mends it."""
    said = [line for line in map(str.strip, lines) if line and not CHATTER.match(line)]
    text = " ".join(said)
    if ABSENT.search(text):
        return f"there is no interface {interface}; lockscope live --list names those that there are"
    if DENIED.search(text):
        rights = f"sudo setcap cap_net_raw,cap_net_admin+eip {tool.path}"
        return f"no right to capture on {interface}: run lockscope as root, or once: {rights}"
    return (
        f"{tool.name} stopped: {said[0].removeprefix(f'{tool.name}: ')}" if said else f"{tool.name} stopped"
    )


class Child:
    """A running capture program."""

    def __init__(self, tool: Tool, interface: str, command: Sequence[str]) -> None:
        self.tool = tool
        self.interface = interface
        self.asked = False  # whether we told it to stop
        self.tells_drops = tool.says_when_asked  # while it runs
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._said: dict[str, int] = {}  # packets dropped, by whom
        self._counted = 0  # ... that the kernel told us, and will not tell it any more
        self._asked_at = 0.0
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        assert self._process.stdout is not None
        widen(self._process.stdout)
        self._listener = Thread(target=self._listen, name="lockscope-listener", daemon=True)
        self._listener.start()

    def source(self) -> Source:
        """The capture on its standard output."""
        assert self._process.stdout is not None
        return Source(self.interface, self._process.stdout, None)

    def ready(self) -> bool:
        """Wait until it captures: the header of its output is there; False where it ends before."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], STARTED)[0]) and self.runs()

    def runs(self) -> bool:
        """Whether it still captures."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop."""
        self.asked = True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Wait until it is gone; make it go where it does not."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(PATIENCE)

    def ask_drops(self) -> None:
        """Find out how many packets were dropped up to now, where that can be known, and not too often."""
        if monotonic() - self._asked_at < ASKED_EVERY or self.asked or not self.runs():
            return
        self._asked_at = monotonic()
        if self.tool.says_when_asked:
            if self._listens_to(signal.SIGUSR1):  # else it would end by it
                self._process.send_signal(signal.SIGUSR1)
        elif (count := dropped(self._process.pid)) is not None:
            self.tells_drops = True
            self._counted += count

    def _listens_to(self, number: int) -> bool:
        """Whether it has a handler for a signal by now."""
        try:
            caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{self._process.pid}/status").read_text())
        except OSError:
            return False
        return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)

    @property
    def drops(self) -> int:
        """Packets that were lost, as far as is known."""
        return self._counted + sum(self._said.values())

    @property
    def trouble(self) -> str | None:
        """Why it ended, where nobody asked it to."""
        if self.asked:
            return None
        lines = list(self._lines)
        code = self._process.returncode
        if code is not None and code < 0 and not any(not CHATTER.match(line) for line in lines):
            lines.append(f"killed by {signal.Signals(-code).name}")
        return complaint(self.tool, self.interface, lines)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        stream: IO[bytes] = self._process.stderr
        for line in iter(stream.readline, b""):
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            for found in (*DROPPED.finditer(text), *DROPPED_BY.finditer(text)):
                self._said = self._said | {found["who"]: int(found["count"])}
