"""Both ledgers after what clients and servers said to each other, in every order it may come in."""

import pytest

from analyzer.sessions.ledger import DENIALS_KEPT
from tests.findings.lab import Lab
from tests.sessions.view import END, View

# -- within one owner -----------------------------------------------------------------------------


def test_a_granted_lock_is_held_on_both_sides(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 100, 50)
    view = View(lab)
    assert view.server == view.client == [("alice", 3, 100, 149, "x")]


@pytest.mark.parametrize("status", ["DENIED", "NOLOCKS", "DEADLCK", "ROFS", "STALE_FH", "FBIG", "FAILED"])
def test_an_error_changes_nothing_that_is_held(lab: Lab, status: str) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, exclusive=False)
    lab.alice.lock(db, 3, 10, 10, reply=status)
    assert View(lab).server == [("alice", 3, 0, END, "s")]


def test_a_blocked_upgrade_leaves_the_shared_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, exclusive=False)
    lab.bob.lock(db, 3, exclusive=False)
    lab.alice.wait_for(db, 3)
    view = View(lab)
    assert view.server == [("alice", 3, 0, END, "s"), ("bob", 3, 0, END, "s")]
    assert [wait.ended for wait in view.waits] == [None]


def test_a_downgrade_of_the_middle_splits(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.alice.lock(db, 3, 100, 10, exclusive=False)
    view = View(lab)
    assert view.server == view.client
    assert view.server == [
        ("alice", 3, 0, 99, "x"),
        ("alice", 3, 100, 109, "s"),
        ("alice", 3, 110, END, "x"),
    ]


def test_an_unlock_of_the_middle_splits_and_of_everything_ends_many(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 30)
    lab.alice.lock(db, 3, 100, 1)
    lab.alice.unlock(db, 3, 10, 10)
    assert View(lab).server == [
        ("alice", 3, 0, 9, "x"),
        ("alice", 3, 20, 29, "x"),
        ("alice", 3, 100, 100, "x"),
    ]
    lab.alice.unlock(db, 3)
    view = View(lab)
    assert view.server == view.client == []
    assert view.ends() == [("unlock", "unlock"), ("unlock", "unlock")]


def test_a_replaced_lock_ends_as_replaced(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 10, 10, exclusive=False)
    lab.alice.lock(db, 3, 0, 100)
    assert View(lab).ends() == [("replaced", "replaced"), (None, None)]


def test_an_unlock_of_another_svid_frees_nothing(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.alice.unlock(db, 4)
    assert View(lab).server == [("alice", 3, 0, END, "x")]


def test_linux_tells_owners_apart_by_transport_and_version(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.unlock(db, 3, transport="udp")
    lab.alice.unlock(db, 3, version=3)
    assert View(lab).server == [("alice", 3, 0, 9, "x")]


def test_other_servers_tell_owners_apart_by_name_and_oh() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.unlock(db, 3, oh=b"other")
    assert View(lab).server == [("alice", 3, 0, 9, "x")]
    lab.alice.unlock(db, 3, transport="tcp")
    assert View(lab).server == []


# -- UNLOCK: at its call, confirmed or undone -----------------------------------------------------


def test_an_unlock_that_is_refused_is_undone_on_the_server(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.alice.unlock(db, 3, 10, 10, reply="NOLOCKS")
    view = View(lab)
    assert view.server == [("alice", 3, 0, 9, "x"), ("alice", 3, 10, 19, "x"), ("alice", 3, 20, END, "x")]
    assert view.client == [("alice", 3, 0, 9, "x"), ("alice", 3, 20, END, "x")]
    assert len(view.locks) == 1
    assert view.locks[0].server_end is None


def test_an_unlock_without_an_answer_may_not_have_been_executed(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.alice.unlock(db, 3, reply=None)
    view = View(lab)
    assert view.server == [("alice", 3, 0, END, "x")]
    assert view.client == []


def test_an_unlock_that_rpc_refuses_is_undone(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.alice.unlock(db, 3, error=25)
    assert View(lab).server == [("alice", 3, 0, END, "x")]


def test_an_unlock_put_off_by_grace_and_sent_again_frees(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, reclaim=True)
    lab.alice.unlock(db, 3, reply="GRACE")
    lab.alice.unlock(db, 3)
    view = View(lab)
    assert view.server == view.client == []


def test_a_lock_granted_to_another_shows_that_an_unanswered_unlock_was_executed(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.alice.unlock(db, 3, reply=None)
    lab.bob.lock(db, 5)
    view = View(lab)
    assert view.server == view.client == [("bob", 5, 0, END, "x")]
    assert not view.s.ledger.overlaps


def test_swapped_replies_of_pipelined_calls(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 10)
    unlock = lab.alice.unlock(db, 3, 0, 10, reply=None)
    lock = lab.alice.lock(db, 3, 5, 10, reply=None)
    lock.answer("GRANTED")
    unlock.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == [("alice", 3, 5, 14, "x")]


def test_a_grant_that_comes_after_its_own_unlock_was_sent(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 3, 0, 10, reply=None)
    unlock = lab.alice.unlock(db, 3, 4, 2, reply=None)
    unlock.answer("GRANTED")
    lock.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == [("alice", 3, 0, 3, "x"), ("alice", 3, 6, 9, "x")]


# -- copies ---------------------------------------------------------------------------------------


def test_copies_of_a_lock_all_granted_are_one_lock(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 3, 0, 10, reply=None)
    lock.again()
    lock.again()
    for copy in (0, 1, 2):
        lock.answer("GRANTED", copy=copy)
    view = View(lab)
    assert view.server == view.client == [("alice", 3, 0, 9, "x")]
    assert len(view.locks) == 1


def test_a_copy_that_is_executed_after_the_unlock_leaks(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 3, 0, 10)
    lab.alice.unlock(db, 3, 0, 10)
    lab.world.wait(2)
    lock.again().answer("GRANTED")
    view = View(lab)
    assert view.client == []
    assert view.server == [("alice", 3, 0, 9, "x")]
    assert view.locks[-1].how == "duplicate"


# -- waiting --------------------------------------------------------------------------------------


def test_a_waiter_takes_its_turn_by_callback(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.bob.wait_for(db, 5, 7, 7)
    lab.alice.unlock(db, 3)
    grant = lab.server.granted(lab.bob, db, 5, 7, 7, reply=None)
    view = View(lab)
    assert view.server == [("bob", 5, 7, 13, "x")]
    assert view.client == []
    grant.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == [("bob", 5, 7, 13, "x")]
    assert [wait.ended.reason for wait in view.waits if wait.ended] == ["callback"]


def test_a_waiter_takes_its_turn_by_poll_and_a_late_callback_says_nothing_new(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.bob.wait_for(db, 5)
    lab.bob.wait_for(db, 5)
    lab.alice.unlock(db, 3)
    lab.bob.lock(db, 5, block=True)
    lab.server.granted(lab.bob, db, 5, reply="DENIED")
    view = View(lab)
    assert view.server == view.client == [("bob", 5, 0, END, "x")]
    assert [offer.verdict for offer in view.offers] == ["late"]
    assert len(view.waits) == 1


def test_the_waiters_unlock_comes_before_its_granted_res(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.bob.wait_for(db, 5)
    lab.alice.unlock(db, 3)
    grant = lab.server.granted(lab.bob, db, 5, reply=None)
    lab.bob.unlock(db, 5)
    grant.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == []


def test_a_late_granted_res_never_revives_a_lock(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 3)
    lab.bob.wait_for(db, 5)
    lab.alice.unlock(db, 3)
    grant = lab.server.granted(lab.bob, db, 5, reply=None)
    lab.bob.unlock(db, 5)
    lab.carol.lock(db, 8)
    grant.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == [("carol", 8, 0, END, "x")]
    assert not view.s.ledger.overlaps


def test_a_granted_that_overtakes_its_blocked(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    wait = lab.bob.wait_for(db, 5, reply=None)
    lab.alice.unlock(db, 3)
    lab.server.granted(lab.bob, db, 5)
    wait.answer("BLOCKED")
    view = View(lab)
    assert view.server == view.client == [("bob", 5, 0, END, "x")]
    assert [offer.verdict for offer in view.offers] == ["match"]


def test_the_same_range_and_svid_on_two_hosts_are_two_waits(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 5)
    lab.bob.wait_for(db, 5)
    lab.carol.wait_for(db, 5)
    lab.alice.unlock(db, 5)
    lab.server.granted(lab.carol, db, 5)
    view = View(lab)
    assert view.client == [("carol", 5, 0, END, "x")]
    assert [wait.ended is None for wait in view.waits] == [True, False]


def test_a_cancel_ends_the_wait_and_nothing_that_is_held(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 10, 10)
    lab.bob.lock(db, 5, 0, 5)
    lab.bob.wait_for(db, 5, 10, 10)
    lab.bob.cancel(db, 5, 10, 10)
    lab.bob.cancel(db, 5, 0, 5)
    view = View(lab)
    assert ("bob", 5, 0, 4, "x") in view.server
    assert [wait.ended.reason for wait in view.waits if wait.ended] == ["cancel"]


def test_a_grant_to_one_that_cancelled_stands_on_the_server_only(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.bob.wait_for(db, 5)
    lab.alice.unlock(db, 3)
    grant = lab.server.granted(lab.bob, db, 5, reply=None)
    lab.bob.cancel(db, 5, reply="DENIED")
    grant.answer("DENIED")
    view = View(lab)
    assert view.client == []
    assert view.server == [("bob", 5, 0, END, "x")]


def test_readers_are_called_together(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 3)
    for host in (lab.bob, lab.carol):
        host.wait_for(db, 5, exclusive=False)
    lab.alice.unlock(db, 3)
    for host in (lab.bob, lab.carol):
        lab.server.granted(host, db, 5, exclusive=False)
    view = View(lab)
    assert view.client == [("bob", 5, 0, END, "s"), ("carol", 5, 0, END, "s")]
    assert not view.s.ledger.overlaps


# -- asynchronous requests ------------------------------------------------------------------------


def test_one_cookie_of_two_clients_is_two_requests(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    cookie = b"\x34\x12\0\0"
    first = lab.alice.lock(db, 3, 0, 5, msg=True, reply=None, cookie=cookie)
    second = lab.bob.lock(db, 3, 5, 5, msg=True, reply=None, cookie=cookie)
    second.answer("GRANTED")
    first.answer("DENIED")
    assert View(lab).server == [("bob", 3, 5, 9, "x")]


@pytest.mark.parametrize("terrain", ["linux", "opaque"])
def test_an_empty_cookie_comes_back_as_zeros(terrain: str) -> None:
    """Trap 19."""
    lab = Lab(terrain)
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, msg=True, reply=None, cookie=b"").answer("GRANTED", cookie=bytes(4))
    assert View(lab).client == [("alice", 3, 0, END, "x")]


def test_a_void_reply_grants_nothing(everywhere: Lab) -> None:
    """Trap 18."""
    lab = everywhere
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, msg=True, reply=None).void({})
    view = View(lab)
    assert view.server == view.client == []


def test_results_in_another_order_than_their_requests(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 3, msg=True, reply=None)
    unlock = lab.alice.unlock(db, 3, msg=True, reply=None)
    unlock.answer("GRANTED")
    lock.answer("GRANTED")
    view = View(lab)
    assert view.server == view.client == []


# -- what others say ------------------------------------------------------------------------------


def test_a_conflicting_grant_shows_that_the_first_lock_is_gone_and_its_owner_does_not_know(
    everywhere: Lab,
) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 100)
    lab.bob.lock(db, 5, 50, 1)
    view = View(lab)
    assert view.server == [("bob", 5, 50, 50, "x")]
    assert view.client == [("alice", 3, 0, 99, "x"), ("bob", 5, 50, 50, "x")]
    (overlap,) = view.s.ledger.overlaps
    assert (overlap.loser, overlap.winner) == tuple(view.locks)


def test_a_test_that_finds_a_range_free_ends_what_the_server_held_there(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    lab.bob.test(db, 5, 0, 10)
    view = View(lab)
    assert view.server == []
    assert view.client == [("alice", 3, 0, END, "x")]
    assert view.ends() == [("tested-free", None)]


def test_a_denial_is_laid_at_the_door_of_the_lock_in_the_way(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.lock(db, 4, 50, 10)
    lab.bob.lock(db, 5, 55, 100, reply="DENIED")
    lab.bob.test(db, 5, 5, 1, reply="DENIED", holder=1)
    lab.bob.lock(db, 5, 20, 5, reply="DENIED")
    view = View(lab)
    assert [len(lock.denials) for lock in view.locks] == [1, 1]
    (file,) = view.s.ledger.files.values()
    assert len(file.unexplained) == 1


def test_of_very_many_denials_the_first_and_the_last_are_kept(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3)
    asked = [lab.bob.lock(db, 5, at, 1, reply="DENIED") for at in range(DENIALS_KEPT + 20)]
    (lock,) = View(lab).locks
    assert len(lock.denials) == DENIALS_KEPT
    assert lock.denials[0][0].call.frame == asked[0].frame
    assert lock.denials[-1][0].call.frame == asked[-1].frame


# -- ends without an UNLOCK -----------------------------------------------------------------------


def test_free_all_frees_what_the_sender_holds_over_this_transport(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.lock(db, 3, 10, 10, transport="udp")
    lab.bob.lock(db, 5, 20, 10)
    lab.alice.free_all(lab.server)
    assert View(lab).server == [("alice", 3, 10, 19, "x"), ("bob", 5, 20, 29, "x")]


def test_a_clients_reboot_notice_frees_its_locks_when_it_is_answered(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 5, 20, 10)
    lab.alice.boot()
    lab.alice.notify(lab.server, reply=None)
    assert len(View(lab).server) == 2
    lab.alice.notify(lab.server)
    view = View(lab)
    assert view.server == view.client == [("bob", 5, 20, 29, "x")]
    assert view.ends()[0] == ("reboot-notice", "reboot-notice")


def test_a_notice_in_anothers_name_frees_on_the_server_only(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    lab.mallory.notify(lab.server, name="alice")
    view = View(lab)
    assert view.server == []
    assert view.client == [("alice", 3, 0, END, "x")]


def test_a_restart_forgets_all_and_reclaims_bring_it_back(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 5, 20, 10)
    lab.carol.wait_for(db, 1)
    lab.server.boot()
    lab.server.notify(lab.alice, state=7)
    view = View(lab)
    assert view.server == []
    assert len(view.client) == 2
    assert [wait.ended.reason for wait in view.waits if wait.ended] == ["server-restart"]
    lab.alice.lock(db, 3, 0, 10, reclaim=True, state=0)
    view = View(lab)
    assert view.server == [("alice", 3, 0, 9, "x")]
    assert len(view.locks) == 2
    assert len(view.locks[0].reclaimed) == 1


def test_grace_shows_a_restart_that_nobody_announced(everywhere: Lab) -> None:
    lab = everywhere
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 5, 20, 10, reply="GRACE")
    view = View(lab)
    assert view.server == []
    assert view.client == [("alice", 3, 0, 9, "x")]


def test_status_4_to_a_reclaim_shows_no_restart(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 5, 20, 10, reclaim=True, reply="GRACE")
    assert View(lab).server == [("alice", 3, 0, 9, "x")]


def test_a_rebooted_client_that_counts_its_svids_anew_adopts_the_old_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 0)
    lab.alice.boot()
    lab.mounted(lab.alice)
    lab.alice.lock(db, 0)
    view = View(lab)
    assert view.server == [("alice", 0, 0, END, "x")]
    assert view.ends() == [("replaced", "replaced"), (None, None)]


# -- files ----------------------------------------------------------------------------------------


def test_a_handle_padded_by_an_old_version_is_the_same_file(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 5, 0, 10, version=3, reply="DENIED")
    view = View(lab)
    assert len(view.s.ledger.files) == 1
    assert [len(lock.denials) for lock in view.locks] == [1]


@pytest.mark.parametrize("version", [1, 3])
def test_locks_of_old_versions(lab: Lab, version: int) -> None:
    """Trap 20."""
    db = lab.mounted(lab.alice)
    lab.alice.version = version
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.lock(db, 3, 50, 0)
    lab.alice.unlock(db, 3, 5, 1)
    assert View(lab).server == [
        ("alice", 3, 0, 4, "x"),
        ("alice", 3, 6, 9, "x"),
        ("alice", 3, 50, END, "x"),
    ]


def test_two_servers_may_hand_out_the_same_handle(lab: Lab) -> None:
    other = lab.world.host("server", lab.mallory.address)
    db = lab.mounted(lab.alice, lab.bob)
    twin = lab.bob.lookup(lab.bob.mount(other, "/srv"), "db")
    assert db.handle == twin.handle
    lab.alice.lock(db, 3)
    lab.bob.lock(twin, 5)
    view = View(lab)
    assert len(view.server) == 2
    assert not view.s.ledger.overlaps
