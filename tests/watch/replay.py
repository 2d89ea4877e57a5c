"""Sends the packets of a capture onto an interface: `python -m tests.watch.replay CAPTURE INTERFACE`.

In: a capture, an interface, a pace. Out: frames on the wire, and how many a second went out.

Theory. A raw socket (AF_PACKET) sends whole frames, addresses and checksums as they were captured. At the
capture's own pace each waits for its time; at a given rate they go in small bursts; without a rate as fast
as one core can. The packets are taken apart and kept ready before the first is sent.

Never: alters a packet.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analyzer.capture.reader import Reader
from analyzer.capture.source import open_source
from analyzer.faults import new_faults
from analyzer.tables import Packets, new_table

BURST = 64
BUFFER = 16 << 20


def frames(path: str) -> list[tuple[int, bytes]]:
    """Time (ns) and bytes of every packet of a capture."""
    memory = np.zeros(BUFFER, np.uint8)
    packets = new_table(Packets, 1 << 16)
    found = []
    with open_source(path) as source:
        reader = Reader(source, memory, 0, False, new_faults())
        while rows := reader.read_block(packets):
            for row in range(rows):
                data = memory[int(packets.start[row]) : int(packets.stop[row])].tobytes()
                found.append((int(packets.time[row]), data))
    return found


def replay(
    packets: Sequence[tuple[int, bytes]], interface: str, speed: float = 1.0, until: float = 1e9
) -> None:
    """Send packets of the first seconds with the gaps they had, `speed` times as fast; 0: without gaps."""
    with _socket(interface) as wire:
        begin, first = time.monotonic_ns(), packets[0][0]
        for at, data in packets:
            if at - first > until * 1e9:
                break
            if speed:
                _wait_until(begin + round((at - first) / speed))
            _send(wire, data)


def flood(packets: Sequence[bytes], interface: str, rate: float, seconds: float) -> tuple[int, float]:
    """Send packets over and over for so long, so many a second (0: all that go); how many, in what time."""
    with _socket(interface) as wire:
        begin = time.monotonic()
        sent = 0
        for burst in _bursts(packets):
            passed = time.monotonic() - begin
            if passed >= seconds:
                break
            if rate and (early := sent / rate - passed) > 0:
                time.sleep(early)
            for data in burst:
                _send(wire, data)
            sent += len(burst)
        return sent, time.monotonic() - begin


def _bursts(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    while True:
        for at in range(0, len(packets), BURST):
            yield packets[at : at + BURST]


def _socket(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((interface, 0))
    return wire


def _send(wire: socket.socket, data: bytes) -> None:
    while True:
        try:
            wire.send(data)
        except (BlockingIOError, OSError) as error:
            if error.errno != 105:  # ENOBUFS: the interface's queue is full
                raise
            time.sleep(0.0001)
        else:
            return


def _wait_until(when: int) -> None:
    while (left := when - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def main(argv: Sequence[str]) -> int:
    """Replay as told."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("interface")
    parser.add_argument("--speed", type=float, default=1.0, help="times the capture's own pace")
    parser.add_argument("--until", type=float, default=1e9, help="only its first seconds")
    parser.add_argument("--rate", type=float, help="packets a second, over and over (0: as many as go)")
    parser.add_argument("--seconds", type=float, default=10.0, help="with --rate: how long")
    args = parser.parse_args(argv)
    packets = frames(str(args.capture))
    if args.rate is None:
        replay(packets, args.interface, args.speed, args.until)
        sys.stdout.write(f"{len(packets)} packets\n")
    else:
        sent, took = flood([data for _, data in packets], args.interface, args.rate, args.seconds)
        sys.stdout.write(f"{sent} packets in {took:.2f} s: {sent / took:.0f} a second\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
