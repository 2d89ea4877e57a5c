"""The list of all rules, and the findings they make.

In: `Sessions` at the end of a capture (or of a tick). Out: findings in order of severity, time and id.

Theory. Rules are found in the modules of the families, so that a new rule is one function. Cases of one code
about the same server, client and file or export are one finding; its frames are those of all its cases (the
first and last 32 beyond 64), its confidence and severity the highest of them (`grading`). Ids are a hash of
what makes the finding this one, so that two runs over one capture agree.

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
from analyzer.findings.grading import Grade, Grading
from analyzer.findings.guessed import GUESS
from analyzer.findings.rule import Case, Finding, Rule
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

Graded = list[tuple[Grade, Case]]
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
    found: list[tuple[Finding, Graded]] = []
    keys: list[Key] = []
    grading = Grading(s, security_owners.shared_addresses)
    for rule in RULES.values():
        if (codes is not None and rule.code not in codes) or (goes_on and rule.at_end):
            continue
        groups: dict[object, Graded] = {}
        for case in rule.check(s):
            grade = None if goes_on and case.due > s.end else grading.grade(rule, case)
            if grade is not None:
                groups.setdefault(_key(case), []).append((grade, case))
        for key, graded in groups.items():
            found.append((_finding(s, rule, graded), graded))
            keys.append((rule.code, key))
    pairs = zip(keys, _linked(found), strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1].severity, pair[1].first_time, pair[1].id))


def _key(case: Case) -> object:
    if case.one is not None:
        return ("one", case.one)
    place = case.file.fh if case.file is not None else (case.path, case.export)
    return (case.server, case.client, case.peer, place, case.group)


def _finding(s: Sessions, rule: Rule, graded: Graded) -> Finding:
    confidence = max(grade.confidence for grade, _ in graded)
    severity = max(grade.severity for grade, _ in graded)
    grade, lead = max(graded, key=lambda one: one[0][:2])
    frames = sorted({frame for _, case in graded for frame in case.frames if frame > 0})
    first = min(case.first.time for _, case in graded)
    last = max((case.last or case.first).time for _, case in graded)
    if len(frames) > MOST_FRAMES:
        frames = frames[: MOST_FRAMES // 2] + frames[-MOST_FRAMES // 2 :]
    address = s.hosts.address
    server, client, peer = (address(h) if h >= 0 else None for h in (lead.server, lead.client, lead.peer))
    fh = s.handles.text(lead.file.fh) if lead.file is not None else None
    identity = f"{server}|{client}|{peer}|{fh}|{lead.path}|{lead.export}|{frames[0] if frames else 0}"
    message = lead.message if len(graded) == 1 else f"{lead.message} ({len(graded)} times)"
    message += f"; {GUESS}" if grade.is_guessed else ""
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


def _linked(found: list[tuple[Finding, Graded]]) -> list[Finding]:
    """Findings with `caused_by` filled in from the objects their cases name."""
    about: dict[int, list[Finding]] = {}
    for finding, graded in found:
        for _, case in graded:
            if case.subject is not None:
                about.setdefault(id(case.subject), []).append(finding)
    linked = []
    for finding, graded in found:
        causes = {
            cause.id
            for _, case in graded
            if case.cause is not None
            for cause in about.get(id(case.cause), ())
            if cause.code != finding.code
        }
        linked.append(replace(finding, caused_by=tuple(sorted(causes))))
    return linked
