"""Sends the packets of a capture onto an interface: `python -m tests.watch.replay CAPTURE INTERFACE`.

In: a capture, an interface, a pace. Out: frames on the wire, and how many a second went out.

Theory. A raw socket (AF_PACKET) sends whole frames, addresses and checksums as they were captured. At the
capture's own pace each waits for its time; at a given rate they go in bursts, each with one call of
sendmmsg(2), past the queues of the interface; without a rate as fast as one core can. The packets are taken
apart and kept ready before the first is sent.

A capture that is sent again is, to whoever listens, traffic that is repeated, and cheap. So in each round the
hosts have other addresses (the second byte of IPv4 counts the rounds), and the counts of all rounds are so
many times those of the capture.

Never: alters a packet of the first round.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import math
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyzer.capture.reader import Reader
from analyzer.capture.source import open_source
from analyzer.faults import new_faults
from analyzer.tables import Packets, new_table

BURST = 64
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
IPV4 = b"\x08\0"
LIBC = ctypes.CDLL(None, use_errno=True)
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


def flood(
    packets: Sequence[bytes], interface: str, rate: float, seconds: float, rounds: float = math.inf
) -> tuple[int, float]:
    """Send packets over and over for so long, or so often, so many a second (0: all that go); how many, in
    what time."""
    train = Train(packets)
    with _socket(interface) as wire:
        begin, sent = time.monotonic(), 0
        while sent < rounds * len(packets) and (passed := time.monotonic() - begin) < seconds:
            if rate and (early := sent / rate - passed) > 0:
                time.sleep(early)
            sent += train.send(wire, sent % len(packets))
            if sent % len(packets) == 0:
                train.next_round()
        return sent, time.monotonic() - begin


class Train:
    """Packets in one piece of memory, and what sendmmsg(2) must be told of each: 8 words, and where it is."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        self._data = np.frombuffer(bytearray(b"".join(packets)), np.uint8)
        sizes = np.array([len(packet) for packet in packets], np.uint64)
        self._starts = (np.cumsum(sizes) - sizes).astype(np.int64)
        self._places = np.stack([self._starts.astype(np.uint64) + self._data.ctypes.data, sizes], axis=1)
        self._heads = np.zeros((len(packets), 8), np.uint64)
        self._heads[:, 2] = self._places.ctypes.data + 16 * np.arange(len(packets), dtype=np.uint64)
        self._heads[:, 3] = 1
        kinds = [packet[12:14] == IPV4 for packet in packets]
        self._hosts = np.concatenate([self._starts[kinds] + 27, self._starts[kinds] + 31])

    def send(self, wire: socket.socket, first: int) -> int:
        """Send a burst of packets; how many went."""
        count = min(BURST, len(self._heads) - first)
        sent = LIBC.sendmmsg(wire.fileno(), ctypes.c_void_p(self._heads[first:].ctypes.data), count, 0)
        if sent >= 0:
            return int(sent)
        if ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN):
            raise OSError(ctypes.get_errno(), "sendmmsg")
        time.sleep(0.0001)
        return 0

    def next_round(self) -> None:
        """Give all hosts other addresses."""
        self._data[self._hosts] += 1


def _socket(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    wire.bind((interface, 0))
    return wire


def _send(wire: socket.socket, data: bytes) -> None:
    while True:
        try:
            wire.send(data)
        except (BlockingIOError, OSError) as error:
            if error.errno != errno.ENOBUFS:  # the interface's queue is full
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
    parser.add_argument("--rounds", type=float, default=math.inf, help="with --rate: how often at most")
    args = parser.parse_args(argv)
    packets = frames(str(args.capture))
    if args.rate is None:
        replay(packets, args.interface, args.speed, args.until)
        sys.stdout.write(f"{len(packets)} packets\n")
    else:
        sent, took = flood(
            [data for _, data in packets], args.interface, args.rate, args.seconds, args.rounds
        )
        sys.stdout.write(f"{sent} packets in {took:.2f} s: {sent / took:.0f} a second\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
