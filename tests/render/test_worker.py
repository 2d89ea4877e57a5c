"""Things are done in order, a few at a time, and what goes wrong is heard of."""

from __future__ import annotations

import io
from functools import partial
from threading import Event, Thread, active_count
from typing import Any

import pytest

from analyzer.engine import Analysis, analyze
from analyzer.render.export import export
from analyzer.render.view import Filters
from analyzer.render.worker import Worker
from tests.expectations import CAPTURES

MOST = 2


def test_things_are_done_in_order() -> None:
    done: list[int] = []
    with Worker(MOST) as worker:
        for number in range(50):
            worker.do(partial(done.append, number))
        worker.finish()
        assert done == list(range(50))


def test_who_asks_for_too_much_waits() -> None:
    go, done = Event(), Event()

    def wait() -> None:
        go.wait(10)

    with Worker(MOST) as worker:
        for _ in range(MOST):
            worker.do(wait)
        third = Thread(target=worker.do, args=(done.set,))
        third.start()
        third.join(0.05)
        assert third.is_alive()
        go.set()
        third.join(10)
        assert done.wait(10)


def test_what_is_raised_is_raised_again_and_nothing_is_done_after_it() -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError("no room")

    with Worker(1) as worker:
        worker.do(fail)
        with pytest.raises(OSError, match="no room"):
            worker.do(partial(done.append, "next"))
        with pytest.raises(OSError, match="no room"):
            worker.finish()
    assert not done


class _Full(io.BytesIO):
    """A disk that is full once the head of a table is written."""

    def write(self, data: Any) -> int:
        if self.tell():
            raise OSError("no room")
        return super().write(data)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_an_export_that_cannot_be_written_fails_and_leaves_no_thread(compiled: bool) -> None:
    before = active_count()
    path = str(min(CAPTURES.rglob("*.pcap")))

    def analyse(taps: Any, names_only: bool) -> Analysis:
        return analyze([path], compiled=compiled, taps=taps, names_only=names_only)

    with pytest.raises(OSError, match="no room"):
        export(analyse, "calls", "csv", _Full(), Filters())
    assert active_count() == before
