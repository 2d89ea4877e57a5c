"""How sure a verdict is: the laws that hold for all rules, and what must not touch it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

from analyzer.engine import analyze
from analyzer.findings.catalogue import RULES, judge
from analyzer.findings.rule import DEFINITE, HIGH, INFO, POSSIBLE, PROBABLE, Confidence, Finding
from analyzer.parameters import DECLARED
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from tests.findings.lab import Lab
from tests.network import Connection, Packet
from tests.sessions.view import View
from tests.world import LOCKD, MOUNTD, NFSD, STATD, File

# -- the end of the capture -----------------------------------------------------------------------


class Wait(NamedTuple):
    """What a rule waits for, and how long."""

    script: Callable[[Lab], object]  # up to where the window begins
    window: str
    confidence: Confidence = PROBABLE


def unlocks_in_vain(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1, reply=None)


def leaves_a_lock(lab: Lab) -> None:
    lab.alice.lock(lab.mounted(lab.alice), 1)
    lab.alice.umount(lab.export)


def calls_nobody_back(lab: Lab) -> File:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 7)
    lab.alice.unlock(db, 1)
    return db


def gives_no_answer_to_a_callback(lab: Lab) -> File:
    db = calls_nobody_back(lab)
    lab.server.granted(lab.bob, db, 7, reply=None)
    return db


def sends_no_result(lab: Lab) -> None:
    lab.alice.lock(lab.mounted(lab.alice), 1, msg=True, reply=None)


def cancels_for_another(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob, lab.carol)
    lab.alice.lock(db, 1)
    lab.carol.wait_for(db, 3)  # the server does call those who wait
    lab.bob.wait_for(db, 7)
    lab.mallory.cancel(db, 7, caller_name="bob", oh=b"7@bob")
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.carol, db, 3)
    lab.carol.unlock(db, 3)


def stalls(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 5)
    lab.alice.lock(db, 1, 5, 5, reply=None)


def closes_a_circle(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 5)
    lab.bob.lock(db, 2, 5, 5)
    lab.alice.wait_for(db, 1, 5, 5)
    lab.bob.wait_for(db, 2, 0, 5)


def vanishes(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.die()
    for (_, _, port), connection in list(lab.world.connections.items()):
        if port == NFSD:
            connection.reset()


def says_goodbye_in_vain(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export, reply=None)


def restarts_in_silence(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.world.wait(5)
    lab.alice.boot()
    lab.alice.mount(lab.server, "/srv")
    lab.alice.lock(lab.export.file("other"), 2)


def is_told_and_sleeps_on(lab: Lab) -> None:
    lab.alice.lock(lab.mounted(lab.alice), 1)
    lab.server.boot()
    lab.server.notify(lab.alice, state=9)


def is_not_told(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.server.notify(lab.alice, state=9, reply=None)


def asks_a_dead_statd(lab: Lab) -> None:
    lab.mounted(lab.alice)
    args = {"mon_name": "alice", "my_name": "server", "my_prog": NLM, "my_vers": 3, "my_proc": 16}
    lab.server.call(lab.server, (NSM, 1), 2, args, port=STATD, transport="udp")


def gives_up_as_it_is_granted(lab: Lab) -> None:
    lab.bob.cancel(gives_no_answer_to_a_callback(lab), 7, reply="DENIED")


def reclaims_too_early(lab: Lab) -> None:
    lab.alice.lock(lab.mounted(lab.alice), 1, reclaim=True, reply="STALE_FH")


WAITS = {
    "lock-held-after-umnt": Wait(leaves_a_lock, "unlock-after-umnt"),
    "export-pinned-by-locks": Wait(leaves_a_lock, "unlock-after-umnt"),
    "unlock-unanswered": Wait(unlocks_in_vain, "unlock-watched"),
    "grant-callback-unanswered": Wait(gives_no_answer_to_a_callback, "callback-answer"),
    "grant-callback-missing": Wait(calls_nobody_back, "still-waiting"),
    "async-result-missing": Wait(sends_no_result, "callback-answer"),
    "foreign-unlock": Wait(cancels_for_another, "still-waiting", POSSIBLE),  # of an unknown server
    "nlm-server-stall": Wait(stalls, "lock-service-patience"),
    "deadlock": Wait(closes_a_circle, "circle-stands"),
    "mount-without-release": Wait(vanishes, "unlock-after-umnt"),
    "umnt-lost": Wait(says_goodbye_in_vain, "umnt-answer"),
    "peer-restarted-without-notify": Wait(restarts_in_silence, "reclaim-after-notice"),
    "reclaim-refused": Wait(reclaims_too_early, "reclaim-retry", DEFINITE),
    "lock-leaked-by-cancel-race": Wait(gives_up_as_it_is_granted, "cancel-give-back"),
    "reclaim-missing": Wait(is_told_and_sleeps_on, "reclaim-after-notice"),
    "nsm-notify-unanswered": Wait(is_not_told, "notice-series"),
    "nsm-monitor-failed": Wait(asks_a_dead_statd, "statd-answer"),
}
OPEN_ENDED = {"grace-without-notify"}  # its window is as long as grace: until a request is decided again


def says(check: object, *wanted: str) -> bool:
    """Whether a rule names one of these, itself or through its helpers: what a case says of itself."""
    ahead, seen = [check], set[object]()
    while ahead:
        thing = ahead.pop()
        if isinstance(thing, FunctionType) and thing not in seen:
            seen.add(thing)
            code = thing.__code__
            keywords = [const for const in code.co_consts if isinstance(const, tuple)]
            if any(name in names for name in wanted for names in (code.co_names, *keywords)):
                return True
            ahead += [thing.__globals__.get(name) for name in code.co_names]
    return False


def test_every_rule_that_waits_is_looked_at() -> None:
    assert {code for code, rule in RULES.items() if says(rule.check, "due")} == WAITS.keys() | OPEN_ENDED


NOTHING_TO_MISS = {
    "async-result-orphan",  # is itself the sign of a request that was missed
    "free-all-unexpected",  # whose name it is
    "grace-longer-than-expected",  # the server's settings are not known
    "lock-starvation",  # probable because turns may have been missed
    "mnt-unused",  # a fact
    "nsm-name-mismatch",  # whose name it is
    "nsm-notify-spoofed",  # whose name it is
    "version-or-proc-mismatch",  # what the client mounted with
}


def test_every_rule_that_rests_on_an_absence_says_where_a_message_would_matter() -> None:
    unsure = {code for code, rule in RULES.items() if says(rule.check, "PROBABLE", "POSSIBLE")}
    said = {code for code, rule in RULES.items() if says(rule.check, "watched", "stands", "untraced")}
    assert unsure - said == NOTHING_TO_MISS


def ends_after(code: str, part: float, terrain: str) -> Finding:
    """The finding, where the capture ends after a part of the window."""
    lab = Lab(terrain)
    WAITS[code].script(lab)
    lab.later(part * DECLARED[WAITS[code].window].default / 1e9)
    return lab.fires(code)


TERRAIN = {"foreign-unlock": "opaque", "peer-restarted-without-notify": "linux"}


@pytest.mark.parametrize("code", WAITS)
def test_where_the_capture_ends_within_the_window_it_is_possible_and_less_severe(code: str) -> None:
    terrain = TERRAIN.get(code, "linux")
    early, late = (ends_after(code, part, terrain) for part in (0.9, 1.1))
    assert late.confidence == WAITS[code].confidence
    assert (early.confidence, early.severity) == (POSSIBLE, late.severity - 1)


@pytest.mark.parametrize("code", WAITS)
def test_while_the_capture_goes_on_nothing_is_said_before_the_window_is_over(code: str) -> None:
    lab = Lab(TERRAIN.get(code, "linux"))
    WAITS[code].script(lab)
    lab.later(0.9 * DECLARED[WAITS[code].window].default / 1e9)
    assert code not in {finding.code for _, finding in judge(View(lab).s, goes_on=True)}


# -- messages that were cut -----------------------------------------------------------------------


def unanswered(lab: Lab) -> Finding:
    return lab.fires("unlock-unanswered", severity=HIGH)


def in_vain(terrain: str = "linux") -> tuple[Lab, File]:
    """An UNLOCK that nobody answers, and more calls after it."""
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 4)
    lab.alice.unlock(db, 4, reply=None)
    return lab, db


HEADERS = {"linux": 14 + 20 + 20, "ganesha6": 14 + 40 + 8 + 8}  # a datagram is known by its xid and type


@pytest.mark.parametrize("terrain", HEADERS)
def test_an_answer_of_which_a_part_was_captured_is_no_absence_to_be_sure_of(terrain: str) -> None:
    for kept in range(HEADERS[terrain], HEADERS[terrain] + 36):
        lab = Lab(terrain)
        db = lab.mounted(lab.alice)
        lab.alice.lock(db, 4)
        answer = lab.alice.unlock(db, 4).replies[0]
        answer.kept = kept
        lab.later(150)
        wrong = [f for f in lab.findings() if f.severity > INFO and f.confidence > POSSIBLE]
        assert kept >= len(answer.data) or not wrong, (kept, lab._seen())


@pytest.mark.parametrize("message", ["lock", "another client's"])
def test_a_lock_message_that_was_cut_demotes(message: str) -> None:
    lab, db = in_vain()
    who = lab.alice if message == "lock" else lab.bob
    who.lock(lab.export.file("other"), 5).calls[0].kept = 120
    lab.later(150)
    assert unanswered(lab).confidence == (POSSIBLE if message == "lock" else PROBABLE)
    assert db


def test_a_connection_to_the_lock_service_of_which_no_call_was_captured_demotes(linux: Lab) -> None:
    leaves_a_lock(linux)
    for connection in linux.world.connections.values():
        connection.close()
    linux.alice.unlock(linux.export.file("db"), 9, 5, 1, captured=False, reply_captured=False)
    linux.alice.disconnect(linux.server)
    linux.later(40)
    assert linux.fires("lock-held-after-umnt").confidence == POSSIBLE


def test_bulk_that_was_cut_demotes_nothing() -> None:
    lab, db = in_vain()
    for count in range(8):
        written = lab.alice.write(db, count * 4000, 4000)
        read = lab.alice.nfs("READ", db, {"count": 4000, "data": bytes(4000)}, offset=0, count=4000)
        for packet in (*written.calls, *read.replies):
            packet.kept = 200
    lab.later(150)
    assert unanswered(lab).confidence == PROBABLE


def in_one_segment(connection: Connection, *messages: Packet) -> Packet:
    """What was sent in several segments, in one."""
    at = 14 + 20 + 20
    data = b"".join(packet.data[at:] for packet in messages)
    begin = connection.sent[1] - len(data)
    for packet in messages:
        packet.captured = False
    return connection.segment(1, 24, data, begin, messages[0].time + 1)


def test_a_whole_answer_behind_one_that_was_cut_is_no_absence_to_be_sure_of(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 4, 0, 5)
    linux.alice.lock(db, 5, 7, 1)
    asked = [linux.alice.unlock(db, 4, 0, 5, reply=None), linux.alice.unlock(db, 5, 7, 1, reply=None)]
    answers = [request.answer("GRANTED").replies[0] for request in asked]
    connection = linux.world.connections[linux.alice.address, linux.server.address, LOCKD]
    both = in_one_segment(connection, *answers)
    assert linux.findings() is not None
    linux.clean("unlock-unanswered")
    linux.analysis = None
    both.kept = 14 + 20 + 20 + 4 + 30  # neither answer, nor the mark of the second
    linux.later(150)
    assert all(f.confidence == POSSIBLE for f in linux.findings() if f.code == "unlock-unanswered")


# -- packets that the capturing program dropped ---------------------------------------------------


def test_packets_that_were_dropped_make_an_absence_possible() -> None:
    lab, _ = in_vain()
    lab.later(150)
    assert unanswered(lab).confidence == PROBABLE
    lab.analysis, lab.world.drops = None, 3
    assert unanswered(lab).confidence == POSSIBLE
    lab.fires("capture-blind-spot", message="the capturing program dropped packets, nobody knows which")
    assert less_sure(lab) == {"unlock-unanswered"}


def test_packets_that_were_dropped_take_no_finding_away(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.alice.die()
    linux.bob.wait_for(db, 1)
    linux.later(70)
    linux.world.drops = 3
    linux.fires("lock-held-by-vanished-client", confidence=POSSIBLE)


def test_what_was_seen_stays_certain_though_packets_were_dropped(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.alice.unlock(db, 1, reply="FAILED")
    linux.alice.umount(linux.export)
    linux.world.wait(40)
    linux.bob.lock(db, 2, reply="DENIED")
    linux.world.drops = 3
    linux.fires("unlock-refused", confidence=DEFINITE)
    linux.fires("lock-held-after-umnt", confidence=DEFINITE)


def test_packets_that_were_dropped_at_another_time_change_nothing(linux: Lab, tmp_path: Path) -> None:
    first, second = tmp_path / "1.pcapng", tmp_path / "2.pcap"
    linux.bob.mount(linux.server, "/srv")
    linux.world.drops = 3
    linux.world.write(first)
    linux.world.drops = 0
    linux.world.packets.clear()
    unlocks_in_vain(linux)
    linux.later(150)
    linux.world.write(second)
    linux.analysis = analyze([str(first), str(second)], compiled=False)
    assert unanswered(linux).confidence == PROBABLE
    linux.fires("capture-blind-spot", message="the capturing program dropped packets, nobody knows which")


def test_over_udp_nothing_shows_which_packets_were_dropped() -> None:
    lab = Lab("ganesha6")
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.umount(lab.export)
    lab.world.wait(40)
    lab.bob.lock(db, 2, reply="DENIED")
    lab.fires("lock-held-after-umnt", confidence=DEFINITE)
    lab.analysis, lab.world.drops = None, 3
    lab.fires("lock-held-after-umnt", confidence=PROBABLE)


# -- what was there before ------------------------------------------------------------------------


def test_a_mount_that_is_older_than_the_capture_demotes(lab: Lab) -> None:
    lab.alice.getattr(lab.export.root)  # she was there before: perhaps she has it mounted twice
    leaves_a_lock(lab)
    lab.later(40)
    lab.fires("lock-held-after-umnt", severity=HIGH, confidence=POSSIBLE)
    lab.fires("export-pinned-by-locks", severity=HIGH, confidence=POSSIBLE)


# -- kinds of servers, and shared addresses -------------------------------------------------------


@pytest.mark.parametrize(
    ("terrain", "first", "sure"),
    [("ganesha6", 0, PROBABLE), ("opaque", 0, POSSIBLE), ("opaque", 50, PROBABLE)],
)
def test_a_pin_that_stands_by_a_guess_says_so(terrain: str, first: int, sure: Confidence) -> None:
    """An UNLOCK under another name: some servers take it for the owner's."""
    lab = Lab(terrain)
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 0, 50)
    lab.alice.unlock(db, 1, first, 50, oh=b"somebody else")
    lab.alice.umount(lab.export)
    lab.later(40)
    found = lab.fires("export-pinned-by-locks", confidence=sure)
    assert ("nothing shows of which kind" in found.message) == (sure == POSSIBLE)


