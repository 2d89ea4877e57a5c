"""Identity: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Confidence,
)
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from analyzer.protocols.nlm import NLM
from analyzer.protocols.portmap import PORTMAP
from tests.findings.lab import Lab
from tests.world import RPCBIND, Request

# -- owner-collision ------------------------------------------------------------------------------


def test_owner_collision__fires_when_two_names_share_an_address(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    first = linux.alice.lock(db, 5)
    second = linux.alice.lock(db, 5, caller_name="dave", oh=b"5@dave")
    linux.alice.lock(linux.export.file("other"), 6)
    linux.fires(
        "owner-collision",
        first,
        second,
        client=linux.alice,
        severity=CRITICAL,
        confidence=DEFINITE,
        path="/srv/db",
    )


def test_owner_collision__silent_about_a_new_name_and_a_released_lock(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 5)
    linux.alice.lock(db, 5, caller_name="dave", oh=b"5@dave")
    linux.silent("owner-collision")


def test_owner_collision__silent_when_it_was_released(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 5)
    linux.alice.unlock(db, 5)
    linux.alice.lock(db, 5, caller_name="dave", oh=b"5@dave")
    linux.alice.lock(linux.export.file("other"), 6)
    linux.silent("owner-collision")


@pytest.mark.parametrize("terrain", ["ganesha6", "opaque"])
def test_owner_collision__fires_when_two_addresses_share_a_name(terrain: str) -> None:
    lab = Lab(terrain)
    lab.alice.name = lab.bob.name = "localhost"
    db = lab.mounted(lab.alice, lab.bob)
    first, second = lab.alice.lock(db, 5), lab.bob.lock(db, 5)
    lab.alice.write(db)
    sure = PROBABLE if terrain == "ganesha6" else POSSIBLE
    about: dict[str, Any] = {"client": lab.alice, "peer": lab.bob, "severity": CRITICAL, "confidence": sure}
    found = lab.fires("owner-collision", first, second, **about)
    assert found.id in lab.fires("lock-lost-silently").caused_by


def test_owner_collision__silent_when_addresses_tell_them_apart(linux: Lab) -> None:
    linux.alice.name = linux.bob.name = "localhost"
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 5)
    linux.bob.lock(db, 5)
    linux.silent("owner-collision")


# -- foreign-unlock -------------------------------------------------------------------------------


FORGED: dict[str, Any] = {"caller_name": "alice", "oh": b"5@alice"}


@pytest.mark.parametrize(
    ("terrain", "sure"), [("linux", POSSIBLE), ("ganesha6", DEFINITE), ("opaque", PROBABLE)]
)
def test_foreign_unlock__fires_when_the_server_believed_it(terrain: str, sure: Confidence) -> None:
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    unlock = lab.mallory.unlock(db, 5, **FORGED)
    lab.bob.lock(db, 2)
    about: dict[str, Any] = {"client": lab.alice, "peer": lab.mallory, "severity": CRITICAL}
    found = lab.fires("foreign-unlock", lock, unlock, confidence=sure, **about)
    assert ("nothing shows of which kind" in found.message) == (terrain == "opaque")


def test_foreign_unlock__fires_at_a_server_that_is_said_to_go_by_names() -> None:
    lab = Lab("opaque")
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    unlock = lab.mallory.unlock(db, 5, **FORGED)
    lab.bob.lock(db, 2)
    lab.analysis = lab.world.analyze(server_model="strict")
    lab.fires("foreign-unlock", lock, unlock, client=lab.alice, peer=lab.mallory, confidence=DEFINITE)


def test_foreign_unlock__fires_softly_when_nothing_more_was_seen() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 5)
    unlock = lab.mallory.unlock(db, 5, **FORGED)
    lab.fires("foreign-unlock", lock, unlock, client=lab.alice, peer=lab.mallory, confidence=POSSIBLE)


@pytest.mark.parametrize("how", [{"reply": "DENIED"}, {"length": 10}, {"svid": 6}])
def test_foreign_unlock__silent_about_an_unlock_that_missed(how: dict[str, Any]) -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5)
    lab.mallory.unlock(db, **{"svid": 5} | FORGED | how)
    lab.silent("foreign-unlock")


def forgotten(terrain: str, asked_again: bool = False, reply: str = "GRANTED") -> tuple[Lab, list[Request]]:
    """Bob waits behind carol, mallory cancels that in his name, and nobody calls him when it is his turn."""
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.carol.lock(db, 3)
    lab.alice.wait_for(db, 4)
    lab.carol.unlock(db, 3)
    lab.server.granted(lab.alice, db, 4)  # this server does call back
    waiting = lab.bob.wait_for(db, 2)
    cancel = lab.mallory.cancel(db, 2, reply=reply, caller_name="bob", oh=b"2@bob")
    lab.world.wait(5)
    if asked_again:
        lab.bob.wait_for(db, 2)
    release = lab.alice.unlock(db, 4)
    lab.world.wait(25)
    lab.bob.wait_for(db, 2, reply="GRANTED")
    return lab, [waiting, cancel, release]


@pytest.mark.parametrize(("terrain", "sure"), [("ganesha6", PROBABLE), ("opaque", POSSIBLE)])
def test_foreign_unlock__fires_when_a_wait_was_cancelled(terrain: str, sure: Confidence) -> None:
    lab, proofs = forgotten(terrain)
    about: dict[str, Any] = {"client": lab.bob, "peer": lab.mallory, "severity": CRITICAL}
    found = lab.fires("foreign-unlock", *proofs, confidence=sure, **about)
    assert found.id in lab.fires("grant-callback-missing").caused_by


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"terrain": "linux"}, id="to a server that goes by addresses"),
        pytest.param({"terrain": "ganesha6", "asked_again": True}, id="of a waiter that asked again"),
        pytest.param({"terrain": "ganesha6", "reply": "DENIED"}, id="that was refused"),
    ],
)
def test_foreign_unlock__silent_about_a_cancel(how: dict[str, Any]) -> None:
    lab, _ = forgotten(**how)
    lab.fires("grant-callback-missing", client=lab.bob)
    lab.silent("foreign-unlock")


def test_foreign_unlock__silent_about_a_cancel_after_which_the_waiter_was_called() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.mallory.cancel(db, 2, caller_name="bob", oh=b"2@bob")
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2)
    lab.later(60)
    lab.silent("foreign-unlock", "grant-callback-missing")


def test_foreign_unlock__silent_about_the_own_cancel_from_another_address() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    second = lab.world.host("bob", lab.mallory.address, transport="udp")
    second.cancel(db, 2)
    lab.alice.unlock(db, 1)
    lab.later(60)
    lab.silent("foreign-unlock")


def test_foreign_unlock__silent_when_nothing_came_of_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    lab.mallory.unlock(db, 5, caller_name="alice", oh=b"5@alice")
    lab.bob.lock(db, 2, reply="DENIED")
    lab.silent("foreign-unlock")


def test_foreign_unlock__silent_about_the_same_host_at_another_address(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    second = lab.world.host("alice", lab.mallory.address, transport=lab.alice.transport)
    second.lockd = lab.alice.lockd
    second.unlock(db, 5)
    lab.bob.lock(db, 2)
    lab.silent("foreign-unlock")


# -- unmonitored-lock -----------------------------------------------------------------------------


def test_unmonitored_lock__fires_for_nm_lock(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.nlm(22, db, 5, 0, 0, exclusive=True)
    lab.fires("unmonitored-lock", lock, client=lab.alice, severity=LOW, confidence=DEFINITE)


def refused_by_nm_lock(lab: Lab) -> tuple[Request, Request]:
    """Alice takes db unmonitored, and bob is refused."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.nlm(22, db, 5, 0, 0, exclusive=True)
    return lock, lab.bob.lock(db, 2, reply="DENIED")


