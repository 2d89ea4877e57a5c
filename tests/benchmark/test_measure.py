"""Runs are whole processes, in turn, and a failed one is no measurement."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from analyzer.benchmark import measure


def _python(code: str) -> measure.Program:
    return measure.Program([sys.executable, "-S", "-c", code], lambda output: len(output.readlines()))


def test_a_run_is_the_whole_process() -> None:
    slow = measure.run(_python("import time; time.sleep(0.3); print('done')"))
    assert slow.calls == 1
    assert slow.wall >= 0.3
    assert slow.cpu < slow.wall


def test_memory_is_that_of_the_child() -> None:
    # A child counts at least what its parent had when it was made: these are far apart from that.
    small, large = (measure.run(_python(f"b'x' * {size}")) for size in (600_000_000, 1_200_000_000))
    assert 600_000_000 < small.peak < 1_000_000_000
    assert 1_200_000_000 < large.peak < 1_600_000_000


def test_cpu_is_counted() -> None:
    busy = measure.run(_python("import time\nwhile time.process_time() < 0.3: pass"))
    assert busy.cpu >= 0.3


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit('no such file')", "no such file"), ("import os; os.kill(os.getpid(), 9)", "-9")],
)
def test_a_failure_is_no_measurement(code: str, said: str) -> None:
    with pytest.raises(measure.CommandFailed, match=said):
        measure.run(_python(code))


def test_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = {name: _python(f"open({str(log)!r}, 'a').write('{name}')") for name in "ab"}
    done = measure.in_turn(commands, 3)
    assert log.read_text() == "ab" + "ababab"
    assert {name: len(runs) for name, runs in done.items()} == {"a": 3, "b": 3}


def test_spread() -> None:
    assert measure.Spread.of([3.0, 1.0, 2.0]) == measure.Spread(2.0, 1.0, 3.0)
