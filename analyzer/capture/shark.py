"""pyshark: what only Wireshark can read, packet by packet.

In: a capture, options of pyshark. Out: its packets as pyshark gives them; the IP packets of a capture as a
pcap.

Theory. Some forms (nettl of HP-UX) have headers that no other form can hold, so editcap cannot convert them.
Wireshark still finds the IP header in their packets, and pyshark hands over where that is and the raw bytes:
from there on they are a capture of bare IP. That takes some ms a packet, hundreds of times as long as
reading; it serves only where nothing else does. pyshark sets up a watcher of child processes that Python 3.14
no longer has, unless it is given a loop of events; it is given one.

Never: is imported before it is needed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from analyzer.errors import AnalyzerError

RAW_IP = 101  # LINKTYPE_RAW
NANO = 0xA1B23C4D
SECOND = 1_000_000_000
MOST = 1 << 18  # bytes of a packet


def tshark_path(purpose: str) -> str:
    """Where tshark is; raises where it is not."""
    path = shutil.which("tshark")
    if path is None:
        raise AnalyzerError(f"tshark is not on the path: {purpose}; install it (apt install tshark)")
    return path


@contextmanager
def opened(path: str, tshark: str, **options: Any) -> Iterator[Any]:
    """The packets of a capture, one at a time."""
    packets: Any = None
    # pyshark stops a tshark that has just ended: asyncio then logs that somebody else waited for the process
    log = logging.getLogger("asyncio")
    level = log.level
    log.setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # a task left behind by a failure is no news
    try:
        import pyshark

        packets = pyshark.FileCapture(path, keep_packets=False, tshark_path=tshark, eventloop=loop, **options)
        with packets:
            yield packets
    finally:
        if packets is not None:
            packets._running_processes.clear()  # or its destructor complains of a tshark that failed
        loop.close()
        log.setLevel(level)


def bare_ip(path: str) -> Generator[bytes]:
    """A capture of the IP packets in a file: a header, then a record for each."""
    tshark = tshark_path(f"if {path} is a capture at all, only it can tell")
    yield struct.pack("<IHHiIII", NANO, 2, 4, 0, 0, MOST, RAW_IP)
    options = {"use_json": True, "include_raw": True, "display_filter": "ip or ipv6"}
    try:
        with opened(path, tshark, **options) as packets:
            yield from filter(None, map(_record, packets))
    except Exception as error:  # pyshark lets through whatever asyncio, lxml and tshark raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(0, f"pyshark could not ask tshark: {why}") from error


def _record(packet: Any) -> bytes:
    """A packet from its first IP header on; nothing where there is none."""
    frame: bytes = packet.get_raw_packet()
    heads = [_first(layer.value) for layer in packet.layers if layer.layer_name in ("ip_raw", "ipv6_raw")]
    at = frame.find(bytes.fromhex(heads[0])) if heads else -1
    if at < 0:
        return b""
    seconds, _, rest = str(packet.sniff_timestamp).partition(".")
    data = frame[at:]
    size = max(len(data), int(packet.length) - at)
    return struct.pack("<IIII", int(seconds), int(rest[:9].ljust(9, "0")), len(data), size) + data


def _first(value: Any) -> str:
    """The first of what may be several layers of one name, or one with its place."""
    while isinstance(value, list):
        value = value[0]
    return str(value)