def test_unmonitored_lock__fires_high_when_others_are_refused_because_of_it(lab: Lab) -> None:
    proofs = refused_by_nm_lock(lab)
    found = lab.fires("unmonitored-lock", *proofs, client=lab.alice, severity=HIGH, confidence=DEFINITE)
    assert "mounted again" not in found.message


def test_unmonitored_lock__fires_high_when_its_client_came_back_without_free_all(lab: Lab) -> None:
    proofs = refused_by_nm_lock(lab)
    lab.alice.boot()
    lab.alice.mount(lab.server, "/srv")
    found = lab.fires("unmonitored-lock", *proofs, lab.alice.mnt.calls[0], client=lab.alice, severity=HIGH)
    assert f"mounted again in frame {lab.alice.mnt.frame} and sent no FREE_ALL" in found.message


@pytest.mark.parametrize("given_back", ["by UNLOCK", "by FREE_ALL"])
def test_unmonitored_lock__fires_low_when_it_was_given_back(lab: Lab, given_back: str) -> None:
    proofs = refused_by_nm_lock(lab)
    if given_back == "by UNLOCK":
        lab.alice.unlock(lab.export.file("db"), 5)
    else:
        lab.alice.free_all(lab.server)
    lab.fires("unmonitored-lock", *proofs, client=lab.alice, severity=LOW, confidence=DEFINITE)


