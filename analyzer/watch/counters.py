"""What the kernel dropped of what another program captures.

In: a process. Out: how many packets the kernel could not hand to its capture sockets since it was last
asked.

Theory. dumpcap tells its drops when it ends, which may be months away. The kernel counts them with the socket
(PACKET_STATISTICS, packet(7)) and begins anew with each question, so what was answered here the program no
longer tells: both together are all. Another process's socket is had by pidfd_getfd(2), which needs the
rights of a debugger: root has them, and who runs the program as himself; with a dumpcap that has its rights
from its file nobody else has, and then its last words must do.

Never: keeps a socket; captures.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PIDFD_GETFD = 438  # the number of this system call, on all machines
SOL_PACKET, PACKET_STATISTICS = 263, 6
STATISTICS = struct.Struct("II")  # packets, drops


def dropped(pid: int) -> int | None:
    """Packets dropped since this was last asked; None where we may not know."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        counts = [_drops(process, number) for number in _capture_sockets(pid)]
    except OSError:
        return None
    finally:
        os.close(process)
    return sum(counts) if counts else None


def _drops(process: int, number: int) -> int:
    """The drops of a socket, by its number in the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(PIDFD_GETFD, process, number, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    with socket.socket(fileno=copy) as ours:
        return int(STATISTICS.unpack_from(ours.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))[1])


def _capture_sockets(pid: int) -> Iterator[int]:
    """Numbers of the packet sockets of a process."""
    lines = Path(f"/proc/{pid}/net/packet").read_text().splitlines()[1:]
    names = {f"socket:[{line.split()[-1]}]" for line in lines}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(entry.readlink()) in names:
                yield int(entry.name)
