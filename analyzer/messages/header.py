"""The RPC header (RFC 5531 9) and what RPCSEC_GSS (RFC 2203 5) puts around the arguments.

In: the message in hand with START, KEPT and SIZE. Out: the rest of its columns up to the body.

Theory. A call and a reply are read word by word; a length is checked against what is left of
the message before it is used, and what is left against what was captured. A header that ends
where the capture does is not malformed. With integrity the arguments are wrapped as a length
and a sequence number before them and a checksum behind (RFC 2203 5.3.2.2); with privacy nothing
behind the header can be read. The reply is wrapped like its call.

Never: reads an argument.
"""

from __future__ import annotations

from typing import Any

from analyzer.faults import Fault, note
from analyzer.kernels import kernel
from analyzer.messages.recognition import CREDENTIAL_LIMIT
from analyzer.messages.row import (
    BODY,
    BODY_KEPT,
    BODY_SIZE,
    CALL,
    CALL_BODY,
    CRED,
    CRED_SIZE,
    FLAVOR,
    FRAME,
    GSS,
    HIGH,
    KEPT,
    LOW,
    PROCEDURE,
    PROGRAM,
    RETRANSMIT_OF,
    RPCVERS,
    SIZE,
    START,
    STATUS,
    VERSION,
)
from analyzer.words import word

RPCSEC_GSS = 6
NO_GSS, PLAIN, INTEGRITY, PRIVACY, CONTROL = range(5)
RPC_MISMATCH = 10
AUTH_ERROR = 20
RPC_MALFORMED = int(Fault.RPC_MALFORMED)
GSS_PRIVACY = int(Fault.GSS_PRIVACY)


@kernel
def clear(m: Any) -> None:
    """No column of the header known; those of the body say nothing is there."""
    for column in range(CALL, CALL_BODY + 1):
        m[column] = -1
    m[GSS] = NO_GSS
    m[CRED_SIZE] = 0
    m[CALL_BODY + 1] = 0
    m[BODY] = int(m[START]) + int(m[KEPT])
    m[BODY_KEPT] = 0
    m[BODY_SIZE] = 0
    m[RETRANSMIT_OF] = -1


@kernel
def read_call(words: Any, m: Any, faults: Any) -> None:
    """Read the header of a call, as far as it goes."""
    at, kept, size = int(m[START]), int(m[KEPT]), int(m[SIZE])
    if kept >= 12:
        m[RPCVERS] = word(words, at + 8)
    if kept >= 24:
        m[PROGRAM] = word(words, at + 12)
        m[VERSION] = word(words, at + 16)
        m[PROCEDURE] = word(words, at + 20)
    if kept < 32:
        complain(m, size < 40, faults)
        return
    length = word(words, at + 28)
    m[FLAVOR] = word(words, at + 24)
    verifier = 32 + (length + 3 & ~3)
    if length > CREDENTIAL_LIMIT or verifier + 8 > size:
        complain(m, True, faults)
        return
    m[CRED] = at + 32
    m[CRED_SIZE] = length
    if kept < verifier + 8:
        return
    if int(m[FLAVOR]) == RPCSEC_GSS:
        read_gss(words, m, faults)
    length = word(words, at + verifier + 4)
    body = verifier + 8 + (length + 3 & ~3)
    if length > CREDENTIAL_LIMIT or body > size:
        complain(m, True, faults)
        return
    set_body(words, m, body, faults)


@kernel
def read_gss(words: Any, m: Any, faults: Any) -> None:
    """The kind of a call from the body of its credentials (RFC 2203 5)."""
    at = int(m[CRED])
    m[GSS] = CONTROL
    if int(m[CRED_SIZE]) < 20:
        complain(m, True, faults)
    elif word(words, at + 4) == 0:  # RPCSEC_GSS_DATA
        service = word(words, at + 12)
        if 1 <= service <= 3:
            m[GSS] = service
        else:
            complain(m, True, faults)


@kernel
def read_reply(words: Any, m: Any, faults: Any) -> None:
    """Read the header of a reply."""
    at, kept, size = int(m[START]), int(m[KEPT]), int(m[SIZE])
    if kept < 20:
        complain(m, size < 20, faults)
        return
    status = word(words, at + 8)
    if status == 1:
        read_denial(words, m, faults)
        return
    length = word(words, at + 16)
    accepted = 20 + (length + 3 & ~3)
    if status != 0 or length > CREDENTIAL_LIMIT or accepted + 4 > size:
        complain(m, True, faults)
        return
    m[FLAVOR] = word(words, at + 12)
    if kept < accepted + 4:
        return
    status = word(words, at + accepted)
    if status > 5:
        complain(m, True, faults)
        return
    m[STATUS] = status
    if status == 0:
        set_body(words, m, accepted + 4, faults)
    elif status == 2:
        read_range(words, m, accepted + 4, faults)


@kernel
def read_denial(words: Any, m: Any, faults: Any) -> None:
    """MSG_DENIED: RPC_MISMATCH with the versions spoken, or AUTH_ERROR with the reason."""
    at = int(m[START])
    reason, detail = word(words, at + 12), word(words, at + 16)
    if reason == 0:
        m[STATUS] = RPC_MISMATCH
        read_range(words, m, 16, faults)
    elif reason == 1:
        m[STATUS] = AUTH_ERROR + detail
    else:
        complain(m, True, faults)


@kernel
def read_range(words: Any, m: Any, at: Any, faults: Any) -> None:
    """Lowest and highest version supported."""
    if int(m[KEPT]) < at + 8:
        complain(m, int(m[SIZE]) < at + 8, faults)
        return
    m[LOW] = word(words, int(m[START]) + at)
    m[HIGH] = word(words, int(m[START]) + at + 4)


@kernel
def set_body(words: Any, m: Any, body: Any, faults: Any) -> None:
    """The arguments or results begin at `body`; unwrap them."""
    size, kept = int(m[SIZE]) - body, max(0, int(m[KEPT]) - body)
    start = int(m[START]) + min(body, int(m[KEPT]))
    if int(m[GSS]) == PRIVACY:
        note(faults, GSS_PRIVACY, int(m[FRAME]))
        size, kept = 0, 0
    elif int(m[GSS]) == INTEGRITY:
        if size < 8:
            complain(m, True, faults)
            size, kept = 0, 0
        elif kept < 8:
            size, kept, start = size - 8, 0, start + kept
        else:
            length = word(words, start) - 4
            if length < 0 or length > size - 8:
                complain(m, True, faults)
                length = 0
            size, kept, start = length, min(kept - 8, length), start + 8
    m[BODY] = start
    m[BODY_KEPT] = min(kept, size)
    m[BODY_SIZE] = size


@kernel
def complain(m: Any, is_malformed: Any, faults: Any) -> None:
    """Note a header that contradicts itself, unless it is only not all there."""
    if is_malformed:
        note(faults, RPC_MALFORMED, int(m[FRAME]))
