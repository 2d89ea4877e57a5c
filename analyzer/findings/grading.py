"""How sure a verdict is, by the same laws for all rules.

In: a rule's case, with what it says of itself; what the capture missed. Out: confidence and severity; nothing
where it falls below possible, or is withheld: then it is a note, of which the rule about blind spots, asked
last, tells.

Theory. An absence is never definite, and a rule says of what it saw how sure it is at best. One step is lost
for each of these: a message may be missing where it would matter (bytes that were not captured or cut off,
datagrams of a capture that dropped packets); what was there before the capture may matter; it depends on how
the server tells owners apart, and that is a guess; an address in it is shared by several hosts. Packets that
the capturing program dropped nobody knows where make every absence in that time possible at best, and take
none away. Where the capture ended before the waiting window did, the verdict is possible at best, and one
step less severe. What is `info` is no exception where it rests on an absence, or on what may be missing;
where all of it was seen it is a plain fact, which a shared address does not make less sure either.

Two things are withheld: absences between hosts of which one direction was not captured, or with a host of
which nothing was; and what is odd only because something before it was not seen, in the first minute, unless
the capture saw the client come.

Never: makes a verdict surer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from functools import cached_property
from typing import NamedTuple

from analyzer.findings.guessed import standing_is_guessed
from analyzer.findings.rule import DEFINITE, INFO, POSSIBLE, Case, Confidence, Rule, Severity, Watch
from analyzer.parameters import window
from analyzer.sessions.losses import Losses
from analyzer.sessions.spans import meet
from analyzer.sessions.world import LESS_SURE, NOTES, Sessions
from analyzer.tables import UDP

START_GRACE = window(
    "capture-start-grace", 60, "what a host that was there before did last before the capture is not known"
)

COLLISION = "owner-collision"
Pair = tuple[int, int]


class Grade(NamedTuple):
    """How sure a case is, and how bad."""

    confidence: Confidence
    severity: Severity
    is_guessed: bool


class Grading:
    """The laws, as they apply to one capture."""

    def __init__(self, s: Sessions, shared: Callable[[Sessions], Set[Pair]]) -> None:
        """`shared`: clients with their server, where several hosts use the client's address; not asked for
        where there is nothing to grade."""
        self.s = s
        self._find_shared = shared
        s.losses = Losses(s.connections, s.nlm_flows)
        self.notes = s.doubted = {}
        self.half_seen: dict[Pair, Pair] = {}  # both ways round; as heard and missing
        self.mute: dict[int, Pair] = {}  # hosts of which there is nothing at all
        for one in s.one_way():
            known = one.heard, one.missing
            self.half_seen[known] = self.half_seen[known[::-1]] = known
            if not s.hosts.packets(one.missing):
                self.mute[one.missing] = known

    @cached_property
    def shared(self) -> Set[Pair]:
        """Clients with their server, where several hosts use the client's address."""
        return self._find_shared(self.s)

    def grade(self, rule: Rule, case: Case) -> Grade | None:
        """How sure and how bad a case is; None where it is no finding."""
        severity = rule.severity if case.severity is None else case.severity
        half_seen = self._half_seen(case)
        if half_seen is not None:
            self._note(half_seen, rule)
            return None
        guessed = case.guessed or any(standing_is_guessed(lock) for lock in case.stands)
        is_fact = severity == INFO and _is_all_seen(case)
        shared = not is_fact and rule.code != COLLISION and (case.client, case.server) in self.shared
        sure = case.confidence - case.demote - case.older - guessed - shared
        most = DEFINITE
        if case.due > self.s.end:
            most, severity = POSSIBLE, Severity(max(severity - 1, INFO))
        confidence = min(sure - self._may_miss(case), most)
        if _is_absence(case) and self._dropped(case):
            confidence = min(confidence, POSSIBLE)
        if confidence < POSSIBLE or self._is_too_early(case):
            self._note(NOTES, rule)
            return None
        if confidence < min(sure, most):
            self._note(LESS_SURE, rule)
        return Grade(Confidence(confidence), severity, guessed)

    def _note(self, where: Pair | str, rule: Rule) -> None:
        self.notes.setdefault(where, Counter())[rule.code] += 1

    def _half_seen(self, case: Case) -> Pair | None:
        """The hosts of which one is heard only, where a case is an absence between them."""
        if _is_absence(case):
            for pair in ((case.server, case.client), (case.client, case.peer), (case.server, case.peer)):
                known = self.half_seen.get(pair) or self.mute.get(pair[0]) or self.mute.get(pair[1])
                if known is not None:
                    return known
        return None

    def _may_miss(self, case: Case) -> bool:
        """Whether a message may be missing that would change a case."""
        losses = self.s.losses
        return case.untraced or any(
            losses.missed(*watch) or (watch.call.transport == UDP and self._dropped(case))
            for watch in self._watched(case)
        )

    def _watched(self, case: Case) -> Iterator[Watch]:
        yield from case.watched
        for lock in case.stands:
            yield Watch(lock.request.call, lock.granted.time, self.s.end)

    def _dropped(self, case: Case) -> bool:
        """Whether the capturing program lost packets while this happened, or did not."""
        since, until = case.first.time, max(case.due, (case.last or case.first).time)
        return meet(self.s.drop_spans, since, until)

    def _is_too_early(self, case: Case) -> bool:
        """Whether what was not seen may have been before the capture, for its hosts may have been there."""
        s = self.s
        is_early = case.first.time < s.start + s.settings[START_GRACE]
        return case.unheralded and is_early and not s.is_new(case.client, case.server)


def _is_all_seen(case: Case) -> bool:
    """Whether nothing that the capture lacks could change a case."""
    lacking = case.watched or case.stands or case.untraced or case.older or case.guessed
    return not lacking and not _is_absence(case)


def _is_absence(case: Case) -> bool:
    """Whether a case rests on something that was not seen."""
    return case.confidence < DEFINITE
