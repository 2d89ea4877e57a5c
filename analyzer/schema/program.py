"""RPC programs as data: what a procedure is called, takes and returns.

In: nothing. Out: `Program` and `Procedure`, in which `analyzer.protocols` is written.

Never: holds behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzer.frozen import frozen
from analyzer.schema.xdr import Type

CALL, REPLY = 0, 1
"""Directions, as in the message type of RFC 5531."""


@frozen
class Procedure:
    """One procedure. `call` and `reply` are None where only the name is declared.

    `role`: "call" expects a reply; "callback" too, but the caller is the server of the lock or
    the monitor; "msg" and "res" are NLM's asynchronous pairs, which may never be replied to.
    """

    number: int
    name: str
    source: str
    call: Type | None = None
    reply: Type | None = None
    role: str = "call"

    def body(self, direction: int) -> Type | None:
        """What stands after the RPC header of a call (0) or a successful reply (1)."""
        return self.reply if direction == REPLY else self.call


@frozen
class Program:
    """One version of one RPC program."""

    number: int
    version: int
    label: str
    procedures: Mapping[int, Procedure]
