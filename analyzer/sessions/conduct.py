"""Calls that are remarkable in themselves: refused, malformed, or asked by whom they should not be.

In: calls and replies of the programs we follow. Out: lists of them by kind, bounded.

Theory. A message can be worth a finding without any ledger: an identity the server refuses, arguments
that do not decode, a private procedure used from afar. They are kept in the order they came.

Never: decides severity.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from analyzer.records.events import Call, Reply
from analyzer.sessions.kept import Kept

KEPT = 4096
FIRST_OPEN_PORT = 1024  # below it, only root may send (IPPORT_RESERVED)
CALLS_KEPT = 16


@dataclass(slots=True, eq=False)
class OpenPort:
    """Calls of one program that came from ports anybody may use."""

    calls: Kept[Call] = field(default_factory=lambda: Kept(CALLS_KEPT))  # the first ones

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.calls) + self.calls.dropped


class Conduct:
    """Remarkable calls and replies, the first `KEPT` of each kind, and how many there were."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self._answers: dict[int, Reply | None] = {}  # by serial number of a kept call
        self.refused: list[Reply] = []
        self.count: Counter[str] = Counter()
        self.open_ports: dict[tuple[int, int, int], OpenPort] = {}  # by sender, receiver, program

    def call(self, kind: str, call: Call) -> None:
        """Keep a call."""
        self.count[kind] += 1
        kept = self.calls.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(call)
            self._answers[call.serial] = None

    def sent(self, call: Call) -> None:
        """Note where a call that should be root's came from."""
        if call.sport < FIRST_OPEN_PORT:
            return
        key = (call.src, call.dst, call.program)
        port = self.open_ports.get(key)
        if port is None:
            if len(self.open_ports) >= KEPT:
                return
            port = self.open_ports[key] = OpenPort()
        port.calls.append(call)
        if not port.calls.dropped:
            self._answers[call.serial] = None

    def reply(self, reply: Reply) -> None:
        """Keep a reply, if it is a refusal or the first one to a call that is kept."""
        if reply.status != 0:
            self.count["refused"] += 1
            if len(self.refused) < KEPT:
                self.refused.append(reply)
        if self._answers.get(reply.call.serial, reply) is None:
            self._answers[reply.call.serial] = reply

    def answer(self, call: Call) -> Reply | None:
        """The first reply to a call that is kept."""
        return self._answers.get(call.serial)

    def forget_answers(self) -> None:
        """Forget the answers to calls that are no longer kept."""
        kept = [call for calls in self.calls.values() for call in calls]
        kept += [call for port in self.open_ports.values() for call in port.calls]
        self._answers = {call.serial: self._answers.get(call.serial) for call in kept}
