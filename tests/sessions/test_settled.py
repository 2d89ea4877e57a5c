"""Locks that ended as they should are let go of, and no finding is another for it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.findings.catalogue import evaluate
from analyzer.sessions import model, settled
from analyzer.sessions.model import Lock
from tests.expectations import expectations
from tests.findings.lab import Lab
from tests.watch.stepped import Fed
from tests.world import File

SMALL = 120_000
CAPTURES = {name: path for name, path in expectations().items() if path.stat().st_size < SMALL}
STEPS = 25
FEW = 2  # requests kept


@pytest.fixture(autouse=True)
def _hardly_any_requests_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "REQUESTS_KEPT", FEW)


def fed(path: Path, whole: bool, steps: int) -> Fed:
    """A capture taken in step by step, to its end."""
    made = Fed(path)
    made.engine.whole = whole
    begin, end = made.stream.begin, made.stream.end
    for step in range(1, steps + 1):
        made.until(begin + (end - begin) * step // steps)
    made.engine.finish()
    return made


@pytest.mark.parametrize("name", CAPTURES)
def test_findings_are_the_same(name: str) -> None:
    whole, small = (fed(CAPTURES[name], kept, STEPS).engine.sessions for kept in (True, False))
    assert evaluate(small) == evaluate(whole)
    assert small.ledger.grants == whole.ledger.grants == len(small.ledger.locks) + small.settled.count
    assert not whole.settled.count


# -- a lock that came and went, and what came of it ------------------------------------------------

COPIES = 12
ROUNDS = 30


def quiet(lab: Lab, file: File, times: int = COPIES, seconds: float = 0.1) -> None:
    """Alice locks and unlocks."""
    for number in range(times):
        lab.alice.lock(file, 100 + number)
        lab.world.wait(seconds)
        lab.alice.unlock(file, 100 + number)
        lab.world.wait(0.1)


def let_go(lab: Lab, tmp_path: Path) -> tuple[Fed, list[Lock]]:
    """What is kept of a laboratory's locks, which changes no finding."""
    path = tmp_path / "lab.pcap"
    lab.world.write(path)
    whole, small = fed(path, True, 200), fed(path, False, 200)
    assert evaluate(small.engine.sessions) == evaluate(whole.engine.sessions)
    return small, small.engine.sessions.ledger.locks


def other(lab: Lab) -> File:
    """A file that nobody else uses."""
    return lab.alice.lookup(lab.export, "other")


def test_locks_that_came_and_went_are_gone(tmp_path: Path) -> None:
    lab = Lab()
    quiet(lab, lab.mounted(lab.alice), 100)
    gc.collect()
    before = sum(isinstance(one, Lock) for one in gc.get_objects())
    gc.disable()
    small, kept = let_go(lab, tmp_path)
    there = sum(isinstance(one, Lock) for one in gc.get_objects()) - before
    gc.enable()
    s = small.engine.sessions
    assert len(kept) < 6
    assert there < 100 + 10, "those of the whole analysis, and no circles"
    assert len(s.operations.open) < 8
    assert len(s.ledger.owners) < 8
    assert small.engine.health().settled_locks == s.ledger.grants - len(kept)


