"""What goes on for ever stays small, and forgets nothing that still matters."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from analyzer.findings.catalogue import evaluate
from analyzer.sessions import retention
from analyzer.sessions.model import Lock
from analyzer.sessions.retention import Retention, lock_over, sizes
from analyzer.sessions.supposed import as_if_over
from tests.expectations import expectations
from tests.findings.lab import Lab
from tests.watch.stepped import SECOND, Fed

SMALL = 120_000
CAPTURES = {name: path for name, path in expectations().items() if path.stat().st_size < SMALL}
AGE = 60 * SECOND
HOUR = 3600 * SECOND


@pytest.mark.parametrize("name", CAPTURES)
def test_all_that_is_over_goes_and_all_that_stands_stays(name: str) -> None:
    fed = Fed(CAPTURES[name])
    fed.until(fed.stream.end)
    s = fed.engine.sessions
    standing = {lock for lock in s.ledger.locks if lock_over(lock) is None}
    mounted = {key for key, mount in s.mounts.sessions.items() if mount.count}
    Retention(AGE).forget(s, s.end + AGE + 1)
    assert set(s.ledger.locks) >= standing
    assert all(lock_over(lock) is None for lock in s.ledger.locks)
    assert all(wait.ended is None for wait in s.ledger.waits)
    assert set(s.mounts.sessions) >= mounted
    left = sizes(s)
    assert left["remarkable"] <= len(s.ledger.unlocks)
    assert not left["requests"]
    with as_if_over(s, s.end + AGE + 1):
        evaluate(s)


@pytest.mark.parametrize("name", CAPTURES)
def test_within_its_age_nothing_is_lost(name: str) -> None:
    fed, plain = Fed(CAPTURES[name]), Fed(CAPTURES[name])
    begin, end = fed.stream.begin, fed.stream.end
    made = Retention(end - begin + SECOND)
    for cut in range(1, 6):
        fed.until(begin + (end - begin) * cut // 5)
        plain.until(begin + (end - begin) * cut // 5)
        made.forget(fed.engine.sessions, fed.engine.sessions.end)
    assert evaluate(fed.engine.sessions) == evaluate(plain.engine.sessions)
    assert made.dropped == 0


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours in which two clients contend for one file: each lock waits for the one before."""
    lab = Lab()
    file = lab.mounted(lab.alice, lab.bob)
    holder, waiter = lab.alice, lab.bob
    holder.lock(file, 0)
    for _ in range(CYCLES):
        lab.world.wait(30)
        waiter.wait_for(file, 0)
        lab.world.wait(30)
        holder.unlock(file, 0)
        lab.server.granted(waiter, file, 0)
        holder, waiter = waiter, holder
    path = tmp_path_factory.mktemp("endless") / "endless.pcap"
    lab.world.write(path)
    return path


CYCLES = 200


def test_it_stays_small_for_ever(endless: Path) -> None:
    fed = Fed(endless)
    made = Retention(10 * AGE)
    seen: list[int] = []
    for time in range(fed.stream.begin, fed.stream.end, 10 * AGE):
        fed.until(time)
        made.forget(fed.engine.sessions, fed.engine.sessions.end)
        gc.collect()
        seen.append(sum(isinstance(one, Lock) for one in gc.get_objects()))
        assert sizes(fed.engine.sessions)["locks"] <= 12
    assert fed.engine.sessions.ledger.grants > CYCLES - 10
    assert max(seen) <= 2 * 12, "what was forgotten is really gone"
    assert made.dropped == 0


def test_a_storm_is_cut_short_and_counted(endless: Path) -> None:
    fed = Fed(endless)
    fed.until(fed.stream.end)
    s = fed.engine.sessions
    made = Retention(24 * HOUR, most=50)
    made.forget(s, s.end)
    over = [end for lock in s.ledger.locks if (end := lock_over(lock)) is not None]
    assert len(over) == 50
    assert made.known_since >= min(over)
    assert made.dropped >= CYCLES - 50


