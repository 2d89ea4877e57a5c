"""NSM, the network status monitor (100024), version 1 (XNFS C702 chapter 11).

In: nothing. Out: `NSM1`.

SM_NOTIFY is what a restarted host tells those that it had told to watch it; the other procedures
are used on the host itself. The `status` of SM_STAT and SM_MON is called `res` in the standard.

Never: decodes.
"""

from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import I32, U32, VOID, Field, Opaque, Struct, Text

NSM = 100024
SOURCE = "XNFS C702 chapter 11"
STATUS = {0: "STAT_SUCC", 1: "STAT_FAIL"}

MON_NAME = Field("mon_name", Text(1024), "host that is watched, or that restarted")
MY_ID = (
    Field("my_name", Text(1024), "host that wants to be told"),
    Field("my_prog", U32(), "RPC program to call back"),
    Field("my_vers", U32(), "its version"),
    Field("my_proc", U32(), "its procedure"),
)
STATE = Field("state", I32(), "state number of the host, odd while up")
RESULT = Struct(Field("status", U32(STATUS), "outcome"), STATE)

NSM1 = Program(
    NSM,
    1,
    "NSM",
    {
        0: Procedure(0, "NULL", SOURCE, VOID, VOID),
        1: Procedure(1, "SM_STAT", SOURCE, Struct(MON_NAME), RESULT),
        2: Procedure(
            2,
            "SM_MON",
            SOURCE,
            Struct(
                MON_NAME, *MY_ID, Field("priv", Opaque(16, fixed=True), "to be handed back with the callback")
            ),
            RESULT,
        ),
        3: Procedure(3, "SM_UNMON", SOURCE, Struct(MON_NAME, *MY_ID), Struct(STATE)),
        4: Procedure(4, "SM_UNMON_ALL", SOURCE, Struct(*MY_ID), Struct(STATE)),
        5: Procedure(5, "SM_SIMU_CRASH", SOURCE, VOID, VOID),
        6: Procedure(6, "SM_NOTIFY", SOURCE, Struct(MON_NAME, STATE), VOID),
    },
)
