"""Unmounted but not released: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import DEFINITE, HIGH, INFO, LOW, MEDIUM, POSSIBLE, PROBABLE, Confidence
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nfs3 import NFS
from tests.findings.lab import Lab
from tests.frames.packets import ACK, FIN
from tests.network import Connection, Packet
from tests.world import AUTH_ERROR, MOUNTD, NFSD, Request

PROC_UNAVAIL = 3


def nfs_connection(lab: Lab) -> Connection:
    return lab.world.connections[lab.alice.address, lab.server.address, NFSD]


# -- umnt-but-traffic-continues -------------------------------------------------------------------


@pytest.mark.parametrize("everything", [False, True], ids=["UMNT", "UMNTALL"])
def test_umnt_but_traffic_continues__fires(lab: Lab, everything: bool) -> None:
    db = lab.mounted(lab.alice)
    umnt = lab.alice.umntall(lab.server) if everything else lab.alice.umount(lab.export)
    lab.world.wait(8)
    first = lab.alice.getattr(db)
    lab.world.wait(100)
    last = lab.alice.write(db)
    lab.later(1)
    lab.fires(
        "umnt-but-traffic-continues",
        umnt,
        first.calls[0],
        last.calls[0],
        severity=MEDIUM,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        export="/srv",
    )


def test_umnt_but_traffic_continues__fires_less_sure_for_an_older_mount(lab: Lab) -> None:
    db = lab.server.export("/srv").file("db")
    lab.alice.getattr(lab.export.root)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.umount(lab.export)
    lab.world.wait(9)
    lab.alice.lookup(lab.export, "db")
    lab.alice.getattr(db)
    lab.later(1)
    lab.fires("umnt-but-traffic-continues", confidence=POSSIBLE, client=lab.alice)


def test_umnt_but_traffic_continues__silent_about_the_last_flush(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(1.5)
    lab.alice.write(db)
    lab.later(60)
    lab.clean("umnt-but-traffic-continues")


def test_umnt_but_traffic_continues__silent_when_mounted_again(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(5)
    lab.alice.mount(lab.server, "/srv")
    lab.alice.getattr(db)
    lab.later(60)
    lab.clean("umnt-but-traffic-continues")


def test_umnt_but_traffic_continues__silent_with_a_second_mount(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(5)
    lab.alice.getattr(db)
    lab.later(1)
    lab.clean("umnt-but-traffic-continues")


def test_umnt_but_traffic_continues__silent_about_another_export_or_client(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    mbox = lab.alice.lookup(lab.alice.mount(lab.server, "/mail"), "mbox")
    lab.alice.umount(lab.export)
    lab.world.wait(5)
    lab.alice.getattr(mbox)
    lab.bob.getattr(db)
    lab.later(1)
    lab.clean("umnt-but-traffic-continues")


# -- export-pinned-by-locks -----------------------------------------------------------------------


def test_export_pinned_by_locks__fires_when_all_have_left(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.alice.lock(db, 1)
    umnts = [host.umount(lab.export) for host in (lab.bob, lab.alice)]
    lab.later(45)
    found = lab.fires(
        "export-pinned-by-locks",
        lock,
        *umnts,
        severity=HIGH,
        confidence=PROBABLE,
        server=lab.server,
        export="/srv",
    )
    assert found.caused_by == (lab.fires("lock-held-after-umnt").id,)


def test_export_pinned_by_locks__fires_for_sure_after_a_denial(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.umount(lab.export)
    lab.world.wait(3)
    lab.bob.lock(db, 1, reply="DENIED")
    lab.bob.umount(lab.export)
    lab.world.wait(2)
    lab.carol.lock(db, 1, reply="DENIED")
    lab.later(2)
    lab.fires("export-pinned-by-locks", severity=HIGH, confidence=DEFINITE, export="/srv")


@pytest.mark.parametrize(("terrain", "sure"), [("linux", DEFINITE), ("ganesha6", PROBABLE)])
def test_export_pinned_by_locks__fires_less_sure_where_a_lost_unlock_leaves_no_trace(
    terrain: str, sure: Confidence
) -> None:
    lab = Lab(terrain)
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.umount(lab.export)
    lab.world.wait(2)
    lab.carol.wait_for(db, 1)
    lab.carol.cancel(db, 1)
    lab.later(40)
    lab.fires("export-pinned-by-locks", severity=HIGH, confidence=sure, export="/srv")


def test_export_pinned_by_locks__silent_while_another_client_has_it_mounted(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    lab.alice.umount(lab.export)
    lab.later(45)
    lab.silent("export-pinned-by-locks")


def test_export_pinned_by_locks__silent_when_the_lock_is_on_another_export(lab: Lab) -> None:
    lab.mounted(lab.alice)
    mail = lab.bob.mount(lab.server, "/mail")
    lab.bob.lock(lab.bob.lookup(mail, "mbox"), 1)
    lab.alice.umount(lab.export)
    lab.later(45)
    lab.clean("export-pinned-by-locks")


def test_export_pinned_by_locks__fires_for_a_share_reservation(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    share = lab.alice.share(db, b"open 1", 2, 1)
    umnts = [host.umount(lab.export) for host in (lab.bob, lab.alice)]
    lab.later(45)
    found = lab.fires(
        "export-pinned-by-locks",
        share,
        *umnts,
        severity=HIGH,
        confidence=PROBABLE,
        client=lab.alice,
        export="/srv",
    )
    assert found.caused_by == (lab.fires("lock-held-after-umnt").id,)


def waits_and_leaves(lab: Lab) -> Request:
    """Bob waits, is never called back, and leaves as if he did not."""
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1)
    wait = lab.bob.wait_for(db, 1)
    lab.world.wait(2)
    lab.alice.unlock(db, 1)
    lab.alice.umount(lab.export)
    lab.bob.umount(lab.export)
    return wait


def test_export_pinned_by_locks__fires_softly_for_a_waiter(lab: Lab) -> None:
    wait = waits_and_leaves(lab)
    lab.later(45)
    lab.fires(
        "export-pinned-by-locks",
        wait,
        severity=MEDIUM,
        confidence=POSSIBLE,
        client=lab.bob,
        export="/srv",
        path="/srv/db",
    )


@pytest.mark.parametrize("does", ["cancels", "polls"])
def test_export_pinned_by_locks__silent_about_a_waiter_that_gives_up_or_is_there(lab: Lab, does: str) -> None:
    waits_and_leaves(lab)
    db = lab.export.file("db")
    if does == "cancels":
        lab.bob.cancel(db, 1)
    else:
        lab.world.wait(20)
        lab.bob.wait_for(db, 1)
    lab.later(45)
    lab.silent("export-pinned-by-locks")


def vanishes(linux: Lab) -> Packet:
    """Alice loses power with a lock; the server gives her connection up."""
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.lock(db, 1)
    linux.alice.die()
    linux.bob.umount(linux.export)
    linux.world.wait(400)
    return nfs_connection(linux).reset(1)


def test_export_pinned_by_locks__fires_when_the_last_client_vanished(linux: Lab) -> None:
    reset = vanishes(linux)
    linux.later(60)
    linux.fires(
        "export-pinned-by-locks", reset, severity=HIGH, confidence=PROBABLE, client=linux.alice, export="/srv"
    )
    linux.fires("mount-without-release", reset, severity=MEDIUM, confidence=PROBABLE, client=linux.alice)


def test_export_pinned_by_locks__silent_when_it_came_back(linux: Lab) -> None:
    vanishes(linux)
    linux.alice.boot()
    linux.mounted(linux.alice)
    linux.later(60)
    linux.silent("export-pinned-by-locks", "mount-without-release")


def test_export_pinned_by_locks__fires_less_sure_for_an_older_mount(linux: Lab) -> None:
    linux.alice.getattr(linux.export.root)
    vanishes(linux)
    linux.later(60)
    linux.fires("export-pinned-by-locks", severity=HIGH, confidence=POSSIBLE, client=linux.alice)


def test_export_pinned_by_locks__fires_at_once_when_the_unlock_never_arrived(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.server.cut_from(linux.alice, linux.server.lockd)
    unlock = linux.alice.unlock(db, 1, reply=None)
    linux.alice.umount(linux.export)
    linux.later(20)
    linux.fires("export-pinned-by-locks", severity=HIGH, confidence=PROBABLE, client=linux.alice)
    linux.fires("unlock-unanswered", unlock)


# -- mount-without-release ------------------------------------------------------------------------


def test_mount_without_release__fires_on_a_reboot(lab: Lab) -> None:
    lab.mounted(lab.alice)
    mnt = lab.alice.mnt
    lab.world.wait(60)
    lab.alice.boot()
    notice = lab.alice.notify(lab.server, state=5)
    lab.later(2)
    lab.fires(
        "mount-without-release",
        mnt,
        notice.replies[0],
        severity=LOW,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        export="/srv",
    )
    lab.silent("mount-open-at-capture-end")


def test_mount_without_release__fires_when_the_server_gave_up(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.alice.die()
    linux.world.wait(900)
    connection = linux.world.connections[linux.alice.address, linux.server.address, NFSD]
    reset = connection.reset(1)
    linux.later(60)
    linux.fires(
        "mount-without-release", linux.alice.mnt, reset, client=linux.alice, severity=LOW, confidence=PROBABLE
    )


def closed_by_the_server(lab: Lab) -> Packet:
    """The server closes an idle connection; the client says nothing to it."""
    connection = nfs_connection(lab)
    return connection.segment(1, FIN | ACK, at=connection.sent[1])


def test_mount_without_release__fires_when_the_servers_fin_is_not_acknowledged(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.alice.die()
    linux.world.wait(400)
    fin = closed_by_the_server(linux)
    linux.later(60)
    linux.fires(
        "mount-without-release", linux.alice.mnt, fin, client=linux.alice, severity=LOW, confidence=PROBABLE
    )


@pytest.mark.parametrize("answer", [ACK, FIN | ACK])
def test_mount_without_release__silent_when_the_client_takes_note_of_the_fin(linux: Lab, answer: int) -> None:
    linux.mounted(linux.alice)
    linux.world.wait(400)
    closed_by_the_server(linux)
    connection = nfs_connection(linux)
    connection.segment(0, answer, at=connection.sent[0])
    linux.later(120)
    linux.clean("mount-without-release")


def calls_in_vain(linux: Lab) -> None:
    """The server wants to tell alice, who is gone, of her turn."""
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.wait_for(db, 1)
    linux.alice.die()
    linux.later(20)
    linux.server.granted(linux.alice, db, 1, reply=None)


def test_mount_without_release__fires_when_it_was_called_in_vain(linux: Lab) -> None:
    calls_in_vain(linux)
    linux.later(100)
    found = linux.fires(
        "mount-without-release", linux.alice.mnt, client=linux.alice, severity=LOW, confidence=PROBABLE
    )
    assert len(found.frames) > 4


def test_mount_without_release__silent_when_it_was_called_in_vain_a_moment_ago(linux: Lab) -> None:
    calls_in_vain(linux)
    linux.later(20)
    linux.silent("mount-without-release")


def test_mount_without_release__silent_about_a_single_syn(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.die()
    linux.later(100)
    linux.server.granted(linux.alice, db, 1, reply=None)
    linux.analysis = linux.world.analyze()
    linux.silent("mount-without-release")


def test_mount_without_release__silent_when_it_had_closed_its_connection(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    nfs_connection(linux).close()
    linux.alice.die()
    linux.later(20)
    linux.server.granted(linux.alice, db, 1, reply=None)
    linux.later(100)
    linux.silent("mount-without-release")


def is_unreachable(linux: Lab) -> Packet:
    """A router says that alice is not there."""
    call = linux.world.datagram((linux.server.address, 800), (linux.alice.address, 111), bytes(40))
    return linux.world.unreachable(linux.bystander.address, call, linux.server.address)


def test_mount_without_release__fires_when_a_router_says_it_is_gone(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.alice.die()
    linux.later(20)
    told = is_unreachable(linux)
    linux.later(100)
    linux.fires("mount-without-release", told, client=linux.alice, severity=LOW, confidence=PROBABLE)


def test_mount_without_release__silent_when_a_router_said_so_before(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    is_unreachable(linux)
    linux.world.wait(5)
    linux.alice.getattr(db)
    linux.later(100)
    linux.silent("mount-without-release")


def test_mount_without_release__silent_when_it_was_called_in_vain_and_lives(linux: Lab) -> None:
    db = linux.mounted(linux.alice, linux.bob)
    linux.alice.wait_for(db, 1)
    linux.alice.cut_from(linux.server, linux.alice.lockd)
    linux.later(20)
    linux.server.granted(linux.alice, db, 1, reply=None)
    linux.world.wait(20)
    linux.alice.wait_for(db, 1)
    linux.later(100)
    linux.silent("mount-without-release")


def test_mount_without_release__fires_softly_when_a_linux_client_never_closes(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.alice.die()
    linux.later(700)
    linux.fires(
        "mount-without-release", linux.alice.mnt, client=linux.alice, severity=MEDIUM, confidence=POSSIBLE
    )


@pytest.mark.parametrize("side", [0, 1])
def test_mount_without_release__silent_when_it_speaks_after_a_reset(linux: Lab, side: int) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    nfs_connection(linux).reset(side)
    linux.alice.unlock(db, 1)
    linux.later(900)
    linux.clean("mount-without-release")


@pytest.mark.parametrize("why", ["closed", "short", "no server", "not Linux"])
def test_mount_without_release__silent_about_silence_that_is_allowed(linux: Lab, why: str) -> None:
    db = linux.mounted(linux.alice)
    oh: dict[str, Any] = {"oh": b"\x01\x02"} if why == "not Linux" else {}
    linux.alice.lock(db, 1, **oh)
    linux.alice.unlock(db, 1, **oh)
    if why == "closed":
        linux.world.wait(300)
        linux.alice.disconnect(linux.server)
    if why == "no server":
        linux.world.wait(900)
        linux.bystander.ping(linux.bob, (100000, 2), 111)
    else:
        linux.later(500 if why == "short" else 900)
    linux.clean("mount-without-release")


@pytest.mark.parametrize("side", [0, 1])
def test_mount_without_release__silent_when_a_reset_is_not_the_last_word(linux: Lab, side: int) -> None:
    db = linux.mounted(linux.alice)
    linux.world.connections[linux.alice.address, linux.server.address, NFSD].reset(side)
    if side:
        linux.alice.getattr(db)
    linux.later(60)
    linux.clean("mount-without-release")


def test_mount_without_release__silent_when_unmounted_before(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.alice.umount(lab.export)
    lab.world.wait(60)
    lab.alice.boot()
    lab.alice.notify(lab.server, state=5)
    lab.later(2)
    lab.clean("mount-without-release")


def test_mount_without_release__silent_about_an_idle_mount(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.later(7200)
    lab.clean("mount-without-release")


def test_mount_without_release__silent_when_the_server_rebooted(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.server.boot()
    lab.server.notify(lab.alice, state=5)
    lab.alice.lock(db, 1, reclaim=True)
    lab.later(2)
    lab.clean("mount-without-release")


# -- umnt-lost ------------------------------------------------------------------------------------


def test_umnt_lost__fires_when_nobody_answers(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export, reply=None)
    lab.later(6)
    lab.fires(
        "umnt-lost",
        umnt,
        severity=LOW,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
        export="/srv",
    )


def test_umnt_lost__fires_when_rpc_refuses_it(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export, reply=None, error=AUTH_ERROR + 5)
    lab.later(1)
    lab.fires("umnt-lost", umnt, severity=LOW, confidence=DEFINITE, client=lab.alice)


def test_umnt_lost__fires_when_mountd_cannot_be_reached(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.world.wait(20)
    for connection in linux.world.connections.values():
        if connection.ends[1][1] == MOUNTD:
            connection.close()
    linux.server.cut_from(linux.alice, MOUNTD)
    look = linux.alice.getport(linux.server, MOUNT, MOUNTD)
    linux.alice.umount(linux.export)
    linux.world.wait(7)
    linux.alice.disconnect(linux.server)
    linux.later(2)
    linux.fires("umnt-lost", look, severity=LOW, confidence=PROBABLE, client=linux.alice, export="/srv")


def test_umnt_lost__fires_when_mountd_is_not_registered(linux: Lab) -> None:
    linux.mounted(linux.alice)
    linux.world.wait(20)
    looks = [linux.alice.getport(linux.server, MOUNT, 0) for _ in range(2)]
    linux.world.wait(1)
    linux.alice.disconnect(linux.server)
    linux.later(5)
    found = linux.fires("umnt-lost", *looks, severity=LOW, confidence=PROBABLE, client=linux.alice)
    assert "not registered" in found.message


@pytest.mark.parametrize("then", ["stays", "is told another port"])
def test_umnt_lost__silent_about_a_client_that_asked_for_mountd_and(linux: Lab, then: str) -> None:
    linux.mounted(linux.alice)
    linux.world.wait(20)
    linux.alice.getport(linux.server, MOUNT, 0)
    if then == "is told another port":
        linux.alice.getport(linux.server, MOUNT, MOUNTD)
        linux.alice.umount(linux.export)
        linux.alice.disconnect(linux.server)
    linux.later(60)
    linux.silent("umnt-lost")


def test_umnt_lost__silent_when_it_is_answered_at_the_second_try(lab: Lab) -> None:
    lab.mounted(lab.alice)
    umnt = lab.alice.umount(lab.export, reply=None)
    lab.world.wait(2)
    umnt.again().answer({})
    lab.later(10)
    lab.clean("umnt-lost")


def test_umnt_lost__silent_when_a_busy_client_merely_looks_up_mountd(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    for _ in range(3):
        linux.alice.getport(linux.server, MOUNT, MOUNTD)
        linux.world.wait(3)
        linux.alice.getattr(db)
    linux.later(10)
    linux.clean("umnt-lost")


# -- mnt-denied -----------------------------------------------------------------------------------


def test_mnt_denied__fires_low_for_one(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/secret", status=13)
    lab.later(1)
    lab.fires(
        "mnt-denied",
        lab.alice.mnt,
        severity=LOW,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        export="/secret",
    )


def test_mnt_denied__fires_medium_for_three(lab: Lab) -> None:
    for _ in range(3):
        lab.alice.mount(lab.server, "/secret", status=2)
        lab.world.wait(20)
    found = lab.fires("mnt-denied", severity=MEDIUM, client=lab.alice)
    assert found.count == 3


def test_mnt_denied__fires_when_rpc_refuses_the_credentials(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", use=False, reply=None, error=AUTH_ERROR + 1)
    lab.later(1)
    lab.fires("mnt-denied", lab.alice.mnt, severity=LOW, client=lab.alice)


def test_mnt_denied__silent_when_a_version_is_not_offered(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", use=False, reply=None, error=2)
    lab.alice.mount(lab.server, "/srv")
    lab.later(1)
    lab.silent("mnt-denied")


def test_mnt_denied__silent_when_mounted(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.clean("mnt-denied")


# -- nfs3-proc-22 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "severity"), [(PROC_UNAVAIL, LOW), (0, MEDIUM)])
def test_nfs3_proc_22__fires(lab: Lab, error: int, severity: int) -> None:
    umount = lab.alice.call(
        lab.server, (NFS, 3), 22, {}, port=NFSD, transport="tcp", reply={}, error=error, flavor=0
    )
    lab.later(1)
    lab.fires(
        "nfs3-proc-22", umount, severity=severity, confidence=DEFINITE, client=lab.alice, server=lab.server
    )


def test_nfs3_proc_22__silent_about_the_last_real_procedure(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.nfs("COMMIT", db, {"verf": b"boot"})
    lab.later(1)
    lab.clean("nfs3-proc-22")


# -- mount-open-at-capture-end --------------------------------------------------------------------


def test_mount_open_at_capture_end__fires_as_a_fact(lab: Lab) -> None:
    lab.mounted(lab.alice)
    lab.later(300)
    lab.fires(
        "mount-open-at-capture-end",
        lab.alice.mnt,
        severity=INFO,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        export="/srv",
    )
    lab.clean()


def test_mount_open_at_capture_end__silent_after_as_many_umnts(lab: Lab) -> None:
    lab.mounted(lab.alice, lab.alice)
    lab.alice.umount(lab.export)
    lab.alice.umount(lab.export)
    lab.later(1)
    lab.clean("mount-open-at-capture-end")


def test_mount_open_at_capture_end__silent_when_the_mount_was_refused(lab: Lab) -> None:
    lab.alice.mount(lab.server, "/srv", status=13)
    lab.silent("mount-open-at-capture-end")
