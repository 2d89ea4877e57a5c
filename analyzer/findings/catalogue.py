"""The list of all rules, and the findings they make.

In: `Sessions` at the end of a capture (or of a tick). Out: findings in order of severity, time and id.

Theory. Rules are found in the modules of the families, so that a new rule is one function. Cases of one
code about the same server, client and file or export are one finding; its frames are those of all its
cases (the first and last 32 beyond 64), its confidence and severity the highest of them. What a one-sided
capture cannot show is withheld (`doubts`). Ids are a hash of what makes the finding this one, so that two
runs over one capture agree.

Never: knows a protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace

from analyzer.findings import (
    callbacks,
    callbacks_habits,
    leaks,
    leaks_files,
    leaks_races,
    performance,
    performance_rates,
    performance_waits,
    recovery,
    recovery_peers,
    recovery_service,
    security,
    security_access,
    security_owners,
    unmount,
    unmount_books,
    visibility,
)
from analyzer.findings.doubts import Doubts
from analyzer.findings.guessed import GUESS
from analyzer.findings.rule import INFO, POSSIBLE, Case, Confidence, Finding, Rule, Severity
from analyzer.sessions.world import Sessions

MODULES = (
    leaks,
    leaks_races,
    leaks_files,
    callbacks,
    callbacks_habits,
    unmount,
    unmount_books,
    recovery,
    recovery_peers,
    recovery_service,
    security,
    security_owners,
    security_access,
    performance,
    performance_rates,
    performance_waits,
    visibility,
)
RULES: dict[str, Rule] = {
    rule.code: rule for module in MODULES for rule in vars(module).values() if isinstance(rule, Rule)
}
MOST_FRAMES = 64

Group = list[Case]
Key = tuple[str, object]


def evaluate(s: Sessions, codes: Collection[str] | None = None) -> list[Finding]:
    """All findings of these sessions, ordered by severity, first time, id."""
    return [finding for _, finding in judge(s, codes)]


def judge(
    s: Sessions, codes: Collection[str] | None = None, goes_on: bool = False
) -> list[tuple[Key, Finding]]:
    """The same findings, each with what makes it the one it is: the key stays while frames are added.

    `goes_on`: there will be more packets, so nothing is said of the end, or before its window is over.
    """
    found: list[tuple[Finding, Group]] = []
    keys: list[Key] = []
    doubts = Doubts(s)
    for rule in RULES.values():
        if (codes is not None and rule.code not in codes) or (goes_on and rule.at_end):
            continue
        groups: dict[object, Group] = {}
        for case in rule.check(s):
            if not (goes_on and case.cut_short) and not doubts.withholds(rule.code, case):
                groups.setdefault(_key(case), []).append(case)
        for key, cases in groups.items():
            made = _finding(s, rule, cases)
            if made is not None:
                found.append((made, cases))
                keys.append((rule.code, key))
    pairs = zip(keys, _linked(found), strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1].severity, pair[1].first_time, pair[1].id))


def _key(case: Case) -> object:
    if case.one is not None:
        return ("one", case.one)
    place = case.file.fh if case.file is not None else (case.path, case.export)
    return (case.server, case.client, case.peer, place, case.group)


def _finding(s: Sessions, rule: Rule, cases: Group) -> Finding | None:
    graded = [(confidence, severity, case) for case in cases for confidence, severity in _grade(rule, case)]
    if not graded:
        return None
    confidence = max(grade[0] for grade in graded)
    severity = max(grade[1] for grade in graded)
    lead = max(graded, key=lambda grade: grade[:2])[2]
    frames = sorted({frame for _, _, case in graded for frame in case.frames if frame > 0})
    first = min(case.first.time for _, _, case in graded)
    last = max((case.last or case.first).time for _, _, case in graded)
    if len(frames) > MOST_FRAMES:
        frames = frames[: MOST_FRAMES // 2] + frames[-MOST_FRAMES // 2 :]
    address = s.hosts.address
    server, client, peer = (address(h) if h >= 0 else None for h in (lead.server, lead.client, lead.peer))
    fh = s.handles.text(lead.file.fh) if lead.file is not None else None
    identity = f"{server}|{client}|{peer}|{fh}|{lead.path}|{lead.export}|{frames[0] if frames else 0}"
    message = lead.message if len(graded) == 1 else f"{lead.message} ({len(graded)} times)"
    message += f"; {GUESS}" if lead.guessed else ""
    return Finding(
        id=f"{rule.code}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}",
        code=rule.code,
        family=rule.family,
        severity=severity,
        confidence=confidence,
        server=server,
        client=client,
        peer=peer,
        export=lead.export,
        path=lead.path,
        fh=fh,
        owner=(lead.owner.caller, lead.owner.svid, lead.owner.oh) if lead.owner else None,
        range=lead.range,
        first_time=first,
        last_time=last,
        frames=tuple(frames),
        count=len(graded),
        message=message,
        remedy=lead.remedy or rule.remedy,
    )


def _grade(rule: Rule, case: Case) -> list[tuple[Confidence, Severity]]:
    """Confidence and severity of a case; nothing where it falls below possible."""
    confidence = case.confidence - case.demote - case.guessed
    severity = rule.severity if case.severity is None else case.severity
    if case.cut_short:
        confidence = min(confidence, POSSIBLE)
        severity = Severity(max(severity - 1, INFO))
    return [(Confidence(confidence), severity)] if confidence >= POSSIBLE else []


def _linked(found: list[tuple[Finding, Group]]) -> list[Finding]:
    """Findings with `caused_by` filled in from the objects their cases name."""
    about: dict[int, list[Finding]] = {}
    for finding, cases in found:
        for case in cases:
            if case.subject is not None:
                about.setdefault(id(case.subject), []).append(finding)
    linked = []
    for finding, cases in found:
        causes = {
            cause.id
            for case in cases
            if case.cause is not None
            for cause in about.get(id(case.cause), ())
            if cause.code != finding.code
        }
        linked.append(replace(finding, caused_by=tuple(sorted(causes))))
    return linked
