"""Is this an RPC message? Judged by its bytes, never by its port.

In: what may be the first byte of a message. Out: yes or no.

Theory. Ports are habit: lockd, mountd and statd take any, and clients use privileged ones that
belong to other protocols. A call is recognised by type 0, RPC version 2, a program that somebody
uses, and numbers in their ranges (RFC 5531 9); a reply by an xid that is open, or, where the
place alone makes it likely (the first byte of a stream or of a segment), by a header that makes
sense. At an exact place a call of a known program is taken with any version, procedure and
credentials, and another RPC version: these are the mistakes that one looks for in a capture.

Never: is asked again once a stream has yielded a message.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernels import kernel
from analyzer.messages.pairing import BY_CALLER, look_up
from analyzer.words import word

HEADER = 32  # bytes that decide: up to the length of a call's credentials
CREDENTIAL_LIMIT = 400
LAST_FLAVOR = 7  # RFC 5531, RFC 9289
FIRST_PRIVATE_PROGRAM = 0x40000000


@kernel
def is_known(programs: Any, program: Any) -> Any:
    """Whether a program is on the list."""
    for i in range(len(programs)):  # noqa: SIM110 (numba knows no generators)
        if int(programs[i]) == program:
            return True
    return False


@kernel
def is_call(words: Any, at: Any, kept: Any, size: Any, exact: Any, programs: Any) -> Any:
    """Whether a message with type 0 is a call; `exact`: the place speaks for it."""
    if kept < 24:
        return False
    rpcvers, program = word(words, at + 8), word(words, at + 12)
    known = is_known(programs, program)
    if exact and known and rpcvers < 16:
        return True
    if rpcvers != 2 or not (known or (exact and 0 < program < FIRST_PRIVATE_PROGRAM)):
        return False
    if word(words, at + 16) > 10 or word(words, at + 20) > 50:
        return False
    if kept < HEADER:  # an old snaplen of 68 or 96 bytes ends about here
        return size >= 40
    length = word(words, at + 28)
    return word(words, at + 24) <= LAST_FLAVOR and length <= CREDENTIAL_LIMIT and HEADER + length <= size


@kernel
def is_reply(words: Any, at: Any, kept: Any, size: Any) -> Any:
    """Whether a message with type 1 has a header that makes sense (RFC 5531 9)."""
    if kept < 20 or size < 20:
        return False
    status = word(words, at + 8)
    if status == 1:
        reason, detail = word(words, at + 12), word(words, at + 16)
        return (reason == 0 and size == 24) or (reason == 1 and detail < 16 and size == 20)
    length = word(words, at + 16)
    if status != 0 or word(words, at + 12) > LAST_FLAVOR or length > CREDENTIAL_LIMIT:
        return False
    behind = 20 + (length + 3 & ~3)
    if size < behind + 4:
        return False
    return kept < behind + 4 or word(words, at + behind) <= 5


@kernel
def is_open(calls: Any, slots: Any, caller: Any, xid: Any) -> Any:
    """Whether a call with this xid of this caller is remembered."""
    return look_up(calls, slots, BY_CALLER, caller, xid) >= 0
