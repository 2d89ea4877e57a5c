"""Protocol violations: each rule fires on its fault and spares its innocent twin."""

from typing import Any

import pytest

from analyzer.findings.rule import (
    CRITICAL,
    DEFINITE,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    POSSIBLE,
    PROBABLE,
    Severity,
)
from analyzer.protocols import REGISTRY
from analyzer.protocols.mount import MOUNT
from analyzer.protocols.nlm import NLM
from analyzer.protocols.nsm import NSM
from analyzer.schema.encode import encode
from analyzer.schema.xdr import VOID
from tests.findings.lab import Lab
from tests.world import AUTH_ERROR, MOUNTD, STATD, File

PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS, SYSTEM_ERR = range(1, 6)

# -- nlm-auth-anomaly -----------------------------------------------------------------------------


@pytest.mark.parametrize(("flavor", "reason"), [(0, "AUTH_TOOWEAK"), (1, "AUTH_REJECTEDCRED")])
def test_nlm_auth_anomaly__fires(lab: Lab, flavor: int, reason: str) -> None:
    db = lab.mounted(lab.alice)
    error = AUTH_ERROR + {"AUTH_TOOWEAK": 5, "AUTH_REJECTEDCRED": 2}[reason]
    lock = lab.alice.lock(db, 1, flavor=flavor, error=error)
    lab.later(1)
    found = lab.fires(
        "nlm-auth-anomaly",
        lock,
        severity=MEDIUM,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
    )
    assert reason in found.message


def test_nlm_auth_anomaly__fires_low_when_no_credentials_were_enough(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, flavor=0)
    lab.fires("nlm-auth-anomaly", lock, client=lab.alice, severity=LOW, confidence=DEFINITE)


