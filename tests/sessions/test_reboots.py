"""Notices, grace windows and port look-ups as builders see them."""

import pytest

from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.protocols.portmap import PORTMAP
from analyzer.sessions import reboots
from tests.findings.lab import Lab
from tests.sessions.view import View
from tests.world import RPCBIND


def test_the_short_name_behind_the_long_one_is_the_same_notice(lab: Lab) -> None:
    """Trap 38."""
    lab.alice.notify(lab.server, name="alice.example.net", state=7)
    lab.alice.notify(lab.server, name="alice", state=7)
    (notice,) = View(lab).s.reboots.notices
    assert len(notice.calls) == 2
    assert notice.answer is not None
    assert notice.answer.call is notice.calls[0]


def test_another_state_is_another_notice(lab: Lab) -> None:
    lab.alice.notify(lab.server, state=7)
    lab.alice.notify(lab.server, state=9)
    assert [n.state for n in View(lab).s.reboots.notices] == [7, 9]


def test_the_same_state_after_the_series_is_another_notice(lab: Lab) -> None:
    lab.alice.notify(lab.server, state=7)
    lab.world.wait(901)
    lab.alice.notify(lab.server, state=7)
    assert len(View(lab).s.reboots.notices) == 2


@pytest.mark.parametrize(
    ("sender", "receiver", "name", "role"),
    [
        ("alice", "server", "alice", "client"),
        ("alice", "server", "unheard-of", "client"),
        ("alice", "server", "192.0.2.21", "client"),
        ("server", "alice", "server", "server"),
        ("mallory", "server", "alice", "forged"),
        ("mallory", "server", "192.0.2.21", "forged"),
        ("mallory", "server", "bob", "other"),
    ],
)
def test_whose_reboot_a_notice_speaks_of(lab: Lab, sender: str, receiver: str, name: str, role: str) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    hosts = vars(lab)
    hosts[sender].notify(hosts[receiver], name=name)
    view = View(lab)
    (notice,) = view.s.reboots.notices
    assert notice.role == role
    assert view.name(notice.victim) == ("alice" if role == "forged" else sender)


def test_grace_begins_with_a_refusal_and_ends_with_a_decision(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    first = lab.alice.lock(db, 1, reply="GRACE")
    lab.bob.test(db, 1, reply="GRACE")
    lab.alice.lock(db, 9, reclaim=True)
    lab.world.wait(40)
    decided = lab.alice.lock(db, 1, reply="DENIED")
    (grace,) = View(lab).s.reboots.graces
    assert grace.begin.frame == first.reply_frame
    assert len(grace.refusals) == 2
    assert grace.ended is not None
    assert grace.ended[1].frame == decided.reply_frame


def test_a_request_from_before_the_window_does_not_end_it(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    early = lab.alice.lock(db, 1, reply=None)
    lab.bob.lock(db, 1, reply="GRACE")
    early.answer("GRANTED")
    (grace,) = View(lab).s.reboots.graces
    assert grace.ended is None


def test_two_graces_with_a_decision_between(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    for _ in range(2):
        lab.alice.lock(db, 1, reply="GRACE")
        lab.world.wait(50)
        lab.alice.lock(db, 1)
        lab.alice.unlock(db, 1)
    graces = View(lab).s.reboots.graces
    assert [grace.ended is not None for grace in graces] == [True, True]


@pytest.mark.parametrize(
    ("version", "procedure", "reply", "port"),
    [
        (2, 3, {"port": 4045}, 4045),
        (2, 3, {"port": 0}, 0),
        (3, 3, {"addr": "192.0.2.22.15.205"}, 4045),
        (4, 3, {"addr": "2001:db8::22.15.205"}, 4045),
        (4, 3, {"addr": ""}, 0),
        (4, 3, {"addr": "nonsense"}, 0),
        (4, 9, {"addr": "192.0.2.22.15.205"}, 4045),
    ],
)
def test_ports_in_every_form_of_answer(
    lab: Lab, version: int, procedure: int, reply: dict[str, object], port: int
) -> None:
    """Trap 34."""
    lab.server.call(
        lab.bob, (PORTMAP, version), procedure, {"prog": NLM, "vers": 4}, port=RPCBIND, reply=reply
    )
    (look,) = View(lab).s.reboots.lookups
    assert (look.program, look.port) == (NLM, port)
    assert look.answer is not None


def test_an_unanswered_look_up(lab: Lab) -> None:
    lab.server.getport(lab.bob, NLM, None)
    (look,) = View(lab).s.reboots.lookups
    assert look.answer is None
    assert look.port is None


@pytest.mark.parametrize("kept", [100, 4], ids=["all kept", "few kept"])
def test_look_ups_between_two_hosts(lab: Lab, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reboots, "LOOKUPS_KEPT", kept)
    asked = []
    for _ in range(6):
        asked.append(lab.server.getport(lab.bob, NLM, 4045))
        lab.server.getport(lab.bob, NSM, 662)
        lab.server.getport(lab.alice, NLM, 4045)
        lab.world.wait(10)
    seen = View(lab)
    server, bob = (seen.s.reboots.lookups[-1].call.src, seen.s.reboots.lookups[-2].call.dst)
    between = seen.s.reboots.lookups_between
    frames = [look.call.frame for look in between(server, bob, NLM, 0, seen.s.end)]
    assert frames == [call.frame for call in asked][-6 if kept > 6 else -1 :]
    last = between(server, bob, NLM, 0, seen.s.end)[-1].call.time
    assert len(between(server, bob, NLM, last, last)) == 1
    assert between(server, bob, NLM, last + 1, last + 2) == []
    assert between(bob, server, NLM, 0, seen.s.end) == []
    seen.s.reboots.forget_lookups(last)
    assert [look.call.frame for look in between(server, bob, NLM, 0, seen.s.end)] == frames[-1:]
    assert all(look.call.time >= last for look in seen.s.reboots.lookups)