def test_locks_for_which_others_were_refused_are_gone(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    for svid in range(ROUNDS):
        lab.alice.lock(db, svid)
        for other_svid in range(3):
            lab.bob.lock(db, other_svid, reply="DENIED")
        lab.bob.test(db, 9, reply="DENIED")
        lab.alice.unlock(db, svid)
    quiet(lab, other(lab))
    small, kept = let_go(lab, tmp_path)
    assert small.engine.sessions.settled.count > ROUNDS
    assert len(kept) < 6


def test_only_locks_that_stood_while_somebody_waited_stay(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    for _ in range(3):
        lab.takes_turns(db)
        quiet(lab, db, ROUNDS)
    quiet(lab, other(lab))
    small, kept = let_go(lab, tmp_path)
    assert small.engine.sessions.settled.count > 3 * (ROUNDS - 2)
    turns = [lock for lock in kept if lock.owner.svid in (1, 2)]
    assert [lock.owner.svid for lock in turns] == [1, 2] * 3


def test_what_may_be_repeated_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settled, "REQUESTS_KEPT", 8)
    lab = Lab()
    quiet(lab, lab.mounted(lab.alice), 100)
    small, kept = let_go(lab, tmp_path)
    assert [lock.number for lock in kept[-4:]] == [97, 98, 99, 100]
    assert small.engine.sessions.settled.count > 80


def test_files_go_with_their_locks(tmp_path: Path) -> None:
    lab = Lab()
    lab.mounted(lab.alice)
    for number in range(30):
        file = lab.alice.lookup(lab.export, f"file-{number}")
        quiet(lab, file, 1)
        lab.alice.unlock(file, 7)
    small, _ = let_go(lab, tmp_path)
    assert len(small.engine.sessions.ledger.files) < 8


def _held(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)


def _waited_for(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.bob.wait_for(file, 1)
    lab.alice.unlock(file, 1)
    lab.server.granted(lab.bob, file, 1)
    lab.bob.unlock(file, 1)


def _on_a_file_that_was_waited_for(lab: Lab, file: File) -> None:
    lab.bob.wait_for(file, 1)
    lab.bob.cancel(file, 1)
    lab.alice.lock(file, 1)
    lab.alice.unlock(file, 1)


def _others_were_told_to_wait_for_it(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.bob.lock(file, 1, reply="BLOCKED")
    lab.alice.unlock(file, 1)


def _asked_twice(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1).again()
    lab.alice.unlock(file, 1)


def _released_twice(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.alice.unlock(file, 1).again()


def _not_answered(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.alice.unlock(file, 1, reply=None)


def _written_under(lab: Lab, file: File) -> None:
    lab.bob.mount(lab.server, "/srv")
    lab.alice.lock(file, 1)
    lab.bob.write(file)
    lab.alice.unlock(file, 1)


def _over_a_mount(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.unlock(file, 1)


def _over_another_verifier(lab: Lab, file: File) -> None:
    lab.alice.write(file, 0, 10)
    lab.alice.lock(file, 1)
    lab.alice.write(file, 0, 10, verf=b"anew")
    lab.alice.unlock(file, 1)


def _over_a_free_all(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.mallory.free_all(lab.server)
    lab.alice.unlock(file, 1)


def _under_two_names(lab: Lab, file: File) -> None:
    lab.alice.lock(file, 1)
    lab.alice.lock(file, 1, caller_name="dave")
    lab.alice.unlock(file, 1)


STAY = [
    _held,
    _waited_for,
    _on_a_file_that_was_waited_for,
    _others_were_told_to_wait_for_it,
    _asked_twice,
    _released_twice,
    _not_answered,
    _written_under,
    _over_a_mount,
    _over_another_verifier,
    _over_a_free_all,
    _under_two_names,
]


@pytest.mark.parametrize("happens", STAY)
def test_a_lock_with_a_story_stays(happens: Callable[[Lab, File], None], tmp_path: Path) -> None:
    lab = Lab()
    file = lab.mounted(lab.alice)
    happens(lab, file)
    quiet(lab, other(lab))
    small, kept = let_go(lab, tmp_path)
    assert 1 in [lock.number for lock in kept]
    assert small.engine.sessions.settled.count > COPIES // 2


def test_an_unlock_that_was_sent_anew_needs_no_answer(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    lab.alice.unlock(db, 1, reply=None)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.later(400)
    quiet(lab, other(lab))
    lab.later(120)
    _, kept = let_go(lab, tmp_path)
    assert 1 not in [lock.number for lock in kept]
    lab.silent("unlock-unanswered")


def bob_writes_late(lab: Lab, db: File) -> None:
    """When his locks of the file were let go of and alice has it."""
    lab.bob.lock(other(lab), 9)
    quiet(lab, other(lab))
    lab.alice.lock(db, 1)
    lab.bob.write(db)
    quiet(lab, other(lab))


def test_what_was_written_under_a_lock_may_come_when_it_is_let_go_of(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 1)
    lab.bob.unlock(db, 1)
    bob_writes_late(lab, db)
    _, kept = let_go(lab, tmp_path)
    assert 1 not in [lock.number for lock in kept]
    lab.silent("io-against-foreign-lock")


@pytest.mark.parametrize("why", ["another lock ended before", "more clients and files than are counted"])
def test_the_last_lock_that_was_let_go_of_counts(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    if why == "another lock ended before":
        lab.bob.lock(db, 1, 0, 10)
        lab.bob.lock(db, 1, 20, 10)
        lab.bob.unlock(db, 1, 20, 10)
        lab.later(60)
        lab.bob.unlock(db, 1, 0, 10)
    else:
        monkeypatch.setattr(settled, "HAD_KEPT", 2)
        for svid in range(3):
            quiet(lab, lab.alice.lookup(lab.export, f"file-{svid}"))
        lab.bob.lock(db, 1)
        lab.bob.unlock(db, 1)
    bob_writes_late(lab, db)
    let_go(lab, tmp_path)
    lab.silent("io-against-foreign-lock")


def test_what_went_piece_by_piece_is_gone(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    for svid in range(30):
        lab.alice.lock(db, svid, 0, 100)
        lab.alice.unlock(db, svid, 0, 50)
        lab.alice.unlock(db, svid, 50, 50)
    quiet(lab, other(lab))
    small, kept = let_go(lab, tmp_path)
    s = small.engine.sessions
    assert len(kept) < 4
    assert len(s.ledger.owners) < 10
    assert sum(len(file.unlocks) for file in s.ledger.files.values()) < 10


def released_unevenly(lab: Lab) -> File:
    """Alice releases the whole file, of which she had a part."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 10, 10)
    lab.alice.unlock(db, 1)
    return db


def test_a_refusal_long_after_an_uneven_release_is_explained(tmp_path: Path) -> None:
    lab = Lab()
    db = released_unevenly(lab)
    quiet(lab, other(lab))
    lab.later(10)
    lab.bob.lock(db, 2, 12, 1, reply="DENIED")
    small, kept = let_go(lab, tmp_path)
    assert small.engine.sessions.settled.count > COPIES // 2
    assert kept == sorted(kept, key=lambda lock: lock.number)
    lab.fires("residual-range-after-unlock", client=lab.alice)


@pytest.mark.parametrize("why", ["granted since", "too many files", "shared"])
def test_an_uneven_release_is_forgotten(why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if why == "too many files":
        monkeypatch.setattr(settled, "LAST_KEPT", 0)
    lab = Lab()
    if why == "shared":
        db = lab.mounted(lab.alice, lab.bob)
        lab.alice.lock(db, 1, 10, 10, exclusive=False)
        lab.alice.unlock(db, 1)
    else:
        db = released_unevenly(lab)
    if why == "granted since":
        quiet(lab, db, 1)
    quiet(lab, other(lab))
    _, kept = let_go(lab, tmp_path)
    assert 1 not in [lock.number for lock in kept]


# -- what rules still know of them -----------------------------------------------------------------


def test_a_client_that_had_a_lock_may_reclaim_it(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 9, 50, 5)
    lab.bob.unlock(db, 9, 50, 5)
    lab.bob.lock(other(lab), 9)
    quiet(lab, db)
    lab.server.boot()
    lab.server.notify(lab.bob)
    lab.bob.lock(db, 9, 50, 5, reclaim=True)
    small, kept = let_go(lab, tmp_path)
    assert 1 not in [lock.number for lock in kept]
    assert small.engine.sessions.settled.had(kept[-1].client, kept[-1].file)
    lab.silent("reclaim-fabricated")


def test_more_clients_and_files_than_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settled, "HAD_KEPT", 1)
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(other(lab), 9)
    quiet(lab, db)
    lab.server.boot()
    lab.server.notify(lab.bob)
    lab.bob.lock(db, 9, 50, 5, reclaim=True)
    small = fed(_written(lab, tmp_path), False, 200)
    assert not [one for one in evaluate(small.engine.sessions) if one.code == "reclaim-fabricated"]


def _written(lab: Lab, tmp_path: Path) -> Path:
    path = tmp_path / "lab.pcap"
    lab.world.write(path)
    return path


def test_a_name_that_goes_on_locking_is_known(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5)
    lab.alice.lock(db, 5, caller_name="dave", oh=b"5@dave")
    quiet(lab, other(lab))
    for svid in range(6):
        lab.alice.lock(other(lab), svid, caller_name="dave")
    let_go(lab, tmp_path)
    lab.fires("owner-collision", client=lab.alice)


def test_a_file_that_somebody_else_has_had_since_is_no_survivor(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 5)
    lab.world.wait(5)
    lab.alice.boot()
    lab.alice.notify(lab.server)
    lab.world.wait(8)
    lab.bob.lock(db, 2)
    lab.bob.unlock(db, 2)
    lab.bob.lock(other(lab), 2)
    quiet(lab, other(lab))
    lab.carol.lock(db, 2, 10, 5, reply="DENIED")
    lab.later(1)
    let_go(lab, tmp_path)
    lab.silent("lock-survived-client-reboot")


def test_what_is_usual_for_a_file_is_known(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice, lab.bob)
    quiet(lab, db, seconds=30)
    quiet(lab, other(lab))
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 1)
    lab.later(90)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 1)
    lab.later(1)
    small, _ = let_go(lab, tmp_path)
    assert small.engine.sessions.settled.count > COPIES
    lab.silent("long-hold")


def test_it_is_known_of_the_files_that_were_locked_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settled, "FILES_KEPT", 2)
    lab = Lab()
    db = lab.mounted(lab.alice)
    for file in (db, lab.alice.lookup(lab.export, "one"), db, lab.alice.lookup(lab.export, "another")):
        quiet(lab, file)
    small, _ = let_go(lab, tmp_path)
    known, handles = small.engine.sessions.settled, small.engine.records.handles
    counts = sorted(len(known.holds(model.File(0, handle))) for handle in range(handles.count))
    assert counts[-1] == 2 * COPIES
    assert 0 < counts[-2] <= COPIES
    assert not any(counts[:-2])


def test_a_server_that_answered_since_is_not_silent(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 7, reply=None)
    quiet(lab, other(lab))
    lab.later(60)
    small, _ = let_go(lab, tmp_path)
    assert small.engine.sessions.operations.answered
    lab.silent("nlm-server-stall")


def test_a_grant_that_comes_behind_its_unlock_is_no_leak(tmp_path: Path) -> None:
    lab = Lab()
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 7, 0, 9)
    late = lab.alice.lock(db, 7, 0, 5, reply=None)
    early = lab.alice.lock(db, 8, reply=None)
    lab.alice.unlock(db, 7, 0, 9)
    lab.alice.unlock(db, 8)
    quiet(lab, other(lab))
    early.answer("GRANTED")
    late.answer("GRANTED")
    lab.later(60)
    small, _ = let_go(lab, tmp_path)
    assert not [lock for lock in small.engine.sessions.ledger.locks if lock.server_end is None]
