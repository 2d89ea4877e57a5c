"""NLM, the network lock manager (100021): versions 1 and 3 (XNFS C702 chapter 10) and 4 (RFC 1813 6).

In: nothing. Out: `NLM1`, `NLM3`, `NLM4`.

One declaration serves all: version 4 widens offsets and lengths to 64 bits and adds statuses.
GRANTED and GRANTED_MSG are sent by the server of the lock to its client. A procedure named _MSG
is answered by a call of the procedure named _RES, which carries the same cookie; whether there
is an RPC reply as well is up to the server.

Where the sources differ the widest is taken: a netobj is at most 1024 bytes in any version,
though Linux sends GARBAGE_ARGS to a handle that is not 32 bytes in versions 1 and 3. Linux's
TEST_RES with DENIED ends 8 bytes early: a short message whose `holder_l_len` is missing. Solaris and
FreeBSD know a deadlock in versions 1 and 3, too, which the standard does not.

Never: decodes.
"""

from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import I32, U32, U64, VOID, Bool, Field, LastInt, Opaque, Struct, Tail, Text, Union

NLM = 100021

GRANTED, DENIED, NOLOCKS, BLOCKED, GRACE = 0, 1, 2, 3, 4
STATUS = {
    0: "LCK_GRANTED",
    1: "LCK_DENIED",
    2: "LCK_DENIED_NOLOCKS",
    3: "LCK_BLOCKED",
    4: "LCK_DENIED_GRACE_PERIOD",
    5: "LCK_DEADLCK",
}
STATUS4 = {
    0: "NLM4_GRANTED",
    1: "NLM4_DENIED",
    2: "NLM4_DENIED_NOLOCKS",
    3: "NLM4_BLOCKED",
    4: "NLM4_DENIED_GRACE_PERIOD",
    5: "NLM4_DEADLCK",
    6: "NLM4_ROFS",
    7: "NLM4_STALE_FH",
    8: "NLM4_FBIG",
    9: "NLM4_FAILED",
}
SHARE_MODE = {0: "fsm_DN", 1: "fsm_DR", 2: "fsm_DW", 3: "fsm_DRW"}
SHARE_ACCESS = {0: "fsa_NONE", 1: "fsa_R", 2: "fsa_W", 3: "fsa_RW"}

NETOBJ = Opaque(1024)
COOKIE = Field("cookie", NETOBJ, "what pairs a request with its result")
EXCLUSIVE = Field("exclusive", Bool(), "write lock rather than read lock")
BLOCK = Field("block", Bool(), "wait for the lock rather than be denied")
RECLAIM = Field("reclaim", Bool(), "taken again after the server restarted")
CALLER = Field("caller_name", Text(1024), "host of the owner, as it calls itself")
FILE = Field("fh", NETOBJ, "handle of the file")
OWNER = Field("oh", NETOBJ, "owner, opaque: names a process of the caller")
SVID = Field("svid", I32(), "owner's process number, or a stand-in for it")
STATE = Field("state", I32(), "NSM state of the sender, odd while up")

NOTIFY = Struct(
    Field("mon_name", Text(1024), "host that restarted"),
    STATE,
    Field("priv", Opaque(16, fixed=True), "what lockd gave statd with SM_MON"),
)
"""Linux's statd to its own lockd (`include/linux/lockd/xdr.h`); not in any standard."""

FREE_ALL = Struct(
    Field("name", Text(1025), "host whose locks are to be freed"),
    Field("state", LastInt(), "NSM state of the host; 8 bytes from Ganesha"),
)


def procedures(width: U32 | U64, names: dict[int, str], source: str) -> dict[int, Procedure]:
    """All procedures, of version 4 or of those before it."""
    extent = (
        Field("l_offset", width, "first byte", "bytes"),
        Field("l_len", width, "length, 0 to the end of the file", "bytes"),
    )
    lock = (CALLER, FILE, OWNER, SVID, *extent)
    status = Field("status", U32(names), "outcome")
    holder = Struct(Field("holder", Struct(EXCLUSIVE, SVID, OWNER, *extent), "who holds the lock"))
    share = Struct(
        COOKIE,
        CALLER,
        FILE,
        OWNER,
        Field("mode", U32(SHARE_MODE), "what others are denied"),
        Field("access", U32(SHARE_ACCESS), "what the owner wants to do"),
        Field("", Tail(Struct(RECLAIM))),
    )
    test = Struct(COOKIE, EXCLUSIVE, *lock)
    lock_args = Struct(COOKIE, BLOCK, EXCLUSIVE, *lock, RECLAIM, STATE)
    cancel = Struct(COOKIE, BLOCK, EXCLUSIVE, *lock)
    unlock = Struct(COOKIE, *lock)
    result = Struct(COOKIE, status)
    test_result = Struct(COOKIE, Field("", Union(status, {DENIED: holder})))
    share_result = Struct(COOKIE, status, Field("sequence", I32(), "of no use, says the standard"))
    table = (
        Procedure(0, "NULL", source, VOID, VOID),
        Procedure(1, "TEST", source, test, test_result),
        Procedure(2, "LOCK", source, lock_args, result),
        Procedure(3, "CANCEL", source, cancel, result),
        Procedure(4, "UNLOCK", source, unlock, result),
        Procedure(5, "GRANTED", source, test, result, "callback"),
        Procedure(6, "TEST_MSG", source, test, VOID, "msg"),
        Procedure(7, "LOCK_MSG", source, lock_args, VOID, "msg"),
        Procedure(8, "CANCEL_MSG", source, cancel, VOID, "msg"),
        Procedure(9, "UNLOCK_MSG", source, unlock, VOID, "msg"),
        Procedure(10, "GRANTED_MSG", source, test, VOID, "msg"),
        Procedure(11, "TEST_RES", source, test_result, VOID, "res"),
        Procedure(12, "LOCK_RES", source, result, VOID, "res"),
        Procedure(13, "CANCEL_RES", source, result, VOID, "res"),
        Procedure(14, "UNLOCK_RES", source, result, VOID, "res"),
        Procedure(15, "GRANTED_RES", source, result, VOID, "res"),
        Procedure(16, "SM_NOTIFY", "Linux lockd", NOTIFY, VOID, "callback"),
        Procedure(20, "SHARE", source, share, share_result),
        Procedure(21, "UNSHARE", source, share, share_result),
        Procedure(22, "NM_LOCK", source, lock_args, result),
        Procedure(23, "FREE_ALL", source, FREE_ALL, VOID),
    )
    return {procedure.number: procedure for procedure in table}


BEFORE_4 = procedures(U32(), STATUS, "XNFS C702 chapter 10")

NLM1 = Program(NLM, 1, "NLM", {number: each for number, each in BEFORE_4.items() if number <= 16})
NLM3 = Program(NLM, 3, "NLM", BEFORE_4)
NLM4 = Program(NLM, 4, "NLM", procedures(U64(), STATUS4, "RFC 1813 6"))
