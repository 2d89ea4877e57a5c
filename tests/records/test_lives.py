"""The locks that met no other request, against looking at every pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.kernels import compiled
from analyzer.records.lives import FOREVER, LOCK, STANDING, TEST, UNLOCK, find_lives
from analyzer.words import wide_views

ROOM = 64
FAR = 10_000

REQUEST = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([STANDING, TEST, TEST, UNLOCK, *[LOCK] * 4]),
        "file": st.sampled_from([0, 0, 1]),
        "client": st.integers(0, 1),
        "svid": st.sampled_from([0, 0, 1]),
        "range": st.sampled_from([(0, 9), (10, 19), (5, 14), (0, FOREVER)]),
        "exclusive": st.integers(0, 1),
        "takes": st.sampled_from([0, 0, 0, 0, 1, FAR]),  # requests until it is answered
        "denied": st.sampled_from([False, False, False, True]),
        "plain": st.sampled_from([True, True, True, False]),
        "whom": st.sampled_from([0, 0, 0, 1]),
        "back": st.sampled_from([-1, 0, 0, 1, 1, 2, 4]),  # requests until a LOCK is given back, -1 never
        "oh": st.sampled_from([(0, 12), (12, 24), (24, 36), (24, 37)]),  # the first two are alike
        "by": st.sampled_from([(0, 12), (12, 24), (24, 36)]),  # the `oh` that gives it back
    }
)
OHS = b"1@client.abc1@client.abc1@clieNt.abcd"


def rows_of(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests with the rows of their messages; what stands comes first."""
    ordered = sorted(map(dict, requests), key=lambda one: one["kind"] != STANDING)
    for place, one in reversed(list(enumerate(ordered))):
        if one["kind"] == LOCK and one["back"] >= 0:
            ordered.insert(place + 1 + one["back"], one | {"kind": UNLOCK, "takes": 0, "oh": one["by"]})
    for place, one in enumerate(ordered):
        stands = one["kind"] == STANDING
        one["row"] = -1 if stands else 2 * place
        one["reply"] = -1 if stands or one["takes"] == FAR else 2 * (place + one["takes"]) + 1
        one["denied"] &= one["reply"] >= 0
        one["low"], one["high"] = one["range"]
        until = FOREVER if one["reply"] < 0 else one["reply"]
        one["until"] = FOREVER if one["kind"] in (LOCK, STANDING) and not one["denied"] else until
        one["plain"] = int(one["plain"] and one["reply"] >= 0)
    return ordered


def found(requests: list[dict[str, Any]], find: Callable[..., None]) -> list[int]:
    """Of each request the one that gives it back, as the kernel says."""

    def column(name: str) -> Any:
        return np.array([one[name] for one in requests], np.int64)

    spans = np.array([one["oh"] for one in requests], np.int64).reshape(-1, 2)
    unlock = np.full(len(requests), -1)
    find(
        np.argsort(column("file"), kind="stable"),
        *map(column, ("kind", "file", "client", "svid", "whom", "low", "high", "exclusive", "row", "reply")),
        *map(column, ("until", "plain")),
        *wide_views(np.frombuffer(OHS, np.uint8)),
        *np.ascontiguousarray(spans.T),
        np.empty(ROOM, np.int64),
        unlock,
    )
    return list(unlock.tolist())


def is_of_process(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("file", "client", "svid"))


def gives_back(unlock: dict[str, Any], lock: dict[str, Any]) -> bool:
    """Whether an UNLOCK may be that of a lock."""
    is_granted = lock["kind"] == LOCK and lock["reply"] >= 0 and not lock["denied"]
    return (
        (is_granted or lock["kind"] == STANDING)
        and is_of_process(unlock, lock)
        and (unlock["kind"], unlock["range"]) == (UNLOCK, lock["range"])
        and unlock["row"] > lock["reply"]
    )


def stands_until(one: dict[str, Any], requests: list[dict[str, Any]]) -> int:
    """The row up to which a request stands at the least."""
    ends = [each["until"] for each in requests if each["row"] > one["row"] and gives_back(each, one)]
    return int(ends[0] if ends else one["until"])


@settings(max_examples=300)
@given(st.lists(REQUEST, max_size=12).map(rows_of))
def test_what_is_found_meets_nothing(requests: list[dict[str, Any]]) -> None:
    unlock = found(requests, find_lives)
    assert unlock == found(requests, compiled(find_lives))
    for lock, given_back in zip(requests, unlock, strict=True):
        if given_back < 0:
            continue
        last = requests[given_back]
        assert (lock["kind"], lock["plain"], last["plain"]) == (LOCK, 1, 1)
        assert gives_back(last, lock)
        assert lock["whom"] == last["whom"]
        assert OHS[slice(*lock["oh"])] == OHS[slice(*last["oh"])]
        for other in requests:
            if other is lock or other is last or other["file"] != lock["file"]:
                continue
            if other["kind"] == UNLOCK and any(gives_back(other, each) for each in requests):
                continue  # it ends what stands
            apart = other["row"] > last["until"] or stands_until(other, requests) < lock["row"]
            shares = other["low"] <= lock["high"] and lock["low"] <= other["high"]
            excludes = other["exclusive"] or lock["exclusive"]
            assert apart or not (is_of_process(other, lock) or (shares and excludes))


def test_each_of_many_is_found() -> None:
    count = 4 * ROOM
    requests = rows_of(
        [
            {
                "kind": (LOCK, UNLOCK)[number % 2],
                "file": 0,
                "client": 0,
                "svid": number // 2,
                "range": (0, 9),
                "exclusive": 1,
                "takes": 0,
                "denied": False,
                "plain": True,
                "back": -1,
                "whom": 0,
                "oh": (0, 12),
                "by": (0, 12),
            }
            for number in range(count)
        ]
    )
    for find in (find_lives, compiled(find_lives)):
        assert found(requests, find) == [i + 1 if i % 2 == 0 else -1 for i in range(count)]
