"""Who owns a lock, what answers a `_MSG` and what becomes of a cookie, by the kind of server."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.errors import AnalyzerError
from analyzer.sessions.servers import GANESHA, LINUX, MODELS, UNKNOWN, Servers
from analyzer.sessions.world import Sessions
from tests.findings.lab import TERRAINS, Lab

ALICE: dict[str, Any] = {"caller_name": "alice", "oh": b"3@alice"}


def sessions(lab: Lab, model: str) -> Sessions:
    return lab.world.analyze(server_model=model).sessions


def owners(lab: Lab, model: str) -> int:
    """How many owners hold something at the end."""
    return sum(len(file.held.owners) for file in sessions(lab, model).ledger.files.values())


@pytest.mark.parametrize(
    ("model", "number"), [("linux", 1), ("ganesha", 2), ("strict", 2), ("auto", 1)], ids=str
)
def test_two_names_at_one_address(model: str, number: int) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 10)
    lab.alice.lock(db, 3, 50, 10, caller_name="other", oh=b"3@other")
    assert owners(lab, model) == number


@pytest.mark.parametrize(
    ("model", "number"), [("linux", 2), ("ganesha", 2), ("strict", 1), ("auto", 2)], ids=str
)
def test_one_name_at_two_addresses(model: str, number: int) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 3, 0, 10)
    lab.bob.lock(db, 3, 50, 10, **ALICE)
    assert owners(lab, model) == number


@pytest.mark.parametrize(
    ("model", "number"), [("linux", 2), ("ganesha", 1), ("strict", 1), ("auto", 2)], ids=str
)
def test_one_owner_over_two_transports(model: str, number: int) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, 0, 10, transport="tcp")
    lab.alice.lock(db, 3, 50, 10, transport="udp")
    assert owners(lab, model) == number


def test_an_unlock_over_another_transport_frees_by_the_model() -> None:
    """A verdict hangs on it: to Linux the lock is still there."""
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, transport="tcp")
    lab.alice.unlock(db, 3, transport="udp")
    lab.later(5)
    standing = {
        model: "lock-open-at-capture-end" in {f.code for f in lab.world.analyze(server_model=model).findings}
        for model in MODELS
    }
    assert standing == {"linux": True, "ganesha": False, "strict": False}


@pytest.mark.parametrize("terrain", TERRAINS)
def test_auto_goes_by_the_handles(terrain: str) -> None:
    lab = Lab(terrain)
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3)
    (file,) = sessions(lab, "auto").ledger.files.values()
    assert file.model is {"linux": LINUX, "ganesha6": GANESHA, "opaque": UNKNOWN}[terrain]


@pytest.mark.parametrize(("model", "answered"), [("linux", True), ("ganesha", False), ("strict", False)])
def test_an_empty_cookie_that_comes_back_filled(model: str, answered: bool) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    request = lab.alice.lock(db, 3, msg=True, reply=None, cookie=b"")
    request.answer("GRANTED", cookie=b"\0\0\0\0")
    s = sessions(lab, model)
    assert bool(s.ledger.locks) is answered
    assert bool(s.operations.orphan_results) is not answered


@pytest.mark.parametrize("model", MODELS)
def test_another_cookie_never_answers(model: str) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 3, msg=True, reply=None).answer("GRANTED", cookie=b"\0\0\0\0")
    assert not sessions(lab, model).ledger.locks


@pytest.mark.parametrize(
    ("model", "void", "said"),
    [("linux", False, True), ("linux", True, False), ("ganesha", False, False), ("strict", False, False)],
)
def test_a_msg_that_a_linux_server_would_confirm(model: str, void: bool, said: bool) -> None:
    lab = Lab("linux")
    db = lab.mounted(lab.alice)
    request = lab.alice.lock(db, 3, msg=True, reply=None)
    if void:
        request.void({})
    lab.later(15)
    (found,) = (f for f in lab.world.analyze(server_model=model).findings if f.code == "async-result-missing")
    assert ("nor the RPC reply of a Linux server" in found.message) is said


def test_a_model_that_there_is_not() -> None:
    with pytest.raises(AnalyzerError, match="linux, ganesha, strict, auto"):
        Servers(sessions(Lab("linux"), "auto").handles.table, "solaris")
