"""Looks into both ledgers: who holds what, as short tuples."""

from __future__ import annotations

from analyzer.sessions.model import Lock, Offer, Wait
from analyzer.sessions.ranges import EOF
from analyzer.sessions.world import Sessions
from tests.findings.lab import Lab

Piece = tuple[str, int, int, float, str]
END = float("inf")


class View:
    """The sessions of a laboratory's capture up to now."""

    def __init__(self, lab: Lab) -> None:
        self.s: Sessions = lab.world.analyze().sessions
        hosts = (lab.server, lab.alice, lab.bob, lab.carol, lab.mallory)
        self._names = {host.address: host.name for host in hosts}

    def name(self, host: int) -> str:
        """What a host row is called."""
        return self._names[self.s.hosts.address(host)]

    @property
    def server(self) -> list[Piece]:
        """Ledger S: (client, svid, first byte, last byte or END, mode)."""
        return self._pieces("held")

    @property
    def client(self) -> list[Piece]:
        """Ledger C."""
        return self._pieces("believed")

    def _pieces(self, side: str) -> list[Piece]:
        return sorted(
            (self.name(owner.client), owner.svid, low, END if high == EOF else high, _mode(lock))
            for file in self.s.ledger.files.values()
            for owner in getattr(file, side).owners
            for low, high, lock in getattr(file, side).of(owner)
        )

    @property
    def locks(self) -> list[Lock]:
        """All grants, in order."""
        return self.s.ledger.locks

    @property
    def waits(self) -> list[Wait]:
        """All waits, in order."""
        return self.s.ledger.waits

    @property
    def offers(self) -> list[Offer]:
        """All callbacks, in order."""
        return self.s.ledger.offers

    def ends(self) -> list[tuple[str | None, str | None]]:
        """How each lock left S and C."""
        return [
            (
                lock.server_end.reason if lock.server_end else None,
                lock.client_end.reason if lock.client_end else None,
            )
            for lock in self.locks
        ]


def _mode(lock: Lock) -> str:
    return "x" if lock.exclusive else "s"
