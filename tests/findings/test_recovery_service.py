"""Lock services that lack what they need: each rule fires on its fault and spares its innocent twin."""

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, MEDIUM, POSSIBLE, PROBABLE
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from tests.findings.lab import Lab
from tests.world import LOCKD, STATD, Exchange, File, Host, Request

# -- nsm-monitor-failed ---------------------------------------------------------------------------


def test_nsm_monitor_failed__fires_when_the_refusal_took_long(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(8)
    lock.answer("NOLOCKS")
    lab.fires("nsm-monitor-failed", lock, client=lab.alice, confidence=POSSIBLE, severity=HIGH)


def watch(host: Host, reply: dict[str, int] | None, name: str = "alice") -> Exchange:
    """SM_MON from a host to the statd beside it."""
    args = {"mon_name": name, "my_name": host.name}
    made: Exchange = host.call(host, (NSM, 1), 2, args, port=STATD, transport="udp", reply=reply)
    return made


@pytest.mark.parametrize(("reply", "sure"), [({"status": 1, "state": 3}, DEFINITE), (None, PROBABLE)])
def test_nsm_monitor_failed__fires_on_loopback(lab: Lab, reply: dict[str, int] | None, sure: int) -> None:
    lab.mounted(lab.alice)
    asked = watch(lab.server, reply)
    lab.later(20)
    lab.fires("nsm-monitor-failed", asked, server=lab.server, client=lab.alice, confidence=sure)


@pytest.mark.parametrize("reply", [{"status": 0, "state": 3}, None])
def test_nsm_monitor_failed__silent_when_it_was_done_or_may_still_be(
    lab: Lab, reply: dict[str, int] | None
) -> None:
    lab.mounted(lab.alice)
    watch(lab.server, reply)
    lab.later(5 if reply else 1)
    lab.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_when_it_came_at_once(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 5, reply="NOLOCKS")
    lab.silent("nsm-monitor-failed")


def asked_first(lab: Lab, wait: float = 61) -> Request:
    """Alice's first LOCK, granted after so many seconds."""
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(wait)
    lock.answer("GRANTED")
    return lock


def test_nsm_monitor_failed__fires_softly_when_the_first_lock_was_granted_late(lab: Lab) -> None:
    lock = asked_first(lab)
    lab.alice.unlock(lab.export.file("db"), 5)
    lab.alice.lock(lab.export.file("db"), 5)
    found = lab.fires(
        "nsm-monitor-failed",
        lock,
        client=lab.alice,
        server=lab.server,
        severity=MEDIUM,
        confidence=POSSIBLE,
        path="/srv/db",
    )
    assert lab.fires("nlm-server-stall").caused_by == (found.id,)


def test_nsm_monitor_failed__silent_when_it_came_sooner(lab: Lab) -> None:
    asked_first(lab, 20)
    lab.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_when_it_was_not_the_first(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.test(db, 5)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(61)
    lock.answer("GRANTED")
    lab.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_when_the_client_was_there_before(lab: Lab) -> None:
    db = lab.export.file("db")
    lab.alice.getattr(db)
    lab.alice.lock(db, 4)
    begin = lab.world.clock
    lab.world.wait(1)
    lock = lab.alice.lock(db, 5, 5, 5, reply=None)
    lab.world.wait(61)
    lock.answer("GRANTED")
    start = (begin - lab.world.packets[0].time) / 1e9
    lab.analysis = lab.world.analyze(start=start)
    lab.silent("nsm-monitor-failed")


@pytest.mark.parametrize("when", ["before", "after"])
def test_nsm_monitor_failed__silent_when_the_server_is_slow_anyway(lab: Lab, when: str) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 2, 0, 1)
    slow = lab.bob.lock(db, 2, 5, 1, reply=None) if when == "before" else None
    lab.world.wait(1)
    lock = lab.alice.lock(db, 5, 9, 1, reply=None)
    lab.world.wait(61)
    lock.answer("GRANTED")
    if slow is None:
        slow = lab.alice.lock(db, 5, 10, 1, reply=None)
        lab.world.wait(5)
    slow.answer("GRANTED")
    lab.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_when_another_had_the_range(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 2)
    lock = lab.alice.lock(db, 5, reply=None)
    lab.world.wait(61)
    lab.bob.unlock(db, 2)
    lock.answer("GRANTED")
    lab.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_when_the_path_was_slow(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.ping(linux.server, (NLM, 4), LOCKD)
    linux.server.cut_from(linux.alice, LOCKD)
    lock = linux.alice.lock(db, 5, reply=None)
    linux.world.wait(61)
    linux.server.mend(linux.alice, LOCKD)
    connection = linux.world.connections[linux.alice.address, linux.server.address, LOCKD]
    connection.received[0] = connection.sent[0]
    lock.answer("GRANTED")
    linux.silent("nsm-monitor-failed")


def test_nsm_monitor_failed__silent_after_a_restart(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.bob.lock(db, 2, 0, 1)
    lab.server.boot()
    lab.server.notify(lab.bob)
    lock = lab.alice.lock(db, 5, 9, 1, reply=None)
    lab.world.wait(61)
    lock.answer("GRANTED")
    lab.silent("nsm-monitor-failed")


# -- notify-before-ready --------------------------------------------------------------------------


def restarted(lab: Lab) -> tuple[File, Request]:
    """The server restarts and tells Alice, who holds a lock."""
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 5)
    lab.world.wait(5)
    lab.server.boot()
    lab.server.notify(lab.alice)
    return db, lock


def test_notify_before_ready__fires_when_the_file_was_not_there_yet(lab: Lab) -> None:
    db, _ = restarted(lab)
    stale = lab.alice.lock(db, 5, reclaim=True, reply="STALE_FH")
    lab.world.wait(5)
    reclaim = lab.alice.lock(db, 5, reclaim=True)
    lab.fires("notify-before-ready", stale, reclaim, client=lab.alice, severity=HIGH, confidence=DEFINITE)


def test_notify_before_ready__silent_when_it_never_came_back(lab: Lab) -> None:
    db, _ = restarted(lab)
    lab.alice.lock(db, 5, reclaim=True, reply="STALE_FH")
    lab.later(60)
    lab.silent("notify-before-ready")


def test_notify_before_ready__silent_when_all_went_well(lab: Lab) -> None:
    db, _ = restarted(lab)
    lab.alice.lock(db, 5, reclaim=True)
    lab.later(60)
    lab.silent("notify-before-ready")


PROG_UNAVAIL, MISMATCH = 1, 2


def test_notify_before_ready__fires_when_the_lock_service_was_not_there(lab: Lab) -> None:
    db, _ = restarted(lab)
    early = lab.alice.lock(db, 5, reclaim=True, error=PROG_UNAVAIL)
    lab.world.wait(5)
    reclaim = lab.alice.lock(db, 5, reclaim=True)
    lab.fires("notify-before-ready", early, reclaim, client=lab.alice, severity=HIGH, confidence=DEFINITE)


def test_notify_before_ready__fires_when_the_file_was_stale_to_nfs(lab: Lab) -> None:
    db, _ = restarted(lab)
    stale = lab.alice.getattr(db, status=70)
    lab.world.wait(5)
    reclaim = lab.alice.lock(db, 5, reclaim=True)
    lab.fires("notify-before-ready", stale.replies[0], reclaim, client=lab.alice, confidence=DEFINITE)


def test_notify_before_ready__fires_when_lockd_was_not_registered(lab: Lab) -> None:
    db, _ = restarted(lab)
    look = lab.alice.getport(lab.server, NLM, 0)
    lab.world.wait(5)
    reclaim = lab.alice.lock(db, 5, reclaim=True)
    lab.fires("notify-before-ready", look, reclaim, client=lab.alice, confidence=DEFINITE)


def refused_connection(linux: Lab, port: int) -> File:
    """Alice cannot connect to a port of the server yet."""
    db, _ = restarted(linux)
    linux.server.refuse(port)
    linux.world.connect(linux.alice.address, linux.server.address, port)
    linux.world.refused.clear()
    linux.world.wait(5)
    return db


def test_notify_before_ready__fires_when_the_connection_was_refused(linux: Lab) -> None:
    db = refused_connection(linux, LOCKD)
    reclaim = linux.alice.lock(db, 5, reclaim=True)
    linux.fires("notify-before-ready", reclaim, client=linux.alice, severity=HIGH, confidence=DEFINITE)


def test_notify_before_ready__silent_about_the_port_that_lockd_had_before(linux: Lab) -> None:
    db = refused_connection(linux, 32001)
    linux.alice.lock(db, 5, reclaim=True)
    linux.silent("notify-before-ready")


def test_notify_before_ready__silent_about_a_connection_that_the_restart_killed(linux: Lab) -> None:
    db, _ = restarted(linux)
    linux.world.connections[linux.alice.address, linux.server.address, LOCKD].reset(1)
    linux.alice.lock(db, 5, reclaim=True)
    linux.silent("notify-before-ready")


@pytest.mark.parametrize("how", ["STALE", "PROG_UNAVAIL", "look-up", "another client", "another file"])
def test_notify_before_ready__silent_when_it_failed_before_the_notice_or_elsewhere(
    lab: Lab, how: str
) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 5)
    lab.bob.lock(lab.bob.lookup(lab.export, "mbox"), 2)
    if how == "STALE":
        lab.alice.getattr(db, status=70)
    elif how == "PROG_UNAVAIL":
        lab.alice.lock(db, 5, reclaim=True, error=PROG_UNAVAIL)
    elif how == "look-up":
        lab.alice.getport(lab.server, NLM, 0)
    lab.world.wait(5)
    lab.server.boot()
    lab.server.notify(lab.alice)
    if how == "another client":
        lab.bob.getattr(db, status=70)
    elif how == "another file":
        lab.alice.getattr(lab.export.file("mbox"), status=70)
    lab.alice.lock(db, 5, reclaim=True)
    lab.silent("notify-before-ready")


def test_notify_before_ready__silent_when_the_version_was_wrong(lab: Lab) -> None:
    db, _ = restarted(lab)
    lab.alice.lock(db, 5, reclaim=True, error=MISMATCH)
    lab.alice.lock(db, 5, reclaim=True)
    lab.silent("notify-before-ready")


@pytest.mark.parametrize(("how", "said"), [({"status": 2}, "MNT3ERR_NOENT"), ({"error": 1}, "RPC")])
def test_notify_before_ready__fires_when_a_mount_was_refused_at_first(
    lab: Lab, how: dict[str, int], said: str
) -> None:
    restarted(lab)
    options = {"reply": None, "use": False} | how if "error" in how else how
    lab.carol.mount(lab.server, "/srv", **options)
    refused = lab.carol.mnt
    lab.world.wait(8)
    lab.carol.mount(lab.server, "/srv")
    found = lab.fires(
        "notify-before-ready",
        refused,
        lab.carol.mnt,
        client=lab.carol,
        export="/srv",
        severity=HIGH,
        confidence=DEFINITE,
    )
    assert said in found.message


@pytest.mark.parametrize("why", ["no restart", "never accepted", "another path", "version"])
def test_notify_before_ready__silent_about_mounts_refused_for_other_reasons(lab: Lab, why: str) -> None:
    if why != "no restart":
        restarted(lab)
    path = "/other" if why == "another path" else "/srv"
    options = {"error": MISMATCH, "reply": None, "use": False} if why == "version" else {"status": 2}
    lab.carol.mount(lab.server, path, **options)
    lab.world.wait(8)
    if why != "never accepted":
        lab.carol.mount(lab.server, "/srv")
    lab.silent("notify-before-ready")
