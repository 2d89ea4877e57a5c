"""Captures in forms that only Wireshark's library reads: iptrace of AIX, nettl of HP-UX, NetMon, ERF, ...

In: a file that is none of ours. Out: what it holds as pcapng, from a pipe.

Theory. editcap comes with dumpcap, knows some forty forms and takes no packet apart, so it is many times as
fast as tshark or pyshark, and what it writes is a capture like any other: times, link types and bytes as they
were. What it reads and cannot write, for pcapng has no such link type, pyshark takes apart (`shark`).

Never: is asked about what merely lies in a directory; writes to a disk.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import IO

from analyzer.capture.pcap import is_pcap
from analyzer.capture.pcapng import is_pcapng
from analyzer.capture.snoop import MAGIC
from analyzer.errors import AnalyzerError

TOOL = "editcap"
NOT_OURS = "not a packet capture (pcap, pcapng or snoop)"
INPUT_OUTPUT = 5  # EIO
MOST_READ = 1 << 20


def is_foreign(head: bytes) -> bool:
    """Whether a file that begins so is none of our own forms."""
    return bool(head) and not (is_pcap(head) or is_pcapng(head) or MAGIC.startswith(head[: len(MAGIC)]))


class Converted:
    """A capture as editcap hands it over."""

    def __init__(self, path: str) -> None:
        import shutil
        import subprocess

        tool = shutil.which(TOOL)
        if tool is None:
            raise AnalyzerError(
                f"{path}: {NOT_OURS}; for others {TOOL} is needed: apt install wireshark-common"
            )
        self._path = path
        self._given = False
        self._bare: Generator[bytes] | None = None  # of pyshark, where editcap cannot
        self._rest = b""
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [tool, "-F", "pcapng", str(Path(path).resolve()), "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view`; 0 at the end."""
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """So many bytes, or fewer; none at the end."""
        if self._bare is None:
            if self._output.closed:
                return b""  # the end stays the end
            data = self._output.read(min(count, MOST_READ))
            if data or not self._fails():
                self._given = True
                return data
        return self._read_bare(count)

    def _fails(self) -> bool:
        """Whether this is the end because pyshark must read it; raises where it is no good end."""
        _, said = self._process.communicate()
        lines = said.decode(errors="replace").strip().splitlines()
        if self._process.returncode == 0 and not lines:
            return False
        if self._given:
            raise OSError(INPUT_OUTPUT, lines[-1] if lines else f"{TOOL} failed")
        self._take_apart()
        if not self._rest:  # to Wireshark a picture is a capture, too
            raise AnalyzerError(f"{self._path}: {NOT_OURS}, nor anything that {TOOL} reads")
        return True

    def _take_apart(self) -> None:
        """Let pyshark read it; the header and the first packet come at once."""
        from analyzer.capture.shark import bare_ip

        self._bare = bare_ip(self._path)
        header = next(self._bare)
        with suppress(OSError, StopIteration):  # tshark cannot read it either
            self._rest = header + next(self._bare)

    def _read_bare(self, count: int) -> bytes:
        assert self._bare is not None
        data = self._rest or next(self._bare, b"")
        self._rest = data[count:]
        return data[:count]

    def close(self) -> None:
        """Let go of it."""
        self._process.kill()
        self._process.communicate()
        if self._bare is not None:
            self._bare.close()
