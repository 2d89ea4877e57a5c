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
        self.replies: dict[str, list[Reply]] = {}
        self.count: Counter[str] = Counter()

    def call(self, kind: str, call: Call) -> None:
        """Keep a call."""
        self.count[kind] += 1
        kept = self.calls.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(call)

    def reply(self, kind: str, reply: Reply) -> None:
        """Keep a reply."""
        self.count[kind] += 1
        kept = self.replies.setdefault(kind, [])
        if len(kept) < KEPT:
            kept.append(reply)
