"""A stream of bytes to tables of packets.

In: a `Stream`. Out: `Packets`, block by block, in one reused region of memory.

Theory. The region `memory[floor:]` is filled by one `readinto`, behind the tail that the
last block left (the beginning of a packet), and framed by the kernel of its format. What
the table has no room for is delivered by the next call without reading again. The reader
touches the region only inside `read_block`, so several readers may use it one after the
other. With several `floors` the regions take turns, so that what one call gave is not touched
by the next; readers that share the list go on where the last one stopped.

Never: waits for a full block (a pipe's short read is served at once), raises for anything
after the first bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.capture.foreign import NOT_OURS
from analyzer.capture.pcap import (
    DAMAGED,
    GROW,
    HEADER,
    MOST_CAPTURED,
    PcapForm,
    frame_pcap,
    is_pcap,
    read_header,
)
from analyzer.capture.pcapng import (
    COUNT,
    DROPS,
    MOST_READ,
    ORDER_MAGIC,
    Interfaces,
    frame_pcapng,
    is_pcapng,
    new_interfaces,
)
from analyzer.capture.snoop import DROPS as SNOOP_DROPS
from analyzer.capture.snoop import HEAD as SNOOP_HEAD
from analyzer.capture.snoop import HEADER as SNOOP_HEADER
from analyzer.capture.snoop import MAGIC as SNOOP
from analyzer.capture.snoop import frame_snoop, is_snoop, read_link
from analyzer.capture.source import Stream
from analyzer.errors import AnalyzerError
from analyzer.faults import Fault, Faults, note
from analyzer.kernels import compiled as twin
from analyzer.tables import Bytes, Packets

LEAST_REGION = MOST_READ + MOST_CAPTURED


class Reader:
    """The packets of one capture.

    Known so far, and final once `read_block` has returned 0: `frames`, `bytes` of the
    capture understood, `link_types` in order of appearance (at the end also those that no
    packet had), `first_time` and `last_time` (None without packets), `drops` that the
    capture itself admits to, `complete`, and `damage`, which says where and why it is not.
    """

    def __init__(
        self,
        source: Stream,
        memory: Bytes,
        floor: int,
        compiled: bool,
        faults: Faults,
        first_frame: int = 1,
        floors: list[int] | None = None,
        region: int | None = None,
    ) -> None:
        self._floors = [floor] if floors is None else floors  # where regions begin; the last is in use
        self._region = (len(memory) - floor) // len(self._floors) if region is None else region
        if self._region < LEAST_REGION:
            raise ValueError(f"a block region needs {LEAST_REGION} bytes")
        self.source = source
        self.frames = 0
        self.link_types: list[int] = []
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.complete = True
        self.damage: str | None = None
        self._memory = memory
        self._view = memory.data
        self._floor = floor
        self._fresh = False  # whether this call of `read_block` has taken the next region
        self._at = self._stop = floor  # unframed bytes; `_at` beyond `_stop`: bytes to step over
        self._base = 0  # offset in the capture of the byte at `floor`
        self._faults = faults
        self._next_frame = first_frame
        self._ended = False
        self._form: PcapForm | None = None
        self._snoop_drops = -1  # of a snoop file: packets lost, as of its last record
        self._section = np.zeros(4, np.int64)
        self._interfaces: Interfaces | None = None
        self._compiled = compiled

    @property
    def bytes(self) -> int:
        """Bytes of the (unpacked) capture that were understood."""
        return self._base + min(self._at, self._stop) - self._floor

    @property
    def drops(self) -> int:
        """Packets that the capturing machine says it lost."""
        if self._interfaces is None:
            return max(0, self._snoop_drops)
        current = self._interfaces.drops[: int(self._section[COUNT])]
        return int(self._section[DROPS]) + int(current.sum())

    def read_block(self, packets: Packets) -> int:
        """Fill `packets`; how many rows, 0 at the end of the capture, or where nothing more is there yet."""
        if self._form is None and self._interfaces is None and self._snoop_drops < 0 and not self._ended:
            self._start()
        self._fresh = False
        while not self._ended:
            rows = self._frame(packets)
            if rows:
                return self._account(packets, rows)
            if not self._ended and not self._fill():
                break
        return 0

    @property
    def floor(self) -> int:
        """Where the region begins that the last block is in."""
        return self._floor

    @property
    def ended(self) -> bool:
        """Whether the capture is over."""
        return self._ended

    def _start(self) -> None:
        """Tell the format from the first bytes."""
        head = b""
        while len(head) < _header_size(head):
            more = self._fill()
            head = self._memory[self._floor : self._stop][:HEADER].tobytes()
            if not more:
                break
        if len(head) < _header_size(head) and not self._ended:
            return
        if not head:
            raise AnalyzerError(f"{self.source.path}: {self.source.damage or 'is empty'}")
        if is_pcap(head):
            if len(head) == HEADER:
                self._form = read_header(head)
                self.link_types.append(self._form.link)
                self._at += HEADER
        elif is_snoop(head):
            self._snoop_drops = 0
            self.link_types.append(read_link(head))
            self._at += SNOOP_HEADER
        elif is_pcapng(head) and _has_order_magic(head):
            self._interfaces = new_interfaces(16)
        else:
            raise AnalyzerError(f"{self.source.path}: {NOT_OURS}")

    def _frame(self, packets: Packets) -> int:
        """Frame what is in the region."""
        if self._form is not None:
            frame = twin(frame_pcap) if self._compiled else frame_pcap
            rows, self._at, why = frame(
                self._memory, self._at, self._stop, self._form, packets, self._next_frame
            )
        elif self._snoop_drops >= 0:
            rows, why = self._frame_snoop(packets)
        else:
            rows, why = self._frame_blocks(packets)
        if why == DAMAGED and not rows:
            self._end(Fault.FILE_DAMAGED, "no packet record")
        return int(rows)

    def _frame_snoop(self, packets: Packets) -> tuple[int, int]:
        frame = twin(frame_snoop) if self._compiled else frame_snoop
        rows, self._at, why = frame(
            self._memory, self._at, self._stop, self.link_types[0], packets, self._next_frame
        )
        if rows:
            at = int(packets.start[rows - 1]) - SNOOP_HEAD + SNOOP_DROPS
            self._snoop_drops = int.from_bytes(self._memory[at : at + 4].tobytes(), "big")
        return int(rows), why

    def _frame_blocks(self, packets: Packets) -> tuple[int, int]:
        if self._interfaces is None:
            return 0, 0
        frame = twin(frame_pcapng) if self._compiled else frame_pcapng
        while True:
            rows, self._at, why = frame(
                self._memory,
                self._at,
                self._stop,
                self._section,
                self._interfaces,
                packets,
                self._next_frame,
            )
            if why != GROW:
                return rows, why
            self._interfaces = new_interfaces(4 * len(self._interfaces.link), self._interfaces)
            if rows:
                return rows, why

    def _see_links(self, links: NDArray[Any]) -> None:
        """Remember link types that are new."""
        if len(links) and ((links != links[0]).any() or int(links[0]) not in self.link_types):
            for link in dict.fromkeys(links.tolist()):
                if link not in self.link_types:
                    self.link_types.append(link)

    def _fill(self) -> bool:
        """Move the tail down and read behind it; whether anything came, just now."""
        tail = self._stop - self._at
        self._base += min(self._at, self._stop) - self._floor
        floor = self._next_floor()
        if tail > 0 and self._at != floor:
            self._memory[floor : floor + tail] = self._memory[self._at : self._stop].copy()
        self._floor = floor
        self._at = floor + max(0, -tail)
        self._stop = floor + max(0, tail)
        count = self.source.readinto(self._view[self._stop : floor + self._region])
        if count is None:
            return False
        self._stop += count
        if not count:
            self._finish()
        return count > 0

    def _next_floor(self) -> int:
        """Regions take turns from call to call of `read_block`: what the last one gave stays as it is."""
        if not self._fresh:
            self._fresh = True
            self._floors.append(self._floors.pop(0))
        return self._floors[-1]

    def _finish(self) -> None:
        """The stream has ended: inside a packet, or in good order."""
        if self._interfaces is not None:
            self._see_links(self._interfaces.link[: int(self._section[COUNT])])
        if self.source.damage is not None:
            fault = Fault.FILE_CUT_SHORT if self.source.cut_short else Fault.FILE_DAMAGED
            self._end(fault, self.source.damage)
        elif self._at != self._stop:
            self._end(Fault.FILE_CUT_SHORT, "the file ends inside a packet")
        self._ended = True

    def _end(self, fault: Fault, what: str) -> None:
        note(self._faults, fault, 0)
        self.complete = False
        self.damage = f"{self.source.path}: {what}, at byte {self.bytes}"
        self._ended = True

    def _account(self, packets: Packets, rows: int) -> int:
        """Take note of a block's times and link types."""
        self._see_links(packets.link[:rows])
        time = packets.time[:rows]
        if self.first_time is None:
            self.first_time = int(time[0])
        elif self.last_time is not None and time[0] < self.last_time:
            note(self._faults, Fault.TIME_BACKWARDS, self._next_frame)
        for row in np.flatnonzero(time[1:] < time[:-1]).tolist():
            note(self._faults, Fault.TIME_BACKWARDS, self._next_frame + row + 1)
        self.last_time = int(time[-1])
        self.frames += rows
        self._next_frame += rows
        return rows


def _header_size(head: bytes) -> int:
    """How many bytes tell the format."""
    return SNOOP_HEADER if head.startswith(SNOOP) else HEADER


def _has_order_magic(head: bytes) -> bool:
    """Whether a section header of at least 12 bytes has the byte-order magic in its place."""
    magic = head[8:12]
    return len(magic) < 4 or ORDER_MAGIC in (int.from_bytes(magic, "big"), int.from_bytes(magic, "little"))
