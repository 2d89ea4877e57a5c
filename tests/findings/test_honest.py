"""Honest hosts: whatever they do, in whatever order, there is nothing to report.

A lock server that keeps its word, and clients that clean up behind them, play random scripts on every
terrain: contention, callbacks, polls, cancels, copies, asynchronous calls. Any finding above info is a false
alarm; where the capture itself lost packets, any that claims to be certain.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.findings.rule import DEFINITE
from tests.findings.lab import TERRAINS, Lab
from tests.world import Host, Request

BYTES = 8  # the last one stands for the rest of the file


class Waiter(NamedTuple):
    """A blocked request."""

    host: Host
    svid: int
    start: int
    length: int
    exclusive: bool

    @property
    def owner(self) -> tuple[str, int]:
        """Who asked."""
        return self.host.name, self.svid


def covered(start: int, length: int) -> range:
    """The bytes of a range."""
    return range(start, min(start + length, BYTES) if length else BYTES)


class Honest:
    """A server that grants what does not conflict, and tells waiters of their turn."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.db = lab.mounted(lab.alice, lab.bob, lab.carol)
        self.held: dict[tuple[str, int], dict[int, bool]] = {}
        self.queue: list[Waiter] = []

    def free(self, asked: Waiter) -> bool:
        """Whether nothing is in the way."""
        return not any(
            owner != asked.owner and (asked.exclusive or pieces[at])
            for owner, pieces in self.held.items()
            for at in covered(asked.start, asked.length)
            if at in pieces
        )

    def take(self, asked: Waiter) -> None:
        """The lock is theirs."""
        mine = self.held.setdefault(asked.owner, {})
        mine.update(dict.fromkeys(covered(asked.start, asked.length), asked.exclusive))

    def waiting(self, owner: tuple[str, int]) -> bool:
        """Whether a process sleeps in a lock request."""
        return any(waiter.owner == owner for waiter in self.queue)

    def lock(self, asked: Waiter, block: bool, how: dict[str, Any], clumsy: bool) -> None:
        """Ask for a lock; a clumsy network loses the first answer."""
        free = self.free(asked)
        status = "GRANTED" if free else "BLOCKED" if block else "DENIED"
        if free:
            self.take(asked)
        elif block:
            self.queue.append(asked)
        where = (self.db, asked.svid, asked.start, asked.length)
        made = asked.host.lock(
            *where, None if clumsy else status, exclusive=asked.exclusive, block=block, **how
        )
        if clumsy:
            self.again(made, status)
        self.serve(how)

    def again(self, made: Request, status: str) -> None:
        """A copy, and the answer to it."""
        self.lab.world.wait(1.1)
        made.again().answer(status)

    def closes_circle(self, asked: Waiter) -> bool:
        """Whether to wait for this would close a circle; programs that lock in one order never do."""
        seen, following = {asked.owner}, [asked]
        while following:
            waiter = following.pop()
            for owner, pieces in self.held.items():
                if owner == waiter.owner or not any(
                    at in pieces and (waiter.exclusive or pieces[at])
                    for at in covered(waiter.start, waiter.length)
                ):
                    continue
                if owner == asked.owner:
                    return True
                if owner not in seen:
                    seen.add(owner)
                    following += [other for other in self.queue if other.owner == owner]
        return False

    def unlock(self, host: Host, svid: int, start: int, length: int, how: dict[str, Any]) -> None:
        """Release a range; whose turn is it?"""
        mine = self.held.get((host.name, svid), {})
        for at in covered(start, length):
            mine.pop(at, None)
        host.unlock(self.db, svid, start, length, **how)
        self.serve(how)

    def serve(self, how: dict[str, Any]) -> None:
        """Call back everyone whose range is free."""
        for waiter in list(self.queue):
            if self.free(waiter):
                self.queue.remove(waiter)
                self.take(waiter)
                self.lab.world.wait(0.4)
                self.lab.server.granted(
                    waiter.host,
                    self.db,
                    waiter.svid,
                    waiter.start,
                    waiter.length,
                    exclusive=waiter.exclusive,
                    **{name: value for name, value in how.items() if name != "msg"},
                )

    def cancel(self, waiter: Waiter, how: dict[str, Any]) -> None:
        """Give up waiting."""
        self.queue.remove(waiter)
        where = (self.db, waiter.svid, waiter.start, waiter.length)
        waiter.host.cancel(*where, exclusive=waiter.exclusive, **how)

    def pause(self, how: dict[str, Any]) -> None:
        """Half a minute: waiters poll, the others are alive."""
        self.lab.world.wait(29)
        for host in (self.lab.alice, self.lab.bob, self.lab.carol):
            host.getattr(self.db)
        for waiter in self.queue:
            where = (self.db, waiter.svid, waiter.start, waiter.length)
            waiter.host.wait_for(*where, exclusive=waiter.exclusive, **how)

    def leave(self, how: dict[str, Any]) -> None:
        """Everybody cleans up and unmounts."""
        for waiter in list(self.queue):
            self.cancel(waiter, how)
        for name, svid in list(self.held):
            self.unlock(getattr(self.lab, name), svid, 0, 0, how)
        for host in (self.lab.alice, self.lab.bob, self.lab.carol):
            host.umount(self.lab.export)
            host.disconnect(self.lab.server)
        self.lab.later(60)