@pytest.mark.parametrize(("terrain", "kept"), [("ganesha6", True), ("opaque", False)])
def test_what_is_left_of_a_lock_by_a_guess_is_a_note(terrain: str, kept: bool) -> None:
    lab = Lab(terrain)
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, 0, 100)
    lab.alice.unlock(db, 1, 0, 50)
    lab.alice.unlock(db, 1, 0, 0, oh=b"somebody else")
    lab.bob.wait_for(db, 2, 60, 1)
    lab.later(90)
    codes = {finding.code for finding in lab.findings()}
    assert ("residual-range-after-unlock" in codes) == kept
    if not kept:
        note = next(f for f in lab.findings() if f.message.startswith("less than possible"))
        assert (note.code, note.severity) == ("capture-blind-spot", INFO)
        assert "residual-range-after-unlock" in note.message


@pytest.mark.parametrize("shared", [False, True])
def test_an_address_that_several_hosts_share_demotes(shared: bool) -> None:
    lab, _ = in_vain()
    other = lab.alice.lookup(lab.export, "other")
    lab.alice.lock(other, 5)
    if shared:
        lab.alice.lock(other, 5, caller_name="dave", oh=b"5@dave")
    lab.alice.lock(other, 5)
    lab.later(150)
    assert ("owner-collision" in {f.code for f in lab.findings()}) == shared
    assert unanswered(lab).confidence == (POSSIBLE if shared else PROBABLE)
    if shared:
        lab.fires("owner-collision", confidence=DEFINITE)


