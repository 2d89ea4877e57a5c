"""What the capture missed: bytes of a conversation, or packets nobody knows of which.

In: connections, the flows of lock calls. Out: whether a stretch of a conversation was captured whole; whether
one about locks may lack a message.

Theory. TCP tells what is missing by its numbers, a message cut by the snaplen by its length, and one that was
cut together with what follows it by the record that cannot be found. Two hosts talk about locks over more
than one connection, one after the other and both ways: what is missing of one of them may be what the others
lack. Other programs have connections of their own, which may be as full of holes as they like.

Never: guesses what was missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.protocols.nlm import NLM
from analyzer.records.events import Call
from analyzer.sessions.connections import Connections


class Losses:
    """The losses of a capture, as far as they are known now."""

    def __init__(self, connections: Connections, lock_flows: Mapping[int, Sequence[Call]]) -> None:
        self._missing = connections.missing
        self._unseen = connections.unseen
        self._torn = connections.torn
        self._about_locks: dict[tuple[int, int], list[int]] = {}  # flows with losses, by their hosts
        self._to_service: dict[tuple[int, int, int], list[int]] = {}  # by opener, target and port
        for flow in self._missing.flows() | self._unseen | self._torn.keys():
            known, opened = lock_flows.get(flow), connections.by_flow.get(flow)
            if known is not None:
                for pair in {(known[0].src, known[0].dst), (known[0].dst, known[0].src)}:
                    self._about_locks.setdefault(pair, []).append(flow)
            if opened is not None:
                self._to_service.setdefault((opened.opener, opened.target, opened.port), []).append(flow)

    def whole(self, flow: int, since: int, until: int) -> bool:
        """Whether no byte of a connection is known to be missing from since..until."""
        first, last = self._torn.get(flow, (until + 1, since - 1))
        torn = first <= until and last >= since
        sides = ((flow, 0), (flow, 1))
        cut = any(self._missing.between(side, since, until) for side in sides)
        return not (flow in self._unseen or torn or cut)

    def missed(self, call: Call, since: int, until: int) -> bool:
        """Whether a message may be missing that has to do with a call.

        Of its connection, of others to the same service, and where it is about locks, of any on which these
        hosts talk about locks.
        """
        flows = [call.flow, *self._to_service.get((call.src, call.dst, call.dport), ())]
        if call.program == NLM:
            flows += self._about_locks.get((call.src, call.dst), ())
        return not all(self.whole(flow, since, until) for flow in flows)
