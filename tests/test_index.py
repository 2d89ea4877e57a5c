"""The hash index against a dictionary, in both modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analyzer.index import FREE, drop, find, mix, new_slots, new_stages, next_stage, put, refill
from analyzer.kernels import compiled

EDGES = [0, 1, -1, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, -(1 << 63), -(1 << 32), 0x123456789ABCDEF0]
MODES = pytest.mark.parametrize("mode", [lambda f: f, compiled], ids=["plain", "compiled"])


@pytest.mark.parametrize(("rows", "size"), [(0, 16), (8, 16), (9, 32), (1000, 2048), (1024, 2048)])
def test_slots_are_a_power_of_two_at_a_load_of_one_half(rows: int, size: int) -> None:
    slots = new_slots(rows)
    assert len(slots) == size
    assert slots.dtype == np.int64
    assert (slots == FREE).all()


def test_both_modes_mix_alike_and_in_32_bits() -> None:
    for a in EDGES:
        for b in EDGES:
            assert mix(a, b) == compiled(mix)(a, b)
            assert 0 <= mix(a, b) <= 0xFFFFFFFF


def test_neighbours_are_spread() -> None:
    """Counters in any of the four halves fill a table about as evenly as chance would."""
    for shift in (0, 32):
        for pair in (lambda n, s=shift: (n << s, 7), lambda n, s=shift: (7, n << s)):
            homes = {mix(*pair(n)) & 0xFFF for n in range(4096)}
            assert len(homes) > 2300  # chance fills 63 %


KEY = st.tuples(st.sampled_from(EDGES[:4]), st.sampled_from(EDGES))
STEPS = st.lists(st.tuples(st.sampled_from(["put", "drop", "find", "refill"]), KEY), max_size=80)


@MODES
@given(steps=STEPS)
@hypothesis_settings(max_examples=60)
def test_it_behaves_like_a_dictionary(mode: Any, steps: list[tuple[str, tuple[int, int]]]) -> None:
    most = 36  # as many as there are keys
    slots = new_slots(most // 4)  # fuller than promised, so that clusters are long
    slots = np.full(64, FREE, np.int64) if len(slots) < 64 else slots
    k0, k1 = np.zeros(most, np.int64), np.zeros(most, np.int64)
    model: dict[tuple[int, int], int] = {}
    for step, key in steps:
        if step == "put" and key not in model:
            row = next(n for n in range(most) if n not in model.values())
            k0[row], k1[row] = key
            mode(put)(slots, k0, k1, row)
            model[key] = row
        elif step == "drop" and key in model:
            mode(drop)(slots, k0, k1, model.pop(key))
        elif step == "refill":
            rows = np.array([*model.values(), 0], np.int64)
            mode(refill)(slots, k0, k1, rows, len(model))
        assert mode(find)(slots, k0, k1, *key) == model.get(key, -1)
    for key, row in model.items():
        assert mode(find)(slots, k0, k1, *key) == row
    assert int((slots != FREE).sum()) == len(model)


@MODES
def test_dropping_a_row_that_is_not_there_changes_nothing(mode: Any) -> None:
    slots, keys = new_slots(4), np.arange(4, dtype=np.int64)
    mode(put)(slots, keys, keys, 1)
    before = slots.copy()
    mode(drop)(slots, keys, keys, 2)
    assert (slots == before).all()


@MODES
def test_going_over_to_the_next_size_keeps_every_row(mode: Any) -> None:
    rows = 64
    (stages,), size = new_stages(1, rows, 16), 16
    k0, k1 = np.arange(rows, dtype=np.int64) << 24, np.full(rows, 7, np.int64)
    for row in range(rows):
        if 2 * (row + 1) > size:
            mode(next_stage)(stages, size)
            size *= 2
        mode(put)(stages[size : 2 * size], k0, k1, row)
        found = [mode(find)(stages[size : 2 * size], k0, k1, int(k0[n]), 7) for n in range(rows)]
        assert found == [n if n <= row else -1 for n in range(rows)]
    assert size == len(stages) // 2


@MODES
def test_clusters_wrap_around_the_end(mode: Any) -> None:
    """Keys whose home is the last slot, dropped in any order, leave nothing behind."""
    keys = [n for n in range(2000) if mix(n, 0) & 15 == 15][:6]
    k0, k1 = np.array(keys, np.int64), np.zeros(6, np.int64)
    for first in range(6):
        slots = new_slots(8)
        for row in range(6):
            mode(put)(slots, k0, k1, row)
        gone = set()
        for step in range(6):
            row = (first + 2 * step + step // 3) % 6
            mode(drop)(slots, k0, k1, row)
            gone.add(row)
            found = {n for n in range(6) if mode(find)(slots, k0, k1, keys[n], 0) == n}
            assert found == set(range(6)) - gone
