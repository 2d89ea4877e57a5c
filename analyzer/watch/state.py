"""How things stand, in numbers: what a screen and a monitoring system show of a live run.

In: a `Watch`, after a look. Out: a `State`, which nothing changes afterwards: others may read it while the
capture goes on.

Never: judges.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from analyzer.findings.rule import Finding
from analyzer.sessions.model import Lock, Offer, Wait
from analyzer.sessions.retention import sizes
from analyzer.watch.loop import Watch

UNANSWERED = 10_000_000_000  # ns after which nobody answers a callback any more


@dataclass(slots=True)
class State:
    """How things stand."""

    source: str = ""
    now: int = 0
    packets: int = 0
    rate: float = 0.0
    drops: int = 0
    tells_drops: bool = False  # before the end
    messages: int = 0
    held: list[Lock] = field(default_factory=list)  # the oldest first
    waiting: list[Wait] = field(default_factory=list)
    mounted: int = 0
    findings: list[Finding] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    dropped: int = 0  # of what was kept, before its age
    cost: float = 0.0  # seconds of the last look
    behind: int = 0  # bytes not yet read
    ports: int = 0  # that the capture filter follows


def state_of(watch: Watch) -> State:
    """How things stand now."""
    s = watch.sessions
    return State(
        source=watch.source,
        now=watch.now,
        packets=watch.packets,
        rate=watch.pace.rate,
        drops=watch.drops,
        tells_drops=watch.tells_drops(),
        messages=watch.engine.front.assembler.messages,
        held=[lock for lock in s.ledger.locks if lock.server_end is None],
        waiting=[wait for wait in s.ledger.waits if wait.ended is None],
        mounted=sum(1 for mount in s.mounts.sessions.values() if mount.count),
        findings=watch.diary.standing,
        sizes=sizes(s),
        dropped=watch.retention.dropped + s.evicted(),
        cost=watch.cost,
        behind=watch.behind,
        ports=len(watch.ports.known) if watch.ports is not None else 0,
    )


class Outcomes:
    """How waits and callbacks ended, each told once."""

    def __init__(self) -> None:
        self.callbacks: Counter[str] = Counter()
        self._waits: dict[Wait, None] = {}
        self._offers: dict[Offer, None] = {}
        self._last_wait = self._last_offer = 0  # frames

    def ended(self, watch: Watch) -> list[int]:
        """How long the waits were (ns) that ended since the last time; callbacks are counted along."""
        ledger = watch.sessions.ledger
        for wait in reversed(ledger.waits):
            if wait.since.frame <= self._last_wait:
                break
            self._waits[wait] = None
        for offer in reversed(ledger.offers):
            if offer.operation.call.frame <= self._last_offer:
                break
            self._offers[offer] = None
        self._last_wait = self._last_offer = watch.packets
        for offer in list(self._offers):
            if outcome := _outcome(offer, watch.now):
                self.callbacks[outcome] += 1
                del self._offers[offer]
        over = [wait for wait in self._waits if wait.ended is not None]
        for wait in over:
            del self._waits[wait]
        return [wait.ended.time - wait.since.time for wait in over if wait.ended is not None]


def _outcome(offer: Offer, now: int) -> str:
    """What became of a callback; empty while it may still be answered."""
    if offer.accepted is not None:
        return "accepted"
    if offer.refused is not None:
        return "refused"
    return "unanswered" if now - offer.operation.calls[-1].time > UNANSWERED else ""
