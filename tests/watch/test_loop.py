"""The loop: at the end it says what `analyze` says, and everything it says is said once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

from analyzer.engine import Engine, analyze
from analyzer.findings.rule import DEFINITE, Finding
from analyzer.render import rows
from analyzer.render.view import Filters, View
from analyzer.watch import loop
from analyzer.watch.clock import Clock
from analyzer.watch.diary import OPEN, RESOLVED, Entry
from analyzer.watch.loop import Pace, Watch
from tests.expectations import expectations
from tests.watch.stepped import SECOND, Paced

SMALL = 120_000
CAPTURES = {name: path for name, path in expectations().items() if path.stat().st_size < SMALL}
LEAK = CAPTURES["lab/umnt_unlock_late"]


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK", 0.0)
    monkeypatch.setattr(loop, "REST", 0)


def watched(capture: Path, filters: Filters | None = None, step: int = SECOND) -> tuple[Watch, list[Entry]]:
    """A capture watched to its end."""
    stream = Paced(capture, step)
    with patch.object(loop, "Clock", lambda: Clock(lambda: stream.now)):
        watch = Watch(cast(Any, stream), Engine(compiled=False), filters)
    return watch, [entry for entries in watch.entries() for entry in entries]


def nameless(finding: Finding) -> Finding:
    """A finding without its id, which is the one under which it was first told."""
    return replace(finding, id="", caused_by=())


def about(finding: Finding) -> tuple[object, ...]:
    """What a finding is about: its id begins with the first frame, which may be found later, and which of
    its cases speaks for all may change."""
    return finding.code, finding.server, finding.client, finding.peer, finding.fh or finding.export


@pytest.mark.parametrize("name", CAPTURES)
def test_the_last_word_is_that_of_analyze(name: str) -> None:
    watch, entries = watched(CAPTURES[name])
    assert watch.analysis is not None
    whole = analyze([str(CAPTURES[name])], compiled=False)
    assert list(map(nameless, watch.analysis.findings)) == list(map(nameless, whole.findings))
    told = {entry.finding.id for entry in entries if entry.state == OPEN}
    assert {finding.id for finding in watch.analysis.findings} <= told
    assert watch.analysis.counts == whole.counts
    assert watch.analysis.health == whole.health
    watch.analysis.findings = whole.findings
    for table in rows.TABLES.values():
        # handles are numbered block by block
        assert sorted(map(repr, table(View(watch.analysis)))) == sorted(map(repr, table(View(whole))))
    opened = Counter(entry.finding.id for entry in entries if entry.state == OPEN)
    assert set(opened.values()) <= {1}, "each is said once"
    standing = Counter(about(entry.finding) for entry in entries if entry.state == OPEN)
    standing.subtract(about(entry.finding) for entry in entries if entry.state == RESOLVED)
    assert +standing == Counter(map(about, whole.findings))


@pytest.mark.parametrize("tells", [True, False])
def test_drops_are_told_with_the_time_since_it_was_known_that_there_were_none(tells: bool) -> None:
    stream = Paced(LEAK, SECOND)
    with patch.object(loop, "Clock", lambda: Clock(lambda: stream.now)):
        watch = Watch(cast(Any, stream), Engine(compiled=False), drops=lambda: 5 * (len(seen) > 10))
    watch.tells_drops = lambda: tells
    seen: list[int] = []
    seen.extend(watch.now for _ in watch.entries())
    ((since, until),) = watch.sessions.drop_spans
    assert until == seen[11]
    assert since == (seen[10] if tells else watch.sessions.start)


def test_drops_that_go_on_are_told_as_one_stretch() -> None:
    stream = Paced(LEAK, SECOND)
    with patch.object(loop, "Clock", lambda: Clock(lambda: stream.now)):
        watch = Watch(cast(Any, stream), Engine(compiled=False), drops=lambda: 5 * min(len(seen), 20))
    seen: list[int] = []
    seen.extend(watch.now for _ in watch.entries())
    ((since, until),) = watch.sessions.drop_spans
    assert (since, until) == (watch.sessions.start, seen[20])


def test_it_is_said_when_it_is_provable_and_taken_back_when_it_is_over() -> None:
    watch, entries = watched(LEAK, step=SECOND // 4)
    begin = watch.sessions.start
    story = [(entry.state, entry.finding.code, (entry.time - begin) // SECOND) for entry in entries]
    leak = [(state, second) for state, code, second in story if code == "lock-held-after-umnt"]
    assert leak == [(OPEN, 8), (RESOLVED, 31)]


def test_only_what_was_chosen_is_said() -> None:
    _, entries = watched(LEAK, Filters(select={"unlock-unanswered"}))
    assert {entry.finding.code for entry in entries} == {"unlock-unanswered"}
    _, entries = watched(LEAK, Filters(ignore={"unlock-unanswered"}, min_confidence=DEFINITE))
    assert not {entry.finding.code for entry in entries} & {"unlock-unanswered", "lock-held-after-umnt"}


def test_pace() -> None:
    pace = Pace(since=10.0)
    pace.note(500, 10.5)
    assert pace.rate == 0
    pace.note(1000, 12.0)
    assert pace.rate == 500
