"""What is left of a run when it is over."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import analyzer as public
from analyzer.engine import analyze
from analyzer.front import Front

CAPTURE = Path(__file__).parent.parent / "captures" / "lab" / "clean_contention.pcap"


@pytest.fixture
def fronts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """The memory of every front that is made, while nobody collects garbage."""
    made: list[weakref.ref[Any]] = []
    whole = Front.__init__

    def init(self: Front, *args: Any, **named: Any) -> None:
        whole(self, *args, **named)
        made.append(weakref.ref(self.memory))

    monkeypatch.setattr(Front, "__init__", init)
    gc.disable()
    yield made
    gc.enable()


@pytest.mark.parametrize("compiled", [False, True])
def test_an_analysis_does_not_hold_the_memory_of_its_front(
    compiled: bool, fronts: list[weakref.ref[Any]]
) -> None:
    """Some 40 MB each: who reads a thousand captures in one process must not need 40 GB."""
    # what compiles kernels, once, leaves its frames to the collector
    analyze([str(CAPTURE)], compiled=compiled)
    fronts.clear()
    analysis = analyze([str(CAPTURE)], compiled=compiled)
    assert analysis.counts
    assert [front() for front in fronts] == [None]


def test_a_table_of_calls_does_not_hold_it_either(fronts: list[weakref.ref[Any]]) -> None:
    assert len(public.analyze(str(CAPTURE)).calls)
    assert len(fronts) > 0
    assert {front() for front in fronts} == {None}