def test_unmonitored_lock__fires_low_when_another_lock_may_be_in_the_way(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.nlm(22, db, 5, 0, 0, exclusive=False)
    lab.carol.lock(db, 3, exclusive=False)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.fires("unmonitored-lock", client=lab.alice, severity=LOW)


def test_unmonitored_lock__silent_for_lock_and_for_a_refusal(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    lab.bob.nlm(22, db, 5, 0, 0, "DENIED", exclusive=True)
    lab.silent("unmonitored-lock")


# -- portmap-tamper -------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [1, 2])
def test_portmap_tamper__fires_when_the_map_was_changed(lab: Lab, procedure: int) -> None:
    args = {"prog": MOUNT, "vers": 3, "prot": 17, "port": 999}
    call = lab.mallory.call(
        lab.server, (PORTMAP, 2), procedure, args, port=RPCBIND, transport="udp", reply={"done": 1}
    )
    lab.fires(
        "portmap-tamper", call, server=lab.server, client=lab.mallory, severity=HIGH, confidence=DEFINITE
    )


@pytest.mark.parametrize("answered", [True, False])
def test_portmap_tamper__fires_when_locks_are_called_through_it(lab: Lab, answered: bool) -> None:
    args = {"prog": NLM, "vers": 4, "proc": 16, "args": b""}
    reply = {"port": 4045, "res": b""} if answered else None
    call = lab.mallory.call(lab.server, (PORTMAP, 2), 5, args, port=RPCBIND, transport="udp", reply=reply)
    lab.fires("portmap-tamper", call, client=lab.mallory, severity=HIGH if answered else LOW)


@pytest.mark.parametrize(("program", "procedure"), [(NFS, 1), (NLM, 0)])
def test_portmap_tamper__silent_about_others_pings_and_refusals(
    lab: Lab, program: int, procedure: int
) -> None:
    args = {"prog": program, "vers": 3, "proc": procedure, "args": b""}
    lab.mallory.call(
        lab.server, (PORTMAP, 2), 5, args, port=RPCBIND, transport="udp", reply={"port": 1, "res": b""}
    )
    refused = {"prog": MOUNT, "vers": 3, "prot": 17, "port": 999}
    lab.mallory.call(lab.server, (PORTMAP, 2), 1, refused, port=RPCBIND, transport="udp", reply={"done": 0})
    lab.mallory.getport(lab.server, NLM, 4045)
    lab.silent("portmap-tamper")


# -- cookie-reuse-conflict ------------------------------------------------------------------------


def test_cookie_reuse_conflict__fires_when_both_are_open(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    first = lab.alice.lock(db, 5, 0, 10, None, msg=True, cookie=b"same")
    second = lab.alice.lock(db, 6, 20, 10, None, msg=True, cookie=b"same")
    lab.fires("cookie-reuse-conflict", first, second, client=lab.alice, severity=MEDIUM, confidence=DEFINITE)


def test_cookie_reuse_conflict__silent_about_polls_and_what_is_answered(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, 0, 10, "GRACE", msg=True, cookie=b"same")
    lab.alice.lock(db, 5, 0, 10, msg=True, cookie=b"same")
    lab.alice.lock(db, 6, 20, 10, msg=True, cookie=b"same")
    lab.alice.lock(db, 7, 40, 10, msg=True, cookie=b"same")
    lab.alice.unlock(db, 7, 40, 10, msg=True, cookie=b"same")
    lab.silent("cookie-reuse-conflict")
