"""Which ports RPC services have, as the wire tells.

In: messages, block by block (a tap of the engine); what a portmapper says. Out: `Port`s, each once.

Theory. lockd, statd and mountd take any port. It becomes known when a portmapper names it (an answer to
GETPORT, GETADDR or DUMP, a SET), or when a call of their programs comes to it, which the engine knows by its
bytes. A port is not forgotten: clients keep what they were told for hours.

Never: asks anybody (`portmapper` does); keeps more than `MOST_PORTS`, for what names them may be hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.protocols import LABELS, REGISTRY
from analyzer.protocols.portmap import PORTMAP
from analyzer.schema.program import CALL, REPLY
from analyzer.schema.scalar import decode_one
from analyzer.sessions.reboots import port_of_address
from analyzer.tables import Bytes, Messages

if TYPE_CHECKING:
    from analyzer.engine import Engine

MOST_PORTS = 64
LAST_PORT = 65535
WELL_KNOWN = {111: "PORTMAP", 2049: "NFS", 20048: "MOUNT", 4045: "NLM"}  # of IANA, and of habit
SETTING = (1, 2)  # SET, UNSET


class Port(NamedTuple):
    """A port that became known."""

    number: int
    program: str
    host: str  # where


class Ports:
    """The ports that are known."""

    def __init__(self) -> None:
        self.known = dict(WELL_KNOWN)
        self.learnt: list[Port] = []  # in the order in which they became known
        self.overflown = False  # there are too many to tell them apart by a filter

    def learn(self, number: int, program: int, host: str) -> None:
        """A program has a port."""
        if program in LABELS and 0 < number <= LAST_PORT and number not in self.known:
            if len(self.known) >= MOST_PORTS:
                self.overflown = True
                return
            self.known[number] = LABELS[program]
            self.learnt.append(Port(number, LABELS[program], host))

    def tap(self, memory: Bytes, messages: Messages, rows: int, engine: Engine) -> Callable[[], None] | None:
        """Learn from a block, as soon as the sessions know its hosts."""
        m = Messages(*(column[:rows] for column in messages))
        found = [*self._called(m), *_named(memory, m)]
        if not found:
            return None

        def tell() -> None:
            for number, program, host in found:
                self.learn(number, program, engine.sessions.hosts.address(host))

        return tell

    def _called(self, m: Messages) -> Iterator[tuple[int, int, int]]:
        """Where calls of our programs went: port, program, host."""
        calls = np.flatnonzero((m.reply == 0) & np.isin(m.program, list(LABELS)))
        for number, first in zip(*np.unique(m.dport[calls], return_index=True), strict=True):
            if int(number) not in self.known:
                row = calls[first]
                yield int(number), int(m.program[row]), int(m.dst[row])


def _named(memory: Bytes, m: Messages) -> Iterator[tuple[int, int, int]]:
    """What portmappers said: port, program, host."""
    for row in np.flatnonzero(m.program == PORTMAP).tolist():
        declared = REGISTRY.get((PORTMAP, int(m.version[row])))
        procedure = declared.procedures.get(int(m.procedure[row])) if declared else None
        if procedure is None:
            continue
        is_reply = bool(m.reply[row])
        if is_reply and int(m.status[row]) != 0:
            continue
        host = int(m.src[row] if is_reply else m.dst[row])
        said = _values(memory, procedure.body(REPLY if is_reply else CALL), m.body[row], m.body_kept[row])
        if is_reply:
            asked = _values(memory, procedure.body(CALL), m.call_body[row], m.call_body_kept[row])
            said = {"prog": asked.get("prog")} | said
        elif procedure.number not in SETTING:
            continue
        yield from ((number, program, host) for number, program in services(said))


def _values(memory: Bytes, body: Any, start: Any, kept: Any) -> dict[str, Any]:
    if body is None or start < 0:
        return {}
    return decode_one(body, memory[int(start) : int(start) + int(kept)].tobytes()).values


def services(said: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Port and program of each service in what a portmapper said: a mapping, or a list of them."""
    several: Iterable[Mapping[str, Any]] = said.get("mappings") or (said,)
    for one in several:
        port, program = one.get("port"), one.get("prog")
        if port is None and one.get("addr") is not None:
            port = port_of_address(bytes(one["addr"]))
        if port and program is not None:
            yield int(port), int(program)
