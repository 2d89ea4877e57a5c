"""What the blind spots of a capture do to the verdicts of the rules.

In: sessions, and every case of every rule. Out: whether a case must not be raised; which codes were less
sure, or not said (`Sessions.doubted`): the rule about blind spots, asked last, tells of them.

Theory. Where one direction between two hosts was not captured, all that does not happen between them may
have happened unseen; and so with everybody, where nothing of a host was captured. What is certain there
stays, for no absence is; everything else is withheld. Where bytes are missing here and there, rules demote by
themselves; it is only counted.

Never: makes a verdict surer.
"""

from __future__ import annotations

from collections import Counter

from analyzer.findings.rule import DEFINITE, Case
from analyzer.sessions.world import Sessions

Pair = tuple[int, int]


class Doubts:
    """The doubtful pairs of hosts of a capture, and what became of findings about them."""

    def __init__(self, s: Sessions) -> None:
        self.lossy = s.lossy()
        self.codes = s.doubted = {}  # what was less sure (None), or withheld about a pair
        self.half_seen: dict[Pair, Pair] = {}  # both ways round; as heard and missing
        self.mute: dict[int, Pair] = {}  # hosts of which there is nothing at all
        for one in s.one_way():
            known = one.heard, one.missing
            self.half_seen[known] = self.half_seen[known[::-1]] = known
            if not s.hosts.packets(one.missing):
                self.mute[one.missing] = known

    def withholds(self, code: str, case: Case) -> bool:
        """Whether a case is an absence where nothing could be seen."""
        if not (case.demote or case.confidence < DEFINITE):
            return False
        for pair in ((case.server, case.client), (case.client, case.peer), (case.server, case.peer)):
            known = self.half_seen.get(pair) or self.mute.get(pair[0]) or self.mute.get(pair[1])
            if known is not None and case.confidence < DEFINITE:
                self.codes.setdefault(known, Counter())[code] += 1
                return True
            if case.demote and pair in self.lossy:
                self.codes.setdefault(None, Counter())[code] += 1
                break
        return False


def listed(codes: Counter[str] | None, lead: str) -> str:
    """Codes with how often, behind the words that lead to them; nothing where there are none."""
    if not codes:
        return ""
    said = (f"{code} ({count} times)" if count > 1 else code for code, count in codes.most_common())
    return lead + ", ".join(said)
