"""Whatever hosts say, in whatever order: nothing breaks, and the ledgers stay what a server could believe."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.findings.catalogue import evaluate
from analyzer.findings.rule import INFO
from tests.findings.lab import TERRAINS, Lab
from tests.sessions.view import View
from tests.world import Host, Request

CLIENTS = ("alice", "bob")
STATUSES = ("GRANTED", "GRANTED", "DENIED", "BLOCKED", "GRACE", "STALE_FH", None)

step = st.tuples(
    st.sampled_from(["lock", "lock", "unlock", "cancel", "test", "granted", "answer", "again"]),
    st.sampled_from(CLIENTS),
    st.integers(0, 2),  # svid
    st.integers(0, 3),  # first byte
    st.integers(0, 3),  # length, 0 to the end
    st.sampled_from(STATUSES),
    st.booleans(),  # exclusive
    st.booleans(),  # asynchronous
)
event = st.one_of(
    step,
    st.tuples(
        st.sampled_from(["reboot", "restart", "umount", "mount", "forge", "free", "write"]),
        st.sampled_from(CLIENTS),
    ),
)


def play(lab: Lab, script: list[tuple[Any, ...]]) -> None:
    """Do what the script says."""
    db = lab.mounted(lab.alice, lab.bob)
    open_requests: list[Request] = []
    for kind, who, *rest in script:
        host: Host = getattr(lab, str(who))
        lab.world.wait(0.7)
        match kind:
            case "reboot":
                host.notify(lab.server, state=7)
            case "restart":
                lab.server.notify(host, state=9)
            case "forge":
                lab.mallory.notify(lab.server, name=host.name)
            case "free":
                host.free_all(lab.server)
            case "umount":
                host.umount(lab.export)
            case "mount":
                host.mount(lab.server, "/srv")
            case "write":
                host.write(db, 0, 3)
            case "answer" if open_requests:
                open_requests.pop(0).answer("GRANTED")
            case "again" if open_requests:
                open_requests[-1].again()
            case "lock" | "unlock" | "cancel" | "test" | "granted":
                svid, start, length, status, exclusive, msg = rest
                if kind == "granted":
                    made = lab.server.granted(
                        host, db, svid, start, length, status, exclusive=exclusive, msg=msg
                    )
                elif kind == "lock":
                    how = {"exclusive": exclusive, "block": status == "BLOCKED", "msg": msg}
                    made = host.lock(db, svid, start, length, status, **how)
                else:
                    made = getattr(host, str(kind))(db, svid, start, length, status, msg=msg)
                if status is None:
                    open_requests.append(made)
    lab.later(1)


@settings(max_examples=60)
@given(st.sampled_from(sorted(TERRAINS)), st.lists(event, max_size=14))
def test_any_script(terrain: str, script: list[tuple[Any, ...]]) -> None:
    lab = Lab(terrain)
    play(lab, script)
    view = View(lab)
    _conflict_free(view)
    for lock in view.locks:
        standing = bool(lock.file.pieces(lock))
        assert standing == (lock.server_end is None), "a lock has an end when nothing of it is left"
    for wait in view.waits:
        assert (wait in wait.file.waits) == (wait.ended is None)
    for finding in evaluate(view.s):
        assert finding.severity >= INFO
        assert finding.message
        assert all(0 < frame <= view.s.last_frame for frame in finding.frames)
        assert finding.first_time <= finding.last_time


def _conflict_free(view: View) -> None:
    """No server holds conflicting locks of two owners, and nobody holds a byte twice."""
    for file in view.s.ledger.files.values():
        pieces = [(owner, *piece) for owner in file.held.owners for piece in file.held.of(owner)]
        for at, (owner, low, high, lock) in enumerate(pieces):
            for other, low2, high2, lock2 in pieces[at + 1 :]:
                if low <= high2 and low2 <= high:
                    assert owner is not other, "pieces of one owner overlap"
                    assert {lock.exclusive, lock2.exclusive} == {False}, "a double grant stands on the server"
