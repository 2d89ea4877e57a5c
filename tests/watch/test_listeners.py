"""Those who are told: numbers, a command, a screen, a journal. Each tells what the watch knows, no more."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

import analyzer
from analyzer.engine import Engine
from analyzer.errors import AnalyzerError
from analyzer.watch import hooks, loop
from analyzer.watch.clock import Clock
from analyzer.watch.hooks import Hook
from analyzer.watch.journal import Journal
from analyzer.watch.lines import Lines
from analyzer.watch.loop import Watch
from analyzer.watch.metrics import Metrics, parsed
from analyzer.watch.run import Listener
from analyzer.watch.screen import Screen
from tests.expectations import CAPTURES
from tests.findings.lab import Lab
from tests.watch.stepped import SECOND, Paced

LIVE = (sys.executable, "-m", "analyzer", "live")
LEAK = CAPTURES / "lab" / "umnt_unlock_late.pcap"


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK", 0.0)
    monkeypatch.setattr(loop, "REST", 0)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watch]:
    """Plays a capture to listeners, up to a second of it."""

    def play(listeners: list[Any], capture: Path = LEAK, until: float = 1e6) -> Watch:
        stream = Paced(capture, SECOND // 4)
        monkeypatch.setattr(loop, "Clock", lambda: Clock(lambda: stream.now))
        watch = Watch(cast(Any, stream), Engine(compiled=False))
        for entries in watch.entries():
            for listener in cast(list[Listener], listeners):
                listener.tell(entries, watch)
            if stream.now - stream.begin > until * SECOND:
                break
        return watch

    return play


# -- numbers ------------------------------------------------------------------------------------


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(":0")


def scraped(metrics: Metrics) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(number) for name, _, number in pairs}


def test_numbers(metrics: Metrics, played: Callable[..., Watch]) -> None:
    assert scraped(metrics)["lockscope_packets_total"] == 0
    watch = played([metrics], until=15)
    seen = scraped(metrics)
    assert seen["lockscope_packets_total"] == watch.reader.frames > 0
    assert seen['lockscope_findings_open{code="lock-held-after-umnt"}'] == 1
    assert seen['lockscope_findings_total{code="lock-held-after-umnt"}'] == 1
    assert seen['lockscope_findings_open{code="deadlock"}'] == 0
    assert seen['lockscope_state{kind="locks"}'] == len(watch.sessions.ledger.locks)


def test_numbers_of_waits_and_callbacks(metrics: Metrics, played: Callable[..., Watch]) -> None:
    played([metrics], CAPTURES / "lab" / "clean_contention.pcap")
    seen = scraped(metrics)
    assert seen["lockscope_waiters"] == seen["lockscope_locks_held"] == 0
    assert seen["lockscope_wait_seconds_count"] > 0
    assert seen['lockscope_callbacks_total{outcome="accepted"}'] == seen["lockscope_wait_seconds_count"]
    assert seen['lockscope_callbacks_total{outcome="refused"}'] == 0


def test_a_callback_that_nobody_answers_is_counted(
    metrics: Metrics, tmp_path: Path, played: Callable[..., Watch]
) -> None:
    lab = Lab()
    file = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(file, 0)
    lab.bob.wait_for(file, 0)
    lab.alice.unlock(file, 0)
    lab.server.granted(lab.bob, file, 0, reply=None)
    lab.later(16)
    path = tmp_path / "unanswered.pcap"
    lab.world.write(path)
    unanswered = 'lockscope_callbacks_total{outcome="unanswered"}'
    played([metrics], path, until=9)
    assert scraped(metrics)[unanswered] == 0
    other = Metrics(":0")
    played([other], path)
    assert scraped(other)[unanswered] == 1


@pytest.mark.parametrize(
    ("address", "means"),
    [(":9100", ("127.0.0.1", 9100)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:80", ("::1", 80))],
)
def test_address(address: str, means: tuple[str, int]) -> None:
    assert parsed(address) == means


@pytest.mark.parametrize("address", ["", "nine", "host:", "host:nine", ":70000"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(AnalyzerError, match="PORT"):
        parsed(address)


def test_an_address_that_is_taken(metrics: Metrics) -> None:
    with pytest.raises(AnalyzerError, match="in use"):
        Metrics(f":{metrics.port}")


# -- a command ----------------------------------------------------------------------------------


def test_a_command_reads_each_event(tmp_path: Path, played: Callable[..., Watch]) -> None:
    out = tmp_path / "out; touch x"
    script = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())"
    hook = Hook(f'{sys.executable} -c "{script}"')
    played([hook])
    events = [json.loads(line) for line in out.read_text().splitlines()]
    leak = [event["event"] for event in events if event["code"] == "lock-held-after-umnt"]
    assert leak == ["open", "resolved"]
    assert not [event for event in events if event["code"] == "lock-open-at-capture-end"]
    assert (hook.dropped, hook.failed) == (0, 0)


def test_a_command_that_fails_or_hangs_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, played: Callable[..., Watch]
) -> None:
    monkeypatch.setattr(hooks, "LONGEST", 0.05)
    failing, hanging = Hook("false"), Hook("sleep 60")
    played([failing, hanging])
    assert failing.failed == hanging.failed > 0


def test_events_that_come_too_fast_are_counted(
    monkeypatch: pytest.MonkeyPatch, played: Callable[..., Watch]
) -> None:
    monkeypatch.setattr(hooks, "MOST_WAITING", 1)
    hook = Hook("sleep 0.2")
    played([hook], CAPTURES / "lab" / "raw_forged_sm_notify.pcap")
    assert hook.dropped > 0


@pytest.mark.parametrize("command", ["", "no-such-command-here", "echo 'open"])
def test_what_is_no_command(command: str) -> None:
    with pytest.raises(AnalyzerError, match="--hook"):
        Hook(command)


# -- a screen, lines, a journal -----------------------------------------------------------------


def drawn(play: Callable[..., Watch], capture: Path, until: float = 1e6) -> str:
    """What a terminal was sent."""
    out = io.StringIO()
    screen = Screen(Console(file=out, force_terminal=True, width=120, color_system=None))
    play([screen], capture, until)
    screen.close()
    return out.getvalue()


def test_a_screen(played: Callable[..., Watch]) -> None:
    text = drawn(played, LEAK, until=15)
    assert "HIGH lock-held-after-umnt (probable)" in text
    assert "1 locks held" in text
    assert "/export/mbox" in text
    assert "packets (" in text
    assert "lock-open-at-capture-end" not in drawn(played, LEAK)


def test_names_of_the_wire_drive_no_terminal(tmp_path: Path, played: Callable[..., Watch]) -> None:
    lab = Lab()
    lab.mounted(lab.alice, lab.bob)
    file = lab.alice.lookup(lab.export, "\x1b[2J[red]boo[/red]\r")
    lab.alice.lock(file, 0)
    lab.bob.wait_for(file, 0)
    lab.world.wait(5)
    lab.later(1)
    path = tmp_path / "hostile.pcap"
    lab.world.write(path)
    text = drawn(played, path)
    assert "\x1b[2J" not in text
    assert "\\x1b[2J[red]boo[/red]\\x0d" in text


def test_lines(played: Callable[..., Watch]) -> None:
    out = io.StringIO()
    played([Lines(out)])
    lines = out.getvalue().splitlines()
    assert sum(" HIGH lock-held-after-umnt " in line for line in lines) == 1
    assert sum(" resolved lock-held-after-umnt " in line for line in lines) == 1


def test_a_journal_is_added_to(tmp_path: Path, played: Callable[..., Watch]) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        played([Journal(str(path), "eth0\n")])
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events.count("start") == events.count("end") == 2
    assert events[0], events[-1] == ("start", "end")
    with pytest.raises(AnalyzerError, match="directory"):
        Journal(str(tmp_path), "eth0")


# -- a program ----------------------------------------------------------------------------------


def test_a_program_gets_the_same_events(tmp_path: Path) -> None:
    script = "import json, analyzer\nfor event in analyzer.live('-'): print(json.dumps(event))"
    journal = tmp_path / "events.jsonl"
    commands = ((sys.executable, "-c", script), (*LIVE, "-", "--jsonl", str(journal)))
    first, _ = (
        subprocess.run(command, input=LEAK.read_bytes(), capture_output=True, check=True)
        for command in commands
    )
    written = [json.loads(line) for line in journal.read_text().splitlines()[1:-1]]
    assert [json.loads(line) for line in first.stdout.decode().splitlines()] == written
    assert written


def test_a_program_is_told_why_not() -> None:
    with pytest.raises(AnalyzerError, match=r"there is no interface|not installed|no right"):
        next(analyzer.live("no-such-interface"))
