"""Calls that are remarkable in themselves: refused, malformed, or asked by whom they should not be.

In: calls and replies of the programs we follow. Out: lists of them by kind, bounded.

Theory. A message can be worth a finding without any ledger: an identity the server refuses, arguments
that do not decode, a private procedure used from afar. They are kept in the order they came.

Never: decides severity.
"""

from __future__ import annotations

from collections import Counter

from analyzer.records.events import Call, Reply

KEPT = 4096


class Conduct:
    """Remarkable calls and replies, the first `KEPT` of each kind, and how many there were."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self._answers: dict[int, Reply | None] = {}  # by serial number of a kept call
        self.refused: list[Reply] = []
        self.count: Counter[str] = Counter()

    def call(self, kind: str, call: Call) -> None:
        """Keep a call."""
        self.count[kind] += 1
        kept = self.calls.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(call)
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