step = st.tuples(
    st.sampled_from(["lock", "lock", "lock", "unlock", "unlock", "cancel", "pause", "write"]),
    st.sampled_from(["alice", "bob", "carol"]),
    st.integers(1, 2),  # svid
    st.integers(0, BYTES - 1),  # first byte
    st.integers(0, BYTES - 1),  # length, 0 to the end
    st.booleans(),  # exclusive
    st.booleans(),  # block
    st.integers(0, 9).map(lambda n: n == 0),  # clumsy
)


def play(terrain: str, msg: bool, version: int, script: list[tuple[Any, ...]], left: bool) -> Lab:
    """Honest hosts do what the script says."""
    lab = Lab(terrain)
    honest = Honest(lab)
    how: dict[str, Any] = {"msg": msg, "version": version}
    for kind, who, svid, start, length, exclusive, block, clumsy in script:
        host: Host = getattr(lab, who)
        lab.world.wait(0.3)
        if start + length >= BYTES:
            length = 0
        if kind == "pause":
            honest.pause(how)
        elif kind == "cancel" and honest.queue:
            honest.cancel(honest.queue[-1], how)
        elif honest.waiting((who, svid)):
            continue  # that process sleeps
        elif kind == "lock":
            asked = Waiter(host, svid, start, length, exclusive)
            honest.lock(asked, block and not honest.closes_circle(asked), how, clumsy)
        elif kind == "unlock":
            honest.unlock(host, svid, start, length, how)
        elif kind == "write" and honest.free(Waiter(host, svid, start, 1, False)):
            host.write(honest.db, start, 1)
    if left:
        honest.leave(how)
    else:
        lab.later(1)
    return lab


scripts = st.tuples(
    st.sampled_from(sorted(TERRAINS)),
    st.booleans(),
    st.sampled_from([4, 4, 3]),
    st.lists(step, max_size=25),
    st.booleans(),
)
OLD_VERSION = "version-or-proc-mismatch"


@settings(max_examples=25)
@given(scripts)
def test_honest_hosts_give_no_cause_for_alarm(script: tuple[Any, ...]) -> None:
    lab = play(*script)
    wrong = [f for f in lab.findings() if f.severity and f.code != OLD_VERSION]
    assert not wrong, [(f.code, f.message, f.frames) for f in wrong]


STEPS = 4000
OFTEN = ("lock", "lock", "lock", "unlock", "unlock", "cancel", "write")


def long_day(terrain: str, msg: bool, chance: random.Random) -> Lab:
    """Thousands of calls of three clients: contention, cancels, upgrades, splits, copies."""
    script = [
        (
            chance.choice(OFTEN) if chance.random() > 0.01 else "pause",
            chance.choice(["alice", "bob", "carol"]),
            chance.randint(1, 3),
            chance.randrange(BYTES),
            chance.randrange(BYTES),
            chance.random() < 0.5,
            chance.random() < 0.5,
            chance.random() < 0.05,
        )
        for _ in range(STEPS)
    ]
    return play(terrain, msg, 4, script, True)


@pytest.mark.parametrize(("terrain", "msg"), [("linux", False), ("ganesha6", True), ("opaque", True)])
def test_a_long_day_gives_no_cause_for_alarm(terrain: str, msg: bool) -> None:
    lab = long_day(terrain, msg, random.Random(7))
    wrong = [f for f in lab.findings() if f.severity]
    assert not wrong, [(f.code, f.message, f.frames) for f in wrong]
    assert lab.analysis is not None
    assert sum(lab.analysis.counts.values()) > STEPS // 2


@pytest.mark.parametrize(("terrain", "msg"), [("linux", False), ("ganesha6", False), ("opaque", True)])
def test_a_long_day_of_which_packets_were_lost_makes_nothing_certain(terrain: str, msg: bool) -> None:
    chance = random.Random(8)
    lab = long_day(terrain, msg, chance)
    for packet in lab.world.packets:
        packet.captured = chance.random() >= 0.01
    wrong = [f for f in lab.findings() if f.severity and f.confidence == DEFINITE]
    assert not wrong, [(f.code, f.message, f.frames) for f in wrong]


@settings(max_examples=25)
@given(scripts, st.sets(st.integers(0, 400), max_size=8))
def test_what_the_capture_lost_makes_nothing_certain(script: tuple[Any, ...], lost: set[int]) -> None:
    lab = play(*script)
    for at in lost:
        if at < len(lab.world.packets):
            lab.world.packets[at].captured = False
    wrong = [f for f in lab.findings() if f.severity and f.confidence == DEFINITE and f.code != OLD_VERSION]
    assert not wrong, [(f.code, f.message, f.frames) for f in wrong]
