"""Chosen frames of a capture, read once more: their bytes, and what is said in them.

In: the captures in the order of reading, frame numbers. Out: a `Frame` for each, with its bytes, where it
stands and the RPC messages that become complete in it.

Theory. Which frames matter is known when the capture has gone by, so it goes by again: through the same
reader and the same front stages, which find the same messages in the same frames. No record or session is
made of them, only the chosen messages are decoded, by their declarations.

Never: keeps a frame that nobody asked for; reads what can be read once only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.capture.merge import Block, Merger
from analyzer.capture.source import STDIN
from analyzer.engine import unpacked_size, worth_compiling
from analyzer.errors import AnalyzerError
from analyzer.faults import MEANING, new_faults
from analyzer.front import ROWS, Delivery, Front
from analyzer.frozen import frozen
from analyzer.protocols import find, procedure_label
from analyzer.protocols.rpc import RPC_STATUS
from analyzer.records.events import Control, Event, Repeat, Unreachable
from analyzer.schema.scalar import decode_one
from analyzer.schema.xdr import Type
from analyzer.sessions.hosts import address_text
from analyzer.tables import ACK, FIN, RST, SYN, UDP, Bytes, Messages

Alias = Callable[[str], str]

PRIVACY = 3
FLAGS = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK"))


@frozen
class Message:
    """One RPC message. `values` are its decoded arguments or results, by their declaration `body`."""

    title: str  # `NLM4 LOCK call`
    route: str  # `192.0.2.21:800 to 192.0.2.1:4045, TCP`
    xid: int
    status: str | None  # of a reply, by RPC
    body: Type | None
    values: dict[str, Any]
    remark: str | None  # why values are missing
    raw: bytes = b""  # as captured
    row: Any = None  # its columns, of which positions are those of the memory it lay in


@dataclass(slots=True)
class Frame:
    """One captured packet. `number` counts the logical capture, `place` the file `path`."""

    number: int
    path: str
    place: int
    time: int
    link: int
    wire: int
    data: bytes
    messages: list[Message] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What is in it, in a few words."""
        said = [f"{message.title}, {message.route}" for message in self.messages]
        return "; ".join([*said, *self.events]) or "no RPC message ends here"


def refuse_read_once(paths: Sequence[str]) -> None:
    """Raise where a capture cannot be read twice."""
    for path in paths:
        where = Path(path)
        if path == STDIN or (where.exists() and not where.is_file() and not where.is_dir()):
            raise AnalyzerError(f"{path}: is read twice, so it must be a file; save the capture first")


def reread(paths: Sequence[str], wanted: Collection[int], alias: Alias = str) -> list[Frame]:
    """The wanted frames of captures in the order of reading; raises where one is no longer there.

    `alias` is what addresses are shown as.
    """
    compiled, faults = worth_compiling(unpacked_size(paths)), new_faults()
    front = Front(compiled, faults, captures=len(paths))
    numbers = np.array(sorted(wanted), np.int64)
    found: dict[int, Frame] = {}
    for block in Merger(paths, front.memory, front.room, compiled, faults, ROWS).blocks():
        for frame in _packets(front.memory, block, numbers, paths):
            found[frame.number] = frame
        for delivery in front.block(block.rows, block.packets):
            _describe(front.memory, delivery, numbers, found, alias)
    for delivery in front.finish():
        _describe(front.memory, delivery, numbers, found, alias)
    if len(found) < len(numbers):
        raise AnalyzerError(f"{', '.join(paths)}: changed between the first and the second reading")
    return [found[number] for number in numbers.tolist()]


def _packets(memory: Bytes, block: Block, wanted: Any, paths: Sequence[str]) -> Iterator[Frame]:
    """The wanted packets of a block."""
    packets, first = block.packets, int(block.packets.frame[0])
    low, high = np.searchsorted(wanted, (first, first + block.rows))
    for number in wanted[low:high].tolist():
        row = number - first
        data = memory[int(packets.start[row]) : int(packets.stop[row])].tobytes()
        time, link, wire = int(packets.time[row]), int(packets.link[row]), int(packets.wire[row])
        yield Frame(number, paths[block.files[row]], int(block.numbers[row]), time, link, wire, data)


def _describe(memory: Bytes, delivery: Delivery, wanted: Any, found: dict[int, Frame], alias: Alias) -> None:
    """What a delivery says about the wanted frames."""
    for row in np.flatnonzero(np.isin(delivery.messages.frame[: delivery.rows], wanted)).tolist():
        frame = found.get(int(delivery.messages.frame[row]))
        if frame is not None:
            frame.messages.append(_message(memory, delivery, row, alias))
    for event in delivery.events:
        frame = found.get(event.frame)
        text = _event(event)
        if frame is not None and text and text not in frame.events:
            frame.events.append(text)


def _event(event: Event) -> str:
    if isinstance(event, Control):
        return "TCP " + "+".join(name for bit, name in FLAGS if event.flags & bit)
    if isinstance(event, Repeat):
        return "TCP segment that was seen before"
    return "ICMP: cannot be reached" if isinstance(event, Unreachable) else ""


def _message(memory: Bytes, delivery: Delivery, row: int, alias: Alias) -> Message:
    m = Messages._make(int(column[row]) for column in delivery.messages)
    kind: Any = (m.program, m.version, m.procedure)
    is_reply = bool(m.reply)
    name = procedure_label(*kind) if int(m.program) >= 0 else "RPC"
    body, values, remark = _decoded(memory, m, kind, is_reply)
    ends = [
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        for address, port in (
            (alias(_address(delivery, m.src)), m.sport),
            (alias(_address(delivery, m.dst)), m.dport),
        )
    ]
    status = None
    if is_reply and int(m.status) >= 0:
        status = RPC_STATUS.get(int(m.status), str(m.status))
    return Message(
        f"{name} {'reply' if is_reply else 'call'}",
        f"{' to '.join(ends)}, {'UDP' if int(m.transport) == UDP else 'TCP'}",
        int(m.xid),
        status,
        body,
        values,
        remark,
        memory[m.start : m.start + m.kept].tobytes(),
        m,
    )


def _address(delivery: Delivery, host: Any) -> str:
    return address_text(int(delivery.hosts.high[host]), int(delivery.hosts.low[host]))


def _decoded(
    memory: Bytes, m: Any, kind: tuple[int, int, int], is_reply: bool
) -> tuple[Type | None, dict[str, Any], str | None]:
    """The declaration, the values, and why they are not all there."""
    if is_reply and m.call < 0:
        return None, {}, "its call was not captured"
    if m.gss == PRIVACY:
        return None, {}, "encrypted"
    declared = find(*kind)
    body = declared.body(int(is_reply)) if declared is not None else None
    if body is None or m.body < 0 or (is_reply and m.status != 0):
        return None, {}, None
    decoded = decode_one(body, memory[m.body : m.body + m.body_kept].tobytes(), m.body_size)
    return body, decoded.values, MEANING[decoded.fault] if decoded.fault is not None else None
