"""What the capture cannot show."""

from analyzer.findings.rule import DEFINITE, INFO
from tests.findings.lab import Lab
from tests.world import LOCKD


def test_capture_blind_spot__fires_when_segments_are_missing(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.alice.lock(db, 1, 10, 10, captured=False, reply_captured=False)
    linux.alice.unlock(db, 1)
    linux.later(1)
    linux.fires("capture-blind-spot", severity=INFO, confidence=DEFINITE)


def test_capture_blind_spot__silent_when_tcp_repaired_the_loss(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    linux.alice.lock(db, 1)
    linux.server.cut_from(linux.alice, LOCKD)
    unlock = linux.alice.unlock(db, 1)
    linux.world.wait(0.5)
    linux.server.mend(linux.alice, LOCKD)
    linux.world.wait(1)
    unlock.answer("GRANTED")
    linux.later(1)
    linux.clean("capture-blind-spot")


def test_capture_blind_spot__silent_when_the_capture_began_late(linux: Lab) -> None:
    db = linux.mounted(linux.alice)
    for connection in linux.world.connections.values():
        assert connection.open
    linux.world.packets.clear()
    linux.alice.getattr(db)
    linux.later(1)
    linux.clean("capture-blind-spot")