def test_nlm_auth_anomaly__silent_about_pings_and_callbacks_without_credentials(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.ping(lab.server, (NLM, 4), lab.server.lockd, flavor=0)
    lab.alice.lock(db, 1)
    lab.bob.wait_for(db, 2)
    lab.alice.unlock(db, 1)
    lab.server.granted(lab.bob, db, 2, flavor=0)
    lab.later(1)
    lab.clean("nlm-auth-anomaly")


def test_nlm_auth_anomaly__silent_when_it_is_nfs_that_is_refused(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.nfs("GETATTR", db, None, error=AUTH_ERROR + 5)
    lab.later(1)
    lab.silent("nlm-auth-anomaly")


def test_nlm_auth_anomaly__fires_low_when_it_locks_in_the_name_of_another_host(lab: Lab) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lock = lab.mallory.lock(db, 1, 0, 10, caller_name="bob.example.net")
    lab.mallory.unlock(db, 1, 0, 10, caller_name="bob.example.net")
    about: dict[str, Any] = {"client": lab.mallory, "peer": lab.bob, "server": lab.server}
    found = lab.fires("nlm-auth-anomaly", lock.calls[0], severity=LOW, confidence=DEFINITE, **about)
    assert "in the name of bob.example.net" in found.message
    assert "of mallory (2 of its requests)" in found.message


def test_nlm_auth_anomaly__fires_as_a_fact_when_nobody_else_has_the_name(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, caller_name="container-7")
    lab.fires("nlm-auth-anomaly", client=lab.alice, peer=None, severity=INFO, confidence=DEFINITE)
    lab.clean()


@pytest.mark.parametrize("name", ["alice.example.net", "ALICE", "", "address"])
def test_nlm_auth_anomaly__silent_about_forms_of_one_name(lab: Lab, name: str) -> None:
    db = lab.mounted(lab.alice, lab.bob)
    lab.alice.lock(db, 1, caller_name=lab.alice.address if name == "address" else name)
    lab.clean("nlm-auth-anomaly")


def test_nlm_auth_anomaly__silent_about_a_name_that_was_cut_off(lab: Lab) -> None:
    lab.alice.name = "a-name-of-more-than-thirty-one-letters"
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, caller_name=lab.alice.name[:32])
    lab.clean("nlm-auth-anomaly")


# -- malformed-xdr --------------------------------------------------------------------------------


def test_malformed_xdr__fires(lab: Lab) -> None:
    lab.mounted(lab.alice)
    call = lab.alice.call(
        lab.server, (NLM, 4), 2, {}, port=lab.server.lockd, body=b"\xff" * 12, error=GARBAGE_ARGS
    )
    lab.later(1)
    lab.fires("malformed-xdr", call, severity=LOW, confidence=DEFINITE, client=lab.alice, server=lab.server)


def test_malformed_xdr__silent_when_the_arguments_are_well(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, oh=bytes(1024))
    lab.later(1)
    lab.clean("malformed-xdr")


def test_malformed_xdr__fires_when_the_body_ends_early(lab: Lab) -> None:
    call = lab.mallory.call(lab.server, (NLM, 4), 2, {}, port=lab.server.lockd, body=bytes(6))
    lab.fires("malformed-xdr", call, client=lab.mallory, severity=LOW, confidence=DEFINITE)


def odd(lab: Lab, change: str) -> tuple[int, bytes]:
    """Procedure and arguments of an NLM 4 call in which one thing is not as it should be."""
    declared = REGISTRY[NLM, 4].procedures
    lock = {"cookie": b"1234", "caller_name": "alice", "oh": b"1@alice", "fh": lab.export.file("db").handle}
    if change == "enum":
        return 20, encode(declared[20].call or VOID, lock | {"mode": 2, "access": 9})
    body = bytearray(encode(declared[2].call or VOID, lock | {"exclusive": 1}))
    if change == "boolean":
        body[15] = 7  # exclusive, behind the cookie and block
    if change == "padding":
        body[body.index(b"alice") + 7] = 1
    return 2, bytes(body)


@pytest.mark.parametrize(
    ("change", "said"),
    [("padding", "padding bytes"), ("boolean", "booleans other"), ("enum", "enum values")],
)
def test_malformed_xdr__fires_for_values_that_are_none(lab: Lab, change: str, said: str) -> None:
    lab.mounted(lab.alice)
    procedure, body = odd(lab, change)
    call = lab.mallory.call(
        lab.server, (NLM, 4), procedure, {}, port=lab.server.lockd, body=body, reply="DENIED"
    )
    found = lab.fires("malformed-xdr", call, client=lab.mallory, severity=LOW, confidence=DEFINITE)
    assert said in found.message


def test_malformed_xdr__silent_about_the_same_call_as_it_should_be(lab: Lab) -> None:
    lab.mounted(lab.alice)
    procedure, body = odd(lab, "nothing")
    lab.mallory.call(lab.server, (NLM, 4), procedure, {}, port=lab.server.lockd, body=body, reply="DENIED")
    lab.silent("malformed-xdr")


@pytest.mark.parametrize(("version", "status"), [(4, 10), (3, 6), (1, 77)])
def test_malformed_xdr__fires_for_a_status_that_is_none(lab: Lab, version: int, status: int) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, reply={"status": status}, version=version)
    found = lab.fires("malformed-xdr", lock, client=lab.alice, server=lab.server, severity=LOW)
    assert "malformed replies" in found.message


@pytest.mark.parametrize(("version", "status"), [(4, 9), (3, 5), (1, 4)])
def test_malformed_xdr__silent_about_a_status_that_some_server_knows(
    lab: Lab, version: int, status: int
) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, reply={"status": status}, version=version)
    lab.silent("malformed-xdr")


def test_malformed_xdr__silent_about_any_errno_that_mountd_1_answers(lab: Lab) -> None:
    args = {"dirpath": "/srv"}
    for status in (2, 13, 116, 521):
        lab.alice.call(lab.server, (MOUNT, 1), 1, args, port=MOUNTD, reply={"status": status})
    lab.alice.getport(lab.server, NLM, 4045)
    lab.silent("malformed-xdr")


@pytest.mark.parametrize("name", ["../../etc/passwd", "%n%n%n%n", ".hidden", "ali\0ce"])
def test_malformed_xdr__fires_for_names_that_are_none(lab: Lab, name: str) -> None:
    notice = lab.mallory.notify(lab.server, name)
    lab.fires("malformed-xdr", notice, client=lab.mallory, severity=HIGH, confidence=DEFINITE)


@pytest.mark.parametrize("name", ["alice", "alice.example.net", "fe80::1%eth0", "192.0.2.7", "alice\0"])
def test_malformed_xdr__silent_about_names_of_hosts(lab: Lab, name: str) -> None:
    lab.alice.notify(lab.server, name)
    lab.silent("malformed-xdr")


