"""portmap version 2 and rpcbind versions 3 and 4 (100000, RFC 1833): who listens where.

In: nothing. Out: `PORTMAP2`, `RPCBIND3`, `RPCBIND4`.

Version 2 speaks of ports, 3 and 4 of universal addresses (`192.0.2.1.8.1`: the port is 8*256+1,
counted from the right because an IPv6 address has no dots). An answer of port 0, or an empty
address, means: not registered.

Never: decodes.
"""

from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import I32, U32, VOID, Bool, Field, List, Opaque, Struct, Text

PORTMAP = 100000
PROTOCOLS = {6: "TCP", 17: "UDP"}
RFC1833_V2, RFC1833 = "RFC 1833 3", "RFC 1833 2"

PROG = Field("prog", U32(), "RPC program asked for")
VERS = Field("vers", U32(), "its version")
PROC = Field("proc", U32(), "its procedure")
ARGS = Field("args", Opaque(65536), "arguments of the call inside")
RESULTS = Field("res", Opaque(65536), "results of the call inside")
PORT = Field("port", U32(), "port, 0 for none")
ADDR = Field("addr", Text(1024), "universal address, empty for none")
DONE = Struct(Field("done", Bool(), "whether it was done"))

MAPPING = Struct(PROG, VERS, Field("prot", U32(PROTOCOLS, is_open=True), "transport"), PORT)
MAPPINGS = Struct(Field("mappings", List(MAPPING), "all that is registered"))
NETID = Field("netid", Text(1024), "transport, such as tcp6")
RPCB = Struct(PROG, VERS, NETID, ADDR, Field("owner", Text(1024), "who registered it"))
RPCBS = Struct(Field("mappings", List(RPCB), "all that is registered"))
INDIRECT = Struct(PROG, VERS, PROC, ARGS)
INDIRECT_REPLY = Struct(ADDR, RESULTS)
NETBUF = Struct(
    Field("maxlen", U32(), "room for the address", "bytes"), Field("buf", Opaque(1024), "transport address")
)
ADDRESSES = Struct(
    Field(
        "addresses",
        List(
            Struct(
                Field("maddr", Text(1024), "universal address"),
                Field("nc_netid", Text(1024), "transport"),
                Field("nc_semantics", U32(), "kind of transport"),
                Field("nc_protofmly", Text(1024), "protocol family"),
                Field("nc_proto", Text(1024), "protocol"),
            )
        ),
        "addresses of the service, one a transport",
    )
)
COUNTERS = (
    Field("success", I32(), "calls that succeeded"),
    Field("failure", I32(), "calls that failed"),
)
STATISTICS = (
    *(Field(f"info{number}", I32(), f"calls of procedure {number}") for number in range(13)),
    Field("setinfo", I32(), "successful SETs"),
    Field("unsetinfo", I32(), "successful UNSETs"),
    Field("addrinfo", List(Struct(PROG, VERS, *COUNTERS, NETID)), "look-ups by service"),
    Field(
        "rmtinfo",
        List(Struct(PROG, VERS, PROC, *COUNTERS, Field("indirect", I32(), "calls by INDIRECT"), NETID)),
        "calls passed on by service",
    ),
)
GETSTAT = Struct(*(Field(f"v{version}", Struct(*STATISTICS), "statistics") for version in (2, 3, 4)))
TIME = Struct(Field("time", U32(), "time of day at the server", "s"))
UADDR = Struct(ADDR)

PORTMAP2 = Program(
    PORTMAP,
    2,
    "PORTMAP",
    {
        0: Procedure(0, "NULL", RFC1833_V2, VOID, VOID),
        1: Procedure(1, "SET", RFC1833_V2, MAPPING, DONE),
        2: Procedure(2, "UNSET", RFC1833_V2, MAPPING, DONE),
        3: Procedure(3, "GETPORT", RFC1833_V2, MAPPING, Struct(PORT)),
        4: Procedure(4, "DUMP", RFC1833_V2, VOID, MAPPINGS),
        5: Procedure(5, "CALLIT", RFC1833_V2, INDIRECT, Struct(PORT, RESULTS)),
    },
)

RPCBIND_BOTH = {
    0: Procedure(0, "NULL", RFC1833, VOID, VOID),
    1: Procedure(1, "SET", RFC1833, RPCB, DONE),
    2: Procedure(2, "UNSET", RFC1833, RPCB, DONE),
    3: Procedure(3, "GETADDR", RFC1833, RPCB, UADDR),
    4: Procedure(4, "DUMP", RFC1833, VOID, RPCBS),
    6: Procedure(6, "GETTIME", RFC1833, VOID, TIME),
    7: Procedure(7, "UADDR2TADDR", RFC1833, UADDR, NETBUF),
    8: Procedure(8, "TADDR2UADDR", RFC1833, NETBUF, UADDR),
}

RPCBIND3 = Program(
    PORTMAP,
    3,
    "RPCBIND",
    RPCBIND_BOTH | {5: Procedure(5, "CALLIT", RFC1833, INDIRECT, INDIRECT_REPLY)},
)
RPCBIND4 = Program(
    PORTMAP,
    4,
    "RPCBIND",
    RPCBIND_BOTH
    | {
        5: Procedure(5, "BCAST", RFC1833, INDIRECT, INDIRECT_REPLY),
        9: Procedure(9, "GETVERSADDR", RFC1833, RPCB, UADDR),
        10: Procedure(10, "INDIRECT", RFC1833, INDIRECT, INDIRECT_REPLY),
        11: Procedure(11, "GETADDRLIST", RFC1833, RPCB, ADDRESSES),
        12: Procedure(12, "GETSTAT", RFC1833, VOID, GETSTAT),
    },
)