# -- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubt", ["none", "shared", "dropped"])
def test_what_was_seen_of_a_fact_is_definite_and_what_was_not_is_doubted(linux: Lab, doubt: str) -> None:
    linux.alice.mount(linux.server, "/idle", use=False)
    db = linux.mounted(linux.alice)
    for caller in ("alice", "dave") if doubt == "shared" else ("alice",):
        linux.alice.lock(db, 5, caller_name=caller, oh=f"5@{caller}".encode())
    linux.alice.lock(db, 5)
    linux.world.drops = 3 if doubt == "dropped" else 0
    linux.later(150)
    codes = {finding.code for finding in linux.findings()}
    assert ("owner-collision" in codes) == (doubt == "shared")
    linux.fires("lock-open-at-capture-end", confidence=DEFINITE, severity=INFO)
    unused = linux.fires("mnt-unused", severity=INFO)
    assert unused.confidence == (PROBABLE if doubt == "none" else POSSIBLE)


def less_sure(lab: Lab) -> set[str]:
    """The codes that the capture is said to make less sure."""
    lead = "less sure, as messages may be missing: "
    said = [finding.message.removeprefix(lead) for finding in lab.findings() if lead in finding.message]
    return {code for codes in said for code in codes.split(", ")}


@pytest.mark.parametrize("over", [False, True])
def test_only_what_would_be_surer_is_listed_as_less_sure(lab: Lab, over: bool) -> None:
    unlocks_in_vain(lab)
    lab.world.drops = 3
    lab.later(150 if over else 90)
    assert unanswered(lab).confidence == POSSIBLE if over else True
    assert ("unlock-unanswered" in less_sure(lab)) == over


