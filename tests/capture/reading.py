"""Reads a capture as the engine does, and hands back plain Python values."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np

from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import Source
from analyzer.faults import Fault, new_faults
from analyzer.tables import Packets, new_table


class Row(NamedTuple):
    """A packet as the reader told it."""

    frame: int
    time: int
    data: bytes
    wire: int
    link: int


class Dribble(io.RawIOBase):
    """A pipe: gives at most `step` bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return self._data.readinto(memoryview(view)[: self._step])


def read(
    data: bytes,
    compiled: bool = False,
    step: int = 1 << 30,
    capacity: int = 64,
    region: int = LEAST_REGION,
    floor: int = 100,
) -> tuple[list[Row], Reader, dict[str, int]]:
    """Every packet of a capture, its reader at the end, and the faults met."""
    faults = new_faults()
    memory = np.zeros(floor + region, np.uint8)
    reader = Reader(Source("test.pcap", Dribble(data, step), None), memory, floor, compiled, faults)
    packets = new_table(Packets, capacity)
    rows = []
    while count := reader.read_block(packets):
        for i in range(count):
            start, stop = int(packets.start[i]), int(packets.stop[i])
            assert floor <= start <= stop <= len(memory)
            rows.append(
                Row(
                    int(packets.frame[i]),
                    int(packets.time[i]),
                    memory[start:stop].tobytes(),
                    int(packets.wire[i]),
                    int(packets.link[i]),
                )
            )
    assert not memory[:floor].any(), "the arena is not the reader's"
    met = {Fault(i).name: int(n) for i, n in enumerate(faults.count) if n}
    return rows, reader, met