def test_of_what_stands_in_excess_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retention, "MOST_STANDING", 2)
    lab = Lab()
    file = lab.mounted(lab.alice, lab.bob)
    for svid in range(5):
        lab.alice.lock(file, svid, 10 * svid, 10)
        lab.bob.wait_for(file, svid, 10 * svid, 10)
    lab.world.write(tmp_path / "excess.pcap")
    fed = Fed(tmp_path / "excess.pcap")
    fed.until(fed.stream.end)
    s = fed.engine.sessions
    made = Retention(24 * HOUR)
    made.forget(s, s.end)
    (page,) = {one.held for one in s.ledger.files.values() if one.held}
    assert [lock.number for lock in page] == [lock.number for lock in s.ledger.locks] == [4, 5]
    waiting = list(s.ledger.waiting.of_client(s.ledger.waits[0].client))
    assert waiting == s.ledger.waits == list(s.ledger.waits[0].file.waits)
    assert [wait.request.svid for wait in waiting] == [3, 4]
    assert len(s.ledger.waiting) == 2
    assert made.dropped == 6
    evaluate(s)


def test_hosts_that_come_and_go(monkeypatch: pytest.MonkeyPatch, endless: Path) -> None:
    monkeypatch.setattr(retention, "MOST_NAMED", 1)
    fed = Fed(endless)
    fed.until(fed.stream.end)
    s = fed.engine.sessions
    before = dict(s.hosts.names)
    Retention(24 * HOUR).forget(s, s.end)
    assert len(s.hosts.names) == 1
    gone = set(before) - set(s.hosts.names)
    assert gone
    assert not any(s.hosts.named(before[host][0]) for host in gone)


def test_every_kind_of_thing_kept_has_a_time() -> None:
    with pytest.raises(TypeError, match="has no time"):
        retention.when(object())


@pytest.mark.parametrize("removed", [True, False])
def test_handles_of_files_that_are_gone_make_room_however_few_there_are(
    tmp_path: Path, removed: bool
) -> None:
    lab = Lab()
    lab.mounted(lab.alice)
    for number in range(60):
        file = lab.alice.lookup(lab.export, f"file-{number}")
        lab.alice.write(file)
        if removed and number % 20:
            lab.alice.remove(file)
        lab.world.wait(30)
    path = tmp_path / "files.pcap"
    lab.world.write(path)
    fed, made = Fed(path), Retention(24 * HOUR)
    s = fed.engine.sessions
    for time in range(fed.stream.begin, fed.stream.end, 20 * SECOND):
        fed.until(time)
        made.forget(s, s.end)
    kept = {where for where in map(s.handles.path, range(s.handles.table.count)) if where}
    assert kept >= {f"/srv/file-{number}" for number in (0, 20, 40)}
    assert (s.handles.table.used < 15) == removed
    assert s.handles.table.used > 50 or removed


def test_handles_that_nobody_uses_make_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hours of new files, some of which stay locked: the table stays small, and no path is mixed up."""
    for name, value in (("MOST_HANDLES", 20), ("CROWDED", 25), ("LATELY", AGE)):
        monkeypatch.setattr(retention, name, value)
    lab = Lab()
    lab.mounted(lab.alice)
    for number in range(CYCLES):
        file = lab.alice.lookup(lab.export, f"file-{number}")
        lab.alice.lock(file, number)
        lab.alice.write(file)
        lab.world.wait(30)
        if number % 50:
            lab.alice.unlock(file, number)
        lab.world.wait(30)
    path = tmp_path / "files.pcap"
    lab.world.write(path)
    fed = Fed(path)
    made = Retention(2 * AGE)
    s = fed.engine.sessions
    for time in range(fed.stream.begin, fed.stream.end, AGE):
        fed.until(time)
        made.forget(s, s.end)
        assert s.handles.table.used <= 40
    fed.until(fed.stream.end)
    assert s.handles.table.count <= 50
    assert len(s.handles.children) <= 50
    standing = {s.handles.path(lock.file.fh): lock for lock in s.ledger.locks if lock.server_end is None}
    assert set(standing) == {f"/srv/file-{number}" for number in range(0, CYCLES, 50)}
    for where, lock in standing.items():
        known = lab.export.files[str(where).removeprefix("/srv/")].handle
        assert s.handles.table.data[lock.file.fh] == known
    assert s.handles.export_index(next(iter(standing.values())).file.fh) >= 0
    assert made.dropped == 0
