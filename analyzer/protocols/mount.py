"""MOUNT (100005): versions 1 (RFC 1094 appendix A), 2 (XNFS C702 chapter 8) and 3 (RFC 1813 5).

In: nothing. Out: `MOUNT1`, `MOUNT2`, `MOUNT3`.

A handle is 32 bytes without a length in versions 1 and 2, counted in version 3; only there do
authentication flavors follow it. UMNT and UMNTALL return nothing, refused or not.

Never: decodes.
"""

from analyzer.protocols.rpc import FLAVOR
from analyzer.schema.program import Procedure, Program
from analyzer.schema.xdr import U32, VOID, Array, Field, List, Opaque, Struct, Text, Union

MOUNT = 100005
STATUS1 = {
    0: "OK",
    1: "EPERM",
    2: "ENOENT",
    5: "EIO",
    6: "ENXIO",
    13: "EACCES",
    20: "ENOTDIR",
    22: "EINVAL",
    30: "EROFS",
    63: "ENAMETOOLONG",
}
STATUS3 = {
    0: "MNT3_OK",
    1: "MNT3ERR_PERM",
    2: "MNT3ERR_NOENT",
    5: "MNT3ERR_IO",
    13: "MNT3ERR_ACCES",
    20: "MNT3ERR_NOTDIR",
    22: "MNT3ERR_INVAL",
    63: "MNT3ERR_NAMETOOLONG",
    10004: "MNT3ERR_NOTSUPP",
    10006: "MNT3ERR_SERVERFAULT",
}

DIRPATH = Field("dirpath", Text(1024), "exported directory")
PATH = Struct(DIRPATH)
MOUNTS = Struct(
    Field(
        "mounts",
        List(Struct(Field("hostname", Text(255), "client that mounted"), DIRPATH)),
        "mounts that the server remembers",
    )
)
GROUPS = List(Struct(Field("name", Text(255), "host or netgroup that may mount")))
EXPORTS = Struct(
    Field("exports", List(Struct(DIRPATH, Field("groups", GROUPS, "who may mount"))), "exported directories")
)
HANDLE1 = Struct(Field("fh", Opaque(32, fixed=True), "handle of the directory"))
HANDLE3 = Struct(
    Field("fh", Opaque(64), "handle of the directory"),
    Field(
        "auth_flavors",
        Array(Struct(Field("flavor", FLAVOR, "authentication flavor that is accepted"))),
        "authentication flavors that are accepted",
    ),
)
MNT1 = Union(Field("status", U32(STATUS1, is_open=True), "outcome, an errno"), {0: HANDLE1})
MNT3 = Union(Field("status", U32(STATUS3), "outcome"), {0: HANDLE3})
PATHCONF = Struct(
    Field("pc_link_max", U32(), "most hard links"),
    Field("pc_max_canon", U32(), "longest terminal input line", "bytes"),
    Field("pc_max_input", U32(), "longest raw terminal input", "bytes"),
    Field("pc_name_max", U32(), "longest name", "bytes"),
    Field("pc_path_max", U32(), "longest path", "bytes"),
    Field("pc_pipe_buf", U32(), "longest atomic write to a pipe", "bytes"),
    Field("pc_vdisable", U32(), "character that disables a terminal function"),
    Field("pc_xxx", U32(), "unused"),
    Field("pc_mask0", U32(), "which of the values are not limited"),
    Field("pc_mask1", U32(), "which of the values are not limited, further bits"),
)


def procedures(source: str, reply: Union) -> dict[int, Procedure]:
    """The procedures that every version has."""
    table = (
        Procedure(0, "NULL", source, VOID, VOID),
        Procedure(1, "MNT", source, PATH, reply),
        Procedure(2, "DUMP", source, VOID, MOUNTS),
        Procedure(3, "UMNT", source, PATH, VOID),
        Procedure(4, "UMNTALL", source, VOID, VOID),
        Procedure(5, "EXPORT", source, VOID, EXPORTS),
    )
    return {procedure.number: procedure for procedure in table}


RFC1094, C702, RFC1813 = "RFC 1094 appendix A", "XNFS C702 chapter 8", "RFC 1813 5.2"

EXPORTALL = Procedure(6, "EXPORTALL", RFC1094, VOID, EXPORTS)

MOUNT1 = Program(MOUNT, 1, "MOUNT", procedures(RFC1094, MNT1) | {6: EXPORTALL})
MOUNT2 = Program(
    MOUNT,
    2,
    "MOUNT",
    procedures(C702, MNT1) | {6: EXPORTALL, 7: Procedure(7, "PATHCONF", C702, PATH, PATHCONF)},
)
MOUNT3 = Program(MOUNT, 3, "MOUNT", procedures(RFC1813, MNT3))
