"""Several captures as one: packets in time order, wherever they were recorded.

In: paths of captures in the order of their first packets. Out: `Packets`, block by block, with the frame
numbers of the logical capture; for each which file it is of and its number there.

Theory. Captures of a ring buffer follow each other, those of two hosts overlap. A capture is opened when
the time of its first packet has come, so of a ring buffer two are open at most. Among the open ones the
packet whose time is least comes next, of equal ones that of the capture that began last, as in Wireshark's
mergecap; within a file the order of the file stands, even if clocks went back. Each file is read block by
block into regions of its own; what is known for sure of the order is up to where the first of them is
exhausted, and is sorted in one go. A stream that can be read once only has no time to be opened at: it
comes when the others have ended.

Never: looks at packets, or moves their bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.capture.find import NO_PACKETS, first_time, is_read_once
from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import STDIN, Source, open_source
from analyzer.faults import Fault, Faults, new_faults, note
from analyzer.tables import I64, Bytes, Packets, new_table

MOST_TOGETHER = 64  # captures open at once; a 65th waits until one has ended
ROWS = 1 << 14  # of one file, of several
MOST_RUNS = 1 << 18


class Room(NamedTuple):
    """Where in memory blocks are read to: regions that take turns, each with slots for several files."""

    floors: Sequence[int]  # where the regions begin
    slots: int
    size: int  # bytes of a slot


def slots_for(captures: int, block: int) -> tuple[int, int]:
    """How many slots a region has for so many captures, and how large they are."""
    slots = max(1, min(captures, MOST_TOGETHER))
    return slots, block if slots == 1 else max(LEAST_REGION, min(block, 4 * block // slots))


class Places:
    """Which file each frame of the logical capture is of: runs of frames that follow each other.

    One thread may add while another one asks.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.paths: list[str] = []
        self._first = array("q")  # frame of the logical capture that a run begins with
        self._file = array("q")
        self._number = array("q")  # its number in the file
        self._next = (-1, 0, 0)  # what would go on with the last run

    def add(self, first: int, files: I64, numbers: I64) -> None:
        """Frames from `first` on."""
        starts = np.zeros(1, np.int64)
        if len(files) > 1:
            breaks = (files[1:] != files[:-1]) | (numbers[1:] != numbers[:-1] + 1)
            starts = np.concatenate([starts, np.flatnonzero(breaks) + 1])
        with self._lock:
            if (first, int(files[0]), int(numbers[0])) == self._next:
                starts = starts[1:]
            self._first.extend((first + starts).tolist())
            self._file.extend(files[starts].tolist())
            self._number.extend(numbers[starts].tolist())
            self._next = (first + len(files), int(files[-1]), int(numbers[-1]) + 1)
            if len(self._first) > MOST_RUNS:  # nobody asks about frames of long ago
                for column in (self._first, self._file, self._number):
                    del column[: MOST_RUNS // 2]

    def of(self, frames: I64) -> tuple[I64, I64]:
        """File and number of each frame; -1 where that is not known."""
        with self._lock:
            first, file, number = (np.array(column) for column in (self._first, self._file, self._number))
        if not len(first) or not len(frames):
            return np.full(len(frames), -1, np.int64), np.full(len(frames), -1, np.int64)
        low, high = np.searchsorted(first, (frames.min(), frames.max()), "right") - 1
        if low == high >= 0:  # all of one run, as nearly always
            return np.full(len(frames), file[low]), number[low] + frames - first[low]
        run = np.searchsorted(first, frames, "right") - 1
        known = run >= 0
        return np.where(known, file[run], -1), np.where(known, number[run] + frames - first[run], -1)


class Opened:
    """A capture that is being read: its reader, and rows of its block that were not handed on yet."""

    def __init__(
        self, source: Source, reader: Reader, rank: int, slot: int, rows: int, faults: Faults
    ) -> None:
        self.source = source
        self.reader = reader
        self.rank = rank  # its place among all
        self.slot = slot
        self.faults = faults
        self.table = new_table(Packets, rows)
        self.table.file[:] = rank
        self.at = self.rows = 0
        self.keys: NDArray[np.int64] = np.zeros(0, np.int64)
        self._latest = 0
        self.floor = -1  # of the region that the block is in

    def refill(self) -> bool:
        """Read the next block if there is nothing left of the last; whether there is something."""
        if self.at == self.rows:
            self.at, self.rows = 0, self.reader.read_block(self.table)
            self.keys = np.maximum.accumulate(self.table.time[: self.rows])
            if self.rows:
                self.floor = self.reader.floor
                self.keys = np.maximum(self.keys, self._latest)
                self._latest = int(self.keys[-1])
        return self.at < self.rows


class Block(NamedTuple):
    """Packets of the logical capture; of each the file, by its place in `paths`, and its number there."""

    packets: Packets
    rows: int
    files: I64
    numbers: I64


class Merger:
    """The packets of captures as those of one.

    `opened` has the captures that were opened so far, in the order of `paths`, `frames` is the number of
    their packets.
    """

    def __init__(
        self, paths: Sequence[str], memory: Bytes, room: Room, compiled: bool, faults: Faults, rows: int
    ) -> None:
        self.places = Places()
        self.places.paths.extend(paths)
        self.opened: list[Opened] = []
        self.frames = 0
        self._paths = list(paths)
        self._memory = memory
        self._room = room
        self._compiled = compiled
        self._faults = faults
        self._rows = rows if len(paths) == 1 else min(rows, ROWS)
        self._merged: Packets | None = None
        self._active: list[Opened] = []
        self._free = list(range(room.slots))[::-1]
        self._floors = [[floor + slot * room.size for floor in room.floors] for slot in range(room.slots)]
        self._next_time: float | None = None
        self._last_time = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of the files that were read so far."""
        return sum(one.source.bytes_read for one in self.opened)

    def blocks(self) -> Iterator[Block]:
        """The packets, some at a time; a block is good until the next but one is asked for."""
        try:
            while (until := self._ready()) is not None:
                takes = list(self._takes(until))
                one, rows = takes[0]
                alone = len(takes) == 1 and rows == one.rows
                block = self._whole(one) if alone else self._sorted(takes)
                self._note_backwards(block.packets.time[: block.rows])
                self.places.add(self.frames + 1, block.files, block.numbers)
                self.frames += block.rows
                yield block
        finally:
            for one in self._active:
                one.source.close()

    def _whole(self, one: Opened) -> Block:
        """The block of a file as it is."""
        rows, frame = one.rows, one.table.frame
        numbers = frame[:rows].copy()
        frame[:rows] += self.frames + 1 - int(frame[0])
        one.at = rows
        return Block(one.table, rows, np.full(rows, one.rank, np.int64), numbers)

    def _sorted(self, takes: Sequence[tuple[Opened, int]]) -> Block:
        """Rows of several files, in order."""
        if self._merged is None:
            self._merged = new_table(Packets, self._rows)
        keys = np.concatenate([one.keys[one.at : one.at + rows] for one, rows in takes])
        order = np.argsort(keys, kind="stable")[: self._rows]
        count = len(order)
        for into, *columns in zip(self._merged, *(one.table for one, _ in takes), strict=True):
            parts = [c[one.at : one.at + rows] for c, (one, rows) in zip(columns, takes, strict=True)]
            into[:count] = np.concatenate(parts)[order]
        files = np.repeat([one.rank for one, _ in takes], [rows for _, rows in takes])[order]
        numbers = self._merged.frame[:count].copy()
        self._merged.frame[:count] = np.arange(self.frames + 1, self.frames + count + 1)
        for one, _ in takes:
            one.at += int(np.count_nonzero(files == one.rank))
        return Block(self._merged, count, files, numbers)

    def _ready(self) -> int | None:
        """Fill what is open, open what begins meanwhile; up to when the order is known, None at the end."""
        while True:
            for one in list(self._active):
                if not one.refill():
                    self._end(one)
            until = min((int(one.keys[-1]) for one in self._active), default=None)
            if not self._open_next(until):
                return until

    def _open_next(self, until: int | None) -> bool:
        """Open the next capture if it begins before `until`, or nothing else is left."""
        rank = len(self.opened)
        if rank == len(self._paths) or not self._free:
            return False
        path = self._paths[rank]
        if until is not None:
            if self._next_time is None:
                once = path == STDIN or is_read_once(path)
                self._next_time = NO_PACKETS if once else first_time(path, np.empty(LEAST_REGION, np.uint8))
            if self._next_time > until:
                return False
        self._next_time = None
        slot = self._free.pop()
        floors = self._floors[slot]
        source, faults = open_source(path), new_faults()
        source.patient = True
        reader = Reader(source, self._memory, floors[0], self._compiled, faults, 1, floors, self._room.size)
        one = Opened(source, reader, rank, slot, self._rows, faults)
        self.opened.append(one)
        self._active.append(one)
        return True

    def _takes(self, until: int) -> Iterator[tuple[Opened, int]]:
        """How many rows of each open capture are surely next, the capture that began last first.

        Of those stamped `until` itself: the one that is exhausted there may have more, which come before
        those of captures that began earlier.
        """
        exhausted = max(one.rank for one in self._active if int(one.keys[-1]) == until)
        for one in reversed(self._active):
            side: Literal["left", "right"] = "right" if one.rank >= exhausted else "left"
            count = int(np.searchsorted(one.keys, until, side)) - one.at
            if count > 0:
                yield one, count

    def _end(self, one: Opened) -> None:
        """A capture has been read to its end."""
        one.source.close()
        self._active.remove(one)
        self._free.append(one.slot)
        self._floors[one.slot].sort(key=one.floor.__eq__)  # its last block may be looked at still
        for fault in (Fault.FILE_CUT_SHORT, Fault.FILE_DAMAGED):
            for _ in range(int(one.faults.count[fault])):
                note(self._faults, fault, 0)

    def _note_backwards(self, times: I64) -> None:
        """Frames that are stamped earlier than the one before."""
        before = np.concatenate([[self._last_time], times[:-1]])
        for row in np.flatnonzero(times < before).tolist():
            note(self._faults, Fault.TIME_BACKWARDS, self.frames + row + 1)
        self._last_time = int(times[-1])