def test_malformed_xdr__silent_about_a_result_that_linux_cuts_short(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.test(db, 1, msg=True, reply=None)
    body = bytes((0, 0, 0, 4)) + lab.alice._cookie.to_bytes(4, "little") + bytes((0, 0, 0, 1)) + bytes(12)
    lab.server.call(lab.alice, (NLM, 4), 11, {}, port=lab.server.lockd, body=body)
    lab.silent("malformed-xdr")


# -- version-or-proc-mismatch ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL])
def test_version_or_proc_mismatch__fires(lab: Lab, error: int) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, error=error)
    lab.later(1)
    found = lab.fires(
        "version-or-proc-mismatch",
        lock,
        severity=MEDIUM,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
    )
    assert ("versions 3 to 4" in found.message) == (error == PROG_MISMATCH)


def test_version_or_proc_mismatch__fires_on_an_old_lock_version(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.version = 3
    lock = lab.alice.lock(db, 1)
    lab.alice.unlock(db, 1)
    lab.later(1)
    lab.fires(
        "version-or-proc-mismatch",
        lock,
        severity=MEDIUM,
        confidence=PROBABLE,
        client=lab.alice,
        server=lab.server,
    )


@pytest.mark.parametrize("error", [0, PROG_MISMATCH])
def test_version_or_proc_mismatch__fires_once_for_nlm_2(lab: Lab, error: int) -> None:
    lab.alice.mount(lab.server, "/srv")
    call = lab.alice.call(lab.server, (NLM, 2), 2, {}, port=lab.server.lockd, body=bytes(64), error=error)
    lab.later(1)
    lab.fires("version-or-proc-mismatch", call, client=lab.alice, confidence=DEFINITE, severity=MEDIUM)


@pytest.mark.parametrize("error", [PROG_UNAVAIL, PROG_MISMATCH])
def test_version_or_proc_mismatch__silent_about_a_probe(lab: Lab, error: int) -> None:
    lab.alice.ping(lab.server, (MOUNT, 1), MOUNTD, error=error)
    lab.mounted(lab.alice)
    lab.clean("version-or-proc-mismatch")


def test_version_or_proc_mismatch__silent_about_nlm_3_without_a_version_3_mount(lab: Lab) -> None:
    lab.bob.mount(lab.server, "/srv")
    lab.alice.version = 3
    lab.alice.lock(lab.export.file("db"), 1)
    lab.later(1)
    lab.silent("version-or-proc-mismatch")


# -- range-suspicious -----------------------------------------------------------------------------


def test_range_suspicious__fires(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, 2**63 - 10, 100, reply="FBIG")
    lab.later(1)
    lab.fires(
        "range-suspicious",
        lock,
        severity=MEDIUM,
        confidence=DEFINITE,
        client=lab.alice,
        server=lab.server,
        path="/srv/db",
    )


def test_range_suspicious__silent_about_a_single_byte_far_behind_the_end(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 2**63 - 2, 1)
    lab.alice.lock(db, 2, 2**62, 1000)
    lab.later(1)
    lab.clean("range-suspicious")


BEYOND = [
    pytest.param(4, 2**63 + 5, 10, MEDIUM, id="begins beyond 63 bits"),
    pytest.param(4, 2**63 - 10, 100, MEDIUM, id="ends beyond 63 bits"),
    pytest.param(4, 5, 2**64 - 1, LOW, id="all ones to the end"),
    pytest.param(4, 0, 2**63 - 1, LOW, id="the largest length to the end"),
    pytest.param(3, 2**31, 1, MEDIUM, id="begins beyond 31 bits"),
    pytest.param(1, 2**31 - 1, 2, MEDIUM, id="ends beyond 31 bits"),
    pytest.param(3, 0, 2**32 - 1, LOW, id="all ones of 32 bits to the end"),
]


@pytest.mark.parametrize(("version", "start", "length", "severity"), BEYOND)
def test_range_suspicious__fires_when_an_odd_range_is_granted(
    lab: Lab, version: int, start: int, length: int, severity: Severity
) -> None:
    db = lab.mounted(lab.alice)
    lock = lab.alice.lock(db, 1, start, length, version=version)
    lab.alice.unlock(db, 1, version=version)
    lab.fires("range-suspicious", lock, client=lab.alice, severity=severity, confidence=DEFINITE)


@pytest.mark.parametrize("version", [1, 3])
def test_range_suspicious__fires_for_32_bits_in_a_large_file(lab: Lab, version: int) -> None:
    db = large(lab, 2**31)
    lock = lab.alice.lock(db, 1, 100, 10, version=version)
    found = lab.fires("range-suspicious", lock, client=lab.alice, severity=MEDIUM)
    assert "more than 2 GiB" in found.message


def large(lab: Lab, size: int) -> File:
    """A file that is known to be so large."""
    lab.alice.mount(lab.server, "/srv")
    db = lab.export.file("db")
    lab.alice.getattr(db, size=size)
    lab.world.wait(0.5)
    return db


@pytest.mark.parametrize(
    ("version", "start", "length"), [(4, 100, 10), (3, 0, 0), (3, 100, 0)], ids=["64 bits", "whole", "rest"]
)
def test_range_suspicious__silent_about_a_large_file(lab: Lab, version: int, start: int, length: int) -> None:
    db = large(lab, 2**31)
    lab.alice.lock(db, 1, start, length, version=version)
    lab.silent("range-suspicious")


@pytest.mark.parametrize(
    ("version", "start", "length"), [(4, 2**30, 510), (4, 2**62, 1), (3, 2**30, 510), (1, 2**31 - 2, 1)]
)
def test_range_suspicious__silent_about_bytes_that_databases_lock(
    lab: Lab, version: int, start: int, length: int
) -> None:
    db = large(lab, 2**31 - 1)
    lab.alice.lock(db, 1, start, length, version=version)
    lab.silent("range-suspicious")


def test_range_suspicious__silent_about_what_was_not_granted_and_about_unlocks(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1, 2**63, 10, reply="DENIED")
    lab.alice.unlock(db, 1, 2**63, 10)
    lab.silent("range-suspicious")


# -- nlm-smnotify-remote --------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "severity"), [(0, CRITICAL), (SYSTEM_ERR, MEDIUM)])
def test_nlm_smnotify_remote__fires(lab: Lab, error: int, severity: int) -> None:
    args = {"mon_name": "alice", "state": 9}
    call = lab.mallory.call(lab.server, (NLM, 4), 16, args, port=lab.server.lockd, reply={}, error=error)
    lab.later(1)
    lab.fires(
        "nlm-smnotify-remote",
        call,
        severity=severity,
        confidence=DEFINITE,
        client=lab.mallory,
        server=lab.server,
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nlm_smnotify_remote__fires_on_loopback_from_a_port_that_any_user_may_open(address: str) -> None:
    lab = Lab()
    here = lab.world.host("server", address, transport="udp")
    args = {"mon_name": "alice", "state": 9, "priv": bytes(range(16))}
    here.call(here, (NLM, 4), 16, args, port=here.lockd, sport=40000, reply={})
    lab.later(1)
    found = lab.fires("nlm-smnotify-remote", severity=CRITICAL)
    assert "(port 40000)" in found.message
    assert bytes(range(16)).hex() in found.message


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nlm_smnotify_remote__silent_on_loopback(address: str) -> None:
    lab = Lab()
    here = lab.world.host("server", address, transport="udp")
    here.call(here, (NLM, 4), 16, {"mon_name": "alice", "state": 9}, port=here.lockd, sport=700, reply={})
    lab.later(1)
    lab.clean("nlm-smnotify-remote")


# -- sm-mon-remote --------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [2, 3, 4, 5])
@pytest.mark.parametrize(("how", "severity"), [({"reply": {}}, HIGH), ({"error": PROC_UNAVAIL}, MEDIUM)])
def test_sm_mon_remote__fires(linux: Lab, procedure: int, how: dict[str, Any], severity: int) -> None:
    args = {"my_name": "evil"} if procedure != 5 else {}
    call = linux.mallory.call(linux.server, (NSM, 1), procedure, args, port=STATD, transport="udp", **how)
    linux.later(1)
    linux.fires(
        "sm-mon-remote",
        call,
        severity=severity,
        confidence=DEFINITE,
        client=linux.mallory,
        server=linux.server,
    )


@pytest.mark.parametrize(
    ("procedure", "about", "said"),
    [
        (2, {"mon_name": "alice"}, "which is to tell of reboots of alice by NLM4 SM_NOTIFY at evil;"),
        (
            3,
            {"mon_name": "alice"},
            "which is no longer to tell of reboots of alice by NLM4 SM_NOTIFY at evil;",
        ),
        (4, {}, "which is no longer to tell of reboots by NLM4 SM_NOTIFY at evil;"),
    ],
    ids=["SM_MON", "SM_UNMON", "SM_UNMON_ALL"],
)
def test_sm_mon_remote__fires_and_names_whom_statd_is_to_call(
    lab: Lab, procedure: int, about: dict[str, Any], said: str
) -> None:
    args = about | {"my_name": "evil", "my_prog": NLM, "my_vers": 4, "my_proc": 16}
    lab.mallory.call(lab.server, (NSM, 1), procedure, args, port=STATD, transport="udp", reply={})
    assert said in lab.fires("sm-mon-remote", client=lab.mallory, severity=HIGH).message


def test_sm_mon_remote__fires_without_a_target_where_there_is_none(lab: Lab) -> None:
    lab.mallory.call(lab.server, (NSM, 1), 5, {}, port=STATD, transport="udp", reply={})
    assert "tell of" not in lab.fires("sm-mon-remote", client=lab.mallory, severity=HIGH).message


def test_sm_mon_remote__fires_softer_when_statd_says_no(lab: Lab) -> None:
    args = {"mon_name": "alice", "my_name": "evil"}
    lab.mallory.call(
        lab.server, (NSM, 1), 2, args, port=STATD, transport="udp", reply={"status": 1, "state": 3}
    )
    lab.later(1)
    lab.fires("sm-mon-remote", severity=MEDIUM, client=lab.mallory)


def test_sm_mon_remote__silent_on_loopback(linux: Lab) -> None:
    here = linux.world.host("server", "127.0.0.1", transport="udp")
    here.call(here, (NSM, 1), 2, {"mon_name": "alice"}, port=STATD, sport=700, reply={"state": 3})
    linux.later(1)
    linux.clean("sm-mon-remote")


def test_sm_mon_remote__silent_about_a_reboot_notice_or_a_question(lab: Lab) -> None:
    lab.alice.notify(lab.server)
    lab.alice.call(
        lab.server, (NSM, 1), 1, {"mon_name": "bob"}, port=STATD, transport="udp", reply={"state": 3}
    )
    lab.later(1)
    lab.clean("sm-mon-remote")


# -- free-all-unexpected --------------------------------------------------------------------------


def test_free_all_unexpected__fires_in_anothers_name(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    call = lab.mallory.free_all(lab.server, "alice")
    lab.later(1)
    lab.fires(
        "free-all-unexpected",
        call,
        severity=HIGH,
        confidence=DEFINITE,
        client=lab.mallory,
        server=lab.server,
        peer=lab.alice,
    )


def test_free_all_unexpected__fires_critical_when_the_victim_is_alive(lab: Lab) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.mallory.free_all(lab.server, "alice")
    lab.alice.getattr(db)
    lab.later(1)
    lab.fires("free-all-unexpected", severity=CRITICAL, client=lab.mallory, peer=lab.alice)


def test_free_all_unexpected__fires_in_the_name_of_an_unknown_host(lab: Lab) -> None:
    call = lab.mallory.free_all(lab.server, "ghost")
    lab.later(1)
    lab.fires("free-all-unexpected", call, severity=HIGH, client=lab.mallory, peer=None)


def test_free_all_unexpected__fires_softly_when_the_sender_never_gave_a_name(lab: Lab) -> None:
    call = lab.mallory.free_all(lab.server, "mallory", flavor=0)
    lab.later(1)
    lab.fires("free-all-unexpected", call, confidence=POSSIBLE, client=lab.mallory)


@pytest.mark.parametrize("name", ["alice", "ALICE.example.net"])
def test_free_all_unexpected__silent_in_ones_own_name(lab: Lab, name: str) -> None:
    db = lab.mounted(lab.alice)
    lab.alice.lock(db, 1)
    lab.alice.free_all(lab.server, name)
    lab.later(1)
    lab.clean("free-all-unexpected", "lock-open-at-capture-end")