def test_what_is_less_sure_is_listed_where_only_a_datagram_may_be_missing(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.bob.lock(db, 7, 9, 1)
    linux.bob.lock(db, 7, 20, 1, transport="udp", version=3)
    linux.later(40)
    linux.server.granted(linux.bob, db, 8)
    linux.later(5)
    linux.fires("grant-unsolicited", confidence=PROBABLE)
    assert less_sure(linux) == {"grant-unsolicited"}


def test_what_is_less_sure_is_listed_where_only_a_message_was_cut() -> None:
    lab, _ = in_vain()
    lab.alice.lock(lab.export.file("other"), 5).calls[0].kept = 120
    lab.later(150)
    assert unanswered(lab).confidence == POSSIBLE
    assert less_sure(lab) == {"unlock-unanswered"}


def test_a_notice_whose_answer_was_cut_is_not_probably_unheard(linux: Lab) -> None:
    linux.alice.lock(linux.mounted(linux.alice), 1)
    notice = linux.server.notify(linux.alice, state=9)
    linux.later(1000)
    assert "nsm-notify-unanswered" not in {finding.code for finding in linux.findings()}
    notice.replies[0].kept = 14 + 20 + 8 + 12
    linux.analysis = None
    assert all(f.confidence == POSSIBLE for f in linux.findings() if f.code == "nsm-notify-unanswered")


def test_an_unlock_that_may_be_missing_makes_another_hosts_less_sure() -> None:
    """Of two releases, one forged, the holder's own may be the one that worked."""
    found = []
    for lost in (False, True):
        lab = Lab("opaque")
        db = lab.mounted(lab.alice, lab.bob)
        lab.alice.lock(db, 1)
        if lost:
            lab.alice.lock(db, 1, 90, 5, captured=False, reply_captured=False)
            lab.alice.lock(lab.export.file("other"), 3)
        lab.mallory.unlock(db, 1, caller_name="alice", oh=b"1@alice")
        lab.bob.lock(db, 2)
        lab.later(1)
        found.append(lab.fires("foreign-unlock", client=lab.alice).confidence)
    assert found[0] == found[1] + 1


def test_a_connection_that_is_no_lock_connection_may_lose_what_it_likes(linux: Lab) -> None:
    leaves_a_lock(linux)
    db = linux.export.file("db")
    linux.bob.mount(linux.server, "/srv")
    for count in range(6):
        linux.bob.nfs("GETATTR", db, captured=count % 2 == 0, reply_captured=count % 2 == 0)
    linux.alice.ping(linux.server, (100005, 3), MOUNTD + 1, transport="tcp")
    linux.later(40)
    assert linux.fires("lock-held-after-umnt").confidence == PROBABLE
