"""Locks that came and went within a block are no objects, unless something could be said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from struct import pack

import pytest

from analyzer.findings.catalogue import evaluate
from analyzer.records.events import Call
from analyzer.records.lives import MOST_STANDING
from analyzer.sessions import settled
from analyzer.sessions.model import Lock
from analyzer.sessions.operations import Operation
from analyzer.sessions.rebirths import FIRST_COOKIE
from analyzer.sessions.world import Sessions
from tests.findings.lab import Lab
from tests.watch.stepped import Fed
from tests.world import File, Request

OLD = 70  # locks after which a lock module is not young any more
ROUNDS = 8


def quiet(lab: Lab, file: File, times: int = ROUNDS) -> list[Request]:
    """Alice locks and unlocks."""
    asked = []
    for number in range(times):
        asked.append(lab.alice.lock(file, 100 + number))
        lab.world.wait(0.01)
        lab.alice.unlock(file, 100 + number)
        lab.world.wait(0.01)
    return asked


def begun(lab: Lab) -> tuple[File, File]:
    """Clients that have worked for long, a file they know, and another one; all in one block."""
    db = lab.mounted(lab.alice, lab.bob)
    busy = lab.alice.lookup(lab.export, "busy")
    quiet(lab, busy, OLD)
    return db, busy


def both(lab: Lab, tmp_path: Path, *cuts: int) -> tuple[Sessions, Sessions, set[int]]:
    """A laboratory's capture, in blocks that end at these times, with all locks as objects and without:
    findings are the same. And the frames of the LOCKs that became objects in the latter."""
    path = tmp_path / "lab.pcap"
    lab.world.write(path)
    whole, small = (_fed(path, kept, cuts) for kept in (True, False))
    assert evaluate(small) == evaluate(whole)
    assert small.ledger.grants == whole.ledger.grants == len(small.ledger.locks) + small.settled.count
    assert _told(small) == _told(whole)
    return whole, small, {lock.request.call.frame for lock in small.ledger.locks}


def _told(s: Sessions) -> tuple[object, ...]:
    """What sessions are told once, or keep the last of."""
    return (
        {pair: copies.requests for pair, copies in s.pace.copies.items()},
        {flow: [call.serial for call in calls] for flow, calls in s.nlm_flows.items()},
        {pair: (count, lock.request.order) for pair, (count, lock) in s.rebirths.latest.items()},
        {pair: [one.order for one in firsts.values()] for pair, firsts in _firsts(s).items()},
        (s.ledger.states, s.ledger.pairs, s.hosts.names),
    )


def _firsts(s: Sessions) -> dict[tuple[int, int], dict[int, Operation]]:
    return {(host, to): one for host, servers in s.lock_servers.items() for to, one in servers.items()}


def _fed(path: Path, whole: bool, cuts: tuple[int, ...]) -> Sessions:
    made = Fed(path)
    made.engine.whole = whole
    for time in (*cuts, made.stream.end):
        made.until(time)
    made.engine.finish()
    return made.engine.sessions


def test_quiet_locks_are_no_objects(tmp_path: Path) -> None:
    lab = Lab()
    db, _ = begun(lab)
    asked = quiet(lab, db, 40)
    *_, made = both(lab, tmp_path)
    assert not made & {request.frame for request in asked[:-1]}
    assert asked[-1].frame in made


def test_the_last_ones_of_a_connection_are_objects(tmp_path: Path) -> None:
    lab = Lab()
    db, _ = begun(lab)
    last_given_back = lab.alice.lock(db, 1, 0, 10)
    last_granted = lab.alice.lock(db, 2, 20, 10)
    lab.alice.unlock(db, 2, 20, 10)
    lab.alice.unlock(db, 1, 0, 10)
    *_, made = both(lab, tmp_path)
    assert {last_given_back.frame, last_granted.frame} <= made


# -- what makes a lock an object -----------------------------------------------------------------


def _another_is_denied(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.alice.unlock(db, 1)
    return lock


def _another_tests(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.test(db, 2, reply="DENIED")
    lab.alice.unlock(db, 1)
    return lock


def _another_cancels(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.cancel(db, 2)
    lab.alice.unlock(db, 1)
    return lock


def _another_has_it_too(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.lock(db, 2)
    lab.alice.unlock(db, 1)
    lab.bob.unlock(db, 2)
    return lock


def _another_waits(lab: Lab, db: File) -> Request:
    lab.bob.lock(db, 2, 0, 10)
    lab.carol.wait_for(db, 3, 0, 10)
    lock = lab.alice.lock(db, 1, 50, 10)
    lab.alice.unlock(db, 1, 50, 10)
    lab.bob.unlock(db, 2, 0, 10)
    lab.server.granted(lab.carol, db, 3, 0, 10)
    lab.carol.unlock(db, 3, 0, 10)
    return lock


def _its_process_locks_beside(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 0, 10)
    lab.alice.lock(db, 1, 20, 10)
    lab.alice.unlock(db, 1, 0, 10)
    lab.alice.unlock(db, 1, 20, 10)
    return lock


def _it_is_asked_for_twice(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lock.again()
    lab.alice.unlock(db, 1)
    return lock


def _it_is_given_back_twice(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1).again()
    return lock


def _it_is_granted_twice(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lock.answer("GRANTED")
    lab.alice.unlock(db, 1)
    return lock


def _it_is_given_back_in_pieces(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 0, 20)
    lab.alice.unlock(db, 1, 0, 10)
    lab.alice.unlock(db, 1, 10, 10)
    return lock


def _it_is_given_back_by_another_name(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, oh=b"1@malice")
    return lock


def _it_is_given_back_over_another_connection(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, transport="udp")
    return lock


def _its_unlock_is_not_answered(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, reply=None)
    return lock


def _its_unlock_fails(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, reply="NOLOCKS")
    return lock


def _it_takes_long(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, reply=None)
    lab.world.wait(3)
    lock.answer("GRANTED")
    lab.alice.unlock(db, 1)
    return lock


def _it_is_reclaimed(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, reclaim=True)
    lab.alice.unlock(db, 1)
    return lock


def _its_state_is_another(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, state=5)
    lab.alice.unlock(db, 1)
    return lock


def _its_caller_is_another(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, caller_name=b"malice")
    lab.alice.unlock(db, 1, caller_name=b"malice")
    return lock


def _it_is_of_no_file(lab: Lab, db: File) -> None:
    for svid in range(4):
        lab.alice.lock(db, svid, fh=b"")
        lab.alice.unlock(db, svid, fh=b"")


def _nobody_signs_it(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, flavor=0)
    lab.alice.unlock(db, 1, flavor=0)
    return lock


def _anybody_may_have_sent_it(lab: Lab, db: File) -> Request:
    locks = []
    for svid in range(4):  # the first and the last one over these ports are objects anyway
        locks.append(lab.alice.lock(db, svid, transport="udp", sport=2000))
        lab.alice.unlock(db, svid, transport="udp", sport=2000)
    return locks[1]


def _in_version_3(lab: Lab, file: File, start: int) -> Request:
    locks = []
    for svid in range(4):
        locks.append(lab.alice.lock(file, svid, start, 10, version=3))
        lab.alice.unlock(file, svid, start, 10, version=3)
    return locks[1]


def _its_range_is_large(lab: Lab, db: File) -> Request:
    return _in_version_3(lab, db, 2**31 - 5)


def _its_file_is_large(lab: Lab, db: File) -> Request:
    large = lab.alice.lookup(lab.export, "large", attributes=False)
    lab.alice.getattr(large, size=2**31)
    return _in_version_3(lab, large, 0)


def _it_is_not_monitored(lab: Lab, db: File) -> Request:
    lock = lab.alice.nlm(22, db, 1, 0, 0, exclusive=True)
    lab.alice.unlock(db, 1)
    return lock


def _it_is_asked_for_by_message(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, msg=True)
    lab.alice.unlock(db, 1, msg=True)
    return lock


def _a_callback_is_about_its_file(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 5, msg=False)
    return lock


def _its_file_is_shared(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.share(db, b"program", 0, 1)
    lab.alice.unlock(db, 1)
    return lock


def _another_writes(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.write(db)
    lab.alice.unlock(db, 1)
    return lock


def _another_hears_that_its_file_is_gone(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 0, 10)
    lab.bob.lock(db, 2, 50, 10, reply="STALE_FH")
    lab.alice.unlock(db, 1, 0, 10)
    return lock


def _another_hears_it_of_nfs(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.getattr(db, status=70)
    lab.alice.unlock(db, 1)
    return lock


def _its_file_is_removed(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.bob.remove(db)
    lab.alice.unlock(db, 1)
    return lock


def _its_file_is_replaced(lab: Lab, db: File) -> Request:
    other = lab.bob.lookup(lab.export, "new")
    lock = lab.alice.lock(db, 1)
    lab.bob.rename(other, "db")
    lab.alice.unlock(db, 1)
    return lock


def _its_client_mounts(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.unlock(db, 1)
    return lock


def _its_client_counts_anew(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.alice.lock(db, 1, cookie=pack("<I", FIRST_COOKIE + 1))
    lab.alice.unlock(db, 1)
    return lock


def _its_server_has_another_verifier(lab: Lab, db: File) -> Request:
    lab.bob.write(lab.bob.lookup(lab.export, "log"))
    lock = lab.alice.lock(db, 1)
    lab.bob.write(lab.bob.lookup(lab.export, "log"), verf=b"anew")
    lab.alice.unlock(db, 1)
    return lock


def _its_server_is_in_grace(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.lock(lab.bob.lookup(lab.export, "log"), 2, reply="GRACE")
    return lock


def _its_server_is_in_grace_for_a_message(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.lock(lab.bob.lookup(lab.export, "log"), 2, reply="GRACE", msg=True)
    return lock


def _its_server_refuses(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.bob.lock(lab.bob.lookup(lab.export, "log"), 2, reply=None, error=1)
    return lock


def _somebody_frees_all(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.mallory.free_all(lab.server)
    lab.alice.unlock(db, 1)
    return lock


def _somebody_has_restarted(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.carol.notify(lab.server)
    lab.alice.unlock(db, 1)
    return lock


def _too_many_stand(lab: Lab, db: File) -> Request:
    for svid in range(MOST_STANDING):
        lab.bob.lock(db, svid, 100 + svid, 1)
    lock = lab.alice.lock(db, 1, 0, 10)
    lab.alice.unlock(db, 1, 0, 10)
    for svid in range(MOST_STANDING):
        lab.bob.unlock(db, svid, 100 + svid, 1)
    return lock


ALL_BEFORE = {_its_client_mounts, _its_client_counts_anew}
"""What makes objects of what the client had up to then."""
ALL = {
    *(_its_state_is_another, _its_caller_is_another, _nobody_signs_it),
    *(_its_server_has_another_verifier, _its_server_is_in_grace, _its_server_refuses),
    *(_its_server_is_in_grace_for_a_message, _it_is_asked_for_by_message),
    *(_somebody_frees_all, _somebody_has_restarted),
}
"""... and of all that the client, or the server, has in this block."""
TOLD = [
    story
    for name, story in sorted(globals().items())
    if name[0] == "_" and getattr(story, "__annotations__", {}).get("db")
]


@pytest.mark.parametrize("since", ["this block", "an earlier one"])
@pytest.mark.parametrize("story", TOLD)
def test_of_what_there_is_something_to_say_there_is_an_object(
    story: Callable[[Lab, File], Request | None], since: str, tmp_path: Path
) -> None:
    lab = Lab()
    db, busy = begun(lab)
    cuts = () if since == "this block" else (lab.world.clock,)
    quiet(lab, busy, 1)
    beside = quiet(lab, busy)
    lock = story(lab, db)
    behind = quiet(lab, busy)
    *_, made = both(lab, tmp_path, *cuts)
    assert lock is None or lock.frame in made
    assert {request.frame for request in beside} <= made or story not in ALL | ALL_BEFORE
    assert {request.frame for request in behind} <= made or story not in ALL
    others = {request.frame for request in (*beside, *behind[1:-1])}
    assert not others & made or story in ALL | ALL_BEFORE


def _it_stands(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 0, 10)


def _it_is_asked_for(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 0, 10, reply=None)


def _it_is_asked_for_once_more(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 0, 10).again()
    lab.bob.unlock(db, 9, 0, 10)


def _it_may_not_have_been_given_back(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 0, 10)
    lab.bob.unlock(db, 9, 0, 10, reply=None)


def _it_is_waited_for(lab: Lab, db: File) -> None:
    lab.carol.lock(db, 3, 50, 10)
    lab.bob.wait_for(db, 9, 50, 10)


def _it_was_denied_for_no_reason(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 50, 10, reply="DENIED")


def _two_believe_in_another(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 50, 10)
    lab.carol.lock(db, 9, 50, 10)


def _another_is_found_free(lab: Lab, db: File) -> None:
    lab.bob.lock(db, 9, 50, 10)
    lab.carol.test(db, 3, 50, 10)


def _two_believed_in_another(lab: Lab, db: File) -> None:
    _two_believe_in_another(lab, db)
    lab.bob.unlock(db, 9, 50, 10)
    lab.carol.unlock(db, 9, 50, 10)


def _another_took_long(lab: Lab, db: File) -> None:
    lock = lab.bob.lock(db, 9, 50, 10, reply=None)
    lab.world.wait(3)
    lock.answer("GRANTED")
    lab.bob.unlock(db, 9, 50, 10)


def _many_stand(lab: Lab, db: File) -> None:
    for svid in range(MOST_STANDING + 1):
        lab.bob.lock(db, svid, 100 + svid, 1)


def _its_client_had_another_name(lab: Lab, db: File) -> None:
    lab.alice.lock(db, 9, caller_name=b"malice")
    lab.alice.unlock(db, 9, caller_name=b"malice")


def _the_server_was_in_grace(lab: Lab, db: File) -> None:
    lab.bob.lock(lab.bob.lookup(lab.export, "log"), 2, reply="GRACE")


EARLIER = [
    _it_stands,
    _it_is_asked_for,
    _it_is_asked_for_once_more,
    _it_may_not_have_been_given_back,
    _it_is_waited_for,
    _it_was_denied_for_no_reason,
    _two_believe_in_another,
    _another_is_found_free,
    _two_believed_in_another,
    _another_took_long,
    _many_stand,
    _its_client_had_another_name,
    _the_server_was_in_grace,
]


@pytest.mark.parametrize("happens", EARLIER)
def test_what_happened_in_an_earlier_block_counts(
    happens: Callable[[Lab, File], None], tmp_path: Path
) -> None:
    lab = Lab()
    db, busy = begun(lab)
    happens(lab, db)
    cut = lab.world.clock
    quiet(lab, busy)
    lock, _ = [(lab.alice.lock(db, svid, 0, 10), lab.alice.unlock(db, svid, 0, 10))[0] for svid in (1, 2)]
    quiet(lab, busy)
    *_, made = both(lab, tmp_path, cut)
    assert lock.frame in made


def test_the_last_lock_of_what_was_waited_for_is_an_object(tmp_path: Path) -> None:
    lab = Lab()
    db, busy = begun(lab)
    lab.takes_turns(db)
    cut = lab.world.clock
    quiet(lab, busy)
    asked = quiet(lab, db)
    quiet(lab, busy)
    *_, made = both(lab, tmp_path, cut)
    assert [request.frame in made for request in asked] == [False] * (ROUNDS - 1) + [True]


# -- and what does not -----------------------------------------------------------------------------


def another_has_what_is_beside_it(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 0, 10)
    lab.bob.lock(db, 1, 10, 10)
    lab.alice.unlock(db, 1, 0, 10)
    lab.bob.unlock(db, 1, 10, 10)
    return lock


def another_reads_too(lab: Lab, db: File) -> Request:
    lab.bob.lock(db, 1, exclusive=False)
    lock = lab.alice.lock(db, 1, exclusive=False)
    lab.bob.unlock(db, 1)
    lab.alice.unlock(db, 1)
    return lock


def another_process_has_what_is_beside_it(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 0, 10, block=True)
    lab.alice.lock(db, 2, 10, 10)
    lab.alice.unlock(db, 1, 0, 10)
    lab.alice.unlock(db, 2, 10, 10)
    return lock


def another_was_denied_before(lab: Lab, db: File) -> Request:
    lab.bob.lock(db, 2)
    lab.alice.lock(db, 1, reply="DENIED")
    lab.bob.unlock(db, 2)
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    return lock


def its_range_is_beyond_32_bits(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1, 2**40, 5)
    lab.alice.unlock(db, 1, 2**40, 5)
    return lock


def another_mounts(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.carol.mount(lab.server, "/srv")
    lab.alice.unlock(db, 1)
    return lock


def its_client_mounted_before(lab: Lab, db: File) -> Request:
    lab.alice.mount(lab.server, "/srv")
    quiet(lab, db, 1)
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    return lock


def another_file_is_written_and_removed(lab: Lab, db: File) -> Request:
    other = lab.bob.lookup(lab.export, "other")
    lock = lab.alice.lock(db, 1)
    lab.bob.write(other)
    lab.bob.remove(other)
    lab.alice.unlock(db, 1)
    return lock


def its_holder_writes(lab: Lab, db: File) -> Request:
    lock = lab.alice.lock(db, 1)
    lab.alice.write(db)
    lab.alice.unlock(db, 1)
    return lock


UNTOLD = [
    another_has_what_is_beside_it,
    another_reads_too,
    another_process_has_what_is_beside_it,
    another_was_denied_before,
    its_range_is_beyond_32_bits,
    another_mounts,
    its_client_mounted_before,
    another_file_is_written_and_removed,
    its_holder_writes,
]


@pytest.mark.parametrize("story", UNTOLD)
def test_of_what_there_is_nothing_to_say_there_is_none(
    story: Callable[[Lab, File], Request], tmp_path: Path
) -> None:
    lab = Lab()
    db, busy = begun(lab)
    lock = story(lab, db)
    quiet(lab, busy)
    *_, made = both(lab, tmp_path)
    assert lock.frame not in made


# -- what is known of them -------------------------------------------------------------------------


@pytest.mark.parametrize("start", [5, 50])
def test_what_stands_since_an_earlier_block_is_met_where_it_is(start: int, tmp_path: Path) -> None:
    lab = Lab()
    db, busy = begun(lab)
    lab.bob.lock(db, 1, 0, 10)
    cut = lab.world.clock
    quiet(lab, busy)
    lock = lab.alice.lock(db, 1, start, 10)
    lab.alice.unlock(db, 1, start, 10)
    quiet(lab, busy)
    *_, made = both(lab, tmp_path, cut)
    assert (lock.frame in made) == (start < 10)


def test_what_is_given_back_in_a_later_block_does_not_stand_behind_that(tmp_path: Path) -> None:
    lab = Lab()
    db, busy = begun(lab)
    lab.bob.lock(db, 1)
    cut = lab.world.clock
    quiet(lab, busy)
    lab.bob.unlock(db, 1)
    asked = quiet(lab, db)
    quiet(lab, busy)
    *_, made = both(lab, tmp_path, cut)
    assert not {request.frame for request in asked} & made


def test_who_had_it_when_and_under_which_name_is_known(tmp_path: Path) -> None:
    lab = Lab()
    db, busy = begun(lab)
    lab.bob.lock(db, 1)
    lab.bob.unlock(db, 1)
    cut = lab.world.clock
    asked = quiet(lab, db)
    quiet(lab, busy)
    whole, small, made = both(lab, tmp_path, cut)
    assert not {request.frame for request in asked[1:]} & made
    last = next(lock for lock in whole.ledger.locks if lock.request.call.frame == asked[-1].frame)
    file = next(file for file in small.ledger.files.values() if file.fh == last.file.fh)
    assert last.server_end is not None
    assert file.settled == last.granted.time
    assert small.settled.until(last.client, file) == last.server_end.time
    assert file.held.entries == last.file.held.entries
    assert len(small.settled.holds(file)) == ROUNDS - 1
    assert all(hold >= 10_000_000 for hold in small.settled.holds(file))
    assert small.settled.last_use[last.client, b"alice"] > OLD
    assert small.operations.answered[last.server] > last.server_end.time


def late_copy(lab: Lab, of: str) -> tuple[Request, int]:
    """A lock that came and went, and a block later copies of its LOCK, or of its UNLOCK, or answers."""
    db, busy = begun(lab)
    quiet(lab, db, 2)
    lock = lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1)
    quiet(lab, db, 20)
    cut = lab.world.clock
    quiet(lab, db, 2)
    late = unlock if of == "UNLOCK" else lock
    for _ in range(2):
        if of != "answer":
            late.again()
        late.answer("GRANTED")
    quiet(lab, busy)
    lab.later(30)
    return lock, cut


def facts(lock: Lock) -> tuple[object, ...]:
    """What is said of a lock and of its requests."""
    said = lock.start, lock.end, lock.exclusive, lock.how, lock.granted, lock.believed, lock.owner.key
    requests = [
        (each.kind, each.identity, each.cookie, each.length, each.state, each.frames, each.answers[0][:3])
        for each in (lock.request, lock.unlock)
        if each is not None
    ]
    calls = [vars_of(each.call) for each in (lock.request, lock.unlock) if each is not None]
    return *said, lock.server_end, lock.client_end, requests, calls


def vars_of(call: Call) -> dict[str, object]:
    """The fields of a call."""
    return {field.name: getattr(call, field.name) for field in fields(call)}


@pytest.mark.parametrize("of", ["LOCK", "UNLOCK", "answer"])
def test_a_copy_makes_the_lock_an_object_after_all(of: str, tmp_path: Path) -> None:
    lab = Lab()
    request, cut = late_copy(lab, of)
    whole, small, _ = both(lab, tmp_path, cut)
    one, other = (
        [facts(lock) for lock in each.ledger.locks if lock.request.call.frame == request.frame]
        for each in (small, whole)
    )
    assert one == other
    assert one
    assert len(small.ledger.locks) < len(whole.ledger.locks) - 20


def test_what_was_withheld_is_forgotten_like_requests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settled, "REQUESTS_KEPT", 16)
    lab = Lab()
    db, _ = begun(lab)
    lock = lab.alice.lock(db, 1)
    unlock = lab.alice.unlock(db, 1)
    cuts = []
    for _ in range(3):
        quiet(lab, db, 20)
        cuts.append(lab.world.clock)
    unlock.again().answer("GRANTED")
    path = tmp_path / "lab.pcap"
    lab.world.write(path)
    locks = _fed(path, False, tuple(cuts)).ledger.locks
    assert lock.frame not in [each.request.call.frame for each in locks]
