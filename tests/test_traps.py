"""Every trap of the wire is proved by a test that names it."""

from __future__ import annotations

from tests.traps import TRAPS, proofs


def test_every_trap_has_a_proof_and_every_proof_a_trap() -> None:
    assert sorted(TRAPS) == list(range(1, 41))
    assert sorted(proofs()) == sorted(TRAPS)


def test_every_trap_says_what_is_done() -> None:
    assert all(what and does for what, does in TRAPS.values())
