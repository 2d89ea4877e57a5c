"""What the capture missed: bytes of a conversation, or packets nobody knows of which.

In: connections, the flows of lock calls. Out: whether a stretch of a conversation was captured whole; whether
one about locks may lack a message.

Theory. TCP tells what is missing by its numbers, a message cut by the snaplen by its length, and one that was
cut together with what follows it by the record that cannot be found. Two hosts talk about locks over more
than one connection, one after the other and both ways: what is missing of one of them may be what the others
lack. Other programs have connections of their own, which may be as full of holes as they like. Rules ask for
every lock there is, so the stretches of all connections between two hosts are put together once.

Never: guesses what was missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzer.protocols.nlm import NLM
from analyzer.records.events import Call
from analyzer.sessions.connections import Connections
from analyzer.sessions.spans import Stretch, joined, meet, meet_joined

ALWAYS = -(2**63), 2**63 - 1


class Losses:
    """The losses of a capture, as far as they are known now."""

    def __init__(self, connections: Connections, lock_flows: Mapping[int, Sequence[Call]]) -> None:
        self._missing = connections.missing
        self._unseen = connections.unseen
        self._torn = connections.torn
        about_locks: dict[tuple[int, int], list[Stretch]] = {}  # by two hosts
        to_service: dict[tuple[int, int, int], list[Stretch]] = {}  # by opener, target and port
        for flow in self._missing.flows() | self._unseen | self._torn.keys():
            known, opened = lock_flows.get(flow), connections.by_flow.get(flow)
            if known is not None:
                for pair in {(known[0].src, known[0].dst), (known[0].dst, known[0].src)}:
                    about_locks.setdefault(pair, []).extend(self._stretches(flow))
            if opened is not None:
                service = opened.opener, opened.target, opened.port
                to_service.setdefault(service, []).extend(self._stretches(flow))
        self._about_locks = {pair: joined(stretches) for pair, stretches in about_locks.items()}
        self._to_service = {service: joined(stretches) for service, stretches in to_service.items()}

    def _stretches(self, flow: int) -> list[Stretch]:
        """When bytes of a connection were missing."""
        if flow in self._unseen:
            return [ALWAYS]
        torn = [self._torn[flow]] if flow in self._torn else []
        return [*self._missing.of((flow, 0)), *self._missing.of((flow, 1)), *torn]

    def whole(self, flow: int, since: int, until: int) -> bool:
        """Whether no byte of a connection is known to be missing from since..until."""
        return not meet(self._stretches(flow), since, until)

    def missed(self, call: Call, since: int, until: int) -> bool:
        """Whether a message may be missing that has to do with a call.

        Of its connection, of others to the same service, and where it is about locks, of any on which these
        hosts talk about locks.
        """
        return (
            not self.whole(call.flow, since, until)
            or meet_joined(self._to_service.get((call.src, call.dst, call.dport), ()), since, until)
            or (
                call.program == NLM
                and meet_joined(self._about_locks.get((call.src, call.dst), ()), since, until)
            )
        )
